r"""The objective, its derivatives and the steps, each from its definition.

Arguments are matrix symbols or expressions of matching shapes, vectors as columns; scalars are SymPy scalars. What is a
derivative is computed by differentiating; the variable of differentiation is called ``_X`` and appears in no result.
"""

from typing import Any

import sympy as sp
from sympy import HadamardProduct, Inverse, Rational, Trace
from sympy.matrices.expressions.diagonal import DiagMatrix
from sympy.matrices.expressions.matexpr import MatrixExpr, MatrixSymbol

from osdn_theory.symbolic.calculus import directional, gradient, right_factor


def inner(first: MatrixExpr, second: MatrixExpr) -> Any:
    r""":math:`\langle A, B\rangle = \mathrm{tr}(A^\top B)`."""
    return Trace(first.T * second)


def norm_sq(matrix: MatrixExpr) -> Any:
    r""":math:`\|A\|_F^2`."""
    return inner(matrix, matrix)


def squared(key: MatrixExpr) -> MatrixExpr:
    r""":math:`s = k \odot k`."""
    return HadamardProduct(key, key)


def alignment(preconditioner: MatrixExpr, key: MatrixExpr) -> Any:
    r""":math:`a = k^\top \mathrm{Diag}(d)\, k`."""
    return Trace(key.T * DiagMatrix(preconditioner) * key)


def token_loss(state: MatrixExpr, key: MatrixExpr, value: MatrixExpr) -> Any:
    r""":math:`f(S) = \tfrac12\|S k - v\|^2` (T1)."""
    return Rational(1, 2) * norm_sq(state * key - value)


def token_gradient(state: MatrixExpr, key: MatrixExpr, value: MatrixExpr) -> MatrixExpr:
    r""":math:`\nabla f(S)`, by differentiating the loss (T1)."""
    x = _variable_like(state)
    return gradient(token_loss(x, key, value), x).subs(x, state)


def write(
    state: MatrixExpr, key: MatrixExpr, value: MatrixExpr, preconditioner: MatrixExpr, beta: Any = sp.S.One
) -> MatrixExpr:
    r""":math:`S - \beta\,\nabla f(S)\,\mathrm{Diag}(d)` with the differentiated loss (T2)."""
    return state - beta * token_gradient(state, key, value) * DiagMatrix(preconditioner)


def residual_ratio(alignment: Any, beta: Any = sp.S.One) -> Any:
    r""":math:`q = f(S^+)/f(S)`, read off one write of a one-dimensional token with the given alignment (T3).

    That the ratio has this one form for every state, value and dimension is what T3 says.
    """
    state, value = sp.symbols("S v", real=True)
    after = state - beta * (state - value) * alignment
    return sp.factor(sp.cancel((after - value) ** 2 / (state - value) ** 2))


def surrogate(preconditioner: MatrixExpr, feature: MatrixExpr) -> Any:
    r""":math:`\ell(d) = \tfrac12(1 - \langle d, s\rangle)^2` (T4)."""
    return (1 - inner(preconditioner, feature)) ** 2 / 2


def hypergradient(preconditioner: MatrixExpr, feature: MatrixExpr) -> MatrixExpr:
    r""":math:`\nabla\ell(d)`, by differentiating the surrogate (T4)."""
    x = _variable_like(preconditioner)
    return gradient(surrogate(x, feature), x).subs(x, preconditioner)


def calibrate_step(
    preconditioner: MatrixExpr,
    feature: MatrixExpr,
    eta: Any,
    *,
    gamma: Any = sp.S.One,
    weight: Any = sp.S.One,
    anchor: MatrixExpr | None = None,
) -> MatrixExpr:
    r"""The calibrate step before its projection (T4, T13).

    .. math:: c + \gamma (d - c) - \eta\, w\, \nabla\ell(d)

    with the differentiated surrogate; `anchor` None is c = 0.
    """
    kept = gamma * preconditioner if anchor is None else anchor + gamma * (preconditioner - anchor)
    return kept - eta * weight * hypergradient(preconditioner, feature)


