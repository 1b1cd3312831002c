"""What OSDN does on given streams, head by head, beside the DeltaNet that it scales (T3, T13, T15, T19)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.jsonable import jsonable
from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array, require
from osdn_theory.measures.calibration_times import CalibrationTimes, calibration_times
from osdn_theory.measures.least_squares import recursive_least_squares, relative_distance, scaled_together
from osdn_theory.objective import residual_ratio
from osdn_theory.recurrence.calibrate import (
    calibrate_step,
    features,
    forgetting,
    resolve_anchor,
    resolve_initial_preconditioner,
)
from osdn_theory.recurrence.rules import BOUNDED, FROZEN, CalibrationRule
from osdn_theory.recurrence.solve import Method, solver_of
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream


@show_briefly
@dataclass(frozen=True)
class RecurrenceMeasures:
    """One head under one recurrence.

    - `log_residual_ratio`: Mean of log q_t (T3) over the tokens where it is defined; -inf if some token vanishes, NaN
      if no token has a residual.
    - `residual_ratio`: Its exponential, the geometric mean.
    - `vanishing_tokens`: Tokens whose residual the write removes as far as float64 can tell: sqrt(q_t) <= K * eps,
      the rounding of the alignment itself. They count as q_t = 0.
    - `undefined_tokens`: Tokens without a residual to remove, q_t = 0/0.
    - `missing_share`: sum |S_T k_i - v_i|^2 / sum |v_i|^2 after the context; NaN where all values are zero.
    - `preconditioner_min`, `preconditioner_max`: Range of d over tokens and coordinates, the one handed on included.
    - `drift_max`, `drift_rms`: Largest and root-mean-square |d - 1|, over the same.
    - `mean_alignment`: Mean of a_t; 1 is a full write.
    - `newton_distance`: |S_T - S_RLS|_F / |S_RLS|_F, the ridge least-squares solution of the whole context.
    - `clipped_fraction`: Share of calibrate steps that the box cut short.
    """

    log_residual_ratio: float
    residual_ratio: float
    vanishing_tokens: int
    undefined_tokens: int
    missing_share: float
    preconditioner_min: float
    preconditioner_max: float
    drift_max: float
    drift_rms: float
    mean_alignment: float
    newton_distance: float
    clipped_fraction: float


@show_briefly
@dataclass(frozen=True)
class HeadAnalysis:
    """One head of one layer: its keys, its calibration times, and both recurrences on it.

    - `stream`: Name of the stream, a layer for instance.
    - `index`: Place in the leading axes, (batch, head) for instance.
    - `length`: T, in tokens.
    - `key_rank`: Numerical rank of the keys.
    - `key_condition`: Largest over smallest eigenvalue of the Gram matrix, on its numerical range.
    - `effective_rank`: exp of the entropy of the Gram spectrum (Roy and Vetterli, 2007), between 1 and K.
    - `fastest_calibration`, `slowest_calibration`: Time constants of T19 in tokens, to hold against `length`.
    - `calibrated_fraction`: Share of the feature variance that calibrates within the context.
    - `calibrated_directions`: Number of directions that do, of K.
    - `identity`: Whether T15 makes OSDN equal to DeltaNet here, see :func:`keeps_identity`.
    - `measures`: mapping from "osdn" and "delta_net" to RecurrenceMeasures
    """

    stream: str
    index: tuple[int, ...]
    length: int
    key_rank: int
    key_condition: float
    effective_rank: float
    fastest_calibration: float
    slowest_calibration: float
    calibrated_fraction: float
    calibrated_directions: int
    identity: bool
    measures: Mapping[str, RecurrenceMeasures]

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready values; infinities and NaN as strings."""
        document: dict[str, Any] = jsonable(self)
        return document


def analyze(
    streams: Iterable[Stream],
    rule: CalibrationRule = BOUNDED,
    *,
    ridge: float = 1e-6,
    method: Method = "recurrent",
    chunk_size: int = 32,
) -> list[HeadAnalysis]:
    """Measure OSDN and DeltaNet on every head of every stream (T3, T17, T19).

    OSDN starts from the stream's own d_1, or ones; DeltaNet has d = 1 throughout, from the same zero
    state. A stream with state gates is measured under OS-GDN and Gated DeltaNet, or OS-KDA and KDA; its
    distance to least squares, which knows no decay, is NaN.

    - `streams`: One per layer, say; every entry of the leading axes is a head. At least one token each.
    - `ridge`, float > 0: Of the least-squares solution that stands for exact Newton.
    - `method`, `chunk_size`: As in :func:`osdn_theory.recurrence.solve.osdn`.

    Returns them stream by stream, leading axes in row-major order.

    Raises ValueError: for an empty stream, a ridge that is not positive, or a rule that needs gates which a stream
    lacks.
    """
    return [head for stream in streams for head in _heads(stream, rule, ridge, method, chunk_size)]


