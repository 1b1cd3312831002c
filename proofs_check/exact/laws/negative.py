"""What is false without one of its hypotheses: the theorems ``T…_needs_…``, at the counterexamples that they are about.

Most have one feature; the first tokens stand for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, Finite, Instance
from proofs_check.exact.law import law
from proofs_check.exact.laws import context, mean, scan, sweeps, token
from proofs_check.exact.numbers import Array, Number, array, diagonal, inverse, product
from proofs_check.exact.propositions import Compares, Proposition, eq, every, implies, le, lt, ne
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
    token_loss,
    write,
)

TOKENS = 3


def one(x: Any) -> Array:
    """A row with one entry."""
    return array([fmpq(x)])


def at(**values: Any) -> Callable[[Draw], Instance]:
    """One instance, whatever is drawn."""
    return lambda draw: Instance(
        **values, domains={"nat": range(TOKENS), "x": draw.vectors(2, values.get("n", 1))}
    )


def stream(
    first: Any, u: Any, low: Any, high: Any, key: Any = 1, **values: Any
) -> Callable[[Draw], Instance]:
    """One feature that is the same at every token, a start, a comparator, a box."""
    return at(
        lo=one(low), hi=one(high), first=one(first), d1=one(first), u=one(u), s=[one(key)] * TOKENS, **values
    )


def with_step(draw: Callable[[Draw], Instance], low: int) -> Callable[[Draw], Instance]:
    """An instance with any step from `low` on."""

    def drawn(source: Draw) -> Instance:
        x = draw(source)
        x.eta = low + source.positive()
        return x

    return drawn


def sums(terms: list[Number]) -> list[Number]:
    """Sums of the first 0, 1, 2, ... terms."""
    found: list[Number] = [fmpq(0)]
    for term in terms:
        found.append(found[-1] + term)
    return found[:TOKENS]


def gap_squares(x: Instance) -> list[Number]:
    return sums([(1 - d @ s) ** 2 for d, s in zip(path(x), x.s, strict=False)])


def run_losses(x: Instance) -> list[Number]:
    return sums([surrogate(d, s) for d, s in zip(path(x), x.s, strict=False)])


def interpolates(x: Instance) -> list[Proposition]:
    return [eq(x.u @ s, 1) for s in x.s]


def bounded(x: Instance, most: int = 1) -> list[Proposition]:
    return [le(sq(s), most) for s in x.s]


def lossless(x: Instance) -> list[Proposition]:
    return [eq(surrogate(x.u, s), 0) for s in x.s]


def token_at(k: Any, v: Any, d: Any, state: Any) -> Callable[[Draw], Instance]:
    """One token, one feature, one value, and half a gate."""
    return at(S0=array([one(state)]), k=one(k), v=one(v), d=one(d), beta=fmpq(1, 2), n=1)


def ratio(x: Instance) -> Number:
    """f after the write over f before, 0 where there was no loss."""
    return context.over(token_loss(token.written(x), x.k, x.v), token_loss(x.S0, x.k, x.v))


def moved_minimiser(draw: Draw) -> Instance:
    x = at(k=[one(1)], v=[one(0)], S0=array([one(0)]), m=1)(draw)
    setattr(x, "S'", array([one(1)]))
    return x


@law(moved_minimiser)
def T1_needs_normal_equations(x: Instance) -> Proposition:
    other = getattr(x, "S'")
    gap = context.loss(x, x.S0) - context.loss(x, other)
    return ne(gap, context.energy(x, x.S0 - other) / 2)


@law(token_at(1, 1, 1, 1))
def T3_needs_nonzero_residual(x: Instance) -> Proposition:
    return ne(ratio(x), token.factor(x) ** 2)


@law(token_at(1, 1, 1, 0))
def T3_needs_square(x: Instance) -> Proposition:
    return every(ne(residual(x.S0, x.k, x.v), one(0)), ne(ratio(x), abs(token.factor(x))))


@law(token_at(1, 2, 2, 1))
def T3_needs_plain_erase_key(x: Instance) -> Proposition:
    scaled = x.d * x.k
    both = x.S0 + x.beta * np.outer(residual(x.S0, scaled, x.v), scaled)
    return ne(residual(both, x.k, x.v), token.factor(x) * residual(x.S0, x.k, x.v))


@law(token_at(1, 1, 1, 0))
def T4_needs_full_gate(x: Instance) -> Proposition:
    return every(eq(alignment(x.d, x.k), 1), ne(token_loss(token.written(x), x.k, x.v), 0))


@law(with_step(stream(2, 1, 0, 2), 2))
def T5_needs_small_step(x: Instance) -> Proposition:
    facts = [eq(a, T) for T, a in enumerate(gap_squares(x))]
    return implies(le(2, x.eta), [in_box(x.lo, x.hi, x.u), interpolates(x), bounded(x), facts])


@law(stream(fmpq(1, 2), fmpq(1, 2), 0, fmpq(1, 2), eta=fmpq(1)))
def T5_needs_interpolation(x: Instance) -> Proposition:
    facts = [[eq(a, fmpq(T) / 4), eq(sq(x.u - x.u), 0)] for T, a in enumerate(gap_squares(x))]
    return every(in_box(x.lo, x.hi, x.u), bounded(x), facts)


@law(stream(fmpq(1, 2), 1, 0, fmpq(1, 2), eta=fmpq(1)))
def T5_needs_u_in_the_box(x: Instance) -> Proposition:
    facts = [[eq(a, fmpq(T) / 4), eq(sq(x.first - x.u), fmpq(1, 4))] for T, a in enumerate(gap_squares(x))]
    return every(interpolates(x), bounded(x), facts)


@law(stream(1, 1, 1, 1, eta=fmpq(1), S0=array([one(0)]), k=[one(1)] * TOKENS, v=[one(1)] * TOKENS))
def T6_needs_full_writes(x: Instance) -> Proposition:
    found = losses(x, memories(x, path(x), [fmpq(1, 2)] * TOKENS))
    decays = [lt((sq(x.u - x.u) / T) ** T * product(a for a, _ in found[:T]), product(b for _, b in found[:T]))
              for T in range(1, TOKENS)]  # fmt: skip
    return every(in_box(x.lo, x.hi, x.u), interpolates(x), bounded(x), decays)


@law(at(beta=fmpq(-1), a=fmpq(3)))
def T7_needs_nonnegative_gate(x: Instance) -> Proposition:
    return lt(abs(1 - x.beta) + x.beta * abs(1 - x.a), abs(1 - x.beta * x.a))


@law(with_step(stream(2, 1, 0, 2), 1))
def T8_needs_small_step(x: Instance) -> Proposition:
    bound = (surrogate(x.u, x.s[0]) + sq(x.first - x.u) / (2 * x.eta)) / (1 - x.eta * 1)
    facts = [in_box(x.lo, x.hi, x.u), bounded(x), lt(bound, run_losses(x)[1])]
    return implies(lt(1, x.eta), facts)


@law(with_step(stream(2, 1, 0, 2), 2))
def T8_needs_bounded_step(x: Instance) -> Proposition:
    facts = [eq(a, fmpq(T) / 2) for T, a in enumerate(run_losses(x))]
    return implies(le(2, x.eta), [in_box(x.lo, x.hi, x.u), bounded(x), lossless(x), facts])


@law(with_step(stream(fmpq(1, 2), 1, 0, fmpq(1, 2)), 0))
def T8_needs_u_in_the_box(x: Instance) -> Proposition:
    facts = [eq(a, fmpq(T) / 8) for T, a in enumerate(run_losses(x))]
    return implies(lt(0, x.eta), [bounded(x), lossless(x), eq(sq(x.first - x.u), fmpq(1, 4)), facts])


def three_keys(draw: Draw) -> Instance:
    """Keys (1, 1), (1, 0), (0, 1), values zero, and steps of any size."""
    x = at(n=2, m=3, k=[array([fmpq(a), fmpq(b)]) for a, b in ((1, 1), (1, 0), (0, 1))], v=[one(0)] * 3,
           Sstar=array([[fmpq(0)] * 2]), S0=array([[fmpq(2), fmpq(-1)]]), d=array([fmpq(1, 2)] * 2))(draw)  # fmt: skip
    x.L, x.domains["eta"] = fmpq(3), draw.numbers(2)
    return x


def diagonal_runs(x: Instance, eta: Number) -> list[tuple[Number, Number]]:
    """The sum of ratios and F(S) - F* after T = 0, 1, 2, ... steps."""
    runs = [context.run(Instance(**{**vars(x), "T": T}), x.d, eta) for T in range(TOKENS)]
    return [(sum(ratios, fmpq(0)), context.energy(x, errors[-1]) / 2) for ratios, errors in runs]


@law(three_keys)
def T10_needs_diagonal_gram(x: Instance) -> Proposition:
    start = context.energy(x, context.of_error(x)) / 2
    stuck = [[eq(total, fmpq(T) / 4), eq(left, fmpq(1, 4) ** T * start)]
             for eta in x.domains["eta"] for T, (total, left) in enumerate(diagonal_runs(x, eta))]  # fmt: skip
    return every(context.normal(x), context.bounded(x), context.is_invertible(x), ne(start, 0), stuck)


def one_key(draw: Draw) -> Instance:
    """One key of one feature, a value of zero, and a step of at least one."""
    x = at(n=1, m=1, k=[one(1)], v=[one(0)], Sstar=array([one(0)]), S0=array([one(1)]), d=one(fmpq(1, 2)),
           h=one(1), L=fmpq(1))(draw)  # fmt: skip
    x.eta = 1 + draw.positive()
    return x


def not_summable(x: Instance, eta: Number) -> list[Proposition]:
    return [le(fmpq(T) / 4, total) for T, (total, _) in enumerate(diagonal_runs(x, eta))]


@law(one_key)
def T10_needs_small_step(x: Instance) -> Proposition:
    facts = [context.normal(x), context.is_diagonal(x), context.bounded(x), not_summable(x, x.eta)]
    return implies(le(1, x.eta), facts)


@law(one_key)
def T10_needs_gram_bound(x: Instance) -> Proposition:
    claimed = eq(fmpq(1, 2) ** 2 * sq(x.d - 1 / x.h), fmpq(1, 16))
    return every(context.normal(x), context.is_diagonal(x), claimed, not_summable(x, fmpq(2)))


@law(at(eta=fmpq(1), lo=one(fmpq(3, 2)), hi=one(3), d1=one(2), s=[one(1)], T=1))
def T11_needs_handed_on_iterate(x: Instance) -> Proposition:
    return every(scan.stay(x, scan.free(x)[:-1]), ne(path(x)[-1], scan.free(x)[-1]))


def chunk_of_one(draw: Draw) -> Instance:
    """One token with k = q = d = beta = scale = v = 1 and an empty memory: it writes 1 and reads 1."""
    rows = {name: [one(1)] for name in "kqdv"}
    return at(**rows, beta=[fmpq(1)], scale=fmpq(1), S0=array([one(0)]), t0=0, C=1)(draw)


@law(chunk_of_one)
def T12_needs_inclusive_read(x: Instance) -> Proposition:
    return ne(scan.of_chunk(x, -1)[1][0], x.scale * (memories(x, x.d)[1] @ x.q[0]))


@law(chunk_of_one)
def T12_needs_strict_triangle(x: Instance) -> Proposition:
    k, v = array(x.k), array(x.v)
    solution = inverse(diagonal(one(1)) + scan.lower(k @ k.T)) @ (v - k @ x.S0.T)
    return ne(x.S0.T + k.T @ solution, memories(x, x.d)[1].T)


def forgetting_too_fast(draw: Draw) -> Instance:
    """2 gamma < eta."""
    gamma = draw.number(0, 1)
    eta = 2 * gamma + draw.positive()
    return at(eta=eta, gamma=gamma, lo=one(0), hi=one(eta), first=one(1), other=one(0), s=[one(1)] * TOKENS)(
        draw
    )


@law(forgetting_too_fast)
def T13_needs_small_step(x: Instance) -> Proposition:
    ends = [clip(moved(x.eta, 1, x.gamma, one(0), d, x.s[0]), x.lo, x.hi) for d in (x.first, x.other)]
    apart = lt(x.gamma**2 * sq(x.first - x.other), sq(ends[0] - ends[1]))
    return implies(le(0, x.gamma), lt(2 * x.gamma, x.eta), [[eq(sq(s), 1) for s in x.s], apart])


@law(at(lo=one(0), hi=one(1), first=one(1), d1=one(1), u=[one(1), *[one(fmpq(1, 2))] * 2], s=[one(1), one(2), one(2)],
        eta=fmpq(1, 8), M=fmpq(4), T=2))  # fmt: skip
def T14_needs_path_length(x: Instance) -> Proposition:
    spent = sum(surrogate(u, s) for u, s in zip(x.u[:2], x.s, strict=False))
    bound = (spent + sq(x.first - x.u[0]) / (2 * x.eta)) / (1 - x.eta * x.M)
    inside = [in_box(x.lo, x.hi, u) for u in x.u]
    return every(inside, bounded(x, 4), eq(bound, 0), eq(run_losses(x)[2], fmpq(1, 2)))


def any_key(draw: Draw) -> Instance:
    """A key that is no unit key."""
    x = at(n=draw.key_dim(), eta=draw.positive(), gamma=draw.choice(fmpq(1, 2), fmpq(2)))(draw)
    x.k = draw.key(x.n)
    while sq(x.k) in (0, 1):
        x.k = draw.vector(x.n)
    return x


def stays(x: Instance, gamma: Number) -> Proposition:
    ones = 0 * x.k + 1
    return eq(moved(x.eta, 1, gamma, 0 * x.k, ones, x.k * x.k), ones)


@law(any_key)
def T15_needs_unit_keys(x: Instance) -> Proposition:
    return implies(ne(x.k, 0 * x.k), ne(sq(x.k), 1), ne(x.eta, 0), ne(*sides(stays(x, 1))))


def sides(fact: Proposition) -> tuple[Any, Any]:
    assert isinstance(fact, Compares)
    return fact.lhs, fact.rhs


def unit_key(draw: Draw) -> Instance:
    """A unit key with n + 1 entries."""
    x = any_key(draw)
    x.k, x.n = draw.unit(x.n), x.n - 1
    return x


@law(unit_key)
def T15_needs_no_forgetting(x: Instance) -> Proposition:
    return implies(eq(sq(x.k), 1), ne(x.gamma, 1), ne(*sides(stays(x, x.gamma))))


def second(x: Instance) -> Array:
    """d_2 from d_1 = 1 with one key."""
    return clip(moved(x.eta, 1, 1, one(0), one(1), x.k * x.k), x.lo, x.hi)


@law(at(eta=fmpq(1, 24), lo=one(0), hi=one(2), k=one(2)))
def T15_needs_unit_keys_boxed(x: Instance) -> Proposition:
    return every(in_box(x.lo, x.hi, one(1)), ne(second(x), one(1)))


@law(at(eta=fmpq(1), lo=one(2), hi=one(2), k=one(1)))
def T15_needs_ones_in_box(x: Instance) -> Proposition:
    return every(eq(sq(x.k), 1), ne(second(x), one(1)))


def spanning_once(draw: Draw) -> Instance:
    """The first feature is (1, 0), the others are (0, 1)."""
    pairs = {name: array([fmpq(a), fmpq(a)]) for name, a in (("lo", 0), ("hi", 3), ("d1", 2))}
    features = [array([fmpq(t == 0), fmpq(t > 0)]) for t in range(TOKENS)]
    return at(**pairs, s=features, eta=fmpq(1, 2), n=2)(draw)


@law(spanning_once)
def T15_needs_recurring_span(x: Instance) -> Proposition:
    return every(eq(d[0], fmpq(3, 2)) for d in path(x)[1:])


def expanding(draw: Draw) -> Instance:
    """A unit key, d in the published box, and an error beside the write key."""
    rows = {"k": (fmpq(3, 5), fmpq(4, 5)), "d": (fmpq(3, 2), fmpq(2, 3))}
    x = at(**{name: array(list(row)) for name, row in rows.items()}, n=2)(draw)
    x.S0, x.target = array([[fmpq(-150), fmpq(150)]]), array([[fmpq(0)] * 2])
    return x


@law(expanding)
def T16_needs_moving_metric(x: Instance) -> Proposition:
    box, a = [[le(fmpq(2, 3), e), le(e, fmpq(3, 2))] for e in x.d], alignment(x.d, x.k)
    after = write(x.S0, x.k, x.target @ x.k, x.d, 1) - x.target
    grows = lt(frob_sq(x.S0 - x.target), frob_sq(after))
    return every(eq(sq(x.k), 1), box, le(0, a), le(a, 2), grows)


@law(lambda draw: Instance(**{"d": one(2), "d'": one(1), "E": array([one(1)])}))
def T16_needs_same_metric(x: Instance) -> Proposition:
    return lt(token.lyapunov(x.d, x.E), token.lyapunov(token.following(x), x.E))


@law(at(S0=array([one(1)]), target=array([one(0)]), k=one(1), d=one(1), beta=fmpq(3)))
def T16_needs_step_at_most_2(x: Instance) -> Proposition:
    grows = lt(token.lyapunov(x.d, x.S0 - x.target), token.after(x))
    return every(lt(0, x.d[0]), lt(2, x.beta * alignment(x.d, x.k)), grows)


def one_coin(draw: Draw) -> Instance:
    """A fair coin, tossed once, that gives every feature."""
    x = at(n=1, eta=fmpq(1), gamma=fmpq(1), c=one(0), d1=one(0), u=one(1), second_moment=array([one(fmpq(1, 2))]),
           features=[one(1), one(0)], chances=[fmpq(1, 2)] * 2, Omega=Finite((True, False)))(draw)  # fmt: skip
    x.P = lambda o: fmpq(1, 2)
    x.s = lambda t: lambda o: np.atleast_2d(one(int(o)))
    return x


@law(one_coin)
def T19_needs_independence(x: Instance) -> Proposition:
    pull = mean.mean(x, [(1 - x.u @ s) * s for s in x.features])
    moments = mean.mean(x, [np.outer(s, s) for s in x.features])
    runs = [path(Instance(d1=x.d1, s=[s] * 2, eta=x.eta), project=False) for s in x.features]
    errors = [mean.mean(x, [run[t] - x.u for run in runs]) for t in range(3)]
    step = ne(errors[2], errors[1] @ (diagonal(one(1)) - x.eta * x.second_moment))
    return every(
        mean.distribution(x.chances),
        [eq(moments, x.second_moment)] * TOKENS,
        [eq(pull, one(0))] * TOKENS,
        step,
    )


def sweep(
    features: list[Any], gains: list[Any], others: list[Any] | None = None, **values: Any
) -> Callable[[Draw], Instance]:
    """One feature of any sign, d_1 = 1, the box [-10, 10], and two runs of gains."""

    def drawn(draw: Draw) -> Instance:
        defaults: dict[str, Any] = {"eta": fmpq(1), "gamma": [fmpq(1)] * TOKENS}
        x = at(**{**defaults, **values})(draw)
        x.s, x.x = [one(a) for a in features], [fmpq(a) for a in features]
        x.w, x.c, x.lo, x.hi, x.d1 = [fmpq(1)] * TOKENS, one(0), one(-10), one(10), one(1)
        x.u = [fmpq(a) for a in gains]
        x.v = [fmpq(a) for a in others or gains]
        return x

    return drawn


def off_by(x: Instance, errors: list[Any]) -> Instance:
    """With gains that are so far from those of the scan."""
    x.u = [a + b for a, b in zip(sweeps.scan_gains(x), errors, strict=True)]
    return x


def swept_error(x: Instance, t: int) -> Number:
    """What a sweep leaves of token t's error."""
    return abs(sweeps.phi(x, x.u)[t] - sweeps.scan_gains(x)[t])


