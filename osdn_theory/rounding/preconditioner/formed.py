r"""What forming the d of a chunk's tokens from its entry and its gains rounds (T11, T18)."""

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.lemmas import UNIT, arithmetic, one_addition, relative, sum_error
from osdn_theory.rounding.memory.triangular import BLOCK
from osdn_theory.rounding.setup import Setup


class Formed:
    """What forming d from its entry and the gains adds, componentwise: the rounding of d_entry + sum_j u_j s_j.

    `rising` and `falling` (N, K): sums of the terms that may be positive or negative, decayed by the gates; `up` and
    `down` (N, K) without the gates, and how many tokens may have such terms, (N, 1).
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.rising, self.falling, self.up, self.down, self.span = np.zeros((5, setup.count, setup.key_dim))
        self.ups, self.downs = np.zeros((2, setup.count, 1))

    def gain(self, t: int, gap: Array, alignment: Array) -> None:
        """Token t's gain, eta w_t times its gap, which the kernel's d moves by at most `alignment`."""
        step, s = self.setup.step[:, t, None], self.setup.features[:, t]
        rise, fall = (step * np.maximum(x + alignment, 0.0)[:, None] for x in (gap, -gap))
        keep = 1.0 if self.setup.gamma is None else self.setup.gamma[:, t, None]
        self.rising, self.falling = keep * self.rising + rise * s, keep * self.falling + fall * s
        self.up, self.down = self.up + rise * s, self.down + fall * s
        self.ups, self.downs = self.ups + (rise > 0), self.downs + (fall > 0)

    def iterate(self, n: int, d: Array, rows: Array, product: float) -> Array:
        """Of the n-th d of a chunk, for kernels that form it from the entry of the chunk or of its block of 16, by
        products that err by `product`."""
        if n % BLOCK == 0:
            self.span = np.maximum(self.span, np.abs(d - self.setup.anchor) + rows)
        blocks = n // BLOCK + 1
        error = self._decayed(blocks)
        if n == 0:
            return error
        model = self.setup.model
        size = np.abs(d) + rows + (1 + 2 * product) * (self.rising + self.falling)
        error = error + blocks * arithmetic(size)
        if not model.fused:
            return error + self._summed(n, product, model.accumulation)
        # Every term may be added on top of the entry, whose dropped bits are not small beside a step that is.
        additions = n * one_addition((1 + relative(n, model.accumulation)) * size, model.accumulation)
        return error + self._summed(1, product, model.accumulation) + additions

    def handed(self, tokens: int, d: Array, rows: Array) -> Array:
        """Of the d that a chunk of `tokens` hands on."""
        size = np.abs(d) + rows
        if self.setup.gamma is not None:
            size = size + self.rising + self.falling
            return self._summed(tokens, UNIT, UNIT) + self._decayed(1) + arithmetic(size)
        square = UNIT + self.setup.square_error
        sums = sum_error(self.up, self.up, self.ups, square) + sum_error(
            self.down, self.down, self.downs, square
        )
        if self.setup.model.compensated:
            # Rises less falls, and what is carried beside d: d and its new rest hold the sum, up to a rounding of both.
            return sums + 3 * arithmetic(self.up + self.down + arithmetic(size))
        # First d + rises, which is larger by the falls, then the difference.
        return sums + arithmetic(size + self.down) + arithmetic(size)

    def _summed(self, terms: int, product: float, addition: float) -> Array:
        """A sum of gains times squares, and of the weights where gates decay them, as below."""
        size, value = self.rising + self.falling, np.abs(self.rising - self.falling)
        weights: Array | float = 0.0
        if self.setup.gamma is not None:
            weights = relative(3) * size + self.setup.exponent_roundings * UNIT * (self.up + self.down)
        return sum_error(size, value, terms, product + self.setup.square_error, addition) + weights

    def _decayed(self, blocks: int) -> Array:
        """c + e^{-x} (d - c) for the entry of the chunk and of each of its blocks.

        e^{-x} is a float32 exponential of a float32 exponent: relative error (2 + x) u, and x e^{-x} < 1. Then the
        roundings of d - c, of the product and of the sum.
        """
        if self.setup.gamma is None:
            return np.zeros_like(self.span)
        kept = relative(4 + self.setup.exponent_roundings) * self.span
        return blocks * (kept + arithmetic(np.abs(self.setup.anchor) + self.span))
