"""Random rational values for the symbols of a theorem."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import sympy as sp
from flint import fmpq
from sympy.matrices.expressions.matexpr import MatrixSymbol

from proofs_check.exact.linear import Matrix
from proofs_check.symbolic.evaluate import Point
from proofs_check.symbolic.hypotheses import Mean


class Source:
    """Random rational numbers with small denominators."""

    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)

    def number(self) -> fmpq:
        """In [-2, 2]."""
        denominator = self.rng.choice((1, 2, 3, 5))
        return fmpq(self.rng.randint(-2 * denominator, 2 * denominator), denominator)

    def fraction(self) -> fmpq:
        """In (0, 1)."""
        return fmpq(self.rng.randint(1, 10), 11)

    def matrix(self, rows: int, columns: int) -> Matrix:
        return [[self.number() for _ in range(columns)] for _ in range(rows)]

    def positive_matrix(self, rows: int, columns: int) -> Matrix:
        return [[self.fraction() for _ in range(columns)] for _ in range(rows)]


Values = dict[str, Any]
"""By name: a number, a matrix as a list of rows, or a list of those, the values of a random vector."""


def random_point(
    source: Source, sizes: Mapping[str, int], expressions: Iterable[Any], given: Values
) -> Point:
    """Values for every symbol of the expressions: those `given`, the others at random."""
    by_depth: list[Values] = [
        {name: v for name, v in given.items() if _depth(v) == depth} for depth in (0, 2, 3)
    ]
    scalars, matrices, samples = by_depth
    point = Point(sizes, scalars, matrices, samples)
    for symbol in _symbols(expressions):
        if symbol.name in given or symbol.name in sizes:
            continue
        if isinstance(symbol, MatrixSymbol):
            matrices[symbol.name] = source.matrix(point.size(symbol.rows), point.size(symbol.cols))
        else:
            scalars[symbol.name] = source.fraction()
    return point


def _symbols(expressions: Iterable[Any]) -> list[Any]:
    plain = [
        part for e in expressions for part in ((e.of, e.first, e.second) if isinstance(e, Mean) else (e,))
    ]
    found = {symbol for e in plain for symbol in sp.sympify(e).atoms(MatrixSymbol, sp.Symbol)}
    matrices = {symbol.name for symbol in found if isinstance(symbol, MatrixSymbol)}
    # The name inside a matrix symbol is a Symbol too, but no scalar of the theorem.
    kept = {symbol for symbol in found if isinstance(symbol, MatrixSymbol) or symbol.name not in matrices}
    return sorted(kept, key=lambda symbol: str(symbol.name))


def _depth(value: Any) -> int:
    return 1 + _depth(value[0]) if isinstance(value, list) else 0
