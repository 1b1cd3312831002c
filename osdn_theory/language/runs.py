"""The finished training runs of a language-model experiment, as their files tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from osdn_theory.base.documents import Count, Number, Positive, read_typed
from osdn_theory.base.folders import write_atomically
from osdn_theory.base.jsonable import to_json
from osdn_theory.recall.runs import MEASURES, PLAN, RESULT, is_tried

FAILED = "failed.json"
CORPUS = Path("data", "corpus.json")
ACTIVATIONS, LONG = (Path("activations", f"{name}.safetensors") for name in ("read_twice", "long"))


@dataclass(frozen=True)
class MeasuredValue:
    """A number that was measured; `place` says where, such as a range of positions or a layer."""

    measure: str
    place: str
    value: Number


@dataclass(frozen=True)
class LanguageResult:
    """``result.json`` of a run, as the trainer writes it; `validation` is a loss in nats per token."""

    model: str
    label: str
    form: str
    learning_rate: float
    seed: Count
    role: Literal["tune", "test"]
    parameters: Count
    seconds: Positive
    tokens_per_second: Positive
    device: str
    rule: Mapping[str, Any]
    validation: Number
    values: tuple[MeasuredValue, ...]


@dataclass(frozen=True)
class FailedRun:
    """``failed.json`` of a run, as the trainer writes it: its loss was no number, or a layer violates a theorem."""

    model: str
    learning_rate: float
    seed: Count
    role: Literal["tune", "test"]
    reason: str


@dataclass(frozen=True)
class LayerValues:
    """``measures.json`` of a run."""

    values: tuple[MeasuredValue, ...]


@dataclass(frozen=True)
class LanguageSettings:
    """``plan.json`` of an experiment, as the trainer writes it."""

    preset: str
    command: str
    environment: Mapping[str, Any]
    models: tuple[str, ...]
    learning_rates: tuple[float, ...]
    seeds: tuple[Count, ...]
    steps: Count
    batch: Count
    context: Count
    layers: Count
    hidden: Count
    heads: Count
    vocabulary: Count


@dataclass(frozen=True)
class LanguageRuns:
    """The runs of one model.

    - `tuning`, mapping from learning rate to mean validation loss
    - `learning_rate`: The one with the least, the smallest of equals; None before any tuning.
    - `tests`, mapping from seed to the result and what was measured of its layers: At that rate.
    - `failed`, mapping from seed to why the test run at that rate failed.
    """

    name: str
    results: tuple[LanguageResult, ...]
    tuning: Mapping[float, float]
    learning_rate: float | None
    tests: Mapping[int, tuple[MeasuredValue, ...]]
    failed: Mapping[int, str]

    @property
    def edge(self) -> bool:
        """Whether the rate that won is the first or the last of several: the best may lie beyond."""
        return len(self.tuning) > 1 and self.learning_rate in (min(self.tuning), max(self.tuning))


def read_language_runs(folder: Path) -> tuple[LanguageSettings, dict[str, LanguageRuns]]:
    """The plan of an experiment and the finished runs of its models, in the plan's order.

    Raises FileNotFoundError: it has no plan.
    Raises ValueError: a file that is not what it should be; the file and the field are named.
    """
    plan = read_typed(folder / PLAN, LanguageSettings)
    return plan, {name: _read_model(folder, name, plan) for name in plan.models}


def write_layer_values(folder: Path, values: tuple[MeasuredValue, ...]) -> None:
    """Put ``measures.json`` into the folder of a run, whole or not at all."""
    write_atomically(folder / MEASURES, to_json(LayerValues(values)).encode())


def _read_model(folder: Path, name: str, plan: LanguageSettings) -> LanguageRuns:
    places = {
        path.parent: read_typed(path, LanguageResult)
        for path in sorted(folder.glob(f"runs/{name}/*/{RESULT}"))
    }
    failed = [read_typed(path, FailedRun) for path in sorted(folder.glob(f"runs/{name}/*/{FAILED}"))]
    losses: dict[float, list[float]] = {}
    ended: list[LanguageResult | FailedRun] = [*places.values(), *failed]
    for run in ended:
        if run.role == "tune" and is_tried(run.learning_rate, plan.learning_rates):
            loss = run.validation if isinstance(run, LanguageResult) else np.inf
            losses.setdefault(run.learning_rate, []).append(np.inf if np.isnan(loss) else loss)
    tuning = {rate: float(np.mean(losses[rate])) for rate in sorted(losses)}
    chosen = min((rate for rate in tuning if tuning[rate] < np.inf), key=tuning.__getitem__, default=None)
    tests = {
        result.seed: result.values + _read_layers(place)
        for place, result in places.items()
        if result.role == "test" and result.learning_rate == chosen and result.seed in plan.seeds
    }
    reasons = {
        run.seed: run.reason
        for run in failed
        if run.role == "test" and run.learning_rate == chosen and run.seed in plan.seeds
    }
    return LanguageRuns(
        name,
        tuple(places.values()),
        tuning,
        chosen,
        dict(sorted(tests.items())),
        dict(sorted(reasons.items())),
    )


def _read_layers(place: Path) -> tuple[MeasuredValue, ...]:
    file = place / MEASURES
    return read_typed(file, LayerValues).values if file.is_file() else ()
