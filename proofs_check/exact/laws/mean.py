"""T13 and T19: means over independent keys, by enumerating every key sequence of a finite distribution."""

from collections.abc import Callable
from itertools import permutations, product as pairs
from typing import Any

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, Finite, Instance, varied
from proofs_check.exact.law import register
from proofs_check.exact.numbers import Array, Items, Number, array, identity, product, solve, vector
from proofs_check.exact.propositions import Proposition, eq, every, iff, implies, le, ne, same
from proofs_check.exact.rules import moved, path, sq


class MeanInstance(Instance):
    """Sequences of independent keys as a probability space, the calibrate steps on them, and their means."""

    moments = property(lambda x: x.mean([np.outer(s, s) for s in x.features]))  # E[s s^T]
    pull = property(lambda x: x.mean([(1 - x.u @ s) * s for s in x.features]))  # E[(1 - <u, s>) s]
    matrix = property(lambda x: x.gamma * identity(x.n) - x.eta * x.second_moment)
    chances_of_runs = property(lambda x: [x.chance(o) for o in x.Omega.elements])
    is_eigenvector = property(lambda x: eq(x.x @ x.second_moment.T, x.lambda_ * x.x))
    start = property(lambda x: (x.d1 - x.u) @ x.x)

    def chance(self, outcome: tuple[int, ...]) -> Number:
        """Of a sequence of keys."""
        return product(self.chances[i] for i in outcome)

    def mean(self, values: list[Array]) -> Array:
        """The mean of something that depends on one key."""
        return sum(chance * value for chance, value in zip(self.chances, values, strict=True))

    def errors(self) -> list[Array]:
        """E[d_1 - u] ... E[d_{T+1} - u]."""
        totals = [0 * self.d1] * (self.T + 1)
        for o in self.Omega.elements:
            run = self.but(s=[self.features[i] for i in o], gamma=[self.gamma] * self.T)
            found = path(run, project=False)
            totals = [a + self.chance(o) * (d - self.u) for a, d in zip(totals, found, strict=True)]
        return totals

    def independent(self) -> Proposition:
        """Each feature is independent of those before it, on a sample of their values."""

        def chance(t: int, seen: Items | None, now: Array | None) -> Number:
            return sum(
                (self.chance(o) for o in self.Omega.elements
                 if (seen is None or same([self.features[i] for i in o[:t]], seen))
                 and (now is None or same(self.features[o[t]], now))), fmpq(0))  # fmt: skip

        return every(
            eq(chance(t, seen, now), chance(t, seen, None) * chance(t, None, now))
            for t in range(self.T)
            for seen in self.domains["x"]
            for now in self.domains["y"]
        )

    def drawn(self, *conclusion: Proposition) -> Proposition:
        """A conclusion for independent keys with these moments and E[(1 - <u, s>) s] = 0, for every token."""
        chances, independent = distribution(self.chances_of_runs), self.independent()
        return implies(chances, independent, *self.stationary(self.T), *conclusion)

    def stationary(self, tokens: int) -> tuple[list[Proposition], list[Proposition]]:
        """The moments and the pull, for so many tokens."""
        return [eq(self.moments, self.second_moment)] * tokens, [eq(self.pull, 0 * self.d1)] * tokens


def distribution(chances: list[Number]) -> Proposition:
    return every([le(0, a) for a in chances], eq(sum(chances), 1))


def draw_keys(draw: Draw) -> MeanInstance:
    """Two or three keys with rational probabilities, drawn independently for a few tokens."""
    n, count = draw.key_dim(3), draw.integer(2, 3)
    weights = [draw.integer(1, 5) for _ in range(count)]
    keys = draw.keys(count, n)
    return with_law(draw, keys, [k * k for k in keys], [fmpq(w, sum(weights)) for w in weights])


