"""The files of a report folder, each written whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from osdn_theory.base.folders import ensure_writable, write_atomically
from osdn_theory.base.jsonable import to_json
from osdn_theory.base.validation import require
from osdn_theory.report.document import REPORT, report_document
from osdn_theory.report.exhibit import Exhibit
from osdn_theory.report.model import ReportModel, build_model
from osdn_theory.report.page.pictures import draw_pictures
from osdn_theory.report.page.render import render

if TYPE_CHECKING:
    from osdn_theory.verification.run import Selection, Verification


def write_report(
    verification: Verification, out_dir: str | Path, *, exhibits: Sequence[Exhibit] = ()
) -> Path:
    """Write ``index.html``, ``report.json``, ``results.json`` and ``figures/*.png`` into a folder.

    What ``osdn-theory prove`` and ``osdn-theory crosscheck`` left there, ``proofs.json`` and ``crosscheck*.json``,
    goes into the page. A document that is missing, broken, of another format or made by other code is said to be
    so, and counts for nothing. The in-context recall experiment is ``recall.json`` in the folder or a folder inside
    it; without one, the result delivered with the package.

    Every file is written beside its place and renamed into it, the page last: a reader never sees half a
    file, and a page always finds its data. Other files in the folder are left alone.

    - `out_dir`: Made if missing.
    - `exhibits`: Figures and tables for the page, in order; their names must differ.

    Returns the page.

    Raises OSError: if the folder cannot be made or written.
    Raises ValueError: if two exhibits have one name, or a part would take the place of a full report.
    """
    return write_model(build_model(verification, Path(out_dir), exhibits), out_dir)


def write_model(model: ReportModel, out_dir: str | Path) -> Path:
    """Write a model that was built from the same folder; all else as :func:`write_report` does."""
    names = [exhibit.name for exhibit in model.exhibits]
    require(len(set(names)) == len(names), f"exhibits: expected different names, got {names}")
    out = ensure_replaceable(out_dir, model.verification.selection)
    pictures = draw_pictures(model)
    for name, image in pictures.files():
        write_atomically(out / "figures" / f"{name}.png", image)
    exhibits = {exhibit.name: exhibit.data for exhibit in model.exhibits}
    results = {**model.verification.as_dict(), "exhibits": exhibits}
    write_atomically(out / "results.json", (to_json(results) + "\n").encode())
    REPORT.write(out / "report.json", report_document(model), model.verification.command)
    page = out / "index.html"
    write_atomically(page, render(model, pictures).encode())
    return page


def ensure_replaceable(out_dir: str | Path, selection: Selection) -> Path:
    """Make a folder, and refuse one whose full report a part would take the place of.

    Raises OSError: if the folder cannot be made or written.
    Raises ValueError: if it holds a report, `selection` is a part, and that report is not known to be one too.
    """
    out = Path(out_dir)
    if not selection.complete and any((out / name).exists() for name in ("index.html", "report.json")):
        try:
            part = json.loads((out / "report.json").read_bytes())["complete"] is False
        except (OSError, ValueError, TypeError, KeyError):
            part = False
        require(
            part,
            f"out: {str(out)!r} holds a full report, and a part must not take its place; its own folder would be "
            f"{str(selection.folder())!r}",
        )
    return ensure_writable(out)
