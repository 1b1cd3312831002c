"""A bound's inputs with the leading axes flattened to one, and the exact run that it follows (T18)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.recurrence import calibrate as calibration
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.rounding.errors.lemmas import UNIT
from osdn_theory.rounding.models import KernelModel


@dataclass(frozen=True, eq=False)
class Setup:
    """Exact quantities of a run; N leading entries.

    keys, features (N, T, K), and so every set of queries; values, residuals (N, T, V); beta, weight, gap (N, T);
    path (N, T + 1, K) with the d handed on last; gamma (N, T) or None; anchor, lower, upper (N, K); state (N, V, K),
    the initial one. `slope` (N, T) and `fixed` (N, T): the feedback is fixed - slope <d, s>, both 1 unless it is
    beta-aware. `exponent` (N, T) or (N, T, K) or None: -log of the memory's gates.
    """

    model: KernelModel
    chunk: int
    eta: float
    normalize: bool
    scale: float
    keys: Array
    queries: tuple[Array, ...]
    values: Array
    residuals: Array
    beta: Array
    path: Array
    gamma: Array | None
    exponent: Array | None
    weight: Array
    aware: bool
    anchor: Array
    lower: Array
    upper: Array
    state: Array

    @classmethod
    def of(
        cls,
        run: Trajectory,
        rule: CalibrationRule,
        model: KernelModel,
        chunk: int,
        reading: Sequence[Array] = (),
    ) -> Setup:
        """The run's own queries come first, then those of `reading`, each (..., T, K)."""
        stream = run.stream
        count, length = math.prod(stream.lead), stream.length

        def flat(array: Array, *shape: int) -> Array:
            return np.ascontiguousarray(array).reshape(count, *shape)

        def corner(value: float | Array) -> Array:
            return flat(np.broadcast_to(value, run.final_preconditioner.shape), stream.key_dim)

        _, weight = calibration.features(stream, rule)
        path = np.concatenate((run.preconditioner, run.final_preconditioner[..., None, :]), axis=-2)
        gamma, fading = stream.forget_gate, stream.state_gate
        return cls(
            model=model,
            chunk=chunk if model.order == "chunk" else 1,
            eta=rule.eta,
            normalize=rule.normalize_feedback,
            scale=run.scale,
            keys=flat(stream.keys, length, stream.key_dim),
            queries=tuple(
                flat(np.broadcast_to(x, stream.keys.shape), length, stream.key_dim)
                for x in (np.asarray(stream.queries), *reading)
            ),
            values=flat(stream.values, length, stream.value_dim),
            residuals=flat(run.residuals, length, stream.value_dim),
            beta=flat(np.asarray(stream.beta), length),
            path=flat(path, length + 1, stream.key_dim),
            gamma=None if gamma is None else flat(gamma, length),
            exponent=None if fading is None else flat(-np.log(fading), *fading.shape[len(stream.lead) :]),
            weight=flat(weight, length),
            aware=rule.beta_aware,
            anchor=flat(run.anchor, stream.key_dim),
            lower=corner(rule.d_min),
            upper=corner(rule.d_max),
            state=flat(run.initial_state, stream.value_dim, stream.key_dim),
        )

    @property
    def swept(self) -> bool:
        """Whether the kernel may walk chunks by sweeps; where it forgets, it walks all of them."""
        return 0 < self.model.swept >= self.eta

    @property
    def carries(self) -> bool:
        """Whether chunks hand on d and what its rounding lost."""
        return self.model.compensated and (self.gamma is None or self.swept)

    @property
    def count(self) -> int:
        return int(self.keys.shape[0])

    @property
    def length(self) -> int:
        return int(self.keys.shape[1])

    @property
    def key_dim(self) -> int:
        return int(self.keys.shape[2])

    @cached_property
    def features(self) -> Array:
        return self.keys * self.keys

    @cached_property
    def step(self) -> Array:
        """eta w_t, (N, T)."""
        return self.eta * self.weight

    @cached_property
    def fixed(self) -> Array:
        return self.beta if self.aware else np.ones_like(self.beta)

    @cached_property
    def slope(self) -> Array:
        return np.square(self.fixed)

    @cached_property
    def pull(self) -> Array:
        """eta w_t times the slope, (N, T): what a calibrate step takes away is pull_t s_t <d, s_t>."""
        return self.step * self.slope

    @cached_property
    def gap(self) -> Array:
        """fixed - slope a_t, (N, T)."""
        alignment: Array = np.einsum("ntk,ntk->nt", self.path[:, :-1], self.features)
        return self.fixed - self.slope * alignment

    @property
    def moves(self) -> bool:
        """Whether any calibrate step changes d: otherwise kernels keep d_1 as it is."""
        return self.eta > 0 or self.gamma is not None

    @property
    def square_error(self) -> float:
        """Relative error of k * k in float32: none where a square of the inputs' significand fits."""
        return 0.0 if 2 * self.model.inputs.significand <= 24 else UNIT

    @property
    def step_operations(self) -> int:
        """Roundings in eta w_t: eta itself and a product, and in w_t a sum of K squares, its epsilon, a quotient."""
        return 2 + (self.key_dim + 3 if self.normalize else 0)

    @property
    def slope_roundings(self) -> int:
        """Roundings in slope_t x_t: the square of beta_t, and a product."""
        return 2 if self.aware else 0

    @property
    def exponent_roundings(self) -> int:
        """How often a sum of log gates is rounded to float32: once, or by every addition."""
        return min(self.chunk, self.length) if self.model.substitution else 1

    def chunks(self) -> list[slice]:
        return [slice(a, min(a + self.chunk, self.length)) for a in range(0, self.length, self.chunk)]
