"""The files of a report folder, each written whole."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from osdn_theory.base.folders import ensure_writable, write_atomically
from osdn_theory.base.jsonable import to_json
from osdn_theory.base.validation import require
from osdn_theory.crosscheck.results import CrossCheck
from osdn_theory.plotting import crosscheck_curve, crosscheck_errors, recall_figures
from osdn_theory.report.checks import outcome
from osdn_theory.report.document import REPORT, report_document
from osdn_theory.report.exhibit import Exhibit
from osdn_theory.report.model import build_model
from osdn_theory.report.page import render

if TYPE_CHECKING:
    from osdn_theory.verification.run import Verification

MAX_FIGURES, MAX_WITH_CONTRADICTED = 12, 36
"""Kernel runs that are drawn, so that the page stays small where there is one run for each configuration."""


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
    model = build_model(verification, out, exhibits)
    images = {exhibit.name: png(exhibit.figure) for exhibit in exhibits if exhibit.figure is not None}
    kernel_images = {place: _kernel_figures(run) for place, run in _drawn(model.kernel_runs)}
    recall_images = [
        {name: png(figure) for name, figure in recall_figures(run).items()} for run in model.recall_runs
    ]
    _write_figures(out, images, "")
    for place, drawn in kernel_images.items():
        _write_figures(out, drawn, f"kernel-{place + 1}-")
    for place, drawn in enumerate(recall_images):
        _write_figures(out, drawn, f"recall-{place + 1}-")
    results = {**verification.as_dict(), "exhibits": {exhibit.name: exhibit.data for exhibit in exhibits}}
    write_atomically(out / "results.json", (to_json(results) + "\n").encode())
    REPORT.write(out / "report.json", report_document(model), verification.command)
    page = out / "index.html"
    write_atomically(page, render(model, images, kernel_images, recall_images).encode())
    return page


def _write_figures(out: Path, images: Mapping[str, bytes], prefix: str) -> None:
    for name, image in images.items():
        write_atomically(out / "figures" / f"{prefix}{name}.png", image)


def _drawn(runs: Sequence[CrossCheck]) -> list[tuple[int, CrossCheck]]:
    """The runs that get a figure, with their places: the first ones, and any that is contradicted."""
    wanted = [
        (place, run)
        for place, run in enumerate(runs)
        if place < MAX_FIGURES or outcome(run) == "contradicted"
    ]
    return wanted[:MAX_WITH_CONTRADICTED]


def _kernel_figures(run: CrossCheck) -> dict[str, bytes]:
    """What can be drawn of a run: errors that were compared token by token, and the decay where there is a memory."""
    figures = {}
    # A cross-check of gradients or of ratios alone has no errors to draw; they stand in its table.
    with suppress(ValueError):
        figures["errors"] = png(crosscheck_errors(run)[0])
    if run.curve is not None:
        figures["decay"] = png(crosscheck_curve(run)[0])
    return figures


def png(figure: Figure) -> bytes:
    """A figure as PNG at 200 dots per inch, on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, facecolor="white", bbox_inches="tight", pad_inches=0.1)
    return buffer.getvalue()
