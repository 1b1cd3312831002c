"""The model of rounding that a kernel declares of itself, read from plain data (T18).

What a kernel computes in which order and precision stands beside the kernel, as a dict from the dtype of its inputs to
the fields of a `KernelModel`: formats by their names, everything else as it is::

    kernel.numerics = {"bfloat16": {"order": "chunk", "inputs": "bfloat16", "storage": "bfloat16", ...}}

A field left out has the model's default. A bound for the declared model holds for a kernel that does what it says.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from math import isfinite
from typing import Any, get_args

from osdn_theory.base.validation import require
from osdn_theory.rounding.formats import FORMATS, Format
from osdn_theory.rounding.models import KernelModel, Order

TF32_ALLOWED = "float32, tf32"
"""The entry that takes the place of "float32" where float32 products may be rounded to TF32."""

ENTRIES = ("float32", TF32_ALLOWED, "bfloat16", "float16", "float64")


def declared_model(numerics: Any, dtype: str, *, tf32: bool = False) -> KernelModel | None:
    """What a kernel declares for inputs of a dtype; None where it declares nothing.

    - `numerics`, mapping of str to (mapping or None): By dtype: the fields of `KernelModel` as plain data.
    - `tf32`: Whether float32 products may use TF32: an entry "float32, tf32" then takes the place of "float32".
    """
    require(isinstance(numerics, Mapping), f"numerics: expected a mapping by dtype, got {numerics!r}")
    for key in numerics:
        require(key in ENTRIES, f"numerics: unknown entry {key!r}, expected {_listed(ENTRIES)}")
    entry = TF32_ALLOWED if tf32 and dtype == "float32" and TF32_ALLOWED in numerics else dtype
    declared = numerics.get(entry)
    return None if declared is None else _model(declared, entry)


def _model(declared: Any, entry: str) -> KernelModel:
    where = f"numerics[{entry!r}]"
    require(isinstance(declared, Mapping), f"{where}: expected a mapping of fields, got {declared!r}")
    types = {field.name: field.type for field in fields(KernelModel)}
    for name in declared:
        require(name in types, f"{where}: unknown field {name!r}, expected {_listed(types)}")
    require("order" in declared, f"{where}.order: missing, expected {_listed(get_args(Order))}")
    given = {name: _READERS[types[name]](f"{where}.{name}", value) for name, value in declared.items()}
    try:
        return KernelModel(**{"name": f"{given['order']}, {entry}, as declared", **given})
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None


def _order(where: str, value: Any) -> Any:
    known = get_args(Order)
    require(value in known, f"{where}: expected {_listed(known)}, got {value!r}")
    return value


def _format(where: str, value: Any) -> Format:
    known = isinstance(value, str) and value in FORMATS
    require(known, f"{where}: expected a format, {_listed(FORMATS)}, got {value!r}")
    return FORMATS[value]


def _flag(where: str, value: Any) -> bool:
    require(isinstance(value, bool), f"{where}: expected True or False, got {value!r}")
    return bool(value)


def _roundoff(where: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    require(
        number and isfinite(value) and 0 <= value < 1,
        f"{where}: expected a relative error, 0 <= x < 1, got {value!r}",
    )
    return float(value)


def _roundoff_or_none(where: str, value: Any) -> float | None:
    return None if value is None else _roundoff(where, value)


def _count(where: str, value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    require(whole, f"{where}: expected an integer >= 0, got {value!r}")
    return int(value)


def _text(where: str, value: Any) -> str:
    require(isinstance(value, str), f"{where}: expected a string, got {value!r}")
    return str(value)


_READERS: Mapping[Any, Callable[[str, Any], Any]] = {
    str: _text,
    Order: _order,
    Format: _format,
    bool: _flag,
    float: _roundoff,
    float | None: _roundoff_or_none,
    int: _count,
}
"""How a field is read, by the type that `KernelModel` gives it."""


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))
