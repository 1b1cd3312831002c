"""What wrong backward passes give: the known faults, as gradients that a kernel's are held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.evidence.limits import chunk_size_of
from osdn_theory.crosscheck.gradients.check import PER_TOKEN, GradedGradients, altered_gradients
from osdn_theory.crosscheck.gradients.reference import Backward, Clip
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.rounding import BFLOAT16, round_to

CHUNKS = (16, 32, 64)
"""Chunk sizes that are tried beside the kernel's own."""


@dataclass(frozen=True, eq=False)
class GradientAlternative:
    """One fault: a name, a sentence, and the gradients that a kernel with it has, by argument."""

    name: str
    sentence: str
    gradients: Mapping[str, Array]


def gradient_alternatives(adapter: Adapter, graded: GradedGradients) -> list[GradientAlternative]:
    """The faults that these gradients may show: of the backward pass as a whole, then of one input each.

    Calls no kernel: that of `graded` says only which gradients there are.
    """
    return list(_alternatives(graded, _chunks(adapter, graded.case)))


def _alternatives(graded: GradedGradients, chunks: Sequence[int]) -> Iterator[GradientAlternative]:
    case, exact = graded.case, graded.exact
    for name, sentence, backward in _of_the_pass(case, chunks):
        yield GradientAlternative(name, sentence, altered_gradients(graded, backward))
    if {"q", "k"} <= exact.keys():
        exchanged = {**exact, "q": exact["k"], "k": exact["q"]}
        yield GradientAlternative(
            "q and k exchanged", "the gradients in q and k are in each other's place", exchanged
        )
    for which, right in exact.items():
        for fault, what, change in _of_an_input(which, case, chunks):
            altered = {**exact, which: change(right)}
            yield GradientAlternative(f"{which}: {fault}", f"the gradient in {which} {what}", altered)


def _chunks(adapter: Adapter, case: Case) -> tuple[int, ...]:
    sizes = sorted({*CHUNKS, chunk_size_of(adapter)})
    return tuple(size for size in sizes if size < case.stream.length)


def _of_the_pass(case: Case, chunks: Sequence[int]) -> Iterator[tuple[str, str, Backward]]:
    def cut(*places: str) -> Backward:
        return Backward(dict.fromkeys(places, 0.0))

    if case.recurrence != "preconditioner":
        yield from _of_the_memory(case, cut)
        for size in (1, *chunks):
            between = Backward({"memory between chunks": 0.0}, chunk=size)
            about = f"no gradient passes through the memory from {_pieces(size)} to the one before"
            yield f"memory cut every {size}", about, between
    if case.recurrence in ("osdn", "preconditioner"):
        yield from _of_the_calibration(case, cut)
        for size in (1, *chunks):
            between = Backward({"d between chunks": 0.0}, chunk=size)
            yield (
                f"d cut every {size}",
                f"no gradient passes through d from {_pieces(size)} to the one before",
                between,
            )


def _pieces(size: int) -> str:
    return "a token" if size == 1 else f"a chunk of {size}"


def _of_the_memory(case: Case, cut: Callable[..., Backward]) -> Iterator[tuple[str, str, Backward]]:
    yield "o ignored", "what follows from the gradient of o is missing", cut("o")
    yield (
        "final state ignored",
        "what follows from the gradient of the final state is missing",
        cut("final state"),
    )
    yield (
        "o reaches q alone",
        "the gradient of o does not reach the memory that was read",
        cut("memory of the read"),
    )
    if case.scale not in (0.0, 1.0):
        bare, twice = Backward({"o": 1 / case.scale}), Backward({"o": case.scale})
        yield "scale missing", f"what follows from the gradient of o lacks the scale {case.scale:.6g}", bare
        yield (
            "scale twice",
            f"what follows from the gradient of o has the scale {case.scale:.6g} twice",
            twice,
        )
    yield (
        "no erase in beta",
        "the gradient in beta lacks the part -S k of the residual",
        cut("beta of the erase"),
    )
    yield (
        "no value in beta",
        "the gradient in beta lacks the part v of the residual",
        cut("beta of the value"),
    )
    yield (
        "no erase in k",
        "the gradient in k lacks the part through the residual v - S k",
        cut("k of the erase"),
    )
    yield (
        "no write in k",
        "the gradient in k lacks the part through the key that is written with",
        cut("k of the write"),
    )
    if case.state_gate is not None:
        memory, residual = "gate of the memory", "gate of the residual"
        yield (
            "no memory in g",
            "the gradient in g lacks the part through the memory that is kept",
            cut(memory),
        )
        yield "no residual in g", "the gradient in g lacks the part through the residual", cut(residual)


