"""T2, T3, T4 and the token's half of T1, for every V and K."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import sympy as sp
from flint import fmpq
from sympy import HadamardProduct, Rational
from sympy.matrices.expressions.diagonal import DiagMatrix

from osdn_theory import symbolic as osdn
from osdn_theory.symbolic import Names, inner, norm_sq, squared
from proofs_check.symbolic.hypotheses import Hypothesis
from proofs_check.symbolic.points import Source, Values
from proofs_check.symbolic.theorem import Equation, Theorem, anything

N = Names()
SQUARE = Names(V=N.K)
"""As many value as key features, so that a transposed matrix still fits."""

HALF = Rational(1, 2)


def expansion(*, curvature: Any = HALF, sign: int = 1) -> list[Equation]:
    change = N.state_like("Delta")
    loss, gradient = osdn.token_loss(N.S, N.k, N.v), osdn.token_gradient(N.S, N.k, N.v)
    moved = osdn.token_loss(N.S + change, N.k, N.v)
    return [
        Equation(
            "f(S + D)", moved, loss + sign * inner(gradient, change) + curvature * norm_sq(change * N.k)
        ),
        Equation("grad f(S)", gradient, (N.S * N.k - N.v) * N.k.T),
    ]


def transposed_gradient() -> list[Equation]:
    n = SQUARE
    return [Equation("grad f(S)", osdn.token_gradient(n.S, n.k, n.v), n.k * (n.S * n.k - n.v).T)]


QUADRATIC = (
    Theorem(
        "T1",
        "token_quadratic",
        "f(S + D) = f(S) + <grad f(S), D> + |D k|^2 / 2 with the differentiated grad f(S) = (S k - v) k^T",
        expansion,
    )
    .mutant("wrong constant", "|D k|^2 without the 1/2", partial(expansion, curvature=sp.S.One))
    .mutant("flipped sign", "- <grad f(S), D>", partial(expansion, sign=-1))
    .mutant("wrong formula", "grad f(S) = k (S k - v)^T", transposed_gradient)
)


def key_scaling(*, erase: Any = None, power: int = 1, sign: int = 1) -> list[Equation]:
    scaled = HadamardProduct(N.d, N.k)
    update = (N.S * (N.k if erase is None else erase) - N.v) * scaled.T
    full = osdn.token_gradient(N.S, N.k, N.v) * DiagMatrix(N.d) ** power
    return [
        Equation("grad f(S) Diag(d)", full, update),
        Equation("write", osdn.write(N.S, N.k, N.v, N.d, N.beta), N.S - sign * N.beta * update),
    ]


def left_scaling() -> list[Equation]:
    n = SQUARE
    left = DiagMatrix(n.d) * osdn.token_gradient(n.S, n.k, n.v)
    return [Equation("Diag(d) grad f(S)", left, (n.S * n.k - n.v) * HadamardProduct(n.d, n.k).T)]


KEY_SCALING = (
    Theorem(
        "T2",
        "key_scaling",
        "grad f(S) Diag(d) = (S k - v)(d * k)^T, and a step of beta along it is the write",
        key_scaling,
    )
    .mutant("wrong formula", "Diag(d) on the left", left_scaling)
    .mutant("wrong formula", "erase with d * k too", partial(key_scaling, erase=HadamardProduct(N.d, N.k)))
    .mutant("wrong constant", "Diag(d)^2", partial(key_scaling, power=2))
    .mutant("flipped sign", "a write uphill", partial(key_scaling, sign=-1))
)


def residual(
    *, sign: int = 1, power: int = 2, gate: Any = N.beta, diagonal: Any = N.d, feature: Any = None
) -> list[Equation]:
    after = osdn.write(N.S, N.k, N.v, N.d, N.beta)
    factor = 1 - sign * gate * inner(diagonal, squared(N.k) if feature is None else feature)
    loss = osdn.token_loss(N.S, N.k, N.v)
    return [
        Equation("v - S_t k", N.v - after * N.k, factor * (N.v - N.S * N.k)),
        Equation("f(S_t)", osdn.token_loss(after, N.k, N.v), factor**power * loss),
    ]


def ratio_form() -> list[Equation]:
    a = sp.Symbol("a")
    return [*residual(), Equation("q", osdn.residual_ratio(a, N.beta), (1 - N.beta * a) ** 2)]


RESIDUAL = (
    Theorem(
        "T3",
        "residual_identity",
        "v - S_t k = (1 - beta <d, s>)(v - S_{t-1} k) and f(S_t) = (1 - beta <d, s>)^2 f(S_{t-1})",
        ratio_form,
    )
    .mutant("flipped sign", "1 + beta a", partial(residual, sign=-1))
    .mutant("wrong constant", "the ratio of losses to the first power", partial(residual, power=1))
    .mutant("wrong formula", "1 - a without the gate", partial(residual, gate=sp.S.One))
    .mutant("wrong formula", "a = <d, k> with the key not squared", partial(residual, feature=N.k))
    .mutant("index shift", "a with the d of another token", partial(residual, diagonal=N.key_like("d_next")))
)


def surrogate(*, sign: int = 1, bounding: int = 2, smooth: Any = HALF, feature: Any = None) -> list[Equation]:
    s, h = N.s, N.key_like("h")
    loss, gradient = osdn.surrogate(N.d, s), sign * osdn.hypergradient(N.d, s)
    full = osdn.write(N.S, N.k, N.v, N.d)
    own = osdn.surrogate(N.d, squared(N.k) if feature is None else feature)
    apart = osdn.hypergradient(N.d + h, s) - osdn.hypergradient(N.d, s)
    return [
        Equation(
            "f after a full write", osdn.token_loss(full, N.k, N.v), 2 * own * osdn.token_loss(N.S, N.k, N.v)
        ),
        Equation("-grad l", -gradient, (1 - inner(N.d, s)) * s),
        Equation("l(d + h)", osdn.surrogate(N.d + h, s), loss + inner(gradient, h) + inner(s, h) ** 2 / 2),
        Equation("self-bounding", norm_sq(gradient), bounding * norm_sq(s) * loss),
        # The right side is a sum of squares: the gradient is Lipschitz with constant |s|^2.
        Equation(
            "smooth",
            norm_sq(s) ** 2 * norm_sq(h) - norm_sq(apart),
            smooth * norm_sq(s) * norm_sq(s * h.T - h * s.T),
        ),
        Equation("calibrate step", osdn.calibrate_step(N.d, s, N.eta), N.d - N.eta * gradient),
    ]


HYPERGRADIENT = (
    Theorem(
        "T4",
        "hypergradient",
        "l is half the ratio of a full write, its differentiated gradient is -(1 - <d, s>) s, l is a convex quadratic, "
        "|grad l|^2 = 2 |s|^2 l, grad l is |s|^2-Lipschitz, and the calibrate step descends on l",
        surrogate,
    )
    .mutant("flipped sign", "grad l = (1 - a) s", partial(surrogate, sign=-1))
    .mutant("wrong constant", "|grad l|^2 = |s|^2 l", partial(surrogate, bounding=1))
    .mutant("wrong constant", "the squares of the Lipschitz gap twice", partial(surrogate, smooth=sp.S.One))
    .mutant("wrong formula", "feature k instead of k * k", partial(surrogate, feature=N.k))
)

UNIT_ALIGNMENT = Hypothesis("<d, s> = 1", sp.Trace(N.d.T * squared(N.k)), sp.S.One)


def one_write(*, beta: Any = sp.S.One) -> list[Equation]:
    after = osdn.write(N.S, N.k, N.v, N.d, beta)
    return [
        Equation("f after a full write", osdn.token_loss(after, N.k, N.v), sp.S.Zero),
        Equation("S_t k", after * N.k, N.v),
    ]


def unit_alignment(source: Source, sizes: Mapping[str, int]) -> Values:
    key = source.positive_matrix(sizes["K"], 1)
    d = source.matrix(sizes["K"], 1)
    rest = sum((a[0] * x[0] ** 2 for a, x in zip(d[1:], key[1:], strict=True)), fmpq(0))
    d[0] = [(1 - rest) / key[0][0] ** 2]
    return {"k": key, "d": d}


NEWTON = (
    Theorem(
        "T4",
        "right_newton_condition",
        "if <d, s> = 1, one full write zeroes the token loss",
        one_write,
        (UNIT_ALIGNMENT,),
        unit_alignment,
    )
    .mutant("dropped hypothesis", "any d", without=["<d, s> = 1"], point=anything)
    .mutant("wrong constant", "half a write", partial(one_write, beta=HALF))
    .mutant("wrong constant", "two writes in one", partial(one_write, beta=sp.Integer(2)))
)

THEOREMS = (QUADRATIC, KEY_SCALING, RESIDUAL, HYPERGRADIENT, NEWTON)
