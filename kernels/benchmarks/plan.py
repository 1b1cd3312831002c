"""Which rows, in which order."""

from pathlib import Path

from . import names, shapes
from .measuring.measure import Task
from .shapes import Shape

PARTS = {
    "forward": (names.FORWARD,),
    "backward": (names.BACKWARD,),
    "memory": (names.MEMORY,),
    "scan": (names.SCAN,),
    "decode": (names.DECODE_GRAPH, names.DECODE_EAGER),
}
"""What --only takes, and the measures that each stands for."""

FIRST = 4
"""Shapes that come before decoding: those of the goals."""


def tasks(
    only: set[str], size: str, *, smoke: bool, graphs: bool, checkout: Path | None = None
) -> list[Task]:
    """Most important first: the rows that are left when the time is used up matter least."""
    if smoke:
        grid, steps = shapes.SMOKE, shapes.decoding([2], 2, 16, 16)
    else:
        grid = shapes.full() if size == "full" else shapes.small()
        steps = shapes.decoding(shapes.DECODE_BATCHES, 16, 128, 128)
    wanted = [measure for part, measures in PARTS.items() if part in only for measure in measures]
    passes = [m for m in wanted if m in (names.FORWARD, names.BACKWARD)]
    rest = [m for m in wanted if m in (names.SCAN, names.MEMORY)]
    decode = [m for m in wanted if m in PARTS["decode"] and (graphs or m != names.DECODE_GRAPH)]
    return [
        *_rows(grid[:FIRST], passes),
        *_rows(steps, decode),
        *_rows(grid[:FIRST], rest),
        *[Task(measure, shape, True, checkout) for shape in grid[:FIRST] for measure in passes],
        *_rows(grid[FIRST:], [*passes, *rest]),
    ]


def _rows(grid: list[Shape], measures: list[str]) -> list[Task]:
    return [Task(measure, shape) for shape in grid for measure in measures]
