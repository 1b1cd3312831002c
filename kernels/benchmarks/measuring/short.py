"""The calls of a run on short sequences, to compile first: they launch the same variants of the same kernels."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

import torch

from .. import names
from ..operators.calls import Call
from ..shapes import Shape
from . import machine
from .measure import Task, calls_of

SHORT = 1024
"""Tokens per sequence: sixteen chunks, so that kernels that specialise on divisibility do as for longer ones."""


def call_all(tasks: list[Task], seconds: float = math.inf) -> None:
    """Everything that rows call, once, none after `seconds`; what fails is left to the rows."""
    deadline = time.monotonic() + seconds
    # Else backward passes run, and compile, in a thread of PyTorch's.
    with torch.autograd.set_multithreading_enabled(False):
        for call in calls(tasks):
            if time.monotonic() > deadline:
                return
            with suppress(Exception):
                call()


def _launch(call: Call) -> None:
    call.prepare()()


def calls(tasks: list[Task]) -> Iterator[Callable[[], object]]:
    for task in rows(tasks):
        for call in calls_of(task, machine.device()):
            # What Triton does not compile would be run, and compiled one after the other, for other shapes.
            if call.provider != names.FLASH_QLA:
                yield partial(_launch, call)
        torch.cuda.empty_cache()


def rows(tasks: list[Task]) -> list[Task]:
    """Rows on short sequences, without those that launch the same kernels as another."""
    same = {
        names.MEMORY: names.BACKWARD,
        names.DECODE_GRAPH: names.DECODE_EAGER,
        names.FORWARD: names.BACKWARD,
    }
    measured = {task.measure for task in tasks}

    def shortened(task: Task) -> Task:
        stand_in = same.get(task.measure)
        measure = stand_in if stand_in in measured else task.measure
        return replace(task, measure=measure, shape=short(task.shape))

    return list(dict.fromkeys(map(shortened, tasks)))


def short(shape: Shape) -> Shape:
    if shape.length == 1:
        return shape
    return replace(shape, tokens=shape.batch * SHORT, length=SHORT)
