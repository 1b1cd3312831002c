r"""How a memory fades, token by token and inside a chunk, and what a kernel loses by it (T17, T18).

Errors fade as the memory does, exactly: what is lost is in the factors. Those of the gates up to token t from the
chunk's entry and from token j, D_t0 and D_tj, kernels compute as e^{-x}, x a sum of exponents or a difference of two.
Where every feature has gates, these are diagonal and stand inside products: see `features`.
"""

from __future__ import annotations

from functools import cached_property

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


class Steady:
    """A chunk's products as a kernel forms them where nothing fades, and what the others change of them.

    `kept` (N, C, 1), (N, C, K) where gates are per feature: D_t0 on the trajectory. `after` (N, C, 1): the computed
    D_t0 where it multiplies what tokens read of the entering memory, and D_Cj what they write; None where rows have
    it, or there is none.
    """

    after: Enclosed | None = None

    def __init__(self, setup: Setup, chunk: slice) -> None:
        self.setup = setup
        self.kept = np.ones((setup.count, chunk.stop - chunk.start, 1))

    def met(self, rows: Enclosed, writes: Enclosed) -> Enclosed:
        """What rows meet of the write keys, (N, C, C), in one product."""
        dim = self.setup.key_dim
        return rows.times(writes.transposed, dim, self.setup.model.gram_products(dim))

    def paired(self, met: Enclosed) -> Enclosed:
        """The same with the decays that it lacks."""
        return met

    def folded(self, rows: Enclosed) -> Enclosed:
        """D_t0 times rows, as a factor of products."""
        return rows

    def entered(self, rows: Enclosed) -> Enclosed:
        """Rows (N, C, K) as they meet the entering memory."""
        return rows

    def handed_on(self, memory: Enclosed) -> Enclosed:
        """D_C0 H."""
        return memory

    def ended(self, writes: Enclosed, values: Enclosed) -> tuple[Enclosed, Enclosed]:
        """Write keys and values whose product is handed on."""
        return writes, values

    def lost_reading(self, rows: Enclosed) -> Array | float:
        """What D_t0 costs a read with rows of anything of norm one, (N, C)."""
        return 0.0

    def lost_handing(self, writes: Enclosed, memory: Array, values: Array) -> Array | float:
        """What D_C0 and D_Cj cost a memory and write values of norms (N,) and (N, C)."""
        return 0.0


class Fading(Steady):
    """What gates per token and per feature share: `sums` (N, C, 1) or (N, C, K) of exponents, and factors like them."""

    def __init__(self, setup: Setup, chunk: slice) -> None:
        assert setup.exponent is not None
        self.setup, wide = setup, setup.model.wide_gates
        exponents = setup.exponent[:, chunk]
        self.sums = np.cumsum(exponents.reshape(*exponents.shape[:2], -1), axis=1)
        # Sums go without rounding until they are kept; or every one of them rounds.
        summed = UNIT if wide else relative(self.sums.shape[1])
        self.kept = np.exp(-self.sums)
        self.entry = _factor(self.sums, summed * self.sums)
        self.lost = fading_error(self.sums[:, -1], summed * self.sums[:, -1], taken=wide)[..., None]
        # Of the two sums of a difference: as they are kept, or each of them as it is summed.
        self.beyond = 2 * (setup.model.kept_sums if wide else summed)

    @cached_property
    def rest(self) -> Enclosed:
        """D_Cj, C being the last token."""
        return self.between(self.sums[:, -1:], self.sums)

    def between(self, to: Array, since: Array, most: float = 0.0) -> Enclosed:
        """e^{-(to - since)} of sums as they are kept, whose differences round twice; e^most where that is larger."""
        exponent = np.maximum(to - since, -most)
        return _factor(exponent, 2 * UNIT * np.abs(exponent) + self.beyond * np.maximum(to, since))

    def folded(self, rows: Enclosed) -> Enclosed:
        return self._stored(rows.faded(self.entry))

    def handed_on(self, memory: Enclosed) -> Enclosed:
        gone = self.kept[:, -1, :, None]
        lost = self.lost * memory.computed + 2 * FLOAT32.smallest_normal
        return Enclosed(gone * memory.value, gone * memory.slack, gone * memory.error + lost)

    def _stored(self, matrix: Enclosed) -> Enclosed:
        return matrix.stored(self.setup.model.storage, self.setup.model.rounding_factor)


class TokenGates(Fading):
    """Of one gate per token. `linear` (N,): what a product with any factor loses, relatively to what is multiplied."""

    def __init__(self, setup: Setup, chunk: slice) -> None:
        super().__init__(setup, chunk)
        pairs = self.between(self.sums[:, :, None], self.sums[:, None])
        self.pairs = pairs.at(np.s_[..., 0])
        self.after = self.entry
        of_factors = np.maximum(np.max(self.entry.error, axis=(1, 2)), np.max(self.pairs.error, axis=(1, 2)))
        self.linear = np.maximum(of_factors + UNIT * (1 + of_factors), self.lost[:, 0, 0])

    def paired(self, met: Enclosed) -> Enclosed:
        return met.faded(self.pairs)

    def ended(self, writes: Enclosed, values: Enclosed) -> tuple[Enclosed, Enclosed]:
        return writes, self._stored(values.faded(self.rest))

    def lost_reading(self, rows: Enclosed) -> Array | float:
        result: Array = self.linear[:, None] * np.linalg.norm(rows.value, axis=-1)
        return result

    def lost_handing(self, writes: Enclosed, memory: Array, values: Array) -> Array | float:
        each = self.linear + self.setup.model.converted * (1 + self.linear)
        result: Array = each * (memory + np.sum(np.linalg.norm(writes.magnitude, axis=-1) * values, -1))
        return result


def _factor(exponent: Array, missed: Array) -> Enclosed:
    """e^{-x}."""
    return Enclosed(np.exp(-exponent), 0.0, decay_error(exponent, missed))
