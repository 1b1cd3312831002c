"""Whole experiments: the plan, the choice of the learning rate, resumption, worker processes, torchrun."""

import inspect
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from osdn_kernels.experiments import entry, run as run_module
from osdn_kernels.experiments.plan import (
    ALL_MODELS,
    FAST_MODELS,
    FIRST_TEST_SEED,
    PRESETS,
    TrainingPlan,
    preset,
)
from osdn_kernels.experiments.run import Settings, run_experiment
from osdn_kernels.experiments.training import loop as training, performing
from osdn_kernels.experiments.training.distributed import Group
from support.kernels.experiment_cases import tiny

ROOT = Path(__file__).parents[3]


def mark(folder):
    """The measure of these tests."""
    (folder / "measures.json").write_text("{}")


def files(folder, name="result.json"):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob(name)}


def outcomes(folder):
    """What was computed, without the clock."""
    found = {}
    for path in sorted(folder.rglob("result.json")):
        result = json.loads(path.read_text())
        del result["seconds"]
        found[str(path.relative_to(folder))] = result
    return found


def test_an_experiment_runs_once_and_grows(tmp_path):
    ticks = []
    assert run_experiment(tiny(), tmp_path, measure=mark, progress=lambda *tick: ticks.append(tick))
    first = files(tmp_path)
    assert len(first) == tiny().runs == 6
    assert len(files(tmp_path, "measures.json")) == 4
    assert ticks[-1][1:] == (72, 72)
    assert [done for _, done, _ in ticks] == sorted(done for _, done, _ in ticks)

    run_experiment(replace(tiny(), seeds=(0, 1, 2)), tmp_path, measure=mark)
    second = files(tmp_path)
    assert len(second) == 8
    assert first.items() <= second.items()


def test_a_measure_that_is_missing_is_made_up_for(tmp_path):
    run_experiment(tiny(), tmp_path, measure=mark)
    before = files(tmp_path)
    lost = next(tmp_path.rglob("measures.json"))
    lost.unlink()
    run_experiment(tiny(), tmp_path, measure=mark)
    assert lost.exists()
    assert files(tmp_path) == before


@pytest.mark.slow
def test_side_by_side_computes_the_same(tmp_path, monkeypatch):
    """And forks nothing: pools have threads, whose locks a fork inherits as they are."""
    run_experiment(tiny(), tmp_path / "one", measure=mark)

    def fork():
        raise AssertionError("a process was forked")

    monkeypatch.setattr(os, "fork", fork)
    run_experiment(tiny(), tmp_path / "two", measure=mark, settings=Settings(workers=2))
    assert outcomes(tmp_path / "one") == outcomes(tmp_path / "two")


def test_a_failure_in_a_worker_is_raised_and_keeps_the_rest(tmp_path):
    run_experiment(replace(tiny(), seeds=(0,)), tmp_path, measure=mark)
    before = files(tmp_path)
    broken = tmp_path / "runs" / "osdn_eta1" / "lr0.01-seed1" / "checkpoint.pt"
    broken.parent.mkdir()
    broken.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"lr0\.01-seed1/checkpoint\.pt' is damaged"):
        run_experiment(tiny(), tmp_path, measure=mark, settings=Settings(workers=2))
    assert before.items() <= files(tmp_path).items()


def test_a_folder_of_another_experiment_is_refused(tmp_path):
    run_experiment(replace(tiny(), models=("deltanet",), seeds=(0,)), tmp_path, measure=mark)
    with pytest.raises(ValueError, match="holds an experiment of other sizes"):
        run_experiment(replace(tiny(), batch=7), tmp_path, measure=mark)
    (tmp_path / "plan.json").write_text("[]")
    with pytest.raises(ValueError, match=r"plan\.json' is not the plan of an experiment"):
        run_experiment(tiny(), tmp_path, measure=mark)


def test_a_device_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device: no CUDA device is present"):
        run_experiment(tiny(), tmp_path, measure=mark, settings=Settings("cuda"))
    assert list(tmp_path.iterdir()) == []


