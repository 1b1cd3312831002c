"""T29: the scan by sweeps on rational instances: comparison, rate, certificate, maps and adjoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from math import comb
from typing import Any

from flint import fmpq

from proofs_check.exact import linear as la, rules
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance, Law, Relation, at_most, equal, equal_vectors
from proofs_check.exact.scan_laws import draw_scan, fading

Operator = Callable[[Instance], la.Matrix]


def draw_signed(draw: Draw) -> Instance:
    """A scan that clips now and then, with features of either sign, two runs of gains, and a number of sweeps."""
    x = draw_scan(draw)
    count = len(x.features)
    x.features = [la.scale(draw.choice(-1, 1, fmpq(1, 2)), s) for s in x.features]
    x.u, x.v = draw.vector(count), draw.vector(count)
    x.sweeps = draw.rng.randint(1, 3)
    return x


def draw_plain(draw: Draw) -> Instance:
    """The same without a box that is active, and with features that have no sign: where N is attained."""
    x = draw_signed(draw)
    x.features = [[abs(a) for a in s] for s in x.features]
    x.low, x.high = ([side * fmpq(10**9)] * len(x.d1) for side in (-1, 1))
    return x


def driven(x: Instance, gains: la.Vector) -> la.Matrix:
    """d_1 ... d_{T+1} with the gains given."""
    d, path = x.d1, [x.d1]
    for s, gamma, gain in zip(x.features, x.gammas, gains, strict=True):
        kept = la.add(x.anchor, la.scale(gamma, la.sub(d, x.anchor)))
        d = la.clip(la.add(kept, la.scale(gain, s)), x.low, x.high)
        path.append(d)
    return path


def wanted(x: Instance, path: la.Matrix) -> la.Vector:
    """eta w_t (1 - <d_t, x_t>) along a run."""
    rows = zip(x.weights, path, x.features, strict=False)
    return [x.eta * w * (1 - la.dot(d, s)) for w, d, s in rows]


def phi(x: Instance, gains: la.Vector) -> la.Vector:
    """Phi: the gains wanted along the run that `gains` drive."""
    return wanted(x, driven(x, gains))


def swept(x: Instance, count: int) -> la.Vector:
    """u^(count), from u^(0) = x.u."""
    gains: la.Vector = x.u
    for _ in range(count):
        gains = phi(x, gains)
    return gains


def scan_gains(x: Instance) -> la.Vector:
    """The gains of the scan, token by token."""
    return wanted(x, rules.path(x))


def coupling(x: Instance, *, signed: bool = False, after: int = 1, factor: Any = 1) -> la.Matrix:
    """N; `signed`, `after` and `factor` are for mutants."""
    count, one = len(x.features), la.one(x.d1)
    size = x.features if signed else [[abs(a) for a in s] for s in x.features]
    return [
        [
            la.times(factor, x.eta)
            * x.weights[t]
            * fading(x.gammas, j + after, t, one)
            * la.dot(size[t], size[j])
            if j < t
            else 0 * one
            for j in range(count)
        ]
        for t in range(count)
    ]


def distance(a: la.Vector, b: la.Vector) -> la.Vector:
    """|a - b|, entry by entry."""
    return [abs(p - q) for p, q in zip(a, b, strict=True)]


def each_at_most(name: str, lhs: la.Vector, rhs: la.Vector) -> Iterator[Relation]:
    """lhs <= rhs, entry by entry."""
    for t, (a, b) in enumerate(zip(lhs, rhs, strict=True)):
        yield at_most(f"{name}_{t + 1}", a, b)


GATES = {"gates are not negative": lambda x: all(g >= 0 for g in x.gammas)}


def draw_turning(draw: Draw) -> Instance:
    """A gate below zero between tokens that meet."""
    x = draw_plain(draw)
    x.gammas = [-g for g in x.gammas]
    return x


def comparison(x: Instance, operator: Operator = coupling) -> Iterator[Relation]:
    """|Phi(u) - Phi(v)| <= N |u - v|, entry by entry."""
    bound = la.apply(operator(x), distance(x.u, x.v))
    yield from each_at_most("|Phi(u) - Phi(v)|", distance(phi(x, x.u), phi(x, x.v)), bound)


COMPARISON = (
    Law("T29", "comparison of sweeps", "|Phi(u) - Phi(v)| <= N |u - v|, clip or no clip",
        draw_signed, comparison, GATES)
    .mutant("wrong constant", "99/100 N", draw=draw_plain,
            relations=lambda x: comparison(x, lambda x: coupling(x, factor=Fraction(99, 100))))
    .mutant("index shift", "a gain fades by its own token too", draw=draw_plain,
            relations=lambda x: comparison(x, lambda x: coupling(x, after=0)))
    .mutant("flipped sign", "features with their signs",
            relations=lambda x: comparison(x, lambda x: coupling(x, signed=True)))
    .mutant("dropped hypothesis", "gates below zero", draw=draw_turning, without=GATES)
)  # fmt: skip


def first_gains(x: Instance, *, more: int = 0) -> Iterator[Relation]:
    """m sweeps make the first m gains exact."""
    found, gains, count = swept(x, x.sweeps), scan_gains(x), x.sweeps + more
    yield from equal_vectors("u^(m)", found[:count], gains[:count])


FIRST_GAINS = (
    Law("T29", "first gains", "m sweeps make the first m gains exact", draw_signed, first_gains, {})
    .mutant("index shift", "the first m + 1 gains", relations=lambda x: first_gains(x, more=1))
    .mutant("wrong formula", "the gains of the run without the clip",
            relations=lambda x: equal_vectors("u^(m)", swept(x, x.sweeps)[: x.sweeps],
                                              wanted(x, rules.path(x, project=False))[: x.sweeps]))
)  # fmt: skip


def power(matrix: la.Matrix, count: int, v: la.Vector) -> la.Vector:
    """matrix^count v."""
    for _ in range(count):
        v = la.apply(matrix, v)
    return v


def sweeps_left(x: Instance, *, more: int = 0) -> Iterator[Relation]:
    """|u^(m) - u| <= N^m |u^(0) - u|."""
    gains = scan_gains(x)
    bound = power(coupling(x), x.sweeps + more, distance(x.u, gains))
    yield from each_at_most("|u^(m) - u|", distance(swept(x, x.sweeps), gains), bound)


SWEEPS_LEFT = (
    Law("T29", "what sweeps leave", "|u^(m) - u| <= N^m |u^(0) - u|", draw_signed, sweeps_left, GATES)
    .mutant("index shift", "N^(m+1)", relations=lambda x: sweeps_left(x, more=1))
    .mutant("dropped hypothesis", "gates below zero", draw=draw_turning, without=GATES)
)  # fmt: skip


def draw_short(draw: Draw) -> Instance:
    """Keys, weights and gates of size at most 1, and at times one feature alone: where the rate is attained."""
    x = draw_plain(draw)
    n = len(x.d1)
    x.keys = [draw.unit(n) for _ in x.features]
    if draw.rng.random() < 0.5:
        x.keys = [[fmpq(i == 0) for i in range(n)]] * len(x.keys)
        x.gammas = [fmpq(1)] * len(x.keys)
        x.u = [g + 1 for g in scan_gains(with_features(x))]
    x.weights = [fmpq(1)] * len(x.keys)
    return with_features(x)


def with_features(x: Instance) -> Instance:
    """Features as squared keys."""
    x.features = [la.sq(k) for k in x.keys]
    return x


def draw_long(draw: Draw) -> Instance:
    """Keys of twice the length."""
    x = draw_short(draw)
    x.keys = [la.scale(fmpq(2), k) for k in x.keys]
    return with_features(x)


def draw_growing(draw: Draw) -> Instance:
    """Gates above 1."""
    x = draw_short(draw)
    x.gammas = [fmpq(4)] * len(x.keys)
    return x


SHORT = {
    "keys of length at most 1": lambda x: all(la.norm_sq(k) <= 1 for k in x.keys),
    "weights at most 1": lambda x: all(0 <= w <= 1 for w in x.weights),
    "gates in [0, 1]": lambda x: all(0 <= g <= 1 for g in x.gammas),
}


def rate(x: Instance, *, choose: Callable[[int, int], int] = comb) -> Iterator[Relation]:
    """|u^(m) - u| <= eta^m (t choose m) max |u^(0) - u|, and so at most (eta t)^m / m! of it."""
    gains = scan_gains(x)
    largest = max(distance(x.u, gains))
    bound = [x.eta**x.sweeps * choose(t, x.sweeps) * largest for t in range(len(gains))]
    yield from each_at_most("|u^(m) - u|", distance(swept(x, x.sweeps), gains), bound)


RATE = (
    Law("T29", "super-geometric rate", "|u^(m) - u| <= eta^m (t choose m) max |u^(0) - u|", draw_short, rate, SHORT)
    .mutant("index shift", "one token fewer before it",
            relations=lambda x: rate(x, choose=lambda t, m: comb(max(t - 1, 0), m)))
    .mutant("index shift", "(t choose m + 1)", relations=lambda x: rate(x, choose=lambda t, m: comb(t, m + 1)))
    .mutant("dropped hypothesis", "keys of length 2", draw=draw_long, without=["keys of length at most 1"])
    .mutant("dropped hypothesis", "gates above 1", draw=draw_growing, without=["gates in [0, 1]"])
)  # fmt: skip


def certificate(x: Instance, *, sign: int = -1, inverse: bool = True, later: int = 0) -> Iterator[Relation]:
    """|u^(m) - u| <= (I - N)^-1 N |u^(m) - u^(m-1)|."""
    n, one = coupling(x), la.one(x.d1)
    after, before = swept(x, x.sweeps + later), swept(x, x.sweeps + later - 1)
    bound = la.apply(n, distance(after, before))
    if inverse:
        system = la.madd(la.identity(len(n), one), la.mscale(sign * one, n))
        bound = la.flat(la.forward_substitute(system, [[b] for b in bound]))
    yield from each_at_most("|u^(m) - u|", distance(swept(x, x.sweeps), scan_gains(x)), bound)


CERTIFICATE = (
    Law("T29", "certificate", "|u^(m) - u| <= (I - N)^-1 N |u^(m) - u^(m-1)|", draw_signed, certificate, GATES)
    .mutant("flipped sign", "(I + N)^-1", relations=lambda x: certificate(x, sign=1))
    .mutant("wrong formula", "N alone", relations=lambda x: certificate(x, inverse=False))
    .mutant("index shift", "the increment of the next sweep", relations=lambda x: certificate(x, later=1))
    .mutant("dropped hypothesis", "gates below zero", draw=draw_turning, without=GATES)
)  # fmt: skip


def draw_maps(draw: Draw) -> Instance:
    """Three maps x -> min(h, max(l, a x + b)), as [a, b, l, h], and numbers to try them on."""
    maps = []
    for _ in range(3):
        faces = sorted(draw.vector(2))
        maps.append([draw.number(0, 2), draw.number(), *faces])
    return Instance(maps=maps, at=draw.vector(4, -4, 4))


def value(f: la.Vector, x: la.Number) -> la.Number:
    """min(h, max(l, a x + b))."""
    return min(f[3], max(f[2], f[0] * x + f[1]))


def composed(g: la.Vector, f: la.Vector, *, through: bool = True) -> la.Vector:
    """g after f."""
    faces = [value(g, f[2]), value(g, f[3])] if through else [max(f[2], g[2]), min(f[3], g[3])]
    return [g[0] * f[0], g[0] * f[1] + g[1], *faces]


def composition(x: Instance, **options: Any) -> Iterator[Relation]:
    """(g after f)(x) = g(f(x)), and composing is associative."""
    f, g, h = x.maps
    for at in x.at:
        yield equal("g(f(x))", value(composed(g, f, **options), at), value(g, value(f, at)))
    yield from equal_vectors(
        "h g f",
        composed(h, composed(g, f, **options), **options),
        composed(composed(h, g, **options), f, **options),
    )


def draw_falling(draw: Draw) -> Instance:
    """Maps that turn the order round."""
    x = draw_maps(draw)
    x.maps = [[-1 - f[0], *f[1:]] for f in x.maps]
    return x


SLOPES = {"slopes are not negative": lambda x: all(f[0] >= 0 for f in x.maps)}

MAPS = (
    Law("T29", "maps of a sweep", "x -> min(h, max(l, a x + b)) is closed under composition, which is associative",
        draw_maps, composition, SLOPES)
    .mutant("wrong formula", "the box of both", relations=lambda x: composition(x, through=False))
    .mutant("dropped hypothesis", "slopes below zero", draw=draw_falling, without=SLOPES)
)  # fmt: skip


def draw_adjoint(draw: Draw) -> Instance:
    """A scan, a clip pattern, cotangents of every iterate, a change of d_1, and adjoints of the gains to start from."""
    x = draw_signed(draw)
    count, n = len(x.features), len(x.d1)
    x.kept = [[draw.choice(0, 1) for _ in range(n)] for _ in range(count)]
    x.cotangents, x.change = draw.matrix(count + 1, n), draw.vector(n)
    return x


def tangents(x: Instance) -> la.Matrix:
    """How the iterates move with d_1, the clip pattern fixed."""
    d, path = x.change, [x.change]
    for t, s in enumerate(x.features):
        gain = x.eta * x.weights[t] * la.dot(d, s)
        d = la.had(x.kept[t], la.sub(la.scale(x.gammas[t], d), la.scale(gain, s)))
        path.append(d)
    return path


def adjoints(
    x: Instance, gains: la.Vector | None = None, *, masked: bool = True
) -> tuple[la.Vector, la.Vector]:
    """lambda_1 and q_1 ... q_T backwards in time; `gains` drive the run in the place of its own q."""
    state, seen = x.cotangents[-1], []
    for t in reversed(range(len(x.features))):
        kept = la.had(x.kept[t], state) if masked else state
        seen.append(la.dot(x.features[t], kept))
        gain = seen[-1] if gains is None else gains[t]
        pull = la.scale(x.eta * x.weights[t] * gain, x.features[t])
        state = la.add(x.cotangents[t], la.sub(la.scale(x.gammas[t], kept), pull))
    return state, seen[::-1]


def pairing(x: Instance, **options: Any) -> Iterator[Relation]:
    """sum_t <g_t, tangent_t> = <lambda_1, change of d_1>."""
    moved = sum(la.dot(g, d) for g, d in zip(x.cotangents, tangents(x), strict=True))
    yield equal("<g, tangent>", moved, la.dot(adjoints(x, **options)[0], x.change))


ADJOINT = (
    Law("T29", "adjoint", "the adjoint run gives what the tangents give, the clip pattern fixed",
        draw_adjoint, pairing, {})
    .mutant("wrong formula", "the clip pattern left out", relations=lambda x: pairing(x, masked=False))
    .mutant("flipped sign", "adjoints of the gains with the other sign",
            relations=lambda x: pairing(x, gains=[-q for q in adjoints(x)[1]]))
)  # fmt: skip


def adjoint_sweeps(x: Instance, *, transposed: bool = True, more: int = 0) -> Iterator[Relation]:
    """|q^(m) - q| <= (N^T)^m |q^(0) - q|; the last m are exact."""
    own, gains = adjoints(x)[1], x.u
    for _ in range(x.sweeps):
        gains = adjoints(x, gains)[1]
    n = la.transpose(coupling(x)) if transposed else coupling(x)
    yield from each_at_most("|q^(m) - q|", distance(gains, own), power(n, x.sweeps, distance(x.u, own)))
    last = max(0, len(own) - x.sweeps - more)
    yield from equal_vectors("q^(m)", gains[last:], own[last:])


ADJOINT_SWEEPS = (
    Law("T29", "adjoint sweeps", "|q^(m) - q| <= (N^T)^m |q^(0) - q|, the last m exact",
        draw_adjoint, adjoint_sweeps, GATES)
    .mutant("wrong formula", "N for its transpose", relations=lambda x: adjoint_sweeps(x, transposed=False))
    .mutant("index shift", "the last m + 1", relations=lambda x: adjoint_sweeps(x, more=1))
)  # fmt: skip


LAWS = (COMPARISON, FIRST_GAINS, SWEEPS_LEFT, RATE, CERTIFICATE, MAPS, ADJOINT, ADJOINT_SWEEPS)
