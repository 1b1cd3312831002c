"""Vectors and matrices as lists, over any exact number type: nothing here but + - * / and comparison.

The same code runs on `flint.fmpq`, where proofs are checked, and on `fractions.Fraction`, where counterexamples
are checked a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

Number = Any
Vector = list[Number]
Matrix = list[list[Number]]


def times(c: int | Fraction, x: Any) -> Any:
    """c x for a constant c and x of any exact type: flint and `fractions` do not multiply each other."""
    return x * c.numerator / c.denominator if isinstance(c, Fraction) else x * c


def one(m: Any) -> Number:
    """The number one, of the type of the entries of a vector or matrix."""
    while isinstance(m, list):
        m = m[0]
    return m * 0 + 1


def dot(u: Sequence[Number], v: Sequence[Number]) -> Number:
    """<u, v>."""
    return sum(a * b for a, b in zip(u, v, strict=True))


def norm_sq(u: Iterable[Number]) -> Number:
    """|u|^2."""
    return sum(a * a for a in u)


def had(u: Sequence[Number], v: Sequence[Number]) -> Vector:
    """u * v, entry by entry."""
    return [a * b for a, b in zip(u, v, strict=True)]


def sq(u: Iterable[Number]) -> Vector:
    """u * u, entry by entry."""
    return [a * a for a in u]


def add(u: Sequence[Number], v: Sequence[Number]) -> Vector:
    """u + v."""
    return [a + b for a, b in zip(u, v, strict=True)]


def sub(u: Sequence[Number], v: Sequence[Number]) -> Vector:
    """u - v."""
    return [a - b for a, b in zip(u, v, strict=True)]


def scale(c: Number, u: Iterable[Number]) -> Vector:
    """c u."""
    return [c * a for a in u]


def clip(u: Sequence[Number], low: Sequence[Number], high: Sequence[Number]) -> Vector:
    """Projection onto the box."""
    return [clamp(a, lo, hi) for a, lo, hi in zip(u, low, high, strict=True)]


def clamp(a: Number, low: Number, high: Number) -> Number:
    """Projection onto an interval; a number that carries a bound on its error clips itself, and keeps the bound."""
    if hasattr(a, "clipped"):
        return a.clipped(low, high)
    return min(max(a, low), high)


def inside(u: Sequence[Number], low: Sequence[Number], high: Sequence[Number]) -> bool:
    """Whether u lies in the box."""
    return all(lo <= a <= hi for a, lo, hi in zip(u, low, high, strict=True))


def transpose(m: Matrix) -> Matrix:
    """The transpose."""
    return [list(column) for column in zip(*m, strict=True)]


def apply(m: Matrix, v: Sequence[Number]) -> Vector:
    """m v."""
    return [dot(row, v) for row in m]


def matmul(a: Matrix, b: Matrix) -> Matrix:
    """a b."""
    columns = transpose(b)
    return [[dot(row, column) for column in columns] for row in a]


def outer(u: Sequence[Number], v: Sequence[Number]) -> Matrix:
    """u v^T."""
    return [[a * b for b in v] for a in u]


def madd(a: Matrix, b: Matrix) -> Matrix:
    """a + b."""
    return [add(x, y) for x, y in zip(a, b, strict=True)]


def msub(a: Matrix, b: Matrix) -> Matrix:
    """a - b."""
    return [sub(x, y) for x, y in zip(a, b, strict=True)]


def mscale(c: Number, a: Matrix) -> Matrix:
    """c a."""
    return [scale(c, row) for row in a]


def right_diagonal(a: Matrix, d: Sequence[Number]) -> Matrix:
    """a Diag(d)."""
    return [had(row, d) for row in a]


def diagonal(d: Sequence[Number]) -> Matrix:
    """Diag(d)."""
    return [[a if i == j else 0 * a for j in range(len(d))] for i, a in enumerate(d)]


def identity(n: int, one: Number) -> Matrix:
    """The identity, made of the given one."""
    return diagonal([one] * n)


def inner(a: Matrix, b: Matrix) -> Number:
    """tr(a b^T)."""
    return sum(dot(x, y) for x, y in zip(a, b, strict=True))


def trace(a: Matrix) -> Number:
    """tr a."""
    return sum(a[i][i] for i in range(len(a)))


def gram(rows: Sequence[Sequence[Number]]) -> Matrix:
    """sum of k k^T over the rows k."""
    columns = transpose([list(row) for row in rows])
    return [[dot(a, b) for b in columns] for a in columns]


def flat(m: Matrix) -> Vector:
    """The entries, row by row."""
    return [a for row in m for a in row]


def lower(m: Matrix, shift: int = 0) -> Matrix:
    """tril(m, shift)."""
    return [[a if j <= i + shift else 0 * a for j, a in enumerate(row)] for i, row in enumerate(m)]


def solve(a: Matrix, b: Matrix) -> Matrix:
    """Some x with a x = b, by Gauss-Jordan elimination.

    Raises
    ------
    ArithmeticError
        If there is none.
    """
    width = len(a[0])
    rows = [[*x, *y] for x, y in zip(a, b, strict=True)]
    pivots: list[int] = []
    for column in range(width):
        rank = len(pivots)
        found = next((i for i in range(rank, len(rows)) if rows[i][column] != 0), None)
        if found is None:
            continue
        rows[rank], rows[found] = rows[found], rows[rank]
        rows[rank] = scale(1 / rows[rank][column], rows[rank])
        for i in range(len(rows)):
            if i != rank and rows[i][column] != 0:
                rows[i] = sub(rows[i], scale(rows[i][column], rows[rank]))
        pivots.append(column)
    if any(entry != 0 for row in rows[len(pivots) :] for entry in row[width:]):
        raise ArithmeticError("no solution")
    zero = 0 * b[0][0]
    x = [[zero] * len(b[0]) for _ in range(width)]
    for rank, column in enumerate(pivots):
        x[column] = rows[rank][width:]
    return x


def inverse(a: Matrix) -> Matrix:
    """The inverse; ArithmeticError if there is none."""
    return solve(a, identity(len(a), one(a)))


def forward_substitute(a: Matrix, b: Matrix) -> Matrix:
    """x with a x = b for a unit lower triangular `a`: row by row, without a division.

    Raises
    ------
    ArithmeticError
        If `a` is not unit lower triangular.
    """
    n = len(a)
    if any(a[i][i] != 1 or any(a[i][j] != 0 for j in range(i + 1, n)) for i in range(n)):
        raise ArithmeticError("not unit lower triangular")
    x: Matrix = []
    for i in range(n):
        row = list(b[i])
        for j in range(i):
            row = sub(row, scale(a[i][j], x[j]))
        x.append(row)
    return x


def is_psd(a: Matrix) -> bool:
    """Whether a symmetric matrix is positive semi-definite, by symmetric elimination."""
    rows = [list(row) for row in a]
    while rows:
        pivot = rows[0][0]
        if pivot < 0:
            return False
        if pivot == 0:
            if any(entry != 0 for entry in rows[0]):
                return False
            rows = [row[1:] for row in rows[1:]]
            continue
        rows = [
            [rows[i][j] - rows[i][0] * rows[0][j] / pivot for j in range(1, len(rows))]
            for i in range(1, len(rows))
        ]
    return True