class StopHereError(Exception):
    """Raised in the place of what needs a GPU."""


@pytest.fixture
def three_gpus(monkeypatch):
    """Whatever this machine has."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")


@pytest.mark.usefixtures("three_gpus")
def test_workers_are_spread_over_the_gpus_and_the_plan_says_how_many(tmp_path, monkeypatch):
    asked = []

    def pool(workers, device):
        asked.append((workers, device))
        raise StopHereError

    monkeypatch.setattr(performing, "pool_of", pool)
    with pytest.raises(StopHereError):
        run_experiment(tiny(), tmp_path, measure=mark, settings=Settings("cuda", workers=4))
    assert asked == [(4, "cuda")]
    environment = json.loads((tmp_path / "plan.json").read_text())["environment"]
    assert (environment["device"], environment["gpus"], environment["workers"]) == ("a card", 3, 4)
    assert run_module.environment(Settings("cpu"))["gpus"] == 0


@pytest.mark.usefixtures("three_gpus")
def test_cuda_is_the_gpu_that_a_process_has_chosen(monkeypatch):
    """A number would send every worker to the same one."""
    assert run_module.available("cuda").index is None
    monkeypatch.setenv("LOCAL_RANK", "2")  # torchrun's processes choose theirs when they join
    assert run_module.available("cuda").index is None


@pytest.mark.usefixtures("three_gpus")
@pytest.mark.parametrize(
    ("device", "asked", "cores", "workers"),
    [("cuda", None, 100, 24), ("cuda", None, 10, 10), ("cuda", 5, 100, 5), ("cpu", None, 100, 100)],
)
def test_recall_has_eight_workers_on_each_gpu(device, asked, cores, workers, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(cores))
    monkeypatch.setattr(
        run_module, "run_experiment", lambda *args, settings, **options: found.append(settings.workers)
    )
    options = {"measure": mark, "device": device, "workers": asked, "tensorboard": False}
    entry.run(preset("cpu"), tmp_path, command="", progress=print, **options)
    assert found == [workers]


def test_tensorboard_is_written_or_missed_at_once(tmp_path, monkeypatch):
    plan = replace(tiny(), models=("deltanet",), seeds=(0,))
    run_experiment(plan, tmp_path / "a", measure=mark, settings=Settings(tensorboard=True))
    assert len(list((tmp_path / "a").rglob("events.out.tfevents.*"))) == 2
    monkeypatch.setattr(
        run_module.require_tensorboard.__globals__["importlib"].util, "find_spec", lambda name: None
    )
    with pytest.raises(ValueError, match="tensorboard is not installed"):
        run_experiment(plan, tmp_path / "b", measure=mark, settings=Settings(tensorboard=True))
    assert not (tmp_path / "b").exists()


def a_few_steps(folder):
    training.LOG_EVERY = training.SAVE_EVERY = 5
    plan = preset("smoke", steps=20, batch=6, models=("osdn_eta1",), seeds=(0,))
    run_experiment(replace(plan, validation=4, test=4, captured=2), folder, measure=lambda folder: None)


SCRIPT = f"""
import sys
from pathlib import Path
from dataclasses import replace
from osdn_kernels.experiments.training import loop as training
from osdn_kernels.experiments.plan import preset
from osdn_kernels.experiments.run import run_experiment
{inspect.getsource(a_few_steps)}
a_few_steps(Path(sys.argv[1]))
"""


def start(folder, *launcher):
    script = folder.with_suffix(".py")
    script.write_text(SCRIPT)
    return subprocess.Popen([sys.executable, *launcher, str(script), str(folder)], cwd=ROOT)


def test_a_killed_experiment_goes_on_with_nothing_lost(tmp_path, monkeypatch):
    for name in ("LOG_EVERY", "SAVE_EVERY"):
        monkeypatch.setattr(training, name, 5)
    process = start(tmp_path / "killed")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").rglob("checkpoint.pt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = files(tmp_path / "killed")
    a_few_steps(tmp_path / "killed")
    assert kept.items() <= files(tmp_path / "killed").items()
    a_few_steps(tmp_path / "whole")
    assert outcomes(tmp_path / "killed") == outcomes(tmp_path / "whole")


AT_WORK = """
import time
from osdn_kernels.experiments.training.performing import Counter, side_by_side

