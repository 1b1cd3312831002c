r"""The scan by sweeps: all tokens at once with given gains, corrected until they are the scan's own (T29).

Gains u drive the clipped recurrence :math:`D_{t+1}(u) = \Pi[c + \gamma_t (D_t(u) - c) + u_t x_t]`; the scan's are the
one fixed point of :math:`\Phi(u)_t = r_t (1 - \langle D_t(u), x_t\rangle)`, r_t = eta w_t. Given its gain a token
moves every feature by a map x -> min(h, max(l, a x + b)), and such maps are closed under composition: a sweep is an
associative scan. With :math:`N_{tj} = r_t \gamma_{j+1} \cdots \gamma_{t-1} \langle|x_t|, |x_j|\rangle` for j < t,
:math:`|\Phi(u) - \Phi(v)| \le N |u - v|` whatever clips, so m sweeps leave :math:`N^m |u^{(0)} - u|`, nothing at the
first m tokens, and what a run misses bounds how far off it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array, as_float64, broadcastable, require
from osdn_theory.recurrence.calibrate import (
    check_box,
    features,
    forgetting,
    resolve_anchor,
    resolve_initial_preconditioner,
)
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.streams.stream import Stream

_UNIT = 2.0**-53
_SAFETY = 1 + 1e-6
# The certificate is itself computed in float64, from non-negative terms: its relative error is far below this.
_TINY = 2.0**-1000
# Covers underflow, which the relative bounds on rounding do not.
_CHUNK = 64


@dataclass(frozen=True, eq=False)
class GainDrivenScan:
    """A calibrate scan as gains drive it: one rule and one stream, resolved to plain arrays.

    - `features` (..., T, K): x_t: squared keys, or beta times them with beta-aware feedback; of either sign if beta is.
    - `rates` (..., T): r_t = eta w_t >= 0.
    - `gamma` (..., T): Forgetting, in (0, 1].
    - `initial`, `anchor`, `lower`, `upper` (..., K): d_1, c and the box.
    """

    features: Array
    rates: Array
    gamma: Array
    initial: Array
    anchor: Array
    lower: Array
    upper: Array

    @property
    def length(self) -> int:
        length: int = self.features.shape[-2]
        return length


def gain_driven(
    stream: Stream, rule: CalibrationRule, *, initial_preconditioner: Array | float | None = None
) -> GainDrivenScan:
    """The scan of a stream under a rule, to be driven by gains.

    - `initial_preconditioner` (..., K) or scalar, optional: d_1, default the stream's own, else ones.

    Raises TypeError, ValueError: as :func:`osdn_theory.recurrence.calibrate.calibration_scan`.
    """
    x, weight = features(stream, rule)
    initial = resolve_initial_preconditioner(stream, initial_preconditioner)
    check_box(rule, initial.shape)
    return GainDrivenScan(
        features=x,
        rates=rule.eta * weight,
        gamma=forgetting(stream, rule),
        initial=initial,
        anchor=resolve_anchor(rule, initial),
        lower=np.broadcast_to(rule.d_min, initial.shape),
        upper=np.broadcast_to(rule.d_max, initial.shape),
    )


@dataclass(frozen=True, eq=False)
class ClipMaps:
    """Maps x -> min(high, max(low, slope x + offset)), one for every entry; slopes >= 0, low <= high."""

    slope: Array
    offset: Array
    low: Array
    high: Array

    def __getitem__(self, index: Any) -> ClipMaps:
        return self._each(lambda a: a[index])

    def _each(self, change: Callable[[Array], Array]) -> ClipMaps:
        return ClipMaps(change(self.slope), change(self.offset), change(self.low), change(self.high))

    def __call__(self, x: Array) -> Array:
        """The values at `x`, of which entries may be infinite: faces of a box that is open."""
        with np.errstate(invalid="ignore"):
            # Zero slope: a constant, at infinity too.
            moved = np.where(self.slope == 0, self.offset, self.slope * x + self.offset)
        return np.clip(moved, self.low, self.high)

    def after(self, earlier: ClipMaps) -> ClipMaps:
        """The composition: `earlier` first (T29)."""
        return ClipMaps(
            self.slope * earlier.slope,
            self.slope * earlier.offset + self.offset,
            self(earlier.low),
            self(earlier.high),
        )


def compose_prefixes(maps: ClipMaps, axis: int = -2) -> ClipMaps:
    """Every map after all those before it along `axis`: an associative scan of logarithmic depth."""
    maps = maps._each(lambda a: np.moveaxis(a, axis, 0))
    span = 1
    while span < len(maps.slope):
        joined = maps[span:].after(maps[:-span])
        maps = ClipMaps(
            *(
                np.concatenate([getattr(maps, part)[:span], getattr(joined, part)])
                for part in ("slope", "offset", "low", "high")
            )
        )
        span *= 2
    return maps._each(lambda a: np.moveaxis(a, 0, axis))


def run_maps(maps: ClipMaps, start: Array, chunk_size: int = _CHUNK) -> Array:
    """The iterates (..., T + 1, K) of maps (..., T, K) applied in order, all chunks of tokens at once.

    The maps of a chunk are composed token by token and those of the chunks in a tree; then every chunk walks from
    where it is entered.
    """
    length = maps.slope.shape[-2]
    chunked = _in_chunks(maps, chunk_size)
    whole = chunked[..., 0, :]
    for i in range(1, chunk_size):
        whole = chunked[..., i, :].after(whole)
    left = compose_prefixes(whole)(start[..., None, :])
    d = np.concatenate([start[..., None, :], left[..., :-1, :]], axis=-2)
    path: Array = np.empty(chunked.slope.shape)
    for i in range(chunk_size):
        d = chunked[..., i, :](d)
        path[..., i, :] = d
    flat = path.reshape(*start.shape[:-1], -1, start.shape[-1])[..., :length, :]
    return np.concatenate([start[..., None, :], flat], axis=-2)


def _in_chunks(maps: ClipMaps, size: int) -> ClipMaps:
    """(..., T, K) to (..., chunks, size, K), the last chunk filled up with identities."""
    lead, length, dim = maps.slope.shape[:-2], *maps.slope.shape[-2:]
    missing = max(1, -(-length // size)) * size - length

    def chunks(array: Array, fill: float) -> Array:
        filled = np.concatenate([array, np.full((*lead, missing, dim), fill)], axis=-2)
        return filled.reshape(*lead, -1, size, dim)

    return ClipMaps(
        chunks(maps.slope, 1.0),
        chunks(maps.offset, 0.0),
        chunks(maps.low, -np.inf),
        chunks(maps.high, np.inf),
    )


def token_maps(scan: GainDrivenScan, gains: Array) -> ClipMaps:
    """The map of every token and feature, given the gains (..., T)."""
    shape = np.broadcast_shapes(scan.features.shape, (*gains.shape, 1), (*scan.rates.shape, 1))
    gamma, anchor = scan.gamma[..., None], scan.anchor[..., None, :]
    offset = anchor - gamma * anchor + gains[..., None] * scan.features

    def spread(array: Array) -> Array:
        return np.broadcast_to(array, shape)

    faces = spread(scan.lower[..., None, :]), spread(scan.upper[..., None, :])
    return ClipMaps(spread(gamma), spread(offset), *faces)


def drive(scan: GainDrivenScan, gains: Array, chunk_size: int = _CHUNK) -> Array:
    """D_1(u) ... D_{T+1}(u), (..., T + 1, K), the clipped recurrence that the gains `gains` (..., T) drive."""
    maps = token_maps(scan, gains)
    start = np.broadcast_to(scan.initial, (*maps.slope.shape[:-2], maps.slope.shape[-1]))
    return run_maps(maps, start, chunk_size)


def wanted_gains(scan: GainDrivenScan, path: Array) -> Array:
    """Phi: the gains r_t (1 - <d_t, x_t>) of the iterates `path` (..., T + 1, K), each by itself."""
    gains: Array = scan.rates * (1.0 - np.vecdot(path[..., :-1, :], scan.features))
    return gains


def block_gains(scan: GainDrivenScan, path: Array, block: int) -> Array:
    """The gains of every block of `block` tokens run exactly from where `path` enters it; Phi for blocks of one."""
    gains = np.empty(np.broadcast_shapes(scan.rates.shape, (*path.shape[:-2], scan.length)))
    starts = np.arange(0, scan.length, block)
    d = path[..., starts, :]
    for i in range(min(block, scan.length)):
        at = starts[starts + i < scan.length] + i
        d = d[..., : len(at), :]
        x = scan.features[..., at, :]
        gains[..., at] = scan.rates[..., at] * (1.0 - np.vecdot(d, x))
        kept = scan.anchor[..., None, :] + scan.gamma[..., at, None] * (d - scan.anchor[..., None, :])
        moved = kept + gains[..., at, None] * x
        d = np.clip(moved, scan.lower[..., None, :], scan.upper[..., None, :])
    return gains


@dataclass(frozen=True, eq=False)
class SweptScan:
    """What sweeps found.

    - `gains` (..., T): u^(m), which drive the iterates below.
    - `preconditioner` (..., T, K), `final_preconditioner` (..., K)
    - `sweeps`: How many times all tokens were driven.
    - `error` (..., T + 1, K): A proved bound on the distance of every iterate from the scan's own, the rounding of
      this run included; infinite where it overflows.
    """

    gains: Array
    preconditioner: Array
    final_preconditioner: Array
    sweeps: int
    error: Array


def sweep_scan(
    scan: GainDrivenScan,
    *,
    most: int = 64,
    tolerance: float = 0.0,
    block: int = 1,
    start: Array | None = None,
) -> SweptScan:
    """Drive all tokens at once until the gains stay put, with the certificate of T29 (iii).

    - `most`, int >= 1: Sweeps after which to stop in any case; the certificate then says what that was worth.
    - `tolerance`, float >= 0: Stop once no gain moves by more.
    - `block`, int >= 1: Tokens whose gains are solved exactly from where they are entered; sweeps then correct the
      entries only. 1 sweeps tokens, T is the scan itself.
    - `start` (..., T), optional: u^(0), default zeros.
    """
    require(most >= 1, f"most: expected >= 1, got {most}")
    require(block >= 1, f"block: expected >= 1, got {block}")
    require(tolerance >= 0, f"tolerance: expected >= 0, got {tolerance}")
    shape = np.broadcast_shapes(scan.rates.shape, scan.features.shape[:-1])
    first = np.zeros(shape) if start is None else as_float64("start", start)
    broadcastable("start", first.shape, shape)
    gains = np.broadcast_to(first, shape)
    path = drive(scan, gains)
    sweeps = 1
    while sweeps < most:
        wanted = block_gains(scan, path, block)
        if np.max(np.abs(wanted - gains), initial=0.0) <= tolerance:
            break
        gains, sweeps = wanted, sweeps + 1
        path = drive(scan, gains)
    return SweptScan(gains, path[..., :-1, :], path[..., -1, :], sweeps, error_bound(scan, gains, path))


def error_bound(scan: GainDrivenScan, gains: Array, path: Array) -> Array:
    r"""How far `path` may be from the scan's own iterates, (..., T + 1, K), whatever produced it (T29 (iii)).

    .. math:: y_{t+1} = \gamma_t y_t + e_t |x_t| + \sigma_t,\quad e_t = r_t \langle|x_t|, y_t\rangle + \rho_t

    with :math:`\rho_t` how far gain t is from the one its iterate wants and :math:`\sigma_t` how far the next iterate
    is from the step, each with the rounding of its evaluation here. Without :math:`\sigma`, e is
    :math:`(I - N)^{-1} \rho`, which grows exponentially in eta T. In the Euclidean norm the projected step stretches by
    at most :math:`L_t = \max(\gamma_t, |\gamma_t - r_t \|x_t\|^2|)` (T13), so

    .. math:: R_{t+1} = L_t R_t + \|\rho_t |x_t| + \sigma_t\|

    bounds the same distance, and does not grow where r_t |x_t|^2 <= 2 gamma_t. Each step takes the smaller of the two.
    Features and rates count as exact.
    """
    gain_defect, step_defect = _defects(scan, gains, path)
    size, stretch = np.abs(scan.features), _stretch(scan)
    own = np.linalg.norm(gain_defect[..., None] * size + step_defect, axis=-1)
    error = np.zeros(path.shape)
    error[..., 0, :] = np.abs(path[..., 0, :] - scan.initial)
    radius = np.linalg.norm(error[..., 0, :], axis=-1)
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(scan.length):
            y, x = error[..., t, :], size[..., t, :]
            gain_error = scan.rates[..., t] * np.vecdot(x, y) + gain_defect[..., t]
            moved = scan.gamma[..., t, None] * y + gain_error[..., None] * x + step_defect[..., t, :]
            radius = stretch[..., t] * radius + own[..., t]
            # fmin: infinity times a feature of zero says nothing.
            error[..., t + 1, :] = np.fmin(moved, radius[..., None])
            radius = np.fmin(radius, np.linalg.norm(error[..., t + 1, :], axis=-1))
        return np.where(np.isnan(error), np.inf, _SAFETY * error)


def _stretch(scan: GainDrivenScan) -> Array:
    """L_t, rounded up: the Lipschitz constant of the projected step, (..., T)."""
    strength = scan.rates * np.vecdot(scan.features, scan.features)
    rounding = (scan.features.shape[-1] + 8) * _UNIT * (scan.gamma + strength)
    stretch: Array = np.maximum(scan.gamma, np.abs(scan.gamma - strength)) + rounding
    return stretch


def _defects(scan: GainDrivenScan, gains: Array, path: Array) -> tuple[Array, Array]:
    """By how much gains (..., T) and steps (..., T, K) miss the recurrence, at most."""
    d, x, anchor = path[..., :-1, :], scan.features, scan.anchor[..., None, :]
    gamma = scan.gamma[..., None]
    width = x.shape[-1] + 4
    seen = np.vecdot(np.abs(d), np.abs(x))
    gain_rounding = _UNIT * width * scan.rates * (1.0 + seen)
    free = anchor + gamma * (d - anchor) + gains[..., None] * x
    size = np.abs(anchor) + gamma * (np.abs(d) + np.abs(anchor)) + np.abs(gains[..., None] * x)
    stepped = np.clip(free, scan.lower[..., None, :], scan.upper[..., None, :])
    gain_defect: Array = _SAFETY * (np.abs(gains - wanted_gains(scan, path)) + gain_rounding) + _TINY
    step_defect: Array = _SAFETY * (np.abs(path[..., 1:, :] - stepped) + 8 * _UNIT * size) + _TINY
    return gain_defect, step_defect


def coupling(scan: GainDrivenScan) -> Array:
    """N of T29, (..., T, T): how much gain t may answer to a change of gain j."""
    size = np.abs(scan.features)
    inner = scan.rates[..., None] * (size @ transpose(size))
    fade = np.zeros((*scan.gamma.shape, scan.length))
    for t in range(1, scan.length):
        fade[..., t, :] = scan.gamma[..., t - 1, None] * fade[..., t - 1, :]
        fade[..., t, t - 1] = 1.0
    matrix: Array = inner * fade
    return matrix


@dataclass(frozen=True, eq=False)
class ScanCotangents:
    """What a loss gains by the scan's inputs, one array for each; and the sweeps that it took.

    - `gains` (..., T): Adjoints of the gains, what is swept for.
    - `initial`, `anchor` (..., K), `features` (..., T, K), `rates`, `gamma` (..., T)
    """

    gains: Array
    initial: Array
    anchor: Array
    features: Array
    rates: Array
    gamma: Array
    sweeps: int


def clip_pattern(scan: GainDrivenScan, gains: Array, path: Array) -> Array:
    """1 where a step ends inside the box or on a face by itself, 0 where it is clipped, (..., T, K)."""
    maps = token_maps(scan, gains)
    free = maps.slope * path[..., :-1, :] + maps.offset
    return ((free >= maps.low) & (free <= maps.high)).astype(np.float64)


def sweep_adjoint(
    scan: GainDrivenScan,
    swept: SweptScan,
    cotangent: Array,
    final_cotangent: Array,
    *,
    most: int = 64,
    tolerance: float = 0.0,
) -> ScanCotangents:
    r"""The adjoint of the scan with the clip pattern fixed, swept backwards in time (T29).

    .. math::

        \lambda_t = g_t + \gamma_t m_t \lambda_{t+1} - r_t q_t x_t,\quad
        q_t = \langle x_t, m_t \lambda_{t+1}\rangle

    with m_t the clip pattern and g_t the cotangent of d_t. Sweeps find q as those of the scan find u, with the
    transpose of N: m of them make the last m exact.

    - `swept`: The scan's gains and iterates.
    - `cotangent` (..., T, K): Of d_1 ... d_T.
    - `final_cotangent` (..., K): Of d_{T+1}.
    - `most`, `tolerance`: As for :func:`sweep_scan`.
    """
    path = np.concatenate([swept.preconditioner, swept.final_preconditioner[..., None, :]], axis=-2)
    kept = clip_pattern(scan, swept.gains, path)
    gains, sweeps = np.zeros(swept.gains.shape), 0
    while True:
        states = _drive_adjoint(scan, kept, gains, cotangent, final_cotangent)
        sweeps += 1
        seen = kept * states[..., 1:, :]
        wanted = np.vecdot(scan.features, seen)
        if sweeps == most or np.max(np.abs(wanted - gains), initial=0.0) <= tolerance:
            break
        gains = wanted
    d, anchor = swept.preconditioner, scan.anchor[..., None, :]
    return ScanCotangents(
        gains=wanted,
        initial=states[..., 0, :],
        anchor=np.sum((1.0 - scan.gamma[..., None]) * seen, axis=-2),
        features=swept.gains[..., None] * seen - (scan.rates * wanted)[..., None] * d,
        rates=wanted * (1.0 - np.vecdot(d, scan.features)),
        gamma=np.vecdot(d - anchor, seen),
        sweeps=sweeps,
    )


def _drive_adjoint(scan: GainDrivenScan, kept: Array, gains: Array, cotangent: Array, final: Array) -> Array:
    """lambda_1 ... lambda_{T+1} driven by adjoints `gains` of the gains."""
    offset = cotangent - (scan.rates * gains)[..., None] * scan.features
    open_face = np.full(offset.shape, np.inf)
    slope = np.broadcast_to(scan.gamma[..., None] * kept, offset.shape)
    backwards = ClipMaps(slope, offset, -open_face, open_face)[..., ::-1, :]
    return run_maps(backwards, final)[..., ::-1, :]
