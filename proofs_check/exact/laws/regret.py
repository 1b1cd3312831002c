"""T5 to T8, T14 and T15: the regret of the calibrate steps, and what follows from it, on rational instances."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.law import law
from proofs_check.exact.numbers import Array, Number, array, inverse, is_invertible, product, root
from proofs_check.exact.propositions import Fact, Proposition, eq, every, implies, le, lt, ne
from proofs_check.exact.rules import (
    in_box,
    largest,
    losses,
    memories,
    path,
    residual,
    sq,
    surrogate,
    write,
)


def with_memory(draw: Draw, x: Instance) -> Instance:
    """Values and a first memory, such that full writes meet no residual of zero."""
    x.p = draw.value_dim()
    x.S0, x.v = draw.matrix(x.p, x.n), []
    state = x.S0
    for k, d in zip(x.k, path(x), strict=False):
        value = draw.vector(x.p)
        if not any(residual(state, k, value)):
            value = value + 1
        state = write(state, k, value, d, 1)
        x.v.append(value)
    return x


def draw_interpolated(draw: Draw) -> Instance:
    """Features with <u, s_t> = 1: u_i = 1/r_i^2 and k_i = w_i r_i with |w| = 1, all rational."""
    n, length = draw.key_dim(), draw.length()
    choices = (1, fmpq(1, 2), 2) if draw.dyadic else (1, fmpq(1, 2), 2, fmpq(3, 2), fmpq(2, 3), fmpq(4, 5))
    radii = array([draw.choice(*choices) for _ in range(n)])
    keys = [draw.unit(n) * radii for _ in range(length)]
    x = Instance(
        n=n, T=length, k=keys, s=[k * k for k in keys], beta=draw.numbers(length, 0, 2), u=1 / radii**2
    )
    x.M = largest(x.s)
    x.lo, x.hi = draw.box_around(x.u)
    x.d1, x.eta = draw.start(x.lo, x.hi, x.u), draw.step(2 / x.M)
    x.domains = {"nat": range(length + 2)}
    return with_memory(draw, x)


def gaps(x: Instance) -> list[Number]:
    """1 - a_t for every token."""
    return [1 - d @ s for d, s in zip(path(x), x.s, strict=False)]


def constant(x: Instance) -> Number:
    """C = |d_1 - u|^2 / (eta (2 - eta M))."""
    return sq(x.d1 - x.u) / (x.eta * (2 - x.eta * x.M))


def small(x: Instance) -> list[Proposition]:
    """|s_t|^2 <= M."""
    return [le(sq(s), x.M) for s in x.s]


def interpolating(x: Instance, conclusion: Proposition, *further: Fact) -> Proposition:
    """A conclusion under the premises of T5."""
    met = [eq(x.u @ s, 1) for s in x.s]
    step = lt(0, x.eta), lt(x.eta * x.M, 2)
    return implies(in_box(x.lo, x.hi, x.u), met, small(x), *step, *further, conclusion)


@law(draw_interpolated)
def T5_interpolating_regret(x: Instance) -> Proposition:
    return interpolating(x, le(sum(g**2 for g in gaps(x)), constant(x)))


def outside_box(draw: Draw) -> Instance:
    """The comparator left out of the box by a quarter in every coordinate."""
    x = draw_interpolated(draw)
    x.lo, x.hi = x.u + fmpq(1, 4), x.u + 1
    x.d1 = x.lo
    return x


def not_interpolated(draw: Draw) -> Instance:
    """Keys of twice or half the length that <u, s_t> = 1 needs."""
    x = draw_interpolated(draw)
    x.k = [draw.choice(fmpq(1, 2), fmpq(2)) * k for k in x.k]
    x.s = [k * k for k in x.k]
    x.M = largest(x.s)
    x.eta = draw.step(2 / x.M)
    return x


T5_interpolating_regret.false("C / 2", lambda x: le(sum(g**2 for g in gaps(x)), constant(x) / 2))
T5_interpolating_regret.without("u outside the box", 0, outside_box)
T5_interpolating_regret.without("u does not interpolate", 1, not_interpolated)


@law(draw_interpolated)
def T6_super_geometric(x: Instance) -> Proposition:
    return interpolating(x, le(product(g**2 for g in gaps(x)), (constant(x) / x.T) ** x.T))


T6_super_geometric.false("(C / T)^(T + 1)", lambda x: le(
    product(g**2 for g in gaps(x)), (constant(x) / x.T) ** (x.T + 1)))  # fmt: skip


def full_losses(x: Instance) -> list[tuple[Number, Number]]:
    return losses(x, memories(x, path(x), [1] * x.T))


@law(draw_interpolated)
def T6_token_losses(x: Instance) -> Proposition:
    before, after = (product(side) for side in zip(*full_losses(x), strict=True))
    return interpolating(x, le(after, (constant(x) / x.T) ** x.T * before))


@law(draw_interpolated)
def T6_residual_ratios(x: Instance) -> Proposition:
    found = full_losses(x)
    unread = [ne(before, 0) for before, _ in found]
    ratios = product(after / before for before, after in found)
    return interpolating(x, le(ratios, (constant(x) / x.T) ** x.T), unread)


def gated(x: Instance) -> list[Number]:
    """|1 - beta_t a_t|."""
    return [abs(1 - b * (1 - gap)) for b, gap in zip(x.beta, gaps(x), strict=True)]


def gate_level(x: Instance) -> Number:
    """mean |1 - beta_t| + the root mean square of beta_t, times the root of C / T."""
    missed = sum(abs(1 - b) for b in x.beta) / x.T
    return missed + root(sum(b**2 for b in x.beta) / x.T) * root(constant(x) / x.T)


def nonnegative_gates(x: Instance) -> list[Proposition]:
    return [le(0, b) for b in x.beta]


@law(draw_interpolated)
def T7_mean_bound(x: Instance) -> Proposition:
    return interpolating(x, le(sum(gated(x)) / x.T, gate_level(x)), nonnegative_gates(x))


@law(draw_interpolated)
def T7_product_bound(x: Instance) -> Proposition:
    return interpolating(x, le(product(gated(x)), gate_level(x) ** x.T), nonnegative_gates(x))


@law(draw_interpolated)
def T7_token_losses(x: Instance) -> Proposition:
    before, after = (product(side) for side in zip(*losses(x, memories(x, path(x))), strict=True))
    bound = (gate_level(x) ** x.T) ** 2 * before
    return interpolating(x, le(after, bound), nonnegative_gates(x))


def draw_aware(draw: Draw) -> Instance:
    """beta_t <u, s_t> = 1 with the feature beta_t s_t: keys divided by the root of their gate."""
    x = draw_interpolated(draw)
    roots = [draw.choice(fmpq(1, 2), 1, 2) for _ in x.k]
    x.beta = [r**2 for r in roots]
    x.k = [k / r for r, k in zip(roots, x.k, strict=True)]
    x.s = [k * k for k in x.k]
    return with_memory(draw, x)


def scaled(x: Instance) -> Instance:
    """The instance with the features beta_t s_t."""
    return Instance(**{**vars(x), "s": [b * s for b, s in zip(x.beta, x.s, strict=True)]})


def aware(x: Instance, conclusion: Proposition) -> Proposition:
    """A conclusion under the premises of T5 for beta_t s_t."""
    met = [eq(b * (x.u @ s), 1) for b, s in zip(x.beta, x.s, strict=True)]
    step = lt(0, x.eta), lt(x.eta * x.M, 2)
    return implies(in_box(x.lo, x.hi, x.u), met, small(scaled(x)), *step, conclusion)


@law(draw_aware)
def T7_beta_aware_regret(x: Instance) -> Proposition:
    return aware(x, le(sum(g**2 for g in gaps(scaled(x))), constant(x)))


@law(draw_aware)
def T7_beta_aware_super_geometric(x: Instance) -> Proposition:
    return aware(x, le(product(g**2 for g in gaps(scaled(x))), (constant(x) / x.T) ** x.T))


T7_beta_aware_super_geometric.false("(C / 2T)^T", lambda x: le(
    product(g**2 for g in gaps(scaled(x))), (constant(x) / (2 * x.T)) ** x.T))  # fmt: skip


@law(draw_aware)
def T7_beta_aware_token_losses(x: Instance) -> Proposition:
    found = losses(x, memories(x, path(scaled(x))))
    before, after = (product(side) for side in zip(*found, strict=True))
    return aware(x, le(after, (constant(x) / x.T) ** x.T * before))


def draw_agnostic(draw: Draw) -> Instance:
    """Any features, any comparator in the box."""
    n, length = draw.key_dim(), draw.length()
    keys = draw.keys(length, n)
    x = Instance(n=n, T=length, k=keys, s=[k * k for k in keys], u=draw.vector(n, 0, 2))
    x.M = largest(x.s)
    x.lo, x.hi = draw.box_around(x.u)
    x.d1, x.eta = draw.start(x.lo, x.hi, x.u), draw.step(1 / x.M)
    x.domains = {"nat": range(length + 2)}
    return x


def surrogates(x: Instance) -> Number:
    """sum of l_t(d_t) along the run."""
    return sum(surrogate(d, s) for d, s in zip(path(x), x.s, strict=False))


def short_step(x: Instance) -> list[Proposition]:
    return [lt(0, x.eta), lt(x.eta * x.M, 1)]


def agnostic_bound(x: Instance) -> Number:
    """(sum l_t(u) + |d_1 - u|^2 / (2 eta)) / (1 - eta M)."""
    return (sum(surrogate(x.u, s) for s in x.s) + sq(x.d1 - x.u) / (2 * x.eta)) / (1 - x.eta * x.M)


@law(draw_agnostic)
def T8_agnostic_regret(x: Instance) -> Proposition:
    return implies(in_box(x.lo, x.hi, x.u), small(x), *short_step(x), le(surrogates(x), agnostic_bound(x)))


def from_comparator(draw: Draw) -> Instance:
    """d_1 = u, and two features that pull it to and fro: the regret is all the comparator's."""
    x = draw_agnostic(draw)
    x.d1, x.T = x.u, 5
    x.s = [(4 if t % 2 else 1) * x.s[0] for t in range(5)]
    x.M = largest(x.s)
    x.eta = fmpq(3, 4) / x.M
    return x


