"""The in-context recall experiment on the page: the summaries in the report folder, or else the packaged ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from osdn_theory.recall.data import FILE, SchemaError, Summary, checked_summary, packaged_files
from osdn_theory.report.documents import Document, StaleError, read_document

CAPTIONS: Mapping[str, str] = {
    "accuracy": "Accuracy against the number of pairs, by key statistic and reading. Points of one number of pairs are "
    "moved apart a little, so that their intervals can be told apart.",
    "residual-ratios": "Token and recall residual ratio of every model; the dashed line is DeltaNet's.",
    "differences": "Accuracy minus DeltaNet's, paired by seed. A filled marker is significant, an open one is not.",
    "distance": "Accuracy against the number of tokens between the last write of a pair and its query.",
}
"""What to see in each figure of `osdn_theory.plotting.recall_figures`."""


@dataclass(frozen=True)
class RecallRun:
    """One experiment.

    Attributes
    ----------
    summary : dict
        As `osdn_theory.recall.data.checked_summary` returns it.
    packaged : bool
        Whether it was delivered with the package instead of made in the report folder.
    """

    summary: Summary
    packaged: bool = False

    @property
    def made_by(self) -> str:
        return str(self.summary["environment"].get("osdn", ""))

    @property
    def missed(self) -> int:
        """How many predictions did not come out."""
        return sum(row["outcome"] == "not as predicted" for row in self.summary["predictions"])


def read_recalls(folder: Path) -> list[Document[RecallRun]]:
    """The summaries in a report folder, in the order of their names; where there are none, those of the package."""
    found = [_read(path, str(path.relative_to(folder))) for path in sorted(folder.rglob(FILE))]
    return found or [_packaged(path) for path in packaged_files()]


def _read(path: Path, name: str) -> Document[RecallRun]:
    return read_document(path, parse_recall, name=name, made_from=None)


def _packaged(path: Path) -> Document[RecallRun]:
    document = _read(path, f"osdn_theory/data/{path.name}")
    if document.content is None:
        return document
    # When it was installed says nothing of when it was made.
    return replace(document, written="", content=replace(document.content, packaged=True))


def parse_recall(value: Any) -> RecallRun:
    """The summary as an object.

    Raises
    ------
    StaleError
        If it is of another schema.
    ValueError
        If it is not what it should be, or contradicts itself.
    """
    try:
        return RecallRun(checked_summary(value))
    except SchemaError as error:
        raise StaleError(str(error)) from None


def contents(documents: Sequence[Document[RecallRun]]) -> list[RecallRun]:
    """The experiments of all documents that were read."""
    return [each.content for each in documents if each.content]


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
