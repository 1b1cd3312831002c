"""All gradients of a chunk from its states, X and Z, every chunk at once (T12, differentiated).

X = (I + A)^-1 Y, Y = diag(beta) (V - K H), and Z is the gradient of Y (`state_backward`). So A's is -tril(Z X^T, -1),
V's diag(beta) Z, and the keys' gradient and beta's are one bracket: with B = -Z H^T - tril(Z X^T, -1) K~,
dK = diag(beta) B, and dbeta_t = z_t . v_t + k_t . b_t. No gradient of the inverse is formed, so that what it has
rounded is rounded once.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch.dots import dot, dot_rows
from ..launch.runtime import cdiv, operand_precision, single, tile
from ..launch.sequences import Chunks, chunk_of
from ..launch.tuning import autotune, configurations, unrolled
from .decays import GateSums, decay_between, decay_tile, gate_gradient, load_sums
from .feature.pairs_backward import PairGradients
from .write_keys import FIXED, LEARNED, WriteKeys


class ChunkGradients(NamedTuple):
    """Gradients by value head.

    - `q`, [B, T, H, K]
    - `k`, [B, T, H, K]: Complete under `IDENTITY` and `FIXED`; under `LEARNED` what does not pass through the
      preconditioner.
    - `write_key`, [B, T, H, K]: Under `LEARNED`; else None.
    - `v`, [B, T, H, V]
    - `beta`, [B, T, H] float32
    - `shares`, [B, T, H, blocks] float32: What beta gets from blocks of key features; under gates the first from values
      as well.
    - `state_gate`, [B, T, H] or [B, T, H, K] float32, or None
    - `entry`, [slots, H, K] float32 or None: Gradient of a fixed preconditioner, chunk by chunk.
    """

    q: Tensor
    k: Tensor
    write_key: Tensor | None
    v: Tensor
    beta: Tensor
    shares: Tensor
    state_gate: Tensor | None
    entry: Tensor | None


# Three [C, BK] accumulators and two [C, C] ones fill the registers of four warps: with half of K a second program fits
# on a multiprocessor, and what both halves read, side by side, is in the cache.
@autotune(
    configurations([{"BV": 32}], warps=(4,), stages=(3,))
    + configurations([{"BV": 64}], warps=(4,))
    + configurations([{"BV": 32}], warps=(8,), stages=(3,))
    + unrolled(BV=32),
    ["K", "V", "C", "KEYS", "STATE_GATE"],
)
@triton.jit
def gradients_kernel(
    q, k, v, beta, write_key, entry, x, states, sums, rests, pair_q, pair_key, pair_write, pair_gate, grad_o,
    grad_missing, grad_states, grad_q, grad_k, grad_write_key, grad_v, shares, grad_gate, grad_entry, bounds, first,
    owner, length, per_sequence, stride, scale,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr, PARTS: tl.constexpr,
    KEYS: tl.constexpr, PINNED: tl.constexpr, PACKED: tl.constexpr, STATE_GATE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0) // PARTS
    part = tl.program_id(0) % PARTS
    head = program % H
    sequence, chunk, start, tokens = chunk_of(
        program // H, bounds, first, owner, length, per_sequence, C, PACKED, stride
    )
    left = tokens - chunk * C
    if left <= 0:
        return
    row = tl.arange(0, C)
    valid = row < left
    key = part * BK + tl.arange(0, BK)
    in_key = key < K
    token = (start + chunk * C).to(tl.int64) * H + head
    # X and Z have the rows of a stretch alone.
    own = ((start if PACKED else sequence * length) + chunk * C).to(tl.int64) * (H * V) + head * V
    rate = tl.load(beta + token + row * H, mask=valid, other=0.0).to(tl.float32)
    dtype = grad_q.dtype.element_ty
    base = program.to(tl.int64) * (K * V)
    for_q = tl.zeros([C, BK], tl.float32)
    for_key = tl.zeros([C, BK], tl.float32)
    for_written = tl.zeros([C, BK], tl.float32)
    overlap = tl.zeros([C, C], tl.float32)
    for_a = tl.zeros([C, C], tl.float32)
    if STATE_GATE > 0:
        for_beta = tl.zeros([C], tl.float32)
        across = tl.zeros([BK], tl.float32)
    for i in range(tl.cdiv(V, BV)):
        value = i * BV + tl.arange(0, BV)
        in_value = value < V
        by_row = row[:, None] * (H * V) + value[None, :]
        by_value = token * V + by_row
        in_row = valid[:, None] & in_value[None, :]
        output = tl.load(grad_o + by_value, mask=in_row, other=0.0)
        written = tl.load(x + own + by_row, mask=in_row, other=0.0)
        change = tl.load(grad_missing + own + by_row, mask=in_row, other=0.0)
        cell = base + key[None, :] * V + value[:, None]
        in_cell = in_key[None, :] & in_value[:, None]
        entering = tl.load(states + cell, mask=in_cell, other=0.0)
        leaving = tl.load(grad_states + cell, mask=in_cell, other=0.0)
        if STATE_GATE < 2:
            overlap += dot(output, tl.trans(written), PRECISION)
            for_a += dot(change, tl.trans(written), PRECISION)
        for_q += dot(output, entering, PRECISION)
        for_written += dot(written, leaving, PRECISION)
        for_key += dot(change, entering, PRECISION)
        # Without gates `values` does this; with them the kernel is slower without it.
        if STATE_GATE > 0:
            once = in_row & (part == 0)
            wanted = tl.load(v + by_value, mask=once, other=0.0).to(tl.float32)
            for_beta += tl.sum(change.to(tl.float32) * wanted, 1)
            tl.store(grad_v + by_value, (change.to(tl.float32) * rate[:, None]).to(dtype), mask=once)
            across += tl.sum(entering.to(tl.float32) * leaving.to(tl.float32), 0)
    # Summed as products are accumulated, and keys' two parts rounded below, so that a walk finds the same (`walk`).
    for_a, for_key = -for_a, -for_key
    by_key = token * K + row[:, None] * (H * K) + key[None, :]
    in_row = valid[:, None] & in_key[None, :]
    key_token = (start + chunk * C).to(tl.int64) * (H // G) + head // G
    shared = key_token * K + row[:, None] * (H // G * K) + key[None, :]
    queries = tl.load(q + shared, mask=in_row, other=0.0)
    keys = tl.load(k + shared, mask=in_row, other=0.0)
    writes = tl.load(write_key + shared, mask=in_row, other=0.0)
    before = row[:, None] > row[None, :]
    # Everything of q before all of k, and each [C, C] when it is needed: fewer tiles are alive at once.
    if STATE_GATE == 1:
        since, rest = load_sums(sums, rests, token + row * H, valid)
        total, total_rest = load_sums(sums, rests, token + (tl.minimum(left, C) - 1) * H, True)
        overlap *= decay_tile(since, rest, since, rest)
        for_q *= tl.exp(since)[:, None]
        reads = tl.sum(for_q * queries.to(tl.float32), 1) * scale
    if STATE_GATE == 2:
        since, rest = load_sums(sums, rests, by_key, in_row)
        last = (token + (tl.minimum(left, C) - 1) * H) * K + key
        total, total_rest = load_sums(sums, rests, last, in_key)
        for_q *= tl.exp(since)
        for_key *= tl.exp(since)
        for_written *= decay_between(total[None, :], total_rest[None, :], since, rest)
        reads = for_q * queries.to(tl.float32) * scale + for_key * keys.to(tl.float32) * rate[:, None]
        ends = for_written * writes.to(tl.float32)
        # Sums by products: what all tokens up to one write, less its own, would cancel under strong gates.
        through = dot((row[:, None] <= row[None, :]).to(tl.float32), reads, PRECISION)
        through += dot(before.to(tl.float32), ends, PRECISION)
        through += tl.load(pair_gate + by_key, mask=in_row, other=0.0)
        tl.store(grad_gate + by_key, through + (tl.exp(total) * across)[None, :], mask=in_row)
        for_q += tl.load(pair_q + by_key, mask=in_row, other=0.0).to(tl.float32)
        for_key += tl.load(pair_key + by_key, mask=in_row, other=0.0)
        for_written += tl.load(pair_write + by_key, mask=in_row, other=0.0).to(tl.float32)
    else:
        overlap = tl.where(row[:, None] >= row[None, :], overlap, 0.0)
        for_q += dot(overlap.to(dtype), writes, PRECISION)
    for_q *= scale
    tl.store(grad_q + by_key, for_q.to(dtype), mask=in_row)
    if STATE_GATE == 1:
        for_written *= decay_between(total, total_rest, since, rest)[:, None]
        ends = tl.sum(for_written * writes.to(tl.float32), 1)
        pairs = overlap * scale * dot(queries, tl.trans(writes), PRECISION)
    if STATE_GATE < 2:
        for_written += dot(tl.trans(overlap * scale).to(dtype), queries, PRECISION)
        if STATE_GATE == 1:
            for_a *= decay_tile(since, rest, since, rest)
            for_key *= tl.exp(since)[:, None]
            pairs += for_a * rate[:, None] * dot(keys, tl.trans(writes), PRECISION)
            reads += tl.sum(for_key * keys.to(tl.float32), 1) * rate
        for_a = tl.where(before, for_a, 0.0)
        for_key += dot(for_a.to(dtype), writes, PRECISION)
        for_written += dot(tl.trans(for_a * rate[:, None]).to(dtype), keys, PRECISION)
    if STATE_GATE == 0:
        for_beta = dot_rows(for_key, keys, PRECISION)
    else:
        for_beta += tl.sum(for_key * keys.to(tl.float32), 1)
    tl.store(shares + (token + row * H) * PARTS + part, for_beta, mask=valid)
    if STATE_GATE == 1:
        through = gate_gradient(tl.where(before, pairs, 0.0), reads, ends, PRECISION)
        through += tl.exp(total) * tl.sum(across, 0)
        tl.store(grad_gate + (token + row * H) * PARTS + part, through, mask=valid)
    for_key *= rate[:, None]
    if KEYS == 0:
        for_key = for_key.to(dtype).to(tl.float32) + for_written.to(dtype).to(tl.float32)
    if KEYS == 1:
        d = tl.load(entry + (sequence * (H // G) + head // G) * K + key, mask=in_key, other=0.0)
        for_key += for_written * d[None, :]
        for_entry = for_written * keys.to(tl.float32)
        if PINNED:
            # Only the first token meets d_1 itself; the clip has replaced it for all others.
            for_entry = tl.where((row == 0)[:, None] & (chunk == 0), for_entry, 0.0)
        tl.store(grad_entry + program.to(tl.int64) * K + key, tl.sum(for_entry, 0), mask=in_key)
    if KEYS == 2:
        tl.store(grad_write_key + by_key, for_written.to(dtype), mask=in_row)
    tl.store(grad_k + by_key, for_key.to(dtype), mask=in_row)


def block_of_keys(key_dim: int) -> int:
    """Key features that one program has."""
    return min(tile(key_dim), 64)


def new_gradients(k: Tensor, v: Tensor, gates: GateSums, mode: int, slots: int) -> ChunkGradients:
    """Memory for them; of gates per head by block of key features, [B, T, H, blocks]."""
    key_dim, heads = k.shape[3], v.shape[2]
    blocks = cdiv(key_dim, block_of_keys(key_dim))
    gate = None
    if gates.sums is not None:
        gate = single(k, *v.shape[:3], key_dim if gates.per_feature else blocks)
    return ChunkGradients(
        q=k.new_empty(*v.shape[:3], key_dim),
        k=k.new_empty(*v.shape[:3], key_dim),
        write_key=k.new_empty(*v.shape[:3], key_dim) if mode == LEARNED else None,
        v=torch.empty_like(v),
        beta=single(k, *v.shape[:3]),
        shares=single(k, *v.shape[:3], blocks),
        state_gate=gate,
        entry=k.new_zeros(slots, heads, key_dim, dtype=torch.float32) if mode == FIXED else None,
    )


def differentiate_chunks(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, gates: GateSums, keys: WriteKeys, x: Tensor, states: Tensor,
    pairs: PairGradients | None, grad_o: Tensor, grad_missing: Tensor, grad_states: Tensor, out: ChunkGradients,
    chunks: Chunks, scale: float, *, pinned: bool,
) -> None:  # fmt: skip
    """Fill `out`, as `new_gradients` makes it, with gradients of what chunks read and write, from X and Z of a stretch:
    without gates of keys' alone, and values' and beta's are left to `values`.

    pairs: what passes through pairs of tokens where gates are per feature, which is found before.
    """
    key_dim, (heads, value_dim) = k.shape[3], v.shape[2:]
    width = block_of_keys(key_dim)
    parts = cdiv(key_dim, width)
    gradients_kernel[(chunks.slots * heads * parts,)](
        q, k, v, beta, keys.out, keys.entry, x, states, gates.sums, gates.rests, *(pairs or [None] * 4), grad_o,
        grad_missing, grad_states, out.q, out.k, out.write_key, out.v, out.shares, out.state_gate, out.entry,
        *chunks.pointers, chunks.length, chunks.per_sequence, chunks.stride, scale,
        H=heads, G=heads // k.shape[2], K=key_dim, V=value_dim, C=chunks.size, BK=width, PARTS=parts,
        KEYS=keys.mode, PINNED=pinned, PACKED=chunks.packed, STATE_GATE=gates.kind,
        PRECISION=operand_precision(k.dtype),
    )  # fmt: skip


def add_blocks(found: ChunkGradients, gates: GateSums) -> ChunkGradients:
    """With what gates leave as sums over blocks of key features."""

    def add(x: Tensor) -> Tensor:
        return x[..., 0] if x.shape[-1] == 1 else x.sum(-1)

    gate = found.state_gate
    if gate is None:
        return found
    return found._replace(beta=add(found.shares), state_gate=gate if gates.per_feature else add(gate))
