"""Results of the in-context recall experiment: ``recall.json``, read and checked before anything is shown of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

from osdn_theory.base.fields import Fields
from osdn_theory.base.validation import require

SCHEMA = 1
FILE = "recall.json"
"""Name of a summary in the folder of its experiment."""

BASELINE = "deltanet"
"""The model that the others are held against."""

OUTCOMES = ("as predicted", "not as predicted")
LEVEL = 0.05
"""Of the tests that call a difference significant."""

PACKAGED = Path(str(resources.files("osdn_theory"))) / "data"
"""Where the results lie that are delivered with the package, ``recall_*.json``."""

Summary = Mapping[str, Any]


class SchemaError(ValueError):
    """A summary of another schema than this version reads."""


def load(path: str | PathLike[str] | None = None) -> dict[str, Any]:
    """A summary of the recall experiment, checked.

    Parameters
    ----------
    path : path, optional
        ``recall.json``, or a folder that holds it. Default: the result delivered with the package.

    Returns
    -------
    dict
        As `checked_summary` returns it.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If it is no JSON, of another schema, incomplete or contradicts itself: with the file and the place in it.
    """
    file = _packaged_file() if path is None else Path(path)
    file = file / FILE if file.is_dir() else file
    try:
        return checked_summary(json.loads(file.read_bytes(), parse_constant=_refuse))
    except SchemaError as error:
        raise SchemaError(f"{file}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: {error}") from None


def _refuse(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not JSON")


def packaged_files() -> list[Path]:
    """The results delivered with the package, in the order of their names."""
    return sorted(PACKAGED.glob("recall_*.json"))


def _packaged_file() -> Path:
    files = packaged_files()
    if not files:
        raise FileNotFoundError(
            f"no recall result is delivered with this package ({PACKAGED}); make one by "
            "`osdn-theory recall --preset cpu --out DIR` and give its path"
        )
    return files[0]


def checked_summary(value: Any) -> dict[str, Any]:
    """A decoded summary, once every part that is shown was checked.

    Parameters
    ----------
    value : decoded JSON

    Returns
    -------
    dict
        `value`. A mean that is null was not measured; null ends of an interval: of fewer than two seeds there is none.

    Raises
    ------
    SchemaError
        If its schema is not `SCHEMA`.
    ValueError
        With the place, what was expected and what came.
    """
    document = Fields(value, "summary")
    if document.count("schema") != SCHEMA:
        raise SchemaError(f"its schema is {document.count('schema')}, not {SCHEMA}")
    for name in ("preset", "command"):
        document.text(name)
    document.flag("complete")
    document.number("seconds")
    for name in ("environment", "task"):
        document.inside(name)
    document.array("seeds", 1)
    names = _check_models(document)
    for fields in document.each("accuracy"):
        _check_row(fields, names, ("statistic",), ("repeats", "pairs"))
        _check_difference(fields)
    for fields in document.each("distance"):
        _check_row(fields, names, (), ("repeats", "low", "high"), interval=("ci_low", "ci_high"))
    for fields in document.each("overall"):
        _check_row(fields, names, ("measure",), ())
        _check_difference(fields)
    for fields in document.each("ablations"):
        _check_row(fields, names, ("ablation",), ())
        _check_difference(fields)
    for fields in document.each("predictions"):
        for name in ("theorem", "statement", "measured"):
            fields.text(name)
        fields.text("outcome", OUTCOMES)
    document.texts("sentences")
    result: dict[str, Any] = document.value
    return result


def _check_models(document: Fields) -> set[str]:
    names = []
    for model in document.each("models"):
        names.append(model.text("name"))
        model.text("label")
        # Null as long as no run of the model is finished.
        for name, check in (
            ("parameters", model.count),
            ("rule", model.inside),
            ("learning_rate", model.number),
        ):
            if not model.lacks(name):
                check(name)
        for trial in model.each("tuning"):
            trial.number("learning_rate")
            trial.extended("validation")
    require(len(names) > 0, "summary.models: expected at least one")
    require(len(set(names)) == len(names), f"summary.models: expected different names, got {names}")
    return set(names)


def _check_row(
    fields: Fields,
    models: set[str],
    texts: Sequence[str],
    counts: Sequence[str],
    interval: tuple[str, str] = ("low", "high"),
) -> None:
    if fields.text("model") not in models:
        raise ValueError(f"{fields.where}.model: {fields.text('model')!r} is not among the models")
    for name in texts:
        fields.text(name)
    for name in counts:
        fields.count(name)
    _check_interval(fields, interval)


def _check_interval(fields: Fields, names: tuple[str, str]) -> None:
    """An interval holds its mean; there may be none, and where nothing was measured there is neither."""
    without = all(fields.lacks(name) for name in names)
    if fields.lacks("mean") and not without:
        raise ValueError(f"{fields.where}: an interval without a mean")
    mean = math.nan if fields.lacks("mean") else fields.number("mean")
    if without:
        return
    low, high = (fields.number(name) for name in names)
    if low > mean or mean > high:
        raise ValueError(f"{fields.where}: the interval {low:g} to {high:g} does not hold the mean {mean:g}")


def _check_difference(fields: Fields) -> None:
    if fields.lacks("difference"):
        return
    difference = fields.inside("difference")
    _check_interval(difference, ("low", "high"))
    tested = [difference.number(name) for name in ("p", "p_adjusted") if not difference.lacks(name)]
    if difference.flag("significant") and not (tested and tested[-1] <= LEVEL):
        raise ValueError(f"{difference.where}: called significant, which its p values do not say")


def labels(summary: Summary) -> dict[str, str]:
    """What each model is called, in the order of the summary."""
    return {model["name"]: model["label"] for model in summary["models"]}


def overall(summary: Summary, model: str, measure: str) -> dict[str, Any] | None:
    """The entry of one model for one measure over all cells, or None where it was not measured."""
    rows = measured(summary["overall"])
    return next((row for row in rows if (row["model"], row["measure"]) == (model, measure)), None)


def measured(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that have a mean."""
    return [row for row in rows if row["mean"] is not None]


def count_seeds(summary: Summary) -> str:
    """How many seeds there are, ``5 seeds``."""
    count = len(summary["seeds"])
    return f"{count} seed" if count == 1 else f"{count} seeds"
