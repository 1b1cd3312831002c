r"""Exponentials of log gates, and what a memory that fades by them loses (T17, T18).

Gates are given as exponents x = -log(alpha) >= 0, float32 numbers. A float32 e^{-x} takes x times log2(e), a product
and a constant that both round, and 2 to the power of that, within two ulps as GPUs approximate it: a relative error of
(4 + 2 |x|) u, for negative x as well.
"""

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.lemmas import UNIT
from osdn_theory.rounding.formats import FLOAT32

TAKEN = 6
"""Roundings in e^{-x} - 1 for x < 1/2 by its series: at most as many units of its own size."""

WEAK = 0.5
"""Exponents below it may be applied by what they take away."""

_NEAR = 1e-3
# How far from WEAK rounding may move an exponent.


def decay_error(exponent: Array, missed: Array | float = 0.0) -> Array:
    """A float32 e^{-x} of an exponent that errs by at most `missed`: the error, underflow included."""
    relative = np.expm1((4 + 2 * np.abs(exponent)) * UNIT + missed)
    return np.exp(-exponent) * relative + FLOAT32.smallest_normal


def fading_error(exponent: Array, missed: Array | float = 0.0, *, taken: bool) -> Array:
    r"""e^{-x} h in float32: c with an error of at most c \|h\|, but for underflow.

    If `taken`, exponents below 1/2 are applied as h + (e^{-x} - 1) h, the larger ones as the product that they are.
    """
    exponent, kept = np.asarray(exponent), np.exp(-np.asarray(exponent))
    lost = decay_error(exponent, missed)
    whole: Array = lost + UNIT * (kept + lost)
    if not taken:
        return whole
    away = -np.expm1(-exponent)
    moved = kept * np.expm1(missed)
    # The series, its product with h, and the sum, each of them rounded.
    part = (1 + UNIT) * (TAKEN * UNIT * away + moved * (1 + TAKEN * UNIT)) + UNIT * away
    part = part + UNIT * (kept + part)
    near = np.abs(exponent - WEAK) < _NEAR
    return np.where(near, np.maximum(whole, part), np.where(exponent < WEAK, part, whole))
