"""Synthetic streams, each built to satisfy the hypotheses of some theorems exactly in float64.

Every generator takes its randomness from `rng` alone and shares these parameters:

lead : tuple of int
    Leading axes (batch, head, seed); all of them get independent tokens.
length, key_dim, value_dim : int
    T >= 0, K, V.
beta : float, array that broadcasts to (*lead, T), or "random"
    Write gate; ``"random"`` is uniform on the multiples of 2^-8 in [0, 1].
noise : float >= 0
    Standard deviation of the gaussian noise on the values. At 0 they are v = S* k without any
    rounding: S* (the stream's `solution`) and the keys lie on grids coarse enough for exact sums,
    except for keys normalised in float64 and for given scales.

Queries are random unit vectors, normalised in float64. `Stream.metadata` holds the parameters.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array, as_float64, broadcastable, require, require_generator
from osdn_theory.streams.exact_keys import (
    Integers,
    dyadic_comparator,
    to_grid,
    uniform_on_grid,
    unit_keys,
    weighted_unit_keys,
)
from osdn_theory.streams.stream import Stream

_SOLUTION_BITS = 6
_SOLUTION_MAX = 4.0
_BETA_BITS = 8


class _AnyLength(TypedDict, total=False):
    lead: tuple[int, ...]
    key_dim: int
    value_dim: int
    beta: Array | float | Literal["random"]
    noise: float


class Shared(_AnyLength, total=False):
    """What every generator takes by keyword, see above."""

    length: int


@dataclass(frozen=True, eq=False)
class _Draw:
    """The same, checked, with a generator's randomness."""

    rng: np.random.Generator
    lead: tuple[int, ...] = ()
    length: int = 64
    key_dim: int = 16
    value_dim: int = 16
    beta: Array | float | Literal["random"] = 1.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        require_generator(self.rng)
        require(all(n >= 0 for n in self.lead), f"lead: expected sizes >= 0, got {self.lead}")
        require(self.length >= 0, f"length: expected >= 0, got {self.length}")
        for name in ("key_dim", "value_dim"):
            require(getattr(self, name) >= 1, f"{name}: expected >= 1, got {getattr(self, name)}")
        finite = bool(np.isfinite(self.noise)) and self.noise >= 0
        require(finite, f"noise: expected finite and >= 0, got {self.noise}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the keys."""
        return (*self.lead, self.length, self.key_dim)

    def betas(self) -> Array | float:
        if not isinstance(self.beta, str):
            return self.beta
        _require_choice("beta", self.beta, ("random",))
        return uniform_on_grid(self.rng, self.shape[:-1], _BETA_BITS)

    def stream(self, keys: Array, name: str, *, comparator: Array | None = None, **metadata: Any) -> Stream:
        """The stream of these keys, with values of a hidden S*."""
        solution = _coarse_gaussian(self.rng, (*self.lead, self.value_dim, self.key_dim))
        values = keys @ transpose(solution)
        if self.noise > 0:
            values = values + self.noise * self.rng.standard_normal(values.shape)
        return Stream(
            keys=keys,
            values=values,
            queries=_float_unit(self.rng, keys.shape),
            beta=self.betas(),
            comparator=comparator,
            solution=solution,
            name=name,
            metadata={"generator": name.split("/")[0], "noise": self.noise, **metadata},
        )


def isotropic(rng: np.random.Generator, *, exact: bool = True, **shared: Unpack[Shared]) -> Stream:
    """Isotropic unit keys: T5 to T8 with comparator u = 1, T15, T16, T19.

    `exact` keys have ||k|| = 1 without rounding, hence <u, s_t> = 1 exactly (K >= 5); otherwise they
    are normalised in float64 and the hypothesis holds only up to rounding.
    """
    draw = _Draw(rng, **shared)
    keys = unit_keys(rng, draw.shape) if exact else _float_unit(rng, draw.shape)
    return draw.stream(keys, "isotropic", comparator=np.ones(draw.key_dim), exact=exact)


def constant_key(rng: np.random.Generator, **shared: Unpack[Shared]) -> Stream:
    """One exactly unit key at every token: the bias of forgetting (T13), and T5 with u = 1 (K >= 5)."""
    draw = _Draw(rng, **shared)
    keys = np.broadcast_to(unit_keys(rng, (*draw.lead, 1, draw.key_dim)), draw.shape)
    return draw.stream(keys, "constant_key", comparator=np.ones(draw.key_dim))


def interpolating(
    rng: np.random.Generator,
    *,
    comparator: Array | None = None,
    condition: float = 1.0,
    **shared: Unpack[Shared],
) -> Stream:
    """Keys with <u, s_t> = 1 exactly for a hidden u in the box [2/3, 3/2]: T5, T6, T7 (K >= 5).

    `comparator`, (..., K), sets u: see `exact_keys.weighted_unit_keys` for what it must satisfy. `condition` above 1
    makes the keys anisotropic: before they are scaled to <u, s_t> = 1, their variances are geometric from 1 down to
    1/`condition`, over the features in random order.
    """
    draw = _Draw(rng, **shared)
    lead, key_dim = draw.lead, draw.key_dim
    u = dyadic_comparator(rng, lead, key_dim) if comparator is None else as_float64("comparator", comparator)
    require(u.ndim >= 1, "comparator: expected shape (..., K), got a scalar")
    scales = _deviations(rng, lead, key_dim, condition)
    keys = weighted_unit_keys(rng, u[..., None, :], draw.shape, scales=scales)
    return draw.stream(keys, "interpolating", comparator=u, condition=condition)


def ill_conditioned(
    rng: np.random.Generator,
    *,
    condition: float = 1e3,
    smallest: float = 1.0,
    spectrum: Literal["expected", "sample"] = "expected",
    grid_bits: int = 16,
    **shared: Unpack[Shared],
) -> Stream:
    """Keys whose Gram matrix has eigenvalues geometric from `smallest` up: T1, T9, T10.

    They end at `smallest * condition`, with a random orthogonal eigenbasis. ``"expected"`` gives E[G] that spectrum
    with independent gaussian tokens; ``"sample"`` gives it to G itself up to the rounding of the keys to multiples of
    2^-grid_bits, and needs T >= K. The keys are not unit and no comparator interpolates.
    """
    draw = _Draw(rng, **shared)
    lead, length, key_dim = draw.lead, draw.length, draw.key_dim
    _require_condition(condition)
    require(np.isfinite(smallest) and smallest > 0, f"smallest: expected > 0, got {smallest}")
    require(0 <= grid_bits <= 24, f"grid_bits: expected 0 to 24, got {grid_bits}")
    _require_choice("spectrum", spectrum, ("expected", "sample"))
    eigenvalues = smallest * np.geomspace(1.0, condition, key_dim)
    tokens = rng.standard_normal(draw.shape)
    if spectrum == "sample":
        require(length >= key_dim, f"length: a sample spectrum needs T >= K = {key_dim}, got {length}")
        tokens = np.linalg.qr(tokens).Q
    else:
        tokens /= np.sqrt(max(length, 1))
    basis = np.linalg.qr(rng.standard_normal((*lead, key_dim, key_dim))).Q
    keys = to_grid((tokens * np.sqrt(eigenvalues)) @ basis, grid_bits)
    reach = _SOLUTION_MAX * np.sum(np.abs(keys), axis=-1).max(initial=0.0)
    require(
        np.ldexp(reach, _SOLUTION_BITS + grid_bits) < 2.0**53,
        f"grid_bits: {grid_bits} is too fine for exact values at this condition; lower either",
    )
    told: dict[str, Any] = {
        "condition": condition,
        "smallest": smallest,
        "spectrum": spectrum,
        "grid_bits": grid_bits,
    }
    return draw.stream(keys, "ill_conditioned", **told)


def orthogonal(
    rng: np.random.Generator,
    *,
    scales: Literal["geometric", "random", "unit"] | Array = "geometric",
    condition: float = 16.0,
    **shared: Unpack[Shared],
) -> Stream:
    """Keys +-c_i e_i, so the Gram matrix is exactly diagonal: T10 with diagonal P, T5 with u_i = 1/c_i^2.

    Every K consecutive tokens from a multiple of K on visit each coordinate once, in random order.
    `scales` c: powers of two with c_i^2 geometric from 1 to about 1/`condition`, or random in that
    range, or all 1, or an array (..., K) of positive numbers. The comparator is known when they are
    powers of two; it lies in the box [2/3, 3/2] only for unit scales.
    """
    draw = _Draw(rng, **shared)
    lead, length, key_dim = draw.lead, draw.length, draw.key_dim
    _require_condition(condition)
    c = np.broadcast_to(_scales(rng, scales, lead, key_dim, condition), (*lead, key_dim))
    order = rng.permuted(
        np.broadcast_to(np.arange(key_dim), (*lead, -(-length // key_dim), key_dim)), axis=-1
    )
    coordinate = order.reshape(*lead, order.shape[-2] * key_dim)[..., :length]
    signed = np.take_along_axis(c, coordinate, axis=-1) * rng.choice([-1.0, 1.0], size=coordinate.shape)
    keys = np.zeros(draw.shape)
    np.put_along_axis(keys, coordinate[..., None], signed[..., None], axis=-1)
    powers_of_two = bool(np.all(np.frexp(c)[0] == 0.5))
    comparator = 1.0 / c**2 if powers_of_two else None
    named = scales if isinstance(scales, str) else "given"
    return draw.stream(keys, "orthogonal", comparator=comparator, scales=named, condition=condition)


def non_stationary(
    rng: np.random.Generator,
    *,
    mode: Literal["drift", "switch"] = "drift",
    segments: int = 4,
    **shared: Unpack[Shared],
) -> Stream:
    """A moving comparator with <u_t, s_t> = 1 exactly, u_t in the box [2/3, 3/2]: T14 (K >= 5).

    ``"switch"``: `segments` equal stretches, each with its own u. ``"drift"``: u_t moves through
    ``segments + 1`` waypoints along straight lines, rounded to multiples of 2^-4; four coordinates
    stay at 1. The comparator is the path, (*lead, T, K); metadata holds its `path_length`, (*lead).
    """
    draw = _Draw(rng, **shared)
    _require_choice("mode", mode, ("drift", "switch"))
    require(segments >= 1, f"segments: expected >= 1, got {segments}")
    path = _switching if mode == "switch" else _drifting
    u = path(rng, draw.shape, segments)
    keys = weighted_unit_keys(rng, u, draw.shape)
    told: dict[str, Any] = {"mode": mode, "segments": segments, "path_length": path_length(u)}
    return draw.stream(keys, f"non_stationary/{mode}", comparator=u, **told)


def path_length(comparator: Array) -> Array:
    """P_T = sum_t ||u_{t+1} - u_t||_2 of a path (..., T, K), (...) float64 (T14)."""
    path = as_float64("comparator", comparator, min_ndim=2)
    total: Array = np.sum(np.linalg.norm(np.diff(path, axis=-2), axis=-1), axis=-1)
    return total


def associative_recall(
    rng: np.random.Generator,
    *,
    length: int | None = None,
    pairs: int = 8,
    queries: int = 8,
    repeats: int = 1,
    distractors: int = 0,
    **shared: Unpack[_AnyLength],
) -> Stream:
    """Multi-query associative recall: write pairs, read distractors, ask for stored keys; T5 with u = 1.

    Every pair is written `repeats` times, each time in another order; then come `distractors` tokens
    of fresh pairs; then `queries` tokens that ask for a stored key, each pair once before any twice.
    A query token carries the key, the right answer as its value, and beta = 0: it writes nothing.
    Tokens beyond these, up to `length`, are padding with beta = 0 and value 0. All keys are exactly
    unit (K >= 5) and each token's query is its own key. `noise` falls on the written values only.

    Metadata: `write_positions`, `distractor_positions`, `query_positions` (1-D int), and
    `pair_index` (T,), -1 where no pair is concerned; the same for every leading index.

    Raises ValueError: `length` shorter than the tokens asked for, or queries without pairs.
    """
    counts = {"pairs": pairs, "queries": queries, "repeats": repeats, "distractors": distractors}
    for name, count in counts.items():
        require(count >= 0, f"{name}: expected >= 0, got {count}")
    written, asked = pairs * repeats, pairs * repeats + distractors
    require(queries == 0 or written > 0, f"queries: {queries} queries but no pair is ever written")
    needed = asked + queries
    length = needed if length is None else length
    require(length >= needed, f"length: {needed} tokens do not fit into {length}")
    draw = _Draw(rng, length=length, **shared)
    lead, key_dim, value_dim, noise = draw.lead, draw.key_dim, draw.value_dim, draw.noise
    pair_index = np.full(length, -1)
    pair_index[:written] = _shuffled_passes(rng, pairs, written)
    pair_index[asked:needed] = _shuffled_passes(rng, pairs, queries)
    concerned = pair_index >= 0
    keys, values = unit_keys(rng, draw.shape), _coarse_gaussian(rng, (*lead, length, value_dim))
    keys[..., concerned, :] = unit_keys(rng, (*lead, pairs, key_dim))[..., pair_index[concerned], :]
    answers = _coarse_gaussian(rng, (*lead, pairs, value_dim))
    values[..., concerned, :] = answers[..., pair_index[concerned], :]
    values[..., :asked, :] += noise * rng.standard_normal((*lead, asked, value_dim))
    values[..., needed:, :] = 0.0
    metadata = {
        "generator": "associative_recall",
        "noise": noise,
        **counts,
        "write_positions": np.arange(written),
        "distractor_positions": np.arange(written, asked),
        "query_positions": np.arange(asked, needed),
        "pair_index": pair_index,
    }
    return Stream(
        keys=keys,
        values=values,
        beta=np.where(np.arange(length) < asked, draw.betas(), 0.0),
        comparator=np.ones(key_dim),
        name="associative_recall",
        metadata=metadata,
    )


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    require(value in choices, f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def _float_unit(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    direction = rng.standard_normal(shape)
    unit: Array = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    return unit


def _coarse_gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return to_grid(np.clip(rng.standard_normal(shape), -_SOLUTION_MAX, _SOLUTION_MAX), _SOLUTION_BITS)


def _scales(
    rng: np.random.Generator, scales: str | Array, lead: tuple[int, ...], key_dim: int, condition: float
) -> Array:
    if not isinstance(scales, str):
        given = as_float64("scales", scales, min_ndim=1)
        require(bool(np.all(given > 0)), "scales: expected values > 0")
        broadcastable("scales", given.shape, (*lead, key_dim))
        return given
    _require_choice("scales", scales, ("geometric", "random", "unit"))
    deepest = int(np.log2(condition) / 2)
    if scales == "random":
        exponents = rng.integers(0, deepest, size=(*lead, key_dim), endpoint=True)
    else:
        exponents = np.rint(np.linspace(0, deepest if scales == "geometric" else 0, key_dim)).astype(int)
    return np.ldexp(1.0, -exponents)


def _deviations(
    rng: np.random.Generator, lead: tuple[int, ...], key_dim: int, condition: float
) -> Array | float:
    """Standard deviations (*lead, 1, K) of anisotropic keys."""
    _require_condition(condition)
    if condition == 1:
        return 1.0
    ordered = np.broadcast_to(np.geomspace(1.0, condition**-0.5, key_dim), (*lead, 1, key_dim))
    return rng.permuted(ordered, axis=-1)


def _require_condition(condition: float) -> None:
    require(bool(np.isfinite(condition)) and condition >= 1, f"condition: expected >= 1, got {condition}")


def _switching(rng: np.random.Generator, shape: tuple[int, ...], segments: int) -> Array:
    *lead, length, key_dim = shape
    levels = dyadic_comparator(rng, (*lead, segments), key_dim)
    return levels[..., np.arange(length) * segments // max(length, 1), :]


def _drifting(rng: np.random.Generator, shape: tuple[int, ...], segments: int) -> Array:
    *lead, length, key_dim = shape
    waypoints = dyadic_comparator(rng, (*lead, segments + 1), key_dim)
    # The coordinates that complete the keys must stay at 1 along the whole path.
    waypoints = np.where(waypoints[..., :1, :] == 1.0, 1.0, waypoints)
    position = np.linspace(0, segments, length)
    before = np.minimum(position.astype(int), segments - 1)
    weight = (position - before)[:, None]
    blend = (1 - weight) * waypoints[..., before, :] + weight * waypoints[..., before + 1, :]
    return to_grid(blend, 4)


def _shuffled_passes(rng: np.random.Generator, pairs: int, count: int) -> Integers:
    """The first `count` of the pair numbers, pass after pass, each pass in an order of its own."""
    passes = np.tile(np.arange(pairs), (-(-count // max(pairs, 1)), 1))
    return rng.permuted(passes, axis=-1).reshape(-1)[:count]
