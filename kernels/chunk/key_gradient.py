"""Gradients of queries, write keys and W through the read and the memory update, chunk by chunk (T12).

Transposed products are formed from transposed loads: a product's result is never transposed in registers.
"""

import triton
import triton.language as tl
from torch import Tensor

from ..launch.dots import dot
from ..launch.runtime import operand_precision
from ..launch.sequences import Chunks, chunk_of
from ..launch.tuning import autotune, configurations, unrolled
from .decays import GateSums, decay_tile, decay_to_end, gate_gradient, load_sums

NARROWEST = 64
"""Key features of a block, at least."""


# Three [C, BK] accumulators and two [C, C] ones: all of K at once shares the token-by-token products, half of it spills
# less.
@autotune(
    configurations([{"BK": 64, "BV": 64}], warps=(4,))
    + configurations([{"BK": 128, "BV": 64}], (8,), (3,))
    + unrolled(BK=64, BV=32),
    ["K", "V", "C", "STATE_GATE"],
)
@triton.jit
def key_gradient_kernel(
    q, write_key, x, states, sums, rests, grad_o, grad_x, grad_states, grad_q, grad_write_key, grad_w, grad_gate,
    bounds, first, owner, length, per_sequence, scale,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr,
    PARTS: tl.constexpr, PACKED: tl.constexpr, STATE_GATE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    head = program % H
    _, chunk, start, tokens = chunk_of(program // H, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tokens - chunk * C
    if left <= 0:
        return
    row = tl.arange(0, C)
    valid = row < left
    key = tl.program_id(1) * BK + tl.arange(0, BK)
    in_key = key < K
    token = (start + chunk * C).to(tl.int64) * H + head
    dtype = grad_q.dtype.element_ty
    base = program.to(tl.int64) * (K * V)
    for_q = tl.zeros([C, BK], tl.float32)
    for_key = tl.zeros([C, BK], tl.float32)
    for_w = tl.zeros([C, BK], tl.float32)
    overlap = tl.zeros([C, C], tl.float32)
    overlap_t = tl.zeros([C, C], tl.float32)
    if STATE_GATE == 1:
        across = tl.zeros([BK], tl.float32)
    for i in range(tl.cdiv(V, BV)):
        value = i * BV + tl.arange(0, BV)
        in_value = value < V
        by_value = token * V + row[:, None] * (H * V) + value[None, :]
        in_row = valid[:, None] & in_value[None, :]
        output = tl.load(grad_o + by_value, mask=in_row, other=0.0)
        written = tl.load(x + by_value, mask=in_row, other=0.0)
        change = tl.load(grad_x + by_value, mask=in_row, other=0.0)
        cell = base + key[None, :] * V + value[:, None]
        in_cell = in_key[None, :] & in_value[:, None]
        entering = tl.load(states + cell, mask=in_cell, other=0.0)
        leaving = tl.load(grad_states + cell, mask=in_cell, other=0.0)
        overlap += dot(output, tl.trans(written), PRECISION)
        overlap_t += dot(written, tl.trans(output), PRECISION)
        for_q += dot(output, entering, PRECISION)
        for_key += dot(written, leaving, PRECISION)
        for_w -= dot(change, entering, PRECISION)
        if STATE_GATE == 1:
            across += tl.sum(entering.to(tl.float32) * leaving.to(tl.float32), 0)
    by_key = token * K + row[:, None] * (H * K) + key[None, :]
    in_row = valid[:, None] & in_key[None, :]
    key_token = (start + chunk * C).to(tl.int64) * (H // G) + head // G
    shared = key_token * K + row[:, None] * (H // G * K) + key[None, :]
    queries = tl.load(q + shared, mask=in_row, other=0.0)
    keys = tl.load(write_key + shared, mask=in_row, other=0.0)
    if STATE_GATE == 1:
        since, rest = load_sums(sums, rests, token + row * H, valid)
        kept, total = decay_to_end(sums, rests, since, rest, token + (tl.minimum(left, C) - 1) * H)
        overlap *= decay_tile(since, rest, since, rest)
        overlap_t *= decay_tile(-since, -rest, -since, -rest)
        for_q *= tl.exp(since)[:, None]
        for_key *= kept[:, None]
        reads = tl.sum(for_q * queries.to(tl.float32), 1) * scale
        writes = tl.sum(for_key * keys.to(tl.float32), 1)
        pairs = tl.where(row[:, None] > row[None, :], overlap * scale, 0.0)
        pairs *= dot(queries, tl.trans(keys), PRECISION)
        through = gate_gradient(pairs, reads, writes, PRECISION) + tl.exp(total) * tl.sum(across, 0)
        tl.store(grad_gate + (token + row * H) * PARTS + tl.program_id(1), through, mask=valid)
    overlap = tl.where(row[:, None] >= row[None, :], overlap, 0.0).to(dtype)
    overlap_t = tl.where(row[:, None] <= row[None, :], overlap_t * scale, 0.0).to(dtype)
    for_q = (for_q + dot(overlap, keys, PRECISION)) * scale
    for_key += dot(overlap_t, queries, PRECISION)
    tl.store(grad_q + by_key, for_q.to(dtype), mask=in_row)
    tl.store(grad_write_key + by_key, for_key.to(dtype), mask=in_row)
    tl.store(grad_w + by_key, for_w.to(dtype), mask=in_row)


def run_key_gradient(
    q: Tensor, write_key: Tensor, x: Tensor, states: Tensor, gates: GateSums, grad_o: Tensor, grad_x: Tensor,
    grad_states: Tensor, chunks: Chunks, scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:  # fmt: skip
    """Gradients of q, of the write keys through the read and the memory update, and of W, by value head.

    And that of the memory's gates through the read and the memory update, [B, T, H, blocks of K] to be summed.
    """
    key_dim, (heads, value_dim) = q.shape[3], x.shape[2:]
    grad_q, grad_write_key, grad_w = (q.new_empty(*x.shape[:3], key_dim) for _ in range(3))
    grad_gate, parts = None, triton.cdiv(key_dim, NARROWEST)
    if gates.sums is not None:
        grad_gate = gates.sums.new_zeros(*x.shape[:3], parts)
    key_gradient_kernel[lambda meta: (chunks.slots * heads, triton.cdiv(key_dim, meta["BK"]))](
        q, write_key, x, states, *gates, grad_o, grad_x, grad_states, grad_q, grad_write_key, grad_w, grad_gate,
        *chunks.pointers, chunks.length, chunks.per_sequence, scale,
        H=heads, G=heads // q.shape[2], K=key_dim, V=value_dim, C=chunks.size,
        PARTS=parts, PACKED=chunks.packed, STATE_GATE=gates.kind, PRECISION=operand_precision(q.dtype),
    )  # fmt: skip
    return grad_q, grad_write_key, grad_w, grad_gate
