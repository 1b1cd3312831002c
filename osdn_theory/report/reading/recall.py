"""The in-context recall experiment on the page: the summaries in the report folder, or else the packaged ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from osdn_theory.recall.data import packaged_files
from osdn_theory.recall.document import FILE, RECALL, RecallSummary
from osdn_theory.report.reading.documents import PACKAGED, Document, read_document


def read_recalls(folder: Path) -> list[Document[RecallSummary]]:
    """The summaries in a report folder, in the order of their names; where there are none, those of the package."""
    found = [
        read_document(path, RECALL, name=str(path.relative_to(folder))) for path in sorted(folder.rglob(FILE))
    ]
    return found or [_read_packaged(path) for path in packaged_files()]


def _read_packaged(path: Path) -> Document[RecallSummary]:
    # When it was installed says nothing of when it was made.
    return replace(read_document(path, RECALL, name=f"{PACKAGED}{path.name}"), written="")


def count_missed(summary: RecallSummary) -> int:
    """How many predictions did not come out."""
    return sum(row.outcome == "not as predicted" for row in summary.predictions)


def facts(value: Mapping[str, Any]) -> dict[str, str]:
    """A JSON object as names and texts, whatever it holds."""
    return {name: _plain(entry) for name, entry in value.items()}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(entry)}" for name, entry in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else str(value)
