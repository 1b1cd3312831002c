"""The experiment: tune every model, train the chosen ones from every seed, test them; resumable at any time."""

import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..launch.files import write_whole
from ..launch.processes import count_gpus
from .run_plan import PlannedRun, RunPlan
from .training.distributed import ALONE, Group, joined
from .training.loop import Tick, ignore, train
from .training.performing import Counter, Failures, Perform, Progress, in_order, side_by_side
from .training.rates import FAILED, RESULT, Search, search
from .training.tracking import board, require_tensorboard
from .validation import require

Measure = Callable[[Path], None]
"""Told the folder of each finished test run."""


def choose_device(device: str | None) -> str:
    """The one that was asked for; else the GPU if there is one."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Settings:
    """Where and how, but for what is computed. `workers` processes train beside each other, each with one thread."""

    device: str = "cpu"
    workers: int = 1
    tensorboard: bool = False


def run_experiment(
    plan: RunPlan,
    folder: Path,
    *,
    measure: Measure,
    settings: Settings = Settings(),
    command: str = "",
    progress: Progress = lambda what, done, total: None,
    prepare: Callable[[], None] = lambda: None,
) -> bool:
    """Do what is left of an experiment, and say whether this process is the one to sum it up.

    Under torchrun every run is trained by all processes together, data-parallel; otherwise `settings.workers` runs
    are trained side by side. `prepare` makes what they need beside the plan.

    Raises ValueError: if the folder holds another experiment, or the device is not there.
    A loss that is no finite number ends its run alone. Raises what else a run failed by, when all others are done; an
    OSError at once. The finished ones are kept.
    """
    device = available(settings.device)
    if settings.tensorboard:
        require_tensorboard()
    with joined(device) as group:
        if group.leads:
            claim(plan, folder, settings, command)
            prepare()
        group.wait()
        counter = Counter(plan.steps, plan.runs * plan.steps, progress)
        options = (plan, folder, measure, settings)
        if settings.workers == 1 or group.size > 1:
            performing = in_order(partial(run_here, options, group), counter, stop=group.size > 1)
        else:
            apart = partial(run_apart, options)
            performing = side_by_side(apart, counter, settings.workers, settings.device)
        with performing as perform:
            failures = perform_all(plan, folder, perform, counter)
        for error in failures.values():
            raise error
        return group.leads


Options = tuple[RunPlan, Path, Measure, Settings]


def perform_all(plan: RunPlan, folder: Path, perform: Perform, counter: Counter) -> Failures:
    """The runs of every phase. Models whose rates could not all be tried are not tested."""
    failures = perform(plan.tuning_jobs())
    while wider := [job for job in missing_trials(plan, folder) if job not in failures]:
        counter.total += len(wider) * plan.steps
        failures |= perform(wider)
    chosen = {
        model: found.best
        for model, found in searches(plan, folder).items()
        if found.best and not found.missing
    }
    return failures | perform(plan.testing_jobs(chosen))


def missing_trials(plan: RunPlan, folder: Path) -> list[PlannedRun]:
    return [job for found in searches(plan, folder).values() for job in found.missing]


def searches(plan: RunPlan, folder: Path) -> dict[str, Search]:
    """For the learning rate of each model."""
    return {model: search(plan, folder, model) for model in plan.models}


def run_apart(options: Options, job: PlannedRun, ticks: Any) -> None:
    run_job(job, *options, ALONE, lambda step: ticks.put((job.label, step)))


def run_here(options: Options, group: Group, job: PlannedRun, tick: Tick) -> None:
    run_job(job, *options, group, tick)


def run_job(
    job: PlannedRun, plan: RunPlan, folder: Path, measure: Measure, settings: Settings, group: Group = ALONE,
    tick: Tick = ignore,
) -> None:  # fmt: skip
    """Train, evaluate and measure one run, or the part of that which is missing.

    A loss that is no finite number, or a theorem that a layer violates, is what came of it, and ends it.
    """
    place = folder / job.folder
    if (place / FAILED).exists():
        return
    try:
        train_and_test(job, plan, place, settings, group, tick)
        if group.leads and job.role == "test" and not (place / "measures.json").exists():
            measure(place)
    except ArithmeticError as error:
        if group.size > 1:
            raise
        about = {"model": job.model, "learning_rate": job.learning_rate, "seed": job.seed, "role": job.role}
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / FAILED, json.dumps({**about, "reason": str(error)}, indent=1) + "\n")


def train_and_test(
    job: PlannedRun, plan: RunPlan, place: Path, settings: Settings, group: Group, tick: Tick
) -> None:
    if (place / RESULT).exists():
        return
    device = available(settings.device)
    events = place / "tensorboard" if settings.tensorboard and group.leads else None
    with board(events) as writer, untuned(device), fitting(plan, job, settings.device):
        model, seconds = train(plan, job, place, device, group, tick, writer)
        if group.leads:
            write_result(plan, job, place, model.eval(), seconds, settings.device)
    group.wait()


@contextmanager
def fitting(plan: RunPlan, job: PlannedRun, device: str) -> Iterator[None]:
    """Memory that runs out is bad input: it says which run and what to ask for instead."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and "DefaultCPUAllocator" not in str(error):
            raise
        raise ValueError(
            f"{job.label}: does not fit the memory of {device_name(device)}; ask for {plan.lesson.less_memory}"
        ) from error


def write_result(
    plan: RunPlan, job: PlannedRun, place: Path, model: Any, seconds: float, device: str
) -> None:
    """The file that says that the run is finished; written last."""
    document = {
        "model": job.model,
        "learning_rate": job.learning_rate,
        "seed": job.seed,
        "role": job.role,
        "parameters": model.trained_parameters,
        "steps": plan.steps,
        "seconds": seconds,
        "device": device_name(device),
        **plan.lesson.examine(plan, job, place, model, seconds),
    }
    write_whole(place / RESULT, json.dumps(document, indent=1, allow_nan=False) + "\n")


@contextmanager
def untuned(device: torch.device) -> Iterator[None]:
    """On a GPU no kernel is tuned."""
    if device.type == "cpu":
        yield
        return
    from .. import ops  # noqa: F401, defines the kernels
    from ..launch.tuning import untuned as kernels_untuned

    with kernels_untuned():
        yield


def claim(plan: RunPlan, folder: Path, settings: Settings, command: str) -> None:
    """Write plan.json, or check that the folder's own is of the same experiment."""
    path = folder / "plan.json"
    if path.exists():
        try:
            held = json.loads(path.read_text())["fingerprint"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{str(path)!r} is not the plan of an experiment: {error}") from error
        if held != plan.fingerprint:
            raise ValueError(
                f"the folder {str(folder)!r} holds an experiment of other sizes; choose another --out"
            )
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "fingerprint": plan.fingerprint,
        "command": command,
        **plan.document(),
        "environment": environment(settings),
    }
    write_whole(path, json.dumps(document, indent=1) + "\n")


def environment(settings: Settings) -> dict[str, Any]:
    return {
        "device": device_name(settings.device),
        "gpus": count_gpus(settings.device),
        "cores": os.cpu_count(),
        "workers": settings.workers,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def available(device: str) -> torch.device:
    """The device by name; "cuda" is the GPU of this process, which torchrun or its pool has chosen."""
    require(device in ("cpu", "cuda"), "device", "cpu or cuda", device)
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: no CUDA device is present; leave --device out to run on the CPU")
    return torch.device(device)


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {platform.machine()}"
