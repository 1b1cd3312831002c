"""Results as strictly valid JSON: no NaN or Infinity literals, which many parsers reject."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np


def jsonable(value: Any) -> Any:
    """`value` made of dicts, lists, strings, numbers and None only.

    Infinities become the strings ``"inf"`` and ``"-inf"``, NaN becomes ``"nan"``; arrays become nested lists,
    dataclasses become dicts of their fields, tuples and sets (sorted) become lists.

    Raises
    ------
    TypeError
        For anything else, naming its type.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(jsonable(item) for item in value)
    raise TypeError(f"value: cannot be written as JSON: {type(value).__name__}")


def to_json(value: Any) -> str:
    """`value` as an indented JSON document, by the rules of :func:`jsonable`."""
    return json.dumps(jsonable(value), indent=2, allow_nan=False, ensure_ascii=False)
