"""An experiment's folder as a whole: what was planned, and which of it there is."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osdn_theory.base.documents import read_typed
from osdn_theory.base.validation import require
from osdn_theory.recall.runs import PLAN, RESULT, ExperimentPlan, TrainingRun, is_tried, read_runs


@dataclass(frozen=True)
class ModelRuns:
    """The runs of one model.

    - `tuning`, mapping from learning rate to mean validation accuracy
    - `learning_rate`: The one that validates best, the smallest of equals; None before any tuning.
    - `tests`, mapping from seed to TrainingRun: The test runs at that rate, in the order of the plan's seeds.
    - `runs`: All of them, tuning and test.
    """

    name: str
    tuning: dict[float, float]
    learning_rate: float | None
    tests: dict[int, TrainingRun]
    runs: tuple[TrainingRun, ...]

    @property
    def label(self) -> str:
        """What the model is called: as its runs say, or by its name while there are none."""
        return self.runs[0].result.label if self.runs else self.name


@dataclass(frozen=True)
class Experiment:
    """A folder: its plan, the planned names, and the runs that are finished.

    - `models`, mapping from name to ModelRuns: In the plan's order.
    """

    folder: Path
    plan: ExperimentPlan
    models: dict[str, ModelRuns]

    @property
    def complete(self) -> bool:
        """Whether every planned run is finished, and every test run measured."""
        return all(self._complete(model) for model in self.models.values())

    def _complete(self, model: ModelRuns) -> bool:
        measured = [seed for seed, run in model.tests.items() if run.measured is not None]
        return set(measured) >= set(self.plan.seeds) and set(model.tuning) >= set(self.plan.learning_rates)


def read_experiment(folder: Path) -> Experiment:
    """The experiment in a folder, finished or not.

    Runs that the plan does not name are left out, and so are test runs at a rate that the tuning does not choose,
    such as those from before its grid was widened.

    Raises FileNotFoundError: it has no plan.
    Raises ValueError: a file that is not what it should be, or two test runs of one seed.
    """
    plan, runs = read_typed(folder / PLAN, ExperimentPlan), read_runs(folder)
    models = {
        name: _model(name, [run for run in runs if run.result.model == name], plan) for name in plan.models
    }
    return Experiment(folder, plan, models)


def _model(name: str, runs: list[TrainingRun], plan: ExperimentPlan) -> ModelRuns:
    validations: dict[float, list[float]] = {}
    for run in runs:
        if not run.is_test and is_tried(run.result.learning_rate, plan.learning_rates):
            validations.setdefault(run.result.learning_rate, []).append(run.result.validation)
    tuning = {rate: float(np.mean(validations[rate])) for rate in sorted(validations)}
    chosen = max(tuning, key=tuning.__getitem__, default=None)
    tests = _by_seed(run for run in runs if run.is_test and run.result.learning_rate == chosen)
    return ModelRuns(
        name=name,
        tuning=tuning,
        learning_rate=chosen,
        tests={seed: tests[seed] for seed in plan.seeds if seed in tests},
        runs=tuple(runs),
    )


def _by_seed(runs: Iterable[TrainingRun]) -> dict[int, TrainingRun]:
    found: dict[int, TrainingRun] = {}
    for run in runs:
        seed, file = run.result.seed, run.folder / RESULT
        require(seed not in found, f"{file}: another test run of {run.result.model} has seed {seed} as well")
        found[seed] = run
    return found
