"""Exact trajectories of the delta-rule recurrences, token by token or chunk by chunk (T3, T12, T16, T17)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypedDict, Unpack

import numpy as np

from osdn_theory.base.threads import single_threaded_blas
from osdn_theory.base.validation import Array, as_float64, broadcastable, require
from osdn_theory.recurrence import calibrate as calibration
from osdn_theory.recurrence.chunkwise import solve_chunks
from osdn_theory.recurrence.gram_diagonal import running_diagonal, squashed_inverse
from osdn_theory.recurrence.problem import Problem, Run, pose, to_trajectory
from osdn_theory.recurrence.rules import BOUNDED, FROZEN, CalibrationRule
from osdn_theory.recurrence.trajectory import Carry, Trajectory
from osdn_theory.streams.stream import Stream

Method = Literal["recurrent", "chunk"]


class SharedOptions(TypedDict, total=False):
    """What every recurrence takes by keyword.

    - `scale`: Factor of the read.
    - `initial_state` (..., V, K), optional: S_0, default zero.
    - `carry`: Where the previous piece of the same stream stopped, ``trajectory.carry``. With the same rule, method
      and chunk size the pieces together have exactly the bits of the uncut run.
    - `method`: Token by token, or the WY chunk form (T12). They agree to rounding.
    - `chunk_size`, int >= 1: Tokens per chunk; multiples of 16 are fastest.
    - `return_states`: Keep every S_t (memory T V K); token by token only.
    - `check_finite`: Check the arguments given here, and that the run did not overflow.
    """

    scale: float
    initial_state: Array | None
    carry: Carry | None
    method: Method
    chunk_size: int
    return_states: bool
    check_finite: bool


class SolverOptions(SharedOptions, total=False):
    """The same, and where d starts.

    - `initial_preconditioner` (..., K) or scalar, optional: d_1, default the stream's own, else ones. Used as given,
      not clipped.
    """

    initial_preconditioner: Array | float | None


def osdn(stream: Stream, rule: CalibrationRule = BOUNDED, **options: Unpack[SolverOptions]) -> Trajectory:
    r"""Online Scaled DeltaNet (arXiv:2605.13473): write, read, calibrate.

    .. math::
        S_t &= S_{t-1} + \beta_t (v_t - S_{t-1} k_t)(d_t \odot k_t)^T \\
        o_t &= \text{scale} \cdot S_t q_t \\
        d_{t+1} &= \Pi[c + \gamma_t (d_t - c) + \eta w_t (1 - \langle d_t, x_t \rangle) x_t]

    A ``state_gate`` of the stream is not read: see :func:`gated_delta_net` and :func:`kda`.

    - `stream`: Keys (..., T, K), values (..., T, V), float64.
    - `rule`: The calibrate step.
    - `options`: Those of `SolverOptions`, by keyword.

    Raises TypeError, ValueError: shapes that do not broadcast, non-finite input, a rule that needs gates
    which the stream lacks, a carry together with initial values.
    Raises FloatingPointError: if the recurrence overflows.
    """
    return _solve("osdn", stream, rule, False, **options)


def delta_net(stream: Stream, **options: Unpack[SolverOptions]) -> Trajectory:
    r"""DeltaNet: OSDN whose preconditioner stays at d_1 (ones by default).

    .. math:: S_t = S_{t-1} + \beta_t (v_t - S_{t-1} k_t)(d_1 \odot k_t)^T

    Parameters, result and errors as in :func:`osdn`. A ``state_gate`` of the stream is not read.
    """
    return _solve("delta_net", stream, FROZEN, False, **options)


def gated_delta_net(
    stream: Stream, rule: CalibrationRule | None = None, **options: Unpack[SolverOptions]
) -> Trajectory:
    r"""Gated DeltaNet (arXiv:2412.06464): the state decays by one number per token before the residual (T17).

    .. math:: S_t = \alpha_t S_{t-1} + \beta_t (v_t - \alpha_t S_{t-1} k_t)(d_t \odot k_t)^T

    with :math:`\alpha` the stream's ``state_gate`` (..., T). Without a `rule` d stays at d_1; with one it
    follows the calibrate step. Parameters, result and errors as in :func:`osdn`; a missing gate, or one per
    feature, is a ValueError.
    """
    _require_gate(stream, per_feature=False)
    return _solve("gated_delta_net", stream, FROZEN if rule is None else rule, True, **options)


def kda(stream: Stream, rule: CalibrationRule | None = None, **options: Unpack[SolverOptions]) -> Trajectory:
    r"""Kimi Delta Attention (arXiv:2510.26692): the state decays per key feature before the residual.

    .. math:: S_t = S_{t-1}\mathrm{Diag}(\alpha_t)
              + \beta_t (v_t - S_{t-1}\mathrm{Diag}(\alpha_t) k_t)(d_t \odot k_t)^T

    with :math:`\alpha` the stream's ``state_gate`` (..., T, K). `rule`, parameters, result and errors as in
    :func:`gated_delta_net`.
    """
    _require_gate(stream, per_feature=True)
    return _solve("kda", stream, FROZEN if rule is None else rule, True, **options)


def solver_of(stream: Stream) -> Callable[..., Trajectory]:
    """The form of OSDN that the stream's state gates ask for: :func:`osdn`, :func:`gated_delta_net` or :func:`kda`."""
    if stream.state_gate is None:
        return osdn
    return kda if stream.state_gate.shape == stream.keys.shape else gated_delta_net


