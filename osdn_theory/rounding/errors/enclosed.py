r"""Matrices that a kernel computes, with what is known of them: the algebra of running error bounds (T18)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.lemmas import UNIT, Products, arithmetic, product_error, rounding
from osdn_theory.rounding.errors.ordered import ordered_error
from osdn_theory.rounding.formats import FLOAT32, Format


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
        return np.abs(self.value) + self.slack

    @property
    def computed(self) -> Array:
        r"""Bound on \|X^\|."""
        return self.magnitude + self.error

    def settled(self) -> Enclosed:
        """The computed matrix taken as given: its error becomes slack."""
        return Enclosed(self.value, np.asarray(self.slack + self.error))

    def times(self, other: Enclosed, terms: Array | int, products: Products) -> Enclosed:
        r"""Product with at most `terms` nonzero terms in every entry (see `sum_error`); to first order
        E_X \|Y\| + \|X\| E_Y and the rounding."""
        exact = self._multiplied(other)
        lost = product_error(self.computed, other.computed, exact.computed, terms, products)
        if products.ordered:
            lost = np.fmin(lost, _in_order(self, other, _nothing_like(exact)))
        return replace(exact, error=exact.error + lost)

    def _multiplied(self, other: Enclosed) -> Enclosed:
        """The product without its own rounding."""
        left, right = self._filled(), other._filled()
        value = left.value @ right.value
        slack = left.slack @ right.magnitude + np.abs(left.value) @ right.slack
        return Enclosed(value, slack, left.error @ right.computed + left.magnitude @ right.error)

    def _filled(self) -> Enclosed:
        """Slack and error as matrices."""
        return Enclosed(self.value, *(np.broadcast_to(x, self.value.shape) for x in (self.slack, self.error)))

    def negated(self) -> Enclosed:
        return replace(self, value=-self.value)

    def plus(self, other: Enclosed) -> Enclosed:
        """Entrywise sum in float32."""
        value = self.value + other.value
        slack, error = np.asarray(self.slack + other.slack), self.error + other.error
        return Enclosed(value, slack, error + arithmetic(np.abs(value) + slack + error))

    def plus_product(
        self, left: Enclosed, right: Enclosed, terms: Array | int, products: Products, *, fused: bool
    ) -> Enclosed:
        """Sum with a matrix product of `terms` terms; if `fused`, these may be added to this one term by term."""
        formed = self.plus(left.times(right, terms, products))
        if not fused:
            return formed
        # Each of the product's additions may round this matrix too.
        addition = products.addition
        lost = formed.error + np.asarray(terms) * addition * (1 + addition) * self.computed
        if addition != UNIT:
            # Nor is the last of them a float32 sum of both then.
            lost = lost + addition * (1 + addition) * (left.computed @ right.computed)
        if products.ordered:
            exact = left._multiplied(right)
            lost = np.fmin(lost, self.error + exact.error + _in_order(left, right, self))
        return replace(formed, error=lost)

    def scaled(self, factor: Array | float) -> Enclosed:
        """Entrywise product with float32 numbers, in float32."""
        size = np.abs(factor)
        scaled = Enclosed(self.value * factor, self.slack * size, self.error * size)
        return replace(scaled, error=scaled.error + arithmetic(scaled.computed))

    def faded(self, factor: Enclosed) -> Enclosed:
        """Entrywise product with computed factors in [0, 1], in float32."""
        lost = factor.computed * self.error + self.magnitude * factor.error
        faded = Enclosed(self.value * factor.value, self.slack * factor.value, lost)
        return replace(faded, error=lost + arithmetic(faded.computed))

    def stored(self, fmt: Format, factor: float = 1.0) -> Enclosed:
        """Converted to a format narrower than float32; `factor` 2 where the conversion drops bits."""
        if fmt == FLOAT32:
            return self
        return replace(self, error=self.error + factor * rounding(self.computed, fmt))

    def at(self, place: Any) -> Enclosed:
        """The part at an index."""
        whole = self._filled()
        return Enclosed(whole.value[place], *(np.asarray(x)[place] for x in (whole.slack, whole.error)))

    def masked(self, kept: Array) -> Enclosed:
        """Entries set to zero where `kept` is False."""
        return Enclosed(*(np.where(kept, x, 0.0) for x in (self.value, self.slack, self.error)))

    @property
    def transposed(self) -> Enclosed:
        parts = (transpose(np.broadcast_to(x, self.value.shape)) for x in (self.slack, self.error))
        return Enclosed(transpose(self.value), *parts)


def _nothing_like(matrix: Enclosed) -> Enclosed:
    return Enclosed(np.zeros_like(matrix.value))


def _in_order(left: Enclosed, right: Enclosed, start: Enclosed) -> Array:
    return ordered_error(left.value, right.value, left.computed, right.computed, start.value, start.computed)


def sum_of_products(
    pairs: Sequence[tuple[Enclosed, Enclosed]],
    terms: Sequence[Array | int],
    products: Products,
    *,
    fused: bool,
) -> Enclosed:
    """Sum of matrix products of `terms` terms each; if `fused`, any of them may be accumulated on top of others.

    What is then added up is one product of the factors side by side, term by term or product by product.
    """
    if fused:
        left = joined([pair[0] for pair in pairs], axis=-1)
        right = joined([pair[1] for pair in pairs], axis=-2)
        return left.times(right, sum(np.asarray(n) for n in terms), products)
    formed = [left.times(right, n, products) for (left, right), n in zip(pairs, terms, strict=True)]
    return reduce(Enclosed.plus, formed)


def joined(matrices: Sequence[Enclosed], axis: int) -> Enclosed:
    """Matrices side by side."""
    return Enclosed(*(np.concatenate(part, axis=axis) for part in _parts(matrices)))


def overlaid(matrices: Sequence[Enclosed]) -> Enclosed:
    """Sum of matrices without a rounding: of different entries, or of terms that one sum has in any order."""
    return Enclosed(*(np.sum(part, axis=0) for part in _parts(matrices)))


def _parts(matrices: Sequence[Enclosed]) -> Iterator[tuple[Array, ...]]:
    """Values, slacks and errors, each of all matrices."""
    return zip(*((m.value, m.slack, m.error) for m in (x._filled() for x in matrices)), strict=True)
