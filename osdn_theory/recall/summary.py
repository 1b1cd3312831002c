"""An experiment in one document: means over seeds, differences from DeltaNet, predictions tested, and sentences."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from osdn_theory.base.folders import write_atomically
from osdn_theory.base.jsonable import jsonable, to_json
from osdn_theory.recall.comparisons import Series, compared
from osdn_theory.recall.data import BASELINE, FILE, SCHEMA
from osdn_theory.recall.experiment import Experiment, ModelRuns, read_experiment
from osdn_theory.recall.observations import (
    ablation_accuracies,
    cell_accuracies,
    distance_accuracies,
    overall,
)
from osdn_theory.recall.predictions import tested_predictions
from osdn_theory.recall.runs import Run
from osdn_theory.recall.sentences import sentences

Key = TypeVar("Key", bound=Hashable)
Row = dict[str, Any]


def write_summary(folder: Path) -> dict[str, Any]:
    """:func:`summarise`, and its result in the folder's ``recall.json``, written whole or not at all.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`summarise`.
    OSError
        If it cannot be written.
    """
    summary = summarise(folder)
    write_atomically(Path(folder) / FILE, to_json(summary).encode())
    return summary


def summarise(folder: Path) -> dict[str, Any]:
    """What the finished runs of an experiment say, as the JSON-ready content of ``recall.json``.

    Intervals are Student t at 95 % over seeds. Differences are paired by seed against DeltaNet; their p values are
    Holm-adjusted over the models within one measure (`overall`), over all models and cells (`accuracy`), and over
    all models and replacements of d (`ablations`, against the model's own d).

    Raises
    ------
    FileNotFoundError
        The folder has no plan.
    ValueError
        A file that is damaged or does not fit the others, named.
    """
    experiment = read_experiment(Path(folder))
    plan, models = experiment.plan, experiment.models
    document: dict[str, Any] = {
        "schema": SCHEMA,
        **{name: plan.value.get(name) for name in ("preset", "command", "environment")},
        "seconds": sum(run.result.number("seconds") for run in _finished(experiment)),
        "complete": experiment.complete,
        "task": plan.value.get("task"),
        "seeds": list(experiment.seeds),
        "models": [_model_row(model) for model in models.values()],
        "accuracy": _accuracy_rows(models),
        "distance": _distance_rows(models),
        "overall": _overall_rows(models),
        "ablations": _ablation_rows(models),
    }
    document["predictions"] = tested_predictions(models, document["ablations"])
    document["sentences"] = sentences(document)
    plain: dict[str, Any] = jsonable(document)
    return plain


def _finished(experiment: Experiment) -> list[Run]:
    return [run for model in experiment.models.values() for run in model.runs]


def _model_row(model: ModelRuns) -> Row:
    result = None if not model.runs else model.runs[0].result
    return {
        "name": model.name,
        "label": model.label,
        "parameters": None if result is None else result.count("parameters"),
        "rule": None if result is None else dict(result.inside("rule").value),
        "learning_rate": model.learning_rate,
        "tuning": [
            {"learning_rate": rate, "validation": value} for rate, value in sorted(model.tuning.items())
        ],
        "accuracy_by_seed": [
            {"seed": seed, "accuracy": value}
            for seed, value in sorted(_by_seed(model, overall).get("accuracy", {}).items())
        ],
    }


def _accuracy_rows(models: Mapping[str, ModelRuns]) -> list[Row]:
    series = {
        (name, *cell): values
        for name, model in models.items()
        for cell, values in _by_seed(model, cell_accuracies).items()
    }
    rows = compared(series, _against_baseline(series))
    return [
        {"model": model, "statistic": statistic, "repeats": repeats, "pairs": pairs, **row}
        for (model, statistic, repeats, pairs), row in rows.items()
    ]


def _distance_rows(models: Mapping[str, ModelRuns]) -> list[Row]:
    series = {
        (name, *bounds): values
        for name, model in models.items()
        for bounds, values in sorted(_by_seed(model, distance_accuracies).items())
    }
    return [
        {
            "model": model,
            "repeats": repeats,
            "low": low,
            "high": high,
            "mean": row["mean"],
            "ci_low": row["low"],
            "ci_high": row["high"],
        }
        for (model, repeats, low, high), row in compared(series, {}).items()
    ]


def _overall_rows(models: Mapping[str, ModelRuns]) -> list[Row]:
    found = {name: _by_seed(model, overall) for name, model in models.items()}
    measures = dict.fromkeys(measure for columns in found.values() for measure in columns)
    rows = []
    for measure in measures:
        series = {(name,): columns[measure] for name, columns in found.items() if measure in columns}
        for (name,), row in compared(series, _against_baseline(series)).items():
            rows.append({"model": name, "measure": measure, **row})
    return rows


def _ablation_rows(models: Mapping[str, ModelRuns]) -> list[Row]:
    series = {
        (name, ablation): values
        for name, model in models.items()
        for ablation, values in _by_seed(model, ablation_accuracies).items()
    }
    own = {
        (name, ablation): series[name, "none"]
        for name, ablation in series
        if ablation != "none" and (name, "none") in series
    }
    return [
        {"model": name, "ablation": ablation, **row}
        for (name, ablation), row in compared(series, own).items()
    ]


def _by_seed(model: ModelRuns, observe: Callable[[Run], Mapping[Key, float]]) -> dict[Key, Series]:
    """What `observe` gives of every test run, gathered under its keys."""
    found: dict[Key, dict[int, float]] = {}
    for seed, run in model.tests.items():
        for key, value in observe(run).items():
            found.setdefault(key, {})[seed] = value
    return dict(found)


def _against_baseline(series: Mapping[tuple[Any, ...], Series]) -> dict[tuple[Any, ...], Series]:
    """For keys (model, ...) of other models: the series of DeltaNet in the same place, empty where it has none."""
    return {key: series.get((BASELINE, *key[1:]), {}) for key in series if key[0] != BASELINE}
