"""The learning rate: chosen by validation, beyond its grid where the edge wins, and runs that fail stop no others."""

import json
import math
from dataclasses import replace

import pytest
from osdn_kernels.experiments import recall_lesson
from osdn_kernels.experiments.run import run_experiment, searches
from osdn_kernels.experiments.training import loop as training
from osdn_kernels.experiments.training.rates import FAILED, RESULT, search
from support.kernels.experiment_cases import tiny

GRID = (0.01, 0.005, 0.02)


def write_trials(plan, folder, validation):
    """`validation` (model, rate, seed) -> what is validated, or None for a run that failed."""
    for model in plan.models:
        for job in plan.trials(model, (0.0025, *GRID, 0.04, 0.08)):
            value = validation(job)
            place = folder / job.folder
            place.mkdir(parents=True, exist_ok=True)
            (place / (FAILED if value is None else RESULT)).write_text(json.dumps({"validation": value}))


def test_the_rate_with_the_best_mean_validation_is_chosen_and_the_test_is_not_looked_at(tmp_path):
    plan = replace(tiny(), learning_rates=(0.001, 0.01, 0.02), tuning=2, widenings=0)
    # The largest rate has the best run of all, and a failed one.
    found = {0.001: (0.5, 0.5), 0.01: (0.8, 0.8), 0.02: (0.9, 0.2)}
    for job in plan.tuning_jobs():
        validation = found[job.learning_rate][job.seed % 2]
        if job.model == "deltanet" and job.learning_rate == 0.001:
            validation = 0.8
        place = tmp_path / job.folder
        place.mkdir(parents=True)
        cells = [{"accuracy": 1.0 - validation}]
        (place / RESULT).write_text(json.dumps({"validation": validation, "cells": cells}))
    chosen = {model: found.best for model, found in searches(plan, tmp_path).items()}
    assert chosen == {"deltanet": 0.001, "osdn_eta1": 0.01}
    assert {job.seed for job in plan.tuning_jobs()}.isdisjoint(plan.seeds)


@pytest.mark.parametrize(
    ("widenings", "tried", "best"),
    [(0, 3, 0.02), (1, 4, 0.04), (2, 5, 0.04)],
)
def test_a_grid_whose_edge_wins_is_widened_until_it_does_not(tmp_path, widenings, tried, best):
    plan = replace(tiny(), models=("deltanet",), learning_rates=GRID, widenings=widenings)
    peak = 0.04
    made = []
    while missing := search(plan, tmp_path, "deltanet").missing:
        for job in missing:
            made.append(job.learning_rate)
            (tmp_path / job.folder).mkdir(parents=True)
            value = -abs(math.log(job.learning_rate / peak))
            (tmp_path / job.folder / RESULT).write_text(json.dumps({"validation": value}))
    assert made == [*sorted(GRID), 0.04, 0.08][:tried]
    assert search(plan, tmp_path, "deltanet").best == best


def test_a_single_rate_has_no_edge(tmp_path):
    plan = replace(tiny(), models=("deltanet",), learning_rates=(0.01,), widenings=3)
    write_trials(plan, tmp_path, lambda job: 0.5)
    assert search(plan, tmp_path, "deltanet") == (0.01, ())


@pytest.mark.parametrize("worst", [None, "nan", "-inf"])
def test_a_rate_at_which_a_run_failed_is_not_chosen(tmp_path, worst):
    plan = replace(tiny(), learning_rates=GRID, tuning=2, widenings=1)

    def validation(job):
        diverged = job.model == "osdn_eta1" or (job.learning_rate == 0.02 and job.seed % 2)
        return worst if diverged else job.learning_rate

    write_trials(plan, tmp_path, validation)
    assert search(plan, tmp_path, "deltanet") == (0.01, ())
    assert search(plan, tmp_path, "osdn_eta1") == (None, ())


def test_the_smallest_loss_is_the_best_where_losses_are_judged(tmp_path, monkeypatch):
    plan = replace(tiny(), models=("deltanet",), learning_rates=GRID)
    monkeypatch.setattr(recall_lesson, "best", min)
    write_trials(plan, tmp_path, lambda job: None if job.learning_rate == 0.02 else -job.learning_rate)
    assert search(plan, tmp_path, "deltanet").best == 0.01


