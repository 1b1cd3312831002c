r"""Triangular systems of a chunk solved by substitution, for several right sides apart (T11, T12, T18).

Plain kernels solve (I + A) [X, W] = [B, M] before they know the chunk's entry E, and take X - W E. Each column has a
small backward error, \|I + A\| \|x\| gamma_n at most whatever the order of the sums, and so has their combination, but
measured by \|X\| + \|W\| \|E\| rather than by \|X - W E\|: where these cancel, much is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.enclosed import Enclosed
from osdn_theory.rounding.errors.lemmas import relative


@dataclass(frozen=True, eq=False)
class Substituted:
    r"""Bounds for a system and its columns, weighed: `size` (N, C, M) on \|X\| + \|W\| \|E\|, and `missed` (N, C, M),
    by how much the combination misses the equations of the computed A and the exact right sides. `exact` and `met`
    (N, C): the largest number of any column on the trajectory, and of any that is met."""

    size: Array
    missed: Array
    exact: Array
    met: Array

    @classmethod
    def of(cls, lower: Enclosed, columns: tuple[Enclosed, ...], weights: tuple[Array, ...]) -> Substituted:
        """Of a strictly lower A (N, C, C) and right sides (N, C, n_i), whose solutions are multiplied by bounds on the
        magnitudes of `weights` (N, n_i, M) and added up."""
        identity = np.eye(lower.value.shape[-1])
        lost = relative(len(identity)) * (identity + lower.computed)
        inverse = _solved(-lower.value, np.broadcast_to(identity, lower.value.shape))
        # x^ = A^-1 (b + its error - what the equations miss - (A^ - A) x^), entry by entry.
        drift = np.abs(inverse) @ (lost + lower.slack + lower.error)
        size = np.zeros((*lower.value.shape[:-1], weights[0].shape[-1]))
        missed, exact, met = np.zeros_like(size), np.zeros(size.shape[:-1]), np.zeros(size.shape[:-1])
        for column, weight in zip(columns, weights, strict=True):
            value, off = np.abs(inverse @ column.value), column.slack + column.error
            off = np.broadcast_to(off, value.shape)
            solved = _solved(drift, value + np.abs(inverse) @ off)
            size = size + solved @ weight
            missed = missed + (lost @ solved + column.error) @ weight
            exact = np.maximum(exact, value.max(axis=-1))
            met = np.maximum(met, (column.computed + (identity + lower.computed) @ solved).max(axis=-1))
        return cls(size, missed, exact, np.maximum(met, size.max(axis=-1)))

    def rounded(self, terms: int) -> Array:
        """What the sum of `terms` products that combines the columns loses, and its difference from the rest."""
        return relative(terms + 1) * self.size


def _solved(matrix: Array, right: Array) -> Array:
    """(I - matrix)^-1 right for a lower triangular matrix, row by row: pivoting would mix rows of all sizes."""
    found = np.zeros(right.shape)
    for n in range(right.shape[-2]):
        known = np.einsum("...j,...jm->...m", matrix[..., n, :n], found[..., :n, :])
        found[..., n, :] = (right[..., n, :] + known) / (1.0 - matrix[..., n, n])[..., None]
    return found
