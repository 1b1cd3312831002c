"""T29: the scan by sweeps on rational instances: comparison, rate, certificate, maps and adjoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import comb, factorial

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.law import law
from proofs_check.exact.laws.scan import draw_scan, fading, step_limit
from proofs_check.exact.numbers import Array, Number, array
from proofs_check.exact.propositions import Either, Fact, Proposition, eq, every, implies, le, lt
from proofs_check.exact.rules import clip, moved, path, sq

Gains = list[Number]


def draw_signed(draw: Draw) -> Instance:
    """A scan that clips now and then, with features of either sign, two runs of gains, and a number of sweeps.

    Every law is about the first T tokens, two less than there are: what it says of T and of more can be told apart.
    """
    x = draw_scan(draw)
    count = x.T + 2
    for name in ("s", "gamma", "w", "k"):
        setattr(x, name, [getattr(x, name)[t % x.T] for t in range(count)])
    x.s = [draw.choice(-1, 1, fmpq(1, 2)) * s for s in x.s]
    x.u, x.v, x.m, x.domains = (
        draw.numbers(count),
        draw.numbers(count),
        draw.integer(1, 2),
        {"nat": range(count)},
    )
    return featured(x)


def featured(x: Instance) -> Instance:
    """The features under their name in Coq as well, and what bounds the coupling."""
    x.x, x.hidden = x.s, ("s",)
    n, count = coupling(x), len(x.s)
    x.L = max([fmpq(0), *(n[t, j] for t in range(x.T) for j in range(t))])
    x.E = max(start_errors(x))
    x.rho, x.g = max(sum(n[t, :t], fmpq(0)) for t in range(x.T)), max(x.gamma)
    x.z = [sum(start_errors(x)) * 2**t for t in range(count)]
    return x


def driven(x: Instance, gains: Gains) -> list[Array]:
    """d_1, d_2, ... with the gains given."""
    d, found = x.d1, [x.d1]
    for s, gamma, gain in zip(x.s, x.gamma, gains, strict=True):
        d = clip(x.c + gamma * (d - x.c) + gain * s, x.lo, x.hi)
        found.append(d)
    return found


def wanted(x: Instance, iterates: list[Array]) -> Gains:
    """eta w_t (1 - <d_t, x_t>) along a run."""
    return [x.eta * w * (1 - d @ s) for w, d, s in zip(x.w, iterates, x.s, strict=False)]


def phi(x: Instance, gains: Gains) -> Gains:
    """Phi: the gains wanted along the run that `gains` drive."""
    return wanted(x, driven(x, gains))


def swept(x: Instance, count: int) -> Gains:
    """u^(count), from u^(0) = u."""
    gains: Gains = x.u
    for _ in range(count):
        gains = phi(x, gains)
    return gains


def scan_gains(x: Instance) -> Gains:
    """The gains of the scan, token by token."""
    return wanted(x, path(x))


def coupling(x: Instance, *, signed: bool = False) -> Array:
    """N_tj = eta w_t <|x_t|, |x_j|> times the gates strictly between, for j < t; `signed` is a mistake."""
    size = x.s if signed else [abs(s) for s in x.s]
    zero, count = 0 * x.eta, len(x.s)
    return array([[x.eta * x.w[t] * fading(x.gamma, j + 1, t) * (size[t] @ size[j]) if j < t else zero
                   for j in range(count)] for t in range(count)])  # fmt: skip


def distance(a: Gains, b: Gains) -> Array:
    """|a - b|, entry by entry."""
    return abs(array(a) - array(b))


def start_errors(x: Instance) -> Array:
    return distance(x.u, scan_gains(x))


def power(matrix: Array, count: int, v: Array) -> Array:
    """matrix^count v."""
    for _ in range(count):
        v = matrix @ v
    return v


def each(
    compare: Callable[[Number, Number], Proposition], a: Iterator[Number] | Array, b: Array
) -> Proposition:
    """Entry by entry."""
    return every(compare(p, q) for p, q in zip(a, b, strict=True))


def signs(x: Instance) -> list[Proposition]:
    """Gates and steps are not negative."""
    return [every(le(0, g) for g in x.gamma), every(le(0, x.eta * w) for w in x.w)]


def comparison(x: Instance, matrix: Array) -> Proposition:
    return each(le, distance(phi(x, x.u), phi(x, x.v)), matrix @ distance(x.u, x.v))


@law(draw_signed)
def T29_comparison(x: Instance) -> Proposition:
    return implies(*signs(x), comparison(x, coupling(x)))


T29_comparison.false("features with their signs", lambda x: comparison(x, coupling(x, signed=True)))


def turning(draw: Draw) -> Instance:
    """Gates below zero."""
    x = draw_signed(draw)
    x.gamma = [-g for g in x.gamma]
    return x


T29_comparison.without("gates below zero", 0, turning)


@law(draw_signed)
def T29_sweeps(x: Instance) -> Proposition:
    left = distance(swept(x, x.m), scan_gains(x))
    return implies(*signs(x), each(le, left, power(coupling(x), x.m, start_errors(x))))


T29_sweeps.false("N^(m + 1)", lambda x: each(
    le, distance(swept(x, x.m), scan_gains(x)), power(coupling(x), x.m + 1, start_errors(x))))  # fmt: skip


@law(draw_signed)
def T29_first_gains(x: Instance) -> Proposition:
    return each(eq, array(swept(x, x.m)[: x.m]), array(scan_gains(x)[: x.m]))


T29_first_gains.false("the first m + 1 gains", lambda x: each(
    eq, array(swept(x, x.m)[: x.m + 1]), array(scan_gains(x)[: x.m + 1])))  # fmt: skip


@law(draw_signed)
def T29_first_iterates(x: Instance) -> Proposition:
    count = min(x.m + 1, len(x.s))
    pairs = zip(driven(x, swept(x, x.m))[:count], path(x)[:count], strict=True)
    return every(eq(a, b) for a, b in pairs)


@law(draw_signed)
def T29_drives_the_scan(x: Instance) -> Proposition:
    pairs = list(zip(driven(x, scan_gains(x)), path(x), strict=True))
    return every(eq(a, b) for a, b in pairs[: len(x.s)])


@law(draw_signed)
def T29_fixed_point(x: Instance) -> Proposition:
    gains = scan_gains(x)
    return each(eq, array(phi(x, gains)), array(gains))


def draw_settled(draw: Draw) -> Instance:
    """Gains that are those of the scan, before token T."""
    x = draw_signed(draw)
    x.u = [*scan_gains(x)[: x.T], *x.u[x.T :]]
    return x


@law(draw_settled)
def T29_only_fixed_point(x: Instance) -> Proposition:
    fixed = each(eq, array(phi(x, x.u)[: x.T]), array(x.u[: x.T]))
    return implies(fixed, each(eq, array(x.u[: x.T]), array(scan_gains(x)[: x.T])))


def weak(x: Instance, bound: Number, gains: Gains) -> list[Proposition]:
    """Every coupling is at most a bound, and every start error at most E."""
    n = coupling(x)
    return [le(0, bound), every(le(n[t, j], bound) for t in range(x.T) for j in range(t)),
            every(le(error, x.E) for error in distance(gains, scan_gains(x))[: x.T])]  # fmt: skip


def rate(x: Instance, factors: list[Number]) -> Proposition:
    """|u^(m) - u| <= a factor of E for each token."""
    left = distance(swept(x, x.m), scan_gains(x))[: x.T]
    return each(le, left, array([factor * x.E for factor in factors]))


@law(draw_signed)
def T29_binomial(x: Instance) -> Proposition:
    factors = [x.L**x.m * comb(t, x.m) for t in range(x.T)]
    return implies(*signs(x), *weak(x, x.L, x.u), rate(x, factors))


@law(draw_signed)
def T29_factorial(x: Instance) -> Proposition:
    factors = [(x.L * t) ** x.m / factorial(x.m) for t in range(x.T)]
    return implies(*signs(x), *weak(x, x.L, x.u), rate(x, factors))


T29_factorial.false("one token fewer before it", lambda x: rate(
    x, [(x.L * max(t - 1, 0)) ** x.m / factorial(x.m) for t in range(x.T)]))  # fmt: skip


@law(draw_signed)
def T29_geometric(x: Instance) -> Proposition:
    n = coupling(x)
    sums = every(le(sum(n[t, :t], 0 * x.eta), x.rho) for t in range(x.T))
    starts = weak(x, x.L, x.u)[2]
    return implies(*signs(x), le(0, x.rho), sums, starts, rate(x, [x.rho**x.m] * x.T))


def draw_fading(draw: Draw) -> Instance:
    """Gates below 1, and a bound L on eta w_t <|x_t|, |x_j|> without them."""
    x = draw_signed(draw)
    x.gamma = [g / 2 for g in x.gamma]
    x.g = max(x.gamma)
    x.L = max([fmpq(0), *(bare(x, t, j) for t in range(x.T) for j in range(t))])
    return x


def bare(x: Instance, t: int, j: int) -> Number:
    """eta w_t <|x_t|, |x_j|>."""
    return x.eta * x.w[t] * (abs(x.s[t]) @ abs(x.s[j]))


@law(draw_fading)
def T29_forgetting(x: Instance) -> Proposition:
    n = coupling(x)
    sums = every(le(sum(n[t, :t], 0 * x.eta), x.L / (1 - x.g)) for t in range(x.T))
    pairs = [le(bare(x, t, j), x.L) for t in range(x.T) for j in range(t)]
    gates = [le(g, x.g) for g in x.gamma[: x.T]]
    return implies(signs(x)[0], le(0, x.L), lt(x.g, 1), gates, pairs, sums)


def draw_short(draw: Draw) -> Instance:
    """Keys, weights, write gates and forgetting gates of size at most 1."""
    x = draw_signed(draw)
    x.k = [draw.unit(x.n) for _ in x.s]
    x.b, x.w = draw.numbers(len(x.s), -1, 1), draw.numbers(len(x.s), 0, 1)
    x.s = [b * (k * k) for b, k in zip(x.b, x.k, strict=True)]
    found = featured(x)
    del found.x
    return found


@law(draw_short)
def T29_unit_keys(x: Instance) -> Proposition:
    small: list[Fact] = [[le(sq(k), 1) for k in x.k], [le(abs(b), 1) for b in x.b],
                         *([[le(0, a), le(a, 1)] for a in rows] for rows in (x.w, x.gamma))]  # fmt: skip
    factors = [(x.eta * t) ** x.m / factorial(x.m) for t in range(x.T)]
    return implies(le(0, x.eta), *small, weak(x, x.L, x.u)[2], rate(x, factors))


def draw_long(draw: Draw) -> Instance:
    """Keys of twice the length, all of them one."""
    x = draw_short(draw)
    x.k = [2 * x.k[0]] * len(x.k)
    x.b = [fmpq(1)] * len(x.k)
    x.s = [k * k for k in x.k]
    x.lo, x.hi = x.lo - 10**6, x.hi + 10**6
    return featured(x)


T29_unit_keys.without("keys of length 2", 1, draw_long)


def resolved(x: Instance, v: Array) -> Array:
    """(I - N)^-1 v for the first T tokens, row by row."""
    found: list[Number] = []
    n = coupling(x)
    for t in range(x.T):
        found.append(v[t] + sum((n[t, j] * found[j] for j in range(t)), 0 * x.eta))
    return array(found)


def a_posteriori(x: Instance, inverse: bool = True) -> Proposition:
    """|u^(m+1) - u| <= (I - N)^-1 N |u^(m+1) - u^(m)|."""
    later, n = swept(x, x.m + 1), coupling(x)
    moved_by = n @ distance(later, swept(x, x.m))
    bound = resolved(x, moved_by) if inverse else moved_by[: x.T]
    return each(le, distance(later, scan_gains(x))[: x.T], bound)


@law(draw_signed)
def T29_a_posteriori(x: Instance) -> Proposition:
    return implies(*signs(x), a_posteriori(x))


T29_a_posteriori.false("N alone", lambda x: a_posteriori(x, inverse=False))


def draw_computed(draw: Draw) -> Instance:
    """Gains v and how far they are, at most, from what they should be: r."""
    x = draw_signed(draw)
    more = draw.numbers(len(x.s), 0, 1)
    x.r = [a + b for a, b in zip(distance(x.v, phi(x, x.v)), more, strict=True)]
    x.z = [a + draw.choice(0, 1) for a in resolved(Instance(**{**vars(x), "T": len(x.s)}), array(x.r))]
    for t in range(len(x.s)):
        x.z[t] = max(x.z[t], sum(coupling(x)[t, j] * x.z[j] for j in range(t)) + x.r[t])
    return x


def off(x: Instance, gains: Gains) -> Proposition:
    """|v - Phi(gains)| <= r."""
    return each(le, distance(x.v, phi(x, gains))[: x.T], array(x.r[: x.T]))


@law(draw_computed)
def T29_certificate(x: Instance) -> Proposition:
    n = coupling(x)
    enough = [le(sum((n[t, j] * x.z[j] for j in range(t)), 0 * x.eta) + x.r[t], x.z[t]) for t in range(x.T)]
    return implies(
        *signs(x), off(x, x.v), enough, each(le, distance(x.v, scan_gains(x))[: x.T], array(x.z[: x.T]))
    )


@law(draw_computed)
def T29_defect(x: Instance) -> Proposition:
    bound = resolved(x, array(x.r))
    return implies(*signs(x), off(x, x.v), each(le, distance(x.v, scan_gains(x))[: x.T], bound))


def draw_rounded(draw: Draw) -> Instance:
    """v is a sweep of u but for r."""
    x = draw_signed(draw)
    x.r = list(distance(x.v, phi(x, x.u)))
    return x


@law(draw_rounded)
def T29_rounded(x: Instance) -> Proposition:
    bound = resolved(x, coupling(x) @ distance(x.v, x.u) + array(x.r))
    return implies(*signs(x), off(x, x.u), each(le, distance(x.v, scan_gains(x))[: x.T], bound))


def draw_spread(draw: Draw) -> Instance:
    x = draw_signed(draw)
    x.e = draw.numbers(len(x.s))
    return x


@law(draw_spread)
def T29_spread(x: Instance) -> Proposition:
    carried, reads = 0 * x.d1, []
    for s, w, gamma, e in zip(x.s, x.w, x.gamma, x.e, strict=True):
        reads.append((x.eta * w * abs(s)) @ carried)
        carried = gamma * carried + e * abs(s)
    return each(eq, coupling(x) @ array(x.e), array(reads))


@law(draw_short)
def T29_feature_coupling(x: Instance) -> Proposition:
    squares, tokens = [k * k for k in x.k], range(len(x.k))
    pairs = [(t, j) for t in tokens for j in tokens]
    forms = [eq(x.eta * x.w[t] * fading(x.gamma, j + 1, t) * (abs(x.s[t]) @ abs(x.s[j])),
                x.eta * x.w[t] * fading(x.gamma, j + 1, t) * (abs(x.b[t]) * abs(x.b[j]) * (squares[t] @ squares[j])))
             for t, j in pairs]  # fmt: skip
    return every(forms)


def draw_perturbed(draw: Draw) -> Instance:
    """A run p with an error e before and f after every clip, of size at most a and b, and r that adds them up."""
    x = draw_signed(draw)
    x.eta = draw.closed_step(step_limit(x, x.gamma, x.w))
    count = len(x.s)
    x.e, x.f = draw.vectors(count, x.n, -1, 1), draw.vectors(count, x.n, -1, 1)
    x.a, x.b = ([sum(abs(v)) for v in rows] for rows in (x.e, x.f))
    x.p, x.r = [x.d1], [fmpq(0)]
    for t in range(count):
        x.p.append(clip(moved(x.eta, x.w[t], x.gamma[t], x.c, x.p[t], x.s[t]) + x.e[t], x.lo, x.hi) + x.f[t])
        x.r.append(x.gamma[t] * x.r[t] + x.a[t] + x.b[t])
    return x


@law(draw_perturbed)
def T29_norm_certificate(x: Instance) -> Proposition:
    gates, steps = signs(x)
    tokens = range(x.T)
    no_long_step = [le(x.eta * x.w[t] * sq(x.s[t]), 2 * x.gamma[t]) for t in tokens]
    run = [eq(x.p[t + 1], clip(moved(x.eta, x.w[t], x.gamma[t], x.c, x.p[t], x.s[t]) + x.e[t], x.lo, x.hi) + x.f[t])
           for t in tokens]  # fmt: skip
    sizes = [[[le(0, size), le(sq(v), size**2)] for v, size in zip(vectors, bounds, strict=True)]
             for vectors, bounds in ((x.e, x.a), (x.f, x.b))]  # fmt: skip
    sums = [eq(x.r[t + 1], x.gamma[t] * x.r[t] + x.a[t] + x.b[t]) for t in range(len(x.s))]
    ends = [le(sq(x.p[t] - d), x.r[t] ** 2) for t, d in enumerate(path(x)[: x.T + 1])]
    return implies(
        steps, gates, no_long_step, eq(x.p[0], x.d1), run, *sizes, eq(x.r[0], 0), sums, every(ends)
    )


Map = tuple[tuple[tuple[Number, Number], Number], Number]
"""x -> min(h, max(l, a x + b)) as (((a, b), l), h)."""


def draw_maps(draw: Draw) -> Instance:
    """Three maps and a number to try them on."""
    x = Instance(x=draw.number(-4, 4))
    for name in "fgh":
        low, high = sorted(draw.numbers(2))
        setattr(x, name, (((draw.number(0, 2), draw.number()), low), high))
    return x


def value(f: Map, x: Number) -> Number:
    ((slope, offset), low), high = f
    return min(high, max(low, slope * x + offset))


def composed(g: Map, f: Map) -> Map:
    """g after f."""
    ((slope, offset), low), high = f
    ((outer, shift), _), _ = g
    return ((outer * slope, outer * offset + shift), value(g, low)), value(g, high)


def rising(f: Map) -> Proposition:
    return le(0, f[0][0][0])


def ordered(f: Map) -> Proposition:
    return le(f[0][1], f[1])


@law(draw_maps)
def T29_composition(x: Instance) -> Proposition:
    once = eq(value(composed(x.g, x.f), x.x), value(x.g, value(x.f, x.x)))
    return implies(rising(x.g), ordered(x.f), ordered(x.g), once)


def falling(draw: Draw) -> Instance:
    """g turns the order round."""
    x = draw_maps(draw)
    ((slope, offset), low), high = x.g
    x.g = ((-1 - slope, offset), low), high
    return x


T29_composition.without("a slope below zero", 0, falling)


@law(draw_maps)
def T29_associative(x: Instance) -> Proposition:
    left, right = composed(x.h, composed(x.g, x.f)), composed(composed(x.h, x.g), x.f)
    return implies(rising(x.h), ordered(x.g), ordered(x.h), eq(left, right))


def token_map(x: Instance, i: int, t: int) -> Map:
    """What token t does to entry i."""
    return ((x.gamma[t], x.c[i] - x.gamma[t] * x.c[i] + x.u[t] * x.s[t][i]), x.lo[i]), x.hi[i]


@law(draw_signed)
def T29_token_map(x: Instance) -> Proposition:
    run = driven(x, x.u)
    return every(eq(run[t + 1][i], value(token_map(x, i, t), run[t][i]))
                 for i in range(x.n) for t in range(len(x.s)))  # fmt: skip


@law(draw_signed)
def T29_joined(x: Instance) -> Proposition:
    run, facts = driven(x, x.u), []
    for i in range(x.n):
        whole = token_map(x, i, 0)
        for t in range(len(x.s)):
            whole = composed(token_map(x, i, t), whole) if t else whole
            facts.append(implies(signs(x)[0], le(x.lo[i], x.hi[i]), eq(run[t + 1][i], value(whole, x.d1[i]))))
    return every(facts)


def draw_adjoint(draw: Draw) -> Instance:
    """A scan, a clip pattern, weights of every iterate, a change of d_1, and two runs of adjoint gains."""
    x = draw_signed(draw)
    count = len(x.s)
    x.kept = [array([draw.choice(0, 1) for _ in range(x.n)]) for _ in range(count)]
    x.weight, x.d, x.q, x.m = draw.vectors(count, x.n), draw.vector(x.n), draw.numbers(count), min(x.m, x.T)
    setattr(x, "q'", draw.numbers(count))
    return x


def tangents(x: Instance, change: Array) -> list[Array]:
    """How the iterates move with d_1, the clip pattern fixed."""
    d, found = change, [change]
    for s, w, gamma, kept in zip(x.s[: x.T], x.w, x.gamma, x.kept, strict=False):
        d = kept * (gamma * d - x.eta * w * (d @ s) * s)
        found.append(d)
    return found


def adjoints(x: Instance, gains: Gains | None = None) -> tuple[Array, Gains]:
    """lambda_1, and the gains that the adjoint run wants, backwards in time: first of token T.

    `gains` drive the run in the place of its own.
    """
    state, seen = x.weight[x.T], []
    for back in range(x.T):
        t = x.T - 1 - back
        kept = x.kept[t] * state
        seen.append(x.s[t] @ kept)
        gain = seen[-1] if gains is None else gains[back]
        state = x.weight[t] + x.gamma[t] * kept - x.eta * x.w[t] * gain * x.s[t]
    return state, seen


@law(draw_adjoint)
def T29_adjoint(x: Instance) -> Proposition:
    moves = sum(g @ d for g, d in zip(x.weight, tangents(x, x.d), strict=False))
    return eq(moves, adjoints(x)[0] @ x.d)


T29_adjoint.false("the clip pattern left out", lambda x: eq(
    sum(g @ d for g, d in zip(x.weight, tangents(x, x.d), strict=False)),
    adjoints(Instance(**{**vars(x), "kept": [0 * k + 1 for k in x.kept]}))[0] @ x.d))  # fmt: skip


def pattern(x: Instance) -> list[Proposition]:
    """Gates, steps, and a clip pattern between 0 and 1."""
    return [*signs(x), every([le(0, a), le(a, 1)] for kept in x.kept for a in kept)]


def backwards(x: Instance) -> Array:
    """The coupling of the adjoint's gains: N transposed, in the order of the adjoint's run."""
    return np.flip(coupling(x)[: x.T, : x.T].T)


@law(draw_adjoint)
def T29_adjoint_comparison(x: Instance) -> Proposition:
    other = getattr(x, "q'")
    moved_by = distance(adjoints(x, x.q)[1], adjoints(x, other)[1])
    bound = backwards(x) @ distance(x.q, other)[: x.T]
    return implies(*pattern(x), each(le, moved_by, bound))


def adjoint_swept(x: Instance) -> Gains:
    gains: Gains = x.q
    for _ in range(x.m):
        gains = adjoints(x, gains)[1]
    return gains


@law(draw_adjoint)
def T29_adjoint_sweeps(x: Instance) -> Proposition:
    own = adjoints(x)[1]
    bound = power(backwards(x), x.m, distance(x.q[: x.T], own))
    return implies(*pattern(x), each(le, distance(adjoint_swept(x), own), bound))


T29_adjoint_sweeps.false("N for its transpose", lambda x: each(
    le, distance(adjoint_swept(x), adjoints(x)[1]),
    power(coupling(x)[: x.T, : x.T], x.m, distance(x.q[: x.T], adjoints(x)[1]))))  # fmt: skip


@law(draw_adjoint)
def T29_last_adjoints(x: Instance) -> Proposition:
    count = min(x.m, len(x.s))
    return each(eq, array(adjoint_swept(x)[:count]), array(adjoints(x)[1][:count]))


def draw_adjoint_computed(draw: Draw) -> Instance:
    """Adjoint gains q, how far they are from what they should be, and a bound z that this justifies."""
    x = draw_adjoint(draw)
    x.r, n = list(distance(x.q[: x.T], adjoints(x, x.q)[1])), backwards(x)
    x.z = []
    for s in range(x.T):
        x.z.append(sum((n[s, j] * x.z[j] for j in range(s)), fmpq(0)) + x.r[s] + draw.choice(0, 1))
    return x


@law(draw_adjoint_computed)
def T29_adjoint_certificate(x: Instance) -> Proposition:
    n, tokens = backwards(x), range(x.T)
    defects = each(le, distance(x.q[: x.T], adjoints(x, x.q)[1]), array(x.r))
    enough = [le(sum((n[s, j] * x.z[j] for j in range(s)), 0 * x.eta) + x.r[s], x.z[s]) for s in tokens]
    ends = each(le, distance(x.q[: x.T], adjoints(x)[1]), array(x.z))
    return implies(*pattern(x), defects, enough, ends)


def draw_one_pattern(draw: Draw) -> Instance:
    """Two starts, and a box that is either out of reach or a single point, feature by feature."""
    x = draw_adjoint(draw)
    x.d, x.e = x.d1, draw.vector(x.n, 0, 2)
    wide = [draw.choice(0, 1) for _ in range(x.n)]
    point = draw.vector(x.n)
    x.lo, x.hi = (
        array([side * 10**9 if a else b for a, b in zip(wide, point, strict=True)]) for side in (-1, 1)
    )
    x.kept = [array(wide)] * len(x.s)
    return x


@law(draw_one_pattern)
def T29_tangent(x: Instance) -> Proposition:
    runs = [path(x, start=start) for start in (x.d, x.e)]
    facts = [_one_pattern(x, runs, t, i) for t in range(x.T) for i in range(x.n)]
    moves = zip(*(run[: x.T + 1] for run in runs), tangents(x, x.d - x.e), strict=True)
    return implies(every(facts), every(eq(a - b, tangent) for a, b, tangent in moves))


def _one_pattern(x: Instance, runs: list[list[Array]], t: int, i: int) -> Proposition:
    """Entry i of token t is kept in both runs, or clipped to the same face."""
    free, clipped = [], []
    for run in runs:
        step = moved(x.eta, x.w[t], x.gamma[t], x.c, run[t], x.s[t])
        free.append(step[i])
        clipped.append(clip(step, x.lo, x.hi)[i])
    kept = every(eq(x.kept[t][i], 1), eq(clipped[0], free[0]), eq(clipped[1], free[1]))
    return Either(kept, every(eq(x.kept[t][i], 0), eq(clipped[0], clipped[1])))
