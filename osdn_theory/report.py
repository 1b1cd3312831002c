"""The report folder: one static HTML page, its figures, and every number as JSON."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from osdn_theory import __version__
from osdn_theory._folders import ensure_writable, write_atomically
from osdn_theory._validation import require
from osdn_theory.digest import digest, format_slack
from osdn_theory.jsonable import to_json
from osdn_theory.plotting._formula import formula_svg

if TYPE_CHECKING:
    from osdn_theory.verification import Verification


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A figure or a table of the report, with the sentence that says what to see in it.

    Parameters
    ----------
    name : str
        File name of the figure, without suffix: lower-case letters, digits, ``-`` and ``_``.
    title, caption : str
        Plain text; the caption states the numbers it speaks of.
    figure : Figure, optional
    header, rows : sequences of str, optional
        A table: column names, and rows of as many cells.
    data : mapping
        The numbers behind it, for results.json.

    Raises
    ------
    ValueError
        If the name cannot be a file name, or a row does not fit the header.
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


def write_report(
    verification: Verification, out_dir: str | Path, *, exhibits: Sequence[Exhibit] = ()
) -> Path:
    """Write ``index.html``, ``results.json`` and ``figures/*.png`` into a folder.

    Every file is written beside its place and renamed into it, the page last: a reader never sees half a
    file, and a page always finds its data. Other files in the folder are left alone.

    Parameters
    ----------
    verification : Verification
    out_dir : path
        Made if missing.
    exhibits : sequence of Exhibit
        Figures and tables for the page, in order; their names must differ.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OSError
        If the folder cannot be made or written.
    ValueError
        If two exhibits have one name.
    """
    names = [exhibit.name for exhibit in exhibits]
    require(len(set(names)) == len(names), f"exhibits: expected different names, got {names}")
    out = ensure_writable(out_dir)
    images = {exhibit.name: _png(exhibit.figure) for exhibit in exhibits if exhibit.figure is not None}
    for name, image in images.items():
        write_atomically(out / "figures" / f"{name}.png", image)
    results = {**verification.as_dict(), "exhibits": {exhibit.name: exhibit.data for exhibit in exhibits}}
    write_atomically(out / "results.json", (to_json(results) + "\n").encode())
    page = out / "index.html"
    write_atomically(page, render(verification, exhibits, images).encode())
    return page


def render(verification: Verification, exhibits: Sequence[Exhibit], images: Mapping[str, bytes]) -> str:
    """The page as text: no script, and nothing loaded from elsewhere.

    Parameters
    ----------
    verification : Verification
    exhibits : sequence of Exhibit
    images : mapping from exhibit name to PNG bytes
    """
    environment = Environment(
        loader=PackageLoader("osdn_theory"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["formula"] = formula_svg
    environment.filters["slack"] = format_slack
    encoded = {name: base64.b64encode(image).decode() for name, image in images.items()}
    return environment.get_template("report.html").render(
        digest=digest(verification.checks),
        verification=verification,
        streams=dict(verification.streams),
        exhibits=exhibits,
        images=encoded,
        version=__version__,
    )


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, facecolor="white")
    return buffer.getvalue()
