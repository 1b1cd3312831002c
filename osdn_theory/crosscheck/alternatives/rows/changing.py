"""How rows of the table are written that change the inputs alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.alternatives.alternative import (
    ANY,
    CALIBRATING,
    DECAYING,
    PRECONDITIONED,
    READING,
    Alternative,
)
from osdn_theory.crosscheck.alternatives.engine.inputs import Inputs
from osdn_theory.crosscheck.alternatives.fault import Fault

GATES = ("forget", "decay")
TENSORS = {
    "q": ("queries",),
    "k": ("keys",),
    "v": ("values",),
    "beta": ("beta",),
    "g": GATES,
    "g_atk": ("gram_decay",),
    "beta_atk": ("gram_weight",),
}
"""Fields of `Inputs` behind each argument with tokens."""

STATES = {
    "initial_state": ("state",),
    "initial_preconditioner": ("start",),
    "anchor": ("anchor",),
    "initial_A_state": ("start",),
}

Change = Callable[[Inputs], Inputs]


def on(names: tuple[str, ...], change: Callable[[Array], Array]) -> Change:
    """The change of some arrays, where they are there."""

    def changed(inputs: Inputs) -> Inputs:
        found = {name: getattr(inputs, name) for name in names}
        arrays: dict[str, Any] = {name: change(x) for name, x in found.items() if x is not None}
        return replace(inputs, **arrays)

    return changed


def fault_of(*changes: Change) -> Fault:
    return Fault(inputs=changes)


def readers(argument: str) -> frozenset[str]:
    """Recurrences that read an argument."""
    if argument in ("initial_preconditioner", "anchor"):
        return CALIBRATING
    if argument in ("g_atk", "beta_atk", "initial_A_state"):
        return PRECONDITIONED
    if argument == "g":
        return DECAYING | CALIBRATING
    return ANY if argument == "k" else READING


def row_of(
    key: str, sentence: str, formula: str, argument: str, *changes: Change, **rest: Any
) -> Alternative:
    """A row about one argument, with one variant."""
    settings = {"recurrences": readers(argument), "needs": frozenset({argument}), **rest}
    return Alternative(key, sentence, formula, {"": fault_of(*changes)}, **settings)
