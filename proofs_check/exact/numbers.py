"""Vectors and matrices of exact numbers: NumPy arrays of objects, so that + - * @ are what they are on paper.

Entries are `flint.fmpq`, or numbers that know how far rounding may move them. Nothing here computes in floating point.
"""

from collections.abc import Iterable
from typing import Any

import flint
import numpy as np
from flint import fmpq

Number = Any
Array = Any
"""A NumPy array of objects, whose type says nothing about its entries."""

BITS = 512
"""Precision at which square roots are enclosed; everything else is exact."""


class Items(list[Any]):
    """A list that is a list in Coq too; other lists of an instance run over the tokens."""


def array(values: Any) -> Array:
    """Nested lists of exact numbers as an array."""
    return np.array(values, dtype=object)


def vector(n: int, value: Number) -> Array:
    """n times the same number."""
    return np.full(n, fmpq(value), dtype=object)


def zeros(m: int, n: int) -> Array:
    return np.full((m, n), fmpq(0), dtype=object)


def identity(n: int) -> Array:
    return diagonal(vector(n, 1))


def diagonal(d: Array) -> Array:
    """Diag(d)."""
    entries = np.ravel(d)
    return array([[a if i == j else 0 * a for j in range(len(entries))] for i, a in enumerate(entries)])


def larger(a: Number, b: Number) -> Number:
    return b if a < b else a


def smaller(a: Number, b: Number) -> Number:
    return a if a < b else b


def root(x: Number) -> Number:
    """sqrt(x): exact of a square, else enclosed; 0 of a negative number, as in MathComp."""
    if x <= 0:
        return 0 * x
    if not isinstance(x, flint.arb) and fmpq(x).p.is_square() and fmpq(x).q.is_square():
        return fmpq(fmpq(x).p.isqrt(), fmpq(x).q.isqrt())
    with flint.ctx.workprec(BITS):
        return flint.arb(x).sqrt()


def solve(a: Array, b: Array) -> Array:
    """Some x with a x = b."""
    width = a.shape[1]
    reduced, rank = flint.fmpq_mat(np.concatenate([a, b], axis=1).tolist()).rref()
    x = zeros(width, b.shape[1])
    for row in reduced.table()[:rank]:
        pivot = next(i for i, entry in enumerate(row) if entry != 0)
        if pivot >= width:
            raise ArithmeticError("no solution")
        x[pivot] = row[width:]
    return x


def inverse(a: Array) -> Array:
    """The inverse; ArithmeticError if there is none."""
    return solve(a, identity(len(a)))


def is_invertible(a: Array) -> bool:
    try:
        inverse(a)
    except ArithmeticError:
        return False
    return True


def product(factors: Iterable[Number]) -> Number:
    """The product of numbers, one for none."""
    result: Number = 1
    for factor in factors:
        result = result * factor
    return result
