"""Rows of a summary from the values of every seed: what writes them, and what redoes the tests of one that is read."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from osdn_theory.base.validation import require
from osdn_theory.recall.comparisons import Series, compared
from osdn_theory.recall.data import BASELINE
from osdn_theory.recall.document import AblationRow, CellRow, Compared, DistanceRow, OverallRow, SeedMean

Key = tuple[Any, ...]
Columns = Mapping[Key, Series]
"""Values by seed, under the fields that tell rows apart, the model first."""


def of_baseline(columns: Columns) -> Columns:
    """For other models: the series of DeltaNet in the same place, empty where it has none."""
    return {key: columns.get((BASELINE, *key[1:]), {}) for key in columns if key[0] != BASELINE}


def _own_d(columns: Columns) -> Columns:
    """For models with d replaced: the same model as trained."""
    trained = {name: series for (name, ablation), series in columns.items() if ablation == "none"}
    return {key: trained[key[0]] for key in columns if key[1] != "none" and key[0] in trained}


@dataclass(frozen=True)
class Part:
    """A kind of rows.

    - `keys`: The fields that tell its rows apart.
    - `references`: What each row is compared with.
    - `family`: Of a row; differences of one family are adjusted together.
    """

    row: type[SeedMean]
    keys: tuple[str, ...]
    references: Callable[[Columns], Columns]
    family: Callable[[Key], Any] = lambda key: None


PARTS: Mapping[str, Part] = {
    "accuracy": Part(CellRow, ("model", "statistic", "repeats", "pairs"), of_baseline),
    "distance": Part(DistanceRow, ("model", "repeats", "nearest", "farthest"), lambda columns: {}),
    "overall": Part(OverallRow, ("model", "measure"), of_baseline, family=lambda key: key[1]),
    "ablations": Part(AblationRow, ("model", "ablation"), _own_d),
}


def make_rows(part: Part, columns: Columns) -> tuple[Any, ...]:
    """The rows of a part of a summary, family by family."""
    families = {part.family(key): {} for key in columns}  # type: dict[Any, dict[Key, Series]]
    for key, series in columns.items():
        families[part.family(key)][key] = series
    return tuple(
        part.row(**dict(zip(part.keys, key, strict=True)), **_fields_of(part.row, row))
        for family in families.values()
        for key, row in compared(family, part.references(family)).items()
    )


def check_rows(summary: object, parts: Mapping[str, Part]) -> None:
    """Redo every interval and test from the values of the seeds, where those of a whole family are there."""
    for name, part in parts.items():
        rows: Sequence[SeedMean] = getattr(summary, name)
        keys = [tuple(getattr(row, field) for field in part.keys) for row in rows]
        without = {part.family(key) for key, row in zip(keys, rows, strict=True) if not row.by_seed}
        series = {
            key: row.series for key, row in zip(keys, rows, strict=True) if part.family(key) not in without
        }
        again = {tuple(getattr(row, field) for field in part.keys): row for row in make_rows(part, series)}
        for number, (key, row) in enumerate(zip(keys, rows, strict=True)):
            for field in _ESTIMATES if key in again else ():
                told, found = (_plain(getattr(each, field, None)) for each in (row, again[key]))
                require(
                    _agree(told, found),
                    f"{name}[{number}].{field}: {told} does not follow from its seeds, of which it is {found}",
                )


_ESTIMATES = ("mean", "low", "high", "difference")


def _fields_of(row: type[SeedMean], found: Compared) -> dict[str, Any]:
    wanted = {field.name for field in fields(row)}
    return {name: value for name, value in vars(found).items() if name in wanted}


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, float | int) else asdict(value)


def _agree(told: Any, found: Any) -> bool:
    if isinstance(told, dict) and isinstance(found, dict):
        return told.keys() == found.keys() and all(_agree(told[name], found[name]) for name in told)
    if told is None or found is None:
        return told is found
    return math.isclose(told, found, rel_tol=1e-9, abs_tol=1e-12)