def with_law(draw: Draw, keys: list[Array], features: list[Array], chances: list[Number]) -> MeanInstance:
    """Sequences of independent keys as a probability space, and the calibrate steps without a box on them."""
    n, tokens = len(keys[0]), 1 if draw.kind == "single" else 2
    outcomes = list(pairs(range(len(keys)), repeat=tokens))
    x = MeanInstance(
        n=n, T=tokens, keys=keys, chances=chances, features=features, eta=draw.positive(),
        gamma=fmpq(1), c=vector(n, 0), d1=draw.vector(n, 0, 2), Omega=Finite(outcomes),
        A=Finite(range(len(keys))), mu=lambda a: chances[a], key=lambda a: np.atleast_2d(keys[a]),
    )  # fmt: skip
    x.P, x.s = x.chance, lambda t: lambda o: np.atleast_2d(features[o[t]])
    x.second_moment = x.moments
    x.u = solve(x.second_moment, x.mean(features)[:, None])[:, 0]
    seen = [Items([features[i] for i in o[:t]]) for t in range(tokens) for o in outcomes[:2]]
    return x.but(domains={"nat": range(tokens + 2), "x": seen, "y": features[:1]})


def mean_step(x: MeanInstance) -> Proposition:
    """E[d_{t+1} - u] = E[d_t - u] (gamma I - eta R) + (1 - gamma)(c - u)."""
    found, back = x.errors(), (1 - x.gamma) * (x.c - x.u)
    return x.drawn(every(eq(found[t + 1], found[t] @ x.matrix + back) for t in range(x.T)))


def closed_form(x: MeanInstance) -> Proposition:
    power, goals = x.d1 - x.u, []
    for error in x.errors():
        goals.append(eq(error, power))
        power = power @ x.matrix
    return x.drawn(every(goals))


def moment_of_draws(x: MeanInstance) -> Proposition:
    runs = [(x.chance(o), [x.features[i] for i in o]) for o in x.Omega.elements]
    found = [sum(chance * np.outer(s[t], s[t]) for chance, s in runs) for t in range(x.T)]
    return implies(distribution(x.chances), [eq(m, x.moments) for m in found])


FORGETTING: dict[str, Callable[[Draw, Any], Any]] = {
    "gamma": lambda draw, x: draw.choice(fmpq(1, 2), fmpq(7, 8), fmpq(31, 32)),
    "c": lambda draw, x: draw.vector(x.n, 0, 2),
}
register(
    draw_keys,
    T19_mean_step=mean_step,
    T19_closed_form=closed_form,
    T19_draws_independent=lambda x: implies(distribution(x.chances), x.independent()),
    T19_draws_moment=moment_of_draws,
)
register(varied(draw_keys, **FORGETTING), T19_mean_step_forgetting=mean_step)


def draw_sphere(draw: Draw) -> MeanInstance:
    """Squares of unit keys with the fourth moments of the sphere in 2 or 3 dimensions, and an eigenvector of them.

    Keys along the axes and along the diagonals of coordinate planes: s = e_i with probability (4 - K)/(K(K + 2))
    each, s = (e_i + e_j)/2 with 4/(K(K + 2)) each. Only the squares are rational.
    """
    n = draw.integer(2, 3)
    axes, total = list(identity(n)), fmpq(n * (n + 2))
    planes = [(axes[i] + axes[j]) / 2 for i in range(n) for j in range(i)]
    chances = [(4 - n) / total] * n + [4 / total] * len(planes)
    x = with_law(draw, axes + planes, axes + planes, chances)
    along = draw.rng.random() < 0.5
    x.x = vector(n, 1) if along else array([fmpq(1), fmpq(-1), *[fmpq(0)] * (n - 2)])
    x.lambda_ = fmpq(1, n) if along else fmpq(2, n * (n + 2))
    seen = [Items([s]) for s in x.features[:2]]
    return x.but(u=vector(n, 1), t=x.T, domains={**x.domains, "x": seen})


def levels(x: MeanInstance) -> Proposition:
    """The mean error along an eigenvector with forgetting, for every t."""
    decay, pulled = 1 - x.gamma, x.eta * x.lambda_
    m = decay * ((x.c - x.u) @ x.x) / (decay + pulled)
    found = [eq(e @ x.x, (x.gamma - pulled) ** t * (x.start - m) + m) for t, e in enumerate(x.errors())]
    return x.drawn(x.is_eigenvector, ne(decay + pulled, 0), every(found))


