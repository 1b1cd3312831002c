"""Rows of the table: inputs read one token off, from another head or batch row, or in few bits."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.alternatives.engine.inputs import RecurrenceInputs
from osdn_theory.crosscheck.alternatives.fault import ANY, Alternative, Change, Fault
from osdn_theory.crosscheck.alternatives.rows.reading import GATES, on, resolve
from osdn_theory.crosscheck.kernel.recurrences import (
    CALIBRATING,
    GATED,
    GATED_OSDN,
    PRECONDITIONED,
    REMEMBERING,
)
from osdn_theory.rounding import BFLOAT16, round_to

TENSORS = {
    "q": ("queries",),
    "k": ("keys",),
    "v": ("values",),
    "beta": ("beta",),
    "g": GATES,
    "g_d": ("forget",),
    "g_atk": ("gram_decay",),
    "beta_atk": ("gram_weight",),
}
"""Fields of `RecurrenceInputs` behind each argument with tokens."""

STATES = {
    "initial_state": ("state",),
    "initial_preconditioner": ("start",),
    "anchor": ("anchor",),
    "initial_A_state": ("start",),
}

READERS = {
    "k": ANY,
    "g": GATED | CALIBRATING,
    "g_d": GATED_OSDN,
    **dict.fromkeys(("initial_preconditioner", "anchor"), CALIBRATING),
    **dict.fromkeys(("g_atk", "beta_atk", "initial_A_state"), PRECONDITIONED),
}
"""Recurrences that read an argument, where these are not all that have a memory."""

LOGARITHMIC = (*GATES, "decay", "forget", "gram_decay")
"""What is passed as its logarithm."""


def rows() -> Iterator[Alternative]:
    """All faults of where inputs are read."""
    yield from _shifted()
    yield from _elsewhere()
    yield from _rounded()


def _shifted() -> Iterator[Alternative]:
    directions = {"the token before": ("{t-1}", 1), "the token after": ("{t+1}", -1)}
    for argument, fields in TENSORS.items():
        for where, (index, step) in directions.items():
            fills = ("zero", "repeated", "around")
            variants = {f"the end {fill}": Fault(inputs=(_shift(fields, step, fill),)) for fill in fills}
            across = {
                f"{label}, across sequences": replace(fault, across=True) for label, fault in variants.items()
            }
            yield _row(
                argument,
                f"{argument} of {where}",
                f"{argument} is read one token off",
                f"{argument}_t <- {argument}_{index}",
                {**variants, **across},
            )


def _row(argument: str, key: str, sentence: str, formula: str, variants: Mapping[str, Fault]) -> Alternative:
    return Alternative(
        key, sentence, formula, variants, READERS.get(argument, REMEMBERING), frozenset({argument})
    )


def _shift(fields: tuple[str, ...], step: int, fill: str) -> Change:
    """Tokens moved by one; at the end zero (of a gate: no decay), the token itself, or that at the other end."""

    def moved(inputs: RecurrenceInputs) -> RecurrenceInputs:
        arrays: dict[str, Any] = {}
        for name in resolve(inputs, fields):
            array = getattr(inputs, name)
            if array is None or not inputs.length:
                continue
            rolled = np.roll(array, step, axis=2)
            end = 0 if step > 0 else -1
            if fill == "zero":
                rolled[:, :, end] = 1.0 if name in LOGARITHMIC else 0.0
            elif fill == "repeated":
                rolled[:, :, end] = array[:, :, end]
            arrays[name] = rolled
        return replace(inputs, **arrays)

    return moved


def _elsewhere() -> Iterator[Alternative]:
    moves: dict[str, tuple[str, Callable[[Array], Array]]] = {
        "head 0": ("{x}^h <- {x}^0", lambda x: np.broadcast_to(x[:, :1], x.shape)),
        "the next head": ("{x}^h <- {x}^{{h+1}}", lambda x: np.roll(x, -1, axis=1)),
        "batch row 0": ("{x}^b <- {x}^0", lambda x: np.broadcast_to(x[:1], x.shape)),
    }
    for argument, fields in {**TENSORS, **STATES}.items():
        for where, (formula, move) in moves.items():
            # Packed sequences have one row of tokens, but each its row of states.
            yield _row(
                argument,
                f"{argument} of {where}",
                f"every head or batch row reads {argument} of {where}",
                formula.format(x=argument),
                {"": Fault(inputs=(on(fields, move),), across=True)},
            )
    every = tuple(field for fields in (*TENSORS.values(), *STATES.values()) for field in fields)
    for where, (formula, move) in moves.items():
        yield Alternative(
            f"everything of {where}",
            f"every head or batch row reads all its inputs of {where}",
            formula.format(x="(q, k, v, ...)"),
            {"": Fault(inputs=(on(every, move),), across=True)},
            ANY,
        )


def _rounded() -> Iterator[Alternative]:
    def coarse(array: Array) -> Array:
        return round_to(array, BFLOAT16)

    def coarse_logarithm(gate: Array) -> Array:
        return np.exp(coarse(np.log(gate)))

    for argument, fields in {**TENSORS, **STATES}.items():
        change = on(fields, coarse_logarithm if fields[0] in LOGARITHMIC else coarse)
        yield _row(
            argument,
            f"{argument} in bfloat16",
            f"{argument} is rounded to bfloat16",
            f"{argument} <- bfloat16({argument})",
            {"": Fault(inputs=(change,))},
        )
