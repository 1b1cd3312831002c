"""SymPy matrix expressions as sums of terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp
from sympy.matrices.expressions.diagonal import DiagMatrix, DiagonalOf
from sympy.matrices.expressions.matexpr import MatrixExpr, MatrixSymbol
from sympy.matrices.expressions.special import OneMatrix, ZeroMatrix

from proofs_check.symbolic.terms import Sum, Term, Weighted, closed, combine, fresh, identify


def expand(expression: Any) -> Sum:
    """Any expression, scalar or matrix, multiplied out.

    Raises
    ------
    TypeError
        For a node it does not know: nothing is guessed about it.
    """
    if isinstance(expression, MatrixExpr):
        return _matrix(expression)
    return _scalar(sp.sympify(expression))


def _matrix(node: MatrixExpr) -> Sum:
    for kind, rule in _MATRIX_RULES.items():
        if isinstance(node, kind):
            return rule(node)
    raise TypeError(f"no expansion for the matrix {type(node).__name__}")


def _symbol(node: MatrixSymbol) -> Sum:
    row, column = fresh(node.rows), fresh(node.cols)
    return [(sp.S.One, Term(((node.name, (row, column)),), row, column))]


def _identity(node: sp.Identity) -> Sum:
    index = fresh(node.rows)
    return [(sp.S.One, Term((), index, index))]


def _ones(node: OneMatrix) -> Sum:
    return [(sp.S.One, Term((), fresh(node.rows), fresh(node.cols)))]


def _transpose(node: sp.Transpose) -> Sum:
    return [(c, Term(t.factors, t.column, t.row)) for c, t in _matrix(node.arg)]


def _sum(node: Any) -> Sum:
    return [weighted for part in node.args for weighted in expand(part)]


def _product(node: sp.MatMul) -> Sum:
    scalar, (first, *others) = node.as_coeff_matrices()
    leading = _matrix(first)
    result = [_scaled(left, right) for left in _scalar(scalar) for right in leading]
    for matrix in others:
        result = [_chained(left, right) for left in result for right in _matrix(matrix)]
    return result


def _scaled(scalar: Weighted, weighted: Weighted) -> Weighted:
    (c, s), (b, t) = scalar, weighted
    # The same scalar may multiply a term twice: each time it needs its own bound indices.
    return c * b, Term((*s.freshened().factors, *t.factors), t.row, t.column)


def _chained(left: Weighted, right: Weighted) -> Weighted:
    (c, a), (b, t) = left, right
    a, t = a.freshened(), t.freshened()
    both = Term((*a.factors, *t.factors, ("", (a.row, t.column))))
    *factors, (_, (row, column)) = identify(both, a.column, t.row).factors
    # identify keeps the first of the two, so at most that one can have lost its last use.
    return closed(c * b, Term(tuple(factors), row, column), (a.column,))


def _hadamard(node: sp.HadamardProduct) -> Sum:
    result = _matrix(node.args[0])
    for part in node.args[1:]:
        result = [_aligned(left, right) for left in result for right in _matrix(part)]
    return result


def _hadamard_power(node: sp.HadamardPower) -> Sum:
    if not (node.exp.is_Integer and node.exp > 0):
        raise TypeError(f"no expansion for the entrywise power {node}")
    result = base = _matrix(node.base)
    for _ in range(int(node.exp) - 1):
        result = [_aligned(left, right) for left in result for right in base]
    return result


def _aligned(left: Weighted, right: Weighted) -> Weighted:
    (c, a), (b, t) = left, right
    a, t = a.freshened(), t.freshened()
    both = Term((*a.factors, *t.factors, ("", (a.row, a.column)), ("", (t.row, t.column))))
    for slot in (0, 1):
        both = identify(both, both.factors[-2][1][slot], both.factors[-1][1][slot])
    row, column = both.factors[-1][1]
    return c * b, Term(both.factors[:-2], row, column)


def _diagonal_matrix(node: DiagMatrix) -> Sum:
    return [(c, Term(t.factors, t.row, t.row)) for c, t in _matrix(node.args[0])]


def _diagonal_of(node: DiagonalOf) -> Sum:
    result = []
    for c, t in _matrix(node.args[0]):
        both = identify(Term((*t.factors, ("", (t.row, t.column)))), t.row, t.column)
        result.append((c, Term(both.factors[:-1], both.factors[-1][1][0])))
    return result


def _inverse(node: sp.Inverse) -> Sum:
    """An unknown matrix, named after the normal form of what it inverts; its hypotheses say the rest."""
    index = fresh(node.rows), fresh(node.cols)
    return [(sp.S.One, Term(((f"inverse of {_name(node.arg)}", index),), *index))]


def _power(node: sp.MatPow) -> Sum:
    if not (node.exp.is_Integer and node.exp > 0):
        raise TypeError(f"no expansion for the matrix power {node}")
    result = base = _matrix(node.base)
    for _ in range(int(node.exp) - 1):
        result = [_chained(left, right) for left in result for right in base]
    return result


_MATRIX_RULES: dict[type, Callable[[Any], Sum]] = {
    MatrixSymbol: _symbol,
    sp.Identity: _identity,
    OneMatrix: _ones,
    ZeroMatrix: lambda node: [],
    sp.Inverse: _inverse,  # before MatPow, of which it is one
    sp.MatPow: _power,
    sp.Transpose: _transpose,
    sp.MatAdd: _sum,
    sp.MatMul: _product,
    sp.HadamardProduct: _hadamard,
    sp.HadamardPower: _hadamard_power,
    DiagMatrix: _diagonal_matrix,
    DiagonalOf: _diagonal_of,
}


def _scalar(node: Any) -> Sum:
    if not _mentions_matrices(node):
        return [(node, Term(()))]
    if isinstance(node, sp.Trace):
        return [_traced(weighted) for weighted in _matrix(node.arg)]
    if isinstance(node, sp.Add):
        return _sum(node)
    if isinstance(node, sp.Mul):
        result: Sum = [(sp.S.One, Term(()))]
        for factor in node.args:
            result = [_scaled(left, right) for left in result for right in _scalar(factor)]
        return result
    if isinstance(node, sp.Pow) and node.exp.is_Integer:
        if node.exp > 0:
            return _scalar_power(node.base, int(node.exp))
        # The reciprocal of a sum of terms is a scalar of its own, the same one wherever the sum is the same.
        return [(sp.Symbol(f"1/({_name(node.base)})") ** -node.exp, Term(()))]
    raise TypeError(f"no expansion for the scalar {type(node).__name__}")


def _scalar_power(base: Any, power: int) -> Sum:
    result = expanded = _scalar(base)
    for _ in range(power - 1):
        result = [_scaled(left, right) for left in result for right in expanded]
    return result


def _traced(weighted: Weighted) -> Weighted:
    c, t = weighted
    return closed(c, identify(Term(t.factors), t.row, t.column), (t.row,))


def _mentions_matrices(node: Any) -> bool:
    return bool(node.has(MatrixExpr))


def _name(expression: Any) -> str:
    return repr(sorted((key, str(sp.factor(c))) for key, (c, _) in combine(expand(expression)).items()))
