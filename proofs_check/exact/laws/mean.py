"""T13 and T19: means over independent keys, by enumerating every key sequence of a finite distribution."""

from __future__ import annotations

from itertools import permutations, product as pairs

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, Finite, Instance
from proofs_check.exact.law import law
from proofs_check.exact.numbers import Array, Items, Number, array, identity, product, solve
from proofs_check.exact.propositions import Iff, Proposition, eq, every, implies, le, ne, same
from proofs_check.exact.rules import moved, path, sq


def draw_keys(draw: Draw) -> Instance:
    """Two or three keys with rational probabilities, drawn independently for a few tokens."""
    n, count = draw.key_dim(3), draw.integer(2, 3)
    weights = [draw.integer(1, 5) for _ in range(count)]
    return with_law(draw, draw.keys(count, n), [fmpq(w, sum(weights)) for w in weights])


def with_law(draw: Draw, keys: list[Array], chances: list[Number]) -> Instance:
    """Sequences of independent keys as a probability space, and the calibrate steps without a box on them."""
    n, tokens = len(keys[0]), 1 if draw.kind == "single" else 2
    outcomes = list(pairs(range(len(keys)), repeat=tokens))
    x = Instance(
        n=n, T=tokens, keys=keys, chances=chances, features=[k * k for k in keys], eta=draw.positive(),
        gamma=fmpq(1), c=array([fmpq(0)] * n), d1=draw.vector(n, 0, 2), Omega=Finite(outcomes),
        A=Finite(range(len(keys))), mu=lambda a: chances[a], key=lambda a: np.atleast_2d(keys[a]),
    )  # fmt: skip
    x.P = lambda o: chance_of(x, o)
    x.s = lambda t: lambda o: np.atleast_2d(x.features[o[t]])
    x.second_moment = mean(x, [np.outer(s, s) for s in x.features])
    x.u = solve(x.second_moment, mean(x, x.features)[:, None])[:, 0]
    seen = [Items([x.features[i] for i in o[:t]]) for t in range(tokens) for o in outcomes[:2]]
    x.domains = {"nat": range(tokens + 2), "x": seen, "y": x.features[:1]}
    return x


def chance_of(x: Instance, outcome: tuple[int, ...]) -> Number:
    return product(x.chances[i] for i in outcome)


def mean(x: Instance, values: list[Array]) -> Array:
    """The mean of something that depends on one key."""
    return sum(chance * value for chance, value in zip(x.chances, values, strict=True))


def errors(x: Instance) -> list[Array]:
    """E[d_1 - u] ... E[d_{T+1} - u]."""
    totals = [0 * x.d1] * (x.T + 1)
    for o in x.Omega.elements:
        run = Instance(
            d1=x.d1, s=[x.features[i] for i in o], eta=x.eta, gamma=[x.gamma] * x.T, w=[1] * x.T, c=x.c
        )
        totals = [
            a + chance_of(x, o) * (d - x.u) for a, d in zip(totals, path(run, project=False), strict=True)
        ]
    return totals


def distribution(chances: list[Number]) -> Proposition:
    return every([le(0, a) for a in chances], eq(sum(chances), 1))


def outcome_chances(x: Instance) -> list[Number]:
    return [chance_of(x, o) for o in x.Omega.elements]


def independent(x: Instance) -> Proposition:
    """Each feature is independent of those before it, on a sample of their values."""
    return every(_independent_at(x, t) for t in range(x.T))


def _independent_at(x: Instance, t: int) -> Proposition:
    def chance(seen: Items | None, now: Array | None) -> Number:
        return sum(
            (chance_of(x, o) for o in x.Omega.elements
             if (seen is None or same([x.features[i] for i in o[:t]], seen))
             and (now is None or same(x.features[o[t]], now))), fmpq(0))  # fmt: skip

    return every(
        eq(chance(seen, now), chance(seen, None) * chance(None, now))
        for seen in x.domains["x"]
        for now in x.domains["y"]
    )


def stationary(x: Instance) -> list[Proposition]:
    """The moments, and E[(1 - <u, s>) s] = 0, for every token."""
    pull = mean(x, [(1 - x.u @ s) * s for s in x.features])
    moments = mean(x, [np.outer(s, s) for s in x.features])
    return [every([eq(moments, x.second_moment)] * x.T), every([eq(pull, 0 * x.d1)] * x.T)]


def drawn(x: Instance, *conclusion: Proposition) -> Proposition:
    """A conclusion for independent keys with these moments."""
    return implies(distribution(outcome_chances(x)), independent(x), *stationary(x), *conclusion)


