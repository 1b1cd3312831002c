"""Things in a few words: results in a line, the first line of an error, places in a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import accumulate, islice
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")

LONGEST_TEXT = 32
LONGEST_LINE = 200
MOST_ITEMS = 4


def show_briefly(cls: type[Result]) -> type[Result]:
    """Class decorator, above ``@dataclass``: `repr` becomes one line of at most 200 characters.

    Fields that are None are left out. An array is its dtype and shape, a nested result its class and name, a long
    collection the number of its entries.
    """
    cls.__repr__ = describe  # type: ignore[method-assign]
    return cls


def describe(result: Any) -> str:
    """The line that :func:`show_briefly` gives a dataclass."""
    values = ((field.name, getattr(result, field.name)) for field in fields(result))
    parts = [f"{name}={_shown(value)}" for name, value in values if value is not None]
    ends = accumulate((len(part) + 2 for part in parts), initial=len(type(result).__name__) + 2)
    shown = [part for part, end in zip(parts, islice(ends, 1, None), strict=True) if end < LONGEST_LINE]
    return f"{type(result).__name__}({', '.join(shown)}{', …' if len(shown) < len(parts) else ''})"


def first_line(error: BaseException) -> str:
    """The first line of what an error says; "" where it says nothing."""
    return next(iter(str(error).strip().splitlines()), "")


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}" if value.ndim else _shown(value[()].item())
    if isinstance(value, str):
        text = " ".join(value.split())
        return repr(text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…")
    if isinstance(value, float | int):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    if is_dataclass(value):
        name = getattr(value, "name", None)
        return f"{type(value).__name__}({_shown(name) if isinstance(name, str) else '…'})"
    if isinstance(value, Mapping):
        return f"{{{len(value)} entries}}"
    if isinstance(value, list | tuple | set | frozenset):
        simple = len(value) <= MOST_ITEMS and all(isinstance(item, int | float | str) for item in value)
        items = ", ".join(map(_shown, value)) if simple else f"{len(value)} entries"
        return f"({items})" if isinstance(value, tuple) else f"[{items}]"
    return type(value).__name__


def describe_index(index: Sequence[int]) -> str:
    """An index of the leading axes: "batch row 0, head 3"; a single one counts heads; "" where there is none."""
    axes = len(index)
    names = ("batch row", "head")[2 - axes :] if axes <= 2 else [f"axis {axis}" for axis in range(axes)]
    return ", ".join(f"{name} {at}" for name, at in zip(names, index, strict=True))


def describe_place(stream: str, index: Sequence[int]) -> str:
    """A stream and an index of its leading axes: "mqar, head 3"."""
    return ", ".join(part for part in (stream, describe_index(index)) if part)