def keeps_identity(stream: Stream, rule: CalibrationRule) -> npt.NDArray[np.bool_]:
    """Whether d stays at 1, so that OSDN is DeltaNet, (...) bool (T15).

    It does from d_1 = 1 where 1 lies in the box, every key has unit norm up to the rounding of float64, forgetting is
    off or leads back to 1, and the feedback is not beta-aware.
    """
    start = resolve_initial_preconditioner(stream)
    anchored = resolve_anchor(rule, start)
    kept = np.all(forgetting(stream, rule) == 1.0, axis=-1) | np.all(anchored == 1.0, axis=-1)
    in_box = bool(np.all(np.less_equal(rule.d_min, 1.0)) and np.all(np.greater_equal(rule.d_max, 1.0)))
    off = np.abs(np.sum(stream.squared_keys, axis=-1) - 1.0).max(axis=-1, initial=0.0)
    unit = off <= 2 * stream.key_dim * np.finfo(np.float64).eps
    kept = kept & unit & np.all(start == 1.0, axis=-1)
    return np.asarray(kept & in_box & (not rule.beta_aware), dtype=bool)


def key_spectrum(keys: Array) -> tuple[Array, Array, Array]:
    """Numerical rank, condition of the Gram matrix on its range, and effective rank of keys (..., T, K).

    Keys that are all zero have rank and effective rank 0 and condition NaN.
    """
    sigma: Any = np.linalg.svd(keys, compute_uv=False)
    noise = np.max(sigma, axis=-1, keepdims=True, initial=0.0) * max(keys.shape[-2:]) * np.finfo(float).eps
    keep = sigma > noise
    power = np.where(keep, np.square(sigma), 0.0)
    least = np.min(power, axis=-1, initial=np.inf, where=keep)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = power / np.sum(power, axis=-1, keepdims=True)
        entropy = -np.sum(np.where(keep, share * np.log(share), 0.0), axis=-1)
        condition = np.where(keep.any(axis=-1), np.max(power, axis=-1, initial=0.0) / least, np.nan)
    rank = np.sum(keep, axis=-1)
    return rank, condition, np.where(rank > 0, np.exp(entropy), 0.0)


def geometric_mean_ratio(ratio: Array) -> tuple[Array, Array]:
    r"""Mean of log q_t over the tokens, and its exponential, (...) each (T3).

    .. math:: \exp\Bigl(\frac1{|\{t\}|}\sum_t \log q_t\Bigr)

    NaN entries of `ratio` (..., T), tokens without a residual, are left out; a zero makes the mean of
    the logarithms minus infinity. NaN where no token is left.
    """
    defined = ~np.isnan(ratio)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.sum(np.log(np.where(defined, ratio, 1.0)), axis=-1)
        mean: Array = total / np.sum(defined, axis=-1)
    return mean, np.exp(mean)


def token_residual_ratio(trajectory: Trajectory, preconditioner: Array | None = None) -> Array:
    """q_t of every token (T3, T17), (..., T): 0 where float64 cannot tell it from 0, NaN without a residual.

    The alignment is a sum of K products, so sqrt(q_t) is known to about K * eps. A `preconditioner` (..., T, K) takes
    the place of d_t in the alignment.
    """
    stream, ratio = trajectory.stream, trajectory.residual_ratio
    if preconditioner is not None:
        other = residual_ratio(np.vecdot(preconditioner, stream.squared_keys), stream.beta)
        ratio = np.where(np.isnan(ratio), np.nan, other)
    resolution = stream.key_dim * float(np.finfo(np.float64).eps)
    return np.where(ratio <= resolution**2, 0.0, ratio)


def missing_share(trajectory: Trajectory) -> Array:
    r"""What the last state misses of the values it was given, (...); NaN where all values are zero.

    .. math:: \sum_i \|S_T k_i - v_i\|^2 \Big/ \sum_i \|v_i\|^2
    """
    values = trajectory.stream.values
    missing = trajectory.stream.keys @ transpose(trajectory.final_state) - values
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        missing, values = scaled_together(missing, values)
        ratio: Array = np.sum(np.square(missing), axis=(-2, -1)) / np.sum(np.square(values), axis=(-2, -1))
    return ratio


def visited_preconditioners(trajectory: Trajectory) -> Array:
    """d_1 ... d_T and the one handed on, (..., T + 1, K)."""
    last = trajectory.final_preconditioner[..., None, :]
    return np.concatenate([trajectory.preconditioner, last], axis=-2)


