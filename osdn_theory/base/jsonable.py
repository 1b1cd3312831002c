"""Results as strictly valid JSON: no NaN or Infinity literals, which many parsers reject."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np

Getter = TypeVar("Getter", bound=Callable[..., object])

_STATED = "_is_stated"


def stated(getter: Getter) -> Getter:
    """Mark the function of a property of a dataclass: its value follows from the fields, and JSON states it as well."""
    setattr(getter, _STATED, True)
    return getter


@cache
def stated_properties(kind: type) -> Mapping[str, Callable[..., Any]]:
    """Name and function of every property of a class, inherited ones included, that is marked by :func:`stated`."""
    members = {name: member for base in reversed(kind.__mro__) for name, member in vars(base).items()}
    getters = {name: each.fget for name, each in members.items() if isinstance(each, property) and each.fget}
    return {name: getter for name, getter in getters.items() if hasattr(getter, _STATED)}


@cache
def array_fields(kind: type) -> frozenset[str]:
    """Names of the fields of a dataclass that are arrays."""
    return frozenset(name for name, hint in get_type_hints(kind).items() if "ndarray" in str(hint))


def jsonable(value: Any, *, arrays: bool = True) -> Any:
    """`value` made of dicts, lists, strings, numbers and None only.

    Infinities become the strings ``"inf"`` and ``"-inf"``, NaN becomes ``"nan"``; arrays become nested lists,
    dataclasses become dicts of their fields and `stated` properties, tuples and sets (sorted) become lists. Without
    `arrays` the `array_fields` of dataclasses are left out.

    Raises TypeError: for anything else, naming its type.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(float(value))
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        kept = [
            field.name for field in fields(value) if arrays or field.name not in array_fields(type(value))
        ]
        names = (*kept, *stated_properties(type(value)))
        return {name: jsonable(getattr(value, name), arrays=arrays) for name in names}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item, arrays=arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item, arrays=arrays) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(jsonable(item, arrays=arrays) for item in value)
    raise TypeError(f"value: cannot be written as JSON: {type(value).__name__}")


def to_json(value: Any) -> str:
    """`value` as an indented JSON document, by the rules of :func:`jsonable`."""
    return json.dumps(jsonable(value), indent=2, allow_nan=False, ensure_ascii=False)
