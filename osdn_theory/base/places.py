"""Where in a batch something is, in words."""

from __future__ import annotations

from collections.abc import Sequence


def describe_index(index: Sequence[int]) -> str:
    """An index of the leading axes: "batch row 0, head 3"; a single one counts heads; "" where there is none."""
    axes = len(index)
    names = ("batch row", "head")[2 - axes :] if axes <= 2 else [f"axis {axis}" for axis in range(axes)]
    return ", ".join(f"{name} {at}" for name, at in zip(names, index, strict=True))


def describe_place(stream: str, index: Sequence[int]) -> str:
    """A stream and an index of its leading axes: "mqar, head 3"."""
    return ", ".join(part for part in (stream, describe_index(index)) if part)
