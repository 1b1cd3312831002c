"""The columns of the table: what each one is, in which type, and what it means."""

from typing import Literal, NamedTuple

from osdn_theory.base.tables import read_table

Kind = Literal["string", "int64", "double"]


class Column(NamedTuple):
    """One column: its name, its Arrow type, and one line for the reader of the file."""

    name: str
    kind: Kind
    meaning: str


_OUTCOME = "holds; holds, vacuously; violated; undecided or not applicable; decided rigorously"

BOUNDS = {
    "T5": "interpolating regret",
    "T6": "super-geometric convergence",
    "T8": "agnostic regret",
    "T14": "tracking",
}
"""Theorems that are checked of every cell."""

_TABLE = {
    part: [Column(name, *row) for name, row in rows.items()] for part, rows in read_table(__file__).items()
}

IDENTITY = tuple(_TABLE["identity"])
MEASURES = (
    *_TABLE["measures"],
    *(
        column
        for theorem, title in BOUNDS.items()
        for column in (
            Column(f"{theorem}_outcome", "string", f"{title}: {_OUTCOME}"),
            Column(f"{theorem}_log10_slack", "double", "log10(right side / left side)"),
            Column(f"{theorem}_reason", "string", "why it does not apply, says nothing or stays undecided"),
        )
    ),
)

COLUMNS = (*IDENTITY, *MEASURES, *_TABLE["bookkeeping"])
"""All columns, in the order of the table."""
