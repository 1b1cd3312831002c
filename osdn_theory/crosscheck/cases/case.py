"""One question to a kernel: a stream and a rule made of numbers that the kernel's formats hold exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal, get_args

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.validation import Array, as_float64, broadcastable, require
from osdn_theory.crosscheck.kernel.adapters import KEY_FLOOR, Adapter, KeyNorm
from osdn_theory.crosscheck.kernel.recurrences import Recurrence
from osdn_theory.recurrence.gram_diagonal import running_diagonal
from osdn_theory.recurrence.rules import FROZEN, CalibrationRule
from osdn_theory.recurrence.solve import (
    SharedOptions,
    delta_net,
    gated_delta_net,
    kda,
    osdn,
    preconditioned_delta_net,
)
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.rounding import FLOAT32, FORMATS, round_rule, round_to
from osdn_theory.streams.stream import Stream

Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
WIDE = FLOAT32
"""What gates, states and preconditioners are passed in."""

STREAM_INPUTS = ("queries", "keys", "values", "beta", "forget_gate", "state_gate")
"""What its stream has for every token."""

TOKEN_INPUTS = ("log_gate", "log_state_gate", "log_gram_decay", "gram_weight")
"""What a case has for every token beside its stream."""

OWN = ("initial_state", "initial_preconditioner", "anchor", *TOKEN_INPUTS)
"""The arrays of a case beside those of its stream."""

RULED: Mapping[str, Callable[..., Trajectory]] = {
    "osdn": osdn,
    "osgdn": gated_delta_net,
    "oskda": kda,
    "preconditioner": osdn,
}
"""Recurrences whose d moves by a rule."""

FROZEN_RULE: Mapping[str, Callable[..., Trajectory]] = {
    "delta_net": delta_net,
    "gated_delta_net": gated_delta_net,
    "kda": kda,
}
"""Recurrences whose d stays where it starts."""

STILL = {"gated_delta_net": "delta_net", "kda": "delta_net", "osgdn": "osdn", "oskda": "osdn"}
"""What they compute without a gate of the memory."""


@show_briefly
@dataclass(frozen=True, eq=False)
class Case:
    """Inputs that a kernel and the exact recurrence share, bit by bit. Leading axes are (B, H).

    - `stream`: Queries, keys, values and beta that `dtype` holds.
    - `rule`: That of DeltaNet where the kernel does not calibrate.
    - `initial_state` (B, H, V, K)
    - `initial_preconditioner` (B, H, K): d_1; of Preconditioned DeltaNet A_0, the Gram diagonal that it starts from.
    - `anchor` (B, H, K)
    - `log_gate`, `log_state_gate` (B, H, T) or None: What the kernel is given as g or g_d: float32 values
      whose exponentials are the gates of the stream. The state gate of KDA is (B, H, T, K).
    - `log_gram_decay`, `gram_weight` (B, H, T) or None: Of Preconditioned DeltaNet: the logarithm of the
      Gram diagonal's decay, float32, and the weight of each key in it, which `dtype` holds.
    - `key_norm`: How the recurrence normalises queries and keys.
    - `group`: How many heads in a row have queries, keys, forgetting, anchor and d_1 in common, which the
      kernel gets once.
    """

    stream: Stream
    rule: CalibrationRule
    recurrence: Recurrence
    dtype: Dtype
    scale: float
    initial_state: Array
    initial_preconditioner: Array
    anchor: Array
    log_gate: Array | None
    log_state_gate: Array | None
    log_gram_decay: Array | None = None
    gram_weight: Array | None = None
    key_norm: KeyNorm | None = None
    group: int = 1

    @property
    def gates_features(self) -> bool:
        """Whether the memory decays by one number per feature."""
        return self.log_state_gate is not None and self.log_state_gate.ndim == self.stream.keys.ndim

    @property
    def state_gate(self) -> Array | None:
        """alpha_t, where the kernel's memory decays."""
        return None if self.log_state_gate is None else np.exp(self.log_state_gate)

    def asking(self, queries: Array) -> Case:
        """The same writes, other reads."""
        return replace(self, stream=replace(self.stream, queries=queries))

    def asking_ahead(self) -> Case:
        """The same writes, every token reading with the next one's key; the last with its own."""
        following = self.next_keys(slice(1, None))
        return self.asking(np.concatenate([following, self.stream.keys[..., -1:, :]], axis=-2))

    def next_keys(self, tokens: int | slice) -> Array:
        """What reads S_{t-1} for token t: its key, with the gates of its features where the memory has such."""
        keys: Array = self.stream.keys[..., tokens, :]
        if not self.gates_features or self.state_gate is None:
            return keys
        return round_to(keys * self.state_gate[..., tokens, :], FORMATS[self.dtype])

    def map(self, change: Callable[[Array], Array]) -> Case:
        """The case with `change` applied to every array that it has; all have the leading axes (B, H)."""
        found = {name: getattr(self, name) for name in OWN}
        own: dict[str, Any] = {name: change(np.asarray(x)) for name, x in found.items() if x is not None}
        return replace(self, stream=self.stream.map(change), **own)

    def repeated(self, copies: int) -> Case:
        """The batch `copies` times in a row."""
        return self if copies == 1 else self.map(lambda array: np.concatenate([array] * copies))

    def first(self, length: int) -> Case:
        """The first tokens alone."""
        return self.piece(0, length)

    def piece(self, start: int, stop: int) -> Case:
        """The tokens ``start:stop``, from the same initial state."""
        whole = {name: getattr(self, name) for name in TOKEN_INPUTS}
        cut: dict[str, Any] = {
            name: None if value is None else value[:, :, start:stop] for name, value in whole.items()
        }
        return replace(self, stream=self.stream.tokens(start, stop), **cut)

    def filled(self, multiple: int) -> Case:
        """Filled up to a multiple of so many tokens, with tokens that neither write nor decay anything."""
        missing = -self.stream.length % multiple
        if not missing:
            return self

        def fill(value: Array | None, neutral: float) -> Array | None:
            if value is None:
                return None
            shape = (*value.shape[:2], missing, *value.shape[3:])
            return np.concatenate([np.asarray(value), np.full(shape, neutral)], axis=2)

        names = dict.fromkeys(STREAM_INPUTS[:4], 0.0) | dict.fromkeys(STREAM_INPUTS[4:], 1.0)
        tokens: dict[str, Any] = {name: fill(getattr(self.stream, name), x) for name, x in names.items()}
        own: dict[str, Any] = {name: fill(getattr(self, name), 0.0) for name in TOKEN_INPUTS}
        return replace(self, stream=replace(self.stream, comparator=None, **tokens), **own)

    def exact(self) -> Trajectory:
        """The float64 trajectory, with every state."""
        stream, start = self.read_stream(), self.initial_preconditioner
        given: SharedOptions = {
            "scale": self.scale,
            "initial_state": self.initial_state,
            "return_states": True,
        }
        if self.gram_weight is not None and self.log_gram_decay is not None:
            return preconditioned_delta_net(
                stream,
                decay=np.exp(self.log_gram_decay),
                weight=self.gram_weight,
                gated=self.log_state_gate is not None,
                initial_gram_diagonal=start,
                **given,
            )
        recurrence = (
            self.recurrence if self.state_gate is not None else STILL.get(self.recurrence, self.recurrence)
        )
        if recurrence in FROZEN_RULE:
            return FROZEN_RULE[recurrence](stream, initial_preconditioner=start, **given)
        return RULED[recurrence](stream, self.rule, initial_preconditioner=start, **given)

    def read_stream(self) -> Stream:
        """The stream as the recurrence sees it: queries and keys of norm one where the kernel makes them so."""
        if self.key_norm is None:
            return self.stream
        floor = KEY_FLOOR[self.key_norm]
        queries = np.asarray(self.stream.queries)
        return replace(
            self.stream, queries=of_norm_one(queries, floor), keys=of_norm_one(self.stream.keys, floor)
        )

    def following(self, exact: Trajectory) -> Array:
        """The same after every token, (B, H, T, K): what a prefix of t tokens hands on."""
        if self.gram_weight is not None and self.log_gram_decay is not None:
            decay = np.exp(self.log_gram_decay)
            keys = self.read_stream().keys
            return running_diagonal(keys, decay, self.gram_weight, self.initial_preconditioner)
        return following(exact)


