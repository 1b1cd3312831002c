"""A figure or a table of the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.tables import read_table
from osdn_theory.base.validation import require


@show_briefly
@dataclass(frozen=True, eq=False)
class Exhibit:
    """A figure or a table of the report, with the sentence that says what to see in it.

    - `name`: File name of the figure, without suffix: lower-case letters, digits, ``-`` and ``_``.
    - `title`, `caption`: Plain text; the caption states the numbers it speaks of.
    - `header`, `rows`: A table: column names, and rows of as many cells.
    - `data`: The numbers behind it, for results.json.

    Raises ValueError: if the name cannot be a file name, or a row does not fit the header.
    """

    name: str
    title: str
    caption: str
    figure: Figure | None = None
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain = self.name.replace("-", "").replace("_", "")
        require(
            plain.isalnum() and plain.isascii(),
            f"name: expected letters, digits, '-' and '_', got {self.name!r}",
        )
        for row in self.rows:
            require(
                len(row) == len(self.header),
                f"rows: expected {len(self.header)} cells, got {len(row)}: {row}",
            )


_TEXTS = read_table(Path(__file__).with_name("exhibits.toml"))


def make_exhibit(name: str, numbers: Mapping[str, Any], figure: Figure | None = None, **more: Any) -> Exhibit:
    """An exhibit whose title and caption `exhibits.toml` has, with the `numbers` that the caption speaks of."""
    text = _TEXTS[name]
    return Exhibit(name, text["title"], text["caption"].format(**numbers), figure, **more)
