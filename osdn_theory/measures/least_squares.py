"""Exact online Newton: recursive least squares with a ridge, and the distance of a state from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array, as_float64, broadcastable, require
from osdn_theory.context.problem import broadcast_leads
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream


@show_briefly
@dataclass(frozen=True, eq=False)
class LeastSquaresTrajectory:
    """Ridge least-squares states of the prefixes of a stream, float64.

    - `positions` (P,) int: Numbers of tokens read, ascending.
    - `states` (..., P, V, K): The solution after that many tokens.
    - `final_state` (..., V, K): The solution after all of them.
    """

    stream: Stream
    ridge: float
    positions: np.ndarray[tuple[int], np.dtype[np.int64]]
    states: Array
    final_state: Array


def recursive_least_squares(
    stream: Stream,
    *,
    ridge: float = 1e-6,
    initial_state: Any = None,
    positions: Sequence[int] | None = None,
    return_states: bool = False,
    block_size: int = 256,
) -> LeastSquaresTrajectory:
    r"""The least-squares state of every prefix asked for: exact online Newton.

    .. math:: S_t = \arg\min_S \sum_{i \le t} \|S k_i - v_i\|^2 + \lambda \|S - S_0\|_F^2

    Every token counts fully: write gates and state gates are not read. The triangular factor of the
    rows :math:`[k_i^\top \mid v_i^\top]`, with :math:`\sqrt\lambda I` on top, is carried from block to
    block by Householder reflections, and never the inverse of the Gram matrix: each prefix is solved
    backward-stably, at the condition number of the keys and not of its square. Memory does not grow
    with T unless states are asked for.

    - `ridge`, float > 0: :math:`\lambda`.
    - `initial_state` (..., V, K): :math:`S_0`. Default zero.
    - `positions`, integers in [0, T]: Numbers of tokens after which to report a state. Default none.
    - `return_states`: Report after every token, (..., T, V, K).
    - `block_size`, int >= 1: Most tokens absorbed by one factorisation.

    Raises TypeError, ValueError: a ridge that is not positive, positions outside the stream or beside
    `return_states`, an empty block, or an initial state of the wrong shape.
    """
    lam = _ridge(ridge)
    require(block_size >= 1, f"block_size: expected >= 1, got {block_size}")
    wanted = _positions(stream, positions, return_states)
    start = _initial(stream, initial_state)
    factor = np.zeros((*stream.lead, stream.key_dim, stream.key_dim + stream.value_dim))
    factor[..., : stream.key_dim] = np.sqrt(lam) * np.eye(stream.key_dim)
    cuts = sorted({0, *range(0, stream.length, block_size), *wanted.tolist(), stream.length})
    states = {0: start + np.zeros(factor.shape[:-2] + start.shape[-2:])}
    # Many small factorisations: a second BLAS thread costs more in waiting than it computes.
    with threadpool_limits(1, user_api="blas"):
        for begin, end in pairwise(cuts):
            factor = _absorb(factor, _rows(stream, start, begin, end))
            if end == stream.length or end in wanted:
                states[end] = start + _solve(factor)
    kept = [states[int(p)] for p in wanted]
    return LeastSquaresTrajectory(
        stream=stream,
        ridge=lam,
        positions=wanted,
        states=np.stack(kept, axis=-3) if kept else np.empty((*stream.lead, 0, *start.shape[-2:])),
        final_state=states[stream.length],
    )


def ridge_solution(keys: Any, values: Any, ridge: float, *, initial_state: Any = None) -> Array:
    r"""The ridge least-squares state of a whole context, solved at once by singular values.

    .. math:: S = S_0 + \sum_i \frac{\sigma_i}{\sigma_i^2 + \lambda}\,(v - S_0 k)^\top u_i w_i^\top,
              \qquad \mathrm{keys} = \sum_i \sigma_i u_i w_i^\top

    - `keys` (..., T, K), `values` (..., T, V)
    - `ridge`: float > 0
    - `initial_state` (..., V, K): S_0. Default zero.

    Returns (..., V, K) float64.

    Raises TypeError, ValueError: non-numeric or non-finite arguments, shapes that do not match, or a ridge that is
    not positive.
    """
    lam = _ridge(ridge)
    lead = broadcast_leads(keys=(keys, 2), values=(values, 2), initial_state=(initial_state, 2))
    context = Stream(keys=keys, values=values)
    start = np.zeros((context.value_dim, context.key_dim))
    if initial_state is not None:
        start = as_float64("initial_state", initial_state, min_ndim=2)
        broadcastable("initial_state", start.shape, (*lead, context.value_dim, context.key_dim))
    left, sigma, right = np.linalg.svd(context.keys, full_matrices=False)
    missing = context.values - context.keys @ transpose(start)
    gain = left * (sigma / (np.square(sigma) + lam))[..., None, :]
    solution: Array = start + transpose(missing) @ gain @ right
    return solution


def relative_distance(state: Any, reference: Any) -> Array:
    r"""Distance of a state from a reference, relative to the reference, (...).

    .. math:: \|S - S^{\mathrm{RLS}}\|_F / \|S^{\mathrm{RLS}}\|_F

    Infinite where only the reference is zero, NaN where both are. Raises ``ValueError`` for
    non-finite states and for shapes (..., V, K) that do not broadcast.
    """
    s = as_float64("state", state, min_ndim=2)
    r = as_float64("reference", reference, min_ndim=2)
    require(s.shape[-2:] == r.shape[-2:], f"reference: expected last axes {s.shape[-2:]}, got {r.shape}")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        off, size = scaled_together(s - r, r)
        ratio: Array = np.linalg.norm(off, axis=(-2, -1)) / np.linalg.norm(size, axis=(-2, -1))
    return ratio


def scaled_together(matrices: Array, reference: Array) -> tuple[Array, Array]:
    """Both times the power of two that brings the largest entry of each reference (..., M, N) near one.

    A ratio of their squares then neither overflows nor vanishes by their size, and is otherwise the same bit for bit.
    """
    largest = np.max(np.abs(reference), axis=(-2, -1), keepdims=True, initial=0.0)
    exponent = -np.frexp(largest)[1]
    return np.ldexp(matrices, exponent), np.ldexp(reference, exponent)


def newton_distance(
    trajectory: Trajectory, *, ridge: float = 1e-6, positions: Sequence[int] | None = None, states: Any = None
) -> Array:
    r"""Relative distance of a trajectory from exact online Newton.

    .. math:: \|S_t - S_t^{\mathrm{RLS}}\|_F / \|S_t^{\mathrm{RLS}}\|_F

    The ridge pulls towards the initial state of the trajectory.

    - `ridge`: float > 0
    - `positions`, integers in [1, T], ascending: Numbers of tokens read. Default: the end of the stream only. See
      :func:`checkpoints`.
    - `states` (..., P, V, K): The states at `positions`, where the trajectory was run without keeping its states.

    Returns (..., P) float64: One number per position (one in all by default).

    Raises ValueError: positions outside the stream, or positions without states to compare.
    """
    stream = trajectory.stream
    if positions is None:
        require(states is None, "states: expected `positions` beside them")
        own = trajectory.final_state[..., None, :, :]
        positions = [stream.length]
    elif states is not None:
        own = as_float64("states", states, min_ndim=3)
        require(own.shape[-3] == len(positions), f"states: expected {len(positions)}, got {own.shape[-3]}")
    else:
        require(trajectory.states is not None, "positions: the trajectory kept no states, pass `states`")
        require(min(positions, default=1) >= 1, "positions: expected numbers of tokens >= 1")
        own = np.asarray(trajectory.states)[..., np.asarray(positions, dtype=np.int64) - 1, :, :]
    newton = recursive_least_squares(
        stream, ridge=ridge, initial_state=trajectory.initial_state, positions=positions
    )
    return relative_distance(own, newton.states)


def checkpoints(length: int, count: int = 32) -> list[int]:
    """At most `count` numbers of tokens from 1 to `length`, evenly spaced in the logarithm.

    Empty for an empty stream; always ends at `length`. Raises ``ValueError`` unless ``count >= 1``.
    """
    require(count >= 1, f"count: expected >= 1, got {count}")
    if length <= 0:
        return []
    spaced = np.geomspace(1, length, count) if count > 1 else np.array([length])
    return sorted({*np.rint(spaced).astype(int).tolist(), length})


def _rows(stream: Stream, start: Array, begin: int, end: int) -> Array:
    keys = stream.keys[..., begin:end, :]
    return np.concatenate([keys, stream.values[..., begin:end, :] - keys @ transpose(start)], axis=-1)


def _absorb(factor: Array, rows: Array) -> Array:
    key_dim = factor.shape[-2]
    triangle: Any = np.linalg.qr(np.concatenate([factor, rows], axis=-2), mode="r")
    return as_float64("factor", triangle[..., :key_dim, :])


def _solve(factor: Array) -> Array:
    # Elimination on a triangle finds every multiplier zero: it is exactly back substitution.
    key_dim = factor.shape[-2]
    solution: Any = np.linalg.solve(factor[..., :key_dim], factor[..., key_dim:])
    return transpose(solution)


def _ridge(ridge: float) -> float:
    require(bool(np.isfinite(ridge)) and ridge > 0, f"ridge: expected finite and > 0, got {ridge}")
    return float(ridge)


def _initial(stream: Stream, initial_state: Any) -> Array:
    if initial_state is None:
        return np.zeros((stream.value_dim, stream.key_dim))
    start = as_float64("initial_state", initial_state, min_ndim=2)
    broadcastable("initial_state", start.shape, (*stream.lead, stream.value_dim, stream.key_dim))
    return start


def _positions(
    stream: Stream, positions: Sequence[int] | None, return_states: bool
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if return_states:
        require(positions is None, "positions: expected none beside return_states")
        return np.arange(1, stream.length + 1, dtype=np.int64)
    given = np.array([] if positions is None else list(positions))
    require(given.size == 0 or given.dtype.kind in "iu", f"positions: expected integers, got {positions}")
    wanted = np.asarray(given, dtype=np.int64)
    inside = bool(np.all((wanted >= 0) & (wanted <= stream.length)) and np.all(np.diff(wanted) > 0))
    require(inside, f"positions: expected ascending numbers in [0, {stream.length}], got {positions}")
    return wanted
