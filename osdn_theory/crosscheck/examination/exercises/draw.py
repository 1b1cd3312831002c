"""Streams of the exercises: every head and batch row different, nothing at a value that hides a fault."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.streams.stream import Stream


@dataclass(frozen=True)
class ExerciseSizes:
    """How large exercises are; `chunk` is the kernel's chunk, or what stands for it."""

    batch: int = 2
    heads: int = 3
    key_dim: int = 8
    value_dim: int = 12
    chunk: int = 16

    @property
    def lead(self) -> tuple[int, int]:
        return self.batch, self.heads

    @property
    def tokens(self) -> int:
        """Two chunks and a piece that is no multiple of anything."""
        return 2 * self.chunk + 5

    def fewer(self) -> ExerciseSizes:
        """One batch row and two heads, for what concerns neither."""
        return replace(self, batch=1, heads=2)

    def square(self) -> ExerciseSizes:
        """K = V."""
        return replace(self, value_dim=self.key_dim)

    def narrow(self) -> ExerciseSizes:
        """V < K, where all else has K < V or K = V."""
        return replace(self.fewer(), value_dim=max(self.key_dim // 2, 1))

    def odd(self) -> ExerciseSizes:
        """K and V that are multiples of nothing that kernels like."""
        return replace(self.fewer(), key_dim=self.key_dim + 2, value_dim=self.value_dim + 1)


SMALL = ExerciseSizes()
"""For Triton's interpreter and eager kernels."""

LARGE = ExerciseSizes(key_dim=64, value_dim=128, chunk=64)
"""For a GPU."""


def generator(name: str, seed: int) -> np.random.Generator:
    """Random numbers of one exercise: those of its name, whatever other exercises there are."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def draw_stream(
    rng: np.random.Generator,
    sizes: ExerciseSizes,
    *,
    padded: bool = False,
    tokens: int | None = None,
    norms: tuple[float, float] = (0.5, 1.4),
    beta: tuple[float, float] = (0.0, 1.0),
    value_size: float = 1.0,
) -> Stream:
    """Independent directions, norms of keys over an interval; beta over another, with its ends among them.

    `padded` has some tokens whose key and query are zero, as those that fill a batch up.
    """
    length = sizes.tokens if tokens is None else tokens
    keys = rng.standard_normal((*sizes.lead, length, sizes.key_dim))
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    keys *= rng.uniform(*norms, keys.shape[:-1])[..., None]
    values = value_size * rng.standard_normal((*sizes.lead, length, sizes.value_dim))
    queries = rng.standard_normal(keys.shape)
    if padded:
        keys[..., 1::7, :] = queries[..., 1::7, :] = 0.0
    return Stream(
        keys=keys,
        values=values,
        queries=queries,
        beta=draw_beta(rng, (*sizes.lead, length), *beta),
    )


def draw_beta(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> Array:
    """Uniform, one in ten exactly `low` and one in ten exactly `high`."""
    beta = rng.uniform(low, high, shape)
    chosen = rng.random(shape)
    return np.where(chosen < 0.1, low, np.where(chosen > 0.9, high, beta))


def draw_gate(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    least: float = 0.3,
    kept: float = 0.2,
    strong: float = 0.0,
) -> Array:
    """Gates over [least, 1), a part of them exactly one, and a part from e^-5 down to e^-20."""
    gate = rng.uniform(least, 0.99, shape)
    if strong:
        gate = np.where(rng.random(shape) < strong, np.exp(-rng.uniform(5.0, 20.0, shape)), gate)
    return np.where(rng.random(shape) < kept, 1.0, gate)


def draw_state(rng: np.random.Generator, sizes: ExerciseSizes) -> Array:
    """S_0, (B, H, V, K)."""
    return rng.standard_normal((*sizes.lead, sizes.value_dim, sizes.key_dim))
