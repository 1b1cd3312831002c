"""What was measured, kept on disk after every row so that a killed run loses nothing."""

import csv
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ...launch.files import write_whole
from ..operators.floors import Ceilings, Work
from ..shapes import Shape

MEASURED = "measured"


@dataclass(frozen=True)
class Sample:
    """One repetition's median and its 0.2 and 0.8 quantiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Record:
    """One provider in one row. `value` is milliseconds, or bytes where `measure` is memory; NaN unless measured.

    `low` and `high` are the outermost 0.2 and 0.8 quantiles of all repetitions.
    """

    measure: str
    provider: str
    shape: Shape
    status: str = MEASURED
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    repetitions: int = 0
    work: Work | None = None

    @property
    def measured(self) -> bool:
        return self.status == MEASURED

    @property
    def failed(self) -> bool:
        return self.status.startswith("failed")

    @property
    def row(self) -> tuple[str, Shape]:
        """What providers are compared within."""
        return self.measure, self.shape

    def fields(self, ceilings: Ceilings | None) -> dict[str, Any]:
        """Flat, for CSV and JSON; None where there is nothing to say."""
        line: dict[str, Any] = {
            "measure": self.measure,
            "provider": self.provider,
            **self.shape.fields(),
            "status": self.status,
            "unit": "bytes" if self.measure == "memory" else "ms",
            **{name: _number(getattr(self, name)) for name in ("value", "low", "high")},
            "repetitions": self.repetitions,
        }
        return {**line, **self._against_floors(ceilings)}

    def _against_floors(self, ceilings: Ceilings | None) -> dict[str, float | None]:
        names = [
            "floor_bytes", "floor_operations", "floor_bytes_ms", "floor_operations_ms", "over_floor",
            "bytes_per_second", "operations_per_second",
        ]  # fmt: skip
        if self.work is None or ceilings is None or not self.measured:
            return dict.fromkeys(names)
        seconds = self.value / 1e3
        values = [
            self.work.bytes,
            self.work.operations,
            1e3 * self.work.bytes / ceilings.bandwidth,
            1e3 * self.work.operations / ceilings.matrix_rate,
            self.value / self.work.floor_ms(ceilings),
            self.work.bytes / seconds,
            self.work.operations / seconds,
        ]
        return dict(zip(names, values, strict=True))


def combine(samples: list[Sample]) -> dict[str, Any]:
    """Fields of a record from the repetitions of one provider."""
    return {
        "value": median(s.median for s in samples),
        "low": min(s.low for s in samples),
        "high": max(s.high for s in samples),
        "repetitions": len(samples),
    }


@dataclass
class Results:
    """All records of a run and where they go."""

    folder: Path
    note: str
    environment: dict[str, Any]
    smoke: bool = False
    ceilings: Ceilings | None = None
    records: list[Record] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)

    def write(self, **more: Any) -> None:
        """results.json and results.csv, each replaced whole."""
        lines = [record.fields(self.ceilings) for record in self.records]
        ceilings = None if self.ceilings is None else vars(self.ceilings)
        document = {
            "note": self.note, "smoke": self.smoke, "environment": self.environment, "ceilings": ceilings,
            "records": lines, "not_run": self.not_run, **more,
        }  # fmt: skip
        write_whole(self.folder / "results.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
        self._write_csv(lines)

    def _write_csv(self, lines: list[dict[str, Any]]) -> None:
        target = self.folder / "results.csv"
        part = target.with_suffix(".part")
        with part.open("w", newline="") as file:
            file.write(f"# {self.note}\n")
            if lines:
                writer = csv.DictWriter(file, list(lines[0]))
                writer.writeheader()
                writer.writerows(lines)
        os.replace(part, target)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
