"""Training runs one after the other or in processes side by side, those that fail noted."""

import queue
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.managers import SyncManager
from typing import Any

from ...launch.processes import end_with_parent, pool_of
from ..run_plan import PlannedRun
from .loop import Tick

Progress = Callable[[str, int, int], None]
"""(what, steps done, steps of all runs)"""

Failures = dict[PlannedRun, Exception]
Perform = Callable[[list[PlannedRun]], Failures]
"""Do these runs, and say which failed."""

POLL_SECONDS = 0.5


class Counter:
    """Steps of all runs, to a progress bar."""

    def __init__(self, steps: int, total: int, progress: Progress) -> None:
        self.each, self.total, self.progress = steps, total, progress
        self.steps: dict[str, int] = {}

    def tick(self, label: str, step: int | None = None) -> None:
        """So many steps of a run are done; by default all."""
        self.steps[label] = self.each if step is None else step
        self.progress(label, sum(self.steps.values()), self.total)


@contextmanager
def in_order(
    run: Callable[[PlannedRun, Tick], None], counter: Counter, stop: bool = False
) -> Iterator[Perform]:
    """In this process; with `stop` the first failure is raised."""

    def perform(jobs: list[PlannedRun]) -> Failures:
        failures: Failures = {}
        for job in jobs:
            with noting(job, failures, stop):
                run(job, partial(counter.tick, job.label))
            counter.tick(job.label)
        return failures

    yield perform


@contextmanager
def side_by_side(
    run: Callable[[PlannedRun, Any], None], counter: Counter, workers: int, device: str = "cpu"
) -> Iterator[Perform]:
    """In the processes of a pool; `run`, which is pickled, puts what it would tell into a queue.

    None is forked, the one that holds the queue neither: pools have threads, and a fork may inherit their locks, held.
    """
    manager = SyncManager(ctx=get_context("spawn"))
    manager.start(end_with_parent)
    with manager:
        ticks = manager.Queue()
        with pool_of(workers, device) as pool:
            try:
                yield lambda jobs: watch({pool.submit(run, job, ticks): job for job in jobs}, ticks, counter)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def watch(futures: dict[Future[None], PlannedRun], ticks: Any, counter: Counter) -> Failures:
    failures: Failures = {}
    left = set(futures)
    while left:
        done, left = wait(left, POLL_SECONDS, FIRST_COMPLETED)
        for label, step in drained(ticks):
            counter.tick(label, step)
        for future in done:
            with noting(futures[future], failures):
                future.result()
            counter.tick(futures[future].label)
    return failures


def drained(ticks: Any) -> Iterator[tuple[str, int]]:
    while True:
        try:
            yield ticks.get_nowait()
        except queue.Empty:
            return


@contextmanager
def noting(job: PlannedRun, failures: Failures, stop: bool = False) -> Iterator[None]:
    """A run that fails is told, and stops the others only if a disk or the process itself is at fault."""
    try:
        yield
    except (OSError, BrokenProcessPool):
        raise
    except Exception as error:
        if stop:
            raise
        warnings.warn(f"{job.label}: {type(error).__name__}: {error}", stacklevel=2)
        failures[job] = error
