"""What is false without one of its hypotheses: the theorems ``T…_needs_…``, at the counterexamples that they are about.

Most have one feature; the first tokens stand for all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, Finite, Instance, Source
from proofs_check.exact.law import law, register
from proofs_check.exact.laws.context import ContextInstance, over
from proofs_check.exact.laws.mean import MeanInstance, distribution
from proofs_check.exact.laws.newton import is_diagonal, is_invertible, run
from proofs_check.exact.laws.run.scan import ScanInstance, StreamInstance, lower
from proofs_check.exact.laws.run.sweeps import SweepInstance, distance
from proofs_check.exact.laws.token import TokenInstance, gate_bound, lyapunov
from proofs_check.exact.numbers import Array, Number, array, identity, inverse, product, vector
from proofs_check.exact.propositions import Proposition, eq, every, implies, le, lt, ne
from proofs_check.exact.rules import (
    alignment,
    clip,
    frob_sq,
    in_box,
    losses,
    memories,
    moved,
    path,
    residual,
    sq,
    surrogate,
    write,
)

TOKENS, HALF = 3, fmpq(1, 2)


def one(x: Any) -> Array:
    """A row with one entry."""
    return vector(1, x)


def row(*entries: Any) -> Array:
    return array([fmpq(a) for a in entries])


def at(subject: type[Any] = Instance, **values: Any) -> Source:
    """One instance, whatever is drawn; a value may be a function of a Draw."""

    def drawn(draw: Draw) -> Any:
        given = {name: value(draw) if callable(value) else value for name, value in values.items()}
        return subject(**given, domains={"nat": range(TOKENS), "x": draw.vectors(2, given.get("n", 1))})

    return drawn


def step_from(low: int) -> Callable[[Draw], Number]:
    """Any step above `low`."""
    return lambda draw: low + draw.positive()


def token_at(k: Any, v: Any, d: Any, state: Any) -> Source:
    """One token, one feature, one value, and half a gate."""
    return at(TokenInstance, S0=array([one(state)]), k=one(k), v=one(v), d=one(d), beta=HALF, n=1)


def ratio(x: TokenInstance) -> Number:
    """f after the write over f before, 0 where there was no loss."""
    return over(x.loss(x.written), x.loss(x.S0))


def both_scaled(x: TokenInstance) -> Array:
    """The write with the erase key d * k as well."""
    scaled = x.d * x.k
    return x.S0 + x.beta * np.outer(residual(x.S0, scaled, x.v), scaled)


register(
    at(ContextInstance, k=[one(1)], v=[one(0)], S0=array([one(0)]), m=1, S_prime=array([one(1)])),
    T1_needs_normal_equations=lambda x: ne(x.loss(x.S0) - x.loss(x.S_prime), x.energy(x.S0 - x.S_prime) / 2),
)
register(token_at(1, 1, 1, 1), T3_needs_nonzero_residual=lambda x: ne(ratio(x), x.kept**2))
register(
    token_at(1, 1, 1, 0),
    T3_needs_square=lambda x: every(ne(x.residual, one(0)), ne(ratio(x), abs(x.kept))),
    T4_needs_full_gate=lambda x: every(eq(x.a, 1), ne(x.loss(x.written), 0)),
)
register(
    token_at(1, 2, 2, 1),
    T3_needs_plain_erase_key=lambda x: ne(residual(both_scaled(x), x.k, x.v), x.kept * x.residual),
)


class OneFeature(Instance):
    """One feature that is 1 at every token, a start, a comparator, a box; sums over the first 0, 1, 2, ... tokens."""

    gap_sums = property(lambda x: sums([(1 - d @ s) ** 2 for d, s in zip(path(x), x.s, strict=False)]))
    loss_sums = property(lambda x: sums([surrogate(d, s) for d, s in zip(path(x), x.s, strict=False)]))
    inside = property(lambda x: in_box(x.lo, x.hi, x.u))
    interpolates = property(lambda x: [eq(x.u @ s, 1) for s in x.s])
    bounded = property(lambda x: [le(sq(s), 1) for s in x.s])
    lossless = property(lambda x: [eq(surrogate(x.u, s), 0) for s in x.s])
    off = property(lambda x: sq(x.first - x.u))
    bound = property(
        lambda x: (surrogate(x.u, x.s[0]) + x.off / (2 * x.eta)) / (1 - x.eta * 1)
    )  # of T8, one token


def sums(terms: Sequence[Number]) -> list[Number]:
    return [sum(terms[:count], fmpq(0)) for count in range(TOKENS)]


def grow(found: list[Number], rate: Any, *facts: Proposition) -> list[Any]:
    """The sums over T tokens are T times a rate, and for each T the same facts."""
    return [[eq(a, T * fmpq(rate)), *facts] for T, a in enumerate(found)]


def stream(first: Any, u: Any, low: Any, high: Any, **values: Any) -> Source:
    start = {"first": one(first), "d1": one(first), "u": one(u), "lo": one(low), "hi": one(high)}
    return at(OneFeature, **start, s=[one(1)] * TOKENS, **values)


QUARTER = fmpq(1, 4)
register(
    stream(2, 1, 0, 2, eta=step_from(2)),
    T5_needs_small_step=lambda x: implies(
        le(2, x.eta), [x.inside, x.interpolates, x.bounded, grow(x.gap_sums, 1)]
    ),
    T8_needs_bounded_step=lambda x: implies(
        le(2, x.eta), [x.inside, x.bounded, x.lossless, grow(x.loss_sums, HALF)]
    ),
)
register(
    stream(HALF, HALF, 0, HALF, eta=fmpq(1)),
    T5_needs_interpolation=lambda x: every(x.inside, x.bounded, grow(x.gap_sums, QUARTER, eq(x.off, 0))),
)
register(
    stream(HALF, 1, 0, HALF, eta=fmpq(1)),
    T5_needs_u_in_the_box=lambda x: every(
        x.interpolates, x.bounded, grow(x.gap_sums, QUARTER, eq(x.off, QUARTER))
    ),
)
register(
    stream(2, 1, 0, 2, eta=step_from(1)),
    T8_needs_small_step=lambda x: implies(lt(1, x.eta), [x.inside, x.bounded, lt(x.bound, x.loss_sums[1])]),
)
register(
    stream(HALF, 1, 0, HALF, eta=step_from(0)),
    T8_needs_u_in_the_box=lambda x: implies(
        lt(0, x.eta), [x.bounded, x.lossless, eq(x.off, QUARTER), grow(x.loss_sums, fmpq(1, 8))]
    ),
)
register(
    at(beta=fmpq(-1), a=fmpq(3)),
    T7_needs_nonnegative_gate=lambda x: lt(gate_bound(x.beta, x.a), abs(1 - x.beta * x.a)),
)


@law(stream(1, 1, 1, 1, eta=fmpq(1), S0=array([one(0)]), k=[one(1)] * TOKENS, v=[one(1)] * TOKENS))
def T6_needs_full_writes(x: OneFeature) -> Proposition:
    found = losses(x, memories(x, path(x), [HALF] * TOKENS))
    decays = [lt((sq(x.u - x.u) / T) ** T * product(a for a, _ in found[:T]), product(b for _, b in found[:T]))
              for T in range(1, TOKENS)]  # fmt: skip
    return every(x.inside, x.interpolates, x.bounded, decays)


def diagonal_runs(x: ContextInstance, eta: Number) -> list[tuple[Number, Number]]:
    """The sum of ratios and F(S) - F* after T = 0, 1, 2, ... steps."""
    runs = [run(x.but(T=T), x.d, eta) for T in range(TOKENS)]
    return [(sum(ratios, fmpq(0)), x.energy(errors[-1]) / 2) for ratios, errors in runs]


def any_step(draw: Draw) -> ContextInstance:
    """Three keys, values zero, and steps of any size."""
    return ContextInstance(
        n=2, m=3, k=[row(1, 1), row(1, 0), row(0, 1)], v=[one(0)] * 3, Sstar=array([row(0, 0)]),
        S0=array([row(2, -1)]), d=row(HALF, HALF), L=fmpq(3),
        domains={"nat": range(TOKENS), "x": draw.vectors(2, 2), "eta": draw.numbers(2)},
    )  # fmt: skip


@law(any_step)
def T10_needs_diagonal_gram(x: ContextInstance) -> Proposition:
    start = x.energy(x.error) / 2
    stuck = [[eq(total, fmpq(T) / 4), eq(left, fmpq(1, 4) ** T * start)]
             for eta in x.domains["eta"] for T, (total, left) in enumerate(diagonal_runs(x, eta))]  # fmt: skip
    return every(x.is_normal, x.is_bounded, is_invertible(x), ne(start, 0), stuck)


def not_summable(x: ContextInstance, eta: Number) -> list[Proposition]:
    return [le(fmpq(T) / 4, total) for T, (total, _) in enumerate(diagonal_runs(x, eta))]


register(
    at(ContextInstance, n=1, m=1, k=[one(1)], v=[one(0)], Sstar=array([one(0)]), S0=array([one(1)]), d=one(HALF),
       h=one(1), L=fmpq(1), eta=step_from(1)),
    T10_needs_small_step=lambda x: implies(
        le(1, x.eta), [x.is_normal, is_diagonal(x), x.is_bounded, not_summable(x, x.eta)]
    ),
    T10_needs_gram_bound=lambda x: every(
        x.is_normal, is_diagonal(x), eq(HALF**2 * sq(x.d - 1 / x.h), fmpq(1, 16)), not_summable(x, fmpq(2))
    ),
)  # fmt: skip
register(
    at(ScanInstance, eta=fmpq(1), lo=one(fmpq(3, 2)), hi=one(3), d1=one(2), s=[one(1)], T=1),
    T11_needs_handed_on_iterate=lambda x: every(x.stay(x.free[:-1]), ne(path(x)[-1], x.free[-1])),
)

ROWS: dict[str, Any] = {name: [one(1)] for name in "kqdv"}
"""One token with k = q = d = v = 1."""


def full_triangle(x: StreamInstance) -> Array:
    """The state that a chunk hands on if its system has tril(K K^T) for the strict triangle."""
    k, v = array(x.k), array(x.v)
    return x.S0.T + k.T @ inverse(identity(1) + lower(k @ k.T)) @ (v - k @ x.S0.T)


register(
    at(StreamInstance, **ROWS, beta=[fmpq(1)], scale=fmpq(1), S0=array([one(0)]), t0=0, C=1),
    T12_needs_inclusive_read=lambda x: ne(x.solve_chunk(0, 1, x.S0.T, -1)[1][0], x.outputs[0]),
    T12_needs_strict_triangle=lambda x: ne(full_triangle(x), x.states[1].T),
)


def forgetting_too_fast(draw: Draw) -> Instance:
    """2 gamma < eta."""
    gamma = draw.number(0, 1)
    eta = 2 * gamma + draw.positive()
    both = {"lo": one(0), "hi": one(eta), "first": one(1), "other": one(0), "s": [one(1)] * TOKENS}
    return Instance(eta=eta, gamma=gamma, domains={"nat": range(TOKENS)}, **both)


@law(forgetting_too_fast)
def T13_needs_small_step(x: Instance) -> Proposition:
    ends = [clip(moved(x.eta, 1, x.gamma, one(0), d, x.s[0]), x.lo, x.hi) for d in (x.first, x.other)]
    apart = lt(x.gamma**2 * sq(x.first - x.other), sq(ends[0] - ends[1]))
    return implies(le(0, x.gamma), lt(2 * x.gamma, x.eta), [[eq(sq(s), 1) for s in x.s], apart])


@law(at(OneFeature, lo=one(0), hi=one(1), first=one(1), d1=one(1), u=[one(1), *[one(HALF)] * 2],
        s=[one(1), one(2), one(2)], eta=fmpq(1, 8), M=fmpq(4), T=2))  # fmt: skip
def T14_needs_path_length(x: Instance) -> Proposition:
    spent = sum(surrogate(u, s) for u, s in zip(x.u[:2], x.s, strict=False))
    bound = (spent + sq(x.first - x.u[0]) / (2 * x.eta)) / (1 - x.eta * x.M)
    boxed = [in_box(x.lo, x.hi, u) for u in x.u]
    return every(boxed, [le(sq(s), 4) for s in x.s], eq(bound, 0), eq(x.loss_sums[2], HALF))


def any_key(draw: Draw) -> Instance:
    """A key that is no unit key."""
    x: Instance = at(n=draw.key_dim(), eta=draw.positive(), gamma=draw.choice(HALF, fmpq(2)))(draw)
    x.k = draw.key(x.n)
    while sq(x.k) in (0, 1):
        x.k = draw.vector(x.n)
    return x


def unit_key(draw: Draw) -> Instance:
    """A unit key with n + 1 entries."""
    x = any_key(draw)
    return x.but(k=draw.unit(x.n), n=x.n - 1)


def leaves(x: Instance, gamma: Number) -> Proposition:
    """A step from the ones goes elsewhere."""
    ones = 0 * x.k + 1
    return ne(moved(x.eta, 1, gamma, 0 * x.k, ones, x.k * x.k), ones)


def second(x: Instance) -> Array:
    """d_2 from d_1 = 1 with one key."""
    return clip(moved(x.eta, 1, 1, one(0), one(1), x.k * x.k), x.lo, x.hi)


register(
    any_key,
    T15_needs_unit_keys=lambda x: implies(ne(x.k, 0 * x.k), ne(sq(x.k), 1), ne(x.eta, 0), leaves(x, 1)),
)
register(
    unit_key, T15_needs_no_forgetting=lambda x: implies(eq(sq(x.k), 1), ne(x.gamma, 1), leaves(x, x.gamma))
)
register(
    at(eta=fmpq(1, 24), lo=one(0), hi=one(2), k=one(2)),
    T15_needs_unit_keys_boxed=lambda x: every(in_box(x.lo, x.hi, one(1)), ne(second(x), one(1))),
)
register(
    at(eta=fmpq(1), lo=one(2), hi=one(2), k=one(1)),
    T15_needs_ones_in_box=lambda x: every(eq(sq(x.k), 1), ne(second(x), one(1))),
)
register(  # the first feature is (1, 0), the others are (0, 1)
    at(lo=row(0, 0), hi=row(3, 3), d1=row(2, 2), s=[row(1, 0), row(0, 1), row(0, 1)], eta=HALF, n=2),
    T15_needs_recurring_span=lambda x: every(eq(d[0], fmpq(3, 2)) for d in path(x)[1:]),
)


@law(at(k=row(fmpq(3, 5), fmpq(4, 5)), d=row(fmpq(3, 2), fmpq(2, 3)), n=2, S0=array([row(-150, 150)]),
        target=array([row(0, 0)])))  # fmt: skip
def T16_needs_moving_metric(x: Instance) -> Proposition:
    box, a = [[le(fmpq(2, 3), e), le(e, fmpq(3, 2))] for e in x.d], alignment(x.d, x.k)
    after = write(x.S0, x.k, x.target @ x.k, x.d, 1) - x.target
    grows = lt(frob_sq(x.S0 - x.target), frob_sq(after))
    return every(eq(sq(x.k), 1), box, le(0, a), le(a, 2), grows)


register(
    at(d=one(2), d_prime=one(1), E=array([one(1)])),
    T16_needs_same_metric=lambda x: lt(lyapunov(x.d, x.E), lyapunov(x.d_prime, x.E)),
)
register(
    at(TokenInstance, S0=array([one(1)]), target=array([one(0)]), k=one(1), d=one(1), beta=fmpq(3)),
    T16_needs_step_at_most_2=lambda x: every(
        lt(0, x.d[0]), lt(2, x.reach), lt(lyapunov(x.d, x.error), x.after)
    ),
)


def one_coin(draw: Draw) -> MeanInstance:
    """A fair coin, tossed once, that gives every feature."""
    x = MeanInstance(
        n=1, eta=fmpq(1), gamma=fmpq(1), c=one(0), d1=one(0), u=one(1), features=[one(1), one(0)], chances=[HALF] * 2,
        second_moment=array([one(HALF)]), Omega=Finite((True, False)), domains={"nat": range(TOKENS)},
    )  # fmt: skip
    return x.but(P=lambda o: HALF, s=lambda t: lambda o: np.atleast_2d(one(int(o))))


@law(one_coin)
def T19_needs_independence(x: MeanInstance) -> Proposition:
    runs = [path(Instance(d1=x.d1, s=[s] * 2, eta=x.eta), project=False) for s in x.features]
    errors = [x.mean([run[t] - x.u for run in runs]) for t in range(3)]
    return every(distribution(x.chances), *x.stationary(TOKENS), ne(errors[2], errors[1] @ x.matrix))


def sweep(features: Sequence[Any], off: Array | None = None, **values: Any) -> Source:
    """One feature of any sign, d_1 = 1, the box [-10, 10], and gains u and v, or u so far off the scan's."""

    def drawn(draw: Draw) -> SweepInstance:
        x: SweepInstance = at(SweepInstance, **{"eta": fmpq(1), "gamma": ONES, **values})(draw)
        x.s, x.x = [one(a) for a in features], list(row(*features))
        x.w, x.c, x.lo, x.hi, x.d1 = ONES, one(0), one(-10), one(10), one(1)
        return x if off is None else x.but(u=list(off + array(x.gains)))

    return drawn


