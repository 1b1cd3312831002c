"""The recurrence under a mechanism, in float64: the one without a fault is the exact recurrence."""

from dataclasses import replace
from typing import get_args

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.alternatives.engine.inputs import RecurrenceInputs, RecurrenceOutcome
from osdn_theory.crosscheck.alternatives.engine.mechanism import (
    Factor,
    Forget,
    Frozen,
    Mechanism,
    Place,
    Read,
    Source,
)
from osdn_theory.crosscheck.cases.case import of_norm_one
from osdn_theory.recurrence.gram_diagonal import running_diagonal, squashed_inverse
from osdn_theory.rounding import FLOAT64, Format, round_to

NEVER = 1 << 62

SQUASH, EPSILON = 1.5, 1e-6
"""Of Preconditioned DeltaNet, as published."""


def run(inputs: RecurrenceInputs, mechanism: Mechanism) -> RecurrenceOutcome:
    """What a mechanism makes of its inputs."""
    if inputs.floor is not None:
        queries, keys = (of_norm_one(x, inputs.floor) for x in (inputs.queries, inputs.keys))
        inputs = replace(inputs, queries=queries, keys=keys)
    path, handed = (_path if inputs.gram_weight is None else _squashed)(inputs, mechanism)
    if mechanism.calibrate_first and inputs.length:
        path = np.concatenate([path[:, :, 1:], handed[:, :, None]], axis=2)
    outputs, state = _memory(inputs, mechanism, path)
    return RecurrenceOutcome(outputs, state, path, handed)


def _squashed(inputs: RecurrenceInputs, m: Mechanism) -> tuple[Array, Array]:
    """d_t of Preconditioned DeltaNet, and the Gram diagonal that it hands on."""
    assert inputs.gram_decay is not None
    assert inputs.gram_weight is not None
    diagonal = running_diagonal(inputs.keys, inputs.gram_decay, inputs.gram_weight, inputs.start)
    whole = np.concatenate([inputs.start[:, :, None], diagonal], axis=2)
    read = whole[:, :, 1:] if m.own_key else whole[:, :, :-1]
    return squashed_inverse(read, SQUASH, m.center, EPSILON), whole[:, :, -1]


def _path(inputs: RecurrenceInputs, m: Mechanism) -> tuple[Array, Array]:
    """d_t of every token and the one handed on."""
    from osdn_theory.crosscheck.alternatives.engine import loops

    seen, direction, rate = _feedback(inputs, m)
    lead = inputs.keys.shape[:2]
    path, handed = np.empty(inputs.keys.shape), np.empty((*lead, inputs.key_dim))
    switches = (
        get_args(Forget).index(m.forget),
        m.clip_every or NEVER,
        get_args(Frozen).index(m.frozen),
        m.chunk,
        m.reset_preconditioner_every,
        inputs.forget is not None,
        _dropped(m.preconditioner_format),
        m.carried_apart,
    )
    loops.calibrate(
        *(_flat(x) for x in (seen, direction, rate)),
        _flat(rate if inputs.forget is None else inputs.forget),
        *(_flat(x) for x in (inputs.anchor, inputs.start)),
        inputs.d_min,
        inputs.d_max,
        switches,
        _flat(path),
        _flat(handed),
    )
    return path, handed


def _feedback(inputs: RecurrenceInputs, m: Mechanism) -> tuple[Array, Array, Array]:
    """Features that a_t is formed with, features that the step goes along, and eta w_t."""
    keys, beta = inputs.keys, inputs.beta
    seen = np.square(keys)
    along = {"square": seen, "key": keys, "absolute": np.abs(keys)}[m.feature]
    rate = np.broadcast_to(np.float64(inputs.eta * m.gain * m.calibrates), beta.shape)
    size = np.sum(seen, axis=-1)
    if m.weighing == "always" or (m.weighing == "as asked" and inputs.normalize):
        rate = rate / (size + inputs.epsilon)
    elif m.weighing in ("norm", "fourth power") and inputs.normalize:
        rate = rate / (size ** (0.5 if m.weighing == "norm" else 2.0) + inputs.epsilon)
    if m.awareness == "always" or (m.awareness == "as asked" and inputs.beta_aware):
        seen, along = beta[..., None] * seen, beta[..., None] * along
    elif m.awareness == "half":
        along = beta[..., None] * along
    elif m.awareness == "other half":
        seen = beta[..., None] * seen
    if m.loses_feature == "alignment":
        seen = _without_last_feature(seen)
    return seen, along, rate


def _memory(inputs: RecurrenceInputs, m: Mechanism, path: Array) -> tuple[Array, Array]:
    from osdn_theory.crosscheck.alternatives.engine import loops

    written = path
    if m.written_preconditioner_format is not None:
        written = round_to(path, m.written_preconditioner_format)
    erase, write = _factor(inputs.keys, path, m.erase), _factor(inputs.keys, written, m.write)
    if m.write_key_format is not None:
        write = round_to(write, m.write_key_format)
    queries = inputs.queries if m.query == "query" else path * inputs.queries
    if m.loses_feature == "residual":
        erase = _without_last_feature(erase)
    if m.loses_feature == "output":
        queries = _without_last_feature(queries)
    taught, beta = _gates(inputs, m, path)
    decay = inputs.decay
    if decay is not None and decay.ndim == 3:
        decay = np.broadcast_to(decay[..., None], inputs.keys.shape)
    outputs, state = np.empty(inputs.values.shape), np.empty(inputs.state.shape)
    switches = (
        get_args(Source).index(m.source),
        get_args(Place).index(m.decay),
        get_args(Read).index(m.read),
        m.chunk,
        m.reset_every,
        int(m.undecayed_carry),
        decay is not None,
        _dropped(m.state_format),
    )
    loops.remember(
        *(_flat(x) for x in (queries, erase, write, taught, beta)),
        _flat(erase if decay is None else decay),
        _flat(inputs.state),
        switches,
        _flat(outputs),
        _flat(state),
    )
    return inputs.scale * outputs, state


def _factor(keys: Array, path: Array, which: Factor) -> Array:
    if which == "key":
        return keys
    if which == "root":
        # d is below zero only where the clip is missing; a kernel has NaN there as well.
        with np.errstate(invalid="ignore"):
            return np.sqrt(path) * keys
    return path * keys if which == "write key" else path * path * keys


def _gates(inputs: RecurrenceInputs, m: Mechanism, path: Array) -> tuple[Array, Array]:
    """The value times its gate, and the gate of the read."""
    beta = inputs.beta
    if m.gate == "implicit":
        beta = beta / (1.0 + beta * np.sum(path * np.square(inputs.keys), axis=-1))
    on_value = {"erase": np.ones_like(beta), "value twice": beta * beta}.get(m.gate, beta)
    on_read = np.ones_like(beta) if m.gate == "value" else beta
    return on_value[..., None] * inputs.values, on_read


def _without_last_feature(values: Array) -> Array:
    short = np.array(values)
    short[..., -1] = 0.0
    return short


def _dropped(stored: Format | None) -> int:
    return 0 if stored is None else FLOAT64.significand - stored.significand


def _flat(array: Array) -> Array:
    """(B, H, ...) with its first two axes as one, contiguous and of float64: a view where it is already.

    Writable as well: to the compiler arrays that are not have another type, for which it would start again.
    """
    batch, heads, *rest = array.shape
    return np.require(array, np.float64, ["C", "W"]).reshape(batch * heads, *rest)
