"""What tokens of a chunk meet of each other where every key feature has a gate of its own.

Token t meets of token j the sum over features of k_t k~_j e^{G_t - G_j}, and of the read of q_t k~_j e^{G_t - G_j}:
the decay is inside the sum (T17). These are matrix products of rows times e^{G_t - G_m} and columns times
e^{G_m - G_j}, with G_m the sums up to a token m. Blocks of 16 rows meet the columns before them through the token
before the block: no factor is above 1, and each is at least their product, so that none overflows, and none underflows
where the decay does not, however strong the gates are.

A block of inputs of 16 bits meets itself through that token too, though factors of its columns are above 1, as long as
no feature fades by more than e^-60 over the block: products are TF32's, whose rounding is relative. Where one does, or
fades at all beside float32 inputs, the block's halves meet through the token between them, then the halves of each
half, down to pairs, and tokens themselves: five products, again without a factor above 1. Which way a block goes
depends on its own gates alone.
"""

import triton
import triton.language as tl
from torch import Tensor

from ...launch.dots import dot
from ...launch.runtime import operand_precision, single
from ...launch.sequences import Chunks, chunk_of
from ...launch.tuning import autotune, configurations, unrolled
from ..decays import GateSums, decay_between, exponential, load_sums
from ..write_keys import WriteKeys
from ..wy import load_rows, solve, store_rows
from .fold import Folded, fold

REACH: tl.constexpr = tl.constexpr(60.0)
"""The largest logarithm of a factor of TF32's products, less than float32 holds: what it multiplies needs room."""


@triton.jit
def load_block(rows, sums, rests, own, left, column, inside, row_stride, H: tl.constexpr, K: tl.constexpr):
    """The 16 rows from `own` on, float32, with the sums and their rests."""
    row = own + tl.arange(0, 16)
    valid = row < left
    found = load_rows(rows, row, valid, row_stride, column, inside).to(tl.float32)
    cell = row[:, None] * (H * K) + column[None, :]
    since, rest = load_sums(sums, rests, cell, valid[:, None] & inside[None, :])
    return found, since, rest


@triton.jit
def load_readers(q, k, sums, rests, own, left, column, inside, row_stride, H: tl.constexpr, K: tl.constexpr):
    """Queries and keys of the 16 rows from `own` on, float32, with the sums and their rests."""
    row = own + tl.arange(0, 16)
    keys, since, rest = load_block(k, sums, rests, own, left, column, inside, row_stride, H, K)
    queries = load_rows(q, row, row < left, row_stride, column, inside).to(tl.float32)
    return queries, keys, since, rest


@triton.jit
def block_fades(sums, rests, own, left, column, inside, H: tl.constexpr, K: tl.constexpr):
    """By how much, as a logarithm, the feature that fades most does over the 16 tokens from `own` on."""
    start, start_rest = load_sums(sums, rests, (own - 1) * (H * K) + column, inside & (own > 0))
    end, end_rest = load_sums(sums, rests, tl.minimum(own + 15, left - 1) * (H * K) + column, inside)
    return tl.max((start - end) - (end_rest - start_rest), 0)


