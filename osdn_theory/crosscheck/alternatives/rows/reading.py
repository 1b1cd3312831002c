"""Faults of reading: inputs that are ignored, mixed up, used twice, or normalised; and boxes that are left open."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.alternatives.engine.inputs import RecurrenceInputs
from osdn_theory.crosscheck.alternatives.fault import Change, Fault
from osdn_theory.recurrence.rules import BOUNDED

GATES = ("gate",)
"""What g is: the memory's decay, or where it has none the forgetting of d."""


def resolve(inputs: RecurrenceInputs, names: tuple[str, ...]) -> list[str]:
    """Fields of the inputs, with the one that g is in place of "gate"."""
    gate = "decay" if inputs.fades else "forget"
    return [gate if name == "gate" else name for name in names]


def on(names: tuple[str, ...], change: Callable[[Array], Array]) -> Change:
    """The change of some arrays, where they are there."""

    def changed(inputs: RecurrenceInputs) -> RecurrenceInputs:
        found = {name: getattr(inputs, name) for name in resolve(inputs, names)}
        arrays: dict[str, Any] = {name: change(x) for name, x in found.items() if x is not None}
        return replace(inputs, **arrays)

    return changed


def _set(**values: Callable[[RecurrenceInputs], Any]) -> Change:
    return lambda inputs: replace(inputs, **{name: value(inputs) for name, value in values.items()})


def _unit(vectors: Array) -> Array:
    """Divided by the norm; zero stays zero."""
    units: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return units


def _unit_smoothly(vectors: Array) -> Array:
    """k / sqrt(||k||^2 + 1e-6)."""
    units: Array = vectors / np.sqrt(np.sum(vectors * vectors, axis=-1, keepdims=True) + 1e-6)
    return units


def _first(value: float) -> Callable[[Array], Array]:
    """The first token's set to a value."""

    def changed(array: Array) -> Array:
        return np.concatenate([np.full_like(array[:, :, :1], value), array[:, :, 1:]], axis=2)

    return changed