T8_agnostic_regret.false("1 - eta M left out", lambda x: le(
    surrogates(x), agnostic_bound(x) * (1 - x.eta * x.M)), from_comparator)  # fmt: skip
T8_agnostic_regret.false("|d_1 - u|^2 / (8 eta)", lambda x: le(
    surrogates(x), agnostic_bound(x) - sq(x.d1 - x.u) * 3 / (8 * x.eta) / (1 - x.eta * x.M)))  # fmt: skip


def draw_tracking(draw: Draw) -> Instance:
    """A moving comparator in a bounded box; half of the time d_1 = u_1."""
    x = draw_agnostic(draw)
    if draw.kind != "boxed":
        x.lo, x.hi = array([fmpq(0)] * x.n), array([draw.choice(2, 3, fmpq(5, 2)) for _ in range(x.n)])
    x.u = [x.lo + (x.hi - x.lo) * draw.vector(x.n, 0, 1) for _ in range(x.T)]
    x.d1 = draw.choice(x.u[0], x.d1)
    return x


def tracking_bound(x: Instance, travel: int = 2) -> Number:
    """(sum l_t(u_t) + (|d_1 - u_1|^2 + 2 R P_T) / (2 eta)) / (1 - eta M)."""
    spent = sum(surrogate(u, s) for u, s in zip(x.u, x.s, strict=True))
    moves = sum((root(sq(b - a)) for a, b in pairwise(x.u)), fmpq(0)) if travel else 0
    start = sq(x.d1 - x.u[0]) + (travel * root(sq(x.hi - x.lo)) * moves if travel else 0)
    return (spent + start / (2 * x.eta)) / (1 - x.eta * x.M)


