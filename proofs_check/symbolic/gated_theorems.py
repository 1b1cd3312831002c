"""T16 and T17, for every V and K."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import sympy as sp
from sympy import HadamardProduct, OneMatrix
from sympy.matrices.expressions.diagonal import DiagMatrix

from osdn_theory import symbolic as osdn
from osdn_theory.symbolic import Names, norm_sq
from proofs_check.symbolic.hypotheses import Hypothesis
from proofs_check.symbolic.points import Source, Values
from proofs_check.symbolic.theorem import Equation, Theorem, anything

N = Names()
ROOT = N.key_like("r")
"""d^(-1/2), entry by entry."""

INVERSE_ROOT = Hypothesis("r_i^2 d_i = 1", HadamardProduct(ROOT, ROOT, N.d), OneMatrix(N.K, 1))


def squares(source: Source, sizes: Mapping[str, int]) -> Values:
    """A positive d with rational square roots."""
    root = source.positive_matrix(sizes["K"], 1)
    return {"r": root, "d": [[1 / row[0] ** 2] for row in root]}


def lyapunov(
    *, twice: int = 2, sign: int = 1, moved: bool = False, metric: Any = ROOT, value: Any = None
) -> list[Equation]:
    """|E Diag(d)^(-1/2)|^2 before and after a write of a realisable token, v = S* k."""
    target = N.minimizer * N.k if value is None else value
    after = osdn.write(N.S, N.k, target, N.d, N.beta) - N.minimizer
    before = N.S - N.minimizer
    a = osdn.alignment(N.d, N.k)
    lost = N.beta * (twice - sign * N.beta * a) * norm_sq(before * N.k)
    later = N.key_like("r_next") if moved else metric
    return [
        Equation("E_t", after, before - N.beta * before * N.k * HadamardProduct(N.d, N.k).T),
        Equation("V after", norm_sq(after * DiagMatrix(later)), norm_sq(before * DiagMatrix(metric)) - lost),
    ]


LYAPUNOV = (
    Theorem(
        "T16",
        "lyapunov_identity",
        "if v = S* k and r = d^(-1/2), |E_t Diag(r)|^2 = |E_{t-1} Diag(r)|^2 - beta (2 - beta a) |E_{t-1} k|^2",
        lyapunov,
        (INVERSE_ROOT,),
        squares,
    )
    .mutant("wrong constant", "1 - beta a", partial(lyapunov, twice=1))
    .mutant("flipped sign", "2 + beta a", partial(lyapunov, sign=-1))
    .mutant("index shift", "V after with the next d", partial(lyapunov, moved=True))
    .mutant("wrong formula", "the plain Frobenius norm", partial(lyapunov, metric=OneMatrix(N.K, 1)))
    .mutant("dropped hypothesis", "r is not d^(-1/2)", without=[INVERSE_ROOT.name], point=anything)
    .mutant("dropped hypothesis", "v is not S* k", partial(lyapunov, value=N.v))
)


def gated_loss(
    gate: Any, *, sign: int = 1, power: int = 2, against: Any = None, after_write: bool = False
) -> list[Equation]:
    """The token loss around a write whose state is gated before the residual; gate(S) is the gated state."""
    start = N.S if after_write else gate(N.S)
    end = osdn.write(start, N.k, N.v, N.d, N.beta)
    end = gate(end) if after_write else end
    factor = 1 - sign * N.beta * osdn.alignment(N.d, N.k)
    reference = gate(N.S) if against is None else against
    return [
        Equation(
            "f(S_t)", osdn.token_loss(end, N.k, N.v), factor**power * osdn.token_loss(reference, N.k, N.v)
        )
    ]


def by_scalar(state: Any) -> Any:
    return sp.Symbol("alpha", positive=True) * state


def by_feature(state: Any) -> Any:
    return state * DiagMatrix(N.key_like("alpha"))


def gated(name: str, statement: str, gate: Any) -> Theorem:
    loss = partial(gated_loss, gate)
    return (
        Theorem("T17", name, statement, loss)
        .mutant("wrong formula", "measured against S_{t-1}", partial(loss, against=N.S))
        .mutant("flipped sign", "1 + beta a", partial(loss, sign=-1))
        .mutant("wrong constant", "the ratio to the first power", partial(loss, power=1))
        .mutant("index shift", "the gate after the write", partial(loss, after_write=True))
    )


GATED = gated("gated_delta_net", "f(S_t) = (1 - beta a)^2 f(alpha S_{t-1}), one gate per token", by_scalar)
PER_FEATURE = gated("kda", "f(S_t) = (1 - beta a)^2 f(S_{t-1} Diag(alpha)), one gate per feature", by_feature)


def ungated_reference(*, cross: int = 1) -> list[Equation]:
    """What the loss gains when it is held against f(S_{t-1}): terms of S and v, whatever d is."""
    alpha = sp.Symbol("alpha", positive=True)
    end = osdn.write(by_scalar(N.S), N.k, N.v, N.d, N.beta)
    factor = (1 - N.beta * osdn.alignment(N.d, N.k)) ** 2
    read = N.S * N.k
    gained = (alpha**2 - 1) * norm_sq(read) / 2 + cross * (1 - alpha) * osdn.inner(read, N.v)
    before = osdn.token_loss(N.S, N.k, N.v)
    return [Equation("f(S_t)", osdn.token_loss(end, N.k, N.v), factor * (before + gained))]


REFERENCE = (
    Theorem(
        "T17",
        "ungated_reference",
        "f(S_t) = (1 - beta a)^2 (f(S_{t-1}) + (alpha^2 - 1) |S k|^2 / 2 + (1 - alpha) <S k, v>): "
        "the extra terms hold no d",
        ungated_reference,
    )
    .mutant("flipped sign", "- (1 - alpha) <S k, v>", partial(ungated_reference, cross=-1))
    .mutant("wrong constant", "twice the cross term", partial(ungated_reference, cross=2))
    .mutant("wrong formula", "no cross term", partial(ungated_reference, cross=0))
)

THEOREMS = (LYAPUNOV, GATED, PER_FEATURE, REFERENCE)