def _require_gate(stream: Stream, *, per_feature: bool) -> None:
    shape = stream.keys.shape if per_feature else stream.keys.shape[:-1]
    given = None if stream.state_gate is None else stream.state_gate.shape
    require(given == shape, f"state_gate: expected shape {shape}, got {given}")


def _solve(
    recurrence: str,
    stream: Stream,
    rule: CalibrationRule | None,
    gated: bool,
    path: Array | None = None,
    /,
    *,
    scale: float = 1.0,
    initial_state: Array | None = None,
    initial_preconditioner: Array | float | None = None,
    carry: Carry | None = None,
    method: Method = "recurrent",
    chunk_size: int = 32,
    return_states: bool = False,
    check_finite: bool = True,
) -> Trajectory:
    problem = pose(
        recurrence,
        stream,
        rule,
        path=path,
        gated=gated,
        scale=scale,
        initial_state=initial_state,
        initial_preconditioner=initial_preconditioner,
        carry=carry,
        check_finite=check_finite,
    )
    require(method in ("recurrent", "chunk"), f"method: expected 'recurrent' or 'chunk', got {method!r}")
    require(chunk_size >= 1, f"chunk_size: expected >= 1, got {chunk_size}")
    if method == "recurrent":
        with single_threaded_blas():
            run = _token_by_token(problem, return_states)
        return to_trajectory(problem, run, check_finite)
    require(
        not return_states, "return_states: the chunk form keeps no per-token states; use method='recurrent'"
    )
    return to_trajectory(problem, solve_chunks(problem, chunk_size), check_finite)


def _token_by_token(problem: Problem, return_states: bool) -> Run:
    """Write, read, calibrate; the arrays of the skipped tokens are dropped at the end."""
    tokens, beta = problem.tokens, np.asarray(problem.tokens.beta)
    assert tokens.queries is not None
    state, d = np.array(problem.state), problem.preconditioner
    outputs, residuals = np.empty(tokens.values.shape), np.empty(tokens.values.shape)
    preconditioner, alignment = np.empty(tokens.keys.shape), np.empty(tokens.keys.shape[:-1])
    states = np.empty((*tokens.values.shape, tokens.key_dim)) if return_states else None
    update = np.empty(state.shape)
    entry = state, d
    gamma = None
    if problem.rule is not None:
        gamma = calibration.forgetting_or_none(tokens.forget_gate, tokens.lead, tokens.length, problem.rule)
    for t in range(tokens.length):
        if t == problem.skip:
            entry = np.array(state), d
        key = tokens.keys[..., t, :]
        d = d if problem.path is None else problem.path[..., t, :]
        if problem.gate is not None:
            _decay(state, problem.gate, t)
        residual = tokens.values[..., t, :] - _read(state, key)
        np.multiply(
            (beta[..., t, np.newaxis] * residual)[..., np.newaxis], (d * key)[..., np.newaxis, :], out=update
        )
        state += update
        outputs[..., t, :] = problem.scale * _read(state, tokens.queries[..., t, :])
        residuals[..., t, :] = residual
        preconditioner[..., t, :] = d
        alignment[..., t] = np.vecdot(d, key * key)
        if states is not None:
            states[..., t, :, :] = state
        if problem.path is None and problem.rule is not None:
            feature, weight = calibration.feature_and_weight(key, beta[..., t], problem.rule)
            forget = None if gamma is None else gamma[..., t]
            d = calibration.calibrate_step(d, feature, weight, forget, problem.anchor, problem.rule)
    if tokens.length <= problem.skip:
        entry = state, d
    new = slice(problem.skip, None)
    return Run(
        outputs=outputs[..., new, :],
        preconditioner=preconditioner[..., new, :],
        alignment=alignment[..., new],
        residuals=residuals[..., new, :],
        initial_state=entry[0],
        initial_preconditioner=entry[1],
        final_state=state,
        final_preconditioner=d,
        carry=Carry(state=state, preconditioner=d, anchor=problem.anchor),
        states=None if states is None else states[..., new, :, :],
    )


