"""The table of every theorem on every stream, which two commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from osdn_theory.commands.console import print_table
from osdn_theory.report.summary import MARKS

if TYPE_CHECKING:
    from osdn_theory.verification.digest import Digest, Tally

STYLES = {
    "holds": "green",
    "violated": "bold red",
    "undecided": "bold yellow",
    "holds, vacuously": "dim",
    "not applicable": "dim",
}


def print_matrix(found: Digest) -> None:
    """One row per stream, one column per theorem."""
    names = [theorem.name for theorem in found.theorems]
    print_table(
        "Every theorem on every stream (✓ holds, ○ holds vacuously, ✗ violated, ? undecided, · not applicable)",
        ["stream", *names],
        ([stream, *(_mark(found.cells.get((name, stream))) for name in names)] for stream in found.streams),
    )


def _mark(cell: Tally | None) -> Text:
    return Text("") if cell is None else Text(MARKS[cell.outcome], style=STYLES[cell.outcome])
