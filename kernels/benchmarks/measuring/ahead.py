"""The calls of a run, to compile before any is measured: of the rows' own shapes, as kernels are compiled apart for
sequences that are long, or few, or whose states are held a part at a time."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

from .. import names
from ..operators.calls import Call
from ..shapes import THOUSAND, Shape
from . import machine
from .measure import Task, calls_of

MOST = 64 * THOUSAND
"""Tokens of a call at most: several processes compile beside each other, each with its own tensors."""

SAME = {names.MEMORY: names.BACKWARD, names.DECODE_GRAPH: names.DECODE_EAGER}
"""Measures that launch what another does."""


def calls(tasks: list[Task]) -> Iterator[Callable[[], object]]:
    for task in rows(tasks):
        for call in calls_of(task, machine.device()):
            # What Triton does not compile would be run, and compiled one after the other, for other shapes.
            if call.provider != names.FLASH_QLA:
                yield partial(_launch, call)
        torch.cuda.empty_cache()


def rows(tasks: list[Task]) -> list[Task]:
    """Without those that launch the same kernels as another."""
    measured = {task.measure for task in tasks}

    def compiled(task: Task) -> Task:
        stand_in = SAME.get(task.measure)
        measure = stand_in if stand_in in measured else task.measure
        return replace(task, measure=measure, shape=_smaller(task.shape))

    return list(dict.fromkeys(map(compiled, tasks)))


def _smaller(shape: Shape) -> Shape:
    return replace(shape, tokens=min(shape.tokens, max(MOST, shape.length)))


def _launch(call: Call) -> None:
    # Else backward passes run, and compile, in a thread of PyTorch's.
    with torch.autograd.set_multithreading_enabled(False):
        call.prepare()()
