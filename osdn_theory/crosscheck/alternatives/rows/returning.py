"""Faults of returning: results that leave something out, and sequences packed into one that know of each other."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.alternatives.engine.evolve import run
from osdn_theory.crosscheck.alternatives.engine.inputs import RecurrenceInputs, RecurrenceOutcome, cut
from osdn_theory.crosscheck.alternatives.engine.mechanism import Mechanism
from osdn_theory.crosscheck.alternatives.fault import CHUNKS, Fault, Result, boundary_late
from osdn_theory.rounding import BFLOAT16, round_to


def _zeroed(array: Array, start: int, axis: int = 2) -> Array:
    """Zero from an entry of an axis on; that of the tokens is the third."""
    kept, lost = np.split(array, [start], axis=axis)
    return np.concatenate([kept, np.zeros_like(lost)], axis=axis)


def _state_after(inputs: RecurrenceInputs, how: Mechanism, tokens: int) -> Array:
    return run(cut(inputs, 0, max(tokens, 0)), how).state


def _last(inputs: RecurrenceInputs, out: RecurrenceOutcome) -> Array:
    return out.preconditioner[:, :, -1] if inputs.length else out.handed_on


RESULTS: Mapping[str, Result] = {
    "last token without output": lambda x, how, out: replace(
        out, outputs=_zeroed(out.outputs, max(x.length - 1, 0))
    ),
    "last value row without output": lambda x, how, out: replace(
        out, outputs=_zeroed(out.outputs, -1, axis=3)
    ),
    "o in bfloat16": lambda x, how, out: replace(out, outputs=round_to(out.outputs, BFLOAT16)),
    "final state before the last token": lambda x, how, out: replace(
        out, state=_state_after(x, how, x.length - 1)
    ),
    "final state transposed": lambda x, how, out: (
        replace(out, state=transpose(out.state)) if x.square else out
    ),
    "final state is S_0": lambda x, how, out: replace(out, state=x.state),
    "final state in bfloat16": lambda x, how, out: replace(out, state=round_to(out.state, BFLOAT16)),
    "hands on d_T": lambda x, how, out: replace(out, handed_on=_last(x, out)),
    "d handed on in bfloat16": lambda x, how, out: replace(out, handed_on=round_to(out.handed_on, BFLOAT16)),
    "hands on d_1": lambda x, how, out: replace(out, handed_on=x.start),
}
"""What such a kernel makes of its results, by the fault's name."""


def _without_tail(size: int) -> Result:
    return lambda x, how, out: replace(out, outputs=_zeroed(out.outputs, x.length // size * size))


def _short_state(size: int) -> Result:
    return lambda x, how, out: replace(out, state=_state_after(x, how, x.length // size * size))


def _padded(size: int) -> Result:
    def result(inputs: RecurrenceInputs, how: Mechanism, out: RecurrenceOutcome) -> RecurrenceOutcome:
        if inputs.decay is None or inputs.length == 0:
            return out
        gate = inputs.decay[:, :, -1] ** (-inputs.length % size)
        wide = gate[..., None, None] if gate.ndim == 2 else gate[..., None, :]
        return replace(out, state=wide * out.state)

    return result


_OF_CHUNKS: Mapping[str, Callable[[int], tuple[Result, ...]]] = {
    "last partial chunk without output": lambda size: (_without_tail(size),),
    "drops the last partial chunk": lambda size: (_short_state(size), _without_tail(size)),
    "final state without the last partial chunk": lambda size: (_short_state(size),),
    "padding decays the state": lambda size: (_padded(size),),
}
"""The same of a chunk's size."""


def _of_sequence(
    source: Callable[[int, int], int],
) -> Callable[[list[RecurrenceInputs]], list[RecurrenceInputs]]:
    def exchanged(sequences: list[RecurrenceInputs]) -> list[RecurrenceInputs]:
        sources = [sequences[source(at, len(sequences))] for at in range(len(sequences))]
        return [
            replace(one, state=other.state, start=other.start)
            for one, other in zip(sequences, sources, strict=True)
        ]

    return exchanged


_PACKED: Mapping[str, Fault] = {
    "cu_seqlens ignored for the memory": Fault(leak="memory"),
    "cu_seqlens ignored for d": Fault(leak="preconditioner"),
    "cu_seqlens ignored": Fault(leak="both"),
    "cu_seqlens ignored without S_0": Fault(leak="memory", leaks_given=False),
    "cu_seqlens ignored without d_1": Fault(leak="preconditioner", leaks_given=False),
    "cu_seqlens ignored without states": Fault(leak="both", leaks_given=False),
    "states of sequence 0": Fault(sequences=(_of_sequence(lambda at, count: 0),)),
    "states of the next sequence": Fault(sequences=(_of_sequence(lambda at, count: (at + 1) % count),)),
    "last boundary late": Fault(sequences=(boundary_late,)),
}

VARIANTS: Mapping[str, Mapping[str, Fault]] = {
    **{key: {"": Fault(results=(result,))} for key, result in RESULTS.items()},
    **{
        key: {f"C = {size}": Fault(results=results(size)) for size in CHUNKS}
        for key, results in _OF_CHUNKS.items()
    },
    **{key: {"": fault} for key, fault in _PACKED.items()},
}