@law(draw_tracking)
def T14_tracking(x: Instance) -> Proposition:
    inside = [in_box(x.lo, x.hi, u) for u in x.u]
    return implies(inside, small(x), *short_step(x), le(surrogates(x), tracking_bound(x)))


def following(draw: Draw) -> Instance:
    """One feature, and a comparator that jumps between two ways to interpolate it that d must follow."""
    x = draw_tracking(draw)
    x.n, x.T = draw.integer(2, 3), draw.integer(2, 6)
    axis = array([fmpq(i == 0) for i in range(x.n)])
    x.s = [axis / (2 if t % 2 else 1) for t in range(x.T)]
    x.u = [axis * (2 if t % 2 else 1) for t in range(x.T)]
    x.lo, x.hi, x.d1, x.M = 0 * axis, 0 * axis + 2, x.u[0], fmpq(1)
    x.eta = draw.step(x.M)
    return x


T14_tracking.false("the path length left out", lambda x: le(surrogates(x), tracking_bound(x, 0)), following)


def draw_unit_stream(draw: Draw) -> Instance:
    """Unit keys, d_1 = 1 inside the box, no forgetting, any step, any gate."""
    n, p, length = draw.key_dim(), draw.value_dim(), draw.length()
    keys = [draw.unit(n) for _ in range(length)]
    x = Instance(n=n, p=p, k=keys, s=[k * k for k in keys], v=draw.vectors(length, p), S0=draw.matrix(p, n),
                 beta=draw.numbers(length, 0, 2), d1=array([fmpq(1)] * n), eta=draw.positive())  # fmt: skip
    x.lo, x.hi = draw.box_around(x.d1)
    x.domains = {"nat": range(length)}
    return x


def ones(x: Instance) -> Array:
    return 0 * x.lo + 1


def unit_keys(x: Instance, conclusion: Proposition) -> Proposition:
    """A conclusion for unit keys and a box that holds 1."""
    return implies([eq(sq(k), 1) for k in x.k], in_box(x.lo, x.hi, ones(x)), conclusion)


@law(draw_unit_stream)
def T15_identity_fixed_point(x: Instance) -> Proposition:
    return unit_keys(x, every(eq(d, ones(x)) for d in path(x)[:-1]))


