"""Errors through the clip: which coordinates surely move freely, surely sit on the box, or may do either (T18)."""

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.error_set import ErrorSet, Mask
from osdn_theory.rounding.formats import FLOAT32, round_to


def through_clip(
    errors: ErrorSet, exact: Array, lower: Array, upper: Array, beside: Array | float = 0.0
) -> ErrorSet:
    r"""Errors of clip(x) from those of x, whose exact value is `exact` (N, K).

    The clip acts as a diagonal D on the error, 0 <= D_i <= 1: D_i = 1 where x stays inside whatever the error, 0 where
    it is outside whatever the error, anything in between where neither is sure. A coordinate that may be clipped takes
    on what the bound itself loses in float32, in which kernels hold d_min and d_max, and what a kernel may carry
    `beside` d, past it.
    """
    size, of_lower, of_upper = errors.rows(), _lost(lower), _lost(upper)
    free = (exact - size > lower + of_lower) & (exact + size < upper - of_upper)
    if bool(free.all()):
        return errors
    pinned = (exact + size < lower) | (exact - size > upper)
    clipped = errors.shrunk(free, ~(free | pinned))
    edge = np.where(free, 0.0, np.maximum(of_lower, of_upper) + beside)
    clipped.add_ball(np.linalg.norm(edge, axis=-1))
    return clipped


def _lost(bound: Array) -> Array:
    """Distance of a bound to its float32 number; one at infinity clips nothing and is held exactly."""
    finite = np.where(np.isfinite(bound), bound, 0.0)
    return np.abs(round_to(finite, FLOAT32) - finite)


def sure(path: Array, error: Array, lower: Array, upper: Array) -> tuple[Mask, Mask]:
    """Whether all iterates of `path` (N, C, K) surely lie inside the box, and whether some surely leaves it, (N,).

    The box may be the exact one or that of float32 numbers, in which a d_1 of the rounded edge does not leave it.
    """
    low, high = lower[:, None], upper[:, None]
    of_low, of_high = _lost(low), _lost(high)
    inside = np.all((path - error > low + of_low) & (path + error < high - of_high), axis=(1, 2))
    outside = np.any((path + error < low - of_low) | (path - error > high + of_high), axis=(1, 2))
    return inside, outside
