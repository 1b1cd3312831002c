"""The command ``osdn-theory train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osdn_theory.base.folders import ensure_writable
from osdn_theory.commands.console import print_table, split_names
from osdn_theory.commands.options import JsonFlag
from osdn_theory.commands.recall import EXIT_CODES as EXIT_CODES, List, load_trainer, perform, read_numbers

if TYPE_CHECKING:
    from osdn_theory.language.document import LanguageSummary


def train(
    preset: Annotated[
        str,
        typer.Option(
            help="smoke (under a minute), cpu (half an hour on one core), gpu or gpu-large (one GPU; 4 or 8 layers)."
        ),
    ] = "smoke",
    out: Annotated[
        Path, typer.Option(help="Folder of the experiment; one that exists is gone on with.")
    ] = Path("train"),
    corpus: Annotated[
        Path | None,
        typer.Option(help="Text: a file of --gather, or a folder of text files. Default: what is installed."),
    ] = None,
    gather: Annotated[
        Path | None,
        typer.Option(help="Only write the text that is installed to this file, and say what it is."),
    ] = None,
    model: Annotated[List, typer.Option(help="Only these models; repeat it or use commas.")] = None,
    learning_rate: Annotated[List, typer.Option(help="The grid that every model is tuned on.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of test seeds.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps of each run.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Sequences of a step.")] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Sequences whose gradients are formed at once; fewer need less memory."),
    ] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Layers.")] = None,
    hidden: Annotated[int | None, typer.Option(min=1, help="Features.")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Heads of each layer.")] = None,
    context: Annotated[int | None, typer.Option(min=1, help="Tokens of a training sequence.")] = None,
    vocabulary: Annotated[
        int | None, typer.Option(help="Tokens: 257 are bytes, more are BPE, trained on the text.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; the GPU by default if there is one.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs trained side by side; one by default.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard's event files.")
    ] = False,
    summary_only: Annotated[
        bool, typer.Option("--summary", help="Train nothing: sum up what is finished in --out.")
    ] = False,
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
    ensure_writable(out)
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
