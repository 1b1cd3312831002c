"""T13, T19: means over independent keys, by enumerating every key sequence of a finite distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations, product

from flint import fmpq

from proofs_check.exact import linear as la, rules
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance, Law, Relation, equal_vectors

Sequence = tuple[int, ...]


def draw_distribution(draw: Draw) -> Instance:
    """Two to four keys with rational probabilities, the start, two or three tokens, no forgetting."""
    n, count = draw.key_dim(3), draw.rng.randint(2, 4)
    weights = [fmpq(draw.rng.randint(1, 5)) for _ in range(count)]
    keys = draw.keys(count, n)
    x = Instance(keys=keys, features=[la.sq(k) for k in keys], chances=[w / sum(weights) for w in weights],
                 gamma=fmpq(1), anchor=[fmpq(0)] * n, d1=draw.vector(n, 0, 2), eta=draw.positive(),
                 tokens=1 if draw.kind == "single" else draw.rng.randint(2, 3),
                 low=[fmpq(-(10**6))] * n, high=[fmpq(10**6)] * n)  # fmt: skip
    x.u = stationary(x)
    return x


def draw_forgetting(draw: Draw) -> Instance:
    """The same with forgetting towards an anchor."""
    x = draw_distribution(draw)
    x.gamma, x.anchor = draw.choice(fmpq(1, 2), fmpq(7, 8), fmpq(31, 32)), draw.vector(len(x.d1), 0, 2)
    x.u = stationary(x)
    return x


def mean_feature(x: Instance) -> la.Vector:
    """E[s]."""
    return mean(x, lambda i: x.features[i])


def moments(x: Instance) -> la.Matrix:
    """R = E[s s^T]."""
    rows = [la.scale(p, s) for p, s in zip(x.chances, x.features, strict=True)]
    return la.matmul(la.transpose(rows), x.features)


def mean(x: Instance, value: Callable[[int], la.Vector]) -> la.Vector:
    """The mean of a vector that depends on the key."""
    total = la.scale(0 * x.chances[0], value(0))
    for i, chance in enumerate(x.chances):
        total = la.add(total, la.scale(chance, value(i)))
    return total


def stationary(x: Instance) -> la.Vector:
    """u with (1 - gamma)(c - u) + eta E[(1 - <u, s>) s] = 0; without forgetting E[(1 - <u, s>) s] = 0."""
    n, one = len(x.d1), la.one(x.d1)
    system = la.madd(la.mscale(1 - x.gamma, la.identity(n, one)), la.mscale(x.eta, moments(x)))
    right = la.add(la.scale(1 - x.gamma, x.anchor), la.scale(x.eta, mean_feature(x)))
    return la.flat(la.solve(system, [[b] for b in right]))


def is_stationary(x: Instance) -> bool:
    """Whether the mean step from u stays at u."""
    pulls = mean(x, lambda i: la.scale(1 - la.dot(x.u, x.features[i]), x.features[i]))
    back = la.scale(1 - x.gamma, la.sub(x.anchor, x.u))
    return all(a == 0 for a in la.add(back, la.scale(x.eta, pulls)))


def runs(x: Instance, chosen: Sequence) -> list[la.Vector]:
    """d_1 ... d_{T+1} along one sequence of keys, the box included."""
    part = Instance(**vars(x))
    part.features = [x.features[i] for i in chosen]
    part.gammas = [x.gamma] * len(chosen)
    return rules.path(part)


def independent(x: Instance) -> Iterator[tuple[Sequence, la.Number]]:
    """Every key sequence and its probability."""
    likely = [i for i, chance in enumerate(x.chances) if chance != 0]
    for chosen in product(likely, repeat=x.tokens):
        chance = la.one(x.d1)
        for i in chosen:
            chance = chance * x.chances[i]
        yield chosen, chance


def repeated(x: Instance) -> Iterator[tuple[Sequence, la.Number]]:
    """One key drawn, and then the same at every token: the right marginals, no independence."""
    for i, chance in enumerate(x.chances):
        yield (i,) * x.tokens, chance


Sequences = Callable[[Instance], Iterator[tuple[Sequence, la.Number]]]


def mean_path(x: Instance, sequences: Sequences) -> list[la.Vector]:
    """E[d_1] ... E[d_{T+1}]."""
    totals = [la.scale(0, x.d1) for _ in range(x.tokens + 1)]
    for chosen, chance in sequences(x):
        totals = [la.add(a, la.scale(chance, d)) for a, d in zip(totals, runs(x, chosen), strict=True)]
    return totals


def outer_of_mean(x: Instance) -> la.Matrix:
    """E[s] E[s]^T."""
    return la.outer(mean_feature(x), mean_feature(x))


def mean_step(
    x: Instance,
    *,
    sign: int = 1,
    matrix: Callable[[Instance], la.Matrix] = moments,
    sequences: Sequences = independent,
    lag: int = 0,
    kept: Callable[[Instance], la.Number] = lambda x: x.gamma,
) -> Iterator[Relation]:
    """E[d_{t+1} - u] = (gamma I - eta R) E[d_t - u]."""
    offsets = [la.sub(d, x.u) for d in mean_path(x, sequences)]
    for t, after in enumerate(offsets[1:]):
        before = offsets[max(0, t - lag)]
        pulled = la.scale(sign * x.eta, la.apply(matrix(x), before))
        yield from equal_vectors(f"E[d_{t + 2} - u]", after, la.sub(la.scale(kept(x), before), pulled))


def never_clips(x: Instance) -> bool:
    """No sequence of keys leaves the box."""
    wide = Instance(**{**vars(x), "low": [-(10**9) * la.one(x.d1)] * len(x.d1)})
    wide.high = [-a for a in wide.low]
    return all(runs(x, chosen) == runs(wide, chosen) for chosen, _ in independent(x))


def clipped(draw: Draw) -> Instance:
    """A box about as wide as one step."""
    x = draw_distribution(draw)
    x.low, x.high = [a - fmpq(1, 16) for a in x.d1], [a + fmpq(1, 16) for a in x.d1]
    return x


def elsewhere(draw: Draw) -> Instance:
    """u moved off the stationary point."""
    x = draw_distribution(draw)
    x.u = [a + 1 for a in x.u]
    return x


def several_tokens(draw: Draw) -> Instance:
    """At least two tokens."""
    return draw_distribution(Draw(draw.rng, "random", draw.dyadic))


STATIONARY = {"u stationary": is_stationary, "box inactive": never_clips}


def unforgetting(draw: Draw) -> Instance:
    """u as it would be without forgetting."""
    x = draw_forgetting(draw)
    x.u = stationary(Instance(**{**vars(x), "gamma": fmpq(1)}))
    return x


MEAN_STEP = (
    Law("T19", "mean calibration step", "E[d_{t+1} - u] = (I - eta R) E[d_t - u] for independent keys",
        draw_distribution, mean_step, {**STATIONARY, "gamma = 1": lambda x: x.gamma == 1})
    .mutant("flipped sign", "I + eta R", relations=lambda x: mean_step(x, sign=-1))
    .mutant("wrong formula", "E[s] E[s]^T for R", relations=lambda x: mean_step(x, matrix=outer_of_mean))
    .mutant("dropped hypothesis", "one key, repeated", draw=several_tokens,
            relations=lambda x: mean_step(x, sequences=repeated))
    .mutant("dropped hypothesis", "an active box", draw=clipped, without=["box inactive"])
    .mutant("dropped hypothesis", "u not stationary", draw=elsewhere, without=["u stationary"])
    .mutant("index shift", "from d_{t-1}", draw=several_tokens, relations=lambda x: mean_step(x, lag=1))
)  # fmt: skip

MEAN_STEP_FORGETTING = (
    Law("T19", "mean calibration step with forgetting", "E[d_{t+1} - u] = (gamma I - eta R) E[d_t - u]",
        draw_forgetting, mean_step, STATIONARY)
    .mutant("wrong formula", "(1 - gamma) I left out", relations=lambda x: mean_step(x, kept=lambda x: la.one(x.d1)))
    .mutant("wrong constant", "2 - gamma for gamma", relations=lambda x: mean_step(x, kept=lambda x: 2 - x.gamma))
    .mutant("dropped hypothesis", "u of the run without forgetting", draw=unforgetting,
            without=["u stationary"])
)  # fmt: skip


def draw_sphere(draw: Draw) -> Instance:
    """Squares of unit keys with the fourth moments of the sphere in 2 to 4 dimensions.

    Keys along the axes and along the diagonals of coordinate planes: s = e_i with probability (4 - K)/(K(K + 2))
    each, s = (e_i + e_j)/2 with 4/(K(K + 2)) each.
    """
    n = draw.rng.randint(2, 4)
    axes = la.identity(n, fmpq(1))
    pairs = [(i, j) for i in range(n) for j in range(i)]
    total = fmpq(n * (n + 2))
    return Instance(features=axes + [la.scale(fmpq(1, 2), la.add(axes[i], axes[j])) for i, j in pairs],
                 chances=[(4 - n) / total] * n + [4 / total] * len(pairs), gamma=fmpq(1), anchor=[fmpq(0)] * n,
                 d1=draw.vector(n, 0, 2), eta=draw.positive(), tokens=2,
                 low=[fmpq(-1000)] * n, high=[fmpq(1000)] * n, u=[fmpq(1)] * n)  # fmt: skip


def isotropic_rates(
    x: Instance,
    *,
    ones: Callable[[int], int] = lambda k: k,
    rest: Callable[[int], int] = lambda k: k * (k + 2),
) -> Iterator[Relation]:
    """Along the ones d - 1 shrinks by 1 - eta/K per token, elsewhere by 1 - 2 eta/(K(K + 2))."""
    n = len(x.d1)
    for t, d in enumerate(mean_path(x, independent)[1:], start=1):
        before, after = la.sub(x.d1, x.u), la.sub(d, x.u)
        along = [sum(before) / n] * n
        slow = (1 - 2 * x.eta / rest(n)) ** t
        shrunk = la.add(la.scale((1 - x.eta / ones(n)) ** t, along), la.scale(slow, la.sub(before, along)))
        yield from equal_vectors(f"E[d_{t + 1} - 1]", after, shrunk)


def axes_only(draw: Draw) -> Instance:
    """Keys along the axes: unit length, the same mean, other fourth moments."""
    x = draw_sphere(draw)
    n = len(x.d1)
    x.features, x.chances = x.features[:n], [fmpq(1, n)] * n
    return x


def sphere_moments(x: Instance) -> bool:
    """E[s_i^2] = 3/(K(K + 2)) and E[s_i s_j] = 1/(K(K + 2))."""
    n, r = len(x.d1), moments(x)
    return all(r[i][j] * n * (n + 2) == (3 if i == j else 1) for i in range(n) for j in range(n))


ISOTROPIC_RATES = (
    Law("T19", "isotropic rates", "unit keys with the sphere's fourth moments: rates eta/K and 2 eta/(K(K + 2))",
        draw_sphere, isotropic_rates, {"fourth moments of the sphere": sphere_moments})
    .mutant("wrong constant", "2 eta/(K(K + 1))", relations=lambda x: isotropic_rates(x, rest=lambda k: k * (k + 1)))
    .mutant("wrong constant", "eta/(2K) along the ones", relations=lambda x: isotropic_rates(x, ones=lambda k: 2 * k))
    .mutant("wrong formula", "1/K in every direction", relations=lambda x: isotropic_rates(x, rest=lambda k: 2 * k))
    .mutant("dropped hypothesis", "keys along the axes", draw=axes_only, without=["fourth moments of the sphere"])
)  # fmt: skip


def draw_exchangeable(draw: Draw) -> Instance:
    """Every permutation of one unit key, equally likely; d_1 a multiple of the ones; c too."""
    n = draw.rng.randint(2, 3)
    orders = list(permutations(la.sq(draw.unit(n))))
    return Instance(features=[list(s) for s in orders], chances=[fmpq(1, len(orders))] * len(orders),
                 gamma=draw.choice(fmpq(1, 2), fmpq(7, 8), fmpq(999, 1000)), anchor=[draw.number(0, 1)] * n,
                 d1=[draw.number(0, 2)] * n, eta=draw.choice(fmpq(3, 1000), fmpq(1), fmpq(1, 2)), tokens=2,
                 low=[fmpq(-1000)] * n, high=[fmpq(1000)] * n)  # fmt: skip


def settles(
    x: Instance, *, share: Callable[[int], int] = lambda k: k, kept: bool = True, anchored: bool = True
) -> Iterator[Relation]:
    """E[d_t] = kappa 1 + (gamma - eta/K)^{t-1} (d_1 - kappa 1), kappa = ((1-gamma) c + eta/K)/((1-gamma) + eta/K)."""
    n = len(x.d1)
    drive, decay = x.eta / share(n), (1 - x.gamma if kept else x.gamma)
    kappa = ((decay * x.anchor[0] if anchored else 0) + drive) / (decay + drive)
    for t, d in enumerate(mean_path(x, independent)[1:], start=1):
        level = kappa + (x.gamma - drive) ** t * (x.d1[0] - kappa)
        yield from equal_vectors(f"E[d_{t + 1}]", d, [level] * n)


def long_keys(draw: Draw) -> Instance:
    """Keys of length 5/4."""
    x = draw_exchangeable(draw)
    x.features = [la.scale(fmpq(25, 16), s) for s in x.features]
    return x


KAPPA = (
    Law("T13", "where the mean settles", "fresh isotropic unit keys: E[d] -> kappa, at the rate gamma - eta/K",
        draw_exchangeable, settles, {"|k| = 1": lambda x: all(sum(s) == 1 for s in x.features)})
    .mutant("wrong constant", "eta for eta/K", relations=lambda x: settles(x, share=lambda k: 1))
    .mutant("wrong formula", "gamma for 1 - gamma", relations=lambda x: settles(x, kept=False))
    .mutant("wrong formula", "kappa without the anchor", relations=lambda x: settles(x, anchored=False))
    .mutant("dropped hypothesis", "keys of length 5/4", draw=long_keys, without=["|k| = 1"])
)  # fmt: skip

LAWS = (MEAN_STEP, MEAN_STEP_FORGETTING, ISOTROPIC_RATES, KAPPA)
