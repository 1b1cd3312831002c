"""The run: rows one after the other until they or the time are used up, everything written after each."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
import triton
from rich.console import Console

from ..launch.files import write_whole
from ..launch.precompile import precompile
from ..launch.tuning import quick_bench
from . import plan
from .measuring import ahead as compiled_ahead, machine
from .measuring.measure import Task, run_task
from .output import figures, tables
from .output.records import Record, Results
from .output.verdicts import GoalOutcome, judge

Measure = Callable[[Task, torch.device], list[Record]]

COMPILERS = 10
"""Processes that compile beside each other, at most: each takes up to seven GB of the GPU's memory."""

LAST = 20.0
"""Seconds kept for what is written at the end."""


class TimeUp(BaseException):
    """Raised in the main thread when a deadline passes; no `except Exception` stops it."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """`TimeUp` inside once `seconds` have passed, at the next of the main thread's instructions."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(
    folder: Path, only: set[str], size: str, seconds: float, *, smoke: bool, profile: bool, console: Console,
    measure: Measure = run_task, ahead: bool = True, checkout: Path | None = None,
) -> Results:  # fmt: skip
    """Measure, write and print, within `seconds`: the row that runs when they are nearly over is given up.

    On a GPU, and unless it is a smoke run, everything is compiled first if `ahead`, for at most half of the time.
    """
    started = time.monotonic()

    def left() -> float:
        return seconds - (time.monotonic() - started)

    folder.mkdir(parents=True, exist_ok=True)
    device = machine.device()
    results = Results(folder, machine.note(smoke=smoke), machine.environment(), smoke=smoke)
    console.print(results.note, markup=False, style="bold")
    on_gpu = device.type == "cuda"
    rows = plan.tasks(only, size, smoke=smoke, graphs=on_gpu, checkout=checkout)
    done: list[Task] = []
    try:
        with deadline(left() - min(LAST, seconds / 10)):
            if on_gpu:
                tune_alike()
            if on_gpu and ahead and not smoke:
                compile_rows(rows, seconds / 2, console)
            results.ceilings = machine.ceilings(device, smoke=smoke)
            for number, task in enumerate(rows):
                console.print(f"[{number + 1}/{len(rows)}] {task.label}, {left():.0f} s left", markup=False)
                results.records += measure(task, device)
                done.append(task)
                save(results, rows, done)
            if profile:
                from .measuring.profiling import write_profile

                write_profile(folder / "kernels.md", device, results.note, smoke=smoke)
    except TimeUp:
        console.print("the time is used up", style="bold")
    finally:
        save(results, rows, done)
    figures.draw_all(results)
    tables.show(console, results, verdicts_of(results))
    return results


def compile_rows(rows: list[Task], seconds: float, console: Console) -> None:
    """Compile what the rows launch, in processes: of what a compiler does in threads much waits for Python's lock."""
    started = time.monotonic()
    precompile(compiled_ahead.calls, rows, workers=min(COMPILERS, os.cpu_count() or 1), seconds=seconds)
    console.print(f"compiled in {time.monotonic() - started:.0f} s", markup=False)


def tune_alike() -> None:
    """Every autotuner that has no timer of its own, flash-linear-attention's, times configurations as ours do."""
    triton.runtime.driver.active.get_benchmarker = lambda: quick_bench


def verdicts_of(results: Results) -> list[GoalOutcome]:
    """A smoke run decides nothing."""
    return judge([] if results.smoke else results.records)


def save(results: Results, rows: list[Task], done: list[Task]) -> None:
    """All files but the figures."""
    results.not_run = [task.label for task in rows if task not in done]
    verdicts = verdicts_of(results)
    results.write(verdicts=[verdict.fields() for verdict in verdicts])
    write_whole(results.folder / "table.md", tables.markdown(results, verdicts))