def mean_step(x: Instance) -> Proposition:
    """E[d_{t+1} - u] = E[d_t - u] (gamma I - eta R) + (1 - gamma)(c - u)."""
    found, matrix = errors(x), x.gamma * identity(x.n) - x.eta * x.second_moment
    back = (1 - x.gamma) * (x.c - x.u)
    return every(eq(found[t + 1], found[t] @ matrix + back) for t in range(x.T))


@law(draw_keys)
def T19_mean_step(x: Instance) -> Proposition:
    return drawn(x, mean_step(x))


T19_mean_step.false("I + eta R", lambda x: eq(
    errors(x)[1], errors(x)[0] + x.eta * (x.second_moment @ errors(x)[0])))  # fmt: skip


def draw_forgetting(draw: Draw) -> Instance:
    """The same with forgetting towards an anchor."""
    x = draw_keys(draw)
    x.gamma, x.c = draw.choice(fmpq(1, 2), fmpq(7, 8), fmpq(31, 32)), draw.vector(x.n, 0, 2)
    return x


@law(draw_forgetting)
def T19_mean_step_forgetting(x: Instance) -> Proposition:
    return drawn(x, mean_step(x))


@law(draw_keys)
def T19_closed_form(x: Instance) -> Proposition:
    found, matrix = errors(x), identity(x.n) - x.eta * x.second_moment
    power, goals = x.d1 - x.u, []
    for _ in range(x.T + 1):
        goals.append(power)
        power = power @ matrix
    return drawn(x, every(eq(a, b) for a, b in zip(found, goals, strict=True)))


def draw_sphere(draw: Draw) -> Instance:
    """Squares of unit keys with the fourth moments of the sphere in 2 or 3 dimensions, and an eigenvector of them.

    Keys along the axes and along the diagonals of coordinate planes: s = e_i with probability (4 - K)/(K(K + 2))
    each, s = (e_i + e_j)/2 with 4/(K(K + 2)) each. Only the squares are rational.
    """
    n = draw.integer(2, 3)
    axes, total = list(identity(n)), fmpq(n * (n + 2))
    planes = [(axes[i] + axes[j]) / 2 for i in range(n) for j in range(i)]
    x = with_law(draw, axes + planes, [(4 - n) / total] * n + [4 / total] * len(planes))
    return with_features(draw, x, axes + planes)


def with_features(draw: Draw, x: Instance, features: list[Array]) -> Instance:
    """Other features in the place of squared keys, an eigenvector of their moments, and forgetting."""
    x.features = features
    x.second_moment = mean(x, [np.outer(s, s) for s in features])
    x.u, x.t = array([fmpq(1)] * x.n), x.T
    along = draw.rng.random() < 0.5
    x.x = x.u if along else array([fmpq(1), fmpq(-1), *[fmpq(0)] * (x.n - 2)])
    setattr(x, "lambda", fmpq(1, x.n) if along else fmpq(2, x.n * (x.n + 2)))
    x.domains = {**x.domains, "x": [Items([s]) for s in features[:2]], "y": features[:1]}
    return x


def is_eigenvector(x: Instance) -> Proposition:
    return eq(x.x @ x.second_moment.T, getattr(x, "lambda") * x.x)


def along(x: Instance, loss: int = 1) -> Proposition:
    """Along an eigenvector the mean error shrinks by 1 - eta lambda for each token."""
    rate = (1 - loss * x.eta * getattr(x, "lambda")) ** x.t
    return eq(errors(x)[x.t] @ x.x, rate * ((x.d1 - x.u) @ x.x))


@law(draw_sphere)
def T19_eigenvector(x: Instance) -> Proposition:
    return drawn(x, is_eigenvector(x), le(x.t, x.T), along(x))


T19_eigenvector.false("twice as fast", lambda x: along(x, 2))


def draw_sphere_forgetting(draw: Draw) -> Instance:
    """The same with forgetting towards an anchor, for every t."""
    x = draw_sphere(draw)
    x.gamma, x.c = draw.choice(fmpq(1, 2), fmpq(7, 8)), draw.vector(x.n, 0, 2)
    del x.t
    return x


@law(draw_sphere_forgetting)
def T19_eigenvector_forgetting(x: Instance) -> Proposition:
    decay, pull = 1 - x.gamma, x.eta * getattr(x, "lambda")
    m = decay * ((x.c - x.u) @ x.x) / (decay + pull)
    levels = [eq(error @ x.x, (x.gamma - pull) ** t * ((x.d1 - x.u) @ x.x - m) + m)
              for t, error in enumerate(errors(x))]  # fmt: skip
    return drawn(x, is_eigenvector(x), ne(decay + pull, 0), every(levels))


