"""A case as arrays with lettered axes: to be cut along any of them, changed array by array, and written to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.examination.exercises.question import Question
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.streams.stream import Stream

AXES: Mapping[str, str] = {
    "queries": "BHTK",
    "keys": "BHTK",
    "values": "BHTV",
    "beta": "BHT",
    "log_gate": "BHT",
    "log_state_gate": "BHTK",
    "log_gram_decay": "BHT",
    "gram_weight": "BHT",
    "initial_state": "BHVK",
    "initial_preconditioner": "BHK",
    "anchor": "BHK",
}
"""The arrays of a case and their axes; a state gate per token lacks the last one."""

_OF_STREAM = ("queries", "keys", "values", "beta")


@dataclass(frozen=True, eq=False)
class Trial:
    """A question and the options that it is put with."""

    question: Question
    options: Mapping[str, Any]

    def adapter(self, adapter: Adapter) -> Adapter:
        """The kernel with these options."""
        return replace(adapter, options={**adapter.options, **self.options})

    def asking(self, cases: Sequence[Case], **changes: Any) -> Trial:
        """The same with other cases."""
        return replace(self, question=replace(self.question, cases=tuple(cases), **changes))

    @property
    def shape(self) -> dict[str, int]:
        """B, H, T, K and V; packed sequences count as batch rows, T is that of all cases together."""
        first = self.question.cases[0].stream
        rows = len(self.question.cases) if self.question.put == "packed" else first.lead[0]
        sizes = {"B": rows, "H": first.lead[1], "T": self.question.tokens}
        return {**sizes, "K": first.key_dim, "V": first.value_dim}


def parts(case: Case) -> dict[str, Array]:
    """The arrays that make a case, those that it has."""
    found = {name: getattr(case.stream, name) for name in _OF_STREAM}
    found |= {name: getattr(case, name) for name in AXES if name not in _OF_STREAM}
    return {name: np.asarray(value) for name, value in found.items() if value is not None}


def rebuild(case: Case, arrays: Mapping[str, Array]) -> Case:
    """The case with these arrays, which are all that it has, and everything else as it is."""
    gate, state_gate = arrays.get("log_gate"), arrays.get("log_state_gate")
    tokens: dict[str, Any] = {name: arrays[name] for name in _OF_STREAM}
    own: dict[str, Any] = {name: arrays.get(name) for name in AXES if name not in _OF_STREAM}
    stream = Stream(
        **tokens,
        forget_gate=None if gate is None else np.exp(gate),
        state_gate=None if state_gate is None else np.exp(state_gate),
        name=case.stream.name,
    )
    return replace(
        case,
        stream=stream,
        rule=replace(case.rule, anchor=arrays["anchor"], forgetting=1.0 if gate is None else "token"),
        **own,
    )


def change_arrays(case: Case, **arrays: Array | None) -> Case:
    """The case with some arrays changed; None removes one."""
    found = {**parts(case), **arrays}
    return rebuild(case, {name: value for name, value in found.items() if value is not None})


def cut(case: Case, axis: str, kept: Sequence[int]) -> Case:
    """The entries `kept` of the axis "B", "H", "T", "K" or "V"."""
    cut = {
        name: np.take(value, kept, axis=AXES[name].index(axis)) if axis in AXES[name][: value.ndim] else value
        for name, value in parts(case).items()
    }
    return rebuild(case, cut)
