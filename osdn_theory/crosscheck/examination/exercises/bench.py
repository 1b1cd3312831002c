"""What exercises are drawn for: a kernel, its dtype, sizes and a seed; cases with all that the kernel takes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case, Dtype, pose
from osdn_theory.crosscheck.examination.exercises.draw import ExerciseSizes, draw_gate, draw_state
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.recurrence.rules import BOUNDED, FROZEN, CalibrationRule
from osdn_theory.rounding import FLOAT32, round_to
from osdn_theory.streams.stream import Stream

SCALE = 0.7
"""A factor of the read that is neither 1 nor K ** -0.5 of any exercise."""

STEP = 0.9
BOX = (0.8, 1.25)
"""A step and a box with which d reaches both faces and leaves them again within a few tokens."""

STATES = ("initial_state", "initial_preconditioner", "initial_A_state")

START = (0.7, 1.4)
"""Where d_1 lies, as far as the box allows: with keys of these exercises the memory stays moderate."""


@dataclass(frozen=True, eq=False)
class Bench:
    """What exercises are drawn for: a kernel, a dtype, sizes and a seed."""

    adapter: Adapter
    dtype: Dtype
    sizes: ExerciseSizes
    seed: int

    def takes(self, name: str) -> bool:
        return name in self.adapter.parameters

    def pose(
        self,
        stream: Stream,
        rng: np.random.Generator,
        *,
        sizes: ExerciseSizes | None = None,
        plain: bool = False,
        without: Collection[str] = (),
        eta: float = STEP,
        box: tuple[float, float] = BOX,
        normalized: bool = False,
        gate: Mapping[str, Any] | None = None,
        closed: float = 0.0,
        forgets: bool = True,
        anchored: bool = True,
        scale: float = SCALE,
        switched: bool = False,
        rule: CalibrationRule | None = None,
        group: int = 1,
    ) -> Case:
        """A case with everything that the kernel takes; `plain` leaves all that is optional out, `without` some states.

        A part `closed` of the memory's gates is exactly zero.
        `switched` feedback is beta-aware where the kernel's is not when left alone, and the other way round.
        `group` heads in a row share what comes with keys.
        """
        sizes = self.sizes if sizes is None else sizes
        forgets = forgets and not plain and self.adapter.calibrates and self.takes(self.adapter.forget_gate)
        if self.adapter.gated:
            decay = draw_gate(rng, self._gate_shape(stream), **(gate or {}))
            if closed:
                decay = np.where(rng.random(decay.shape) < closed, 0.0, decay)
            stream = replace(stream, state_gate=decay)
        if forgets:
            stream = replace(stream, forget_gate=draw_gate(rng, stream.keys.shape[:-1], **(gate or {})))
        states = {name for name in STATES if self.takes(name) and not plain and name not in without}
        if "initial_preconditioner" in states and self.adapter.calibrates:
            low, high = self._inside(box)
            start = rng.uniform(max(low, START[0]), min(high, START[1]), (*stream.lead, stream.key_dim))
            stream = replace(stream, initial_preconditioner=start)
        anchor: float | Array = 0.0
        if forgets and anchored and self.takes("anchor"):
            anchor = rng.uniform(0.5, 1.5, (*stream.lead, stream.key_dim))
        if rule is None:
            rule = replace(
                self.rule(eta, box, forgets, anchor, normalized),
                beta_aware=self.adapter.calibrates and self.adapter.beta_aware != switched,
            )
        state = draw_state(rng, sizes) if "initial_state" in states else None
        case = pose(self.adapter, stream, rule, self.dtype, scale=scale, initial_state=state, group=group)
        if "initial_A_state" in states:
            diagonal = round_to(rng.uniform(0.0, 2.0, (*stream.lead, stream.key_dim)), FLOAT32)
            case = replace(case, initial_preconditioner=diagonal)
        return case

    def rule(
        self, eta: float, box: tuple[float, float], forgets: bool, anchor: float | Array, normalized: bool
    ) -> CalibrationRule:
        """A step inside a box; what the kernel takes no argument for is `bounded`."""
        if not self.adapter.calibrates:
            return FROZEN
        low, high = self._inside(box)
        return CalibrationRule(
            eta=eta,
            d_min=low,
            d_max=high,
            forgetting="token" if forgets else 1.0,
            anchor=anchor,
            normalize_feedback=normalized,
        )

    def _inside(self, box: tuple[float, float]) -> tuple[float, float]:
        known = self.adapter.defaults
        low = box[0] if self.takes("d_min") else float(known.get("d_min", BOUNDED.d_min))
        high = box[1] if self.takes("d_max") else float(known.get("d_max", BOUNDED.d_max))
        return low, high

    def _gate_shape(self, stream: Stream) -> tuple[int, ...]:
        return stream.keys.shape if self.adapter.gates_features else stream.keys.shape[:-1]
