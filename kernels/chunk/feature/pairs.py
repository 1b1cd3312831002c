"""What tokens of a chunk meet of each other where every key feature has a gate of its own, and the system's inverse.

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
from ...launch.runtime import exact_precision, operand_precision
from ...launch.sequences import Chunks, chunk_of
from ...launch.tuning import autotune, configurations, unrolled
from ..decays import GateSums, decay_between, exponential, load_sums
from ..triangular import inverse_64
from ..write_keys import WriteKeys
from ..wy import block_keys, load_rows, store_row, store_rows
from .fold import Folded, new_folded, store_folded

REACH: tl.constexpr = tl.constexpr(60.0)
"""The largest logarithm of a factor of TF32's products, less than float32 holds: what it multiplies needs room."""


@triton.jit
def form_block(
    q, k, write_key, path, gain, gate, sums, rests, folded_q, folded_k, folded_write, d, anchor, stepped, solved, total,
    total_rest, own, left, column, inside,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, KEYS: tl.constexpr, KEEP: tl.constexpr, HAS_GATE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Form the write keys of the 16 tokens from `own` on, as `wy.solve_kernel` does; store them and the folded rows.

    Queries, keys and write keys come back in float32, with the sums, their rests and the d that the tokens hand on.
    """
    row = own + tl.arange(0, 16)
    valid = row < left
    stride: tl.constexpr = H // G * K
    keys = load_rows(k, row, valid, stride, column, inside)
    writes = keys
    if KEYS == 3:
        writes = load_rows(write_key, row, valid, stride, column, inside)
    if KEYS == 2:
        writes = load_rows(write_key, row, valid & stepped, stride, column, inside)
    if KEYS == 1 or KEYS == 2:
        u = tl.zeros([16], tl.float32)
        g = tl.zeros([16], tl.float32)
        if KEYS == 2:
            u = tl.load(gain + row * (H // G), mask=valid, other=0.0)
        if HAS_GATE:
            g = tl.load(gate + row * (H // G), mask=valid, other=0.0).to(tl.float32)
        writes, met, d = block_keys(keys, u, g, d, anchor, writes, stepped, KEYS, HAS_GATE, PRECISION)
        store_rows(write_key, row, valid, stride, column, solved, writes)
        if KEEP:
            store_rows(path, row, valid, stride, column, solved, met)
    queries = load_rows(q, row, valid, stride, column, inside).to(tl.float32)
    keys = keys.to(tl.float32)
    writes = writes.to(tl.float32)
    cell = row[:, None] * (H * K) + column[None, :]
    since, rest = load_sums(sums, rests, cell, valid[:, None] & inside[None, :])
    store_folded(
        folded_q, folded_k, folded_write, queries, keys, writes, since, rest, total, total_rest, row, valid, H * K,
        column, inside,
    )  # fmt: skip
    return queries, keys, writes, since, rest, d


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
    """What the 16 tokens from `own` on meet of each other, keys and queries [16, 16], and how they meet others.

    That is, keys and queries scaled to the sums at the token before, and these sums and their rests [1, BK].
    """
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
    return met_k, met_q, keys * faded, queries * faded, at, at_rest


@triton.jit
def fade_columns(writes, since, rest, at, at_rest):
    """Write keys as columns, scaled to the sums at a token after them."""
    return tl.trans(writes * decay_between(at, at_rest, since, rest))


# As `wy.solve_kernel`: one program per chunk and head loads every row once, and inverts what it has formed.
@autotune(configurations([{"BK": 32}], warps=(1,), stages=(1,)) + unrolled(4, BK=32), ["K", "C", "KEYS"])
@triton.jit
def pair_kernel(
    q, k, beta, sums, rests, gate, gain, entry, anchor, clipped, write_key, path, inverse, overlap, folded_q, folded_k,
    folded_write, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    KEYS: tl.constexpr, KEEP: tl.constexpr, HAS_GATE: tl.constexpr, HAS_ANCHOR: tl.constexpr, PACKED: tl.constexpr,
    PRECISION: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    slot = tl.program_id(0) // H
    head = tl.program_id(0) % H
    sequence, chunk, start, tokens = chunk_of(slot, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tl.minimum(tokens - chunk * C, C)
    if left <= 0:
        return
    near = tl.arange(0, 16)
    row0, row1, row2, row3 = near, near + 16, near + 32, near + 48
    in0, in1, in2, in3 = row0 < left, row1 < left, row2 < left, row3 < left
    token = (start + chunk * C).to(tl.int64) * H + head
    key_heads = H // G
    key_token = (start + chunk * C).to(tl.int64) * key_heads + head // G
    key_item = slot * key_heads + head // G
    q += key_token * K
    k += key_token * K
    write_key += key_token * K
    sums += token * K
    folded_q += token * K
    folded_k += token * K
    folded_write += token * K
    if rests is not None:
        rests += token * K
    stepped = False
    if KEYS == 1:
        entry += (sequence * key_heads + head // G) * K
    if KEYS == 2:
        stepped = tl.load(clipped + key_item) != 0
        entry += key_item.to(tl.int64) * K
        gain += key_token
    if HAS_GATE:
        gate += key_token
    if HAS_ANCHOR:
        anchor += (sequence * key_heads + head // G) * K
    if KEEP:
        path += key_token * K
    zero = tl.zeros([16, 16], tl.float32)
    a00 = zero
    a10, a11, a20, a21, a22, a30, a31, a32, a33 = zero, zero, zero, zero, zero, zero, zero, zero, zero
    p00 = zero
    p10, p11, p20, p21, p22, p30, p31, p32, p33 = zero, zero, zero, zero, zero, zero, zero, zero, zero
    for i in range(tl.cdiv(K, BK)):
        column = i * BK + tl.arange(0, BK)
        inside = column < K
        d = tl.zeros([BK], tl.float32)
        c = tl.zeros([BK], tl.float32)
        if KEYS == 1 or KEYS == 2:
            d = tl.load(entry + column, mask=inside, other=0.0)
        if HAS_ANCHOR:
            c = tl.load(anchor + column, mask=inside, other=0.0)
        # Keys are those of a group of G heads; the first writes what they share.
        solved = inside & (stepped == 0) & (head % G == 0)
        total, total_rest = load_sums(sums, rests, (left - 1) * (H * K) + column[None, :], inside[None, :])
        q0, k0, x0, s0, r0, d = form_block(
            q, k, write_key, path, gain, gate, sums, rests, folded_q, folded_k, folded_write, d, c, stepped, solved,
            total, total_rest, 0, left, column, inside, H, G, K, KEYS, KEEP, HAS_GATE, PRECISION,
        )  # fmt: skip
        own_k, own_q, k0, q0, at, at_rest = meet_within(
            q0, k0, x0, s0, r0, sums, rests, 0, left, column, inside, H, K, PRECISION
        )
        a00 += own_k
        p00 += own_q
        if C > 16:
            q1, k1, x1, s1, r1, d = form_block(
                q, k, write_key, path, gain, gate, sums, rests, folded_q, folded_k, folded_write, d, c, stepped, solved,
                total, total_rest, 16, left, column, inside, H, G, K, KEYS, KEEP, HAS_GATE, PRECISION,
            )  # fmt: skip
            own_k, own_q, k1, q1, at, at_rest = meet_within(
                q1, k1, x1, s1, r1, sums, rests, 16, left, column, inside, H, K, PRECISION
            )
            a11 += own_k
            p11 += own_q
            y0 = fade_columns(x0, s0, r0, at, at_rest)
            a10 += dot(k1, y0, PRECISION)
            p10 += dot(q1, y0, PRECISION)
        if C > 32:
            q2, k2, x2, s2, r2, d = form_block(
                q, k, write_key, path, gain, gate, sums, rests, folded_q, folded_k, folded_write, d, c, stepped, solved,
                total, total_rest, 32, left, column, inside, H, G, K, KEYS, KEEP, HAS_GATE, PRECISION,
            )  # fmt: skip
            own_k, own_q, k2, q2, at, at_rest = meet_within(
                q2, k2, x2, s2, r2, sums, rests, 32, left, column, inside, H, K, PRECISION
            )
            a22 += own_k
            p22 += own_q
            y0 = fade_columns(x0, s0, r0, at, at_rest)
            a20 += dot(k2, y0, PRECISION)
            p20 += dot(q2, y0, PRECISION)
            y1 = fade_columns(x1, s1, r1, at, at_rest)
            a21 += dot(k2, y1, PRECISION)
            p21 += dot(q2, y1, PRECISION)
            q3, k3, x3, s3, r3, d = form_block(
                q, k, write_key, path, gain, gate, sums, rests, folded_q, folded_k, folded_write, d, c, stepped, solved,
                total, total_rest, 48, left, column, inside, H, G, K, KEYS, KEEP, HAS_GATE, PRECISION,
            )  # fmt: skip
            own_k, own_q, k3, q3, at, at_rest = meet_within(
                q3, k3, x3, s3, r3, sums, rests, 48, left, column, inside, H, K, PRECISION
            )
            a33 += own_k
            p33 += own_q
            y0 = fade_columns(x0, s0, r0, at, at_rest)
            a30 += dot(k3, y0, PRECISION)
            p30 += dot(q3, y0, PRECISION)
            y1 = fade_columns(x1, s1, r1, at, at_rest)
            a31 += dot(k3, y1, PRECISION)
            p31 += dot(q3, y1, PRECISION)
            y2 = fade_columns(x2, s2, r2, at, at_rest)
            a32 += dot(k3, y2, PRECISION)
            p32 += dot(q3, y2, PRECISION)
    overlap += token * C
    store_row(overlap, row0, in0, H, C, p00, zero, zero, zero)
    store_row(overlap, row1, in1, H, C, p10, p11, zero, zero)
    store_row(overlap, row2, in2, H, C, p20, p21, p22, zero)
    store_row(overlap, row3, in3, H, C, p30, p31, p32, p33)
    b0 = tl.load(beta + token + row0 * H, mask=in0, other=0.0).to(tl.float32)[:, None]
    b1 = tl.load(beta + token + row1 * H, mask=in1, other=0.0).to(tl.float32)[:, None]
    b2 = tl.load(beta + token + row2 * H, mask=in2, other=0.0).to(tl.float32)[:, None]
    b3 = tl.load(beta + token + row3 * H, mask=in3, other=0.0).to(tl.float32)[:, None]
    i00, i10, i11, i20, i21, i22, i30, i31, i32, i33 = inverse_64(
        a00 * b0, a10 * b1, a11 * b1, a20 * b2, a21 * b2, a22 * b2, a30 * b3, a31 * b3, a32 * b3, a33 * b3, EXACT,
    )  # fmt: skip
    inverse += token * C
    store_row(inverse, row0, in0, H, C, i00, zero, zero, zero)
    store_row(inverse, row1, in1, H, C, i10, i11, zero, zero)
    store_row(inverse, row2, in2, H, C, i20, i21, i22, zero)
    store_row(inverse, row3, in3, H, C, i30, i31, i32, i33)


def pair(
    q: Tensor, k: Tensor, beta: Tensor, gates: GateSums, keys: WriteKeys, chunks: Chunks
) -> tuple[Tensor, Tensor, Folded]:
    """Rows of every chunk's (I + A)^-1, of the read's overlaps tril(q k~), decays and all, [B, T, HV, C], and folded.

    Fills `keys.out` and `keys.path` as `wy.solve` does.
    """
    heads = beta.shape[2]
    inverse, overlap = (k.new_empty(*beta.shape, chunks.size) for _ in range(2))
    folded = new_folded(k, gates)
    pair_kernel[(chunks.slots * heads,)](
        q, k, beta, *gates, keys.gate, keys.gain, keys.entry, keys.anchor, keys.clipped, keys.out, keys.path, inverse,
        overlap, *folded, *chunks.pointers, chunks.length, chunks.per_sequence,
        H=heads, G=heads // k.shape[2], K=k.shape[3], C=chunks.size, **keys.constants, PACKED=chunks.packed,
        PRECISION=operand_precision(k.dtype), EXACT=exact_precision(k.dtype),
    )  # fmt: skip
    return inverse, overlap, folded
