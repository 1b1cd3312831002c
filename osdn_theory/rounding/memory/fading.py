r"""How a memory fades, token by token and inside a chunk, and what a kernel loses by it (T17, T18).

Errors fade as the memory does, exactly: what is lost is in the factors. Those of the gates up to token t from the
chunk's entry and from token j, D_t0 and D_tj, kernels compute as e^{-x}, x a sum of exponents or a difference of two.
"""

from __future__ import annotations

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.decays import decay_error, fading_error
from osdn_theory.rounding.errors.enclosed import Enclosed
from osdn_theory.rounding.errors.error_set import ErrorSet
from osdn_theory.rounding.errors.lemmas import UNIT, relative
from osdn_theory.rounding.formats import FLOAT32
from osdn_theory.rounding.setup import Setup


def fade(setup: Setup, t: int, *sets: ErrorSet) -> None:
    """Errors of a memory under token t's gates."""
    if setup.exponent is not None:
        for errors in sets:
            errors.fade(np.exp(-setup.exponent[:, t]))


def faded(setup: Setup, t: int, state: Array) -> Array:
    """The exact memory (N, V, K) under token t's gates."""
    if setup.exponent is None:
        return state
    return state * _by_feature(np.exp(-setup.exponent[:, t]))


def fade_token(setup: Setup, t: int, errors: ErrorSet, state: Array) -> Array:
    """Token t's gates in the recurrent order: of the memory, which is returned, and of its errors, with their own."""
    if setup.exponent is None:
        return state
    lost = fading_error(setup.exponent[:, t], taken=setup.model.wide_gates)
    size = _by_feature(lost) * (np.abs(state) + errors.rows()[:, None, :]) + 2 * FLOAT32.smallest_normal
    fade(setup, t, errors)
    errors.add_ball(np.linalg.norm(size, axis=(1, 2)))
    return faded(setup, t, state)


def _by_feature(gate: Array) -> Array:
    """(N,) or (N, K) beside (N, V, K)."""
    return gate[:, None, None] if gate.ndim == 1 else gate[:, None, :]


class Fading:
    """The factors of a chunk of tokens with one gate each, as a kernel computes them.

    `kept` (N, C): D_t0 on the trajectory. `entry` (N, C, 1) and `rest` (N, C, 1): D_t0 and D_Cj, C being the last
    token; `pairs` (N, C, C): D_tj, 1 where t < j. `linear` (N,): what a product with any of them loses, relatively to
    what is multiplied.
    """

    def __init__(self, setup: Setup, chunk: slice) -> None:
        assert setup.exponent is not None
        wide, sums = setup.model.wide_gates, np.cumsum(setup.exponent[:, chunk], axis=-1)
        between = np.maximum(sums[:, :, None] - sums[:, None, :], 0.0)
        # Differences of float32 sums and their rests round twice, and the rests round; or every sum rounds.
        summed = UNIT if wide else relative(sums.shape[-1])
        beyond = 8 * UNIT**2 if wide else 2 * summed
        self.kept = np.exp(-sums)
        self.entry = _factor(sums, summed * sums).transposed
        self.pairs = _factor(between, 2 * UNIT * between + beyond * sums[:, :, None])
        self.rest = Enclosed(self.pairs.value[:, -1:], 0.0, np.asarray(self.pairs.error)[:, -1:]).transposed
        self.lost = fading_error(sums[:, -1], summed * sums[:, -1], taken=wide)[:, None, None]
        of_factors = np.maximum(np.max(self.entry.error, axis=(1, 2)), np.max(self.pairs.error, axis=(1, 2)))
        self.linear = np.maximum(of_factors + UNIT * (1 + of_factors), self.lost[:, 0, 0])

    def handed_on(self, memory: Enclosed) -> Enclosed:
        """D_C0 H."""
        gone = self.kept[:, -1, None, None]
        lost = self.lost * memory.computed + 2 * FLOAT32.smallest_normal
        return Enclosed(gone * memory.value, gone * memory.slack, gone * memory.error + lost)


def _factor(exponent: Array, missed: Array) -> Enclosed:
    """e^{-x}; (N, C) as a row (N, 1, C)."""
    value, error = np.exp(-exponent), decay_error(exponent, missed)
    return (
        Enclosed(value, 0.0, error) if exponent.ndim == 3 else Enclosed(value[:, None], 0.0, error[:, None])
    )
