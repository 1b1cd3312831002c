"""Fields of a JSON object that somebody else wrote, each checked as it is taken out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array


@dataclass(frozen=True)
class Fields:
    """A JSON object and where it stands, such as ``claims[3]``.

    Every method raises ValueError with that place, what was expected and what came.
    """

    value: Any
    where: str = "document"

    def __post_init__(self) -> None:
        if not isinstance(self.value, dict):
            raise ValueError(f"{self.where}: expected an object, got {_named(self.value)}")

    def text(self, name: str, among: Sequence[str] = ()) -> str:
        value: str = self._get(name, str, "text")
        if among and value not in among:
            raise ValueError(f"{self.where}.{name}: expected one of {', '.join(among)}, got {value!r}")
        return value

    def flag(self, name: str) -> bool:
        value: bool = self._get(name, bool, "true or false")
        return value

    def count(self, name: str) -> int:
        """An integer that is at least 0."""
        value: int = self._get(name, int, "an integer >= 0")
        if isinstance(value, bool) or value < 0:
            raise ValueError(f"{self.where}.{name}: expected an integer >= 0, got {value!r}")
        return value

    def number(self, name: str) -> float:
        value = self._get(name, (int, float), "a number")
        if isinstance(value, bool):
            raise ValueError(f"{self.where}.{name}: expected a number, got {value!r}")
        return float(value)

    def extended(self, name: str) -> float:
        """A number, or one of the texts "inf", "-inf" and "nan", see `osdn_theory.base.jsonable`."""
        return _extended(self._get(name, (int, float, str), "a number"), f"{self.where}.{name}")

    def array(self, name: str, ndim: int) -> Array:
        """Numbers in lists, nested `ndim` deep, all of one length at each depth."""
        where = f"{self.where}.{name}"
        values = _numbers(self._get(name, list, "a list"), where)
        try:
            array = np.asarray(values, dtype=np.float64)
        except ValueError:
            raise ValueError(f"{where}: expected lists of one length") from None
        if array.ndim != ndim:
            raise ValueError(f"{where}: expected lists nested {ndim} deep, got {array.ndim}")
        return array

    def lacks(self, name: str) -> bool:
        """Whether a field that may be null is null."""
        return self._get(name, object, "anything") is None

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._get(name, list, "a list of texts")
        for position, value in enumerate(values):
            if not isinstance(value, str):
                raise ValueError(f"{self.where}.{name}[{position}]: expected text, got {_named(value)}")
        return tuple(values)

    def table(self, name: str) -> dict[str, str]:
        """An object whose values are texts."""
        values = self.inside(name).value
        for key, value in values.items():
            if not isinstance(value, str):
                raise ValueError(f"{self.where}.{name}.{key}: expected text, got {_named(value)}")
        return dict(values)

    def inside(self, name: str) -> Fields:
        return Fields(self._get(name, dict, "an object"), f"{self.where}.{name}")

    def each(self, name: str) -> Iterator[Fields]:
        for position, value in enumerate(self._get(name, list, "a list of objects")):
            yield Fields(value, f"{self.where}.{name}[{position}]")

    def _get(self, name: str, kind: type | tuple[type, ...], expected: str) -> Any:
        if name not in self.value:
            raise ValueError(f"{self.where}: {name!r} is missing")
        value = self.value[name]
        if not isinstance(value, kind):
            raise ValueError(f"{self.where}.{name}: expected {expected}, got {_named(value)}")
        return value


def _extended(value: Any, where: str) -> float:
    if isinstance(value, str) and value in ("inf", "-inf", "nan"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where}: expected a number, got {value!r}")
    return float(value)


def _numbers(value: Any, where: str) -> Any:
    if isinstance(value, list):
        return [_numbers(entry, where) for entry in value]
    return _extended(value, where)


def _named(value: Any) -> str:
    return "null" if value is None else type(value).__name__
