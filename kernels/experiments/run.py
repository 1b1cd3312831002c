"""The experiment: tune every model, train the chosen ones from every seed, test them; resumable at any time."""

import json
import os
import platform
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..launch.files import write_whole
from .run_plan import PlannedRun, RunPlan
from .training.distributed import ALONE, Group, joined
from .training.loop import Tick, ignore, train
from .training.tracking import board, require_tensorboard
from .validation import require

Measure = Callable[[Path], None]
"""Told the folder of each finished test run."""

Progress = Callable[[str, int, int], None]
"""(what, steps done, steps of all runs)"""

POLL_SECONDS = 0.5


def choose_device(device: str | None) -> str:
    """The one that was asked for; else the GPU if there is one."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Settings:
    """Where and how, but for what is computed. `workers` processes train beside each other, each on one thread."""

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
    Raises CheckpointError, OSError, FloatingPointError: of a run that failed; the finished ones are kept.
    """
    device = available(settings.device)
    if settings.tensorboard:
        require_tensorboard()
    with joined(device) as group:
        if group.leads:
            claim(plan, folder, settings, command)
            prepare()
        group.wait()
        counter = Counter(plan.runs * plan.steps, progress)
        perform = in_order if settings.workers == 1 or group.size > 1 else side_by_side
        options = (plan, folder, measure, settings)
        perform(plan.tuning_jobs(), options, group, counter)
        perform(plan.testing_jobs(chosen_rates(plan, folder)), options, group, counter)
        return group.leads


class Counter:
    """Steps of all runs, to a progress bar."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.progress = total, progress
        self.steps: dict[str, int] = {}

    def tick(self, label: str, step: int) -> None:
        self.steps[label] = step
        self.progress(label, sum(self.steps.values()), self.total)


Options = tuple[RunPlan, Path, Measure, Settings]


def in_order(jobs: list[PlannedRun], options: Options, group: Group, counter: Counter) -> None:
    plan, *_ = options
    for job in jobs:
        run_job(job, *options, group, partial(counter.tick, job.label))
        counter.tick(job.label, plan.steps)


def side_by_side(jobs: list[PlannedRun], options: Options, group: Group, counter: Counter) -> None:
    """In processes of their own; the first failure stops those that have not begun.

    None is forked, the one that holds the queue neither: pools have threads, and a fork may inherit their locks, held.
    """
    plan, *_, settings = options
    context = get_context("spawn")
    with context.Manager() as manager:
        ticks = manager.Queue()
        pool = ProcessPoolExecutor(settings.workers, mp_context=context, initializer=single_thread)
        with pool:
            futures = {pool.submit(run_apart, job, options, ticks): job for job in jobs}
            try:
                watch(futures, plan.steps, ticks, counter)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def watch(futures: dict[Future[None], PlannedRun], steps: int, ticks: Any, counter: Counter) -> None:
    left = set(futures)
    while left:
        done, left = wait(left, POLL_SECONDS, FIRST_EXCEPTION)
        for label, step in drained(ticks):
            counter.tick(label, step)
        for future in done:
            future.result()
            counter.tick(futures[future].label, steps)


def drained(ticks: Any) -> Iterator[tuple[str, int]]:
    while True:
        try:
            yield ticks.get_nowait()
        except queue.Empty:
            return


def single_thread() -> None:
    torch.set_num_threads(1)


def run_apart(job: PlannedRun, options: Options, ticks: Any) -> None:
    run_job(job, *options, ALONE, lambda step: ticks.put((job.label, step)))


def run_job(
    job: PlannedRun, plan: RunPlan, folder: Path, measure: Measure, settings: Settings, group: Group = ALONE,
    tick: Tick = ignore,
) -> None:  # fmt: skip
    """Train, evaluate and measure one run, or the part of that which is missing."""
    place, device = folder / job.folder, available(settings.device)
    if not (place / "result.json").exists():
        events = place / "tensorboard" if settings.tensorboard and group.leads else None
        with board(events) as writer, untuned(device), fitting(plan, job, settings.device):
            model, seconds = train(plan, job, place, device, group, tick, writer)
            if group.leads:
                write_result(plan, job, place, model.eval(), seconds, settings.device)
        group.wait()
    if group.leads and job.role == "test" and not (place / "measures.json").exists():
        measure(place)


@contextmanager
def fitting(plan: RunPlan, job: PlannedRun, device: str) -> Iterator[None]:
    """Memory that runs out is bad input: it says which run and what to ask for instead."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
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
    write_whole(place / "result.json", json.dumps(document, indent=1, allow_nan=False) + "\n")


@contextmanager
def untuned(device: torch.device) -> Iterator[None]:
    """On a GPU every kernel takes its first configuration: tuning for runs of seconds takes minutes."""
    if device.type == "cpu":
        yield
        return
    from .. import ops  # noqa: F401, defines the kernels
    from ..launch.forced import forced

    with forced({}):
        yield


def chosen_rates(plan: RunPlan, folder: Path) -> dict[str, float]:
    """The learning rate of each model whose mean validation is best; the smallest of equals."""
    found: dict[str, dict[float, list[float]]] = {}
    for job in plan.tuning_jobs():
        result = json.loads((folder / job.folder / "result.json").read_text())
        found.setdefault(job.model, {}).setdefault(job.learning_rate, []).append(result["validation"])
    return {
        model: plan.lesson.best(sorted(rates), key=lambda rate: np.mean(rates[rate]))
        for model, rates in found.items()
    }


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
        "cores": os.cpu_count(),
        "workers": settings.workers,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def available(device: str) -> torch.device:
    """The device by name, with the local one under torchrun."""
    require(device in ("cpu", "cuda"), "device", "cpu or cuda", device)
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: no CUDA device is present; leave --device out to run on the CPU")
    if device == "cuda":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device(device)


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {platform.machine()}"
