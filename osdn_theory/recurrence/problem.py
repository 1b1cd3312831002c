"""What both solvers run: the tokens (pending ones first), where they start, and how d moves."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array, as_float64, broadcastable, require
from osdn_theory.recurrence import calibrate as calibration
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.trajectory import Carry, Trajectory
from osdn_theory.streams.stream import Stream

PENDING_PATH = "preconditioner"
"""Key of a carry's pending metadata: the d of the pending tokens, where no calibrate step gives it."""

READ = ("keys", "values", "queries", "beta", "state_gate", "forget_gate")
"""The arrays of a stream that a recurrence reads."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A recurrence ready to run.

    `tokens` are the pending tokens of a carry followed by those of `stream`; the first `skip` of them
    were reported before. `path` gives d for every token where it does not follow the calibrate step.
    `gate` is the state gate over `tokens`, (..., T) or (..., T, K), or None.
    """

    recurrence: str
    stream: Stream
    rule: CalibrationRule | None
    tokens: Stream
    skip: int
    gate: Array | None
    path: Array | None
    state: Array
    preconditioner: Array
    anchor: Array
    scale: float


@dataclass(frozen=True, eq=False)
class Run:
    """What a solver computed for the tokens after the skipped ones, and where it stopped."""

    outputs: Array
    preconditioner: Array
    alignment: Array
    residuals: Array
    initial_state: Array
    initial_preconditioner: Array
    final_state: Array
    final_preconditioner: Array
    carry: Carry
    states: Array | None = None


def pose(
    recurrence: str,
    stream: Stream,
    rule: CalibrationRule | None,
    *,
    gated: bool,
    scale: float,
    initial_state: Array | None,
    initial_preconditioner: Array | float | None,
    carry: Carry | None,
    check_finite: bool,
    path: Array | None = None,
) -> Problem:
    """The problem of a recurrence that calibrates by `rule`, or whose d is `path`; checks every argument."""
    fresh = initial_state is None and (initial_preconditioner is None or rule is None)
    require(carry is None or fresh, "carry: not together with initial_state or initial_preconditioner")
    tokens, skip = _with_pending(stream, carry)
    d1, anchor = _start(stream, rule, initial_preconditioner, carry)
    if rule is None:
        path = _path_with_pending(path, carry)
    else:
        calibration.check_box(rule, d1.shape)
        calibration.forgetting(tokens, rule)
        path = np.broadcast_to(d1[..., np.newaxis, :], tokens.keys.shape) if is_frozen(rule) else None
    return Problem(
        recurrence=recurrence,
        stream=stream,
        rule=rule,
        tokens=tokens,
        skip=skip,
        gate=tokens.state_gate if gated else None,
        path=path,
        state=start_state(stream, initial_state, carry, check_finite),
        preconditioner=d1,
        anchor=anchor,
        scale=float(as_float64("scale", scale)),
    )


def _start(
    stream: Stream, rule: CalibrationRule | None, given: Array | float | None, carry: Carry | None
) -> tuple[Array, Array]:
    """d_1 and the anchor, both (..., K)."""
    shape = (*stream.lead, stream.key_dim)
    if carry is not None:
        found = carry.preconditioner.shape
        require(found == shape, f"carry: expected a preconditioner {shape}, got {found}")
        return carry.preconditioner, carry.anchor
    d1 = calibration.resolve_initial_preconditioner(stream, given)
    return d1, np.zeros(shape) if rule is None else calibration.resolve_anchor(rule, d1)


def _path_with_pending(path: Array | None, carry: Carry | None) -> Array | None:
    """A pending token's d was computed with gates that are gone by now: the carry kept it."""
    if path is None or carry is None or carry.pending is None:
        return path
    return np.concatenate((carry.pending.metadata[PENDING_PATH], path), axis=-2)


def is_frozen(rule: CalibrationRule) -> bool:
    """Whether the calibrate step of `rule` returns every preconditioner unchanged."""
    unbounded = bool(np.all(np.isneginf(rule.d_min)) and np.all(np.isposinf(rule.d_max)))
    return rule.eta == 0 and unbounded and bool(np.all(np.asarray(rule.forgetting) == 1.0))


def start_state(
    stream: Stream, initial_state: Array | None, carry: Carry | None, check_finite: bool
) -> Array:
    """S_0 as a (..., V, K) array: the carried one, else the one given, else zero."""
    shape = (*stream.lead, stream.value_dim, stream.key_dim)
    if carry is not None:
        require(carry.state.shape == shape, f"carry: expected a state {shape}, got {carry.state.shape}")
        return carry.state
    if initial_state is None:
        return np.zeros(shape)
    state = as_float64("initial_state", initial_state, min_ndim=2, check_finite=check_finite)
    broadcastable("initial_state", state.shape, shape)
    return np.broadcast_to(state, shape)


def _with_pending(stream: Stream, carry: Carry | None) -> tuple[Stream, int]:
    if carry is None or carry.pending is None:
        return stream, 0
    return _join(carry.pending, stream), carry.pending.length


def _join(first: Stream, second: Stream) -> Stream:
    """The tokens of `first`, then those of `second`; a gate that either lacks is left out."""
    here, there = first.arrays(), second.arrays()
    joined: dict[str, Any] = {
        name: np.concatenate((here[name], there[name]), axis=first.token_axis(name))
        for name in READ
        if name in here and name in there
    }
    return Stream(**joined)


def detach(problem: Problem, start: int, path: Array) -> Stream:
    """The tokens from `start` on, in memory of their own: a carry must not keep the whole stream alive."""
    tokens = problem.tokens.tokens(start, problem.tokens.length).arrays()
    copies: dict[str, Any] = {name: np.array(tokens[name]) for name in READ if name in tokens}
    pending = {PENDING_PATH: np.array(path[..., start:, :])} if problem.rule is None else {}
    return Stream(**copies, metadata=pending)


def to_trajectory(problem: Problem, run: Run, check_finite: bool) -> Trajectory:
    """The public result; raises if the run left the floating-point range."""
    if check_finite:
        _raise_on_overflow(problem, run)
    return Trajectory(
        stream=problem.stream,
        rule=problem.rule,
        recurrence=problem.recurrence,
        scale=problem.scale,
        outputs=run.outputs,
        preconditioner=run.preconditioner,
        alignment=run.alignment,
        residuals=run.residuals,
        initial_state=run.initial_state,
        final_state=run.final_state,
        initial_preconditioner=run.initial_preconditioner,
        final_preconditioner=run.final_preconditioner,
        anchor=problem.anchor,
        carry=run.carry,
        states=run.states,
    )


def _raise_on_overflow(problem: Problem, run: Run) -> None:
    for name in ("final_state", "final_preconditioner", "alignment"):
        if not np.isfinite(getattr(run, name)).all():
            raise FloatingPointError(f"{problem.recurrence}: {name} left the float64 range")