def longer_keys(draw: Draw) -> Instance:
    """Keys of length 5/4 or 1/2."""
    x = draw_unit_stream(draw)
    x.k = [draw.choice(fmpq(5, 4), fmpq(1, 2)) * k for k in x.k]
    x.s = [k * k for k in x.k]
    return x


T15_identity_fixed_point.without("keys of length 5/4 or 1/2", 0, longer_keys)


@law(draw_unit_stream)
def T15_osdn_is_deltanet(x: Instance) -> Proposition:
    plain = memories(x, [ones(x)] * len(x.k))
    pairs = zip(memories(x, path(x)), plain[:-1], strict=False)
    return unit_keys(x, every(eq(a, b) for a, b in pairs))


def draw_unit_token(draw: Draw) -> Instance:
    """One value and gate, written with every d_t of a stream of unit keys."""
    x = draw_unit_stream(draw)
    x.v, x.beta = x.v[0], x.beta[0]
    return x


@law(draw_unit_token)
def T15_write_is_deltanet(x: Instance) -> Proposition:
    written = [eq(write(x.S0, k, x.v, d, x.beta), x.S0 + x.beta * np.outer(residual(x.S0, k, x.v), k))
               for k, d in zip(x.k, path(x), strict=False)]  # fmt: skip
    return unit_keys(x, every(written))


def draw_excited(draw: Draw) -> Instance:
    """Unit keys, one period of N of them, whose squares span; 0 < eta < 2/M; a start in the box."""
    n = draw.key_dim(3)
    keys = [draw.unit(n) for _ in range(draw.integer(n, n + 1))]
    while (moments := spanned(keys)) is None:
        keys.append(draw.unit(n))
    x = Instance(n=n, N=len(keys), k=keys, s=[k * k for k in keys])
    x.c, x.M = 1 / np.trace(inverse(moments)), largest(x.s)
    x.eta = draw.step(2 / x.M)
    x.lo, x.hi = draw.box_around(array([fmpq(1)] * n))
    x.d1 = draw.start(x.lo, x.hi, array([fmpq(1)] * n))
    x.q = 1 - x.eta * (2 - x.eta * x.M) * x.c / window_constant(x)
    x.domains = {"nat": range(2), "x": draw.vectors(2, n)}
    return x


def spanned(keys: list[Array]) -> Array | None:
    """sum of s s^T, where it has an inverse."""
    moments = sum(np.outer(k * k, k * k) for k in keys)
    return moments if is_invertible(moments) else None


def window_constant(x: Instance) -> Number:
    """2 (1 + (N eta M)^2)."""
    return 2 * (1 + (x.N * x.eta * x.M) ** 2)


def excited(x: Instance, start: int) -> Proposition:
    """c |y|^2 <= sum over the window of <y, s_t>^2, on a sample of y."""
    window = [x.s[(start + i) % x.N] for i in range(x.N)]
    return every(le(x.c * sq(y), sum((y @ s) ** 2 for s in window)) for y in x.domains["x"])


def stepping(x: Instance) -> list[Fact]:
    """The premises of the limit: the box, the keys, the step."""
    tokens = range(2)
    keys = [x.k[t % x.N] for t in tokens]
    features = [x.s[t % x.N] for t in tokens]
    return [in_box(x.lo, x.hi, ones(x)), in_box(x.lo, x.hi, x.d1), [eq(sq(k), 1) for k in keys],
            [le(sq(s), x.M) for s in features], lt(0, x.eta), lt(x.eta * x.M, 2)]  # fmt: skip


def distances(x: Instance, tokens: int) -> list[Number]:
    """|d_t - 1|^2, the period over and over."""
    again = Instance(**{**vars(x), "s": [x.s[t % x.N] for t in range(tokens)]})
    return [sq(d - ones(x)) for d in path(again)]


@law(draw_excited)
def T15_limit(x: Instance) -> Proposition:
    found = distances(x, x.N)
    windows = [excited(x, m * x.N) for m in range(2)]
    shrinks = [le(found[m * x.N], x.q**m * sq(x.d1 - ones(x))) for m in range(2)]
    return implies(*stepping(x), lt(0, x.c), windows, [le(0, x.q), lt(x.q, 1), shrinks])


@law(draw_excited)
def T15_limit_window(x: Instance) -> Proposition:
    found, weight = distances(x, x.N + 1), window_constant(x)
    kept = weight - x.eta * (2 - x.eta * x.M) * x.c
    windows = [implies(excited(x, t), le(weight * found[t + x.N], kept * found[t])) for t in range(2)]
    return implies(*stepping(x), every(windows))


T15_limit_window.false("the window takes twice as much", lambda x: le(
    window_constant(x) * distances(x, x.N)[x.N],
    (window_constant(x) - 400 * x.eta * (2 - x.eta * x.M) * x.c) * distances(x, 0)[0]))  # fmt: skip
