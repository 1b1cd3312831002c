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
from ...launch.runtime import operand_precision
from ...launch.sequences import Chunks, chunk_of
from ...launch.tuning import autotune, configurations, unrolled
from ..decays import GateSums, decay_between, exponential, load_sums
from ..rows import load_rows, store_rows

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
def load_edges(sums, rests, own, left, column, inside, H: tl.constexpr, K: tl.constexpr):
    """Sums before the 16 tokens from `own` on and at their end, and the rests of both, [1, BK] each."""
    start, start_rest = load_sums(
        sums, rests, (own - 1) * (H * K) + column[None, :], inside[None, :] & (own > 0)
    )
    last = tl.minimum(own + 15, left - 1)
    end, end_rest = load_sums(sums, rests, last * (H * K) + column[None, :], inside[None, :])
    return start, start_rest, end, end_rest


@triton.jit
def fades_between(start, start_rest, end, end_rest):
    """By how much, as a logarithm, the feature that fades most does."""
    return tl.max(tl.max((start - end) - (end_rest - start_rest), 1), 0)


@triton.jit
def meet_halves(
    queries, keys, writes, since, rest, until, until_rest, sums, rests, own, left, column, inside,
    C: tl.constexpr, H: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What the 16 tokens from `own` on meet of each other half by half, keys and queries, [16, C], zero elsewhere."""
    row, other, last = own + tl.arange(0, 16), tl.arange(0, C), left - 1
    met_k = tl.zeros([C, 16], tl.float32)
    met_q = tl.zeros([C, 16], tl.float32)
    apart_by = row[None, :] ^ other[:, None]
    for i in range(5):
        # Tokens t > j in different halves of 2 `half` tokens; last, of none, each token and itself.
        half = 8 >> i
        size = tl.maximum(2 * half, 1)
        to_second = kept_from(sums, rests, since, rest, row, half, size, last, column, inside, H, K)
        to_first = kept_from(sums, rests, until, until_rest, other, half, size, last, column, inside, H, K)
        columns = writes * to_first
        seen = (row[None, :] >= other[:, None]) & (apart_by >= half) & (apart_by < size)
        met_k += tl.where(seen, dot(columns, tl.trans(keys * to_second), PRECISION), 0.0)
        met_q += tl.where(seen, dot(columns, tl.trans(queries * to_second), PRECISION), 0.0)
    return met_k, met_q


@triton.jit
def kept_from(
    sums, rests, since, rest, row, half, size, last, column, inside, H: tl.constexpr, K: tl.constexpr
):
    """Decays between each token and the last of the first half of the `size` tokens that it is one of."""
    between = tl.minimum((row & -size) + tl.maximum(half - 1, 0), last)
    edge, edge_rest = load_sums(sums, rests, between[:, None] * (H * K) + column[None, :], inside[None, :])
    return exponential(-tl.abs((since - edge) - (edge_rest - rest)))


# One program per 16 rows, which meet all columns up to their own at once. Columns are left operands: four warps share
# out those of a chunk and form them in the registers that products take; of rows each warp would form all. One stage
# alone: with two, Triton 3.6 loads ahead across the loop over halves in a branch, and what is met there is wrong.
@autotune(
    configurations([{"BK": 32}], warps=(4,), stages=(1,), registers=128)
    + configurations([{"BK": 32}], warps=(4,), stages=(1,))
    + configurations([{"BK": 16}], warps=(4,), stages=(1,))
    + unrolled(BK=32),
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
    own = tl.program_id(0) % BLOCKS * 16
    head = item % H
    _, chunk, start, tokens = chunk_of(item // H, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tl.minimum(tokens - chunk * C, C)
    if left <= own:
        return
    row, other = own + tl.arange(0, 16), tl.arange(0, C)
    valid = row < left
    before = other < tl.minimum(own + 16, left)
    token = (start + chunk * C).to(tl.int64) * H + head
    place = ((start + chunk * C).to(tl.int64) * (H // G) + head // G) * K
    stride: tl.constexpr = H // G * K
    q, k, write_key = q + place, k + place, write_key + place
    overlap, system = overlap + token * C, system + token * C
    sums += token * K
    if rests is not None:
        rests += token * K
    reach: tl.constexpr = 0.0 if PRECISION == "ieee" else REACH
    met_k = tl.zeros([C, 16], tl.float32)
    met_q = tl.zeros([C, 16], tl.float32)
    for i in range(tl.cdiv(K, BK)):
        column = i * BK + tl.arange(0, BK)
        inside = column < K
        at, at_rest, end, end_rest = load_edges(sums, rests, own, left, column, inside, H, K)
        queries, keys, since, rest = load_readers(q, k, sums, rests, own, left, column, inside, stride, H, K)
        cell = other[:, None] * (H * K) + column[None, :]
        until, until_rest = load_sums(sums, rests, cell, before[:, None] & inside[None, :])
        # The last load: what is written changes lanes, which loads after it would wait for.
        writes = load_rows(write_key, other, before, stride, column, inside).to(tl.float32)
        strong = fades_between(at, at_rest, end, end_rest) > reach
        faded = decay_between(since, rest, at, at_rest)
        most = tl.where(other < own, 0.0, reach)[:, None]
        kept = exponential(tl.minimum((at - until) - (until_rest - at_rest), most))
        columns = tl.where((other < own)[:, None] | (strong == 0), writes * kept, 0.0)
        met_k += dot(columns, tl.trans(keys * faded), PRECISION)
        met_q += dot(columns, tl.trans(queries * faded), PRECISION)
        if strong:
            own_k, own_q = meet_halves(
                queries, keys, writes, since, rest, until, until_rest, sums, rests, own, left, column, inside, C, H, K,
                PRECISION,
            )  # fmt: skip
            met_k += own_k
            met_q += own_q
    seen = row[None, :] >= other[:, None]
    read = tl.trans(tl.where(seen, met_q, 0.0)).to(overlap.dtype.element_ty)
    store_rows(overlap, row, valid, H * C, other, other < C, read)
    store_rows(system, row, valid, H * C, other, other < own + 16, tl.trans(tl.where(seen, met_k, 0.0)))


def pair(
    q: Tensor, k: Tensor, write_key: Tensor, gates: GateSums, system: Tensor, overlap: Tensor, chunks: Chunks
) -> None:
    """Fill rows of every chunk's A without its factor beta, float32, and of the read's overlaps tril(q k~), decays and
    all, both [B, T, HV, C]."""
    heads = system.shape[2]
    pair_kernel[(chunks.slots * heads * (chunks.size // 16),)](
        q, k, write_key, gates.sums, gates.rests, overlap, system, *chunks.pointers, chunks.length, chunks.per_sequence,
        H=heads, G=heads // k.shape[2], K=k.shape[3], C=chunks.size, PACKED=chunks.packed,
        PRECISION=operand_precision(k.dtype),
    )  # fmt: skip
