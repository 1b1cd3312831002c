"""An experiment in one document: means over seeds, differences from DeltaNet, predictions tested, and sentences."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from osdn_theory.recall.document import FILE, RECALL, ModelRecord, RecallSummary, TuningTrial
from osdn_theory.recall.experiment import Experiment, ModelRuns, read_experiment
from osdn_theory.recall.observations import ablation_accuracies, cell_accuracies, distance_accuracies, overall
from osdn_theory.recall.predictions import tested_predictions
from osdn_theory.recall.rows import PARTS, make_rows
from osdn_theory.recall.runs import TrainingRun
from osdn_theory.recall.sentences import sentences

OBSERVED: Mapping[str, Callable[[TrainingRun], Mapping[Any, float]]] = {
    "accuracy": cell_accuracies,
    "distance": distance_accuracies,
    "overall": overall,
    "ablations": ablation_accuracies,
}
"""What the rows of each part of the summary are of."""


def write_summary(folder: Path) -> RecallSummary:
    """:func:`summarise`, and its result in the folder's ``recall.json``, written whole or not at all.

    Raises FileNotFoundError, ValueError: as :func:`summarise`.
    Raises OSError: if it cannot be written.
    """
    summary = summarise(folder)
    RECALL.write(Path(folder) / FILE, summary, summary.command)
    return summary


def summarise(folder: Path) -> RecallSummary:
    """What the finished runs of an experiment say.

    Intervals are Student t at 95 % over seeds. Differences are paired by seed against DeltaNet; their p values are
    Holm-adjusted over the models within one measure (`overall`), over all models and cells (`accuracy`), and over
    all models and replacements of d (`ablations`, against the model's own d).

    Raises FileNotFoundError: the folder has no plan.
    Raises ValueError: a file that is damaged or does not fit the others, named.
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
        **{name: make_rows(PARTS[name], _columns(models, observe)) for name, observe in OBSERVED.items()},
    )
    tested = replace(summary, predictions=tested_predictions(models, summary.ablations))
    return replace(tested, sentences=sentences(tested))


def _finished(experiment: Experiment) -> list[TrainingRun]:
    return [run for model in experiment.models.values() for run in model.runs]


def _model_row(model: ModelRuns) -> ModelRecord:
    result = model.runs[0].result if model.runs else None
    return ModelRecord(
        name=model.name,
        label=model.label,
        parameters=result.parameters if result else None,
        rule=result.rule if result else None,
        learning_rate=model.learning_rate,
        tuning=tuple(TuningTrial(rate, value) for rate, value in sorted(model.tuning.items())),
    )


def _columns(
    models: Mapping[str, ModelRuns], observe: Callable[[TrainingRun], Mapping[Any, float]]
) -> dict[tuple[Any, ...], dict[int, float]]:
    """What `observe` gives of every test run, by seed, under the model and its own keys."""
    found: dict[tuple[Any, ...], dict[int, float]] = {}
    for name, model in models.items():
        for seed, run in model.tests.items():
            for key, value in observe(run).items():
                place = (name, *key) if isinstance(key, tuple) else (name, key)
                found.setdefault(place, {})[seed] = value
    return found
