"""State gates inside a chunk: who still sees whom, and how faded (T12, T17).

With Gamma_i the product of the gates up to token i of the chunk, token i sees the write of token j <= i scaled
by Gamma_i / Gamma_j. The ratio is formed as the product of the gates in between and never as a quotient, so a
gate of zero, or one small enough to underflow, costs no accuracy.
"""

from dataclasses import dataclass

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array


@dataclass(frozen=True, eq=False)
class Faded:
    """Chunks of C tokens (padded to P) as their entering states and their own writes are seen.

    `reads` (G, N, 2P, K): rows that read the entering state, keys then queries. `coupling` (G, N, 2P, P): row i against
    write key j, for j <= i; other entries are arbitrary. `writes` (G, N, P, K): write keys as the state handed on holds
    them. `keep` (G, N, 1, K) or (G, N, 1, 1): factor of the entering state.
    """

    reads: Array
    coupling: Array
    writes: Array
    keep: Array


def padded_length(chunk_size: int, gate_axes: int) -> int:
    """P: the chunk size, raised to a power of two where gates per feature (`gate_axes` 3) halve the chunk."""
    return chunk_size if gate_axes < 3 else 1 << (chunk_size - 1).bit_length()


def fade(rows: Array, writes: Array, gate: Array, coupling: Array) -> Faded:
    """Fade `rows` (G, N, 2P, K) and `writes` (G, N, P, K) by `gate` (G, N, P) or (G, N, P, K).

    `coupling` (G, N, 2P, P) is memory for the result.
    """
    if gate.ndim == 3:
        return _fade_tokens(rows, writes, gate, coupling)
    return _fade_features(rows, writes, gate, coupling)


def _fade_tokens(rows: Array, writes: Array, gate: Array, coupling: Array) -> Faded:
    size = gate.shape[-1]
    seen = np.where(np.tri(size, k=-1, dtype=bool), gate[..., np.newaxis], 1.0)
    np.multiply.accumulate(seen, axis=-2, out=seen)
    total = np.multiply.accumulate(gate, axis=-1)[..., np.newaxis]
    np.matmul(rows, transpose(writes), out=coupling)
    coupling[..., :size, :] *= seen
    coupling[..., size:, :] *= seen
    reads = np.empty_like(rows)
    np.multiply(rows[..., :size, :], total, out=reads[..., :size, :])
    np.multiply(rows[..., size:, :], total, out=reads[..., size:, :])
    return Faded(reads, coupling, writes * seen[..., -1, :, np.newaxis], total[..., -1:, :])


def _fade_features(rows: Array, writes: Array, gate: Array, coupling: Array) -> Faded:
    """Halve the chunk: across a midpoint the ratio is a product of a factor per row and one per write.

    `since` is the product of the gates from the start of a row's block up to the row, `until` that of the gates
    after a write up to the end of its block; both double their block with one product per level.
    """
    size, dim = gate.shape[-2:]
    lead = gate.shape[:-2]
    since, until = np.array(gate), np.ones(gate.shape)
    own = np.arange(size)
    coupling[..., size + own, own] = np.vecdot(rows[..., size:, :], writes)
    half = 1
    while half < size:
        pairs = size // (2 * half)
        split = (*lead, pairs, 2, half, dim)
        since_pairs, until_pairs = since.reshape(split), until.reshape(split)
        earlier = transpose(writes.reshape(split)[..., 0, :, :] * until_pairs[..., 0, :, :])
        for begin in (0, size):
            block = rows[..., begin : begin + size, :].reshape(split)
            later = block[..., 1, :, :] * since_pairs[..., 1, :, :]
            _store(np.matmul(later, earlier), coupling[..., begin : begin + size, :])
        until_pairs[..., 0, :, :] *= since_pairs[..., 1, -1:, :]
        since_pairs[..., 1, :, :] *= since_pairs[..., 0, -1:, :]
        half *= 2
    reads = np.empty_like(rows)
    np.multiply(rows[..., :size, :], since, out=reads[..., :size, :])
    np.multiply(rows[..., size:, :], since, out=reads[..., size:, :])
    return Faded(reads, coupling, writes * until, since[..., -1:, :])


def _store(blocks: Array, coupling: Array) -> None:
    """Put blocks (..., pairs, half, half) at the later rows and earlier columns of their pairs in `coupling`."""
    pairs, half = blocks.shape[-3:-1]
    for pair in range(pairs):
        begin = 2 * half * pair
        coupling[..., begin + half : begin + 2 * half, begin : begin + half] = blocks[..., pair, :, :]
