"""Ratios between providers, and whether the goals are met."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .. import names
from ..operators.regimes import FORGETTING, MIXED, NOTHING, REGIMES
from ..shapes import Shape
from .records import Record


@dataclass(frozen=True)
class Goal:
    """`provider` may take at most `limit` times what the fastest of `bases` takes, in every row of `measure`.

    `longer` has other limits, by tokens in a sequence.
    """

    name: str
    measure: str
    provider: str
    bases: tuple[str, ...]
    limit: float
    longer: dict[int, float] = field(default_factory=dict)

    def limit_at(self, shape: Shape) -> float:
        return self.longer.get(shape.length, self.limit)


LONG = 65536

GOALS = [
    Goal("scan, of the forward pass", names.SCAN, names.SCAN_ALONE, (names.OURS,), 0.12),
    Goal("forward", names.FORWARD, names.OURS, (names.DELTA,), 0.60, {LONG: 0.75}),
    Goal("forward and backward", names.BACKWARD, names.OURS, (names.DELTA,), 0.85, {LONG: 0.90}),
    *[
        Goal(f"{regime.name}, {measure}", measure, regime.provider, (names.OURS,), 2.0 if regime is MIXED else limit)
        for measure, limit in ((names.FORWARD, 1.25), (names.BACKWARD, 1.3))
        for regime in REGIMES
        if regime is not NOTHING
    ],
    Goal("forgetting to 0", names.FORWARD, FORGETTING.provider, (names.GATED_DELTA,), 0.9),
    *[
        Goal(f"{form}, {measure}", measure, ours, (theirs,), 1.0 if measure == names.MEMORY else limit)
        for form, ours, theirs, limit in (
            ("OS-GDN", names.OURS_GDN, names.GATED_DELTA, 0.9), ("OS-KDA", names.OURS_KDA, names.KDA, 1.0),
        )
        for measure in (names.FORWARD, names.BACKWARD, names.MEMORY)
    ],
    Goal("peak memory", names.MEMORY, names.OURS, (names.DELTA,), 0.80),
    Goal("decode, CUDA graph", names.DECODE_GRAPH, names.STEP, (names.RECURRENT_DELTA, names.RECURRENT), 1.0),
    Goal("decode of OS-GDN, CUDA graph", names.DECODE_GRAPH, names.STEP_GDN, (names.RECURRENT_GDN,), 1.0),
    Goal("decode of OS-KDA, CUDA graph", names.DECODE_GRAPH, names.STEP_KDA, (names.RECURRENT_KDA,), 1.0),
    Goal("decode over a pool", names.DECODE_GRAPH, names.POOLED, (names.STEP,), 1.02),
    Goal("decode over a pool, rows in any order", names.DECODE_GRAPH, names.SHUFFLED, (names.STEP,), 1.02),
]  # fmt: skip


@dataclass(frozen=True)
class Ratio:
    shape: Shape
    value: float
    limit: float

    @property
    def met(self) -> bool:
        return self.value <= self.limit


@dataclass(frozen=True)
class GoalOutcome:
    """A goal and what came of it: 'met' in every row, 'missed' or 'not measured'."""

    goal: Goal
    ratios: tuple[Ratio, ...]

    @property
    def outcome(self) -> str:
        if not self.ratios:
            return "not measured"
        return "met" if all(ratio.met for ratio in self.ratios) else "missed"

    def fields(self) -> dict[str, Any]:
        rows = [
            {"row": ratio.shape.label, "ratio": ratio.value, "limit": ratio.limit, "met": ratio.met}
            for ratio in self.ratios
        ]
        return {"name": self.goal.name, "provider": self.goal.provider, "bases": self.goal.bases,
                "measure": self.goal.measure, "outcome": self.outcome, "rows": rows}  # fmt: skip


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def by_row(records: Iterable[Record], provider: str) -> dict[tuple[str, Shape], float]:
    return {r.row: r.value for r in records if r.provider == provider and r.measured}


def judge(records: list[Record], goals: list[Goal] = GOALS) -> list[GoalOutcome]:
    """Of rows in which both sides were measured, all bases included."""
    return [GoalOutcome(goal, tuple(ratios(records, goal))) for goal in goals]


def ratios(records: list[Record], goal: Goal) -> Iterable[Ratio]:
    bases = [by_row(records, base) for base in goal.bases]
    for row, value in by_row(records, goal.provider).items():
        if row[0] == goal.measure and all(row in base for base in bases):
            yield Ratio(row[1], value / min(base[row] for base in bases), goal.limit_at(row[1]))
