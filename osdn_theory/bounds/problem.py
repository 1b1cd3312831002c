"""One head's calibration problem: the float64 inputs that the theorems speak about."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.recurrence.calibrate import forgetting
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream


@dataclass(frozen=True, eq=False)
class CalibrationProblem:
    """One stream without leading axes, its rule resolved to plain arrays, and the float64 trajectory.

    - `trajectory`: The whole trajectory that this head was taken from.
    - `index`: Position on the leading axes.
    - `gamma` (T,)
    - `lower`, `upper`, `anchor`, `initial` (K,): Box, c and d_1.
    """

    stream: Stream
    trajectory: Trajectory
    index: tuple[int, ...]
    rule_label: str
    eta: float
    gamma: Array
    lower: Array
    upper: Array
    anchor: Array
    initial: Array
    normalize_feedback: bool
    beta_aware: bool
    epsilon: float

    @property
    def length(self) -> int:
        return self.stream.length

    @property
    def key_dim(self) -> int:
        return self.stream.key_dim

    @property
    def beta(self) -> Array:
        """(T,)"""
        return np.asarray(self.stream.beta)

    @property
    def preconditioner(self) -> Array:
        """The solver's d_t, (T, K)."""
        path: Array = self.trajectory.preconditioner[self.index]
        return path

    def head_rule(self) -> CalibrationRule:
        """The rule of this head alone; it reads forgetting per token, as `gamma` gives it."""
        return CalibrationRule(
            forgetting="token",
            eta=self.eta,
            d_min=self.lower,
            d_max=self.upper,
            anchor=self.anchor,
            normalize_feedback=self.normalize_feedback,
            beta_aware=self.beta_aware,
            epsilon=self.epsilon,
        )

    def starting_at(self, initial: Array) -> CalibrationProblem:
        """The same problem from another d_1, the anchor unmoved."""
        return replace(self, initial=initial)

    @property
    def gated(self) -> bool:
        return self.trajectory.recurrence in ("gated_delta_net", "kda")

    @property
    def state_gate(self) -> Array | None:
        """(T,) or (T, K) where the recurrence reads it."""
        return self.stream.state_gate if self.gated else None


def problem(trajectory: Trajectory, index: tuple[int, ...], *, rule_label: str = "") -> CalibrationProblem:
    """The calibration problem at `index` of a trajectory's leading axes."""
    rule = trajectory.rule
    if rule is None:
        raise ValueError(f"trajectory: {trajectory.recurrence} has no calibrate step to check")
    whole = trajectory.stream
    per_feature = (*whole.lead, whole.key_dim)

    def resolve(value: float | Array) -> Array:
        spread: Array = np.broadcast_to(np.asarray(value, dtype=np.float64), per_feature)[index]
        return spread

    return CalibrationProblem(
        stream=whole.at(index),
        trajectory=trajectory,
        index=index,
        rule_label=rule_label or _label(rule),
        eta=float(rule.eta),
        gamma=forgetting(whole, rule)[index],
        lower=resolve(rule.d_min),
        upper=resolve(rule.d_max),
        anchor=trajectory.anchor[index],
        initial=trajectory.initial_preconditioner[index],
        normalize_feedback=rule.normalize_feedback,
        beta_aware=rule.beta_aware,
        epsilon=float(rule.epsilon),
    )


def _label(rule: CalibrationRule) -> str:
    return f"eta={rule.eta:g}"
