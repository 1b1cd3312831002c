"""SymPy's matrix expressions evaluated exactly at rational instances."""

from collections.abc import Callable, Mapping
from functools import reduce
from operator import add, matmul, mul
from typing import Any

import numpy as np
import sympy as sp
from flint import fmpq
from sympy.matrices.expressions.diagonal import DiagMatrix, DiagonalOf
from sympy.matrices.expressions.matexpr import MatrixExpr, MatrixSymbol
from sympy.matrices.expressions.special import OneMatrix, ZeroMatrix

from proofs_check.exact.numbers import Array, Number, array, diagonal, identity, inverse

Values = Mapping[str, Any]
"""Symbol -> number or array; a vector is a column. Sizes are integers."""


def symbolic_value(expression: Any, **values: Any) -> Any:
    """An expression at an instance: a number, a vector for a column, or a matrix."""
    columns = {k: array(v)[:, None] if np.ndim(v) == 1 else array(v) for k, v in values.items() if np.ndim(v)}
    known = {**values, **columns}
    if not isinstance(expression, MatrixExpr):
        return _scalar(sp.sympify(expression), known)
    result = _matrix(expression, known)
    return result[:, 0] if expression.shape[1] == 1 else result


def _size(expression: Any, values: Values) -> int:
    return int(sp.sympify(expression).subs({s: values[s.name] for s in sp.sympify(expression).free_symbols}))


def _matrix(node: Any, values: Values) -> Array:
    for kind, rule in _RULES.items():
        if isinstance(node, kind):
            return rule(node, values)
    raise TypeError(f"no value for the matrix {type(node).__name__}")


def _folded(combine: Callable[[Array, Array], Array]) -> Callable[[Any, Values], Array]:
    return lambda node, values: reduce(combine, [_matrix(part, values) for part in node.args])


def _product(node: sp.MatMul, values: Values) -> Array:
    scalar, matrices = node.as_coeff_matrices()
    return _scalar(scalar, values) * reduce(matmul, [_matrix(part, values) for part in matrices])


def _constant(value: int) -> Callable[[Any, Values], Array]:
    return lambda node, values: np.full(
        (_size(node.rows, values), _size(node.cols, values)), fmpq(value), dtype=object
    )


_RULES: dict[type, Callable[[Any, Values], Array]] = {
    MatrixSymbol: lambda node, values: values[node.name],
    sp.Identity: lambda node, values: identity(_size(node.rows, values)),
    OneMatrix: _constant(1),
    ZeroMatrix: _constant(0),
    sp.Inverse: lambda node, values: inverse(_matrix(node.arg, values)),
    sp.Transpose: lambda node, values: _matrix(node.arg, values).T,
    sp.MatAdd: _folded(add),
    sp.MatMul: _product,
    sp.HadamardProduct: _folded(mul),
    sp.HadamardPower: lambda node, values: _matrix(node.base, values) ** int(node.exp),
    DiagMatrix: lambda node, values: diagonal(_matrix(node.args[0], values)),
    DiagonalOf: lambda node, values: np.diag(_matrix(node.args[0], values))[:, None],
}


def _scalar(node: Any, values: Values) -> Number:
    if isinstance(node, sp.Trace):
        return np.trace(_matrix(node.arg, values))
    if node.is_Rational:
        return fmpq(int(node.p), int(node.q))
    if node.is_Symbol:
        return fmpq(values[node.name])
    parts = [_scalar(part, values) for part in node.args]
    if isinstance(node, sp.Add | sp.Mul):
        return reduce(add if isinstance(node, sp.Add) else mul, parts)
    if isinstance(node, sp.Pow):
        return parts[0] ** int(node.exp)
    raise TypeError(f"no value for the scalar {type(node).__name__}")
