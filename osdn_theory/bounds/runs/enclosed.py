r"""The float64 trajectory with a rigorous enclosure of its own error: for streams too long for balls.

The projected step with feature x, :math:`d \mapsto \Pi[c + \gamma(d - c) + \eta w(1 - \langle d, x\rangle)x]`, is
Lipschitz in the Euclidean norm with :math:`L = \max(\gamma, |\gamma - \eta w\|x\|^2|)`: its linear part is
:math:`\gamma I - \eta w x x^T` and projection onto a box is non-expansive. So if the computed
:math:`\hat d_{t+1}` misses the exact step from :math:`\hat d_t` by at most :math:`\delta_t`, then
:math:`r_{t+1} = L_t r_t + \delta_t` bounds :math:`\|\hat d_{t+1} - d_{t+1}\|`. The defect is evaluated in float64
and its own rounding is added, by the standard model fl(x o y) = (x o y)(1 + e), |e| <= u.
"""

from __future__ import annotations

import math
from functools import cached_property

import flint
import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.bounds.numbers import Balls, Number, distance_sq, vector
from osdn_theory.bounds.problem import CalibrationProblem

UNIT = 2.0**-53
"""Unit roundoff of float64."""

TINY = 2.0**-1000
"""Underflow adds at most the smallest normal number per operation; one term covers every operation of a token."""

_SAFETY = 1 + 1e-6
# The bounds themselves are computed in float64 from non-negative terms; their relative error is far below this.


def dot_error(terms: int) -> float:
    """gamma_n = n u / (1 - n u), the relative error of an n-term dot product, any order of summation."""
    return terms * UNIT / (1 - terms * UNIT)


