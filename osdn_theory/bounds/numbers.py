"""Numbers in which a bound can be decided: balls that enclose a real, and exact rationals.

The same formula is evaluated in either; Python's operators do the arithmetic. A float64 converts to both
without error, so the theorems are decided about the very inputs that were given.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import flint
import numpy as np

from osdn_theory.base.validation import Array

Number = Any
"""A ``flint.arb`` or a ``flint.fmpq``; python-flint ships no type stubs."""


@dataclass(frozen=True)
class Balls:
    """Real numbers as midpoint and radius (python-flint's arb) with `bits` of working precision."""

    bits: int

    @property
    def label(self) -> str:
        return f"ball arithmetic, {self.bits} bits"

    def of(self, value: float) -> Number:
        return flint.arb(value)

    def maximum(self, first: Number, second: Number) -> Number:
        return first.max(second)

    def minimum(self, first: Number, second: Number) -> Number:
        return first.min(second)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Set flint's global precision for the calculation inside."""
        before = flint.ctx.prec
        flint.ctx.prec = self.bits
        try:
            yield
        finally:
            flint.ctx.prec = before


class _Ordered:
    """Numbers of which any two compare."""

    def maximum(self, first: Number, second: Number) -> Number:
        return max(first, second)

    def minimum(self, first: Number, second: Number) -> Number:
        return min(first, second)


@dataclass(frozen=True)
class Rationals(_Ordered):
    """Exact rational numbers (python-flint's fmpq): equality is decided, but the digits grow with every step."""

    label: str = "exact rationals"

    def of(self, value: float) -> Number:
        return flint.fmpq(*float(value).as_integer_ratio())

    @contextmanager
    def working(self) -> Iterator[None]:
        # Square roots and logarithms leave the rationals; they are enclosed finely enough for denormals.
        with Balls(8192).working():
            yield


@dataclass(frozen=True)
class Floats(_Ordered):
    """Plain float64, which decides nothing: for searches that only need the formulas fast."""

    label: str = "float64"

    def of(self, value: float) -> Number:
        return float(value)

    @contextmanager
    def working(self) -> Iterator[None]:
        yield


Field = Balls | Rationals | Floats


def vector(field: Field, values: Array) -> list[Number]:
    """A float64 vector, converted without error."""
    return [field.of(value) for value in np.asarray(values, dtype=np.float64).tolist()]


def matrix(field: Field, values: Array) -> Any:
    """A float64 matrix as ``arb_mat`` or ``fmpq_mat``, converted without error."""
    kind = flint.arb_mat if isinstance(field, Balls) else flint.fmpq_mat
    return kind([vector(field, row) for row in values])


def dot(first: Sequence[Number], second: Sequence[Number]) -> Number:
    return total(a * b for a, b in zip(first, second, strict=True))


def norm_sq(values: Iterable[Number]) -> Number:
    return total(value * value for value in values)


def distance_sq(first: Sequence[Number], second: Sequence[Number]) -> Number:
    return norm_sq(a - b for a, b in zip(first, second, strict=True))


def total(values: Iterable[Number]) -> Number:
    # An integer zero keeps an empty sum exact in every field.
    return sum(values, start=0)


def as_float(value: Number) -> float:
    """Nearest float64 of the midpoint, for display only."""
    if isinstance(value, float | int | flint.arb):
        return float(value)
    ratio = flint.fmpq(value)
    try:
        return int(ratio.p) / int(ratio.q)
    except OverflowError:
        return math.inf if ratio > 0 else -math.inf


def ball(value: Number) -> Any:
    """An arb that encloses `value`, at the working precision."""
    return value if isinstance(value, flint.arb) else flint.arb(value)


def sqrt(value: Number) -> Number:
    """Square root of a non-negative number, enclosed; that of a rational square, such as zero, is exact."""
    if isinstance(value, flint.fmpq):
        root = flint.fmpq(value.p.isqrt(), value.q.isqrt())
        if root * root == value:
            return root
    if value == 0:
        return value
    enclosed = ball(value)
    if enclosed >= 0 or not enclosed.contains(0):
        return enclosed.sqrt()
    # Squares that cancel may be enclosed by a ball that reaches below zero.
    return enclosed.upper().sqrt().union(flint.arb(0))


def log(value: Number) -> Any:
    """Natural logarithm, enclosed; minus infinity for an exact zero."""
    enclosed = ball(value)
    if enclosed.is_zero():
        return flint.arb.neg_inf()
    return enclosed.log()