def _read(state: Array, key: Array) -> Array:
    """S k for (..., V, K) and (..., K)."""
    read: Array = np.matmul(state, key[..., np.newaxis])[..., 0]
    return read


def _decay(state: Array, gate: Array, t: int) -> None:
    """S <- alpha_t S in place, alpha one number per token or one per feature."""
    per_feature = gate.ndim == state.ndim
    state *= gate[..., t, np.newaxis, :] if per_feature else gate[..., t, np.newaxis, np.newaxis]


def preconditioned_delta_net(
    stream: Stream,
    *,
    decay: Array | float = 1.0,
    weight: Array | float = 1.0,
    squash: float = 1.5,
    center: float = -0.2,
    epsilon: float = 1e-6,
    gated: bool = False,
    initial_gram_diagonal: Array | float = 0.0,
    **options: Unpack[SharedOptions],
) -> Trajectory:
    r"""Preconditioned DeltaNet (arXiv:2604.21100): d from a running diagonal of the key Gram matrix.

    .. math::
        A_t &= \gamma^A_t A_{t-1} + b_t\, k_t \odot k_t \\
        d_t &= x^{-\mathrm{softsign}(\log(A_t + \varepsilon) - \text{center})},
        \qquad \mathrm{softsign}(r) = r / (1 + |r|) \\
        S_t &= S_{t-1} + \beta_t (v_t - S_{t-1} k_t)(d_t \odot k_t)^T

    Token t is written with a d_t that includes its own key. The trajectory's ``rule`` is None, its final
    preconditioner is d_T, and its initial one is that of A_0. The parameters not listed here, the result and the
    errors are those of :func:`osdn`.

    - `stream`: Keys (..., T, K), values (..., T, V), float64.
    - `decay` (..., T) or scalar in [0, 1]: gamma^A.
    - `weight` (..., T) or scalar >= 0: b, with which the square of a key enters A.
    - `squash`, float > 1: x: d stays in (1/x, x).
    - `center`, `epsilon`: Centre of the squash on the log scale, and the floor under A (> 0).
    - `gated`: Decay the state by the stream's ``state_gate``, per token or per feature, before the residual.
    - `initial_gram_diagonal` (..., K) or scalar >= 0: A_0.
    """
    require(squash > 1, f"squash: expected > 1, got {squash}")
    require(epsilon > 0, f"epsilon: expected > 0, got {epsilon}")
    require(not gated or stream.state_gate is not None, "gated: the stream has no state_gate")
    decays = _per_token("decay", decay, stream)
    weights = _per_token("weight", weight, stream)
    require(bool(np.all(decays <= 1)), "decay: expected values in [0, 1]")
    carry = options.get("carry")
    if carry is None:
        start = as_float64("initial_gram_diagonal", initial_gram_diagonal)
        broadcastable("initial_gram_diagonal", start.shape, (*stream.lead, stream.key_dim))
        start = np.broadcast_to(start, (*stream.lead, stream.key_dim))
        require(bool(np.all(start >= 0)), "initial_gram_diagonal: expected values >= 0")
    else:
        require(carry.gram_diagonal is not None, "carry: not from preconditioned_delta_net")
        start = np.asarray(carry.gram_diagonal)
    diagonal = running_diagonal(stream.keys, decays, weights, start)
    first = squashed_inverse(start, squash, center, epsilon)
    path = squashed_inverse(diagonal, squash, center, epsilon)
    trajectory = _solve(
        "preconditioned_delta_net", stream, None, gated, path, initial_preconditioner=first, **options
    )
    last = diagonal[..., -1, :] if stream.length else start
    return replace(
        trajectory,
        initial_preconditioner=first,
        carry=replace(trajectory.carry, gram_diagonal=np.array(last)),
    )


def _per_token(name: str, value: Array | float, stream: Stream) -> Array:
    array = as_float64(name, value)
    broadcastable(name, array.shape, stream.keys.shape[:-1])
    require(bool(np.all(array >= 0)), f"{name}: expected values >= 0")
    return np.broadcast_to(array, stream.keys.shape[:-1])
