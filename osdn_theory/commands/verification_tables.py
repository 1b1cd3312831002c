"""What `verify` prints: the run on one screen, and on request every stream, statement and problem."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from osdn_theory.base.brief import describe_place
from osdn_theory.commands.console import print_table
from osdn_theory.commands.matrix import STYLES, print_matrix
from osdn_theory.report.headlines import headlines
from osdn_theory.report.summary import KINDS, MARKS, MarkedCell
from osdn_theory.verification.digest import SEVERITY, count_outcomes, format_slack

if TYPE_CHECKING:
    from osdn_theory.bounds.check import BoundCheck
    from osdn_theory.report.model import ReportModel
    from osdn_theory.report.summary import MatrixRow
    from osdn_theory.verification.digest import Digest, Tally

LINES = 36
"""At most so many are printed without `--details`, whatever was found; `make verify` has 40 with what it adds."""

TITLE = 20
"""Characters of a theorem's title, so that two theorems fit a line."""

HEADLINES, PROBLEMS = 4, 3
"""Lines of each kind; of more their number is told."""


def print_summary(model: ReportModel, page: Path | None) -> None:
    """Theorems by evidence, a verdict on each kind of evidence, the worst problems, and last what was not run."""
    print_table(
        "Theorems (✓ yes, ◐ in part, ✗ no, ? open, ○ vacuous, · not applicable, – none; counts: streams, kernel runs)",
        2 * ["theorem", "proved", "streams", "kernels", "slack"],
        _two_a_line([_matrix_row(row) for row in model.matrix]),
        left=["theorem", "proved", "streams", "kernels"],
    )
    lines = [f"{MARKS[line.kind]} {line.text}" for line in headlines(model)]
    _print_some(lines, HEADLINES)
    _print_some([_problem(check) for check in model.digest.problems], PROBLEMS)
    typer.echo(count_outcomes(model.digest))
    if page is not None:
        typer.echo(f"report: {page}")
    typer.echo(f"Not run: {'; '.join(model.not_run) or 'nothing'}.")


def _matrix_row(row: MatrixRow) -> list[str | Text]:
    return [
        f"{row.name} {_short(row.title)}",
        *(_mark(cell) for cell in (row.proved, row.streams, row.kernels)),
        format_slack(row.log10_slack),
    ]


def _two_a_line(rows: Sequence[list[str | Text]]) -> Iterator[list[str | Text]]:
    """The second half beside the first: one screen holds all theorems."""
    half = -(-len(rows) // 2)
    for left, right in zip_longest(rows[:half], rows[half:]):
        yield [*left, *(right or [""] * len(left))]


def print_details(found: Digest) -> None:
    """Every theorem on every stream, every statement with its counts, and every problem in full."""
    print_matrix(found)
    print_table(
        "Checks by statement; slack is log10(right side / left side)",
        ["statement", *SEVERITY, "smallest slack"],
        (
            [
                f"{theorem.name} {statement.title}",
                *(_count(outcome, statement.total) for outcome in SEVERITY),
                format_slack(statement.total.log10_slack),
            ]
            for theorem in found.theorems
            for statement in theorem.statements
        ),
    )
    for check in found.problems:
        typer.echo(_problem(check))


def _short(title: str) -> str:
    return title if len(title) <= TITLE else f"{title[: TITLE - 1].rstrip()}…"


def _mark(cell: MarkedCell) -> Text:
    return Text(f"{MARKS[cell.outcome]} {cell.detail}".rstrip(), style=STYLES[KINDS[cell.outcome]])


def _count(outcome: str, cell: Tally) -> Text:
    count = cell.counts.get(outcome, 0)
    return Text(str(count), style=STYLES[outcome] if count else "dim")


def _problem(check: BoundCheck) -> str:
    sides = f"{check.lhs} against {check.rhs}" if check.lhs is not None else ""
    where = f"{describe_place(check.stream, check.index)}, {check.rule}"
    return " ".join(
        f"{check.outcome}: {check.theorem} {check.title} on {where}: {sides} {check.reason}".split()
    )


def _print_some(lines: list[str], most: int) -> None:
    for line in lines if len(lines) <= most else lines[: most - 1]:
        typer.echo(line)
    if len(lines) > most:
        typer.echo(f"and {len(lines) - most + 1} more: --details, or the report")
