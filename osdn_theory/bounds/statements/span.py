r"""T23: what calibration can reach, and where it goes.

Every step is along a feature, so d_t - d_1 stays in their span, and the interpolating u nearest to d_1 stays the
nearest one. Along a window write y_t = <d_1 - u, x_t> and z_t = <d_t - u, x_t>: y = (1 + N) z, N the lower triangle of
eta <x_i, x_j>, and each step loses at least eta mu z_t^2 of squared distance to u. So sum z^2 >= |y|^2 / sigma and
|y|^2 >= kappa |d_1 - u|^2. Along windows of the trajectory, in exact rationals.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flint
import numpy as np

from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.check import Sides
from osdn_theory.bounds.numbers import Number, as_float, distance_sq, dot
from osdn_theory.bounds.registry import BoundEvidence, HypothesisVerdict, bound, less, unless
from osdn_theory.bounds.runs.local_step import EXACT
from osdn_theory.bounds.runs.window import Window
from osdn_theory.bounds.statements.context import positive_definite

_ROOM = 2.0**-10
# Relative room between a float64 eigenvalue and what is certified of it exactly.


@dataclass(frozen=True)
class Pull:
    """The projection u of d_1 on the preconditioners that interpolate a window, and how fast d approaches it."""

    window: Window

    @cached_property
    def _features(self) -> Any:
        return flint.fmpq_mat(self.window.features)

    @cached_property
    def independent(self) -> list[int]:
        """Tokens whose features span those of all."""
        reduced, rank = self._features.transpose().rref()
        return [next(j for j in range(reduced.ncols()) if reduced[row, j] != 0) for row in range(rank)]

    @cached_property
    def _rows(self) -> Any:
        return flint.fmpq_mat([self.window.features[token] for token in self.independent])

    @cached_property
    def comparator(self) -> list[Number]:
        """u = d_1 + B^T (B B^T)^-1 (1 - B d_1), B the independent features."""
        start = self.window.preconditioners_start
        gaps = flint.fmpq_mat([[1 - dot(start, self.window.features[token])] for token in self.independent])
        moved = self._rows.transpose() * (self._rows * self._rows.transpose()).solve(gaps)
        return [d + moved[i, 0] for i, d in enumerate(start)]

    @property
    def interpolates(self) -> bool:
        x = self.window.features
        return all(map(any, x)) and all(dot(self.comparator, each) == 1 for each in x)

    @cached_property
    def curvature(self) -> Number:
        """mu = 2 - eta M."""
        return 2 - EXACT.of(self.window.problem.eta) * max(self.window.norms_sq)

    @cached_property
    def excitation(self) -> Number:
        """kappa: at most the least eigenvalue of B B^T; exact."""
        return least_eigenvalue_below(self._rows * self._rows.transpose())

    @cached_property
    def spread(self) -> Number:
        """sigma: at least the largest eigenvalue of (1 + N)(1 + N)^T; exact."""
        gram, eta = self._features * self._features.transpose(), EXACT.of(self.window.problem.eta)
        size = range(gram.nrows())
        mixed = flint.fmpq_mat(
            [[int(i == j) + (eta * gram[i, j] if j < i else 0) for j in size] for i in size]
        )
        return -least_eigenvalue_below(-1 * (mixed * mixed.transpose()))

    @property
    def rate(self) -> Number:
        """1 - eta mu kappa / sigma."""
        return 1 - EXACT.of(self.window.problem.eta) * self.curvature * self.excitation / self.spread


def least_eigenvalue_below(symmetric: Any) -> Number:
    """A number that is certainly at most the least eigenvalue of an ``fmpq_mat``; exact.

    Near it, or that of Gershgorin's discs where float64 is too coarse to propose one.
    """
    size = symmetric.nrows()
    proposed = np.array([[as_float(symmetric[i, j]) for j in range(size)] for i in range(size)])
    values = np.linalg.eigvalsh(proposed) if np.isfinite(proposed).all() else np.zeros(size)
    for room in (_ROOM * abs(values[0]), _ROOM * np.abs(values).max()):
        candidate = EXACT.of(float(values[0] - room))
        shifted = [[symmetric[i, j] - (candidate if i == j else 0) for j in range(size)] for i in range(size)]
        if positive_definite(flint.fmpq_mat(shifted)):
            return candidate
    entries = symmetric.tolist()
    return min(row[i] + abs(row[i]) - sum(map(abs, row)) for i, row in enumerate(entries))


def windows_inside(e: BoundEvidence) -> HypothesisVerdict:
    """No step along a window leaves the box."""
    for window in e.facts.windows:
        for token, step in enumerate(window.unprojected):
            if h.leaves_box(e, step):
                number = window.first + token + 1
                return HypothesisVerdict("fails", f"needs the box inactive; it clips after token {number}")
    return unless("")


def windows_interpolate(e: BoundEvidence) -> HypothesisVerdict:
    """Some u has <u, x_t> = 1 along each window."""
    for window in e.facts.windows:
        if not Pull(window).interpolates:
            return HypothesisVerdict("fails", f"no u interpolates the window from token {window.first + 1}")
    return unless("")


def windows_step(e: BoundEvidence) -> HypothesisVerdict:
    """0 < eta M < 2 along each window."""
    if e.problem.eta <= 0:
        return h.positive_step(e)
    largest = max(max(window.norms_sq) for window in e.facts.windows)
    return less(EXACT.of(e.problem.eta) * largest, EXACT.of(2.0), "needs eta M < 2")


def _scope(window: Window) -> str:
    return f"windows at sampled tokens, tokens {window.first + 1} to {window.first + window.length} shown"


@bound(
    "T23",
    "Moves within the span",
    r"\operatorname{rank}(s_1,\ldots,s_{t-1},d_t-d_1) = \operatorname{rank}(s_1,\ldots,s_{t-1})",
    hypotheses=(h.has_tokens, h.no_forgetting, windows_inside),
)
def span_kept(e: BoundEvidence) -> list[Sides]:
    """From the second iterate of each window on; vacuous where the features span everything, or d does not move."""
    pairs = []
    for window in e.facts.windows:
        start = window.preconditioners_start
        for count in range(1, window.length + 1):
            moved = [a - b for a, b in zip(window.preconditioners[count], start, strict=True)]
            rank = flint.fmpq_mat(window.features[:count]).rank()
            both = flint.fmpq_mat([*window.features[:count], moved]).rank()
            vacuous = rank == window.problem.key_dim or not any(moved)
            pairs.append(
                Sides(
                    flint.fmpq(both), flint.fmpq(rank), identity=True, vacuous=vacuous, scope=_scope(window),
                    method=EXACT.label,
                )
            )  # fmt: skip
    return pairs


@bound(
    "T23",
    "Pull towards the nearest interpolating preconditioner",
    r"\|d_{N+1}-u\|^2 \le (1-\eta\mu\kappa/\sigma)\,\|d_1-u\|^2",
    hypotheses=(
        h.has_tokens,
        h.no_forgetting,
        h.full_feedback,
        windows_step,
        windows_inside,
        windows_interpolate,
    ),
)
def implicit_bias(e: BoundEvidence) -> list[Sides]:
    pairs = []
    for window in e.facts.windows:
        pull = Pull(window)
        before, after = (distance_sq(window.preconditioners[t], pull.comparator) for t in (0, window.length))
        if before == 0:
            pairs.append(Sides(after, before, scope=_scope(window), method=EXACT.label))
            continue
        pairs.append(
            Sides(after, pull.rate * before, ceiling=before, scope=_scope(window), method=EXACT.label)
        )
    return pairs
