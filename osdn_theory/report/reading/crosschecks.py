"""The cross-check documents of a report folder."""

from __future__ import annotations

from pathlib import Path

from osdn_theory.crosscheck.document import CROSSCHECK
from osdn_theory.crosscheck.examination.results import Examination
from osdn_theory.report.reading.documents import Document, read_document

PATTERN = "crosscheck*.json"
"""Name of such documents, in the report folder and in folders inside it, one for each kernel."""


def read_crosschecks(folder: Path) -> list[Document[Examination]]:
    """The cross-check documents of a report folder, in the order of their names."""
    paths = sorted(folder.rglob(PATTERN))
    return [read_document(path, CROSSCHECK, name=str(path.relative_to(folder))) for path in paths]
