"""W = T K from the saved inverse, and the gradient of the triangular system (T12, differentiated)."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch.dots import dot
from ..launch.runtime import operand_precision
from ..launch.sequences import Chunks, chunk_of
from ..launch.tuning import autotune, configurations, unrolled
from .decays import GateSums, decay_tile, gate_gradient, load_sums
from .write_keys import FIXED, WriteKeys


class SolveGradients(NamedTuple):
    """Gradients through the triangular system.

    - `k`, [B, T, value heads, K]: Complete under `IDENTITY` and `FIXED`; under `LEARNED` what does not pass through
      the preconditioner.
    - `v`, [B, T, H, V]
    - `beta`, [B, T, H] float32
    - `state_gate`, [B, T, H] float32 or None
    - `entry`, [slots, H, K] float32 or None: Gradient of a fixed preconditioner, chunk by chunk.
    """

    k: Tensor
    v: Tensor
    beta: Tensor
    state_gate: Tensor | None
    entry: Tensor | None


# Plain products of a [C, C] tile with [C, 64] ones: no number of warps or stages is more than 7 % off this one.
@autotune(
    configurations([{"BK": 64}], warps=(4,), stages=(3,)) + unrolled(BK=32),
    ["K", "C", "STATE_GATE"],
)
@triton.jit
def apply_kernel(
    k, beta, sums, inverse, w, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    PACKED: tl.constexpr, STATE_GATE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    head = program % H
    _, chunk, start, tokens = chunk_of(program // H, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tokens - chunk * C
    if left <= 0:
        return
    row = tl.arange(0, C)
    valid = row < left
    token = (start + chunk * C).to(tl.int64) * H + head
    key_token = (start + chunk * C).to(tl.int64) * (H // G) + head // G
    rate = tl.load(beta + token + row * H, mask=valid, other=0.0).to(tl.float32)
    if STATE_GATE == 1:
        rate *= tl.exp(tl.load(sums + token + row * H, mask=valid, other=0.0))
    solve = tl.load(
        inverse + token * C + row[:, None] * (H * C) + row[None, :], mask=valid[:, None], other=0.0
    )
    system = (solve.to(tl.float32) * rate[None, :]).to(solve.dtype)
    for i in range(tl.cdiv(K, BK)):
        key = i * BK + tl.arange(0, BK)
        in_row = valid[:, None] & (key < K)[None, :]
        shared = key_token * K + row[:, None] * (H // G * K) + key[None, :]
        product = dot(system, tl.load(k + shared, mask=in_row, other=0.0), PRECISION)
        tl.store(
            w + token * K + row[:, None] * (H * K) + key[None, :], product.to(w.dtype.element_ty), mask=in_row
        )


def apply_inverse(k: Tensor, beta: Tensor, gates: GateSums, inverse: Tensor, chunks: Chunks) -> Tensor:
    """W = T K, which erases, [B, T, H, K]; each row of K times the product of its gates where the memory is gated."""
    heads, key_dim = beta.shape[2], k.shape[3]
    w = k.new_empty(*beta.shape, key_dim)
    apply_kernel[(chunks.slots * heads,)](
        k, beta, gates.sums, inverse, w, *chunks.pointers, chunks.length, chunks.per_sequence,
        H=heads, G=heads // k.shape[2], K=key_dim, C=chunks.size, PACKED=chunks.packed,
        STATE_GATE=gates.kind, PRECISION=operand_precision(k.dtype),
    )  # fmt: skip
    return w


# Several [C, C] tiles live at once, so column blocks stay at 64. Narrower ones are miscompiled for Hopper (see
# `machine_code`): on an H100, blocks of 32 gave wrong gradients of keys and beta, and illegal memory accesses.
@autotune(
    configurations([{"BK": 64, "BV": 64}], warps=(4,), stages=(3, 1)) + unrolled(BK=32, BV=32),
    ["K", "V", "C", "KEYS", "STATE_GATE"],
    updates=["grad_write_key"],
)
@triton.jit
def solve_backward_kernel(
    k, v, beta, sums, rests, entry, write_key, inverse, grad_write_key, grad_w, grad_x, through_reads,
    grad_k, grad_v, grad_beta, grad_gate, grad_entry, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr,
    KEYS: tl.constexpr, PINNED: tl.constexpr, PACKED: tl.constexpr, STATE_GATE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    head = program % H
    sequence, chunk, start, tokens = chunk_of(
        program // H, bounds, first, owner, length, per_sequence, C, PACKED
    )
    left = tokens - chunk * C
    if left <= 0:
        return
    row = tl.arange(0, C)
    valid = row < left
    token = (start + chunk * C).to(tl.int64) * H + head
    key_token = (start + chunk * C).to(tl.int64) * (H // G) + head // G
    write = tl.load(beta + token + row * H, mask=valid, other=0.0).to(tl.float32)
    solve = tl.load(
        inverse + token * C + row[:, None] * (H * C) + row[None, :], mask=valid[:, None], other=0.0
    )
    solve_t = tl.load(
        inverse + token * C + row[None, :] * (H * C) + row[:, None], mask=valid[None, :], other=0.0
    )
    dtype = solve.dtype
    system_t = (solve_t.to(tl.float32) * write[:, None]).to(dtype)
    for_system = tl.zeros([C, C], tl.float32)
    for_system_t = tl.zeros([C, C], tl.float32)
    if STATE_GATE == 1:
        since, rest = load_sums(sums, rests, token + row * H, valid)
        entered = tl.exp(since)
        reads = tl.zeros([C], tl.float32)
        gram = tl.zeros([C, C], tl.float32)
    for i in range(tl.cdiv(V, BV)):
        value = i * BV + tl.arange(0, BV)
        by_value = token * V + row[:, None] * (H * V) + value[None, :]
        in_row = valid[:, None] & (value < V)[None, :]
        change = tl.load(grad_x + by_value, mask=in_row, other=0.0)
        values = tl.load(v + by_value, mask=in_row, other=0.0)
        for_system += dot(change, tl.trans(values), PRECISION)
        for_system_t += dot(values, tl.trans(change), PRECISION)
        product = dot(system_t, change, PRECISION)
        tl.store(grad_v + by_value, product.to(grad_v.dtype.element_ty), mask=in_row)
    for i in range(tl.cdiv(K, BK)):
        key = i * BK + tl.arange(0, BK)
        by_key = token * K + row[:, None] * (H * K) + key[None, :]
        in_row = valid[:, None] & (key < K)[None, :]
        shared = key_token * K + row[:, None] * (H // G * K) + key[None, :]
        change = tl.load(grad_w + by_key, mask=in_row, other=0.0)
        keys = tl.load(k + shared, mask=in_row, other=0.0)
        if STATE_GATE == 1:
            for_system += dot(change, tl.trans(keys), PRECISION) * entered[None, :]
            for_system_t += dot(keys, tl.trans(change), PRECISION) * entered[:, None]
        else:
            for_system += dot(change, tl.trans(keys), PRECISION)
            for_system_t += dot(keys, tl.trans(change), PRECISION)
    for_write = tl.sum(for_system * solve.to(tl.float32), 0)
    lower = row[:, None] >= row[None, :]
    for_inverse = tl.where(lower, for_system * write[None, :], 0.0).to(dtype)
    for_inverse_t = tl.where(row[:, None] <= row[None, :], for_system_t * write[:, None], 0.0).to(dtype)
    for_a = dot(dot(solve_t, for_inverse, PRECISION).to(dtype), solve_t, PRECISION)
    for_a_t = dot(dot(solve, for_inverse_t, PRECISION).to(dtype), solve, PRECISION)
    if STATE_GATE == 1:
        for_a *= decay_tile(since, rest, since, rest)
        for_a_t *= decay_tile(-since, -rest, -since, -rest)
        pairs = tl.where(row[:, None] > row[None, :], for_a * -write[:, None], 0.0)
    for_a = tl.where(row[:, None] > row[None, :], -for_a, 0.0).to(dtype)
    for_a_t = tl.where(row[:, None] < row[None, :], -for_a_t * write[None, :], 0.0).to(dtype)
    for i in range(tl.cdiv(K, BK)):
        key = i * BK + tl.arange(0, BK)
        in_key = key < K
        by_key = token * K + row[:, None] * (H * K) + key[None, :]
        in_row = valid[:, None] & in_key[None, :]
        shared = key_token * K + row[:, None] * (H // G * K) + key[None, :]
        change = tl.load(grad_w + by_key, mask=in_row, other=0.0)
        keys = tl.load(k + shared, mask=in_row, other=0.0)
        written = tl.load(write_key + shared, mask=in_row, other=0.0)
        for_written = tl.load(grad_write_key + by_key, mask=in_row, other=0.0).to(tl.float32)
        for_written += dot(for_a_t, keys, PRECISION)
        through_a = dot(for_a, written, PRECISION)
        for_write += tl.sum(through_a * keys.to(tl.float32), 1)
        for_key = dot(system_t, change, PRECISION)
        if STATE_GATE == 1:
            for_key *= entered[:, None]
            reads += tl.sum(for_key * keys.to(tl.float32), 1)
            gram += dot(keys, tl.trans(written), PRECISION)
        for_key += write[:, None] * through_a
        if KEYS == 0:
            for_key += for_written
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
        tl.store(grad_k + by_key, for_key.to(grad_k.dtype.element_ty), mask=in_row)
    tl.store(grad_beta + token + row * H, for_write, mask=valid)
    if STATE_GATE == 1:
        through = tl.load(through_reads + token + row * H, mask=valid, other=0.0)
        through += gate_gradient(pairs * gram, reads, tl.zeros([C], tl.float32), PRECISION)
        tl.store(grad_gate + token + row * H, through, mask=valid)


def solve_backward(
    k: Tensor, v: Tensor, beta: Tensor, gates: GateSums, keys: WriteKeys, inverse: Tensor, grad_write_key: Tensor,
    grad_w: Tensor, grad_x: Tensor, through_reads: Tensor | None, chunks: Chunks, *, pinned: bool,
) -> SolveGradients:  # fmt: skip
    """Backward of `wy.solve`; under `LEARNED` it adds its part to `grad_write_key` in place.

    through_reads [B, T, H]: gradient of the memory's gates through all else, to which that through the system is added.
    """
    key_dim, (heads, value_dim) = k.shape[3], v.shape[2:]
    grad_k, grad_v = k.new_empty(*v.shape[:3], key_dim), torch.empty_like(v)
    grad_beta = beta.new_empty(beta.shape, dtype=torch.float32)
    grad_gate = None if through_reads is None else torch.empty_like(through_reads)
    grad_entry = (
        k.new_zeros(chunks.slots, heads, key_dim, dtype=torch.float32) if keys.mode == FIXED else None
    )
    solve_backward_kernel[(chunks.slots * heads,)](
        k, v, beta, *gates, keys.entry, keys.out, inverse, grad_write_key, grad_w, grad_x, through_reads,
        grad_k, grad_v, grad_beta, grad_gate, grad_entry, *chunks.pointers, chunks.length, chunks.per_sequence,
        H=heads, G=heads // k.shape[2], K=key_dim, V=value_dim, C=chunks.size, KEYS=keys.mode, PINNED=pinned,
        PACKED=chunks.packed, STATE_GATE=gates.kind, PRECISION=operand_precision(k.dtype),
    )  # fmt: skip
    return SolveGradients(grad_k, grad_v, grad_beta, grad_gate, grad_entry)
