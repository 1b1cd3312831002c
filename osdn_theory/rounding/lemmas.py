"""Per-operation lemmas of the standard model, as functions that return the bound on an error (T18).

All take magnitudes that bound what the kernel meets, and are monotone in them.
"""

from __future__ import annotations

import numpy as np

from osdn_theory._validation import Array
from osdn_theory.rounding.formats import FLOAT32, Format, spacing

UNIT = FLOAT32.unit_roundoff

SAFETY = 1 + 2.0**-18
"""Factor on every final bound: bounds are sums and products of non-negative float64 numbers, and the reference is a
float64 run of the recurrence, whose own error is the same bound with 2^-53 for u, 2^-29 of it."""


def rounding(magnitude: Array, fmt: Format) -> Array:
    r"""One rounding to nearest: \|fl(x) - x\| <= spacing(m)/2 for \|x\| <= m.

    The spacing is monotone in \|x\|, and is never below the smallest subnormal, so underflow is covered.
    """
    return 0.5 * spacing(magnitude, fmt)


def arithmetic(magnitude: Array) -> Array:
    """One float32 operation with an exact result of at most `magnitude`; subnormal results may be flushed to zero."""
    return rounding(magnitude, FLOAT32) + FLOAT32.smallest_normal


def relative(operations: float, unit: float = UNIT) -> float:
    """gamma_n = n u / (1 - n u): the relative error of n factors (1 + delta), |delta| <= u."""
    return operations * unit / (1 - operations * unit)


def sum_error(
    size: Array, value: Array | float, terms: Array | int, product: float = UNIT, addition: float = UNIT
) -> Array:
    r"""Sum of n products in any order: the error for size >= sum \|p_i\| and value >= \|sum p_i\|.

    Products err by `product` relatively. Each of the n - 1 additions errs by `addition` times the partial sum of some
    subset of the terms, and every such partial sum is at most the larger of the sum of the positive terms and of that
    of the negative ones, (sum \|p\| + \|sum p\|)/2, plus what was lost before, gamma_n sum \|p\|. Terms that are
    exactly zero may be left out of n. A fused multiply-add only leaves errors out.
    """
    lost = relative_terms(terms, addition)
    largest = 0.5 * (size * (1 + 2 * product) + value) + lost * (1 + product) * size
    additions = np.maximum(np.asarray(terms) - 1, 0)
    # Float32 additions to nearest err by half a spacing of at most the largest partial sum.
    each = arithmetic(largest) if addition == UNIT else addition * (1 + addition) * largest
    result: Array = product * size + additions * each
    return result


def linear_error(terms: int, product: float, addition: float) -> float:
    r"""c with `sum_error` of a sum of n products at most c sum \|p_i\|: linear, for parts known by their norm alone."""
    return product + 2 * terms * addition * (1 + 2 * product)


def relative_terms(terms: Array | int, unit: float) -> Array:
    """gamma_n for an array of n."""
    n = np.asarray(terms) * unit
    result: Array = n / (1 - n)
    return result


def product_error(
    left: Array, right: Array, value: Array, terms: Array | int, product: float, addition: float
) -> Array:
    """Matrix product of factors of magnitudes `left` and `right`, exact result of magnitude `value`: `sum_error`."""
    return sum_error(left @ right, np.abs(value), terms, product, addition)
