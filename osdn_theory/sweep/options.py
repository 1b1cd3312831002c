"""A grid from what a person writes: lists in options, or a TOML file."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path
from typing import Any

from osdn_theory.base.names import split_names
from osdn_theory.sweep.grid import BOXES, Grid

Given = Mapping[str, Any]
"""Axis name -> items as text or as TOML values; a missing or None entry leaves the axis as it is."""


def grid_of(options: Given, file: Path | None = None) -> Grid:
    """The grid of a file with the options laid over it, axis by axis.

    - `options`: "key_dim" and so on -> list of texts, each of which may hold commas; "seeds" -> number of draws,
      "seed" -> the first of them.
    - `file`: TOML with the same names: ``key_dim = [16, 64]``, ``box = ["bounded", [0, 1e9]]``, ``seeds = 5``.

    Raises ValueError: for what is not a number, an unknown key, a file that is not TOML, or a grid that `Grid` refuses.
    Raises OSError: if the file cannot be read.
    """
    given = {**(_read(file) if file is not None else {})}
    given |= {name: value for name, value in options.items() if value is not None}
    first, count = _whole("seed", given.pop("seed", 0)), _whole("seeds", given.pop("seeds", 1))
    if count < 1:
        raise ValueError(f"seeds: expected at least 1, got {count}")
    axes: dict[str, Any] = {name: _axis(name, value) for name, value in given.items()}
    return Grid(**axes, seed=tuple(range(first, first + count)))


def _read(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise OSError(f"{file}: no such file") from None
    except ValueError as error:
        raise ValueError(f"{file}: not a TOML file: {error}") from error
    valid = [*_READERS, "seeds", "seed"]
    for name in content:
        if name not in valid:
            close = get_close_matches(name, valid, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{file}: unknown key {name!r}{hint} Valid: {', '.join(valid)}")
    return content


def _axis(name: str, value: Any) -> tuple[Any, ...]:
    items: Sequence[Any] = value if isinstance(value, list) else [value]
    texts = [part for item in items for part in (_split(item) if isinstance(item, str) else [item])]
    return tuple(dict.fromkeys(_READERS[name](name, part) for part in texts))


def _split(text: str) -> list[str]:
    return split_names([text]) or []


def _whole(name: str, item: Any) -> int:
    number = _number(name, item)
    if not number.is_integer():
        raise ValueError(f"{name}: expected a whole number, got {item!r}")
    return int(number)


def _number(name: str, item: Any) -> float:
    """A number, or a text that spells one: 0.5, 1e9, inf or 2/3."""
    try:
        if isinstance(item, bool):
            raise ValueError
        return float(Fraction(item)) if isinstance(item, str) and "/" in item else float(item)
    except (ValueError, TypeError, ZeroDivisionError):
        raise ValueError(f"{name}: expected a number, got {item!r}") from None


def _text(name: str, item: Any) -> str:
    if not isinstance(item, str):
        raise ValueError(f"{name}: expected a name, got {item!r}")
    return item


def _box(name: str, item: Any) -> tuple[float, float]:
    if isinstance(item, str) and item in BOXES:
        return BOXES[item]
    sides = item.split(":") if isinstance(item, str) else item
    if not isinstance(sides, list) or len(sides) != 2:
        raise ValueError(f"{name}: expected LOW:HIGH or one of {', '.join(BOXES)}, got {item!r}")
    return _number(name, sides[0]), _number(name, sides[1])


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "stream": _text,
    "key_dim": _whole,
    "value_dim": _whole,
    "length": _whole,
    "condition": _number,
    "eta": _number,
    "forgetting": _number,
    "anchor": _number,
    "box": _box,
    "precision": _text,
}
