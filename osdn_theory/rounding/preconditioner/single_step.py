"""One calibrate step in float32: errors through its exact transition, and those of its own arithmetic (T4, T18)."""

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.error_set import ErrorSet
from osdn_theory.rounding.errors.lemmas import UNIT, arithmetic, relative, sum_error
from osdn_theory.rounding.preconditioner.calibrated import Calibrated
from osdn_theory.rounding.setup import Setup


def advance(setup: Setup, t: int, errors: ErrorSet, found: Calibrated, rest: Array) -> None:
    """The unprojected step of token t, but for the rounding of its sum with d.

    The transition, the error of the gain along s, and that of every coordinate. The kernel steps from a d within what
    `found` has recorded for the token; `rest` (N, K) bounds what a compensated kernel carries beside it.
    """
    s, step = setup.features[:, t], setup.step[:, t]
    keep = 1.0 if setup.gamma is None else setup.gamma[:, t]
    gap = np.abs(setup.gap[:, t]) + setup.slope[:, t] * found.alignment[:, t]
    gain = _gain_error(setup, t, found.alignment[:, t], gap) + setup.pull[:, t] * np.sum(rest * s, -1)
    moved = (step * gap)[:, None] * s
    size = np.abs(setup.path[:, t]) + found.used[:, t]
    local = relative(3) * moved + _forgetting_error(setup, t, size)
    errors.transition(keep, setup.pull[:, t, None] * s, s)
    errors.add_line(s, gain)
    sums = arithmetic(rest + moved) * (1 if setup.gamma is None else 2)
    errors.add_ball(np.linalg.norm(local + sums, axis=-1))


def _gain_error(setup: Setup, t: int, alignment: Array, gap: Array) -> Array:
    """Error of eta w_t (fixed - slope <d, s>) computed in float32 from the kernel's own d.

    K terms of d s, each with the roundings of k^2 and of the product, summed in any order; the slope; one subtraction;
    then the roundings of the factor eta w_t and of the product with it.
    """
    s = setup.features[:, t]
    size = np.sum(np.abs(setup.path[:, :-1][:, t]) * s, -1) + alignment
    dot = sum_error(size, size, setup.key_dim, UNIT + 2 * setup.square_error)
    dot = setup.slope[:, t] * (dot + relative(setup.slope_roundings) * (size + dot))
    before = dot + arithmetic(gap + dot)
    scaled: Array = setup.step[:, t] * (before + relative(setup.step_operations + 1) * (gap + before))
    return scaled


def _forgetting_error(setup: Setup, t: int, size: Array) -> Array:
    """Error of c + gamma (d - c), (N, K), for |d| <= size: what is forgotten is (1 - gamma)(d - c) within 8 roundings;
    an uncompensated kernel rounds the difference, the product and the sum instead."""
    if setup.gamma is None:
        return np.zeros_like(size)
    forgotten = 1.0 - setup.gamma[:, t, None]
    span = size + np.abs(setup.anchor)
    if setup.model.compensated:
        return (relative(8) * forgotten + UNIT**2) * span
    return relative(5) * span
