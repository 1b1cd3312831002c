"""Examine a kernel: put every exercise, say what would have been seen, and explain what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from osdn_theory.crosscheck.cases.case import DTYPES, Dtype
from osdn_theory.crosscheck.cases.problems import PosedStream
from osdn_theory.crosscheck.check import crosscheck, default_device, is_interpreted
from osdn_theory.crosscheck.evidence.limits import chunk_size_of, models_of
from osdn_theory.crosscheck.examination.exercises.draw import LARGE, SMALL, ExerciseSizes
from osdn_theory.crosscheck.examination.exercises.question import Question
from osdn_theory.crosscheck.examination.exercises.table import alone_and_together, find_unexercised, questions
from osdn_theory.crosscheck.examination.marking import (
    Marked,
    exercise_result,
    explain_answers,
    grade_beside,
    grade_gradients,
    mark,
    power_of,
)
from osdn_theory.crosscheck.examination.results import Examination, examined_alone
from osdn_theory.crosscheck.gradients.check import REFERENCE
from osdn_theory.crosscheck.invariance import Invariance, invariances, required
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import Kernel, KernelError, KernelRaised
from osdn_theory.crosscheck.kernel.configurations import crosscheck_configurations
from osdn_theory.crosscheck.kernel.registry import resolve
from osdn_theory.crosscheck.kernel.signature.recognition import recognise
from osdn_theory.crosscheck.results import CrossCheck
from osdn_theory.rounding import KernelModel

Progress = Callable[[str, int, int], None]


def examine(
    kernel: Kernel,
    *,
    dtype: Dtype | None = None,
    device: str | None = None,
    seed: int = 0,
    key_dim: int | None = None,
    value_dim: int | None = None,
    only: Sequence[str] | None = None,
    invariant: bool = True,
    require: Sequence[str] = (),
    gradients: bool = False,
    reference: Kernel | None = None,
    problems: Sequence[PosedStream] = (),
    progress: Progress | None = None,
    **options: Any,
) -> Examination:
    """Put every exercise that a kernel's signature admits, and hold the answers against float64.

    - `kernel`, `device`, `reference`, `options`: As for `crosscheck`.
    - `dtype`, "float32", "bfloat16" or "float16": Default: the first of these that the kernel takes.
    - `seed`: Of the exercises' numbers.
    - `key_dim`, `value_dim`: K and V of the exercises. Default: small on a CPU, larger on a GPU.
    - `only`: Names of exercises; default all.
    - `invariant`: Whether to hold the kernel against itself as well.
    - `require`: Invariances that must hold bit for bit.
    - `gradients`: Whether to compare gradients as well, on the first exercise, on those that switch or leave out what
      it passes (`marking.BESIDE`), and on the streams.
    - `problems`, sequence of (Stream, str, CalibrationRule): Streams that the theorems speak of, with the names of
      their rules.
    - `progress`: Called with (what, done, total).

    Raises KernelError: a kernel that raises, or returns something else than finite tensors of the right shapes.
    Raises TypeError, ValueError: a kernel that cannot be resolved, or an unknown exercise.
    """
    place = default_device() if device is None else device
    adapter = recognise(resolve(kernel, **options), place, dtype)
    dtype = dtype_of(adapter, dtype)
    chosen = sizes_for(adapter, place, key_dim, value_dim)
    asked = questions(adapter, dtype, chosen, seed, only or ())
    wanted = [question for question in asked if only is None or question.name in only]
    models = models_of(adapter, dtype, interpreted=is_interpreted(place))
    peer = resolve(REFERENCE if reference is None else reference)
    steps = _Steps(progress, len(wanted) + len(problems) + invariant)
    marked, refused = _mark_all(adapter, steps.over(wanted), place, models)
    held: tuple[Invariance, ...] = ()
    if invariant:
        steps.next("held against itself")
        case = alone_and_together(adapter, dtype, chosen, seed)
        held = invariances(adapter, case, place, models, gradients=gradients)
    streams = []
    looked: dict[str, Any] = {"dtype": dtype, "device": place, "gradients": gradients}
    for stream, label, rule in problems:
        steps.next(f"{stream.name}, {label}")
        try:
            streams.append(crosscheck(adapter, stream, rule, rule_label=label, reference=peer, **looked))
        except KernelError as error:
            # Exercises have sizes that kernels take; those of the suite's streams need not be.
            if not marked:
                raise
            refused.append(f"stream {stream.name} ({error})")
    exercises = tuple(exercise_result(adapter, item, place) for item in marked)
    wrong = any(not exercise.within for exercise in exercises)
    differentiable = [question for question in wanted if question.cases[0].group == 1]
    return Examination(
        statement=adapter.statement(),
        dtype=dtype,
        device=place,
        exercises=exercises,
        streams=tuple(streams),
        power=power_of(adapter, marked, models) if marked else None,
        explanations=explain_answers(adapter, marked) if wrong else (),
        backward=grade_gradients(adapter, differentiable[0], place, peer)
        if gradients and differentiable
        else None,
        backward_beside=grade_beside(adapter, differentiable[1:], place, peer) if gradients else (),
        invariances=held,
        unmet=tuple(required(held, require)),
        not_exercised=(*refused, *find_unexercised(adapter, asked)),
        versions=library_versions(),
        probe=adapter.disagreement,
    )


def _mark_all(
    adapter: Adapter, asked: Iterable[Question], device: str, models: Sequence[KernelModel]
) -> tuple[list[Marked], list[str]]:
    """Every question marked, and those that the kernel refused, with the reason."""
    marked, refused = [], []
    for question in asked:
        try:
            marked.append(mark(adapter, question, device, models))
        except KernelRaised as error:
            if not question.refusable:
                raise
            refused.append(f"{question.name} (the kernel raised {error.said})")
    return marked, refused


def examine_configurations(
    kernel: Kernel,
    problems: Sequence[PosedStream],
    *,
    dtype: Dtype | None = None,
    device: str | None = None,
    gradients: bool = False,
    reference: Kernel | None = None,
    progress: Progress | None = None,
) -> Examination:
    """Streams under every configuration of the kernel, on a small and a large grid; see `crosscheck_configurations`."""
    place = default_device() if device is None else device
    adapter = recognise(resolve(kernel), place, dtype)
    dtype = dtype_of(adapter, dtype)
    steps = _Steps(progress, len(problems))
    looked: dict[str, Any] = {"dtype": dtype, "device": place, "gradients": gradients}
    looked["reference"] = REFERENCE if reference is None else reference
    found: list[CrossCheck] = []
    for stream, label, rule in problems:
        steps.next(f"{stream.name}, {label}")
        found.extend(crosscheck_configurations(adapter, stream, rule, rule_label=label, **looked))
    return replace(examined_alone(found), versions=library_versions())


def library_versions() -> dict[str, str]:
    """Versions of the libraries that kernels run with, of those that are loaded."""
    return {name: str(sys.modules[name].__version__) for name in ("torch", "triton") if name in sys.modules}


class _Steps:
    """Progress over everything that is done."""

    def __init__(self, report: Progress | None, total: int) -> None:
        self.report, self.total, self.done = report, total, 0

    def next(self, what: str) -> None:
        if self.report is not None:
            self.report(what, self.done, self.total)
        self.done += 1

    def over(self, questions: Sequence[Question]) -> Iterator[Question]:
        for question in questions:
            self.next(question.name)
            yield question


def dtype_of(adapter: Adapter, wanted: Dtype | None) -> Dtype:
    """The dtype that is asked for, or the one in which a kernel was recognised."""
    found: Any = wanted or adapter.dtype
    return found if found in DTYPES else DTYPES[0]


def sizes_for(
    adapter: Adapter, device: str, key_dim: int | None = None, value_dim: int | None = None
) -> ExerciseSizes:
    """Several chunks of the kernel's, and a rest; small on a CPU, larger on a GPU."""
    usual = replace(SMALL if device == "cpu" else LARGE, chunk=chunk_size_of(adapter))
    return replace(usual, key_dim=key_dim or usual.key_dim, value_dim=value_dim or usual.value_dim)
