"""Correctness on this machine: every configuration of every kernel against float64. ``python -m osdn_kernels.selftest``

Autotuning picks configurations by speed, and a miscompiled one is as fast as any other; so each of them runs here.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

from ..launch.files import write_whole

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

COLUMNS = ["kernel", "configuration", "problem", "quantity", "error", "allowed", "verdict"]
WIDTH = 150


@app.command()
def selftest(
    quick: Annotated[
        bool, typer.Option("--quick", help="The bfloat16 cases that reach every kernel, alone.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the findings to this file.")
    ] = None,
    problem: Annotated[
        str | None,
        typer.Option("--problem", help="Run this case once, tiny, unchecked: for compute-sanitizer."),
    ] = None,
    capability: Annotated[
        int | None,
        typer.Option(
            "--compile", help="Compile for this compute capability, 90 say, and run nothing: no GPU needed."
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", min=0, help="Processes on all GPUs; 0 takes one per core, at most 16."),
    ] = 0,
) -> None:
    """Compare every configuration of every kernel with float64: outputs and gradients, small and large grids.

    Exit code: 0 all right; 1 something is wrong; 2 bad usage.
    """
    workers = workers or min(16, os.cpu_count() or 1)
    started = time.monotonic()
    if capability is not None:
        found = compiled(capability, quick=quick, workers=workers)
    else:
        choose_device()
        if problem is not None:
            run_problem(problem)
            return
        from ..launch.runtime import INTERPRETED
        from .runs import run_all

        found = run_all(quick=quick, workers=1 if INTERPRETED else workers)
    findings = []
    for finding in found:
        findings.append(finding)
        write(json_file, findings, time.monotonic() - started, complete=False)
    seconds = time.monotonic() - started
    write(json_file, findings, seconds, complete=True)
    report(findings, seconds)
    if not findings or not all(finding.good for finding in findings):
        raise typer.Exit(1)


def write(file: Path | None, findings: list[Any], seconds: float, *, complete: bool) -> None:
    """All findings so far, so that a run that is killed loses none of them."""
    if file is None:
        return
    document = {
        "environment": environment(),
        "complete": complete,
        "seconds": seconds,
        "findings": [_plain(finding) for finding in findings],
    }
    write_whole(file, json.dumps(document, indent=1, allow_nan=False) + "\n")


def compiled(capability: int, *, quick: bool, workers: int) -> Iterator[Any]:
    """Findings of the compiler alone, for a GPU that need not be there."""
    if os.environ.get("TRITON_INTERPRET", "0") == "1":
        raise typer.BadParameter(
            "--compile: Triton's interpreter is on (TRITON_INTERPRET=1) and compiles nothing"
        )
    from ..machine_code.compiling import SHARED, compile_job, jobs

    if capability not in SHARED:
        raise typer.BadParameter(f"--compile: {capability} is none of {', '.join(map(str, SHARED))}")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(compile_job, jobs(capability, quick=quick))


def choose_device() -> None:
    """The interpreter where there is no GPU. Triton reads the variable when it is first imported."""
    import torch

    if os.environ.get("TRITON_INTERPRET", "0") != "1" and not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"
    if os.environ.get("TRITON_INTERPRET") == "1":
        typer.echo("No GPU is used: Triton's interpreter runs the first configuration of each kernel, tiny.")


def run_problem(name: str) -> None:
    """One case by name, with its sizes cut down."""
    from dataclasses import replace

    from .cases import CASES
    from .runs import run_once

    known = {case.name: case for case in CASES}
    if name not in known:
        raise typer.BadParameter(f"--problem: {name!r} is none of {', '.join(map(repr, known))}")
    case = known[name]
    lengths = (70, 1, 0, 33) if case.packed else (70, 70)
    launched = run_once(replace(case, lengths=lengths, key_dim=32, value_dim=32))
    typer.echo(f"{name}: ran {', '.join(launched)}; nothing was compared")


def report(findings: list[Any], seconds: float) -> None:
    """A table, worst last, and one line that sums it up."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*COLUMNS)
    for finding in sorted(findings, key=lambda finding: not finding.good):
        numbers = [f"{finding.error:.1e}", f"{finding.allowed:.1e}"] if finding.quantity else ["", ""]
        quantity = f"{finding.quantity} {finding.note}".strip()
        table.add_row(
            finding.kernel, finding.configuration, finding.case, quantity, *numbers, finding.verdict
        )
    console = Console(width=WIDTH)
    console.print(table)
    counts = ", ".join(
        f"{count} {verdict}" for verdict, count in Counter(f.verdict for f in findings).items()
    )
    console.print(f"{len(findings)} runs in {seconds:.0f} s: {counts}", markup=False)
    console.print(", ".join(f"{name} {value}" for name, value in environment().items()), markup=False)


def environment() -> dict[str, str]:
    import torch
    import triton

    from ..launch.runtime import INTERPRETED

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    if INTERPRETED:
        device = "Triton's interpreter"
    return {"device": device, "torch": torch.__version__, "triton": triton.__version__}


def _plain(finding: Any) -> dict[str, Any]:
    """JSON has no NaN and no infinity."""
    return {
        name: str(value) if isinstance(value, float) and not abs(value) < float("inf") else value
        for name, value in asdict(finding).items()
    }
