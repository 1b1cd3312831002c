"""Rows of the table: results that leave something out, and sequences packed into one that know of each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.alternatives.alternative import (
    CALIBRATING,
    CHUNKS,
    DECAYING,
    OSDN,
    READING,
    Alternative,
)
from osdn_theory.crosscheck.alternatives.engine.evolve import run
from osdn_theory.crosscheck.alternatives.engine.inputs import Inputs, cut
from osdn_theory.crosscheck.alternatives.engine.mechanism import Mechanism
from osdn_theory.crosscheck.alternatives.engine.outcome import Outcome
from osdn_theory.crosscheck.alternatives.fault import Fault, Result, boundary_late
from osdn_theory.rounding import BFLOAT16, round_to

FINAL, PACKED = frozenset({"output_final_state"}), frozenset({"cu_seqlens"})


def rows() -> Iterator[Alternative]:
    """All faults of what is returned and of packing."""
    yield from _lost_outputs()
    yield from _final_state()
    yield from _handed_on()
    yield from _packed()


def _row(
    key: str,
    sentence: str,
    formula: str,
    result: Result,
    of: frozenset[str] = READING,
    needs: frozenset[str] = frozenset(),
    *,
    approximate: bool = False,
) -> Alternative:
    return Alternative(key, sentence, formula, {"": Fault(results=(result,))}, of, needs, approximate)


def _lost_outputs() -> Iterator[Alternative]:
    yield _row(
        "last token without output",
        "the last token is not read",
        "o_T = 0",
        lambda inputs, how, out: replace(out, outputs=_zeroed(out.outputs, max(inputs.length - 1, 0))),
    )
    yield _row(
        "last value row without output",
        "the last value feature is not read",
        "o_{t,V} = 0",
        lambda inputs, how, out: replace(out, outputs=_with_zero(out.outputs, (..., -1))),
    )
    yield Alternative(
        "last value row not written",
        "the last value feature is never written",
        "v_{t,V} = 0",
        {"": Fault(inputs=(lambda inputs: replace(inputs, values=_with_zero(inputs.values, (..., -1))),))},
        READING,
    )
    yield _chunks(
        "last partial chunk without output",
        "outputs of the last partial chunk are left out",
        "o_t = 0 for t > floor(T/C) C",
        _without_tail,
    )
    yield _chunks(
        "drops the last partial chunk",
        "the last partial chunk is neither written nor read",
        "T <- floor(T/C) C",
        _dropped_tail,
    )
    yield _row(
        "o in bfloat16",
        "o is rounded to bfloat16",
        "o_t <- bfloat16(o_t)",
        lambda inputs, how, out: replace(out, outputs=round_to(out.outputs, BFLOAT16)),
        approximate=True,
    )


def _chunks(
    key: str,
    sentence: str,
    formula: str,
    make: Callable[[int], Result],
    of: frozenset[str] = READING,
    needs: frozenset[str] = frozenset(),
) -> Alternative:
    variants = {f"C = {size}": Fault(results=(make(size),)) for size in CHUNKS}
    return Alternative(key, sentence, formula, variants, of, needs)


def _zeroed(tokens: Array, start: int) -> Array:
    return _with_zero(tokens, (slice(None), slice(None), slice(start, None)))


def _with_zero(array: Array, place: Any) -> Array:
    changed = np.array(array)
    changed[place] = 0.0
    return changed


def _without_tail(size: int) -> Result:
    def result(inputs: Inputs, how: Mechanism, out: Outcome) -> Outcome:
        return replace(out, outputs=_zeroed(out.outputs, inputs.length // size * size))

    return result


def _dropped_tail(size: int) -> Result:
    def result(inputs: Inputs, how: Mechanism, out: Outcome) -> Outcome:
        short = _short_state(size)(inputs, how, out)
        return _without_tail(size)(inputs, how, short)

    return result


def _short_state(size: int) -> Result:
    def result(inputs: Inputs, how: Mechanism, out: Outcome) -> Outcome:
        return replace(out, state=run(cut(inputs, 0, inputs.length // size * size), how).state)

    return result


def _final_state() -> Iterator[Alternative]:
    yield _row(
        "final state before the last token",
        "the final state lacks the last token",
        "S_{T-1} for S_T",
        lambda inputs, how, out: replace(
            out, state=run(cut(inputs, 0, max(inputs.length - 1, 0)), how).state
        ),
        needs=FINAL,
    )
    yield _row(
        "final state transposed",
        "the final state is transposed (K = V)",
        "S_T^T for S_T",
        lambda inputs, how, out: replace(out, state=transpose(out.state)) if inputs.square else out,
        needs=FINAL,
    )
    yield _row(
        "final state is S_0",
        "the final state is the initial one",
        "S_0 for S_T",
        lambda inputs, how, out: replace(out, state=inputs.state),
        needs=FINAL,
    )
    yield _row(
        "final state in bfloat16",
        "the final state is rounded to bfloat16",
        "bfloat16(S_T) for S_T",
        lambda inputs, how, out: replace(out, state=round_to(out.state, BFLOAT16)),
        needs=FINAL,
        approximate=True,
    )
    yield _chunks(
        "final state without the last partial chunk",
        "the final state lacks the last partial chunk",
        "S_{floor(T/C) C} for S_T",
        _short_state,
        needs=FINAL,
    )
    yield _chunks(
        "padding decays the state",
        "tokens that fill up the last chunk decay the memory",
        "S_T <- alpha_T^p S_T, p = -T mod C",
        _padded,
        DECAYING,
        FINAL,
    )


def _padded(size: int) -> Result:
    def result(inputs: Inputs, how: Mechanism, out: Outcome) -> Outcome:
        if inputs.decay is None or inputs.length == 0:
            return out
        gate = inputs.decay[:, :, -1] ** (-inputs.length % size)
        wide = gate[..., None, None] if gate.ndim == 2 else gate[..., None, :]
        return replace(out, state=wide * out.state)

    return result


def _handed_on() -> Iterator[Alternative]:
    yield _row(
        "hands on d_T",
        "the d handed on lacks the last calibration",
        "d_T for d_{T+1}",
        lambda inputs, how, out: replace(out, handed_on=_last(inputs, out)),
        CALIBRATING,
        FINAL,
    )
    yield _row(
        "d handed on in bfloat16",
        "the d handed on is rounded to bfloat16",
        "bfloat16(d_{T+1}) for d_{T+1}",
        lambda inputs, how, out: replace(out, handed_on=round_to(out.handed_on, BFLOAT16)),
        CALIBRATING,
        approximate=True,
    )
    yield _row(
        "hands on d_1",
        "the d handed on is the one it started from",
        "d_1 for d_{T+1}",
        lambda inputs, how, out: replace(out, handed_on=inputs.start),
        CALIBRATING,
        FINAL,
    )


def _last(inputs: Inputs, out: Outcome) -> Array:
    return out.preconditioner[:, :, -1] if inputs.length else out.handed_on


def _packed() -> Iterator[Alternative]:
    def packed(
        key: str, sentence: str, formula: str, fault: Fault, of: frozenset[str] = READING
    ) -> Alternative:
        return Alternative(key, sentence, formula, {"": fault}, of, PACKED)

    yield packed(
        "cu_seqlens ignored for the memory",
        "packed sequences go on from the memory of the one before",
        "S_0 of sequence n = S_T of n - 1",
        Fault(leak="memory"),
    )
    yield packed(
        "cu_seqlens ignored for d",
        "packed sequences go on from the d of the one before",
        "d_1 of sequence n = d_{T+1} of n - 1",
        Fault(leak="preconditioner"),
        CALIBRATING,
    )
    yield packed(
        "cu_seqlens ignored",
        "packed sequences are taken as one",
        "S_0, d_1 of sequence n from n - 1",
        Fault(leak="both"),
        OSDN,
    )
    yield packed(
        "states of sequence 0",
        "every packed sequence starts from the states of the first",
        "S_0, d_1 of n <- those of 0",
        Fault(sequences=(_of_sequence(lambda at, count: 0),)),
    )
    yield packed(
        "states of the next sequence",
        "packed sequences start from their neighbour's states",
        "S_0, d_1 of n <- those of n + 1",
        Fault(sequences=(_of_sequence(lambda at, count: (at + 1) % count),)),
    )
    yield packed(
        "last boundary late",
        "the last packed sequence starts one token late",
        "cu_seqlens_{N-1} + 1",
        Fault(sequences=(boundary_late,)),
        READING | CALIBRATING,
    )


def _of_sequence(source: Callable[[int, int], int]) -> Callable[[list[Inputs]], list[Inputs]]:
    def exchanged(sequences: list[Inputs]) -> list[Inputs]:
        sources = [sequences[source(at, len(sequences))] for at in range(len(sequences))]
        return [
            replace(one, state=other.state, start=other.start)
            for one, other in zip(sequences, sources, strict=True)
        ]

    return exchanged
