"""Keys that meet their hypotheses exactly as float64 numbers: unit norm, or <u, k*k> = 1.

Bounds are decided rigorously about the float64 inputs, and a key normalised in floating point has
norm 1 only up to rounding. Here keys are multiples of a power of two, and four coordinates absorb
what the others leave over: by Lagrange every non-negative integer is a sum of four squares.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from osdn_theory.base.validation import Array, as_float64, broadcastable, require, require_generator

Integers = npt.NDArray[np.int64]

_MAX_GRID_BITS = 12  # the table of sums of two squares has 4**bits entries

_DRAWS = 64  # completions tried when a given key is to be moved as little as possible


def to_grid(x: Any, bits: int) -> Array:
    """`x` rounded to the nearest multiple of 2^-bits, halves to even; float64 of the same shape."""
    return np.ldexp(np.rint(np.ldexp(as_float64("x", x), bits)), -bits)


def uniform_on_grid(
    rng: np.random.Generator, shape: tuple[int, ...], bits: int, *, low: float = 0.0, high: float = 1.0
) -> Array:
    """Uniform on the multiples of 2^-bits in [low, high], both ends included; `shape`, float64."""
    require_generator(rng)
    first, last = int(np.ceil(np.ldexp(low, bits))), int(np.floor(np.ldexp(high, bits)))
    return np.ldexp(rng.integers(first, last, size=shape, endpoint=True).astype(np.float64), -bits)


def unit_keys(rng: np.random.Generator, shape: tuple[int, ...], *, grid_bits: int = 11) -> Array:
    """Isotropic keys with norm exactly 1: the sum of the squares of the float64 entries is 1.

    A uniform direction is rounded to multiples of 2^-grid_bits except in four random coordinates,
    which complete it. Exchangeable and sign-symmetric in the coordinates, hence E[k k^T] = I/K.

    - `shape` (..., K), K >= 5
    - `grid_bits`: int in [3, 12]

    Returns float64 of that shape.

    Raises ValueError: k <= 4: the only solutions of n_1^2 + ... + n_4^2 = 4^b are one entry +-2^b or four entries
    +-2^(b-1), so an exactly unit dyadic key would be a coordinate vector or (+-1/2, ..., +-1/2).
    """
    require(len(shape) > 0, "shape: expected (..., K), got ()")
    return weighted_unit_keys(rng, np.ones(shape[-1]), shape, grid_bits=grid_bits)


def weighted_unit_keys(
    rng: np.random.Generator,
    comparator: Any,
    shape: tuple[int, ...],
    *,
    grid_bits: int = 11,
    scales: Any = 1.0,
) -> Array:
    """Keys with <u, k*k> = 1 exactly: the interpolation hypothesis of T5, met by float64 numbers.

    With u on the grid 2^-b (b even), coordinates on the grid 2^-(grid_bits - b/2) contribute
    multiples of 4^-grid_bits; four coordinates with u_i = 1 on the grid 2^-grid_bits complete the sum.

    - `comparator` (..., K) array that broadcasts to `shape`: u > 0, multiples of 2^-b for a small even b, at least
      four entries per key exactly 1.
    - `shape` (..., K), K >= 5
    - `grid_bits`: int in [3, 12]
    - `scales`, array that broadcasts to `shape`: Standard deviations of the coordinates, up to one factor per key.
      The four coordinates that complete a key share theirs.

    Returns float64 of that shape, multiples of 2^-grid_bits.

    Raises ValueError: k <= 4 (see `unit_keys`), or `comparator` is not as described.
    """
    require_generator(rng)
    u = _check_comparator(comparator, shape)
    _check_grid_bits(grid_bits)
    deviations = as_float64("scales", scales)
    broadcastable("scales", deviations.shape, shape)
    require(bool(np.all(deviations > 0)), "scales: expected values > 0")
    direction = rng.standard_normal(shape) * deviations
    direction /= np.sqrt(np.sum(u * direction**2, axis=-1, keepdims=True))
    return _completed(rng, direction, _four_positions(rng, u == 1, shape), u, grid_bits, draws=1)


def nearest_unit_keys(rng: np.random.Generator, keys: Any, *, grid_bits: int = 12) -> Array:
    """Given keys moved to nearby ones of norm exactly 1, so that exact hypotheses hold on captured data.

    Each key is normalised and rounded to the grid; its four smallest entries complete the norm.

    - `keys` (..., K), K >= 5: No key may be zero.
    - `grid_bits`, int in [3, 12]

    Returns (..., K) float64, multiples of 2^-grid_bits.
    """
    require_generator(rng)
    given = as_float64("keys", keys, min_ndim=1)
    ones = _check_comparator(np.ones(given.shape[-1]), given.shape)
    _check_grid_bits(grid_bits)
    norm = np.linalg.norm(given, axis=-1, keepdims=True)
    require(bool(np.all(norm > 0)), "keys: a zero key has no direction")
    direction = given / norm
    smallest = np.argpartition(np.abs(direction), 3, axis=-1)[..., :4]
    return _completed(rng, direction, smallest, ones, grid_bits, draws=_DRAWS)


def _completed(
    rng: np.random.Generator, direction: Array, free: Any, u: Array, grid_bits: int, *, draws: int
) -> Array:
    """`direction` on the grid, its entries at `free` (where u = 1) redrawn so that <u, k*k> = 1 exactly.

    Of `draws` completions the one nearest to what `direction` has there.
    """
    bits = _even_bits(u, limit=2 * (grid_bits - 3))
    weights = np.ldexp(u, bits).astype(np.int64)
    kept = np.array(direction)
    np.put_along_axis(kept, free, 0.0, axis=-1)
    rest, remainder = _round_below(np.ldexp(kept, grid_bits - bits // 2), weights, 4**grid_bits)
    keys = np.ldexp(rest, bits // 2)
    wanted = np.ldexp(np.take_along_axis(direction, free, axis=-1), grid_bits)
    proposals = four_squares(rng, np.broadcast_to(remainder, (draws, *remainder.shape))).astype(np.float64)
    distance = np.sum((proposals - wanted) ** 2, axis=-1, keepdims=True)
    nearest = np.argmin(distance, axis=0, keepdims=True)
    np.put_along_axis(keys, free, np.take_along_axis(proposals, nearest, axis=0)[0], axis=-1)
    return np.ldexp(keys, -grid_bits)


def dyadic_comparator(
    rng: np.random.Generator,
    lead: tuple[int, ...],
    key_dim: int,
    *,
    low: float = 11 / 16,
    high: float = 24 / 16,
    bits: int = 4,
) -> Array:
    """A comparator u on the grid 2^-bits in [low, high] with four random coordinates equal to 1.

    The default range lies inside the box [2/3, 3/2]. Returns (*lead, key_dim) float64.
    Raises ``ValueError`` if 1 is outside [low, high], or K <= 4 (see `unit_keys`).
    """
    require_generator(rng)
    require(key_dim >= 5, f"key_dim: expected at least 5 (see unit_keys), got {key_dim}")
    require(low <= 1 <= high, f"low, high: expected low <= 1 <= high, got [{low}, {high}]")
    require(low > 0, f"low: expected > 0, got {low}")
    shape = (*lead, key_dim)
    u = uniform_on_grid(rng, shape, bits, low=low, high=high)
    ones = _four_positions(rng, np.ones(key_dim, dtype=bool), shape)
    np.put_along_axis(u, ones, 1.0, axis=-1)
    return u


def four_squares(rng: np.random.Generator, total: Any) -> Integers:
    """Random integers with a^2 + b^2 + c^2 + d^2 = `total`, close to uniform on the sphere.

    Two coordinates of a uniform point on the 3-sphere are uniform in the disc, so (a, b) is drawn
    there until the rest is a sum of two squares, which a table decides.

    - `total` (...) integers in [0, 4^12]

    Returns (..., 4) int64.
    """
    require_generator(rng)
    given = np.asarray(total)
    require(given.dtype.kind in "iu", f"total: expected integers, got dtype {given.dtype}")
    require(
        bool(np.all((given >= 0) & (given <= 4**_MAX_GRID_BITS))),
        f"total: expected values in [0, 4^{_MAX_GRID_BITS}]",
    )
    reduced, doublings = _strip_fours(given.astype(np.int64).reshape(-1))
    table = _two_square_table(int(reduced.max(initial=0)).bit_length())
    parts = np.zeros((reduced.size, 4), dtype=np.int64)
    pending = np.arange(reduced.size)
    while pending.size:
        target = reduced[pending]
        a, b = _disc(rng, target)
        left = target - a * a - b * b
        c = np.where(left >= 0, table[np.maximum(left, 0)].astype(np.int64), -1)
        hit = c >= 0
        d = np.rint(np.sqrt(np.where(hit, left - c * c, 0))).astype(np.int64)
        parts[pending[hit]] = np.stack([a, b, c, d], axis=-1)[hit]
        pending = pending[~hit]
    # The table stores one ordered pair c <= d of non-negative integers.
    parts[:, 2:] = rng.permuted(parts[:, 2:], axis=1) * rng.choice([-1, 1], size=(len(parts), 2))
    scaled: Integers = parts << doublings[:, None]
    return scaled.reshape(*given.shape, 4)


def _check_comparator(comparator: Any, shape: tuple[int, ...]) -> Array:
    u = as_float64("comparator", comparator, min_ndim=1)
    require(len(shape) > 0 and all(n >= 0 for n in shape), f"shape: expected (..., K), got {shape}")
    require(
        shape[-1] >= 5,
        f"shape: exactly unit dyadic keys need K >= 5 (four squares sum to a power of 4 only trivially), "
        f"got K = {shape[-1]}",
    )
    broadcastable("comparator", u.shape, shape)
    require(bool(np.all(u > 0)), "comparator: expected values > 0")
    ones = np.count_nonzero(u == 1, axis=-1)
    require(
        bool(np.all(ones >= 4)),
        f"comparator: expected at least four entries equal to 1 per key, got {ones.min(initial=4)}",
    )
    return u


def _check_grid_bits(grid_bits: int) -> None:
    require(3 <= grid_bits <= _MAX_GRID_BITS, f"grid_bits: expected 3 to {_MAX_GRID_BITS}, got {grid_bits}")


def _even_bits(u: Array, *, limit: int) -> int:
    for bits in range(0, limit + 1, 2):
        scaled = np.ldexp(u, bits)
        if np.array_equal(scaled, np.rint(scaled)):
            return bits
    raise ValueError(f"comparator: expected multiples of 2^-{limit} or coarser for this grid_bits")


def _four_positions(rng: np.random.Generator, allowed: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> Any:
    """Four distinct random indices per key among those `allowed`, (..., 4)."""
    priority = np.where(allowed, rng.random(shape, dtype=np.float32), np.float32(2))
    return np.argpartition(priority, 3, axis=-1)[..., :4]


def _round_below(scaled: Array, weights: Integers, total: int) -> tuple[Array, Integers]:
    """Nearest integers n, or truncated ones where those leave ``total - sum(w n^2) < 0``; and that rest."""
    nearest = np.rint(scaled)
    over = np.sum(weights * nearest**2, axis=-1, keepdims=True) > total
    # Truncation cannot overshoot: |n| <= |x|, and sum(w x^2) exceeds `total` by rounding alone, below 1.
    rounded = np.where(over, np.trunc(scaled), nearest)
    return rounded, total - np.sum(weights * rounded**2, axis=-1).astype(np.int64)


def _strip_fours(total: Integers) -> tuple[Integers, Integers]:
    """total = 4^j * reduced with 8 not dividing `reduced` (0 stays 0); returns (reduced, j).

    If 8 divides a sum of four squares all four roots are even, so no solution is lost; and what is
    left has at least 6 * reduced solutions (Jacobi), enough for rejection sampling.
    """
    reduced, doublings = total.copy(), np.zeros_like(total)
    while True:
        even = (reduced % 8 == 0) & (reduced > 0)
        if not even.any():
            return reduced, doublings
        reduced[even] //= 4
        doublings[even] += 1


def _disc(rng: np.random.Generator, target: Integers) -> tuple[Integers, Integers]:
    radius = np.sqrt(target * rng.random(target.shape))
    angle = 2 * np.pi * rng.random(target.shape)
    a, b = np.rint(radius * np.cos(angle)), np.rint(radius * np.sin(angle))
    return a.astype(np.int64), b.astype(np.int64)


@lru_cache(maxsize=2)
def _two_square_table(bits: int) -> npt.NDArray[np.int16]:
    """For each m < 2^bits: the largest c <= d with c^2 + d^2 = m, or -1 if there is none."""
    size = 1 << bits
    table = np.full(size, -1, dtype=np.int16)
    squares = np.arange(int(np.sqrt(size)) + 1, dtype=np.int64) ** 2
    for c, square in enumerate(squares):
        table[(squares[c:] + square)[squares[c:] + square < size]] = c
    return table
