r"""Decays of a chunk whose key features have a gate each, as a kernel computes them (T17, T18).

D_t0 and D_tj are diagonal. With G_t the sums of exponents, G_C those of the last token, a kernel stores the folded rows

.. math:: e^{-G_t} \odot q_t, \qquad e^{-G_t} \odot k_t, \qquad e^{-(G_C - G_j)} \odot \tilde k_j,

which take the places of q, k and the write keys in products with the memory. Tokens of a chunk meet with the decay
inside the sum, in blocks of 16 rows: e^{-(G_t - G_j)} is the product of e^{-(G_t - G_b)}, which rows take, and
e^{-(G_b - G_j)}, which columns take, b being the token before the block for columns before it; every term of the matrix
product of both has the errors of two factors and of two roundings more. Inside a block it is the same b, and factors of
columns are above 1, for features that fade by no more than the model's `feature_reach` over the block. For others, and
for those taken together with one, b is the last token of the first half of the least part of the block, of
16, 8, 4 or 2 tokens, that has both t and j: exponents are smaller then, and so are errors.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.enclosed import Enclosed, joined, overlaid
from osdn_theory.rounding.formats import FLOAT32
from osdn_theory.rounding.memory.fading import Fading, Steady, TokenGates
from osdn_theory.rounding.memory.triangular import BLOCK
from osdn_theory.rounding.setup import Setup

NEAR = 1e-2
"""How far from the reach rounding may move what a feature fades by."""


def halves(length: int) -> Iterator[tuple[Any, Any]]:
    """Of a block's parts of 16, 8, 4, 2 and 1 tokens: the last token of each one's first half, by token (length,), and
    the pairs (length, length) of a token and one before it that are in different halves; last tokens and themselves."""
    token = np.arange(length)
    apart = np.where(token[:, None] >= token, token[:, None] ^ token, -1)
    for size in (16, 8, 4, 2, 1):
        between = token // size * size + (size - 1) // 2
        yield np.minimum(between, length - 1), (apart >= size // 2) & (apart < size)


class FeatureGates(Fading):
    """Of one gate per feature."""

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
        """Features that fade little in one product, others in one for each size of halves: two at most for an entry."""
        reach, sums, edge = self.setup.model.feature_reach, self.sums[:, own], self._edge(own)
        little: Any = (sums[:, -1:] - edge <= reach + NEAR) & (reach > 0)
        once = self._through(rows.masked(little), writes.masked(little), sums, edge, sums, reach + NEAR)
        parts = [once.masked(np.tri(sums.shape[1], dtype=bool))]
        rows, writes = rows.masked(~little), writes.masked(~little)
        for between, pair in halves(sums.shape[1]):
            parts.append(self._through(rows, writes, sums, sums[:, between], sums).masked(pair))
        return overlaid(parts)

    def _before(self, rows: Enclosed, writes: Enclosed, own: slice) -> Enclosed:
        return self._through(rows, writes, self.sums[:, own], self._edge(own), self.sums[:, : own.start])

    def _edge(self, own: slice) -> Array:
        """Sums at the token before a block."""
        padded = np.concatenate((np.zeros_like(self.sums[:, :1]), self.sums), axis=1)
        return padded[:, own.start : own.start + 1]

    def _through(
        self, rows: Enclosed, writes: Enclosed, to: Array, at: Array, since: Array, most: float = 0.0
    ) -> Enclosed:
        """Rows and columns that meet at some token's sums; products of their decays may underflow. Columns that
        overflow, where factors are above 1, reach all rows: zero times infinity is no number."""
        dim = self.setup.key_dim
        left, right = rows.faded(self.between(to, at)), writes.faded(self.between(at, since, most))
        met = left.times(right.transposed, dim, self.setup.model.faded_products(dim))
        gone = np.where(right.computed > FLOAT32.largest, np.inf, 0.0).max(axis=-1)
        return replace(met, error=met.error + dim * FLOAT32.smallest_normal + gone[:, None])

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
