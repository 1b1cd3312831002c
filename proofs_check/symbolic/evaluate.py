"""SymPy matrix expressions evaluated exactly, without the normal form: the second opinion on every identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp
from flint import fmpq
from sympy.matrices.expressions.diagonal import DiagMatrix, DiagonalOf
from sympy.matrices.expressions.matexpr import MatrixExpr, MatrixSymbol
from sympy.matrices.expressions.special import OneMatrix, ZeroMatrix

from proofs_check.exact import linear as la
from proofs_check.exact.linear import Matrix
from proofs_check.symbolic.hypotheses import Mean


@dataclass(frozen=True)
class Point:
    """Rational numbers for every symbol.

    Attributes
    ----------
    sizes : name of a size -> int
    scalars : name -> rational
    matrices : name -> matrix
    samples : name of a random vector -> its values, equally likely
    """

    sizes: Mapping[str, int]
    scalars: Mapping[str, fmpq]
    matrices: Mapping[str, Matrix]
    samples: Mapping[str, list[Matrix]]

    def size(self, expression: Any) -> int:
        size = sp.sympify(expression)
        return int(size.subs({symbol: self.sizes[symbol.name] for symbol in size.free_symbols}))

    def drawn(self, name: str, value: Matrix) -> Point:
        """The same point with one of a random vector's values."""
        return Point(self.sizes, self.scalars, {**self.matrices, name: value}, self.samples)

    def told(self) -> dict[str, Any]:
        """The point as text, for a counterexample."""
        known = {**self.scalars, **self.matrices, **self.samples}
        return {"values": {name: text(value) for name, value in known.items()}, "sizes": dict(self.sizes)}


def text(value: Any) -> Any:
    """Exact numbers, nested in lists or not, as strings."""
    return [text(part) for part in value] if isinstance(value, list) else str(value)


def evaluate(expression: Any, point: Point) -> Matrix:
    """The matrix that an expression is at a point; a scalar is 1 x 1. ZeroDivisionError where it is not defined."""
    if isinstance(expression, Mean):
        values = point.samples[expression.variable.name]
        results = [evaluate(expression.of, point.drawn(expression.variable.name, v)) for v in values]
        total = results[0]
        for result in results[1:]:
            total = la.madd(total, result)
        return la.mscale(fmpq(1, len(values)), total)
    if isinstance(expression, MatrixExpr):
        return _matrix(expression, point)
    return [[_scalar(sp.sympify(expression), point)]]


def _matrix(node: MatrixExpr, point: Point) -> Matrix:
    for kind, rule in _RULES.items():
        if isinstance(node, kind):
            return rule(node, point)
    raise TypeError(f"no value for the matrix {type(node).__name__}")


def _product(node: sp.MatMul, point: Point) -> Matrix:
    scalar, (first, *others) = node.as_coeff_matrices()
    result = la.mscale(_scalar(scalar, point), _matrix(first, point))
    for matrix in others:
        result = la.matmul(result, _matrix(matrix, point))
    return result


def _folded(combine: Callable[[Matrix, Matrix], Matrix]) -> Callable[[Any, Point], Matrix]:
    def rule(node: Any, point: Point) -> Matrix:
        result = _matrix(node.args[0], point)
        for part in node.args[1:]:
            result = combine(result, _matrix(part, point))
        return result

    return rule


def _entrywise(a: Matrix, b: Matrix) -> Matrix:
    return [la.had(x, y) for x, y in zip(a, b, strict=True)]


def _constant(value: int) -> Callable[[Any, Point], Matrix]:
    return lambda node, point: [[fmpq(value)] * point.size(node.cols) for _ in range(point.size(node.rows))]


def _power(node: sp.MatPow, point: Point) -> Matrix:
    return _repeated(la.matmul, _matrix(node.base, point), node.exp)


def _hadamard_power(node: sp.HadamardPower, point: Point) -> Matrix:
    return _repeated(_entrywise, _matrix(node.base, point), node.exp)


def _repeated(combine: Callable[[Matrix, Matrix], Matrix], base: Matrix, exponent: Any) -> Matrix:
    if not (exponent.is_Integer and exponent > 0):
        raise TypeError(f"no value for the power {exponent}")
    result = base
    for _ in range(int(exponent) - 1):
        result = combine(result, base)
    return result


_RULES: dict[type, Callable[[Any, Point], Matrix]] = {
    MatrixSymbol: lambda node, point: point.matrices[node.name],
    sp.Identity: lambda node, point: la.identity(point.size(node.rows), fmpq(1)),
    OneMatrix: _constant(1),
    ZeroMatrix: _constant(0),
    sp.Inverse: lambda node, point: la.inverse(_matrix(node.arg, point)),  # before MatPow, of which it is one
    sp.MatPow: _power,
    sp.Transpose: lambda node, point: la.transpose(_matrix(node.arg, point)),
    sp.MatAdd: _folded(la.madd),
    sp.MatMul: _product,
    sp.HadamardProduct: _folded(_entrywise),
    sp.HadamardPower: _hadamard_power,
    DiagMatrix: lambda node, point: la.diagonal([row[0] for row in _matrix(node.args[0], point)]),
    DiagonalOf: lambda node, point: [[row[i]] for i, row in enumerate(_matrix(node.args[0], point))],
}


def _scalar(node: Any, point: Point) -> fmpq:
    if isinstance(node, sp.Trace):
        trace: fmpq = la.trace(_matrix(node.arg, point))
        return trace
    if not node.has(MatrixExpr):
        return _number(node, point)
    parts = [_scalar(part, point) for part in node.args]
    if isinstance(node, sp.Add):
        return sum(parts, fmpq(0))
    if isinstance(node, sp.Mul):
        result = fmpq(1)
        for part in parts:
            result *= part
        return result
    if isinstance(node, sp.Pow) and node.exp.is_Integer:
        return parts[0] ** int(node.exp)
    raise TypeError(f"no value for the scalar {type(node).__name__}")


def _number(node: Any, point: Point) -> fmpq:
    values = {symbol: _known(symbol.name, point) for symbol in node.free_symbols}
    value = node.subs(values)
    if not value.is_Rational:
        value = sp.simplify(value)
    if not value.is_Rational:
        raise TypeError(f"{node} is not rational at this point: {value}")
    return fmpq(int(value.p), int(value.q))


def _known(name: str, point: Point) -> Any:
    if name in point.sizes:
        return sp.Integer(point.sizes[name])
    value = point.scalars[name]
    return sp.Rational(int(value.p), int(value.q))
