"""Tables that a notebook shows as Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

from osdn_theory.base.validation import require


class Table:
    """A table that notebooks show as Markdown; printed elsewhere it is the same Markdown as text.

    - `rows`, iterable of sequences: As many cells as the header. Floats are shown with four significant digits, truth
      values as yes and no.

    Raises ValueError: if a row does not fit the header.
    """

    def __init__(self, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        self.header = tuple(header)
        self.rows = [tuple(row) for row in rows]
        for row in self.rows:
            require(
                len(row) == len(self.header),
                f"rows: expected {len(self.header)} cells, got {len(row)}: {row}",
            )

    def __repr__(self) -> str:
        rule = ["---"] * len(self.header)
        shown = [[_shown(cell) for cell in row] for row in self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in [self.header, rule, *shown])

    def _repr_markdown_(self) -> str:
        return repr(self)


def _shown(cell: Any) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return str(cell).replace("|", r"\|")
