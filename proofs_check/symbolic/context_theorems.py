"""The context's half of T1, and T9, for every V, K and T."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import sympy as sp
from flint import fmpq
from sympy import HadamardProduct, Inverse, Rational, Trace
from sympy.matrices.expressions.diagonal import DiagMatrix, DiagonalOf

from osdn_theory import symbolic as osdn
from osdn_theory.symbolic import Names, inner, norm_sq
from proofs_check.exact import linear as la
from proofs_check.symbolic.hypotheses import Hypothesis, invertible
from proofs_check.symbolic.points import Source, Values
from proofs_check.symbolic.theorem import Equation, Theorem, anything

N = Names()
SQUARE = Names(V=N.K)
G = osdn.gram(N.keys)
HALF = Rational(1, 2)
ERROR = N.state_like("E")


def normal_equations(n: Names) -> Hypothesis:
    """With G singular they have many solutions, among them the one of least norm."""
    return Hypothesis("S* G = sum v k^T", n.values.T * n.keys, n.minimizer * osdn.gram(n.keys))


MINIMIZER = normal_equations(N)

INVERTIBLE = invertible(G)


def context_point(source: Source, sizes: Mapping[str, int]) -> Values:
    """Keys of full column rank, a minimiser, and values whose residuals are orthogonal to the keys."""
    v, k, t = (sizes[name] for name in "VKT")
    keys = la.madd(
        [*la.identity(k, fmpq(1)), *[[fmpq(0)] * k] * (t - k)], la.mscale(fmpq(1, 7), source.matrix(t, k))
    )
    noise, minimizer = source.matrix(t, v), source.matrix(v, k)
    coefficients = la.matmul(la.inverse(la.gram(keys)), la.matmul(la.transpose(keys), noise))
    residuals = la.msub(noise, la.matmul(keys, coefficients))
    values = la.madd(la.matmul(keys, la.transpose(minimizer)), residuals)
    return {"K_rows": keys, "V_rows": values, "S_star": minimizer}


def quadratic(*, half: Any = HALF, shift: Any = None, sign: int = 1) -> list[Equation]:
    error = N.S - N.minimizer
    gap = osdn.context_loss(N.S, N.keys, N.values) - osdn.context_loss(N.minimizer, N.keys, N.values)
    gradient = osdn.context_gradient(N.S, N.keys, N.values)
    moved = osdn.context_gradient(N.S + ERROR, N.keys, N.values)
    return [
        Equation("F(S) - F(S*)", gap, half * Trace(error * G * error.T)),
        # A sum of squares: S* minimises F, so F(S*) is F*.
        Equation("tr(E G E^T)", Trace(error * G * error.T), norm_sq(N.keys * error.T)),
        Equation("grad F(S)", gradient, sign * error * (G if shift is None else shift)),
        Equation("right Hessian", moved - gradient, ERROR * osdn.right_hessian(N.keys, N.values)),
        Equation("G", osdn.right_hessian(N.keys, N.values), G),
    ]


def left_hessian() -> list[Equation]:
    n = SQUARE
    error = n.S - n.minimizer
    return [Equation("grad F(S)", osdn.context_gradient(n.S, n.keys, n.values), osdn.gram(n.keys) * error)]


QUADRATIC = (
    Theorem(
        "T1",
        "context_quadratic",
        "if S* G = sum v k^T then F(S) - F(S*) = tr((S - S*) G (S - S*)^T) / 2 = |(S - S*) keys|^2 / 2 and the "
        "differentiated grad F(S) = (S - S*) G; the Hessian acts on the right, by G, singular or not",
        quadratic,
        (MINIMIZER,),
        context_point,
    )
    .mutant("wrong constant", "trace without the 1/2", partial(quadratic, half=sp.S.One))
    .mutant("flipped sign", "grad F(S) = (S* - S) G", partial(quadratic, sign=-1))
    .mutant("wrong formula", "grad F(S) = (S - S*) G^2", partial(quadratic, shift=G * G))
    .mutant(
        "wrong formula",
        "grad F(S) = G (S - S*)",
        left_hessian,
        instead=(normal_equations(SQUARE),),
        point=lambda source, sizes: context_point(source, {**sizes, "V": sizes["K"]}),
    )
    .mutant("dropped hypothesis", "any S*", without=[MINIMIZER.name], point=anything)
)


def ratio(
    *, scale: int = -2, curvature: int = 1, hessian: int = 2, right: Any = G, sign: int = -1
) -> list[Equation]:
    """rho at P and at Diag(d), expanded to second order, which is everything."""
    change, h = N.preconditioner_like("Delta"), N.key_like("h")
    total = osdn.context_gap(ERROR, N.keys)
    g = ERROR * G
    full, diagonal = (osdn.context_ratio_gradient(ERROR, N.P, N.keys),
                      osdn.context_ratio_gradient(ERROR, N.d, N.keys, diagonal=True))  # fmt: skip
    bend = HadamardProduct(g.T * g, G) * (sp.Integer(hessian) / total)

    def rho(p: Any) -> Any:
        return osdn.context_ratio(ERROR, p, N.keys)

    def formula(p: Any) -> Any:
        return (scale / total) * g.T * (ERROR + sign * g * p) * right

    return [
        Equation("grad_P rho", full, formula(N.P)),
        Equation("grad_d rho", diagonal, DiagonalOf(formula(DiagMatrix(N.d)))),
        # The last term is a square over tr(E G E^T): rho is convex.
        Equation(
            "rho(P + D)",
            rho(N.P + change),
            rho(N.P) + inner(full, change) + curvature * norm_sq(g * change * N.keys.T) / total,
        ),
        Equation(
            "rho(Diag(d + h))",
            rho(DiagMatrix(N.d + h)),
            rho(DiagMatrix(N.d)) + inner(diagonal, h) + inner(h, bend * h) / 2,
        ),
    ]


RATIO = (
    Theorem(
        "T9",
        "context_ratio",
        "rho(P + D) = rho(P) + <grad, D> + |g D keys|^2 / tr(E G E^T) with the differentiated "
        "grad = -2 g^T (E - g P) G / tr(E G E^T); for P = Diag(d) its diagonal and "
        "the Hessian 2 (g^T g * G) / tr(E G E^T)",
        ratio,
    )
    .mutant("wrong constant", "-1 instead of -2", partial(ratio, scale=-1))
    .mutant("flipped sign", "E + g P", partial(ratio, sign=1))
    .mutant("wrong formula", "G missing on the right of the gradient", partial(ratio, right=sp.Identity(N.K)))
    .mutant("wrong constant", "half the curvature", partial(ratio, hessian=1))
    .mutant("wrong constant", "twice the curvature in P", partial(ratio, curvature=2))
)


def ratio_of_losses(*, half: Any = HALF, sign: int = 1) -> list[Equation]:
    """Both sides of rho = (F(S+) - F*) / (F(S) - F*), numerator and denominator."""

    def gap(state: Any) -> Any:
        return osdn.context_loss(state, N.keys, N.values) - osdn.context_loss(N.minimizer, N.keys, N.values)

    error = N.S - N.minimizer
    step = N.S - sign * osdn.context_gradient(N.S, N.keys, N.values) * N.P
    return [
        Equation("F(S) - F*", gap(N.S), half * osdn.context_gap(error, N.keys)),
        Equation("F(S+) - F*", gap(step), half * osdn.context_gap(error - error * G * N.P, N.keys)),
    ]


LOSSES = (
    Theorem(
        "T9",
        "context_ratio_is_of_losses",
        "if S* G = sum v k^T, numerator and denominator of rho are 2 (F(S - grad F(S) P) - F*) and 2 (F(S) - F*)",
        ratio_of_losses,
        (MINIMIZER,),
        context_point,
    )
    .mutant("wrong constant", "F(S) - F* without the 1/2", partial(ratio_of_losses, half=sp.S.One))
    .mutant("flipped sign", "a step uphill", partial(ratio_of_losses, sign=-1))
    .mutant("dropped hypothesis", "any S*", without=[MINIMIZER.name], point=anything)
)


def at_newton(*, scale: int = 1) -> list[Equation]:
    newton = scale * Inverse(G)
    step = N.S - osdn.context_gradient(N.S, N.keys, N.values) * newton
    return [
        Equation("rho(G^-1)", osdn.context_ratio(ERROR, newton, N.keys), sp.S.Zero),
        Equation(
            "grad rho(G^-1)", osdn.context_ratio_gradient(ERROR, newton, N.keys), sp.ZeroMatrix(N.K, N.K)
        ),
        Equation("S - grad F(S) G^-1", step, N.minimizer),
        Equation("Newton step", osdn.newton_step(N.S, N.keys, N.values), step),
    ]


NEWTON = (
    Theorem(
        "T9",
        "context_ratio_at_newton",
        "if S* G = sum v k^T and G is invertible, rho and its gradient vanish at G^-1, and the Newton step gives S*",
        at_newton,
        (MINIMIZER, *INVERTIBLE),
        context_point,
    )
    .mutant("wrong constant", "half a Newton step", partial(at_newton, scale=Rational(1, 2)))
    .mutant("flipped sign", "-G^-1", partial(at_newton, scale=-1))
    .mutant("dropped hypothesis", "any S*", without=[MINIMIZER.name], point=lambda source, sizes: {
        **context_point(source, sizes), "S_star": source.matrix(sizes["V"], sizes["K"])})
)  # fmt: skip

THEOREMS = (QUADRATIC, RATIO, LOSSES, NEWTON)
