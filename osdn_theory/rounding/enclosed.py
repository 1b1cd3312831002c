r"""Matrices that a kernel computes, with what is known of them: the algebra of running error bounds (T18)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from osdn_theory._validation import Array
from osdn_theory.rounding.formats import FLOAT32, Format
from osdn_theory.rounding.lemmas import arithmetic, product_error, rounding


@dataclass(frozen=True, eq=False)
class Enclosed:
    r"""A computed matrix X^, and X, what exact arithmetic would make of the kernel's own earlier results.

    Those earlier results differ from the exact trajectory's, so X is not known either, only its value on the
    trajectory. `value` is that one, \|X - value\| <= `slack` and \|X^ - X\| <= `error`, entry by entry (..., n, m).
    Slack makes magnitudes rigorous and is no error: the transitions of the recurrence account for it.
    """

    value: Array
    slack: Array | float = 0.0
    error: Array | float = 0.0

    @property
    def magnitude(self) -> Array:
        r"""Bound on \|X\|."""
        result: Array = np.abs(self.value) + self.slack
        return result

    @property
    def computed(self) -> Array:
        r"""Bound on \|X^\|."""
        result: Array = self.magnitude + self.error
        return result

    def settled(self) -> Enclosed:
        """The computed matrix taken as given: its error becomes slack."""
        return Enclosed(self.value, np.asarray(self.slack + self.error))

    def times(self, other: Enclosed, terms: Array | int, product: float, addition: float) -> Enclosed:
        r"""Product with at most `terms` nonzero terms in every entry (see `sum_error`); to first order
        E_X \|Y\| + \|X\| E_Y and the rounding."""
        value = self.value @ other.value
        left, right = (
            np.broadcast_to(self.slack, self.value.shape),
            np.broadcast_to(other.slack, other.value.shape),
        )
        slack = left @ other.magnitude + np.abs(self.value) @ right
        of_left = np.broadcast_to(self.error, self.value.shape)
        of_right = np.broadcast_to(other.error, other.value.shape)
        error = of_left @ other.computed + self.magnitude @ of_right
        size = np.abs(value) + slack + error
        error = error + product_error(self.computed, other.computed, size, terms, product, addition)
        return Enclosed(value, slack, error)

    def negated(self) -> Enclosed:
        return replace(self, value=-self.value)

    def plus(self, other: Enclosed) -> Enclosed:
        """Entrywise sum in float32."""
        value = self.value + other.value
        slack, error = np.asarray(self.slack + other.slack), self.error + other.error
        return Enclosed(value, slack, error + arithmetic(np.abs(value) + slack + error))

    def accumulated(self, product: Enclosed, terms: Array | int, addition: float) -> Enclosed:
        """Sum with a matrix product of `terms` terms that may be added to this one term by term.

        Then each of its additions rounds this matrix too; `addition` is 0 where the product is formed first.
        """
        result = self.plus(product)
        again = np.asarray(terms) * addition * (1 + addition) * self.computed
        return replace(result, error=result.error + again)

    def scaled(self, factor: Array | float) -> Enclosed:
        """Entrywise product with float32 numbers, in float32."""
        size = np.abs(factor)
        scaled = Enclosed(self.value * factor, self.slack * size, self.error * size)
        return replace(scaled, error=scaled.error + arithmetic(scaled.computed))

    def stored(self, fmt: Format, factor: float = 1.0) -> Enclosed:
        """Converted to a format narrower than float32; `factor` 2 where the conversion drops bits."""
        if fmt == FLOAT32:
            return self
        return replace(self, error=self.error + factor * rounding(self.computed, fmt))

    def masked(self, kept: Array) -> Enclosed:
        """Entries set to zero where `kept` is False."""
        return Enclosed(self.value * kept, self.slack * kept, self.error * kept)

    @property
    def transposed(self) -> Enclosed:
        parts = (np.broadcast_to(x, self.value.shape).swapaxes(-1, -2) for x in (self.slack, self.error))
        return Enclosed(self.value.swapaxes(-1, -2), *parts)
