"""The command ``python -m osdn_kernels.benchmarks``."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

WIDTH = 150
"""Of tables that go to a file or a pipe."""

ALL = "forward,backward,decode,scan,memory"
NO_GPU = (
    "no CUDA device is present: --smoke runs the harness, tiny, in Triton's interpreter and measures nothing; "
    "measurements need a GPU"
)


class Shapes(StrEnum):
    small = "small"
    full = "full"


@app.command()
def benchmark(
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Tiny shapes; without a GPU in the interpreter.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("benchmark"),
    only: Annotated[str, typer.Option("--only", help=f"Comma-separated parts of {ALL}.")] = ALL,
    shapes: Annotated[Shapes, typer.Option("--shapes", help="Which grid of shapes.")] = Shapes.full,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.0, help="End after this, with what has been measured.")
    ] = 540.0,
    ahead: Annotated[
        bool, typer.Option(help="Compile everything first, in threads, for at most half of the time.")
    ] = True,
    osla: Annotated[
        Path | None,
        typer.Option(
            "--osla", help="Checkout of the authors' repository, whose operators are then measured."
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also write kernels.md: time per kernel.")
    ] = False,
) -> None:
    """Measure time, memory, scan share and decoding, in every regime of the scan, beside flash-linear-attention.

    Exit code: 0 done, goals met or not; 1 a provider of ours failed; 2 bad usage or no GPU.
    """
    parts = [part.strip() for part in only.split(",")]
    unknown = [part for part in parts if part not in ALL.split(",")]
    if unknown:
        raise typer.BadParameter(f"--only: {unknown[0]!r} is none of {ALL}")
    for name, folder in (("--out", out), ("--osla", osla)):
        if folder is not None and folder.exists() and not folder.is_dir():
            raise typer.BadParameter(f"{name}: {folder} is not a folder")
    if osla is not None and not (osla / "fla").is_dir():
        raise typer.BadParameter(f"--osla: {osla} has no folder fla")
    choose_device(smoke)

    from rich.console import Console

    from . import names
    from .run import run

    results = run(
        out,
        set(parts),
        shapes.value,
        seconds,
        smoke=smoke,
        profile=profile,
        ahead=ahead,
        checkout=osla,
        console=Console(width=WIDTH if not sys.stdout.isatty() else None),
    )
    broken = [r for r in results.records if r.failed and r.provider.startswith(names.MINE)]
    for record in broken:
        typer.echo(f"{record.measure}: {record.shape.label}: {record.provider}: {record.status}", err=True)
    if broken:
        raise typer.Exit(1)


def choose_device(smoke: bool) -> None:
    """The interpreter for a smoke run without a GPU. Triton reads the variable when it is first imported."""
    import torch

    interpreted = os.environ.get("TRITON_INTERPRET", "0") == "1"
    if torch.cuda.is_available() and not interpreted:
        return
    if not smoke:
        raise typer.BadParameter(NO_GPU)
    os.environ["TRITON_INTERPRET"] = "1"
