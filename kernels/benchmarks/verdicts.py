"""Ratios between providers, and whether the goals are met."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from . import names
from .records import Record
from .shapes import Shape


@dataclass(frozen=True)
class Goal:
    """`provider` may take at most `limit` times what `base` takes, in every row of `measure`."""

    name: str
    measure: str
    provider: str
    base: str
    limit: float


GOALS = [
    Goal("forward + backward", names.BACKWARD, names.OURS, names.DELTA, 1.10),
    Goal("forward", names.FORWARD, names.OURS, names.DELTA, 1.10),
    Goal("scan, of the forward", names.SCAN, names.SCAN_ALONE, names.OURS, 0.10),
    Goal("peak memory", names.MEMORY, names.OURS, names.DELTA, 1.15),
    Goal("decode step", names.DECODE_EAGER, names.STEP, names.RECURRENT_DELTA, 1.10),
    Goal("decode step, CUDA graph", names.DECODE_GRAPH, names.STEP, names.RECURRENT_DELTA, 1.10),
]


@dataclass(frozen=True)
class Ratio:
    shape: Shape
    value: float


@dataclass(frozen=True)
class Verdict:
    """A goal and what came of it: 'met' in every row, 'met on average', 'missed' or 'not measured'."""

    goal: Goal
    ratios: tuple[Ratio, ...]

    @property
    def mean(self) -> float:
        """Geometric."""
        return geometric_mean([ratio.value for ratio in self.ratios])

    @property
    def worst(self) -> Ratio | None:
        return max(self.ratios, key=lambda ratio: ratio.value, default=None)

    @property
    def outcome(self) -> str:
        if self.worst is None:
            return "not measured"
        if self.worst.value <= self.goal.limit:
            return "met"
        return "met on average" if self.mean <= self.goal.limit else "missed"

    def fields(self) -> dict[str, Any]:
        worst = self.worst
        return {
            **vars(self.goal),
            "outcome": self.outcome,
            "rows": len(self.ratios),
            "geometric_mean": None if worst is None else self.mean,
            "worst": None if worst is None else worst.value,
            "worst_row": None if worst is None else worst.shape.label,
        }


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def by_row(records: Iterable[Record], provider: str) -> dict[tuple[str, Shape], float]:
    return {r.row: r.value for r in records if r.provider == provider and r.measured}


def ratios(records: list[Record], measure: str, provider: str, base: str) -> tuple[Ratio, ...]:
    """provider / base in the rows that both were measured in."""
    ours, theirs = by_row(records, provider), by_row(records, base)
    rows = [row for row in ours if row[0] == measure and row in theirs]
    return tuple(Ratio(row[1], ours[row] / theirs[row]) for row in rows)


def judge(records: list[Record], goals: list[Goal] = GOALS) -> list[Verdict]:
    return [Verdict(goal, ratios(records, goal.measure, goal.provider, goal.base)) for goal in goals]
