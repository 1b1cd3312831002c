r"""Rounding of matrix products whose sums are chains of fused multiply-adds in order (T18).

In any order the partial sums of p_1 + ... + p_n may reach the sum of all positive terms. In a known order they are
known numbers, and for terms of both signs far smaller.
"""

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.error_set import Mask
from osdn_theory.rounding.errors.lemmas import CHAIN, UNIT, relative
from osdn_theory.rounding.formats import FLOAT32

_EXPONENT = np.int64(0x7FF << 52)


def ordered_error(
    left: Array, right: Array, left_size: Array, right_size: Array, start: Array, start_size: Array
) -> Array:
    r"""Error of start + left @ right, (..., n, m), by float32 fused multiply-adds.

    The terms are cut into blocks of 16. Inside a block every product is added, unrounded, to what is there already, in
    order. A block begins from zero or on top of others, and blocks that began from zero are added in any order; so is
    `start`, as a block of one number. Every number that is rounded is then the sum P_j of a block's first j terms and
    the sums S_b of some other blocks,

    .. math:: |P_j + \textstyle\sum_{b \in B} S_b| \le \max(P_j + rise, fall - P_j), \quad
              rise = \textstyle\sum_b \max(S_b, 0), \; fall = \textstyle\sum_b \max(-S_b, 0).

    A multiply-add per term and one addition per block but the first round it to nearest. Chains of all terms, or of
    blocks of a multiple of 16, are instances. Exact zeros round nothing.

    - `left`, `right`, `start` (..., n, K), (..., K, m), (..., n, m): Values that the kernel's own may differ from,
    - `left_size`, `right_size`, `start_size`, like them: by no more than these, bounds on the kernel's magnitudes,
      exceed theirs.
    """
    terms = left.shape[-1]
    blocks = [slice(a, min(a + CHAIN, terms)) for a in range(0, terms, CHAIN)]
    parts = [left[..., block] @ right[..., block, :] for block in blocks]
    rise = sum((np.maximum(x, 0.0) for x in parts), np.maximum(start, 0.0))
    fall = sum((np.maximum(-x, 0.0) for x in parts), np.maximum(-start, 0.0))
    # How far partial sums may lie from those of the values: by the factors' own distance, and what was rounded before.
    size = left_size @ right_size + start_size
    wide = size - np.abs(left) @ np.abs(right) - np.abs(start)
    wide = np.maximum(wide, 0.0) + relative(terms + len(blocks)) * size
    total = np.zeros(np.broadcast_shapes(rise.shape, wide.shape))
    joined = np.asarray(start_size > 0, dtype=np.float64)
    for block, part in zip(blocks, parts, strict=True):
        above, below = rise - np.maximum(part, 0.0) + wide, fall - np.maximum(-part, 0.0) + wide
        there = left_size[..., block] > 0, right_size[..., block, :] > 0
        total += _chain(left[..., block], right[..., block, :], *there, above, below)
        joined = joined + (there[0] @ there[1])
    joins = np.maximum(joined - 1, 0)
    total += joins * _half_spacing(np.maximum(rise, fall) + wide)
    result: Array = total + (terms + joins) * FLOAT32.smallest_normal
    return result


def _chain(left: Array, right: Array, in_left: Mask, in_right: Mask, above: Array, below: Array) -> Array:
    """Half spacings of every partial sum P_j of a block, which is at most max(P_j + above, below - P_j)."""
    partial, total = np.zeros_like(above), np.zeros_like(above)
    for k in range(left.shape[-1]):
        partial = partial + left[..., :, k, None] * right[..., None, k, :]
        rounded = _half_spacing(np.maximum(partial + above, below - partial))
        total += rounded * (in_left[..., :, k, None] & in_right[..., None, k, :])
    return total


def _half_spacing(magnitude: Array) -> Array:
    """Half of float32's spacing at normal float64 numbers: u times the power of two below, by clearing significands."""
    power: Array = (np.ascontiguousarray(magnitude).view(np.int64) & _EXPONENT).view(np.float64)
    return UNIT * power