def _of_the_calibration(case: Case, cut: Callable[..., Backward]) -> Iterator[tuple[str, str, Backward]]:
    if case.recurrence == "osdn":
        fixed = "d is a constant in the backward pass: no gradient goes through"
        yield "d constant in the write", f"{fixed} the write to the calibrate step", cut("d of the write")
        yield "d constant", f"{fixed} the calibrate scan at all", cut("d of the write", "d handed on")
    yield (
        "d handed on ignored",
        "what follows from the gradient of the d handed on is missing",
        cut("d handed on"),
    )
    yield (
        "no calibration in k",
        "the gradient in k lacks the part through the calibrate step",
        cut("k of the feature"),
    )
    yield (
        "no feedback in d",
        "the feedback 1 - <d, k^2> is differentiated as if d were constant",
        cut("d of the feedback"),
    )
    if case.rule.normalize_feedback:
        yield (
            "no weight in k",
            "the weight 1/(|k|^2 + epsilon) is taken as constant",
            cut("weight of the feedback"),
        )
    clips: dict[Clip, str] = {
        "straight-through": "the gradient passes through the clip where it clips",
        "whole token": "the clip blocks all features of a token of which one is clipped",
        "open": "the clip blocks where d is on its face without being clipped, as good a derivative as the other",
    }
    for clip, sentence in clips.items():
        yield f"clip {clip}", sentence, Backward(clip=clip)


def _of_an_input(
    name: str, case: Case, chunks: Sequence[int]
) -> Iterator[tuple[str, str, Callable[[Array], Array]]]:
    yield "zero", "is zero: detached, or never computed", np.zeros_like
    yield "half", "is half of what it should be", lambda x: 0.5 * x
    yield "double", "is twice what it should be", lambda x: 2.0 * x
    yield "negated", "has the wrong sign", np.negative
    yield "bfloat16", "is rounded to bfloat16", lambda x: round_to(x, BFLOAT16)
    if case.scale not in (0.0, 1.0, 0.5, 2.0):
        yield "scale missing", f"lacks the scale {case.scale:.6g}", lambda x: x / case.scale
        yield "scale twice", f"has the scale {case.scale:.6g} twice", lambda x: x * case.scale
    batch, heads = case.stream.lead
    if heads > 1:
        yield "another head", "is that of the next head", lambda x: np.roll(x, -1, axis=1)
        yield (
            "first head",
            "is that of the first head everywhere",
            lambda x: np.repeat(x[:, :1], heads, axis=1),
        )
    if batch > 1:
        yield (
            "first row",
            "is that of the first batch row everywhere",
            lambda x: np.repeat(x[:1], batch, axis=0),
        )
    if name == "initial_state" and case.stream.key_dim == case.stream.value_dim:
        yield "transposed", "is transposed", lambda x: transpose(x)
    if name in PER_TOKEN:
        yield from _along_tokens(case.stream.length, chunks)
    log_gate = case.log_gate if case.state_gate is None else case.log_state_gate
    if name == "g" and log_gate is not None:
        gate = np.exp(log_gate)
        yield "of the gate", "is that in e^g", lambda x: x / gate
        yield "gate twice", "has the factor e^g twice", lambda x: x * gate


def _along_tokens(length: int, chunks: Sequence[int]) -> Iterator[tuple[str, str, Any]]:
    def shifted(x: Array, by: int) -> Array:
        moved = np.zeros_like(x)
        kept = slice(max(by, 0), length + min(by, 0))
        moved[:, :, kept] = x[:, :, slice(max(-by, 0), length + min(-by, 0))]
        return moved

    def without(x: Array, tokens: slice) -> Array:
        rest = x.copy()
        rest[:, :, tokens] = 0.0
        return rest

    yield "a token late", "is a token late", lambda x: shifted(x, 1)
    yield "a token early", "is a token early", lambda x: shifted(x, -1)
    yield "last token missing", "is zero at the last token", lambda x: without(x, slice(-1, None))
    yield "first token missing", "is zero at the first token", lambda x: without(x, slice(0, 1))
    for size in chunks:
        if length % size > 1:
            whole = length // size * size
            about = f"is zero beyond the last whole chunk of {size}"
            yield f"last part of {size} missing", about, lambda x, w=whole: without(x, slice(w, None))