@law(draw_keys)
def T19_draws_independent(x: Instance) -> Proposition:
    return implies(distribution(x.chances), independent(x))


@law(draw_keys)
def T19_draws_moment(x: Instance) -> Proposition:
    once = mean(x, [np.outer(s, s) for s in x.features])
    over_runs = [sum(chance_of(x, o) * np.outer(x.features[o[t]], x.features[o[t]]) for o in x.Omega.elements)
                 for t in range(x.T)]  # fmt: skip
    return implies(distribution(x.chances), every(eq(m, once) for m in over_runs))


def draw_size(draw: Draw) -> Instance:
    """A dimension of n + 1, a vector that sums to 0, a number in [0, 1] and a power."""
    x = Instance(n=draw.integer(0, 3), t=draw.integer(0, 4))
    x.x = draw.vector(x.n + 1)
    x.x = x.x - sum(x.x) / (x.n + 1)
    return x


def isotropic_moment(n: int) -> Array:
    """(1 1^T + 2 I) / (K (K + 2)) in K = n + 1 dimensions."""
    return (1 + 2 * identity(n + 1)) / fmpq((n + 1) * (n + 3))


@law(draw_size)
def T19_isotropic_ones(x: Instance) -> Proposition:
    ones = 0 * x.x + 1
    return eq(ones @ isotropic_moment(x.n), ones / fmpq(x.n + 1))


@law(draw_size)
def T19_isotropic_rest(x: Instance) -> Proposition:
    rest = 2 / fmpq((x.n + 1) * (x.n + 3)) * x.x
    return implies(eq(sum(x.x), 0), eq(x.x @ isotropic_moment(x.n), rest))


def draw_share(draw: Draw) -> Instance:
    return Instance(x=draw.number(0, 1), t=draw.integer(0, 5))


@law(draw_share)
def T19_time_constant(x: Instance) -> Proposition:
    power = (1 - x.x) ** x.t
    return implies([le(0, x.x), le(x.x, 1)], [le(1 - x.t * x.x, power), le(power, 1 / (1 + x.t * x.x))])


def draw_unit(draw: Draw) -> Instance:
    n = draw.key_dim()
    return Instance(n=n, k=draw.unit(n))


@law(draw_unit)
def T19_unit_keys_optimum(x: Instance) -> Proposition:
    s = x.k * x.k
    return implies(eq(sq(x.k), 1), eq((1 - sum(s)) * s, 0 * s))


def draw_isotropic(draw: Draw) -> Instance:
    """Every permutation of one squared unit key, equally likely; d = x 1 and c = y 1."""
    n = draw.integer(2, 3)
    features = [array(order) for order in permutations(draw.unit(n) ** 2)]
    return Instance(n=n, N=len(features), s=features, x=draw.number(0, 2), y=draw.number(0, 1), eta=draw.positive(),
                    gamma=draw.choice(fmpq(1, 2), fmpq(7, 8), fmpq(999, 1000)))  # fmt: skip


def next_level(x: Instance) -> Number:
    """y + gamma (x - y) + (eta / K)(1 - x)."""
    return x.y + x.gamma * (x.x - x.y) + x.eta / x.n * (1 - x.x)


def mean_level(x: Instance, share: int = 1) -> Proposition:
    level = x.x + 0 * x.s[0]
    stepped = sum(moved(x.eta, 1, x.gamma, x.y + 0 * level, level, s) for s in x.s) / x.N
    return eq(stepped, next_level(Instance(**{**vars(x), "eta": share * x.eta})) + 0 * level)


@law(draw_isotropic)
def T13_isotropic_mean(x: Instance) -> Proposition:
    ones = 0 * x.s[0] + 1
    isotropic = eq(sum(x.s) / x.N, ones / x.n)
    return implies(le(1, x.N), [eq(sum(s), 1) for s in x.s], isotropic, mean_level(x))


T13_isotropic_mean.false("eta for eta / K", lambda x: mean_level(x, x.n))


def draw_kappa(draw: Draw) -> Instance:
    """A level that is kappa, or is not."""
    x = draw_isotropic(draw)
    x.x = draw.choice(x.x, kappa(x))
    return x


def kappa(x: Instance) -> Number:
    """((1 - gamma) y + eta / K) / ((1 - gamma) + eta / K)."""
    drive = x.eta / x.n
    return ((1 - x.gamma) * x.y + drive) / (1 - x.gamma + drive)


@law(draw_kappa)
def T13_isotropic_fixed_point(x: Instance) -> Proposition:
    return implies(ne(1 - x.gamma + x.eta / x.n, 0), Iff(eq(next_level(x), x.x), eq(x.x, kappa(x))))
