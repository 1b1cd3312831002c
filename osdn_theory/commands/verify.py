"""The command ``osdn-theory verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from osdn_theory.base.folders import ensure_writable
from osdn_theory.commands.console import known_names, note_unread, print_table, progress_bar
from osdn_theory.commands.matrix import STYLES, print_matrix
from osdn_theory.commands.options import JsonFlag, SeedOption, print_json

if TYPE_CHECKING:
    from osdn_theory.verification.digest import Cell
    from osdn_theory.verification.run import Verification


def verify(
    stream: Annotated[
        list[str] | None, typer.Option(help="Only this stream; repeat it or separate with commas.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Activations (safetensors or npz) to check; no other stream then, unless named."),
    ] = None,
    bounds: Annotated[list[str] | None, typer.Option(help="Only these theorems, such as T5,T6.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of every random stream.")] = 1,
    seed: SeedOption = 0,
    out: Annotated[Path, typer.Option(help="Report folder.")] = Path("report"),
    report: Annotated[bool, typer.Option(help="Write the report folder.")] = True,
    json: JsonFlag = False,
) -> None:
    """Check all bounds on all streams; print a table and write a report folder."""
    from osdn_theory.verification.run import BOUND_IDS, STREAM_NAMES, verify as run_verify

    streams = known_names("--stream", stream, STREAM_NAMES)
    theorems = known_names("--bounds", bounds, BOUND_IDS)
    if file is not None:
        note_unread(file)
    if report:
        # Found out now rather than after minutes of work.
        ensure_writable(out)
    with progress_bar() as progress:
        verification = run_verify(
            streams=streams, file=file, bounds=theorems, seeds=seeds, seed=seed, progress=progress
        )
        page = _write_report(verification, out, seed, file) if report else None
    if json:
        print_json(verification.as_dict())
    else:
        _print_verification(verification, page)
    raise typer.Exit(verification.exit_code)


def _write_report(verification: Verification, out: Path, seed: int, file: Path | None) -> Path:
    from osdn_theory.report import write_report
    from osdn_theory.report.gallery import exhibits

    return write_report(verification, out, exhibits=exhibits(verification, seed=seed, file=file))


def _print_verification(verification: Verification, page: Path | None) -> None:
    """The verdict: theorems by streams, the counts of every statement, and every problem in full."""
    from osdn_theory.verification.digest import digest, format_slack

    found = digest(verification.checks)
    print_matrix(found)
    outcomes = list(found.counts)
    print_table(
        "Checks by statement; slack is log10(right side / left side)",
        ["statement", *outcomes, "smallest slack"],
        (
            [
                f"{theorem.name} {statement.title}",
                *(_count(outcome, statement.total) for outcome in outcomes),
                format_slack(statement.total.log10_slack),
            ]
            for theorem in found.theorems
            for statement in theorem.statements
        ),
    )
    for check in found.problems:
        where = f"{check.stream}[{','.join(map(str, check.index))}], {check.rule}"
        sides = f"{check.lhs} against {check.rhs}" if check.lhs is not None else ""
        line = f"{check.outcome}: {check.theorem} {check.title} on {where}: {sides} {check.reason}"
        typer.echo(" ".join(line.split()))
    typer.echo(", ".join(f"{count} {outcome}" for outcome, count in found.counts.items()))
    if page is not None:
        typer.echo(f"report: {page}")


def _count(outcome: str, cell: Cell) -> Text:
    count = cell.counts.get(outcome, 0)
    return Text(str(count), style=STYLES[outcome] if count else "dim")
