r"""Numbers that know how far any float64 evaluation of theirs may be off.

Write a formula without divisions as a sum of products of its inputs. However its sums and products are ordered (with
fused multiply-adds or without), every one of those products reaches the result through at most n roundings, so that

    |fl(x) - x| <= gamma_n * size,      gamma_n = n u / (1 - n u),  u = 2^-53,

where `size` is the sum of the absolute values of the products: the formula with every number replaced by its absolute
value and every minus by a plus. Inputs are exact float64 numbers. Clipping moves no two numbers apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import fmpq

UNIT = fmpq(1, 1 << 53)

PER_OPERATION = 8
"""Roundings counted per operation: a sum of up to 9 terms may be added in any order."""


@dataclass(frozen=True, eq=False)
class Sized:
    """An exact value, the size that its rounding scales with, and the most roundings on any way to it."""

    value: Any
    size: Any
    roundings: int = 0

    @classmethod
    def of(cls, x: Any) -> Sized:
        """An exact input."""
        return x if isinstance(x, Sized) else cls(fmpq(x), abs(fmpq(x)))

    @property
    def allowed(self) -> Any:
        """gamma_n * size."""
        n = self.roundings * UNIT
        return n / (1 - n) * self.size

    def _sum(self, other: Any, sign: int) -> Any:
        if isinstance(other, np.ndarray):
            return NotImplemented  # NumPy goes through its entries
        y = Sized.of(other)
        roundings = max(self.roundings, y.roundings) + PER_OPERATION
        return Sized(self.value + sign * y.value, self.size + y.size, roundings)

    def __add__(self, other: Any) -> Any:
        return self._sum(other, 1)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._sum(other, -1)

    def __rsub__(self, other: Any) -> Any:
        return Sized.of(other)._sum(self, -1)

    def __neg__(self) -> Sized:
        return Sized(-self.value, self.size, self.roundings)

    def __abs__(self) -> Sized:
        return Sized(abs(self.value), self.size, self.roundings)

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return NotImplemented
        y = Sized.of(other)
        return Sized(self.value * y.value, self.size * y.size, self.roundings + y.roundings + PER_OPERATION)

    __rmul__ = __mul__

    def __truediv__(self, divisor: int) -> Sized:
        """By an integer constant of a formula; one more rounding."""
        return Sized(self.value / divisor, self.size / abs(divisor), self.roundings + PER_OPERATION)

    def __pow__(self, exponent: int) -> Sized:
        result = self
        for _ in range(exponent - 1):
            result = result * self
        return result

    def __eq__(self, other: object) -> bool:
        return bool(self.value == Sized.of(other).value)

    __hash__ = None  # type: ignore[assignment]

    def clipped(self, low: Any, high: Any) -> Sized:
        """Between two exact bounds."""
        value = min(max(self.value, Sized.of(low).value), Sized.of(high).value)
        return Sized(value, max(self.size, abs(value)), self.roundings)


def reciprocal(x: Sized) -> Sized:
    """1/x of a sum of non-negative terms: its relative error is that of x, and one rounding more."""
    if x.size != x.value:
        raise ValueError("only a sum of non-negative terms has a relative error bound")
    # 1/(1 - gamma_n) - 1 <= gamma_{2n} while n u is small.
    return Sized(1 / x.value, 1 / x.value, 2 * x.roundings + PER_OPERATION)