def run(job, ticks):
    print("at work", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    with side_by_side(run, Counter(1, 1, print), 2) as perform:
        perform(["job"])
"""


def test_workers_end_with_the_command_that_was_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(AT_WORK)
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "at work\n"
    process.kill()
    # All that was started writes to the same pipe, which ends when the last of them has.
    assert process.communicate(timeout=60)[0] == ""


@pytest.mark.slow
def test_data_parallel_training_is_the_same_training(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert start(tmp_path / "two", *launcher).wait(timeout=300) == 0
    assert start(tmp_path / "one").wait(timeout=120) == 0
    one, two = outcomes(tmp_path / "one"), outcomes(tmp_path / "two")
    assert one.keys() == two.keys()
    for path in one:
        cells = [result[path]["cells"] for result in (one, two)]
        for a, b in zip(*cells, strict=True):
            # Means of halves differ in rounding alone.
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


def test_shares_of_a_batch_cover_it_and_must_be_even():
    rows = list(range(12))
    assert [rows[Group(rank, 3).share(12)] for rank in range(3)] == [rows[:4], rows[4:8], rows[8:]]
    with pytest.raises(ValueError, match="batch: expected a multiple of the 3 processes, got 8"):
        Group(0, 3).share(8)


def test_presets_are_what_was_promised():
    assert set(PRESETS) == {"smoke", "cpu", "h200"}
    for name in ("cpu", "h200"):
        plan = preset(name)
        assert plan.models == {"cpu": FAST_MODELS, "h200": ALL_MODELS}[name]
        assert plan.seeds[0] >= FIRST_TEST_SEED
        # What the older grid chose for every model, at its upper edge, is inside.
        assert min(plan.learning_rates) < 0.02 < max(plan.learning_rates)
        assert len(plan.seeds) >= 5
        assert len(plan.learning_rates) >= 3
        assert plan.widenings >= 1
        assert preset(name, seeds=2).seeds == plan.seeds[:2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ("gpt",)}, r"models: expected names among deltanet, .*got \['gpt'\]"),
        ({"models": ("osdn", "osdn")}, "models: expected distinct entries"),
        ({"seeds": ()}, "seeds: expected distinct entries"),
        ({"seeds": (1000,)}, "seeds: expected 0 to 999"),
        ({"learning_rates": (2.0,)}, "learning_rates: expected between 0 and 1"),
        ({"batch": 0}, "batch: expected a positive number, got 0"),
        ({"warm_up": 1.0}, "warm_up: expected a share of the steps, got 1.0"),
        ({"captured": 99}, "captured: expected at most test = 8, got 99"),
        ({"pairs": (18,)}, "pairs: expected at most the 16 distinct keys of a context, got 18"),
        ({"heads": 5}, "heads: expected a divisor of features = 32, got 5"),
    ],
)
def test_plans_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        preset("smoke", **changes)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="preset: expected smoke or cpu or h200, got gpu"):
        preset("gpu")


def test_task_and_model_must_agree_in_size():
    with pytest.raises(ValueError, match="features: expected those of the key vectors, 64, got 32"):
        TrainingPlan(size=replace(TrainingPlan().size, features=32))


def test_the_fingerprint_is_of_what_a_run_depends_on():
    plan = TrainingPlan()
    assert replace(plan, seeds=(7,), models=("osdn",), learning_rates=(0.5,)).fingerprint == plan.fingerprint
    for changes in (
        {"steps": 1},
        {"batch": 3},
        {"warm_up": 0.1},
        {"betas": (0.9, 0.999)},
        {"task": replace(plan.task, keys=66)},
        {"test": 5, "captured": 5},
    ):
        assert replace(plan, **changes).fingerprint != plan.fingerprint
    assert training.fingerprint(plan, plan.tuning_jobs()[0]) != training.fingerprint(
        plan, plan.tuning_jobs()[1]
    )