@law(sweep([1, 1, 1], [1, 1, 1]))
def T29_needs_another_sweep(x: Instance) -> Proposition:
    return every(eq(sweeps.phi(x, x.u)[1], -1), eq(sweeps.scan_gains(x)[1], 0))


def both_differ(x: Instance, bound: Number, t: int) -> Proposition:
    """The would-be bound is -1, and the sweeps of u and v differ by 1."""
    return every(eq(bound, -1), eq(abs(sweeps.phi(x, x.u)[t] - sweeps.phi(x, x.v)[t]), 1))


@law(sweep([1, -1, -1], [1, 1, 1], [0, 0, 0]))
def T29_needs_magnitudes(x: Instance) -> Proposition:
    return both_differ(x, (x.s[1] @ x.s[0]) * abs(x.u[0] - x.v[0]), 1)


@law(sweep([1, 0, 1], [1, 1, 1], [0, 0, 0], gamma=[fmpq(1), fmpq(-1), fmpq(1)]))
def T29_needs_nonnegative_gates(x: Instance) -> Proposition:
    return both_differ(x, (sweeps.coupling(x) @ sweeps.distance(x.u, x.v))[2], 2)


def off_by_one(x: Instance) -> Proposition:
    """Every gain is off by 1, and a sweep makes that 4."""
    errors = [eq(a, 1) for a in sweeps.start_errors(x)]
    return every(errors, eq(swept_error(x, 1), 4))


@law(lambda draw: off_by(sweep([4, 4, 4], [0, 0, 0], eta=fmpq(1, 4))(draw), [1, 1, 1]))
def T29_needs_unit_keys(x: Instance) -> Proposition:
    return off_by_one(x)


@law(lambda draw: off_by(sweep([2, 2, 2], [0, 0, 0])(draw), [1, 1, 1]))
def T29_needs_small_write_gates(x: Instance) -> Proposition:
    return off_by_one(x)


@law(lambda draw: off_by(sweep([1, 1, 1], [0, 0, 0], gamma=[fmpq(1), fmpq(4), fmpq(1)])(draw), [1, 0, 0]))
def T29_needs_gates_at_most_one(x: Instance) -> Proposition:
    return every([le(a, 1) for a in sweeps.start_errors(x)], eq(swept_error(x, 2), 4))


@law(sweep([1, 1, 1], [1, -3, 0], eta=fmpq(3)))
def T29_needs_the_inverse(x: Instance) -> Proposition:
    claimed = sweeps.coupling(x) @ sweeps.distance(sweeps.phi(x, x.u), x.u)
    return every(eq(swept_error(x, 2), 6), eq(claimed[2], 3))