def delta_rule_step(
    deviation: MatrixExpr,
    feature: MatrixExpr,
    anchor: MatrixExpr,
    eta: Any,
    *,
    gamma: Any = sp.S.One,
    weight: Any = sp.S.One,
) -> MatrixExpr:
    r"""The calibrate step in :math:`d - c`: a delta rule with key s and a scalar target (T11).

    .. math:: (\gamma I - \eta w\, s s^\top)(d - c) + \eta w (1 - \langle c, s\rangle) s
    """
    kept = gamma * deviation - eta * weight * feature * (feature.T * deviation)
    return kept + eta * weight * (1 - inner(anchor, feature)) * feature


def context_loss(state: MatrixExpr, keys: MatrixExpr, values: MatrixExpr) -> Any:
    r""":math:`F(S) = \tfrac12\sum_t\|S k_t - v_t\|^2`, with tokens in the rows of `keys` and `values` (T1)."""
    return Rational(1, 2) * norm_sq(keys * state.T - values)


def context_gradient(state: MatrixExpr, keys: MatrixExpr, values: MatrixExpr) -> MatrixExpr:
    r""":math:`\nabla F(S)`, by differentiating the loss (T1)."""
    x = _variable_like(state)
    return gradient(context_loss(x, keys, values), x).subs(x, state)


def gram(keys: MatrixExpr) -> MatrixExpr:
    r""":math:`G = \sum_t k_t k_t^\top`."""
    return keys.T * keys


def right_hessian(keys: MatrixExpr, values: MatrixExpr) -> MatrixExpr:
    r"""The matrix H with :math:`\nabla^2 F[\Delta] = \Delta H`, by differentiating the loss twice (T1)."""
    shape = values.cols, keys.cols
    x, delta = MatrixSymbol("_X", *shape), MatrixSymbol("_Delta", *shape)
    slope = directional(context_loss(x, keys, values), x, delta)
    return right_factor(gradient(slope, x), delta)


def newton_step(state: MatrixExpr, keys: MatrixExpr, values: MatrixExpr) -> MatrixExpr:
    r""":math:`S - \nabla F(S) H^{-1}` with the right Hessian H, which must be invertible (T10)."""
    hessian = right_hessian(keys, values)
    return state - context_gradient(state, keys, values) * Inverse(hessian)


def context_gap(error: MatrixExpr, keys: MatrixExpr) -> Any:
    r""":math:`2(F(S) - F^*) = \mathrm{tr}(E G E^\top)` as a function of :math:`E = S - S^*` (T1)."""
    return Trace(error * gram(keys) * error.T)


def context_ratio(error: MatrixExpr, preconditioner: MatrixExpr, keys: MatrixExpr) -> Any:
    r""":math:`\rho(P) = \mathrm{tr}(E^+ G E^{+\top})/\mathrm{tr}(E G E^\top)` with :math:`E^+ = E - E G P` (T9)."""
    after = error - error * gram(keys) * preconditioner
    return context_gap(after, keys) / context_gap(error, keys)


def context_ratio_gradient(
    error: MatrixExpr, preconditioner: MatrixExpr, keys: MatrixExpr, *, diagonal: bool = False
) -> MatrixExpr:
    r""":math:`\nabla\rho`, by differentiating the ratio (T9).

    By the K x K matrix `preconditioner`, or if `diagonal` by the K x 1 vector whose ``DiagMatrix`` it is.
    """
    x = _variable_like(preconditioner)
    full = DiagMatrix(x) if diagonal else x
    return gradient(context_ratio(error, full, keys), x).subs(x, preconditioner)


def _variable_like(matrix: MatrixExpr) -> MatrixSymbol:
    return MatrixSymbol("_X", *matrix.shape)