def _geometric_mean(gate: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.broadcast_to(np.exp(np.mean(np.log(gate), axis=-1, keepdims=True)), gate.shape)


def _per_head(inputs: RecurrenceInputs) -> Array | None:
    """The memory's gate, of its features the geometric mean; without one what d forgets by."""
    decay = inputs.decay
    if decay is None:
        return inputs.forget
    return decay if decay.ndim == 3 else _geometric_mean(decay)[..., 0]


def _forgetting_too(inputs: RecurrenceInputs) -> Array | None:
    gate = _per_head(inputs)
    if gate is None or inputs.decay is None or inputs.forget is None:
        return gate
    return gate * inputs.forget


def _zero_for_ones(start: Array) -> Array:
    """Ones are what is not passed."""
    return start if np.any(start != 1) else np.zeros_like(start)


def _only_with_start(inputs: RecurrenceInputs) -> Array:
    return inputs.state if np.any(inputs.start != 1) else np.zeros_like(inputs.state)


def _only_with_state(inputs: RecurrenceInputs) -> Array:
    return inputs.start if np.any(inputs.state != 0) else np.ones_like(inputs.start)


def _held(gate: Array) -> Array:
    return np.maximum(gate, np.exp(-5.0))


CHANGES: Mapping[str, Change] = {
    "beta ignored": on(("beta",), np.ones_like),
    "g ignored": on(GATES, np.ones_like),
    "initial_state ignored": on(("state",), np.zeros_like),
    "d_1 is 0 by default": on(("start",), _zero_for_ones),
    "d_1 ignored": on(("start",), np.ones_like),
    "initial_state ignored without d_1": _set(state=_only_with_start),
    "d_1 ignored without S_0": _set(start=_only_with_state),
    "anchor ignored": on(("anchor",), np.zeros_like),
    "anchor is 1": on(("anchor",), np.ones_like),
    "anchor is d_1": _set(anchor=lambda x: x.start),
    "eta ignored": _set(eta=lambda x: BOUNDED.eta),
    "eta of 0 is the default": _set(eta=lambda x: x.eta or BOUNDED.eta),
    "d_min of 0 is the default": _set(d_min=lambda x: x.d_min or BOUNDED.d_min),
    "box ignored": _set(d_min=lambda x: BOUNDED.d_min, d_max=lambda x: BOUNDED.d_max),
    "normalize_feedback ignored": _set(normalize=lambda x: False),
    "normalize_feedback ignored beside beta_aware": _set(
        normalize=lambda x: x.normalize and not x.beta_aware
    ),
    "beta_aware ignored beside normalize_feedback": _set(
        beta_aware=lambda x: x.fades if x.normalize else x.beta_aware
    ),
    "g_atk ignored": on(("gram_decay",), np.ones_like),
    "beta_atk ignored": on(("gram_weight",), np.ones_like),
    "initial_A_state ignored": on(("start",), np.zeros_like),
    "scale ignored": _set(scale=lambda x: x.key_dim**-0.5),
    "scale is 1": _set(scale=lambda x: 1.0),
    "scale squared": _set(scale=lambda x: x.scale**2),
    "scale inverted": _set(scale=lambda x: 1.0 / x.scale),
    "sqrt(K) for scale": _set(scale=lambda x: x.key_dim**0.5),
    "scale and default scale": _set(scale=lambda x: x.scale * x.key_dim**-0.5),
    "scale on k": _set(keys=lambda x: x.scale * x.keys),
    "norms left in": _set(floor=lambda x: None),
    "beta squared": on(("beta",), np.square),
    "beta doubled": on(("beta",), lambda beta: 2.0 * beta),
    "sigmoid of beta": on(("beta",), lambda beta: 1.0 / (1.0 + np.exp(-beta))),
    "beta clipped at 1": on(("beta",), lambda beta: np.minimum(beta, 1.0)),
    "gate squared": on(GATES, np.square),
    "g held above -5": on(GATES, _held),
    "eta squared": _set(eta=lambda x: x.eta**2),
    "k for q": _set(queries=lambda x: x.keys),
    "q and k swapped": _set(queries=lambda x: x.keys, keys=lambda x: x.queries),
    "k for v": _set(values=lambda x: x.keys if x.square else x.values),
    "initial_state transposed": _set(state=lambda x: transpose(x.state) if x.square else x.state),
    "first token skipped": on(("keys",), _first(0.0)),
    "exp of g missing": on(GATES, np.log),
    "exp of g twice": on(GATES, np.exp),
    "2 to the g": on(GATES, lambda gate: np.power(gate, np.log(2.0))),
    "S_0 does not decay": on(("decay",), _first(1.0)),
    "g decays the memory": _set(decay=lambda x: x.forget, forget=lambda x: None),
    "g decays the memory too": _set(decay=lambda x: x.forget),
    "g_d ignored": on(("forget",), np.ones_like),
    "g_d ignored without g": _set(forget=lambda x: x.forget if x.decay is not None else None),
    "g_d held above -5": on(("forget",), _held),
    "g for g_d": _set(forget=_per_head),
    "g_d squared": on(("forget",), np.square),
    "g forgets d": _set(forget=_per_head, decay=lambda x: None),
    "g forgets d too": _set(forget=_forgetting_too),
    "beta_aware ignored": _set(beta_aware=lambda x: x.fades),
    "never clips": _set(d_min=lambda x: -np.inf, d_max=lambda x: np.inf),
    "clips from above only": _set(d_min=lambda x: -np.inf),
    "clips from below only": _set(d_max=lambda x: np.inf),
    "last value row not written": on(
        ("values",), lambda v: np.where(np.arange(v.shape[-1]) < v.shape[-1] - 1, v, 0.0)
    ),
}
"""What such a kernel makes of its inputs, by the fault's name."""

_NORMALISED = {"q": ("queries",), "k": ("keys",), "q and k": ("queries", "keys")}

VARIANTS: Mapping[str, Mapping[str, Fault]] = {
    **{key: {"": Fault(inputs=(change,))} for key, change in CHANGES.items()},
    **{
        f"{name} normalised": {
            "": Fault(inputs=(on(fields, _unit),)),
            "epsilon 1e-6": Fault(inputs=(on(fields, _unit_smoothly),)),
        }
        for name, fields in _NORMALISED.items()
    },
    "one gate per head": {
        "the first feature's": Fault(
            inputs=(on(("decay",), lambda gate: np.broadcast_to(gate[..., :1], gate.shape)),)
        ),
        "the mean": Fault(inputs=(on(("decay",), _geometric_mean),)),
    },
}
