"""The residual floor: the level at which rounding stops the super-geometric decay (T18)."""

from dataclasses import dataclass

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.lemmas import UNIT
from osdn_theory.rounding.running import ErrorBounds


@show_briefly
@dataclass(frozen=True, eq=False)
class ResidualFloor:
    """What rounding leaves of the residuals, as roots of losses: norms, not squares.

    - `gap` (..., T): \\|1 - beta_t a_t\\| = sqrt(q_t) of a kernel's own d_t exceeds the exact one by at most this.
      Below it a kernel's q_t says nothing about the theory.
    - `token` (...) int: First token whose exact \\|1 - beta_t a_t\\| is at most `gap`, counted from 0; T if there is
      none.
    - `recall` (..., T): \\|\\|v_t - S_T k_t\\|\\| in the final state, likewise.
    """

    gap: Array
    token: Array
    recall: Array


def residual_floor(bounds: ErrorBounds) -> ResidualFloor:
    """The floor of a kernel's residuals on the stream of `bounds`.

    The gap's error is beta times that of a_t, and the roundings of the product and of the difference.
    """
    run = bounds.trajectory
    beta = np.abs(np.asarray(bounds.stream.beta))
    a = np.abs(run.alignment) + bounds.alignment
    finite = np.isfinite(bounds.alignment)
    error = beta * np.where(finite, bounds.alignment, 0.0)
    # A gate of zero keeps nothing finite once a_t has overflowed.
    gap = np.where(finite, error + UNIT * (2 * beta * np.where(finite, a, 0.0) + 1), np.inf)
    exact = np.abs(1.0 - np.asarray(bounds.stream.beta) * run.alignment)
    below = exact <= gap
    token = np.where(below.any(-1), below.argmax(-1), bounds.stream.length)
    return ResidualFloor(gap=gap, token=token, recall=bounds.recall)
