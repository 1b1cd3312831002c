"""An experiment in one document: means over seeds, differences from DeltaNet, predictions tested, and sentences."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from osdn_theory.recall.comparisons import Series, compared
from osdn_theory.recall.data import BASELINE
from osdn_theory.recall.document import (
    FILE,
    RECALL,
    AblationRow,
    CellRow,
    DistanceRow,
    ModelRecord,
    OverallRow,
    RecallSummary,
    SeedAccuracy,
    TuningTrial,
)
from osdn_theory.recall.experiment import Experiment, ModelRuns, read_experiment
from osdn_theory.recall.observations import (
    ablation_accuracies,
    cell_accuracies,
    distance_accuracies,
    overall,
)
from osdn_theory.recall.predictions import tested_predictions
from osdn_theory.recall.runs import TrainingRun
from osdn_theory.recall.sentences import sentences

Key = TypeVar("Key", bound=Hashable)


def write_summary(folder: Path) -> RecallSummary:
    """:func:`summarise`, and its result in the folder's ``recall.json``, written whole or not at all.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`summarise`.
    OSError
        If it cannot be written.
    """
    summary = summarise(folder)
    RECALL.write(Path(folder) / FILE, summary, summary.command)
    return summary


def summarise(folder: Path) -> RecallSummary:
    """What the finished runs of an experiment say.

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
    summary = RecallSummary(
        preset=plan.preset,
        command=plan.command,
        environment=plan.environment,
        seconds=sum(run.result.seconds for run in _finished(experiment)),
        complete=experiment.complete,
        task=plan.task,
        seeds=plan.seeds,
        models=tuple(map(_model_row, models.values())),
        accuracy=_accuracy_rows(models),
        distance=_distance_rows(models),
        overall=_overall_rows(models),
        ablations=_ablation_rows(models),
    )
    tested = replace(summary, predictions=tested_predictions(models, summary.ablations))
    return replace(tested, sentences=sentences(tested))


def _finished(experiment: Experiment) -> list[TrainingRun]:
    return [run for model in experiment.models.values() for run in model.runs]


def _model_row(model: ModelRuns) -> ModelRecord:
    result = model.runs[0].result if model.runs else None
    accuracies = _by_seed(model, overall).get("accuracy", {})
    return ModelRecord(
        name=model.name,
        label=model.label,
        parameters=result.parameters if result else None,
        rule=result.rule if result else None,
        learning_rate=model.learning_rate,
        tuning=tuple(TuningTrial(rate, value) for rate, value in sorted(model.tuning.items())),
        accuracy_by_seed=tuple(SeedAccuracy(seed, value) for seed, value in sorted(accuracies.items())),
    )


def _accuracy_rows(models: Mapping[str, ModelRuns]) -> tuple[CellRow, ...]:
    series = {
        (name, *cell): values
        for name, model in models.items()
        for cell, values in _by_seed(model, cell_accuracies).items()
    }
    rows = compared(series, _against_baseline(series))
    return tuple(
        CellRow(model=model, statistic=statistic, repeats=repeats, pairs=pairs, **vars(row))
        for (model, statistic, repeats, pairs), row in rows.items()
    )


def _distance_rows(models: Mapping[str, ModelRuns]) -> tuple[DistanceRow, ...]:
    series = {
        (name, *bounds): values
        for name, model in models.items()
        for bounds, values in sorted(_by_seed(model, distance_accuracies).items())
    }
    return tuple(
        DistanceRow(
            model=model,
            repeats=repeats,
            nearest=low,
            farthest=high,
            mean=row.mean,
            low=row.low,
            high=row.high,
        )
        for (model, repeats, low, high), row in compared(series, {}).items()
    )


def _overall_rows(models: Mapping[str, ModelRuns]) -> tuple[OverallRow, ...]:
    found = {name: _by_seed(model, overall) for name, model in models.items()}
    measures = dict.fromkeys(measure for columns in found.values() for measure in columns)
    rows = []
    for measure in measures:
        series = {(name,): columns[measure] for name, columns in found.items() if measure in columns}
        for (name,), row in compared(series, _against_baseline(series)).items():
            rows.append(OverallRow(model=name, measure=measure, **vars(row)))
    return tuple(rows)


def _ablation_rows(models: Mapping[str, ModelRuns]) -> tuple[AblationRow, ...]:
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
    return tuple(
        AblationRow(model=name, ablation=ablation, **vars(row))
        for (name, ablation), row in compared(series, own).items()
    )


def _by_seed(model: ModelRuns, observe: Callable[[TrainingRun], Mapping[Key, float]]) -> dict[Key, Series]:
    """What `observe` gives of every test run, gathered under its keys."""
    found: dict[Key, dict[int, float]] = {}
    for seed, run in model.tests.items():
        for key, value in observe(run).items():
            found.setdefault(key, {})[seed] = value
    return dict(found)


def _against_baseline(series: Mapping[tuple[Any, ...], Series]) -> dict[tuple[Any, ...], Series]:
    """For keys (model, ...) of other models: the series of DeltaNet in the same place, empty where it has none."""
    return {key: series.get((BASELINE, *key[1:]), {}) for key in series if key[0] != BASELINE}
