"""An experiment's folder as a whole: what was planned, and which of it there is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osdn_theory.base.fields import Fields
from osdn_theory.base.validation import require
from osdn_theory.recall.documents import read_document
from osdn_theory.recall.runs import PLAN, RESULT, Run, read_runs


@dataclass(frozen=True)
class ModelRuns:
    """The runs of one model.

    Attributes
    ----------
    name : str
    tuning : mapping from learning rate to mean validation accuracy
    learning_rate : float or None
        The one that validates best, the smallest of equals; None before any tuning.
    tests : mapping from seed to Run
        The test runs at that rate, in the order of the plan's seeds.
    runs : tuple of Run
        All of them, tuning and test.
    """

    name: str
    tuning: dict[float, float]
    learning_rate: float | None
    tests: dict[int, Run]
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """What the model is called: as its runs say, or by its name while there are none."""
        return self.runs[0].label if self.runs else self.name


@dataclass(frozen=True)
class Experiment:
    """A folder: its plan, the planned names, and the runs that are finished.

    Attributes
    ----------
    folder : Path
    plan : Fields
    seeds : tuple of int
    learning_rates : tuple of float
    models : mapping from name to ModelRuns
        In the plan's order.
    """

    folder: Path
    plan: Fields
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    models: dict[str, ModelRuns]

    @property
    def complete(self) -> bool:
        """Whether every planned run is finished, and every test run measured."""
        return all(self._complete(model) for model in self.models.values())

    def _complete(self, model: ModelRuns) -> bool:
        measured = [seed for seed, run in model.tests.items() if run.measured is not None]
        return set(measured) >= set(self.seeds) and set(model.tuning) >= set(self.learning_rates)


def read_experiment(folder: Path) -> Experiment:
    """The experiment in a folder, finished or not.

    Runs that the plan does not name are left out, and so are test runs at a rate that the tuning does not choose,
    such as those from before its grid was widened.

    Raises
    ------
    FileNotFoundError
        It has no plan.
    ValueError
        A file that is not what it should be, or two test runs of one seed.
    """
    plan = read_document(folder / PLAN)
    rates = tuple(plan.array("learning_rates", 1).tolist())
    seeds = tuple(map(int, plan.array("seeds", 1)))
    runs = read_runs(folder)
    return Experiment(
        folder=folder,
        plan=plan,
        seeds=seeds,
        learning_rates=rates,
        models={
            name: _model(name, [run for run in runs if run.model == name], rates, seeds)
            for name in plan.texts("models")
        },
    )


def _model(name: str, runs: list[Run], rates: tuple[float, ...], seeds: tuple[int, ...]) -> ModelRuns:
    validations: dict[float, list[float]] = {rate: [] for rate in sorted(rates)}
    for run in runs:
        if not run.is_test and run.learning_rate in validations:
            validations[run.learning_rate].append(run.result.number("validation"))
    tuning = {rate: float(np.mean(found)) for rate, found in validations.items() if found}
    chosen = max(tuning, key=tuning.__getitem__, default=None)
    tests = _by_seed(run for run in runs if run.is_test and run.learning_rate == chosen)
    return ModelRuns(
        name=name,
        tuning=tuning,
        learning_rate=chosen,
        tests={seed: tests[seed] for seed in seeds if seed in tests},
        runs=tuple(runs),
    )


def _by_seed(runs: Iterable[Run]) -> dict[int, Run]:
    found: dict[int, Run] = {}
    for run in runs:
        require(
            run.seed not in found,
            f"{run.folder / RESULT}: another test run of {run.model} has seed {run.seed} as well",
        )
        found[run.seed] = run
    return found
