"""Results of the in-context recall experiment: where they lie, and what is looked up in them."""

from collections.abc import Sequence
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import TypeVar

from osdn_theory.recall.document import FILE, RECALL, Mean, OverallRow, RecallSummary

BASELINE = "deltanet"
"""The model that the others are held against."""

PACKAGED = Path(str(resources.files("osdn_theory"))) / "data"
"""Where the results lie that are delivered with the package, ``recall_*.json``."""

Row = TypeVar("Row", bound=Mean)


def load(path: str | PathLike[str] | None = None) -> RecallSummary:
    """A summary of the recall experiment.

    - `path`: ``recall.json``, or a folder that holds it. Default: of those delivered with the package the last, which
      is of the largest models.

    Raises OSError: if there is no such file, or it cannot be read.
    Raises ValueError: if it is no such document, of another format, or contradicts itself: with the file and the
    place in it.
    """
    file = _packaged_file() if path is None else Path(path)
    return RECALL.read(file / FILE if file.is_dir() else file)[1]


def packaged_files(pattern: str = "recall_*.json") -> list[Path]:
    """The results delivered with the package, in the order of their names."""
    return sorted(PACKAGED.glob(pattern))


def _packaged_file() -> Path:
    files = packaged_files()
    if not files:
        raise FileNotFoundError(
            f"no recall result is delivered with this package ({PACKAGED}); make one by `{RECALL.remake}` and give its "
            "path"
        )
    return files[-1]


def labels(summary: RecallSummary) -> dict[str, str]:
    """What each model is called, in the order of the summary."""
    return {model.name: model.label for model in summary.models}


def overall(summary: RecallSummary, model: str, measure: str) -> OverallRow | None:
    """The entry of one model for one measure over all cells, or None where it was not measured."""
    rows = measured(summary.overall)
    return next((row for row in rows if (row.model, row.measure) == (model, measure)), None)


def measured(rows: Sequence[Row]) -> list[Row]:
    """The rows that have a mean."""
    return [row for row in rows if row.mean is not None]


def count_seeds(summary: RecallSummary) -> str:
    """How many seeds there are, ``5 seeds``."""
    count = len(summary.seeds)
    return f"{count} seed" if count == 1 else f"{count} seeds"
