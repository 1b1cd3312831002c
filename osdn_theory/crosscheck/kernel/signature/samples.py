"""Small inputs whose axes all have different lengths, so that shapes say which is which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case, Dtype, pose
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.recurrence.rules import PUBLISHED
from osdn_theory.streams.stream import Stream


@dataclass(frozen=True)
class SampleSizes:
    """Of a call: batch rows, tokens, heads, features of keys and values."""

    batch: int
    tokens: int
    heads: int
    key_dim: int
    value_dim: int

    def __str__(self) -> str:
        return f"B={self.batch}, T={self.tokens}, H={self.heads}, K={self.key_dim}, V={self.value_dim}"


SIZES = (
    SampleSizes(2, 5, 3, 16, 32),
    *(SampleSizes(2, tokens, 3, 16, 32) for tokens in (16, 32, 64, 128, 256)),
    SampleSizes(2, 64, 4, 64, 64),
    SampleSizes(2, 64, 4, 128, 128),
)
"""Tried in turn: a kernel may want powers of two of tokens, or one size of head."""

FEW_SIZES = SIZES[:4]
"""For a dtype after one that was refused at every size."""


def sample(adapter: Adapter, sizes: SampleSizes, dtype: Dtype) -> Case:
    """A case in which every argument matters: gates, a state, norms that are not one, beta inside (0, 1)."""
    rng = np.random.default_rng(12)
    lead = (sizes.batch, sizes.heads)
    tokens = (*lead, sizes.tokens)
    stream = Stream(
        keys=_vectors(rng, (*tokens, sizes.key_dim)),
        queries=_vectors(rng, (*tokens, sizes.key_dim)),
        values=rng.standard_normal((*tokens, sizes.value_dim)),
        beta=rng.uniform(0.2, 0.9, tokens),
        state_gate=_gate(rng, adapter, tokens, sizes.key_dim),
        name="probe",
    )
    state = None
    if "initial_state" in adapter.parameters:
        state = 0.5 * rng.standard_normal((*lead, sizes.value_dim, sizes.key_dim))
    # Without forgetting: g of a kernel that calibrates is left out.
    return pose(adapter, stream, PUBLISHED, dtype, scale=0.7, initial_state=state)


def _vectors(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Norms between 0.1 and 1.1."""
    found = rng.standard_normal(shape)
    norms = rng.uniform(0.1, 1.1, (*shape[:-1], 1))
    vectors: Array = found / np.linalg.norm(found, axis=-1, keepdims=True) * norms
    return vectors


def _gate(rng: np.random.Generator, adapter: Adapter, tokens: tuple[int, ...], key_dim: int) -> Array | None:
    if not adapter.gated:
        return None
    return rng.uniform(0.6, 0.99, (*tokens, key_dim) if adapter.gates_features else tokens)
