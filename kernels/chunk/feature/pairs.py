"""What tokens of a chunk meet of each other where every key feature has a gate of its own, and the system's inverse.

Token t meets of token j the sum over features of k_t k~_j e^{G_t - G_j}, and of the read of q_t k~_j e^{G_t - G_j}:
the decay is inside the sum (T17). A block of 16 rows meets the columns before it in matrix products, its rows times
e^{G_t - G_b} and the columns times e^{G_b - G_j} with G_b the sums up to the token before the block; it meets itself
pair by pair. No factor is above 1, and each is at least their product: none overflows, and none underflows where the
decay does not, however strong the gates are.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...launch.dots import dot
from ...launch.runtime import exact_precision, operand_precision
from ...launch.sequences import Chunks, chunk_of
from ...launch.tuning import autotune, configurations, unrolled
from ..decays import GateSums, decay_between, load_sums
from ..triangular import inverse_64
from ..wy import load_rows, store_row


@triton.jit
def load_faded(
    x,
    sums,
    rests,
    row,
    valid,
    edge,
    edge_rest,
    column,
    inside,
    stride,
    H: tl.constexpr,
    K: tl.constexpr,
    side: tl.constexpr,
):
    """Rows of x times their decays up to an edge before (`side` 1) or after them (-1), float32."""
    rows = load_rows(x, row, valid, stride, column, inside).to(tl.float32)
    at, rest = load_sums(
        sums, rests, row[:, None] * (H * K) + column[None, :], valid[:, None] & inside[None, :]
    )
    return rows * decay_between(side * at, side * rest, side * edge[None, :], side * edge_rest[None, :])


@triton.jit
def store_pairs(target, row, valid, H: tl.constexpr, C: tl.constexpr, across, within):
    """16 rows [16, C] of a lower triangle: the columns before a block of 16, its own, and zeros."""
    column = tl.arange(0, C)
    own = tl.min(row, 0)
    others = (column < own) | (column >= own + 16)
    target += row[:, None] * (H * C)
    tl.store(
        target + column[None, :], across.to(target.dtype.element_ty), mask=valid[:, None] & others[None, :]
    )
    target += own + tl.arange(0, 16)[None, :]
    tl.store(target, within.to(target.dtype.element_ty), mask=valid[:, None])


@autotune(
    configurations([{"BK": 64}], warps=(4,)) + configurations([{"BK": 32}], warps=(2,)) + unrolled(4, BK=32),
    ["K", "C"],
)
@triton.jit
def pair_kernel(
    q, k, write_key, beta, sums, rests, system, overlap, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, PACKED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) % H
    _, chunk, start, tokens = chunk_of(
        tl.program_id(0) // H, bounds, first, owner, length, per_sequence, C, PACKED
    )
    left = tokens - chunk * C
    own = tl.program_id(1) * 16
    if own >= left:
        return
    near = tl.arange(0, 16)
    row = own + near
    before = tl.arange(0, C)
    valid, earlier = row < left, before < own
    stride = H // G * K
    token = (start + chunk * C).to(tl.int64) * H + head
    key_token = (start + chunk * C).to(tl.int64) * (H // G) + head // G
    q += key_token * K
    k += key_token * K
    write_key += key_token * K
    sums += token * K
    if rests is not None:
        rests += token * K
    across_k = tl.zeros([16, C], tl.float32)
    across_q = tl.zeros([16, C], tl.float32)
    within_k = tl.zeros([16, 16], tl.float32)
    within_q = tl.zeros([16, 16], tl.float32)
    for i in range(tl.cdiv(K, BK)):
        column = i * BK + tl.arange(0, BK)
        inside = column < K
        queries = load_rows(q, row, valid, stride, column, inside).to(tl.float32)
        keys = load_rows(k, row, valid, stride, column, inside).to(tl.float32)
        since, rest = load_sums(
            sums, rests, row[:, None] * (H * K) + column[None, :], valid[:, None] & inside[None, :]
        )
        if C > 16:
            edge, edge_rest = load_sums(sums, rests, (own - 1) * (H * K) + column, inside & (own > 0))
            others = load_faded(
                write_key, sums, rests, before, earlier, edge, edge_rest, column, inside, stride, H, K, -1
            )
            entered = decay_between(since, rest, edge[None, :], edge_rest[None, :])
            across_k += dot(keys * entered, tl.trans(others), PRECISION)
            across_q += dot(queries * entered, tl.trans(others), PRECISION)
        for j in range(tl.minimum(left - own, 16)):
            at, at_rest = load_sums(sums, rests, (own + j) * (H * K) + column, inside)
            written = tl.load(write_key + (own + j) * stride + column, mask=inside, other=0.0).to(tl.float32)
            faded = written[None, :] * decay_between(since, rest, at[None, :], at_rest[None, :])
            here = (near == j)[None, :]
            within_k += tl.where(here, tl.sum(keys * faded, 1)[:, None], 0.0)
            within_q += tl.where(here, tl.sum(queries * faded, 1)[:, None], 0.0)
    rate = tl.load(beta + token + row * H, mask=valid, other=0.0).to(tl.float32)[:, None]
    within_q = tl.where(near[:, None] >= near[None, :], within_q, 0.0)
    store_pairs(system + token * C, row, valid, H, C, rate * across_k, rate * within_k)
    store_pairs(overlap + token * C, row, valid, H, C, across_q, within_q)


@autotune(configurations(warps=(1,)) + unrolled(4), ["C"])
@triton.jit
def invert_kernel(
    system, inverse, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, C: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) % H
    _, chunk, start, tokens = chunk_of(
        tl.program_id(0) // H, bounds, first, owner, length, per_sequence, C, PACKED
    )
    left = tl.minimum(tokens - chunk * C, C)
    if left <= 0:
        return
    token = (start + chunk * C).to(tl.int64) * H + head
    system += token * C
    inverse += token * C
    row0 = tl.arange(0, 16)
    row1, row2, row3 = row0 + 16, row0 + 32, row0 + 48
    a00 = load_block(system, row0, 0, left, H, C)
    a10 = load_block(system, row1, 0, left, H, C)
    a11 = load_block(system, row1, 16, left, H, C)
    a20 = load_block(system, row2, 0, left, H, C)
    a21 = load_block(system, row2, 16, left, H, C)
    a22 = load_block(system, row2, 32, left, H, C)
    a30 = load_block(system, row3, 0, left, H, C)
    a31 = load_block(system, row3, 16, left, H, C)
    a32 = load_block(system, row3, 32, left, H, C)
    a33 = load_block(system, row3, 48, left, H, C)
    i00, i10, i11, i20, i21, i22, i30, i31, i32, i33 = inverse_64(
        a00, a10, a11, a20, a21, a22, a30, a31, a32, a33, EXACT
    )
    zero = tl.zeros([16, 16], tl.float32)
    store_row(inverse, row0, row0 < left, H, C, i00, zero, zero, zero)
    store_row(inverse, row1, row1 < left, H, C, i10, i11, zero, zero)
    store_row(inverse, row2, row2 < left, H, C, i20, i21, i22, zero)
    store_row(inverse, row3, row3 < left, H, C, i30, i31, i32, i33)


@triton.jit
def load_block(system, row, at, left, H: tl.constexpr, C: tl.constexpr):
    """A block of 16 rows and columns, zero beyond the chunk's tokens."""
    column = at + tl.arange(0, 16)
    return tl.load(
        system + row[:, None] * (H * C) + column[None, :],
        mask=(row < left)[:, None] & (column < left)[None, :],
        other=0.0,
    )


def pair(
    q: Tensor, k: Tensor, write_key: Tensor, beta: Tensor, gates: GateSums, chunks: Chunks
) -> tuple[Tensor, Tensor]:
    """Rows of every chunk's (I + A)^-1 and of the read's overlaps tril(q k~), decays and all, [B, T, HV, C]."""
    heads, key_dim = beta.shape[2], k.shape[3]
    sizes = {"H": heads, "C": chunks.size, "PACKED": chunks.packed, "PRECISION": operand_precision(k.dtype)}
    place = *chunks.pointers, chunks.length, chunks.per_sequence
    rows = (*beta.shape, chunks.size)
    system, overlap, inverse = k.new_empty(rows, dtype=torch.float32), k.new_empty(rows), k.new_empty(rows)
    pair_kernel[(chunks.slots * heads, chunks.size // 16)](
        q, k, write_key, beta, *gates, system, overlap, *place, G=heads // k.shape[2], K=key_dim, **sizes
    )
    invert_kernel[(chunks.slots * heads,)](system, inverse, *place, EXACT=exact_precision(k.dtype), **sizes)
    return inverse, overlap
