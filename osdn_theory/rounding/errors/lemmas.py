"""Per-operation lemmas of the standard model, as functions that return the bound on an error (T18).

All take magnitudes that bound what the kernel meets, and are monotone in them.
"""

from typing import NamedTuple

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.formats import FLOAT32, Format, spacing

UNIT = FLOAT32.unit_roundoff

SAFETY = 1 + 2.0**-18
"""Factor on every final bound: bounds are sums and products of non-negative float64 numbers, and the reference is a
float64 run of the recurrence, whose own error is the same bound with 2^-53 for u, 2^-29 of it."""


CHAIN = 16
"""Terms of a matrix product that `Products.ordered` says are added in order."""


class Products(NamedTuple):
    """How matrix products round: relative errors of a product of two entries and of an addition, and whether sums are
    chains of fused multiply-adds in order, as `ordered.ordered_error` describes; otherwise their order is unknown."""

    product: float
    addition: float
    ordered: bool = False


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


def one_addition(magnitude: Array, unit: float) -> Array:
    """An addition inside a matrix product, on top of sums of at most `magnitude`: those of float32 to nearest err by
    half a spacing."""
    return arithmetic(magnitude) if unit == UNIT else unit * (1 + unit) * magnitude


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
    result: Array = product * size + additions * one_addition(largest, addition)
    return result


def non_negative_error(terms: Array, product: float = UNIT) -> Array:
    r"""Float32 sum of products p_i >= 0 in any order and tree, (..., n) -> (...): the error for terms >= p_i.

    A sum of n terms makes at most n - k + 1 partial sums of k terms or more, so that the j-th largest has no more than
    n - j + 1 of them: at most the sum of as many of the largest terms, and what was lost before.
    """
    count = terms.shape[-1]
    largest = np.cumsum(np.sort(terms, axis=-1)[..., ::-1], axis=-1)
    size = largest[..., -1]
    partial = largest[..., 1:] + ((relative(count) + 2 * product) * size)[..., None]
    result: Array = product * size + np.sum(arithmetic(partial), axis=-1)
    return result


def linear_error(terms: int, products: Products) -> float:
    r"""c with the rounding of a sum of n products and one number at most c sum \|p_i\|: for parts known by their norm
    alone. Sums in order may round once more per chain."""
    operations = terms + 1 + -(-terms // CHAIN) * products.ordered
    return products.product + 2 * operations * products.addition * (1 + 2 * products.product)


def relative_terms(terms: Array | int, unit: float) -> Array:
    """gamma_n for an array of n."""
    n = np.asarray(terms) * unit
    return n / (1 - n)


def product_error(left: Array, right: Array, value: Array, terms: Array | int, products: Products) -> Array:
    """Matrix product of factors of magnitudes `left` and `right`, exact result of magnitude `value`: `sum_error`."""
    return sum_error(left @ right, np.abs(value), terms, products.product, products.addition)