class FloatRun:
    """The float64 trajectory of one problem, every quantity enclosed by its rounding error."""

    label = "float64 with rounding enclosure"

    def __init__(
        self, problem: CalibrationProblem, *, preconditioner: Array | None = None, final: Array | None = None
    ) -> None:
        trajectory = problem.trajectory
        self.problem = problem
        self.field = Balls(128)
        self.d = problem.preconditioner if preconditioner is None else preconditioner
        last = trajectory.final_preconditioner[problem.index] if final is None else final
        self.path: Array = np.concatenate([self.d, last[None]], axis=0)

    @cached_property
    def _s(self) -> Array:
        return self.problem.stream.squared_keys

    @cached_property
    def _x(self) -> Array:
        return self.problem.beta[:, None] * self._s if self.problem.beta_aware else self._s

    @cached_property
    def _weight(self) -> Array:
        if not self.problem.normalize_feedback:
            return np.ones(self.problem.length)
        weight: Array = 1 / (self._s.sum(-1) + self.problem.epsilon)
        return weight

    @cached_property
    def _x_error(self) -> float:
        # x is one or two rounded products.
        return dot_error(2 if self.problem.beta_aware else 1)

    @cached_property
    def _gap_at_float_d(self) -> tuple[Array, Array]:
        return self._enclosed_gap(self.d, self._x)

    def _enclosed_gap(self, d: Array, x: Array) -> tuple[Array, Array]:
        # 1 - <d, x> for exact d and an x rounded at most twice: K products, K - 1 sums, one subtraction.
        gap: Array = 1 - np.einsum("tk,tk->t", d, x)
        size = np.einsum("tk,tk->t", np.abs(d), np.abs(x))
        error: Array = _SAFETY * (dot_error(self.problem.key_dim + 3) * size + UNIT * np.abs(gap)) + TINY
        return gap, error

    @cached_property
    def step_defect(self) -> tuple[Array, Array]:
        """How far each computed step is from the float64 evaluation of the step, and that evaluation's error.

        Both (T, K): ``|d_{t+1} - step(d_t)|`` and a bound on the rounding of ``step(d_t)``.
        """
        p = self.problem
        gap, gap_error = self._gap_at_float_d
        gain = (p.eta * self._weight * gap)[:, None]
        kept = p.gamma[:, None] * (self.d - p.anchor)
        stepped = np.clip(p.anchor + kept + gain * self._x, p.lower, p.upper)
        size = np.abs(p.anchor) + p.gamma[:, None] * (np.abs(self.d) + np.abs(p.anchor))
        size = size + np.abs(gain * self._x)
        weight_error = dot_error(p.key_dim + 4) if p.normalize_feedback else 0.0
        rounding = (dot_error(8) + weight_error) * size
        rounding = rounding + np.abs(p.eta * self._weight * gap_error)[:, None] * np.abs(self._x)
        return np.abs(self.path[1:] - stepped), _SAFETY * rounding + TINY

    @cached_property
    def _norm_sq_value(self) -> tuple[Array, Array]:
        value: Array = np.einsum("tk,tk->t", self._x, self._x)
        return value, _SAFETY * dot_error(self.problem.key_dim + 4) * value + TINY

    @cached_property
    def radius(self) -> Array:
        """(T + 1,): a bound on the Euclidean distance of the float64 d_t from the exact one."""
        p = self.problem
        defect, rounding = self.step_defect
        local = _SAFETY * np.linalg.norm(defect * _SAFETY + rounding, axis=-1)
        value, error = self._norm_sq_value
        strength = p.eta * self._weight
        drop = np.maximum(
            np.abs(p.gamma - strength * (value + error)), np.abs(p.gamma - strength * (value - error))
        )
        weight_error = dot_error(p.key_dim + 4) if p.normalize_feedback else UNIT
        lipschitz = np.maximum(p.gamma, drop + strength * value * (weight_error + 4 * UNIT) + 2 * UNIT)
        radius = np.zeros(p.length + 1)
        # d_1 is given exactly; a solver that starts elsewhere pays for it here.
        radius[0] = np.linalg.norm(self.path[0] - p.initial) * _SAFETY
        for t in range(p.length):
            radius[t + 1] = (lipschitz[t] * radius[t] + local[t]) * (1 + 4 * UNIT)
        return radius

    def _balls(self, middle: Array, error: Array) -> list[Number]:
        return [flint.arb(m, e) for m, e in zip(middle.tolist(), error.tolist(), strict=True)]

    @property
    def unprojected(self) -> list[list[Number]]:
        """Every iterate before the box, widened by how far the float64 d_t may be from the exact one."""
        p = self.problem
        gap, _ = self._gap_at_float_d
        gain = (p.eta * self._weight * gap)[:, None]
        middle = p.anchor + p.gamma[:, None] * (self.d - p.anchor) + gain * self._x
        error = self.step_defect[1] + self.radius[1:, None]
        return [self._balls(m, e) for m, e in zip(middle, error, strict=True)]

    @property
    def first_feature(self) -> list[Number]:
        """x_1."""
        return self._balls(self._x[0], self._x[0] * self._x_error * _SAFETY)

    @cached_property
    def beta(self) -> list[Number]:
        return vector(self.field, self.problem.beta)

    @cached_property
    def weights(self) -> list[Number]:
        error = dot_error(self.problem.key_dim + 4) if self.problem.normalize_feedback else 0.0
        return self._balls(self._weight, self._weight * error * _SAFETY)

    @cached_property
    def gaps(self) -> list[Number]:
        """1 - <d_t, x_t>."""
        return self._gaps(self._x)

    @cached_property
    def alignment_gaps(self) -> list[Number]:
        """1 - a_t."""
        return self._gaps(self._s)

    def _gaps(self, x: Array) -> list[Number]:
        gap, error = self._enclosed_gap(self.d, x)
        propagated = self.radius[:-1] * np.linalg.norm(x, axis=-1) * _SAFETY
        return self._balls(gap, error + propagated * (1 + self._x_error))

    @cached_property
    def norms_sq(self) -> list[Number]:
        """||x_t||^2."""
        return self._balls(*self._norm_sq_value)

    def comparator_gaps(self, comparator: Array) -> list[Number]:
        """1 - <u_t, x_t> for a fixed (K,) or moving (T, K) comparator."""
        path = np.broadcast_to(comparator, self._x.shape)
        return self._balls(*self._enclosed_gap(path, self._x))

    def distance_sq(self, token: int, point: Array) -> Number:
        """||d_t - point||^2; `token` = T is the final preconditioner."""
        at_float = distance_sq(vector(self.field, self.path[token]), vector(self.field, point))
        return _widen(at_float, float(self.radius[token]))

    def run_distance_sq(self, other: FloatRun, token: int) -> Number:
        """||d_t - d'_t||^2 between two runs."""
        at_float = distance_sq(vector(self.field, self.path[token]), vector(self.field, other.path[token]))
        return _widen(at_float, float(self.radius[token] + other.radius[token]) * _SAFETY)


def _widen(square: Number, radius: float) -> Number:
    # | ||x||^2 - ||y||^2 | <= r (2 ||y|| + r) whenever ||x - y|| <= r.
    if radius == 0:
        return square
    norm = math.sqrt(max(float(square.upper()), 0.0)) * _SAFETY
    return square + flint.arb(0, radius * (2 * norm + radius) * _SAFETY)
