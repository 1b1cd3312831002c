"""State gates inside a chunk: who still sees whom, and how faded (T12, T17).

With Gamma_i the product of the gates up to token i of the chunk, token i sees the write of token j <= i scaled
by Gamma_i / Gamma_j. The ratio is formed as the product of the gates in between and never as a quotient, so a
gate of zero, or one small enough to underflow, costs no accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osdn_theory._validation import Array


@dataclass(frozen=True, eq=False)
class Faded:
    """A chunk of C tokens (padded to P) as its entering state and its own writes are seen.

    `reads` (G, 2P, K): rows that read the entering state, keys then queries.
    `coupling` (G, 2P, P): row i against write key j, for j <= i; other entries are arbitrary.
    `writes` (G, P, K): write keys as the state handed on holds them.
    `keep` (G, 1, K) or (G, 1, 1): factor of the entering state, None without gates.
    """

    reads: Array
    coupling: Array
    writes: Array
    keep: Array | None


def padded_length(chunk_size: int, gate_axes: int) -> int:
    """P: the chunk size, raised to a power of two where gates per feature (`gate_axes` 3) halve the chunk."""
    return chunk_size if gate_axes < 3 else 1 << (chunk_size - 1).bit_length()


def fade(rows: Array, writes: Array, gate: Array | None, coupling: Array) -> Faded:
    """Fade `rows` (G, 2P, K) and `writes` (G, P, K) by `gate` (G, P), (G, P, K) or None.

    `coupling` (G, 2P, P) is memory for the result.
    """
    if gate is None:
        np.matmul(rows, writes.swapaxes(-1, -2), out=coupling)
        return Faded(rows, coupling, writes, None)
    if gate.ndim == 2:
        return _fade_tokens(rows, writes, gate, coupling)
    return _fade_features(rows, writes, gate, coupling)


def _fade_tokens(rows: Array, writes: Array, gate: Array, coupling: Array) -> Faded:
    group, size = gate.shape
    seen = np.where(np.tri(size, k=-1, dtype=bool), gate[..., np.newaxis], 1.0)
    np.multiply.accumulate(seen, axis=-2, out=seen)
    total = np.multiply.accumulate(gate, axis=-1)
    np.matmul(rows, writes.swapaxes(-1, -2), out=coupling)
    coupling.reshape(group, 2, size, size)[:] *= seen[:, np.newaxis]
    reads = rows.reshape(group, 2, size, -1) * total[:, np.newaxis, :, np.newaxis]
    faded = writes * seen[:, -1, :, np.newaxis]
    return Faded(reads.reshape(rows.shape), coupling, faded, total[:, -1, np.newaxis, np.newaxis])


def _fade_features(rows: Array, writes: Array, gate: Array, coupling: Array) -> Faded:
    """Halve the chunk: across a midpoint the ratio is a product of a factor per row and one per write.

    `since` is the product of the gates from the start of a row's block up to the row, `until` that of the gates
    after a write up to the end of its block; both double their block with one product per level.
    """
    group, size, dim = gate.shape
    since, until = np.array(gate), np.ones(gate.shape)
    own = np.arange(size)
    coupling[:, size + own, own] = np.vecdot(rows[:, size:], writes)
    half = 1
    while half < size:
        pairs = size // (2 * half)
        split = (group, pairs, 2, half, dim)
        since_pairs, until_pairs = since.reshape(split), until.reshape(split)
        later = rows.reshape(group, 2, pairs, 2, half, dim)[:, :, :, 1] * since_pairs[:, np.newaxis, :, 1]
        earlier = writes.reshape(split)[:, :, 0] * until_pairs[:, :, 0]
        product = np.matmul(later, earlier[:, np.newaxis].swapaxes(-1, -2))
        pair = np.arange(pairs)
        blocks = coupling.reshape(group, 2, pairs, 2, half, pairs, 2, half)
        blocks[:, :, pair, 1, :, pair, 0, :] = np.moveaxis(product, 2, 0)
        until_pairs[:, :, 0] *= since_pairs[:, :, 1, -1:]
        since_pairs[:, :, 1] *= since_pairs[:, :, 0, -1:]
        half *= 2
    reads = rows.reshape(group, 2, size, dim) * since[:, np.newaxis]
    return Faded(reads.reshape(rows.shape), coupling, writes * until, since[:, -1:])
