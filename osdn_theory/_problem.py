"""What both solvers run: the tokens (pending ones first), where they start, and how d moves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from osdn_theory import preconditioner as calibration
from osdn_theory._validation import Array, as_float64, broadcastable, require
from osdn_theory.rules import CalibrationRule
from osdn_theory.streams import Stream
from osdn_theory.trajectory import Carry, Trajectory


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
    rule: CalibrationRule,
    *,
    gated: bool,
    scale: float,
    initial_state: Array | None,
    initial_preconditioner: Array | float | None,
    carry: Carry | None,
    check_finite: bool,
) -> Problem:
    """The problem of a recurrence that calibrates by `rule`; every argument is checked here."""
    fresh = initial_state is None and initial_preconditioner is None
    require(carry is None or fresh, "carry: not together with initial_state or initial_preconditioner")
    tokens, skip = _with_pending(stream, carry)
    if carry is None:
        d1 = calibration.resolve_initial_preconditioner(stream, initial_preconditioner)
        anchor = calibration.resolve_anchor(rule, d1)
    else:
        d1, anchor = _carried(stream, carry)
    calibration.check_box(rule, d1.shape)
    calibration.forgetting(tokens, rule)
    return Problem(
        recurrence=recurrence,
        stream=stream,
        rule=rule,
        tokens=tokens,
        skip=skip,
        gate=tokens.state_gate if gated else None,
        path=np.broadcast_to(d1[..., np.newaxis, :], tokens.keys.shape) if is_frozen(rule) else None,
        state=start_state(stream, initial_state, carry, check_finite),
        preconditioner=d1,
        anchor=anchor,
        scale=float(as_float64("scale", scale)),
    )


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


def _carried(stream: Stream, carry: Carry) -> tuple[Array, Array]:
    shape = (*stream.lead, stream.key_dim)
    given = carry.preconditioner.shape
    require(given == shape, f"carry: expected a preconditioner {shape}, got {given}")
    return carry.preconditioner, carry.anchor


def _with_pending(stream: Stream, carry: Carry | None) -> tuple[Stream, int]:
    if carry is None or carry.pending is None:
        return stream, 0
    return _join(carry.pending, stream), carry.pending.length


def _join(first: Stream, second: Stream) -> Stream:
    """The tokens of `first`, then those of `second`."""

    def along(axis: int, a: Array | None, b: Array | None) -> Array | None:
        return None if a is None or b is None else np.concatenate((a, b), axis=axis)

    keys = np.concatenate((first.keys, second.keys), axis=-2)
    both_gates = first.state_gate, second.state_gate
    per_feature = first.state_gate is not None and first.state_gate.ndim == keys.ndim
    return Stream(
        keys=keys,
        values=np.concatenate((first.values, second.values), axis=-2),
        queries=along(-2, first.queries, second.queries),
        beta=np.concatenate((np.asarray(first.beta), np.asarray(second.beta)), axis=-1),
        state_gate=along(-2 if per_feature else -1, *both_gates),
        forget_gate=along(-1, first.forget_gate, second.forget_gate),
    )


def detached(stream: Stream) -> Stream:
    """The tokens alone, in memory of their own: a carry must not keep the whole stream alive."""

    def copy(value: Array | None) -> Array | None:
        return None if value is None else np.array(value)

    return Stream(
        keys=np.array(stream.keys),
        values=np.array(stream.values),
        queries=copy(stream.queries),
        beta=np.array(stream.beta),
        state_gate=copy(stream.state_gate),
        forget_gate=copy(stream.forget_gate),
    )


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


def with_gram_diagonal(trajectory: Trajectory, gram_diagonal: Array) -> Trajectory:
    """The trajectory with the running key Gram diagonal in its carry (Preconditioned DeltaNet)."""
    return replace(trajectory, carry=replace(trajectory.carry, gram_diagonal=gram_diagonal))
