"""The finished training runs of an experiment, as their files tell."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from osdn_theory.base.documents import Count, Number, Positive, Share, read_typed
from osdn_theory.base.validation import require

RESULT = "result.json"
MEASURES = "measures.json"
PLAN = "plan.json"


def is_tried(rate: float, grid: Sequence[float]) -> bool:
    """Whether a learning rate is of a grid, or an end of it doubled or halved, as is tried where an end wins."""
    steps = max(math.log2(rate / max(grid)), math.log2(min(grid) / rate))
    return rate in grid or (steps >= 1 and steps == round(steps))


CellKey = tuple[str, int, int]


@dataclass(frozen=True)
class TestedCell:
    """Accuracy and loss on one cell of the test set."""

    __test__ = False

    statistic: str
    repeats: Count
    pairs: Count
    accuracy: Share
    loss: Number

    @property
    def key(self) -> CellKey:
        return self.statistic, self.repeats, self.pairs


@dataclass(frozen=True)
class DistanceCount:
    """Queries that are `low` to `high` tokens from the last write of their pair, and how many were correct."""

    repeats: Count
    low: Count
    high: Count
    correct: Count
    queries: Count

    def __post_init__(self) -> None:
        require(self.correct <= self.queries, f"correct: expected 0 to {self.queries}, got {self.correct}")


@dataclass(frozen=True)
class AblatedCell:
    """Accuracy on one cell with d replaced."""

    ablation: str
    accuracy: Share


@dataclass(frozen=True)
class TrainingResult:
    """``result.json`` of a run, as the trainer writes it; `context` has tokens by "repeats-pairs"."""

    model: str
    label: str
    learning_rate: float
    seed: Count
    role: Literal["tune", "test"]
    parameters: Count
    seconds: Positive
    rule: Mapping[str, Any]
    gated_state: bool
    context: Mapping[str, Count]
    validation: float
    cells: tuple[TestedCell, ...]
    distances: tuple[DistanceCount, ...]
    ablations: tuple[AblatedCell, ...]


@dataclass(frozen=True)
class MeasuredCell:
    """What one layer did on one cell; see `measures.measure_run`.

    - `token_residual_ratio`, `by_head`, `by_position`: Geometric mean of q_t: over all, each head, each class of
      position (`osdn_theory.measures.read_twice.position_edges`). The authors' measure where `repeats` is 2.
    - `replaced`, mapping from replacement of d to the first of these.
    """

    statistic: str
    repeats: Count
    pairs: Count
    layer: Count
    context: Count
    tokens: Count
    key_dim: Count
    token_residual_ratio: Number
    replaced: Mapping[str, Number]
    by_head: tuple[Number, ...]
    by_position: tuple[Number, ...]
    missing_share: Number
    d_low: Number
    d_high: Number
    start_from_one: Number
    drift_from_one: Number
    drift_from_start: Number
    clipped_fraction: Number
    mean_alignment: Number
    newton_distance: Number
    calibration_tokens: Number
    identity_drift: Mapping[str, Number]
    output_error: Number


@dataclass(frozen=True)
class Measures:
    """``measures.json`` of a run."""

    cells: tuple[MeasuredCell, ...]


@dataclass(frozen=True)
class ExperimentPlan:
    """``plan.json`` of an experiment, as the trainer writes it."""

    preset: str
    command: str
    environment: Mapping[str, Any]
    task: Mapping[str, Any]
    models: tuple[str, ...]
    learning_rates: tuple[float, ...]
    seeds: tuple[Count, ...]


@dataclass(frozen=True)
class TrainingRun:
    """One finished training run; `measured` is None before its layers are measured."""

    folder: Path
    result: TrainingResult
    measured: tuple[MeasuredCell, ...] | None

    @property
    def is_test(self) -> bool:
        return self.result.role == "test"


def read_runs(experiment: Path) -> list[TrainingRun]:
    """Every finished run of an experiment, by model, learning rate and seed.

    Raises ValueError: a file that is not what it should be; the file and the field are named.
    """
    found = [_read_run(path.parent) for path in sorted(experiment.glob(f"runs/*/*/{RESULT}"))]
    found.sort(key=lambda run: (run.result.model, run.result.learning_rate, run.result.seed))
    return found


def _read_run(folder: Path) -> TrainingRun:
    measures = folder / MEASURES
    measured = read_typed(measures, Measures).cells if measures.is_file() else None
    return TrainingRun(folder, read_typed(folder / RESULT, TrainingResult), measured)