@triton.jit
def meet_within(
    queries, keys, writes, since, rest, sums, rests, own, left, column, inside,
    H: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What the 16 tokens from `own` on meet of each other, keys and queries, [16, 16]."""
    near, last = tl.arange(0, 16), left - 1
    at, at_rest = load_sums(sums, rests, (own - 1) * (H * K) + column[None, :], inside[None, :] & (own > 0))
    reach: tl.constexpr = 0.0 if PRECISION == "ieee" else REACH
    strong = block_fades(sums, rests, own, left, column, inside, H, K) > reach
    faded = decay_between(since, rest, at, at_rest)
    apart = (at - since) - (rest - at_rest)
    columns = tl.trans(writes * exponential(tl.minimum(apart, tl.where(strong, 0.0, reach))))
    seen = (near[:, None] >= near[None, :]) & (strong == 0)
    met_k = tl.where(seen, dot(keys * faded, columns, PRECISION), 0.0)
    met_q = tl.where(seen, dot(queries * faded, columns, PRECISION), 0.0)
    apart_by = near[:, None] ^ near[None, :]
    for i in range(tl.where(strong, 5, 0)):
        # Tokens t > j in different halves of 2 `half` tokens; last, of none, each token and itself.
        half = 8 >> i
        size = tl.maximum(2 * half, 1)
        between = tl.minimum(own + (near & -size) + tl.maximum(half - 1, 0), last)
        edge, edge_rest = load_sums(
            sums, rests, between[:, None] * (H * K) + column[None, :], inside[None, :]
        )
        # Rows of second halves, columns of first ones.
        kept = exponential(-tl.abs((since - edge) - (edge_rest - rest)))
        columns = tl.trans(writes * kept)
        seen = (near[:, None] >= near[None, :]) & (apart_by >= half) & (apart_by < size)
        met_k += tl.where(seen, dot(keys * kept, columns, PRECISION), 0.0)
        met_q += tl.where(seen, dot(queries * kept, columns, PRECISION), 0.0)
    return met_k, met_q


# One program per 16 rows, of few registers and little code: many on a multiprocessor hide what each waits for.
@autotune(
    configurations([{"BK": 32}], warps=(1,), stages=(1,))
    + configurations([{"BK": 32}], warps=(1,), stages=(1,), registers=168)
    + configurations([{"BK": 16}], warps=(1,), stages=(1,), registers=128)
    + unrolled(4, BK=32),
    ["K", "C"],
)
@triton.jit
def pair_kernel(
    q, k, write_key, sums, rests, overlap, system, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, PACKED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    BLOCKS: tl.constexpr = C // 16
    item = tl.program_id(0) // BLOCKS
    # Those with the most before them begin.
    own = (BLOCKS - 1 - tl.program_id(0) % BLOCKS) * 16
    head = item % H
    _, chunk, start, tokens = chunk_of(item // H, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tl.minimum(tokens - chunk * C, C)
    if left <= own:
        return
    near = tl.arange(0, 16)
    row = own + near
    valid = row < left
    token = (start + chunk * C).to(tl.int64) * H + head
    place = ((start + chunk * C).to(tl.int64) * (H // G) + head // G) * K
    stride: tl.constexpr = H // G * K
    q, k, write_key = q + place, k + place, write_key + place
    overlap, system = overlap + token * C, system + token * C
    sums += token * K
    if rests is not None:
        rests += token * K
    dtype = overlap.dtype.element_ty
    zero = tl.zeros([16, 16], tl.float32)
    for other in range(0, own, 16):
        met_k, met_q = zero, zero
        for i in range(tl.cdiv(K, BK)):
            column = i * BK + tl.arange(0, BK)
            inside = column < K
            queries, keys, since, rest = load_readers(
                q, k, sums, rests, own, left, column, inside, stride, H, K
            )
            writes, before, before_rest = load_block(
                write_key, sums, rests, other, left, column, inside, stride, H, K
            )
            at, at_rest = load_sums(sums, rests, (own - 1) * (H * K) + column[None, :], inside[None, :])
            faded = decay_between(since, rest, at, at_rest)
            columns = tl.trans(writes * decay_between(at, at_rest, before, before_rest))
            met_k += dot(keys * faded, columns, PRECISION)
            met_q += dot(queries * faded, columns, PRECISION)
        store_rows(overlap, row, valid, H * C, other + near, near < 16, met_q.to(dtype))
        store_rows(system, row, valid, H * C, other + near, near < 16, met_k)
    met_k, met_q = zero, zero
    for i in range(tl.cdiv(K, BK)):
        column = i * BK + tl.arange(0, BK)
        inside = column < K
        queries, keys, since, rest = load_readers(q, k, sums, rests, own, left, column, inside, stride, H, K)
        writes = load_rows(write_key, row, valid, stride, column, inside).to(tl.float32)
        own_k, own_q = meet_within(
            queries, keys, writes, since, rest, sums, rests, own, left, column, inside, H, K, PRECISION
        )
        met_k += own_k
        met_q += own_q
    store_rows(overlap, row, valid, H * C, own + near, near < 16, met_q.to(dtype))
    store_rows(system, row, valid, H * C, own + near, near < 16, met_k)
    for other in range(own + 16, C, 16):
        store_rows(overlap, row, valid, H * C, other + near, near < 16, zero.to(dtype))


def pair(
    q: Tensor, k: Tensor, beta: Tensor, gates: GateSums, keys: WriteKeys, chunks: Chunks
) -> tuple[Tensor, Tensor, Folded]:
    """Rows of every chunk's (I + A)^-1, of the read's overlaps tril(q k~), decays and all, [B, T, HV, C], and folded.

    Fills `keys.out` and `keys.path` as `wy.solve` does.
    """
    folded = fold(q, k, gates, keys, chunks)
    heads = beta.shape[2]
    overlap = k.new_empty(*beta.shape, chunks.size)
    system = single(k, *overlap.shape)
    pair_kernel[(chunks.slots * heads * (chunks.size // 16),)](
        q, k, keys.out, gates.sums, gates.rests, overlap, system, *chunks.pointers, chunks.length, chunks.per_sequence,
        H=heads, G=heads // k.shape[2], K=k.shape[3], C=chunks.size, PACKED=chunks.packed,
        PRECISION=operand_precision(k.dtype),
    )  # fmt: skip
    return solve(k, beta, gates, keys, chunks, system), overlap, folded
