"""T16, T17: what one write does to the error, in the moving metric, and with the state decayed first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flint import fmpq

from proofs_check.exact import linear as la, rules
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import (
    Instance,
    Law,
    Relation,
    at_most,
    equal,
    equal_vectors,
)


def draw_error(draw: Draw) -> Instance:
    """A realisable token v = S* k, positive d_t and d_{t+1}, a gate with 0 <= beta a <= 2."""
    n, v = draw.key_dim(), draw.value_dim()
    key, solution = draw.key(n), draw.matrix(v, n)
    x = Instance(key=key, solution=solution, value=la.apply(solution, key), state=draw.matrix(v, n),
                 d=draw.vector(n, fmpq(1, 8), 2), after=draw.vector(n, fmpq(1, 8), 2))  # fmt: skip
    x.beta = gate(draw, rules.alignment(x.d, key))
    return x


def gate(draw: Draw, a: la.Number) -> la.Number:
    """beta with 0 <= beta a <= 2: at an end for "limit"."""
    share = draw.choice(0, 2) if draw.kind == "limit" else draw.number(0, 2)
    return share / a if a != 0 else share


def metric(error: la.Matrix, d: la.Vector) -> la.Number:
    """V = |E Diag(d)^(-1/2)|_F^2."""
    return sum(a * a / di for row in error for a, di in zip(row, d, strict=True))


Weighting = Callable[[Instance], la.Vector]


def lyapunov(
    x: Instance,
    *,
    after: Weighting = lambda x: x.d,
    before: Weighting = lambda x: x.d,
    full: int = 2,
    sign: int = 1,
) -> Iterator[Relation]:
    """V after = V before - beta (2 - beta a) |E k|^2 with the same d_t on both sides."""
    start = la.msub(x.state, x.solution)
    end = la.msub(rules.write(x.state, x.key, x.value, x.d, x.beta), x.solution)
    a = rules.alignment(x.d, x.key)
    drop = x.beta * (full - sign * x.beta * a) * la.norm_sq(la.apply(start, x.key))
    yield equal("V after", metric(end, after(x)), metric(start, before(x)) - drop)


NON_ZERO = {
    "d has no zero": lambda x: all(a != 0 for a in x.d),
    "v = S* k": lambda x: x.value == la.apply(x.solution, x.key),
}
POSITIVE = {"d > 0": lambda x: all(a > 0 for a in x.d)}
CONTRACTING = {"0 <= beta a <= 2": lambda x: 0 <= x.beta * rules.alignment(x.d, x.key) <= 2}


def any_token(draw: Draw) -> Instance:
    """Any gate and any d without zeros: the identity needs no more."""
    x = draw_error(draw)
    x.beta = draw.number(-1, 3)
    x.d = [draw.choice(1, -1) * a for a in x.d]
    return x


def unrealisable(draw: Draw) -> Instance:
    """v = S* k + 1."""
    x = any_token(draw)
    x.value = [a + 1 for a in x.value]
    return x


LYAPUNOV = (
    Law("T16", "Lyapunov identity", "V after = V before - beta (2 - beta a)|E k|^2, the same d on both sides",
        any_token, lyapunov, NON_ZERO)
    .mutant("index shift", "d_{t+1} after the write", relations=lambda x: lyapunov(x, after=lambda x: x.after))
    .mutant("wrong constant", "beta (1 - beta a)", relations=lambda x: lyapunov(x, full=1))
    .mutant("flipped sign", "beta (2 + beta a)", relations=lambda x: lyapunov(x, sign=-1))
    .mutant("wrong formula", "the plain Frobenius norm",
            relations=lambda x: lyapunov(x, after=lambda x: [1] * len(x.d), before=lambda x: [1] * len(x.d)))
    .mutant("dropped hypothesis", "v is not S* k", draw=unrealisable, without=["v = S* k"])
)  # fmt: skip


def contraction(x: Instance, *, plain: bool = False) -> Iterator[Relation]:
    """V after <= V before, and V is at least zero."""
    start = la.msub(x.state, x.solution)
    end = la.msub(rules.write(x.state, x.key, x.value, x.d, x.beta), x.solution)
    d = [1] * len(x.d) if plain else x.d
    yield at_most("V after", metric(end, d), metric(start, d))
    yield at_most("0 <= V", 0, metric(start, d))


def sign_changes(draw: Draw) -> Instance:
    """d with negative entries and a gate with 0 <= beta a <= 2 all the same."""
    x = draw_error(draw)
    x.d = [-a for a in x.d]
    x.beta = gate(draw, rules.alignment(x.d, x.key))
    return x


def overshooting(draw: Draw) -> Instance:
    """beta a = 5/2."""
    x = draw_error(draw)
    while not any(x.key):
        x.key = draw.key(len(x.key))
    x.value = la.apply(x.solution, x.key)
    x.beta = fmpq(5, 2) / rules.alignment(x.d, x.key)
    return x


def negative_gate(draw: Draw) -> Instance:
    """beta a = -5/2."""
    x = overshooting(draw)
    x.beta = -x.beta
    return x


def sheared(draw: Draw) -> Instance:
    """k along the diagonal, d far from constant, and an error beside the write key: the plain norm grows."""
    x = draw_error(Draw(draw.rng, "random", draw.dyadic))
    x.key, x.d, x.after = [fmpq(1, 2)] * 2, [fmpq(3), fmpq(1, 4)], [fmpq(1)] * 2
    x.solution, x.state = [[fmpq(0)] * 2], [[fmpq(0), draw.choice(fmpq(1), fmpq(2))]]
    x.value, x.beta = [fmpq(0)], fmpq(1)
    return x


CONTRACTION = (
    Law("T16", "contraction in the moving metric", "0 <= beta a <= 2 and d > 0: V after <= V before", draw_error,
        contraction, {**NON_ZERO, **POSITIVE, **CONTRACTING})
    .mutant("wrong formula", "the plain Frobenius norm contracts", draw=sheared,
            relations=lambda x: contraction(x, plain=True))
    .mutant("dropped hypothesis", "d < 0", draw=sign_changes, without=["d > 0"])
    .mutant("dropped hypothesis", "beta a = 5/2", draw=overshooting, without=["0 <= beta a <= 2"])
    .mutant("dropped hypothesis", "beta a = -5/2", draw=negative_gate, without=["0 <= beta a <= 2"])
)  # fmt: skip


def metric_change(
    x: Instance, *, factor: Callable[[la.Vector], la.Number] = max, flip: bool = False
) -> Iterator[Relation]:
    """|E Diag(d_{t+1})^(-1/2)|^2 <= max_i d_{t,i}/d_{t+1,i} |E Diag(d_t)^(-1/2)|^2."""
    error = la.msub(x.state, x.solution)
    old, new = (x.after, x.d) if flip else (x.d, x.after)
    cost = factor([a / b for a, b in zip(old, new, strict=True)])
    yield at_most("V with d_{t+1}", metric(error, x.after), cost * metric(error, x.d))


def negative_metric(draw: Draw) -> Instance:
    """Some d_t < 0."""
    x = draw_error(draw)
    x.d = [-a if draw.rng.random() < 0.5 else a for a in x.d]
    return x


def negative_next(draw: Draw) -> Instance:
    """Some d_{t+1} < 0."""
    x = draw_error(draw)
    x.after = [-a if draw.rng.random() < 0.5 else a for a in x.after]
    return x


METRIC_CHANGE = (
    Law("T16", "cost of the moving metric", "changing d_t to d_{t+1} costs at most max_i d_{t,i}/d_{t+1,i}", draw_error,
        metric_change, {**POSITIVE, "d_{t+1} > 0": lambda x: all(a > 0 for a in x.after)})
    .mutant("wrong formula", "the smallest ratio", relations=lambda x: metric_change(x, factor=min))
    .mutant("flipped sign", "max d_{t+1}/d_t", relations=lambda x: metric_change(x, flip=True))
    .mutant("wrong constant", "no cost at all", relations=lambda x: metric_change(x, factor=lambda ratios: 1))
    .mutant("dropped hypothesis", "d_t with negative entries", draw=negative_metric, without=["d > 0"])
)  # fmt: skip


def draw_gated(draw: Draw) -> Instance:
    """A state gate, one number or one per feature, before the write."""
    n, v = draw.key_dim(), draw.value_dim()
    x = Instance(key=draw.key(n), value=draw.vector(v), state=draw.matrix(v, n), d=draw.vector(n, fmpq(-1, 2), 2),
                 beta=draw.number(-1, 2), before=draw.vector(n))  # fmt: skip
    x.alpha = draw.vector(n, 0, 1) if draw.rng.random() < 0.5 else [draw.number(0, 1)] * n
    return x


def gated_residual(
    x: Instance,
    *,
    reference: Callable[[Instance, la.Matrix], la.Matrix] = lambda x, faded: faded,
    late: bool = False,
    gated: bool = True,
    power: int = 2,
) -> Iterator[Relation]:
    """v - S_t k = (1 - beta a)(v - (alpha S) k) and f(S_t) = (1 - beta a)^2 f(alpha S)."""
    faded = la.right_diagonal(x.state, x.alpha)
    after = rules.write(x.state if late else faded, x.key, x.value, x.d, x.beta)
    if late:
        after = la.right_diagonal(after, x.alpha)
    base = reference(x, faded)
    factor = 1 - (x.beta if gated else 1) * rules.alignment(x.d, x.key)
    if power == 2:
        residual = la.sub(x.value, la.apply(base, x.key))
        yield from equal_vectors(
            "v - S_t k", la.sub(x.value, la.apply(after, x.key)), la.scale(factor, residual)
        )
    loss = rules.token_loss(base, x.key, x.value)
    yield equal("f(S_t)", rules.token_loss(after, x.key, x.value), factor**power * loss)


GATED = (
    Law("T17", "residual identity, gated state", "f_t(S_t) = (1 - beta a)^2 f_t(alpha S_{t-1}), alpha a number or a "
        "vector", draw_gated, gated_residual, {})
    .mutant("wrong formula", "measured against S_{t-1}",
            relations=lambda x: gated_residual(x, reference=lambda x, faded: x.state))
    .mutant("index shift", "alpha after the write", relations=lambda x: gated_residual(x, late=True))
    .mutant("wrong formula", "1 - a without the gate", relations=lambda x: gated_residual(x, gated=False))
    .mutant("wrong constant", "the ratio of losses to the first power", relations=lambda x: gated_residual(x, power=1))
)  # fmt: skip


def ungated_ratio(x: Instance, *, extra: bool = True, weight: int = 2) -> Iterator[Relation]:
    """Against S_{t-1}: f(S_t) = (1 - beta a)^2 (f(S) + <r, p> + |p|^2/2), r = v - S k, p = S (k - alpha k)."""
    after = rules.write(la.right_diagonal(x.state, x.alpha), x.key, x.value, x.d, x.beta)
    residual = la.sub(x.value, la.apply(x.state, x.key))
    lost = la.apply(x.state, la.sub(x.key, la.had(x.alpha, x.key)))
    terms = la.dot(residual, lost) + la.norm_sq(lost) / weight if extra else 0
    factor = (1 - x.beta * rules.alignment(x.d, x.key)) ** 2
    loss = rules.token_loss(x.state, x.key, x.value)
    yield equal("f(S_t)", rules.token_loss(after, x.key, x.value), factor * (loss + terms))


AGAINST_UNGATED = (
    Law("T17", "measured against the ungated state", "f_t(S_t) = (1 - beta a)^2 (f_t(S_{t-1}) + terms without d)",
        draw_gated, ungated_ratio, {})
    .mutant("wrong formula", "no extra terms", relations=lambda x: ungated_ratio(x, extra=False))
    .mutant("wrong constant", "|p|^2 without the 1/2", relations=lambda x: ungated_ratio(x, weight=1))
)  # fmt: skip

LAWS = (LYAPUNOV, CONTRACTION, METRIC_CHANGE, GATED, AGAINST_UNGATED)