def swept_error(x: SweepInstance, t: int) -> Number:
    """What a sweep leaves of token t's error."""
    return abs(x.phi(x.u)[t] - x.gains[t])


def both_differ(x: SweepInstance, bound: Number, t: int) -> Proposition:
    """The would-be bound is -1, and the sweeps of u and v differ by 1."""
    return every(eq(bound, -1), eq(abs(x.phi(x.u)[t] - x.phi(x.v)[t]), 1))


def off_by_one(x: SweepInstance) -> Proposition:
    """Every gain is off by 1, and a sweep makes that 4."""
    return every([eq(a, 1) for a in x.start_errors], eq(swept_error(x, 1), 4))


ONES, ZEROS = list(row(1, 1, 1)), list(row(0, 0, 0))
register(
    sweep((1, 1, 1), u=ONES),
    T29_needs_another_sweep=lambda x: every(eq(x.phi(x.u)[1], -1), eq(x.gains[1], 0)),
)
register(
    sweep((1, -1, -1), u=ONES, v=ZEROS),
    T29_needs_magnitudes=lambda x: both_differ(x, (x.s[1] @ x.s[0]) * abs(x.u[0] - x.v[0]), 1),
)
register(
    sweep((1, 0, 1), u=ONES, v=ZEROS, gamma=list(row(1, -1, 1))),
    T29_needs_nonnegative_gates=lambda x: both_differ(x, (x.coupling() @ distance(x.u, x.v))[2], 2),
)
register(sweep((4, 4, 4), row(1, 1, 1), eta=fmpq(1, 4)), T29_needs_unit_keys=off_by_one)
register(sweep((2, 2, 2), row(1, 1, 1)), T29_needs_small_write_gates=off_by_one)
register(
    sweep((1, 1, 1), row(1, 0, 0), gamma=list(row(1, 4, 1))),
    T29_needs_gates_at_most_one=lambda x: every([le(a, 1) for a in x.start_errors], eq(swept_error(x, 2), 4)),
)
register(
    sweep((1, 1, 1), u=list(row(1, -3, 0)), eta=fmpq(3)),
    T29_needs_the_inverse=lambda x: every(
        eq(swept_error(x, 2), 6), eq((x.coupling() @ distance(x.phi(x.u), x.u))[2], 3)
    ),
)


