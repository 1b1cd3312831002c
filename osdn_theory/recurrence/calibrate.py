"""The calibrate step of the preconditioner, and the scan of it over a stream (T4, T11, T13)."""

import math
from typing import Literal

import numpy as np

from osdn_theory.base.validation import Array, as_float64, broadcastable, require
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.scan import wy_scan
from osdn_theory.streams.stream import Stream


def calibrate_step(
    preconditioner: Array,
    feature: Array,
    weight: Array | float,
    gamma: Array | float | None,
    anchor: Array,
    rule: CalibrationRule,
) -> Array:
    r"""One projected online gradient step on the surrogate (T4, with forgetting T13).

    .. math:: d_{t+1} = \Pi[c + \gamma_t (d_t - c) + \eta\, w_t (1 - \langle d_t, x_t\rangle) x_t]

    - `preconditioner` (..., K) float64: d_t.
    - `feature` (..., K) float64: x_t: the squared key, or beta times it in the beta-aware variant.
    - `weight` (...) float64: w_t.
    - `gamma` (...) float64, or None: Forgetting; None leaves the decay towards `anchor` out (gamma = 1).
    - `anchor` (..., K) float64: c. Only read when `gamma` is not None.
    - `rule`: Supplies eta and the box.

    Returns (..., K) float64: d_{t+1}, inside the box.
    """
    kept = preconditioner
    if gamma is not None:
        kept = anchor + np.asarray(gamma)[..., np.newaxis] * (preconditioner - anchor)
    # What overflows is outside the box on its side.
    with np.errstate(over="ignore"):
        gain = rule.eta * weight * (1.0 - np.vecdot(preconditioner, feature))
        moved = gain[..., np.newaxis] * feature
    moved += kept
    projected: Array = np.clip(moved, rule.d_min, rule.d_max)
    return projected


def features(stream: Stream, rule: CalibrationRule) -> tuple[Array, Array]:
    r"""Features and weights of the preconditioner's own learning problem.

    Returns:

    - `feature` (..., T, K) float64: :math:`x_t = k_t \odot k_t`, times :math:`\beta_t` if ``rule.beta_aware``.
    - `weight` (..., T) float64: :math:`w_t`: 1, or :math:`1/(\|k_t\|^2 + \varepsilon)` if ``rule.normalize_feedback``.
    """
    return feature_and_weight(stream.keys, np.asarray(stream.beta), rule)


def feature_and_weight(keys: Array, beta: Array, rule: CalibrationRule) -> tuple[Array, Array]:
    """:func:`features` of bare keys (..., K) and write gates (...)."""
    feature: Array = np.multiply(keys, keys)
    weight = np.ones(keys.shape[:-1])
    if rule.normalize_feedback:
        weight = 1.0 / (np.vecdot(keys, keys) + rule.epsilon)
    if rule.beta_aware:
        np.multiply(beta[..., np.newaxis], feature, out=feature)
    return feature, weight


def forgetting(stream: Stream, rule: CalibrationRule) -> Array:
    """The forgetting factor gamma_t of every token, (..., T) float64 in (0, 1].

    Raises ValueError: if the rule reads it per token and the stream has no ``forget_gate``, or if the
    rule's array does not broadcast over the leading axes.
    """
    gamma = forgetting_or_none(stream.forget_gate, stream.lead, stream.length, rule)
    shape = (*stream.lead, stream.length)
    return np.broadcast_to(1.0 if gamma is None else gamma, shape)


def forgetting_or_none(
    gate: Array | None, lead: tuple[int, ...], length: int, rule: CalibrationRule
) -> Array | None:
    """gamma (..., T), or None if the rule forgets nothing, whatever the data (so cuts cannot change it)."""
    if isinstance(rule.forgetting, str):
        if gate is None:
            raise ValueError("forget_gate: the rule has forgetting='token' but the stream has no forget_gate")
        return gate
    gamma = as_float64("rule.forgetting", rule.forgetting)
    broadcastable("rule.forgetting", gamma.shape, lead)
    if bool(np.all(gamma == 1.0)):
        return None
    return np.broadcast_to(gamma[..., np.newaxis] if gamma.ndim else gamma, (*lead, length))


def resolve_anchor(rule: CalibrationRule, initial_preconditioner: Array) -> Array:
    """The anchor c as a (..., K) array: the rule's, or d_1 where the rule says ``"initial"``."""
    if isinstance(rule.anchor, str):
        return initial_preconditioner
    anchor = as_float64("rule.anchor", rule.anchor)
    broadcastable("rule.anchor", anchor.shape, initial_preconditioner.shape)
    return np.broadcast_to(anchor, initial_preconditioner.shape)


def resolve_initial_preconditioner(stream: Stream, given: Array | float | None = None) -> Array:
    """d_1 as a (..., K) array: `given`, else the stream's own, else ones. It is not clipped to the box."""
    if given is None:
        given = stream.initial_preconditioner
    return _initial(given, (*stream.lead, stream.key_dim))


def _initial(given: Array | float | None, shape: tuple[int, ...]) -> Array:
    d1 = as_float64("initial_preconditioner", 1.0 if given is None else given)
    broadcastable("initial_preconditioner", d1.shape, shape)
    return np.broadcast_to(d1, shape)


def check_box(rule: CalibrationRule, shape: tuple[int, ...]) -> None:
    """Raise unless the rule's box broadcasts to preconditioners of `shape` (..., K)."""
    broadcastable("rule.d_min", np.shape(rule.d_min), shape)
    broadcastable("rule.d_max", np.shape(rule.d_max), shape)


