"""The calls of a run on short sequences, to compile first: they launch the same variants of the same kernels."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

from . import machine, names, plan, shapes
from .calls import Call
from .measure import Task, calls_of
from .shapes import Shape

SHORT = 1024
"""Tokens per sequence: sixteen chunks, so that Triton specialises on the same divisibility as for longer ones."""


def calls(only: set[str], size: str) -> Iterator[Callable[[], object]]:
    """Everything that the rows of a run call."""
    for task in rows(only, size):
        for call in calls_of(task, machine.device()):
            yield partial(run, call)
        torch.cuda.empty_cache()


def run(call: Call) -> object:
    """Prepare a call and make it."""
    return call.prepare()()


def rows(only: set[str], size: str) -> list[Task]:
    """The rows of a run on short sequences, without those that launch the same kernels as another."""
    same = {names.MEMORY: names.BACKWARD, names.DECODE_GRAPH: names.DECODE_EAGER}
    tasks = [
        Task(same.get(task.measure, task.measure), short(task.shape))
        for task in plan.tasks(only, size, smoke=False, graphs=False)
    ]
    backward = {task.shape for task in tasks if task.measure == names.BACKWARD}
    return [
        task for task in dict.fromkeys(tasks) if task.measure != names.FORWARD or task.shape not in backward
    ]


def short(shape: Shape) -> Shape:
    if shape.length == 1:
        return replace(shape, tokens=min(shape.tokens, shapes.DECODE_BATCHES[0]))
    return replace(shape, tokens=shape.batch * SHORT, length=SHORT)
