"""The run: rows one after the other until they or the time are used up, everything written after each."""

import time
from collections.abc import Callable
from pathlib import Path

import torch
import triton
from rich.console import Console

from ..launch.files import write_whole
from ..launch.tuning import quick_bench
from . import figures, machine, plan, tables
from .measure import Task, run_task
from .records import Record, Results
from .verdicts import Verdict, judge

Measure = Callable[[Task, torch.device], list[Record]]


def run(
    folder: Path, only: set[str], size: str, seconds: float, *, smoke: bool, profile: bool, console: Console,
    measure: Measure = run_task, workers: int = 0,
) -> Results:  # fmt: skip
    """Measure, write and print. `seconds` is checked between rows: the one that runs is finished.

    On a GPU, and unless it is a smoke run, `workers` processes compile first.
    """
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    device = machine.device()
    if device.type == "cuda":
        tune_alike()
    results = Results(folder, machine.note(smoke=smoke), machine.environment(), smoke=smoke)
    console.print(results.note, markup=False, style="bold")
    if workers and device.type == "cuda" and not smoke:
        from ..launch.precompile import precompile
        from .short import calls

        count = precompile(calls, only, size, workers=workers, seconds=seconds / 2)
        console.print(f"compiled {count} variants in {time.monotonic() - started:.0f} s", markup=False)
    results.ceilings = machine.ceilings(device, smoke=smoke)
    rows = plan.tasks(only, size, smoke=smoke, graphs=device.type == "cuda")
    try:
        for number, task in enumerate(rows):
            if time.monotonic() - started >= seconds:
                break
            console.print(f"[{number + 1}/{len(rows)}] {task.label}", markup=False)
            results.records += measure(task, device)
            save(results, rows)
    finally:
        save(results, rows)
        figures.draw_all(results)
    if profile:
        from .profiling import write_profile

        write_profile(folder / "kernels.md", device, results.note, smoke=smoke)
    tables.show(console, results, verdicts_of(results))
    return results


def tune_alike() -> None:
    """Every autotuner that has no timer of its own, flash-linear-attention's, times configurations as ours do."""
    triton.runtime.driver.active.get_benchmarker = lambda: quick_bench


def verdicts_of(results: Results) -> list[Verdict]:
    """A smoke run decides nothing."""
    return judge([] if results.smoke else results.records)


def save(results: Results, rows: list[Task]) -> None:
    """All files but the figures."""
    done = {record.row for record in results.records}
    results.not_run = [task.label for task in rows if (task.measure, task.shape) not in done]
    verdicts = verdicts_of(results)
    results.write(verdicts=[verdict.fields() for verdict in verdicts])
    write_whole(results.folder / "table.md", tables.markdown(results, verdicts))