register(
    draw_sphere,
    T19_eigenvector=lambda x: x.drawn(
        x.is_eigenvector, le(x.t, x.T), eq(x.errors()[x.t] @ x.x, (1 - x.eta * x.lambda_) ** x.t * x.start)
    ),
)
register(varied(draw_sphere, **FORGETTING, hidden=lambda draw, x: ("t",)), T19_eigenvector_forgetting=levels)


def draw_size(draw: Draw) -> Instance:
    """A dimension of n + 1, a vector that sums to 0, and a power."""
    x = Instance(n=draw.integer(0, 3), t=draw.integer(0, 4))
    x.x, x.hidden = draw.vector(x.n + 1), ("ones", "moment")
    x.ones, x.moment = vector(x.n + 1, 1), (1 + 2 * identity(x.n + 1)) / fmpq((x.n + 1) * (x.n + 3))
    return x.but(x=x.x - sum(x.x) / (x.n + 1))


register(
    draw_size,
    T19_isotropic_ones=lambda x: eq(x.ones @ x.moment, x.ones / fmpq(x.n + 1)),
    T19_isotropic_rest=lambda x: implies(
        eq(sum(x.x), 0), eq(x.x @ x.moment, 2 / fmpq((x.n + 1) * (x.n + 3)) * x.x)
    ),
)
register(
    lambda draw: Instance(x=draw.number(0, 1), t=draw.integer(0, 5)),
    T19_time_constant=lambda x: implies(
        [le(0, x.x), le(x.x, 1)],
        [le(1 - x.t * x.x, (1 - x.x) ** x.t), le((1 - x.x) ** x.t, 1 / (1 + x.t * x.x))],
    ),
)
register(
    varied(lambda draw: Instance(n=draw.key_dim()), k=lambda draw, x: draw.unit(x.n)),
    double="k",
    T19_unit_keys_optimum=lambda x: implies(
        eq(sq(x.k), 1), eq((1 - sum(x.k * x.k)) * (x.k * x.k), vector(x.n, 0))
    ),
)


class LevelInstance(Instance):
    """Exchangeable keys, and levels d = x 1, c = y 1."""

    ones = property(lambda x: vector(x.n, 1))
    drive = property(lambda x: x.eta / x.n)
    next_level = property(lambda x: x.y + x.gamma * (x.x - x.y) + x.drive * (1 - x.x))
    kappa = property(lambda x: ((1 - x.gamma) * x.y + x.drive) / (1 - x.gamma + x.drive))
    stepped = property(lambda x: [moved(x.eta, 1, x.gamma, x.y * x.ones, x.x * x.ones, s) for s in x.s])


def draw_isotropic(draw: Draw) -> LevelInstance:
    """Every permutation of one squared unit key, equally likely; d = x 1 and c = y 1."""
    n = draw.integer(2, 3)
    features = [array(order) for order in permutations(draw.unit(n) ** 2)]
    return LevelInstance(n=n, N=len(features), s=features, x=draw.number(0, 2), y=draw.number(0, 1),
                         eta=draw.positive(), gamma=draw.choice(fmpq(1, 2), fmpq(7, 8), fmpq(999, 1000)))  # fmt: skip


register(
    draw_isotropic,
    T13_isotropic_mean=lambda x: implies(
        le(1, x.N), [eq(sum(s), 1) for s in x.s], eq(sum(x.s) / x.N, x.ones / x.n),
        eq(sum(x.stepped) / x.N, x.next_level * x.ones),
    ),
)  # fmt: skip
register(
    varied(draw_isotropic, x=lambda draw, x: draw.choice(x.x, x.kappa)),
    T13_isotropic_fixed_point=lambda x: implies(
        ne(1 - x.gamma + x.drive, 0), iff(eq(x.next_level, x.x), eq(x.x, x.kappa))
    ),
)
