"""Sums of square roots of rationals, compared exactly.

A sum is a rational plus terms c sqrt(r). Roots of squares are taken out exactly; what is left is enclosed between
rationals of growing precision until the sign shows. Two different-looking sums that are equal never separate:
that raises, and no verdict is made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Any

_PRECISIONS = (64, 256, 1024, 4096)


def fraction(x: Any) -> Fraction:
    """A rational of any exact type as a `Fraction`; floats are refused."""
    if isinstance(x, float):
        raise TypeError(f"expected an exact rational, got the float {x!r}")
    if isinstance(x, int | Fraction):
        return Fraction(x)
    return Fraction(int(x.p), int(x.q))


@dataclass(frozen=True)
class RootSum:
    """rational + sum of c sqrt(r) over `terms`."""

    rational: Fraction
    terms: tuple[tuple[Fraction, Fraction], ...] = ()

    @classmethod
    def of(cls, x: Any) -> RootSum:
        """A rational as a sum without roots."""
        return x if isinstance(x, RootSum) else cls(fraction(x))

    def __add__(self, other: Any) -> RootSum:
        other = RootSum.of(other)
        return RootSum(self.rational + other.rational, self.terms + other.terms)

    __radd__ = __add__

    def __neg__(self) -> RootSum:
        return RootSum(-self.rational, tuple((-c, r) for c, r in self.terms))

    def __sub__(self, other: Any) -> RootSum:
        return self + (-RootSum.of(other))

    def __rsub__(self, other: Any) -> RootSum:
        return RootSum.of(other) + (-self)

    def __mul__(self, other: Any) -> RootSum:
        other = RootSum.of(other)
        mine, theirs = (
            ((self.rational, Fraction(1)), *self.terms),
            ((other.rational, Fraction(1)), *other.terms),
        )
        result = RootSum(Fraction(0))
        for c, r in mine:
            for e, s in theirs:
                # sqrt(r) sqrt(r) = r keeps powers of a + b sqrt(r) at two terms.
                term = RootSum(c * e * r) if r == s else _root_term(c * e, r * s)
                result = result + term
        return result.collected()

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> RootSum:
        return self * RootSum(1 / fraction(divisor))

    def __pow__(self, exponent: int) -> RootSum:
        result = RootSum(Fraction(1))
        for _ in range(exponent):
            result = result * self
        return result

    def collected(self) -> RootSum:
        """Terms of one radicand added up."""
        totals: dict[Fraction, Fraction] = {}
        for c, r in self.terms:
            totals[r] = totals.get(r, Fraction(0)) + c
        return RootSum(self.rational, tuple((c, r) for r, c in totals.items() if c))

    def sign(self) -> int:
        """-1, 0 or 1.

        Raises
        ------
        ArithmeticError
            If the sum is too close to zero to tell.
        """
        total = self.collected()
        if not total.terms:
            return (total.rational > 0) - (total.rational < 0)
        for bits in _PRECISIONS:
            low = high = total.rational
            for c, r in total.terms:
                below, above = _enclosed(r, bits)
                low += c * (below if c > 0 else above)
                high += c * (above if c > 0 else below)
            if low > 0 or high < 0:
                return 1 if low > 0 else -1
        raise ArithmeticError(f"a sum of square roots within 2^-{_PRECISIONS[-1]} of zero")

    def __str__(self) -> str:
        return " + ".join([str(self.rational), *(f"{c}*sqrt({r})" for c, r in self.terms)])


def root(x: Any) -> RootSum:
    """sqrt(x) of a rational x >= 0."""
    return _root_term(Fraction(1), fraction(x))


def roots(xs: Sequence[Any]) -> RootSum:
    """sum of sqrt(x)."""
    return sum((root(x) for x in xs), RootSum(Fraction(0))).collected()


def _root_term(coefficient: Fraction, radicand: Fraction) -> RootSum:
    if radicand < 0:
        raise ArithmeticError(f"square root of {radicand}")
    p, q = isqrt(radicand.numerator), isqrt(radicand.denominator)
    if p * p == radicand.numerator and q * q == radicand.denominator:
        return RootSum(coefficient * Fraction(p, q))
    return RootSum(Fraction(0), ((coefficient, radicand),))


def _enclosed(radicand: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    scaled = (radicand.numerator << (2 * bits)) // radicand.denominator
    below = isqrt(scaled)
    return Fraction(below, 1 << bits), Fraction(below + 1, 1 << bits)
