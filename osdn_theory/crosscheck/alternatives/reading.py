"""Rows of the table: inputs that are ignored, shifted, used twice, or taken from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from osdn_theory._validation import Array
from osdn_theory.crosscheck.alternatives.alternative import (
    ANY,
    CALIBRATING,
    DECAYING,
    OSDN,
    READING,
    Alternative,
)
from osdn_theory.crosscheck.alternatives.fault import Fault
from osdn_theory.crosscheck.alternatives.inputs import Inputs
from osdn_theory.rounding import BFLOAT16, round_to
from osdn_theory.rules import PUBLISHED

GATES = ("forget", "decay")
TENSORS = {"q": ("queries",), "k": ("keys",), "v": ("values",), "beta": ("beta",), "g": GATES}
"""Fields of `Inputs` behind each argument with tokens."""

STATES = {"initial_state": ("state",), "initial_preconditioner": ("start",), "anchor": ("anchor",)}

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


def rows() -> Iterator[Alternative]:
    """All faults of what is read."""
    yield from _ignored()
    yield from _shifted()
    yield from _elsewhere()
    yield from _normalised()
    yield from _twice()
    yield from _mixed()
    yield from _gates()
    yield from _rounded()


def _concerns(argument: str) -> frozenset[str]:
    """Recurrences that read an argument."""
    if argument in ("initial_preconditioner", "anchor"):
        return CALIBRATING
    if argument == "g":
        return DECAYING | CALIBRATING
    return ANY if argument == "k" else READING


def _row(key: str, sentence: str, formula: str, argument: str, *changes: Change, **rest: Any) -> Alternative:
    settings = {"recurrences": _concerns(argument), "needs": frozenset({argument}), **rest}
    return Alternative(key, sentence, formula, {"": fault_of(*changes)}, **settings)


def _ignored() -> Iterator[Alternative]:
    def set_to(**values: Any) -> Change:
        return lambda inputs: replace(inputs, **values)

    def ones(array: Array) -> Array:
        return np.ones_like(array)

    def zeros(array: Array) -> Array:
        return np.zeros_like(array)

    yield _row(
        "beta ignored",
        "beta is ignored",
        "S_t = S_{t-1} + (v_t - S_{t-1} k_t)(d_t * k_t)^T",
        "beta",
        on(("beta",), ones),
    )
    yield _row("g ignored", "the gate g is ignored", "gamma_t = 1, alpha_t = 1", "g", on(GATES, ones))
    yield _row(
        "initial_state ignored", "the memory starts empty", "S_0 = 0", "initial_state", on(("state",), zeros)
    )
    yield _row(
        "d_1 ignored",
        "the preconditioner starts at 1",
        "d_1 = 1",
        "initial_preconditioner",
        on(("start",), ones),
    )
    yield _row(
        "anchor ignored",
        "d forgets towards 0",
        "d_{t+1} = clip[gamma_t d_t + ...]",
        "anchor",
        on(("anchor",), zeros),
    )
    yield _row("anchor is 1", "d forgets towards 1", "c = 1", "anchor", on(("anchor",), ones))
    yield _row(
        "anchor is d_1",
        "d forgets towards d_1",
        "c = d_1",
        "anchor",
        lambda inputs: replace(inputs, anchor=inputs.start),
    )
    yield _row(
        "eta ignored",
        "the step is always the default one",
        "eta = 0.003",
        "eta",
        set_to(eta=PUBLISHED.eta),
        recurrences=CALIBRATING,
    )
    yield _row(
        "box ignored",
        "the box is always the default one",
        "clip to [2/3, 3/2]",
        "d_min",
        set_to(d_min=PUBLISHED.d_min, d_max=PUBLISHED.d_max),
        recurrences=CALIBRATING,
    )
    yield _row(
        "normalize_feedback ignored",
        "feedback is never normalised",
        "w_t = 1",
        "normalize_feedback",
        set_to(normalize=False),
        recurrences=CALIBRATING,
    )
    scales: dict[str, tuple[str, Callable[[Inputs], float]]] = {
        "scale ignored": ("o_t = K^{-1/2} S_t q_t", lambda inputs: inputs.key_dim**-0.5),
        "scale is 1": ("o_t = S_t q_t", lambda inputs: 1.0),
        "scale squared": ("o_t = scale^2 S_t q_t", lambda inputs: inputs.scale**2),
        "scale inverted": ("o_t = S_t q_t / scale", lambda inputs: 1.0 / inputs.scale),
        "sqrt(K) for scale": ("o_t = K^{1/2} S_t q_t", lambda inputs: inputs.key_dim**0.5),
        "scale and default scale": (
            "o_t = scale K^{-1/2} S_t q_t",
            lambda inputs: inputs.scale * inputs.key_dim**-0.5,
        ),
    }
    for key, (formula, scale) in scales.items():
        needs = frozenset({"scale"}) if "ignored" in key else frozenset({"q"})
        yield _row(key, "another factor of the read", formula, "q", _scaled(scale), needs=needs)
    yield _row(
        "scale on k",
        "k is multiplied by the scale as well as q",
        "k_t <- scale k_t",
        "q",
        lambda inputs: replace(inputs, keys=inputs.scale * inputs.keys),
    )


def _scaled(scale: Callable[[Inputs], float]) -> Change:
    return lambda inputs: replace(inputs, scale=scale(inputs))


def _shifted() -> Iterator[Alternative]:
    directions = {"the token before": ("{t-1}", 1), "the token after": ("{t+1}", -1)}
    for argument, fields in TENSORS.items():
        for where, (index, step) in directions.items():
            fills = ("zero", "repeated", "around")
            variants = {f"the end {fill}": fault_of(_shift(fields, step, fill)) for fill in fills}
            across = {
                f"{label}, across sequences": replace(fault, across=True) for label, fault in variants.items()
            }
            yield Alternative(
                f"{argument} of {where}",
                f"{argument} is read one token off",
                f"{argument}_t <- {argument}_{index}",
                {**variants, **across},
                _concerns(argument),
                frozenset({argument}),
            )


def _shift(fields: tuple[str, ...], step: int, fill: str) -> Change:
    """Tokens moved by one; at the end zero (of a gate: no decay), the token itself, or that at the other end."""

    def moved(inputs: Inputs) -> Inputs:
        arrays: dict[str, Any] = {}
        for name in fields:
            array = getattr(inputs, name)
            if array is None or not inputs.length:
                continue
            rolled = np.roll(array, step, axis=2)
            end = 0 if step > 0 else -1
            if fill == "zero":
                rolled[:, :, end] = 1.0 if name in GATES else 0.0
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
            yield Alternative(
                f"{argument} of {where}",
                f"every head or batch row reads {argument} of {where}",
                formula.format(x=argument),
                {"": Fault(inputs=(on(fields, move),), across=True)},
                _concerns(argument),
                frozenset({argument}),
            )


def unit(keys: Array) -> Array:
    """Divided by the norm; zero stays zero."""
    units: Array = keys / np.maximum(np.linalg.norm(keys, axis=-1, keepdims=True), 1e-12)
    return units


def unit_smoothly(keys: Array) -> Array:
    """k / sqrt(||k||^2 + 1e-6)."""
    units: Array = keys / np.sqrt(np.sum(keys * keys, axis=-1, keepdims=True) + 1e-6)
    return units


def _normalised() -> Iterator[Alternative]:
    for name, fields in {"q": ("queries",), "k": ("keys",), "q and k": ("queries", "keys")}.items():
        needs = frozenset({"q"}) if "q" in name else frozenset({"k"})
        variants = {"": fault_of(on(fields, unit)), "epsilon 1e-6": fault_of(on(fields, unit_smoothly))}
        yield Alternative(
            f"{name} normalised",
            f"{name} divided by the norm, which nobody asked for",
            f"{name} <- {name} / ||{name}||",
            variants,
            _concerns(name),
            needs,
        )


def _twice() -> Iterator[Alternative]:
    def times(factor: float) -> Callable[[Array], Array]:
        return lambda array: factor * array

    yield _row(
        "beta squared", "beta is applied twice", "beta_t <- beta_t^2", "beta", on(("beta",), np.square)
    )
    yield _row(
        "beta doubled",
        "beta is doubled, as for negative eigenvalues",
        "beta_t <- 2 beta_t",
        "beta",
        on(("beta",), times(2.0)),
    )
    yield _row(
        "sigmoid of beta",
        "beta goes through a sigmoid once more",
        "beta_t <- sigmoid(beta_t)",
        "beta",
        on(("beta",), lambda beta: 1.0 / (1.0 + np.exp(-beta))),
    )
    yield _row(
        "beta clipped at 1",
        "beta above 1 counts as 1",
        "beta_t <- min(beta_t, 1)",
        "beta",
        on(("beta",), lambda beta: np.minimum(beta, 1.0)),
    )
    yield _row("gate squared", "the gate is applied twice", "g_t <- 2 g_t", "g", on(GATES, np.square))
    yield _row(
        "eta squared",
        "the step is multiplied by eta twice",
        "eta <- eta^2",
        "eta",
        lambda inputs: replace(inputs, eta=inputs.eta**2),
        recurrences=CALIBRATING,
    )


def _mixed() -> Iterator[Alternative]:
    yield _row(
        "k for q",
        "the output reads with the key",
        "o_t = scale S_t k_t",
        "q",
        lambda inputs: replace(inputs, queries=inputs.keys),
    )
    yield _row(
        "q and k swapped",
        "q and k are swapped",
        "q_t <- k_t, k_t <- q_t",
        "q",
        lambda inputs: replace(inputs, queries=inputs.keys, keys=inputs.queries),
    )
    yield _row(
        "k for v",
        "the key is stored as the value (K = V)",
        "v_t <- k_t",
        "v",
        lambda inputs: replace(inputs, values=inputs.keys) if inputs.square else inputs,
    )
    yield _row(
        "initial_state transposed",
        "S_0 is read transposed (K = V)",
        "S_0 <- S_0^T",
        "initial_state",
        lambda inputs: replace(inputs, state=np.swapaxes(inputs.state, -1, -2)) if inputs.square else inputs,
    )
    yield _row(
        "first token skipped",
        "token 1 is neither written nor calibrated on",
        "k_1 <- 0",
        "k",
        on(("keys",), lambda keys: _with(keys, 0, 0.0)),
    )


def _with(array: Array, token: int, value: float) -> Array:
    changed = np.array(array)
    changed[:, :, token : token + 1] = value
    return changed


def _gates() -> Iterator[Alternative]:
    yield _row(
        "exp of g missing",
        "g is used as it comes, without exp",
        "alpha_t, gamma_t = g_t",
        "g",
        on(GATES, np.log),
    )
    yield _row(
        "exp of g twice",
        "the exponential of g is taken twice",
        "alpha_t, gamma_t = exp(exp(g_t))",
        "g",
        on(GATES, np.exp),
    )
    yield _row(
        "2 to the g",
        "g is taken to base 2",
        "alpha_t, gamma_t = 2^{g_t}",
        "g",
        on(GATES, lambda gate: np.power(gate, np.log(2.0))),
    )
    yield _row(
        "S_0 does not decay",
        "the first token's gate is left out",
        "alpha_1 = 1",
        "g",
        on(("decay",), lambda gate: _with(gate, 0, 1.0)),
        recurrences=DECAYING,
    )
    kda = frozenset({"kda"})
    yield Alternative(
        "one gate per head",
        "every feature decays by the same gate",
        "alpha_t <- alpha_{t,1}, or exp of the mean of g_t",
        {
            "the first feature's": fault_of(
                on(("decay",), lambda gate: np.broadcast_to(gate[..., :1], gate.shape))
            ),
            "the mean": fault_of(on(("decay",), _geometric_mean)),
        },
        kda,
        frozenset({"g"}),
    )
    yield _row(
        "g decays the memory",
        "g decays the memory instead of d",
        "S_t = e^{g_t} S_{t-1} + ...",
        "g",
        lambda inputs: replace(inputs, decay=inputs.forget, forget=None),
        recurrences=OSDN,
    )
    yield _row(
        "g decays the memory too",
        "g decays the memory as well as d",
        "S_t = e^{g_t} S_{t-1} + ...",
        "g",
        lambda inputs: replace(inputs, decay=inputs.forget),
        recurrences=OSDN,
    )


def _geometric_mean(gate: Array) -> Array:
    return np.broadcast_to(np.exp(np.mean(np.log(gate), axis=-1, keepdims=True)), gate.shape)


def _rounded() -> Iterator[Alternative]:
    def coarse(array: Array) -> Array:
        return round_to(array, BFLOAT16)

    for argument, fields in {**TENSORS, **STATES}.items():
        change = (
            on(fields, coarse) if argument != "g" else on(GATES, lambda gate: np.exp(coarse(np.log(gate))))
        )
        yield _row(
            f"{argument} in bfloat16",
            f"{argument} is rounded to bfloat16",
            f"{argument} <- bfloat16({argument})",
            argument,
            change,
        )
