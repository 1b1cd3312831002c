"""Binary floating-point formats and exact emulation of rounding to them (T18).

A float64 value is rounded once, to nearest with ties to even, as a conversion in hardware does: subnormals, overflow to
infinity, signed zeros and NaN included. Everything is a few float64 operations that are exact by construction.
"""

from dataclasses import dataclass

import numpy as np

from osdn_theory.base.validation import Array, as_float64, require


@dataclass(frozen=True)
class Format:
    """A binary format with subnormals and infinities.

    - `significand`: p, bits of the significand with the hidden one.
    - `min_exponent`, `max_exponent`: Exponents of the smallest normal number and of the largest, as powers of two.
    """

    name: str
    significand: int
    min_exponent: int
    max_exponent: int

    @property
    def unit_roundoff(self) -> float:
        """u = 2^-p: the relative error of rounding to nearest, away from under- and overflow."""
        return 2.0**-self.significand

    @property
    def smallest_normal(self) -> float:
        return 2.0**self.min_exponent

    @property
    def smallest_subnormal(self) -> float:
        return 2.0 ** (self.min_exponent - self.significand + 1)

    @property
    def largest(self) -> float:
        return (2.0 - 2.0 ** (1 - self.significand)) * 2.0**self.max_exponent


FLOAT64 = Format("float64", 53, -1022, 1023)
FLOAT32 = Format("float32", 24, -126, 127)
TF32 = Format("tf32", 11, -126, 127)
BFLOAT16 = Format("bfloat16", 8, -126, 127)
FLOAT16 = Format("float16", 11, -14, 15)

FORMATS = {f.name: f for f in (FLOAT64, FLOAT32, TF32, BFLOAT16, FLOAT16)}
"""Every format by name."""


def spacing(x: Array | float, fmt: Format) -> Array:
    """Distance from \\|x\\| to the next larger number of the format, for an x of the format; (...) like x.

    For other x it is the distance between the two numbers of the format around it. NaN for infinities and NaN.
    """
    _, exponent = np.frexp(as_float64("x", x, check_finite=False))
    # frexp: 1/2 <= significand < 1, and exponent 0 for zero; subnormals share the smallest normal's spacing.
    low = fmt.min_exponent - fmt.significand + 1
    power = np.maximum(exponent - fmt.significand, low)
    steps = np.ldexp(1.0, np.where(np.asarray(x) == 0, low, power))
    return np.where(np.isfinite(x), steps, np.nan)


def round_to(x: Array | float, fmt: Format) -> Array:
    """`x` rounded to the format, to nearest with ties to even, as float64; (...) like x.

    Beyond the largest number by half a spacing or more it overflows to infinity. Zeros keep their sign, and a negative
    number that underflows becomes -0. NaN stays NaN.
    """
    x = as_float64("x", x, check_finite=False)
    if fmt == FLOAT64:
        return x.copy()
    step = np.where(np.isfinite(x), spacing(x, fmt), 1.0)
    # Division and multiplication by a power of two are exact: float64 reaches far below these formats' subnormals.
    rounded = np.rint(np.where(np.isfinite(x), x, 0.0) / step) * step
    overflown = np.where(np.abs(rounded) > fmt.largest, np.copysign(np.inf, x), rounded)
    return np.where(np.isfinite(x), overflown, x)


def truncate_to(x: Array | float, fmt: Format) -> Array:
    """`x` rounded towards zero, as float64: what a conversion that drops bits does. Finite numbers stay finite."""
    x = as_float64("x", x, check_finite=False)
    step = np.where(np.isfinite(x), spacing(x, fmt), 1.0)
    chopped = np.trunc(np.where(np.isfinite(x), x, 0.0) / step) * step
    capped = np.where(np.abs(chopped) > fmt.largest, np.copysign(fmt.largest, x), chopped)
    return np.where(np.isfinite(x), capped, x)


def is_representable(x: Array | float, fmt: Format) -> bool:
    """Whether every entry is a number of the format (infinities are; NaN counts as one)."""
    return bool(np.array_equal(round_to(x, fmt), as_float64("x", x, check_finite=False), equal_nan=True))


def ulp_distance(a: Array | float, b: Array | float, fmt: Format) -> Array:
    """How many steps of the format lie between two of its numbers, as float64; (...) broadcast.

    Counted along the numbers of the format, so across a power of two the steps differ in size. -0 and +0 are the same
    number, and infinity is one step beyond the largest. NaN where either is NaN.

    Raises ValueError: if a or b is not representable in the format, or the format is float64.
    """
    require(fmt != FLOAT64, "fmt: expected a format narrower than float64")
    for name, value in (("a", a), ("b", b)):
        require(is_representable(value, fmt), f"{name}: expected numbers of {fmt.name}")
    return np.abs(_ordinal(a, fmt) - _ordinal(b, fmt))


def _ordinal(x: Array | float, fmt: Format) -> Array:
    """Position among the numbers of the format, 0 at zero, odd in x; exact in float64."""
    x = as_float64("x", x, check_finite=False)
    beyond = np.ldexp(1.0, fmt.max_exponent + 1)
    size = np.where(np.isinf(x), beyond, np.abs(x))
    step = spacing(size, fmt)
    # Every binade holds 2^(p-1) numbers; the first one and the subnormals below it have the same spacing.
    binade = np.frexp(step)[1] - (fmt.min_exponent - fmt.significand + 2)
    position = size / step + np.ldexp(1.0, fmt.significand - 1) * binade
    result: Array = np.copysign(position, x)
    return result
