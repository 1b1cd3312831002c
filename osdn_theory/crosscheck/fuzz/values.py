"""Numbers of one kind: keys, queries, values, write gates, gates and states as a case asks for them by name."""

import numpy as np

from osdn_theory.base.validation import Array

TINY = {"float32": 2.0**-10, "bfloat16": 2.0**-10, "float16": 0.25}
SMALL = {"float32": 0.01, "bfloat16": 0.01, "float16": 0.25}
LARGE = {"float32": 100.0, "bfloat16": 100.0, "float16": 8.0}
"""By dtype: what is tiny, small or large in it and leaves room for products: T18 does not speak of underflow."""

LEAST_BETA = {"float32": 0.0, "bfloat16": 0.0, "float16": 0.1}

Shape = tuple[int, ...]


def draw_keys(rng: np.random.Generator, kind: str, shape: Shape, dtype: str, longest: float) -> Array:
    """(B, H, T, K); "large" ones have the norm `longest`."""
    if kind == "zero":
        return np.zeros(shape)
    if kind == "basis":
        return np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]
    keys = _unit(rng, shape)
    if kind == "repeated":
        few = min(shape[-2], 3)
        keys = keys[..., rng.integers(0, max(few, 1), shape[-2]), :]
    if kind == "some zero":
        keys = keys * (rng.random((*shape[:-1], 1)) < 0.6)
    norms = {"tiny": TINY[dtype], "large": longest}
    if kind == "mixed":
        return keys * np.exp2(rng.uniform(np.log2(TINY[dtype]) / 2, np.log2(longest), (*shape[:-1], 1)))
    return keys * norms.get(kind, 1.0)


def draw_queries(rng: np.random.Generator, kind: str, keys: Array, dtype: str) -> Array:
    if kind == "keys":
        return keys
    if kind == "zero":
        return np.zeros_like(keys)
    size = LARGE[dtype] if kind == "large" else 1.0
    return size * _unit(rng, keys.shape)


def draw_values(rng: np.random.Generator, kind: str, shape: Shape, dtype: str) -> Array:
    sizes = {"normal": 1.0, "small": SMALL[dtype], "large": LARGE[dtype], "zero": 0.0}
    return sizes[kind] * rng.standard_normal(shape)


def draw_beta(rng: np.random.Generator, kind: str, shape: Shape, dtype: str) -> Array:
    if kind == "zeros and ones":
        return rng.integers(0, 2, shape).astype(np.float64)
    if kind in ("zeros", "ones"):
        return np.full(shape, float(kind == "ones"))
    return rng.uniform(LEAST_BETA[dtype], 2.0 if kind == "up to 2" else 1.0, shape)


def draw_gate(rng: np.random.Generator, kind: str, shape: Shape) -> Array:
    """Gates in (0, 1]; closing ones, which empty a memory, in [0, 1]."""
    if kind == "ones":
        return np.ones(shape)
    if kind == "mild":
        return rng.uniform(0.9, 1.0, shape)
    strong = np.exp(-rng.uniform(0.0, 20.0, shape))
    if kind == "closing":
        return np.where(rng.random(shape) < 0.2, 0.0, strong)
    return np.where(rng.random(shape) < 0.3, 1.0, strong) if kind == "strong and ones" else strong


def draw_start(rng: np.random.Generator, kind: str, shape: Shape, low: float, high: float) -> Array:
    """d_1 in the box as far as it is between 1/2 and 2, or on the faces that it has; float32, and inside as such."""
    if kind == "ones":
        return np.ones(shape)
    low, high = (float(np.clip(side, 0.5, 2.0)) if low != high else low for side in (low, high))
    drawn = rng.uniform(low, high, shape)
    if kind == "on the faces":
        drawn = np.where(rng.random(shape) < 0.5, low, high)
    narrow = drawn.astype(np.float32)
    above, below = (np.nextafter(narrow, np.float32(side)) for side in (np.inf, -np.inf))
    rounded = narrow.astype(np.float64)
    return np.where(rounded < low, above, np.where(rounded > high, below, rounded)).astype(np.float64)


def _unit(rng: np.random.Generator, shape: Shape) -> Array:
    drawn = rng.standard_normal(shape)
    unit: Array = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    return unit
