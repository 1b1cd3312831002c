r"""Derivatives of scalar functions of matrices, for every dimension.

SymPy 1.14 differentiates some traces by a matrix but not all: :math:`(1 - \mathrm{tr}(d^\top s))^2` gives zero by d,
and ``DiagMatrix`` does not terminate. ``gradient`` is reverse-mode differentiation on the expression tree instead:
the adjoint of the whole is one, and each node hands adjoints to its arguments.
"""

from collections.abc import Sequence
from typing import Any

import sympy as sp
from sympy import HadamardProduct, Identity, Trace
from sympy.matrices.expressions.diagonal import DiagMatrix, DiagonalOf
from sympy.matrices.expressions.matexpr import MatrixExpr, MatrixSymbol
from sympy.matrices.expressions.special import ZeroMatrix


def gradient(function: Any, variable: MatrixSymbol) -> MatrixExpr:
    r"""The matrix :math:`\nabla f` with :math:`f(X + H) = f(X) + \langle\nabla f(X), H\rangle + o(\|H\|)`.

    - `function`, SymPy scalar: Sums, products and powers of traces of matrix expressions.
    - `variable`: X.

    Returns what has the shape of `variable`.

    Raises TypeError: for a node that it cannot differentiate.
    """
    parts = _through_scalar(function, sp.S.One, variable)
    return _collect(parts, variable.shape)


def directional(function: Any, variable: MatrixSymbol, direction: MatrixExpr) -> Any:
    r"""The scalar :math:`\langle\nabla f(X), H\rangle`."""
    return Trace(gradient(function, variable).T * direction)


def right_factor(product: MatrixExpr, left: MatrixExpr) -> MatrixExpr:
    """M of a product ``left * M``."""
    coefficient, factors = product.as_coeff_matrices() if isinstance(product, sp.MatMul) else (1, [product])
    if len(factors) < 2 or factors[0] != left:
        raise ValueError(f"product: expected {left} times a matrix, got {product}")
    return coefficient * sp.MatMul(*factors[1:]).doit()


def entries(expression: Any) -> Any:
    """A matrix expression of numeric size written out, or a scalar expression with its traces written out."""
    if isinstance(expression, MatrixExpr):
        # as_explicit multiplies matrices but leaves traces among their scalar factors alone.
        return expression.as_explicit().applyfunc(entries)
    return expression.replace(Trace, lambda argument: sp.trace(argument.as_explicit()))


def entry_gradient(function: Any, variable: MatrixSymbol) -> Any:
    """The gradient entry by entry, from SymPy's scalar calculus; `function` as for `gradient`, of numeric size."""
    written = entries(function)
    rows, columns = variable.shape
    return sp.ImmutableMatrix(rows, columns, lambda i, j: sp.diff(written, variable[i, j]))


Part = tuple[Any, MatrixExpr]
"""A scalar factor and a matrix, kept apart so that equal matrices meet and their factors add up."""


def _collect(parts: list[Part], shape: tuple[Any, Any]) -> MatrixExpr:
    totals: dict[MatrixExpr, Any] = {}
    for scalar, matrix in parts:
        known = matrix.doit()
        totals[known] = totals.get(known, 0) + scalar
    return sp.MatAdd(ZeroMatrix(*shape), *(scalar * matrix for matrix, scalar in totals.items())).doit(
        deep=False
    )


def _through_scalar(node: Any, adjoint: Any, variable: MatrixSymbol) -> list[Part]:
    """What `variable` receives from a scalar node whose adjoint is `adjoint`."""
    if not node.has(variable):
        return []
    if isinstance(node, Trace):
        return _through_matrix(node.arg, (adjoint, Identity(node.arg.rows)), variable)
    if isinstance(node, sp.Add):
        return [part for term in node.args for part in _through_scalar(term, adjoint, variable)]
    if isinstance(node, sp.Pow) and node.exp.is_Number:
        return _through_scalar(node.base, adjoint * node.exp * node.base ** (node.exp - 1), variable)
    if isinstance(node, sp.Mul):
        parts = []
        for factor, before, after in _each_with_others(node.args):
            parts += _through_scalar(factor, adjoint * sp.Mul(*before, *after), variable)
        return parts
    raise TypeError(f"cannot differentiate {type(node).__name__} by a matrix")


def _through_matrix(node: Any, adjoint: Part, variable: MatrixSymbol) -> list[Part]:
    """What `variable` receives from a matrix node; the matrix of `adjoint` has the shape of the node."""
    if node == variable:
        return [adjoint]
    if not node.has(variable):
        return []
    scalar, matrix = adjoint
    if isinstance(node, sp.MatAdd):
        return [part for term in node.args for part in _through_matrix(term, adjoint, variable)]
    if isinstance(node, sp.Transpose):
        return _through_matrix(node.arg, (scalar, matrix.T), variable)
    if isinstance(node, sp.MatMul):
        return _through_product(node, adjoint, variable)
    if isinstance(node, HadamardProduct):
        parts = []
        for factor, before, after in _each_with_others(node.args):
            parts += _through_matrix(factor, (scalar, HadamardProduct(matrix, *before, *after)), variable)
        return parts
    if isinstance(node, sp.MatPow | sp.HadamardPower) and node.exp.is_Integer and node.exp > 0:
        kind = sp.MatMul if isinstance(node, sp.MatPow) else HadamardProduct
        return _through_matrix(kind(*[node.base] * int(node.exp)), adjoint, variable)
    if isinstance(node, DiagMatrix):
        return _through_matrix(node.args[0], (scalar, _diagonal(matrix)), variable)
    raise TypeError(f"cannot differentiate {type(node).__name__} by a matrix")


def _through_product(node: sp.MatMul, adjoint: Part, variable: MatrixSymbol) -> list[Part]:
    scalar, matrix = adjoint
    coefficient, factors = node.as_coeff_matrices()
    parts = _through_scalar(coefficient, scalar * Trace(matrix.T * sp.MatMul(*factors)), variable)
    for factor, before, after in _each_with_others(factors):
        # d tr(A^T L X R) = <L^T A R^T, dX>
        left, right = ([f.T for f in reversed(side)] for side in (before, after))
        parts += _through_matrix(factor, (scalar * coefficient, sp.MatMul(*left, matrix, *right)), variable)
    return parts


def _diagonal(matrix: MatrixExpr) -> MatrixExpr:
    """The diagonal of a matrix, the same expression for the matrix and its transpose."""
    return DiagonalOf(min(matrix.doit(), matrix.T.doit(), key=sp.default_sort_key))


def _each_with_others(items: Sequence[Any]) -> list[tuple[Any, Sequence[Any], Sequence[Any]]]:
    """Every item with those before it and those after it."""
    return [(item, items[:i], items[i + 1 :]) for i, item in enumerate(items)]
