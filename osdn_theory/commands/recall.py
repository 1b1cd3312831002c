"""The command ``osdn-theory recall``."""

from __future__ import annotations

import os
from contextlib import nullcontext
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from osdn_theory.base.folders import hold_folder
from osdn_theory.base.source import command
from osdn_theory.commands.console import INTERRUPTED, print_table, progress_bar, split_names
from osdn_theory.commands.options import JsonFlag, described

if TYPE_CHECKING:
    from osdn_theory.recall.document import RecallSummary

TRAINERS = "osdn_theory.experiments"
"""Entry point group: experiment -> module with `make_plan` and `run`."""

EXIT_CODES = "Exit code: 0 done; 2 bad usage or input; 130 interrupted, the same command goes on from there."

List = list[str] | None


@described
def recall(
    preset: str = "smoke",
    out: Path = Path("recall"),
    model: List = None,
    learning_rate: List = None,
    seeds: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    pairs: List = None,
    heads: int | None = None,
    layers: int | None = None,
    key_dim: int | None = None,
    device: str | None = None,
    workers: int | None = None,
    tensorboard: bool = False,
    summary_only: bool = False,
    json: JsonFlag = False,
) -> None:
    """Train small models on in-context recall and measure their residual ratios, paired by seed against DeltaNet.

    Stop it at any time: the same command goes on. Under torchrun each model is trained data-parallel by all processes.
    """
    from osdn_theory.recall import measure_run

    if summary_only:
        _sum_up(out, json)
        return
    trainer = load_trainer("recall")
    plan = trainer.make_plan(
        preset,
        models=None if model is None else tuple(split_names(model) or ()),
        learning_rates=read_numbers("--learning-rate", learning_rate, float),
        seeds=seeds,
        steps=steps,
        batch=batch,
        pairs=read_numbers("--pairs", pairs, int),
        heads=heads,
        layers=layers,
        key_dim=key_dim,
    )
    leads = perform(
        trainer, plan, out, measure=measure_run, device=device, workers=workers, tensorboard=tensorboard
    )
    if leads:
        _sum_up(out, json)


def _sum_up(out: Path, json: bool) -> None:
    """Write the document and the figures of what is finished, and print the table."""
    from osdn_theory.recall import write_summary
    from osdn_theory.recall.document import FILE, RECALL

    summary = write_summary(out)
    files = _figures(summary, out)
    if json:
        typer.echo(RECALL.encode(summary, summary.command))
        return
    print_summary(summary)
    typer.echo("written: " + ", ".join(map(str, [out / FILE, *files])))


def load_trainer(experiment: str) -> Any:
    """The module with `make_plan` and `run` of an experiment."""
    found = tuple(entry_points(group=TRAINERS, name=experiment))
    if not found:
        raise ValueError("no trainer is installed: pip install -e '.[kernels]'")
    try:
        return found[0].load()
    except ImportError as error:
        raise ValueError(f"training needs torch ({error}): pip install -e '.[kernels]'") from error


def perform(trainer: Any, plan: Any, out: Path, **options: Any) -> bool:
    """Do what is left of an experiment, behind a progress bar; whether this process is the one to sum it up.

    Raises OSError: nothing can be written to `out`, or another command is at work there.
    Raises typer.Exit: it was interrupted.
    """
    first = os.environ.get("RANK", "0") == "0"  # of those that torchrun started
    try:
        with hold_folder(out, "experiment") if first else nullcontext(), progress_bar() as progress:
            leads: bool = trainer.run(plan, out, command=command(), progress=progress, **options)
            return leads
    except KeyboardInterrupt:
        typer.echo(f"interrupted: what is done is kept in {str(out)!r}; the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _figures(summary: RecallSummary, out: Path) -> list[Path]:
    from osdn_theory.plotting import save_figure
    from osdn_theory.plotting.recall import recall_figures

    figures = recall_figures(summary)
    return [path for name, figure in figures.items() for path in save_figure(figure, out / f"{name}.png")]


def read_numbers(option: str, given: List, kind: type) -> tuple[Any, ...] | None:
    """The numbers that an option was given, repeated or with commas; None for none."""
    names = split_names(given)
    try:
        return None if names is None else tuple(kind(name) for name in names)
    except ValueError:
        raise ValueError(f"{option}: expected numbers, got {', '.join(names or [])}") from None


def print_summary(summary: RecallSummary) -> None:
    """The models over all cells, the predictions of the theory beside what was measured, and the sentences."""
    from osdn_theory.recall.data import count_seeds
    from osdn_theory.recall.tables import model_table, prediction_table

    header, rows = model_table(summary)
    print_table(
        f"In-context recall, preset {summary.preset}: means over all cells and "
        f"{count_seeds(summary)}, 95 % intervals, differences paired by seed",
        header,
        rows,
    )
    header, rows = prediction_table(summary)
    if rows:
        print_table("What T15 and T19 predict", header, rows, left=header)
    for sentence in summary.sentences:
        typer.echo(sentence)