def test_a_run_whose_loss_is_no_number_is_recorded_and_the_others_go_on(tmp_path, monkeypatch):
    plan = replace(tiny(), models=("deltanet", "osdn_eta1"), seeds=(0, 1))
    update = training.update

    def broken(model, optimizer, rate, *others):
        judged = update(model, optimizer, rate, *others)
        return judged * math.nan if any(m.rule.eta == 1 for m in mixers(model)) else judged

    def mixers(model):
        return [block.mixer for block in model.blocks]

    monkeypatch.setattr(training, "update", broken)
    assert run_experiment(plan, tmp_path, measure=mark)
    assert len(list(tmp_path.glob("runs/deltanet/*/result.json"))) == 3
    (failed,) = tmp_path.glob("runs/osdn_eta1/*/failed.json")
    about = json.loads(failed.read_text())
    assert (about["model"], about["seed"], about["role"]) == ("osdn_eta1", 1000, "tune")
    assert about["reason"].endswith("the loss is nan at step 10")
    # It is not tried again, and without a rate there is no test.
    monkeypatch.setattr(training, "update", None)
    assert run_experiment(plan, tmp_path, measure=mark)
    assert list(tmp_path.glob("runs/osdn_eta1/*/*.json")) == [failed]


def test_a_violated_theorem_is_recorded_beside_the_result(tmp_path):
    def violated(place):
        if place.parent.name == "osdn_eta1":
            raise ArithmeticError("T20 is violated")
        mark(place)

    assert run_experiment(tiny(), tmp_path, measure=violated)
    assert len(list(tmp_path.glob("runs/*/*/result.json"))) == tiny().runs
    assert len(list(tmp_path.glob("runs/osdn_eta1/*/failed.json"))) == 2
    assert len(list(tmp_path.glob("runs/deltanet/*/measures.json"))) == 2


def test_another_failure_is_raised_when_the_other_runs_are_done_and_a_disk_at_once(tmp_path):
    def broken(error):
        def measure(place):
            if place == tmp_path / "runs" / "deltanet" / "lr0.01-seed0":
                raise error
            mark(place)

        return measure

    with pytest.raises(OSError, match="full"):
        run_experiment(tiny(), tmp_path, measure=broken(OSError("full")))
    assert not list(tmp_path.rglob("measures.json"))
    with (
        pytest.warns(UserWarning, match=r"deltanet, learning rate 0\.01, seed 0: KeyError: 'layer'"),
        pytest.raises(KeyError, match="layer"),
    ):
        run_experiment(tiny(), tmp_path, measure=broken(KeyError("layer")))
    assert len(list(tmp_path.rglob("measures.json"))) == 3


def test_the_first_runs_are_of_different_models_and_seeds_come_whole():
    plan = replace(tiny(), learning_rates=GRID, seeds=(3, 5))
    tuning = plan.tuning_jobs()
    assert [(job.model, job.learning_rate) for job in tuning[:3]] == [
        ("deltanet", 0.01), ("osdn_eta1", 0.01), ("deltanet", 0.005),
    ]  # fmt: skip
    tests = plan.testing_jobs({"deltanet": 0.01, "osdn_eta1": 0.02})
    assert [(job.seed, job.model, job.learning_rate) for job in tests[:2]] == [
        (3, "deltanet", 0.01), (3, "osdn_eta1", 0.02),
    ]  # fmt: skip
    assert [job.model for job in plan.testing_jobs({"osdn_eta1": 0.02})] == ["osdn_eta1"] * 2


def mark(folder):
    """The measure of these tests."""
    (folder / "measures.json").write_text("{}")


def test_a_damaged_result_is_named(tmp_path):
    plan = replace(tiny(), models=("deltanet",), learning_rates=GRID)
    write_trials(plan, tmp_path, lambda job: 0.5)
    lost = tmp_path / plan.tuning_jobs()[0].folder / RESULT
    lost.write_text("{")
    with pytest.raises(ValueError, match=rf"^'{lost}' is damaged \(.*\); delete it to train this run anew$"):
        search(plan, tmp_path, "deltanet")
