"""Gradients through what tokens of a chunk meet of each other where every feature has a gate (`pairs`, differentiated).

P_tj = <do_t, x_j> meets the read's overlaps and S_tj = -<z_t, x_j> the system's (`gradients`): q_t and k_t take their
sums over j with k~_j e^{G_t - G_j}, and k~_j takes those over t with q_t and beta_t k_t. Blocks of 16 tokens meet each
other and themselves as there. A gate has the pairs of a token from it on with one before it, which are summed without
terms that cancel, but in a block that meets itself at once: there it has the rows from its token on less the columns.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from ...launch.dots import dot
from ...launch.runtime import operand_precision, single
from ...launch.sequences import Chunks, chunk_of
from ...launch.tuning import autotune, configurations, unrolled
from ..decays import GateSums, decay_between, exponential, load_sums
from ..wy import load_rows, store_rows
from .outer import load_pairs, outer
from .pairs import REACH, block_fades


class PairGradients(NamedTuple):
    """Through pairs of tokens of a chunk alone, by value head [B, T, HV, K].

    - `q`, without the factor of the read.
    - `k`, float32: Of k_t where it erases, without beta_t, whose gradient sums it.
    - `write_key`
    - `gate`, float32: Of the log gates.
    """

    q: Tensor
    k: Tensor
    write_key: Tensor
    gate: Tensor


@triton.jit
def load_side(
    q, k, write_key, beta, sums, rests, own: tl.constexpr, left, column, inside, scale,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Rows from `own` on: queries with the read's scale, keys with beta, write keys, the sums and their rests."""
    row = own + tl.arange(0, 16)
    valid = row < left
    reads = load_rows(q, row, valid, H // G * K, column, inside).to(tl.float32) * scale
    rate = tl.load(beta + row * H, mask=valid, other=0.0).to(tl.float32)
    erases = load_rows(k, row, valid, H // G * K, column, inside).to(tl.float32) * rate[:, None]
    writes = load_rows(write_key, row, valid, H // G * K, column, inside).to(tl.float32)
    cell = row[:, None] * (H * K) + column[None, :]
    since, rest = load_sums(sums, rests, cell, valid[:, None] & inside[None, :])
    return reads, erases, writes, since, rest


@triton.jit
def differentiate_within(
    p, s, reads, erases, writes, since, rest, sums, rests, own: tl.constexpr, left, column, inside,
    H: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What queries, keys, write keys and gates of 16 tokens have from each other, at once or half by half."""
    near, last = tl.arange(0, 16), left - 1
    itself = tl.sum(tl.where(near[:, None] == near[None, :], p, 0.0), 1)[:, None]
    for_q = itself * writes
    for_key = tl.zeros_like(writes)
    for_write = itself * reads
    through = tl.zeros_like(writes)
    later = near[:, None] > near[None, :]
    apart_by = near[:, None] ^ near[None, :]
    reach: tl.constexpr = 0.0 if PRECISION == "ieee" else REACH
    strong = block_fades(sums, rests, own, left, column, inside, H, K) > reach
    for i in range(tl.where(strong, 4, 1)):
        half = 8 >> i
        between = tl.minimum(own + (near & (-2 * half)) + half - 1, last)
        between = tl.where(strong, between, own - 1)
        at, at_rest = load_sums(
            sums,
            rests,
            between[:, None] * (H * K) + column[None, :],
            inside[None, :] & (between >= 0)[:, None],
        )
        apart = (since - at) - (at_rest - rest)
        kept = exponential(tl.minimum(apart, 0.0))
        faded = exponential(tl.minimum(-apart, tl.where(strong, 0.0, reach)))
        pair = later & ((strong == 0) | ((apart_by >= half) & (apart_by < 2 * half)))
        of_p = tl.where(pair, p, 0.0)
        of_s = tl.where(pair, s, 0.0)
        columns = writes * faded
        met_q = kept * dot(of_p, columns, PRECISION)
        met_key = kept * dot(of_s, columns, PRECISION)
        met_write = dot(tl.trans(of_p), reads * kept, PRECISION)
        met_write += dot(tl.trans(of_s), erases * kept, PRECISION)
        met_write *= faded
        for_q += met_q
        for_key += met_key
        for_write += met_write
        # Of a token of a first half only what is written is not zero, of one of a second half all else. All at once,
        # a gate has the rows from its token on but for their pairs with a token from it on.
        met = reads * met_q + erases * met_key + tl.where(strong, 1.0, -1.0) * writes * met_write
        across = (near[None, :] >= near[:, None]) & ((strong == 0) | (apart_by < half))
        across = tl.where(((near & half) == 0)[:, None] & (strong != 0), later & (apart_by < half), across)
        through += dot(across.to(tl.float32), met, PRECISION)
    return for_q, for_key, for_write, through


@triton.jit
def differentiate_between(
    for_q, for_key, passed, p, s, reads, erases, kept, writes, since, rest, edge, edge_rest, PRECISION: tl.constexpr
):  # fmt: skip
    """A block's queries and keys, and all its pairs by row, with what they have from a block before it; what the write
    keys of that have, and the pairs of both.

    They meet through the token before the later one, to whose rows `kept` of it comes.
    """
    faded = decay_between(edge, edge_rest, since, rest)
    columns = writes * faded
    met_q = kept * dot(p, columns, PRECISION)
    met_key = kept * dot(s, columns, PRECISION)
    for_write = dot(tl.trans(p), reads * kept, PRECISION) + dot(tl.trans(s), erases * kept, PRECISION)
    met = reads * met_q + erases * met_key
    return for_q + met_q, for_key + met_key, passed + met, faded * for_write, met


@autotune(
    configurations([{"BK": 64}], warps=(4,), stages=(1,))
    + configurations([{"BK": 32}], warps=(2,), stages=(1,))
    + unrolled(4, BK=32),
    ["K", "C"],
)
@triton.jit
def pair_backward_kernel(
    q, k, write_key, beta, overlap, system, sums, rests, pair_q, pair_key, pair_write, pair_gate,
    bounds, first, owner, length, per_sequence, scale,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, PACKED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) % H
    _, chunk, start, tokens = chunk_of(
        tl.program_id(0) // H, bounds, first, owner, length, per_sequence, C, PACKED
    )
    left = tl.minimum(tokens - chunk * C, C)
    if left <= 0:
        return
    near = tl.arange(0, 16)
    up_to = (near[None, :] >= near[:, None]).to(tl.float32)
    before = (near[None, :] < near[:, None]).to(tl.float32)
    column = tl.program_id(1) * BK + tl.arange(0, BK)
    inside = column < K
    token = (start + chunk * C).to(tl.int64) * H + head
    key_token = (start + chunk * C).to(tl.int64) * (H // G) + head // G
    q, k, write_key = q + key_token * K, k + key_token * K, write_key + key_token * K
    beta, overlap, system = beta + token, overlap + token * C, system + token * C
    pair_q, pair_key, pair_write, pair_gate = (
        pair_q + token * K, pair_key + token * K, pair_write + token * K, pair_gate + token * K
    )  # fmt: skip
    sums += token * K
    if rests is not None:
        rests += token * K
    dtype = pair_q.dtype.element_ty
    reads, erases, w0, s0, r0 = load_side(
        q, k, write_key, beta, sums, rests, 0, left, column, inside, scale, H, G, K
    )
    p, s = load_pairs(overlap, system, 0, 0, left, H, C)
    for_q, for_key, x0, g0 = differentiate_within(
        p, s, reads, erases, w0, s0, r0, sums, rests, 0, left, column, inside, H, K, PRECISION
    )
    store_rows(pair_q, 0 + near, 0 + near < left, H * K, column, inside, for_q.to(dtype))
    store_rows(pair_key, 0 + near, 0 + near < left, H * K, column, inside, for_key)
    if C > 16:
        reads, erases, w1, s1, r1 = load_side(
            q, k, write_key, beta, sums, rests, 16, left, column, inside, scale, H, G, K
        )
        p, s = load_pairs(overlap, system, 16, 16, left, H, C)
        for_q, for_key, x1, g1 = differentiate_within(
            p, s, reads, erases, w1, s1, r1, sums, rests, 16, left, column, inside, H, K, PRECISION
        )
        edge, edge_rest = load_sums(
            sums, rests, 15 * (H * K) + column[None, :], inside[None, :] & (left > 16)
        )
        kept = decay_between(s1, r1, edge, edge_rest)
        passed = tl.zeros_like(kept)
        p, s = load_pairs(overlap, system, 16, 0, left, H, C)
        for_q, for_key, passed, met_write, met = differentiate_between(
            for_q, for_key, passed, p, s, reads, erases, kept, w0, s0, r0, edge, edge_rest, PRECISION
        )
        y0 = met_write
        g1 += dot(up_to, passed, PRECISION)
        store_rows(pair_q, 16 + near, 16 + near < left, H * K, column, inside, for_q.to(dtype))
        store_rows(pair_key, 16 + near, 16 + near < left, H * K, column, inside, for_key)
    if C > 32:
        reads, erases, w2, s2, r2 = load_side(
            q, k, write_key, beta, sums, rests, 32, left, column, inside, scale, H, G, K
        )
        p, s = load_pairs(overlap, system, 32, 32, left, H, C)
        for_q, for_key, x2, g2 = differentiate_within(
            p, s, reads, erases, w2, s2, r2, sums, rests, 32, left, column, inside, H, K, PRECISION
        )
        edge, edge_rest = load_sums(
            sums, rests, 31 * (H * K) + column[None, :], inside[None, :] & (left > 32)
        )
        kept = decay_between(s2, r2, edge, edge_rest)
        passed = tl.zeros_like(kept)
        p, s = load_pairs(overlap, system, 32, 0, left, H, C)
        for_q, for_key, passed, met_write, met = differentiate_between(
            for_q, for_key, passed, p, s, reads, erases, kept, w0, s0, r0, edge, edge_rest, PRECISION
        )
        y0 += met_write
        g1 += tl.sum(met, 0)[None, :]
        p, s = load_pairs(overlap, system, 32, 16, left, H, C)
        for_q, for_key, passed, met_write, met = differentiate_between(
            for_q, for_key, passed, p, s, reads, erases, kept, w1, s1, r1, edge, edge_rest, PRECISION
        )
        y1 = met_write
        g2 += dot(up_to, passed, PRECISION)
        store_rows(pair_q, 32 + near, 32 + near < left, H * K, column, inside, for_q.to(dtype))
        store_rows(pair_key, 32 + near, 32 + near < left, H * K, column, inside, for_key)
        reads, erases, w3, s3, r3 = load_side(
            q, k, write_key, beta, sums, rests, 48, left, column, inside, scale, H, G, K
        )
        p, s = load_pairs(overlap, system, 48, 48, left, H, C)
        for_q, for_key, x3, g3 = differentiate_within(
            p, s, reads, erases, w3, s3, r3, sums, rests, 48, left, column, inside, H, K, PRECISION
        )
        edge, edge_rest = load_sums(
            sums, rests, 47 * (H * K) + column[None, :], inside[None, :] & (left > 48)
        )
        kept = decay_between(s3, r3, edge, edge_rest)
        passed = tl.zeros_like(kept)
        p, s = load_pairs(overlap, system, 48, 0, left, H, C)
        for_q, for_key, passed, met_write, met = differentiate_between(
            for_q, for_key, passed, p, s, reads, erases, kept, w0, s0, r0, edge, edge_rest, PRECISION
        )
        y0 += met_write
        g1 += tl.sum(met, 0)[None, :]
        g2 += tl.sum(met, 0)[None, :]
        p, s = load_pairs(overlap, system, 48, 16, left, H, C)
        for_q, for_key, passed, met_write, met = differentiate_between(
            for_q, for_key, passed, p, s, reads, erases, kept, w1, s1, r1, edge, edge_rest, PRECISION
        )
        y1 += met_write
        g2 += tl.sum(met, 0)[None, :]
        p, s = load_pairs(overlap, system, 48, 32, left, H, C)
        for_q, for_key, passed, met_write, met = differentiate_between(
            for_q, for_key, passed, p, s, reads, erases, kept, w2, s2, r2, edge, edge_rest, PRECISION
        )
        y2 = met_write
        g3 += dot(up_to, passed, PRECISION)
        store_rows(pair_q, 48 + near, 48 + near < left, H * K, column, inside, for_q.to(dtype))
        store_rows(pair_key, 48 + near, 48 + near < left, H * K, column, inside, for_key)
    if C > 16:
        x0 += y0
        g0 += dot(before, w0 * y0, PRECISION)
    store_rows(pair_write, 0 + near, 0 + near < left, H * K, column, inside, x0.to(dtype))
    store_rows(pair_gate, 0 + near, 0 + near < left, H * K, column, inside, g0)
    if C > 16:
        if C > 32:
            x1 += y1
            g1 += dot(before, w1 * y1, PRECISION)
        store_rows(pair_write, 16 + near, 16 + near < left, H * K, column, inside, x1.to(dtype))
        store_rows(pair_gate, 16 + near, 16 + near < left, H * K, column, inside, g1)
    if C > 32:
        x2 += y2
        g2 += dot(before, w2 * y2, PRECISION)
        store_rows(pair_write, 32 + near, 32 + near < left, H * K, column, inside, x2.to(dtype))
        store_rows(pair_gate, 32 + near, 32 + near < left, H * K, column, inside, g2)
        store_rows(pair_write, 48 + near, 48 + near < left, H * K, column, inside, x3.to(dtype))
        store_rows(pair_gate, 48 + near, 48 + near < left, H * K, column, inside, g3)


def pair_backward(
    q: Tensor, k: Tensor, write_key: Tensor, beta: Tensor, x: Tensor, gates: GateSums, grad_o: Tensor,
    grad_missing: Tensor, chunks: Chunks, scale: float,
) -> PairGradients:  # fmt: skip
    """Backward of `pairs.pair`, whose inverse's part is `grad_missing` [B, T, HV, V], Z."""
    heads, key_dim = beta.shape[2], k.shape[3]
    shape = *beta.shape, key_dim
    found = PairGradients(k.new_empty(shape), single(k, *shape), k.new_empty(shape), single(k, *shape))
    pair_backward_kernel[lambda meta: (chunks.slots * heads, triton.cdiv(key_dim, meta["BK"]))](
        q, k, write_key, beta, *outer(x, grad_o, grad_missing, chunks), *gates, *found, *chunks.pointers,
        chunks.length, chunks.per_sequence, scale,
        H=heads, G=heads // k.shape[2], K=key_dim, C=chunks.size, PACKED=chunks.packed,
        PRECISION=operand_precision(k.dtype),
    )  # fmt: skip
    return found
