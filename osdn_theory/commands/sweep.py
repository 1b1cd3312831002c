"""The command ``osdn-theory sweep``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from osdn_theory.commands.console import INTERRUPTED
from osdn_theory.commands.options import JsonFlag, described, print_json

if TYPE_CHECKING:
    from osdn_theory.sweep.run import Progress, SweepPlan, SweepSummary

EXIT_CODES = (
    "Exit code: 0 done; 1 some cells failed, the next run tries them again; 2 bad usage or input; 130 interrupted, "
    "the same command goes on from there."
)
_MOST_ERRORS = 5

List = list[str] | None


@described
def sweep(
    stream: List = None,
    key_dim: List = None,
    value_dim: List = None,
    length: List = None,
    condition: List = None,
    eta: List = None,
    forgetting: List = None,
    anchor: List = None,
    box: List = None,
    precision: List = None,
    seeds: int | None = None,
    seed: int | None = None,
    grid: Path | None = None,
    out: Path = Path("sweep"),
    jobs: int | None = None,
    scheduler: str | None = None,
    mix_versions: bool = False,
    dry_run: bool = False,
    json: JsonFlag = False,
) -> None:
    """Measure OSDN on a grid of streams, rules and precisions; resumable, one Parquet table."""
    from osdn_theory.base.threads import cores
    from osdn_theory.sweep.local import WorkersLostError
    from osdn_theory.sweep.options import grid_of
    from osdn_theory.sweep.run import plan_sweep, run_sweep

    axes: dict[str, Any] = {
        "stream": stream,
        "key_dim": key_dim,
        "value_dim": value_dim,
        "length": length,
        "condition": condition,
        "eta": eta,
        "forgetting": forgetting,
        "anchor": anchor,
        "box": box,
        "precision": precision,
        "seeds": seeds,
        "seed": seed,
    }
    cells, processes = grid_of(axes, grid), jobs or cores()
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: {str(out)!r} is not a folder")
    if dry_run:
        _print_plan(plan_sweep(cells, out, jobs=processes, mix_versions=mix_versions), json)
        return
    try:
        with _bar() as progress:
            summary = run_sweep(
                cells, out, jobs=processes, scheduler=scheduler, mix_versions=mix_versions, progress=progress
            )
    except KeyboardInterrupt:
        typer.echo(
            f"interrupted: finished cells are saved in {str(out)!r}; the same command goes on from there",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    except WorkersLostError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    _print_summary(summary, json)
    if summary.failed:
        raise typer.Exit(1)


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr with the time left, gone when done; silent without a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress as Bar, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # Cells differ in size by orders: the speed is that of the whole run, in weight and not in cells.
    with Bar(
        *columns, console=console, transient=True, disable=not console.is_terminal, speed_estimate_period=1e9
    ) as bar:
        task = bar.add_task("starting", total=None)

        def update(now: Progress) -> None:
            bar.update(
                task,
                description=f"{now.done}/{now.total} cells",
                completed=now.weight_done,
                total=now.weight_total,
            )

        yield update


def _print_plan(plan: SweepPlan, json: bool) -> None:
    if json:
        print_json(plan)
        return
    typer.echo(
        f"{plan.cells} cells, {plan.finished} finished, {plan.to_compute} to compute: "
        f"about {_duration(plan.estimate_s)} on {plan.jobs} processes"
    )


def _print_summary(summary: SweepSummary, json: bool) -> None:
    if json:
        print_json(summary)
        return
    for warning in summary.warnings:
        typer.echo(f"warning: {warning}", err=True)
    for error in summary.errors[:_MOST_ERRORS]:
        typer.echo(f"failed: {error}", err=True)
    if len(summary.errors) > _MOST_ERRORS:
        typer.echo(f"and {len(summary.errors) - _MOST_ERRORS} other reasons, in the table", err=True)
    typer.echo(
        f"{summary.cells} cells: {summary.computed} computed in {_duration(summary.elapsed_s)}, "
        f"{summary.kept} kept, {summary.failed} failed"
    )
    typer.echo(f"written: {summary.table}")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 120 else f"{hours:.1f} h"