def root_mean_square(values: Array, axis: int | tuple[int, ...] | None = None) -> Array:
    """Square root of the mean of the squares over `axis`, all axes by default."""
    return np.asarray(np.sqrt(np.mean(np.square(values), axis=axis)))


def trajectory_measures(trajectory: Trajectory, newton: Array | None) -> dict[str, Array]:
    """The numbers of :class:`RecurrenceMeasures` for every head of a trajectory, (...) each.

    `newton` (..., V, K) is the state that stands for exact Newton, None where nothing does. Raises ``ValueError``
    for a trajectory without a calibration rule.
    """
    distance = np.full(trajectory.stream.lead, np.nan)
    if newton is not None:
        distance = relative_distance(trajectory.final_state, newton)
    ratio = token_residual_ratio(trajectory)
    log_ratio, mean_ratio = geometric_mean_ratio(ratio)
    visited = visited_preconditioners(trajectory)
    drift = np.abs(visited - 1.0)
    return {
        "log_residual_ratio": log_ratio,
        "residual_ratio": mean_ratio,
        "vanishing_tokens": np.sum(ratio == 0, axis=-1),
        "undefined_tokens": np.sum(np.isnan(ratio), axis=-1),
        "missing_share": missing_share(trajectory),
        "preconditioner_min": visited.min(axis=(-2, -1)),
        "preconditioner_max": visited.max(axis=(-2, -1)),
        "drift_max": drift.max(axis=(-2, -1)),
        "drift_rms": root_mean_square(drift, axis=(-2, -1)),
        "mean_alignment": trajectory.alignment.mean(axis=-1),
        "newton_distance": distance,
        "clipped_fraction": np.mean(clipped_steps(trajectory), axis=-1),
    }


def clipped_steps(trajectory: Trajectory) -> Array:
    """Which calibrate steps of an OSDN trajectory the box cut short, (..., T) bool."""
    rule, stream = trajectory.rule, trajectory.stream
    if rule is None:
        raise ValueError("trajectory: expected one with a calibration rule")
    if rule.eta == 0 and bool(np.all(forgetting(stream, rule) == 1.0)):
        return np.zeros(trajectory.alignment.shape, dtype=bool)
    feature, weight = features(stream, rule)
    unboxed = replace(rule, d_min=-np.inf, d_max=np.inf)
    anchor = trajectory.anchor[..., None, :]
    step = calibrate_step(
        trajectory.preconditioner, feature, weight, forgetting(stream, rule), anchor, unboxed
    )
    low, high = (
        np.asarray(side)[..., None, :] if np.ndim(side) else side for side in (rule.d_min, rule.d_max)
    )
    clipped: Array = np.any((step < low) | (step > high), axis=-1)
    return clipped


def _heads(
    stream: Stream, rule: CalibrationRule, ridge: float, method: Method, chunk_size: int
) -> list[HeadAnalysis]:
    require(stream.length > 0, f"streams: {stream.name!r} has no tokens")
    solve = solver_of(stream)
    runs = {
        "osdn": solve(stream, rule, method=method, chunk_size=chunk_size),
        "delta_net": solve(stream, FROZEN, initial_preconditioner=1.0, method=method, chunk_size=chunk_size),
    }
    newton = None
    if stream.state_gate is None:
        newton = recursive_least_squares(stream, ridge=ridge).final_state
    measured = {name: trajectory_measures(run, newton) for name, run in runs.items()}
    rank, condition, effective = key_spectrum(stream.keys)
    times = calibration_times(stream, rule)
    identity = keeps_identity(stream, rule)
    return [
        HeadAnalysis(
            stream=stream.name,
            index=index,
            length=stream.length,
            key_rank=int(rank[index]),
            key_condition=float(condition[index]),
            effective_rank=float(effective[index]),
            identity=bool(identity[index]),
            measures={name: _pick(columns, index) for name, columns in measured.items()},
            **_times(times, index),
        )
        for index in np.ndindex(*stream.lead)
    ]


def _times(times: CalibrationTimes, index: tuple[int, ...]) -> dict[str, Any]:
    return {
        "fastest_calibration": float(times.times[index].min()),
        "slowest_calibration": float(times.times[index].max()),
        "calibrated_fraction": float(times.calibrated_fraction[index]),
        "calibrated_directions": int(times.calibrated_directions[index]),
    }


def _pick(columns: Mapping[str, Array], index: tuple[int, ...]) -> RecurrenceMeasures:
    # .item() gives ints for the counts and floats for the rest.
    return RecurrenceMeasures(**{name: column[index].item() for name, column in columns.items()})