def of_norm_one(vectors: Array, floor: float) -> Array:
    """x / sqrt(|x|^2 + floor); zero stays zero."""
    norms = np.sqrt(np.sum(vectors * vectors, axis=-1, keepdims=True) + floor)
    return vectors / np.where(norms == 0, 1.0, norms)


def pack(cases: Sequence[Case]) -> Case:
    """Sequences of one batch row each in one row, one after the other; states keep one batch row for each."""
    first = cases[0]

    def joined(parts: Sequence[Any], names: Sequence[str], axis: int) -> dict[str, Any]:
        pieces = {name: [getattr(part, name) for part in parts] for name in names}
        return {name: None if x[0] is None else np.concatenate(x, axis=axis) for name, x in pieces.items()}

    tokens = joined([case.stream for case in cases], STREAM_INPUTS, 2)
    stream = replace(first.stream, comparator=None, solution=None, initial_preconditioner=None, **tokens)
    return replace(first, stream=stream, **joined(cases, OWN[:3], 0), **joined(cases, TOKEN_INPUTS, 2))


def bounds_of(cases: Sequence[Case]) -> tuple[int, ...]:
    """Where each sequence begins among those packed, and where the last one ends: `cu_seqlens`."""
    return tuple(accumulate((case.stream.length for case in cases), initial=0))