def calibration_scan(
    keys: Array,
    rule: CalibrationRule,
    *,
    beta: Array | float | None = None,
    gamma: Array | float | None = None,
    initial_preconditioner: Array | float | None = None,
    anchor: Array | None = None,
    method: Literal["wy", "sequential"] = "wy",
    chunk_size: int = 8,
    out: Array | None = None,
    check_finite: bool = True,
) -> tuple[Array, Array]:
    r"""Every preconditioner of a stream: d_1 … d_T and the one handed on, d_{T+1} (T4, T11).

    - `keys` (..., T, K) float64
    - `beta` (..., T) or scalar: Write gate, read by the beta-aware feedback only. Default 1.
    - `gamma` (..., T) or scalar: Forgetting per token; required by, and only allowed with,
      ``rule.forgetting == "token"``.
    - `initial_preconditioner` (..., K) or scalar: d_1, default ones.
    - `anchor` (..., K): c; default the rule's.
    - `method`, "wy" or "sequential": WY chunks with the clip certificate, or token by token. They agree to rounding.
    - `chunk_size`, int >= 1: Tokens after which WY blocks start afresh, so that a stream cut there repeats the uncut
      bits.
    - `out` (..., T, K) float64: Where to write the preconditioners.

    Returns:

    - `preconditioner` (..., T, K) float64: d_t used by token t, before its calibration.
    - `final_preconditioner` (..., K) float64: d_{T+1}.

    Raises TypeError, ValueError: non-numeric or non-finite input, shapes that do not broadcast, missing or
    superfluous gamma, unknown method.
    """
    keys = as_float64("keys", keys, min_ndim=2, check_finite=check_finite)
    require(method in ("wy", "sequential"), f"method: expected 'wy' or 'sequential', got {method!r}")
    require(chunk_size >= 1, f"chunk_size: expected >= 1, got {chunk_size}")
    lead, length = keys.shape[:-2], keys.shape[-2]
    d1 = _initial(initial_preconditioner, (*lead, keys.shape[-1]))
    check_box(rule, d1.shape)
    gate = _token_gate(gamma, rule, keys.shape[:-1])
    forget = forgetting_or_none(gate, lead, length, rule)
    write_gate = as_float64("beta", 1.0 if beta is None else beta)
    broadcastable("beta", write_gate.shape, keys.shape[:-1])
    write_gate = np.broadcast_to(write_gate, keys.shape[:-1])
    centre = resolve_anchor(rule, d1) if anchor is None else as_float64("anchor", anchor)
    broadcastable("anchor", centre.shape, d1.shape)
    centre = np.broadcast_to(centre, d1.shape)
    result = np.empty(keys.shape) if out is None else _checked_output(out, keys.shape)
    if method == "sequential":
        return result, _sequential(keys, write_gate, forget, d1, centre, rule, result)
    return result, scan_chunks(keys, write_gate, forget, d1, centre, rule, chunk_size, result)


def _token_gate(gamma: Array | float | None, rule: CalibrationRule, shape: tuple[int, ...]) -> Array | None:
    if gamma is None:
        return None
    require(isinstance(rule.forgetting, str), "gamma: only allowed with rule.forgetting == 'token'")
    gate = as_float64("gamma", gamma)
    broadcastable("gamma", gate.shape, shape)
    require(bool(np.all((gate > 0) & (gate <= 1))), "gamma: expected values in (0, 1]")
    return np.broadcast_to(gate, shape)


def _checked_output(out: Array, shape: tuple[int, ...]) -> Array:
    fits = out.shape == shape and out.dtype == np.float64 and out.flags.c_contiguous
    require(fits, f"out: expected contiguous float64 {shape}, got {out.dtype} {out.shape}")
    return out


def scan_chunks(
    keys: Array,
    beta: Array,
    gamma: Array | None,
    initial: Array,
    anchor: Array,
    rule: CalibrationRule,
    chunk_size: int,
    out: Array,
) -> Array:
    """The WY scan of checked arrays with any leading axes; writes `out`, returns the one handed on."""
    length, dim = keys.shape[-2:]
    count = math.prod(keys.shape[:-2])

    def flat(array: Array, *shape: int) -> Array:
        return array.reshape(count, *shape)

    final = wy_scan(
        keys=flat(keys, length, dim),
        beta=flat(beta, length),
        gamma=None if gamma is None else flat(gamma, length),
        initial=flat(initial, dim),
        anchor=flat(anchor, dim),
        lower=flat(np.broadcast_to(rule.d_min, initial.shape), dim),
        upper=flat(np.broadcast_to(rule.d_max, initial.shape), dim),
        rule=rule,
        period=chunk_size,
        out=flat(out, length, dim),
    )
    return final.reshape(initial.shape)


def _sequential(
    keys: Array,
    beta: Array,
    gamma: Array | None,
    initial: Array,
    anchor: Array,
    rule: CalibrationRule,
    out: Array,
) -> Array:
    """Token by token into `out`; returns the preconditioner handed on."""
    d = initial
    for t in range(keys.shape[-2]):
        out[..., t, :] = d
        feature, weight = feature_and_weight(keys[..., t, :], beta[..., t], rule)
        d = calibrate_step(d, feature, weight, None if gamma is None else gamma[..., t], anchor, rule)
    return np.array(d)
