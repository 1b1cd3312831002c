"""Which rows, in which order."""

from . import names, shapes
from .measure import Task
from .shapes import Shape

PARTS = {
    "forward": (names.FORWARD,),
    "backward": (names.BACKWARD,),
    "memory": (names.MEMORY,),
    "scan": (names.SCAN,),
    "decode": (names.DECODE_EAGER, names.DECODE_GRAPH),
}
"""What --only takes, and the measures that each stands for."""

FIRST = 3
"""Shapes that come before decoding."""


def tasks(only: set[str], size: str, *, smoke: bool, graphs: bool) -> list[Task]:
    """Most important first: the rows that are left when the time is used up matter least."""
    if smoke:
        grid, steps = shapes.SMOKE, shapes.decoding([2], 2, 16, 16)
    else:
        grid = shapes.full() if size == "full" else shapes.small()
        steps = shapes.decoding(shapes.DECODE_BATCHES, 16, 128, 128)
    decode = [
        Task(measure, shape)
        for shape in steps
        for measure in PARTS["decode"]
        if "decode" in only and (graphs or measure != names.DECODE_GRAPH)
    ]
    wanted = [
        measure
        for part, measures in PARTS.items()
        if part in only and part != "decode"
        for measure in measures
    ]
    return [*_rows(grid[:FIRST], wanted), *decode, *_rows(grid[FIRST:], wanted)]


def _rows(grid: list[Shape], measures: list[str]) -> list[Task]:
    return [Task(measure, shape) for shape in grid for measure in measures]
