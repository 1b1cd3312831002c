r"""Decays of a chunk whose key features have a gate each, as a kernel computes them (T17, T18).

D_t0 and D_tj are diagonal. With G_t the sums of exponents, G_C those of the last token, a kernel stores the folded rows

.. math:: e^{-G_t} \odot q_t, \qquad e^{-G_t} \odot k_t, \qquad e^{-(G_C - G_j)} \odot \tilde k_j,

which take the places of q, k and the write keys in products with the memory. Tokens of a chunk meet with the decay
inside the sum, in blocks of 16 rows. Before a block, b being the token before it, e^{-(G_t - G_j)} is the product of
e^{-(G_t - G_b)}, which rows of the block take, and e^{-(G_b - G_j)}, which those before it take: every term of the
matrix product of both has the errors of two factors and of two roundings more. Inside a block every pair has a factor
of its own, and its sum goes over rounded products in any order.
"""

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.enclosed import Enclosed, joined
from osdn_theory.rounding.errors.lemmas import UNIT, Products
from osdn_theory.rounding.memory.fading import Fading, Steady, TokenGates
from osdn_theory.rounding.memory.triangular import BLOCK
from osdn_theory.rounding.setup import Setup

PAIRS = Products(UNIT, UNIT)
"""How sums over features inside a block round."""


class FeatureGates(Fading):
    """Of one gate per feature."""

    def __init__(self, setup: Setup, chunk: slice) -> None:
        assert setup.model.feature_sums is not None
        super().__init__(setup, chunk)
        self.beyond = 2 * setup.model.feature_sums

    def met(self, rows: Enclosed, writes: Enclosed) -> Enclosed:
        length = self.sums.shape[1]
        blocks = [slice(a, min(a + BLOCK, length)) for a in range(0, length, BLOCK)]
        return joined([self._block(rows, writes, block) for block in blocks], axis=-2)

    def _block(self, rows: Enclosed, writes: Enclosed, own: slice) -> Enclosed:
        """A block of rows beside all columns, zero after the block."""
        here, (count, length) = rows.at(np.s_[:, own]), self.sums.shape[:2]
        after = Enclosed(np.zeros((count, own.stop - own.start, length - own.stop)))
        parts = [self._within(here, writes.at(np.s_[:, own]), own), after]
        if own.start > 0:
            parts = [self._before(here, writes.at(np.s_[:, : own.start]), own), *parts]
        return joined(parts, axis=-1)

    def _within(self, rows: Enclosed, writes: Enclosed, own: slice) -> Enclosed:
        decays = self.between(self.sums[:, own, None], self.sums[:, None, own])
        pairs = writes.at(np.s_[:, None]).faded(decays).transposed
        return rows.at(np.s_[:, :, None]).times(pairs, self.setup.key_dim, PAIRS).at(np.s_[:, :, 0])

    def _before(self, rows: Enclosed, writes: Enclosed, own: slice) -> Enclosed:
        edge, dim = self.sums[:, own.start - 1 : own.start], self.setup.key_dim
        left = rows.faded(self.between(self.sums[:, own], edge))
        right = writes.faded(self.between(edge, self.sums[:, : own.start]))
        return left.times(right.transposed, dim, self.setup.model.faded_products(dim))

    def entered(self, rows: Enclosed) -> Enclosed:
        return self.folded(rows)

    def ended(self, writes: Enclosed, values: Enclosed) -> tuple[Enclosed, Enclosed]:
        return self._stored(writes.faded(self.rest)), values

    def lost_reading(self, rows: Enclosed) -> Array | float:
        result: Array = np.linalg.norm(self.folded(rows).error, axis=-1)
        return result

    def lost_handing(self, writes: Enclosed, memory: Array, values: Array) -> Array | float:
        kept, _ = self.ended(writes, writes)
        of_writes = np.linalg.norm(kept.error, axis=-1)
        result: Array = np.max(self.lost, axis=(1, 2)) * memory + np.sum(of_writes * values, -1)
        return result


def fading_of(setup: Setup, chunk: slice) -> Steady:
    """The chunk's decays, by the gates that there are."""
    kinds = {None: Steady, 2: TokenGates, 3: FeatureGates}
    return kinds[None if setup.exponent is None else setup.exponent.ndim](setup, chunk)
