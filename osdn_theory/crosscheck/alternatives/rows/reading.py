"""Rows of the table: inputs that are ignored, mixed up, used twice, or normalised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.alternatives.alternative import (
    ANY,
    CALIBRATING,
    DECAYING,
    NORM,
    OSDN,
    Alternative,
)
from osdn_theory.crosscheck.alternatives.engine.inputs import Inputs
from osdn_theory.crosscheck.alternatives.rows.changing import (
    GATES,
    TENSORS,
    Change,
    fault_of,
    on,
    readers,
    row_of,
)
from osdn_theory.recurrence.rules import PUBLISHED


def rows() -> Iterator[Alternative]:
    """All faults of what is read."""
    yield from _ignored()
    yield from _gram_diagonal()
    yield from _scales()
    yield from _normalised()
    yield from _twice()
    yield from _mixed()
    yield from _gates()


def _ignored() -> Iterator[Alternative]:
    def set_to(**values: Any) -> Change:
        return lambda inputs: replace(inputs, **values)

    def ones(array: Array) -> Array:
        return np.ones_like(array)

    def zeros(array: Array) -> Array:
        return np.zeros_like(array)

    yield row_of(
        "beta ignored",
        "beta is ignored",
        "S_t = S_{t-1} + (v_t - S_{t-1} k_t)(d_t * k_t)^T",
        "beta",
        on(("beta",), ones),
    )
    yield row_of("g ignored", "the gate g is ignored", "gamma_t = 1, alpha_t = 1", "g", on(GATES, ones))
    yield row_of(
        "initial_state ignored", "the memory starts empty", "S_0 = 0", "initial_state", on(("state",), zeros)
    )
    yield Alternative(
        "d_1 is 0 by default",
        "where no d_1 is given the preconditioner starts at 0",
        "d_1 = 0",
        {"": fault_of(on(("start",), _zero_for_ones))},
        CALIBRATING,
    )
    yield row_of(
        "d_1 ignored",
        "the preconditioner starts at 1",
        "d_1 = 1",
        "initial_preconditioner",
        on(("start",), ones),
    )
    yield row_of(
        "anchor ignored",
        "d forgets towards 0",
        "d_{t+1} = clip[gamma_t d_t + ...]",
        "anchor",
        on(("anchor",), zeros),
    )
    yield row_of("anchor is 1", "d forgets towards 1", "c = 1", "anchor", on(("anchor",), ones))
    yield row_of(
        "anchor is d_1",
        "d forgets towards d_1",
        "c = d_1",
        "anchor",
        lambda inputs: replace(inputs, anchor=inputs.start),
    )
    yield row_of(
        "eta ignored",
        "the step is always the default one",
        "eta = 0.003",
        "eta",
        set_to(eta=PUBLISHED.eta),
        recurrences=CALIBRATING,
    )
    yield row_of(
        "box ignored",
        "the box is always the default one",
        "clip to [2/3, 3/2]",
        "d_min",
        set_to(d_min=PUBLISHED.d_min, d_max=PUBLISHED.d_max),
        recurrences=CALIBRATING,
    )
    yield row_of(
        "normalize_feedback ignored",
        "feedback is never normalised",
        "w_t = 1",
        "normalize_feedback",
        set_to(normalize=False),
        recurrences=CALIBRATING,
    )


def _gram_diagonal() -> Iterator[Alternative]:
    formulas = {"g_atk": "A_t = A_{t-1} + b_t k_t^2", "beta_atk": "A_t = e^{a_t} A_{t-1} + k_t^2"}
    for argument, formula in formulas.items():
        key, sentence = f"{argument} ignored", f"{argument} is ignored"
        yield row_of(key, sentence, formula, argument, on(TENSORS[argument], np.ones_like))
    yield row_of(
        "initial_A_state ignored",
        "the Gram diagonal starts at 0",
        "A_0 = 0",
        "initial_A_state",
        on(("start",), np.zeros_like),
    )


def _scales() -> Iterator[Alternative]:
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
        yield row_of(key, "another factor of the read", formula, "q", _scaled(scale), needs=needs)
    yield row_of(
        "scale on k",
        "k is multiplied by the scale as well as q",
        "k_t <- scale k_t",
        "q",
        lambda inputs: replace(inputs, keys=inputs.scale * inputs.keys),
    )


def _scaled(scale: Callable[[Inputs], float]) -> Change:
    return lambda inputs: replace(inputs, scale=scale(inputs))


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
            readers(name),
            needs,
        )
    yield Alternative(
        "norms left in",
        "queries and keys are not divided by their norms where that was asked",
        "k_t for k_t / ||k_t||",
        {"": fault_of(lambda inputs: replace(inputs, floor=None))},
        ANY,
        frozenset({NORM}),
    )


def _twice() -> Iterator[Alternative]:
    def times(factor: float) -> Callable[[Array], Array]:
        return lambda array: factor * array

    yield row_of(
        "beta squared", "beta is applied twice", "beta_t <- beta_t^2", "beta", on(("beta",), np.square)
    )
    yield row_of(
        "beta doubled",
        "beta is doubled, as for negative eigenvalues",
        "beta_t <- 2 beta_t",
        "beta",
        on(("beta",), times(2.0)),
    )
    yield row_of(
        "sigmoid of beta",
        "beta goes through a sigmoid once more",
        "beta_t <- sigmoid(beta_t)",
        "beta",
        on(("beta",), lambda beta: 1.0 / (1.0 + np.exp(-beta))),
    )
    yield row_of(
        "beta clipped at 1",
        "beta above 1 counts as 1",
        "beta_t <- min(beta_t, 1)",
        "beta",
        on(("beta",), lambda beta: np.minimum(beta, 1.0)),
    )
    yield row_of("gate squared", "the gate is applied twice", "g_t <- 2 g_t", "g", on(GATES, np.square))
    yield row_of(
        "eta squared",
        "the step is multiplied by eta twice",
        "eta <- eta^2",
        "eta",
        lambda inputs: replace(inputs, eta=inputs.eta**2),
        recurrences=CALIBRATING,
    )


def _mixed() -> Iterator[Alternative]:
    yield row_of(
        "k for q",
        "the output reads with the key",
        "o_t = scale S_t k_t",
        "q",
        lambda inputs: replace(inputs, queries=inputs.keys),
    )
    yield row_of(
        "q and k swapped",
        "q and k are swapped",
        "q_t <- k_t, k_t <- q_t",
        "q",
        lambda inputs: replace(inputs, queries=inputs.keys, keys=inputs.queries),
    )
    yield row_of(
        "k for v",
        "the key is stored as the value (K = V)",
        "v_t <- k_t",
        "v",
        lambda inputs: replace(inputs, values=inputs.keys) if inputs.square else inputs,
    )
    yield row_of(
        "initial_state transposed",
        "S_0 is read transposed (K = V)",
        "S_0 <- S_0^T",
        "initial_state",
        lambda inputs: replace(inputs, state=transpose(inputs.state)) if inputs.square else inputs,
    )
    yield row_of(
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
    yield row_of(
        "exp of g missing",
        "g is used as it comes, without exp",
        "alpha_t, gamma_t = g_t",
        "g",
        on(GATES, np.log),
    )
    yield row_of(
        "exp of g twice",
        "the exponential of g is taken twice",
        "alpha_t, gamma_t = exp(exp(g_t))",
        "g",
        on(GATES, np.exp),
    )
    yield row_of(
        "2 to the g",
        "g is taken to base 2",
        "alpha_t, gamma_t = 2^{g_t}",
        "g",
        on(GATES, lambda gate: np.power(gate, np.log(2.0))),
    )
    yield row_of(
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
    yield row_of(
        "g decays the memory",
        "g decays the memory instead of d",
        "S_t = e^{g_t} S_{t-1} + ...",
        "g",
        lambda inputs: replace(inputs, decay=inputs.forget, forget=None),
        recurrences=OSDN,
    )
    yield row_of(
        "g decays the memory too",
        "g decays the memory as well as d",
        "S_t = e^{g_t} S_{t-1} + ...",
        "g",
        lambda inputs: replace(inputs, decay=inputs.forget),
        recurrences=OSDN,
    )


def _geometric_mean(gate: Array) -> Array:
    return np.broadcast_to(np.exp(np.mean(np.log(gate), axis=-1, keepdims=True)), gate.shape)


def _zero_for_ones(start: Array) -> Array:
    """Ones are what is not passed."""
    return start if np.any(start != 1) else np.zeros_like(start)
