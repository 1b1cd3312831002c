"""The command ``osdn-theory train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from osdn_theory.base.folders import ensure_writable
from osdn_theory.commands.console import print_table, split_names
from osdn_theory.commands.options import JsonFlag, described
from osdn_theory.commands.recall import EXIT_CODES as EXIT_CODES, List, load_trainer, perform, read_numbers

if TYPE_CHECKING:
    from osdn_theory.language.document import LanguageSummary


@described
def train(
    preset: str = "smoke",
    out: Path = Path("train"),
    corpus: Path | None = None,
    gather: Path | None = None,
    model: List = None,
    learning_rate: List = None,
    seeds: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    micro_batch: int | None = None,
    layers: int | None = None,
    hidden: int | None = None,
    heads: int | None = None,
    context: int | None = None,
    vocabulary: int | None = None,
    device: str | None = None,
    workers: int | None = None,
    tensorboard: bool = False,
    summary_only: bool = False,
    json: JsonFlag = False,
) -> None:
    """Train small language models on text and measure what they recall, paired by seed against DeltaNet.

    Stop it at any time: the same command goes on. Under torchrun each model is trained data-parallel by all processes.
    """
    from osdn_theory.language.measures import measure_layers

    if summary_only:
        _sum_up(out, json)
        return
    trainer = load_trainer("train")
    if gather is not None:
        ensure_writable(gather.absolute().parent)
        _print_corpus(trainer.gather(gather), gather)
        return
    plan = trainer.make_plan(
        preset,
        models=None if model is None else tuple(split_names(model) or ()),
        learning_rates=read_numbers("--learning-rate", learning_rate, float),
        seeds=seeds,
        steps=steps,
        batch=batch,
        micro_batch=micro_batch,
        layers=layers,
        hidden=hidden,
        heads=heads,
        context=context,
        vocabulary=vocabulary,
    )
    leads = perform(
        trainer, plan, out, corpus=corpus, measure=measure_layers, device=device, workers=workers,
        tensorboard=tensorboard,
    )  # fmt: skip
    if leads:
        _sum_up(out, json)


def _sum_up(out: Path, json: bool) -> None:
    """Write the documents, the figure and the streams of what is finished, and print the table."""
    from osdn_theory.language.document import FILE, LANGUAGE, TABLE
    from osdn_theory.language.streams import write_streams
    from osdn_theory.language.summary import write_language_summary

    summary = write_language_summary(out)
    written = [out / FILE, out / TABLE, *write_streams(out, summary), *_figures(summary, out)]
    if json:
        typer.echo(LANGUAGE.encode(summary, summary.command))
        return
    _print_summary(summary)
    typer.echo("written: " + ", ".join(map(str, written)))


def _figures(summary: LanguageSummary, out: Path) -> list[Path]:
    from osdn_theory.plotting import language_figure, save_figure

    return list(save_figure(language_figure(summary), out / "train.png"))


def _print_corpus(about: dict[str, object], path: Path) -> None:
    sources: dict[str, dict[str, object]] = about["sources"]  # type: ignore[assignment]
    rows = [(name, *map(str, each.values())) for name, each in sources.items()]
    print_table("Text gathered", ("source", "licence", "documents", "bytes"), rows, left=("licence",))
    typer.echo(f"written: {path} ({path.stat().st_size / 1e6:.1f} MB)")


def _print_summary(summary: LanguageSummary) -> None:
    from osdn_theory.language.tables import overview

    header, rows = overview(summary)
    title = f"Language models, preset {summary.preset}: means over {len(summary.seeds)} seeds, 95 % intervals"
    print_table(title, header, rows)
    for sentence in summary.sentences:
        typer.echo(sentence)