def growing(x: Instance) -> Proposition:
    """Anchored APF on two keys that take turns: every step contracts, and |S|^2 grows in every period."""
    count, keys = 2 * TOKENS, [row(fmpq(-3, 5), fmpq(4, 5)), row(fmpq(4, 5), fmpq(3, 5))] * TOKENS
    run = Instance(
        k=keys, s=[k * k for k in keys], v=[one(0)] * count, beta=[fmpq(11, 7)] * count, eta=fmpq(3125, 2548),
        w=[1] * count, gamma=[fmpq(1, 4)] * count, c=vector(2, fmpq(215, 147)), lo=vector(2, fmpq(2, 3)),
        hi=vector(2, fmpq(3, 2)), d1=row(fmpq(17, 14), fmpq(9, 7)), S0=(keys[0] - keys[1])[None],
    )  # fmt: skip
    ds, states, growth = path(run), memories(run, path(run)), fmpq(103, 100)
    facts = []
    for t, m in np.ndindex(TOKENS, TOKENS):
        reach = run.beta[t] * alignment(ds[t], keys[t])
        grown = le(growth ** (2 * m) * frob_sq(run.S0), frob_sq(states[2 * m]))
        facts += [eq(sq(keys[t]), 1), in_box(run.lo, run.hi, ds[t]), le(0, reach), le(reach, 2), grown]
    return every(facts)


register(at(n=2), T27_needs_metric_cost=growing)


def plainly_growing(x: Instance) -> Proposition:
    """Plain OSDN at eta = 1 on three keys in turn: the error comes back as 35/32 of itself."""
    keys = [row(1, 0), row(fmpq(5, 4), fmpq(3, 4)), row(fmpq(3, 2), fmpq(3, 4))] * TOKENS
    lo = vector(2, fmpq(2, 3))
    run = Instance(
        k=keys, s=[k * k for k in keys], v=[one(0)] * len(keys), beta=[1] * len(keys), eta=fmpq(1), lo=lo,
        hi=vector(2, fmpq(3, 2)), d1=lo, S0=row(0, 1)[None],
    )  # fmt: skip
    ds, states, facts = path(run), memories(run, path(run)), []
    for t, m in np.ndindex(TOKENS, TOKENS):
        a = alignment(ds[t], keys[t])
        facts += [
            in_box(run.lo, run.hi, ds[t]),
            le(0, a),
            le(a, 2),
            eq(states[3 * m], fmpq(35, 32) ** m * run.S0),
        ]
    return every(facts)


register(at(n=2), T27_needs_metric_cost_plain=plainly_growing)
