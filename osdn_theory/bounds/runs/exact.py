"""The calibrate recurrence in balls or rationals: the exact trajectory of the float64 inputs.

Written apart from the float64 solvers, straight from THEORY.md, so that neither can hide the other's mistake.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.bounds.numbers import Field, Number, distance_sq, dot, norm_sq, vector
from osdn_theory.bounds.problem import CalibrationProblem


class ExactRun:
    """d_t of one problem for every token, enclosed (balls) or exact (rationals), clip included.

    Must be used under ``field.working()``.
    """

    def __init__(self, problem: CalibrationProblem, field: Field, *, initial: Array | None = None) -> None:
        self.problem = problem
        self.field = field
        self.label = field.label
        self._initial = problem.initial if initial is None else initial

    @cached_property
    def beta(self) -> list[Number]:
        return vector(self.field, self.problem.beta)

    @cached_property
    def squared_keys(self) -> list[list[Number]]:
        """s_t, squared without rounding."""
        return [[k * k for k in vector(self.field, key)] for key in self.problem.stream.keys]

    @cached_property
    def features(self) -> list[list[Number]]:
        """x_t: s_t, or beta_t s_t with beta-aware feedback."""
        if not self.problem.beta_aware:
            return self.squared_keys
        return [[b * s for s in key] for b, key in zip(self.beta, self.squared_keys, strict=True)]

    @cached_property
    def weights(self) -> list[Number]:
        """w_t of the feedback."""
        if not self.problem.normalize_feedback:
            return [self.field.of(1.0)] * self.problem.length
        epsilon = self.field.of(self.problem.epsilon)
        return [1 / (sum(key) + epsilon) for key in self.squared_keys]

    @cached_property
    def preconditioners(self) -> list[list[Number]]:
        """d_1 ... d_{T+1}; entry t is the one that token t (counted from 0) is written with."""
        path = [self.preconditioners_start]
        for token in range(self.problem.length):
            path.append(self.step(path[-1], token))
        return path

    @property
    def preconditioners_start(self) -> list[Number]:
        """d_1."""
        return vector(self.field, self._initial)

    def step(self, d: Sequence[Number], token: int) -> list[Number]:
        """One calibrate step from any d with the feature of `token`."""
        return [self._clip(value, i) for i, value in enumerate(self.unprojected_step(d, token))]

    def unprojected_step(self, d: Sequence[Number], token: int) -> list[Number]:
        """The step before the box: c + gamma (d - c) + eta w (1 - <d, x>) x."""
        return self._moved(d, token, self.gain(d, token))

    def gain(self, d: Sequence[Number], token: int) -> Number:
        """The gain that `token` wants of d: eta w (1 - <d, x>)."""
        return self.rate(token) * (1 - dot(d, self.features[token]))

    def rate(self, token: int) -> Number:
        """eta w_t."""
        return self._eta * self.weights[token]

    def driven_step(self, d: Sequence[Number], token: int, gain: Number) -> list[Number]:
        """One calibrate step with a gain that is given (T29)."""
        return [self._clip(value, i) for i, value in enumerate(self._moved(d, token, gain))]

    def _moved(self, d: Sequence[Number], token: int, gain: Number) -> list[Number]:
        x, gamma = self.features[token], self.field.of(self.problem.gamma[token])
        return [c + gamma * (di - c) + gain * xi for c, di, xi in zip(self._anchor, d, x, strict=True)]

    @cached_property
    def _eta(self) -> Number:
        return self.field.of(self.problem.eta)

    @cached_property
    def _anchor(self) -> list[Number]:
        return vector(self.field, self.problem.anchor)

    @cached_property
    def _faces(self) -> list[tuple[Number | None, Number | None]]:
        # Conversions cost as much as comparisons; an open side needs neither.
        def face(bound: float) -> Number | None:
            return self.field.of(bound) if np.isfinite(bound) else None

        bounds = zip(self.problem.lower, self.problem.upper, strict=True)
        return [(face(low), face(high)) for low, high in bounds]

    def _clip(self, value: Number, feature: int) -> Number:
        low, high = self._faces[feature]
        if low is not None:
            value = self.field.maximum(value, low)
        if high is not None:
            value = self.field.minimum(value, high)
        return value

    @property
    def unprojected(self) -> list[list[Number]]:
        """Every iterate before the box, from the exact d_t."""
        return [self.unprojected_step(self.preconditioners[t], t) for t in range(self.problem.length)]

    @property
    def first_feature(self) -> list[Number]:
        """x_1."""
        return self.features[0]

    @cached_property
    def gaps(self) -> list[Number]:
        """1 - <d_t, x_t> along the run."""
        pairs = zip(self.preconditioners, self.features, strict=False)
        return [1 - dot(d, x) for d, x in pairs]

    @cached_property
    def alignment_gaps(self) -> list[Number]:
        """1 - a_t, with the plain a_t = <d_t, s_t>."""
        pairs = zip(self.preconditioners, self.squared_keys, strict=False)
        return [1 - dot(d, s) for d, s in pairs]

    @cached_property
    def norms_sq(self) -> list[Number]:
        """||x_t||^2."""
        return [norm_sq(x) for x in self.features]

    def comparator_gaps(self, comparator: Array) -> list[Number]:
        """1 - <u_t, x_t> for a fixed (K,) or moving (T, K) comparator."""
        path = np.broadcast_to(comparator, self.problem.stream.keys.shape)
        return [1 - dot(vector(self.field, u), x) for u, x in zip(path, self.features, strict=True)]

    def distance_sq(self, token: int, point: Array) -> Number:
        """||d_t - point||^2; `token` = T is the final preconditioner."""
        return distance_sq(self.preconditioners[token], vector(self.field, point))