def pose(
    adapter: Adapter,
    stream: Stream,
    rule: CalibrationRule,
    dtype: Dtype,
    *,
    scale: float = 1.0,
    initial_state: Any = None,
    tokens: int | None = None,
    group: int = 1,
) -> Case:
    """A stream and a rule rounded to what the kernel's arguments hold.

    Queries, keys, values and beta are rounded to `dtype`; the anchor, d_1, S_0 and the logarithms of the gates to
    float32, from which the gates of the exact recurrence are taken. The step and the box are numbers of the rule: what
    a kernel makes of them in float32 is part of its error. Of `group` heads in a row all get what the first has of
    queries, keys, gates of d, anchor and d_1.

    Raises ValueError: an empty stream, more than two leading axes, an unknown dtype, a box or a step per
    feature or head, or gates per feature; a group that does not divide the heads, or one
    beside beta-aware feedback.
    """
    require(dtype in DTYPES, f"dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    require(stream.length > 0, "stream: it has no tokens")
    stream = _shared(with_two_axes(stream if tokens is None else stream.tokens(0, tokens)), group)
    stream = stream.map(lambda array: round_to(array, FORMATS[dtype]), "queries", "keys", "values", "beta")
    log_gate = _log_gate(stream, rule) if adapter.calibrates else None
    rule = _shared_anchor(_rounded_rule(rule), stream, group) if adapter.calibrates else FROZEN
    if adapter.calibrates and adapter.beta_aware and "beta_aware" not in adapter.parameters:
        rule = replace(rule, beta_aware=True)
    state_gate = stream.state_gate if adapter.gated else None
    alone = rule.beta_aware or (state_gate is not None and state_gate.ndim == stream.keys.ndim)
    require(group == 1 or not alone, "group: expected 1 beside beta-aware feedback or gates per feature")
    per_head = (*stream.lead, stream.key_dim)
    start = np.zeros(per_head) if adapter.preconditioned else np.ones(per_head)
    if adapter.calibrates and stream.initial_preconditioner is not None:
        start = round_to(stream.initial_preconditioner, WIDE)
    still = adapter.gate_optional and stream.state_gate is None
    log_state_gate = _log_state_gate(stream, adapter) if adapter.gated and not still else None
    if log_gate is not None:
        stream = replace(stream, forget_gate=np.exp(log_gate))
    if log_state_gate is not None:
        stream = replace(stream, state_gate=np.exp(log_state_gate))
    return Case(
        stream=stream,
        rule=rule,
        recurrence=adapter.recurrence,
        dtype=dtype,
        scale=adapter.scale(float(scale), stream.key_dim),
        initial_state=_initial_state(stream, initial_state),
        initial_preconditioner=start,
        anchor=_anchor(rule, start),
        log_gate=log_gate,
        log_state_gate=log_state_gate,
        **(_gram_inputs(stream, dtype) if adapter.preconditioned else {}),
        key_norm=adapter.key_norm,
        group=group,
    )


def _shared(stream: Stream, group: int) -> Stream:
    if group == 1:
        return stream
    heads = stream.lead[1]
    require(group >= 1 and heads % group == 0, f"group: expected a divisor of {heads} heads, got {group}")
    names = ("queries", "keys", "forget_gate", "initial_preconditioner")
    return stream.map(lambda array: _of_first(array, group), *names)


def _shared_anchor(rule: CalibrationRule, stream: Stream, group: int) -> CalibrationRule:
    if group == 1 or isinstance(rule.anchor, str):
        return rule
    per_head = np.broadcast_to(rule.anchor, (*stream.lead, stream.key_dim))
    return replace(rule, anchor=_of_first(per_head, group))


def _of_first(array: Array, group: int) -> Array:
    """What the first of every `group` heads in a row has, of all of them."""
    return np.repeat(array[:, ::group], group, axis=1)


GOLDEN = 0.6180339887498949
"""Multiples of it modulo one are spread evenly."""


def _gram_inputs(stream: Stream, dtype: Dtype) -> dict[str, Array]:
    """Decay and weight of the Gram diagonal: the stream's forgetting where it has one, else spread over (0.5, 1), and
    weights spread over (0, 1)."""
    shape = stream.keys.shape[:-1]
    spread = (np.arange(1, 2 * np.prod(shape) + 1) * GOLDEN % 1.0).reshape(2, *shape)
    decay = 0.5 + spread[0] / 2 if stream.forget_gate is None else np.asarray(stream.forget_gate)
    return {
        "log_gram_decay": round_to(np.log(decay), WIDE),
        "gram_weight": round_to(spread[1], FORMATS[dtype]),
    }


def with_two_axes(stream: Stream) -> Stream:
    """The stream with leading axes (B, H): one is taken as heads, none as a single head."""
    missing = 2 - len(stream.lead)
    require(missing >= 0, f"stream: expected at most the leading axes (batch, head), got {stream.lead}")
    return stream.map(lambda array: array[(None,) * missing])


def _rounded_rule(rule: CalibrationRule) -> CalibrationRule:
    for name in ("d_min", "d_max"):
        side = as_float64(name, getattr(rule, name), check_finite=False)
        require(side.ndim == 0, f"rule: kernels take one number as {name}, got shape {side.shape}")
    return round_rule(rule)


def _log_gate(stream: Stream, rule: CalibrationRule) -> Array | None:
    """log gamma of every token in float32, or None where nothing is forgotten."""
    if isinstance(rule.forgetting, str):
        require(
            stream.forget_gate is not None, "rule: forgetting by token, but the stream has no forget_gate"
        )
        gamma = np.asarray(stream.forget_gate)
    else:
        constant = as_float64("forgetting", rule.forgetting)
        if np.all(constant == 1):
            return None
        gamma = np.broadcast_to(constant[..., None], stream.keys.shape[:-1])
    return round_to(np.log(gamma), WIDE)


def _log_state_gate(stream: Stream, adapter: Adapter) -> Array:
    gate = stream.state_gate
    require(gate is not None, f"stream: {adapter.name} decays its memory and needs a state_gate")
    assert gate is not None
    per_feature = adapter.gates_features
    expected = stream.keys.shape if per_feature else stream.keys.shape[:-1]
    wanted = "per feature" if per_feature else "per token, not per feature"
    require(gate.shape == expected, f"stream: expected one state_gate {wanted}, got shape {gate.shape}")
    # The logarithm of a gate that empties the memory is -inf, which kernels take.
    with np.errstate(divide="ignore"):
        return round_to(np.log(gate), WIDE)


def _initial_state(stream: Stream, given: Any) -> Array:
    shape = (*stream.lead, stream.value_dim, stream.key_dim)
    if given is None:
        return np.zeros(shape)
    state = as_float64("initial_state", given)
    broadcastable("initial_state", state.shape, shape)
    return np.array(np.broadcast_to(round_to(state, WIDE), shape))


def _anchor(rule: CalibrationRule, start: Array) -> Array:
    if isinstance(rule.anchor, str):
        return start
    return np.array(np.broadcast_to(rule.anchor, start.shape))


def handed_on(exact: Trajectory) -> Array:
    """What a kernel hands on beside the state after the last token, (B, H, K): d_{T+1}, or A_T."""
    last = exact.carry.gram_diagonal
    return exact.final_preconditioner if last is None else last


def following(exact: Trajectory) -> Array:
    """d_{t+1} of every token, (B, H, T, K): what a prefix of t tokens hands on."""
    last = exact.final_preconditioner[..., None, :]
    return np.concatenate([exact.preconditioner[..., 1:, :], last], axis=-2)
