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
from ...launch.runtime import cdiv, operand_precision, single
from ...launch.sequences import Chunks, chunk_of
from ...launch.tuning import autotune, configurations, unrolled
from ..decays import GateSums, decay_between, exponential, load_sums
from ..rows import load_rows, store_rows
from .outer import load_pairs, outer
from .pairs import REACH, fades_between, load_block, load_edges, load_readers


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
def load_rows_of(
    q, k, beta, sums, rests, own, left, column, inside, scale, stride, H: tl.constexpr, K: tl.constexpr
):
    """Rows from `own` on: queries with the read's scale, keys with beta, the sums and their rests."""
    row = own + tl.arange(0, 16)
    reads, erases, since, rest = load_readers(q, k, sums, rests, own, left, column, inside, stride, H, K)
    rate = tl.load(beta + row * H, mask=row < left, other=0.0).to(tl.float32)
    return reads * scale, erases * rate[:, None], since, rest


@triton.jit
def differentiate_within(
    p, s, reads, erases, writes, since, rest, sums, rests, own, left, column, inside,
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
    strong = fades_between(*load_edges(sums, rests, own, left, column, inside, H, K)) > reach
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
def meet_before(
    write_key, sums, rests, overlap, system, own, other, left, column, inside, at, at_rest, stride,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What queries and keys from `own` on have from the 16 write keys from `other` on, but for their own factor."""
    p, s = load_pairs(overlap, system, own, other, left, H, C)
    writes, since, rest = load_block(write_key, sums, rests, other, left, column, inside, stride, H, K)
    columns = writes * decay_between(at, at_rest, since, rest)
    return dot(p, columns, PRECISION), dot(s, columns, PRECISION)


# One program per 16 rows, as `pairs.pair_kernel`: as rows they meet blocks before them, as columns those after.
@autotune(
    configurations([{"BK": 32}], warps=(2,), stages=(1,))
    + configurations([{"BK": 16}], warps=(1,), stages=(1,))
    + configurations([{"BK": 16}], warps=(1,), stages=(1,), registers=168)
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
    BLOCKS: tl.constexpr = C // 16
    item = tl.program_id(0) // BLOCKS
    own = tl.program_id(0) % BLOCKS * 16
    head = item % H
    _, chunk, start, tokens = chunk_of(item // H, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tl.minimum(tokens - chunk * C, C)
    if left <= own:
        return
    near = tl.arange(0, 16)
    column = tl.program_id(1) * BK + tl.arange(0, BK)
    inside = column < K
    token = (start + chunk * C).to(tl.int64) * H + head
    place = ((start + chunk * C).to(tl.int64) * (H // G) + head // G) * K
    stride: tl.constexpr = H // G * K
    q, k, write_key = q + place, k + place, write_key + place
    beta, overlap, system = beta + token, overlap + token * C, system + token * C
    sums += token * K
    if rests is not None:
        rests += token * K
    reads, erases, since, rest = load_rows_of(
        q, k, beta, sums, rests, own, left, column, inside, scale, stride, H, K
    )
    row = own + near
    valid = row < left
    writes = load_rows(write_key, row, valid, stride, column, inside).to(tl.float32)
    p, s = load_pairs(overlap, system, own, own, left, H, C)
    for_q, for_key, for_write, through = differentiate_within(
        p, s, reads, erases, writes, since, rest, sums, rests, own, left, column, inside, H, K, PRECISION
    )
    at, at_rest = load_sums(sums, rests, (own - 1) * (H * K) + column[None, :], inside[None, :] & (own > 0))
    kept = decay_between(since, rest, at, at_rest)
    passed = tl.zeros_like(kept)
    for other in range(0, own, 16):
        met_q, met_key = meet_before(
            write_key, sums, rests, overlap, system, own, other, left, column, inside, at, at_rest, stride, H, K, C,
            PRECISION,
        )  # fmt: skip
        for_q += kept * met_q
        for_key += kept * met_key
        passed += kept * (reads * met_q + erases * met_key)
    up_to = (near[None, :] >= near[:, None]).to(tl.float32)
    through += dot(up_to, passed, PRECISION)
    dtype = pair_q.dtype.element_ty
    place = token * K
    store_rows(pair_q + place, row, valid, H * K, column, inside, for_q.to(dtype))
    store_rows(pair_key + place, row, valid, H * K, column, inside, for_key)
    followed = tl.zeros_like(kept)
    across = tl.zeros([BK], tl.float32)
    for later in range(own + 16, left, 16):
        late_reads, late_erases, late, late_rest = load_rows_of(
            q, k, beta, sums, rests, later, left, column, inside, scale, stride, H, K
        )
        at, at_rest = load_sums(sums, rests, (later - 1) * (H * K) + column[None, :], inside[None, :])
        kept = decay_between(late, late_rest, at, at_rest)
        late_reads *= kept
        late_erases *= kept
        p, s = load_pairs(overlap, system, later, own, left, H, C)
        met_write = dot(tl.trans(p), late_reads, PRECISION) + dot(tl.trans(s), late_erases, PRECISION)
        followed += decay_between(at, at_rest, since, rest) * met_write
        for other in range(0, own, 16):
            met_q, met_key = meet_before(
                write_key, sums, rests, overlap, system, later, other, left, column, inside, at, at_rest, stride, H, K,
                C, PRECISION,
            )  # fmt: skip
            across += tl.sum(late_reads * met_q + late_erases * met_key, 0)
    for_write += followed
    before = (near[None, :] < near[:, None]).to(tl.float32)
    through += dot(before, writes * followed, PRECISION) + across[None, :]
    store_rows(pair_write + place, row, valid, H * K, column, inside, for_write.to(dtype))
    store_rows(pair_gate + place, row, valid, H * K, column, inside, through)


def pair_backward(
    q: Tensor, k: Tensor, write_key: Tensor, beta: Tensor, x: Tensor, gates: GateSums, grad_o: Tensor,
    grad_missing: Tensor, chunks: Chunks, scale: float,
) -> PairGradients:  # fmt: skip
    """Backward of `pairs.pair`, whose inverse's part is `grad_missing` [B, T, HV, V], Z."""
    heads, key_dim = beta.shape[2], k.shape[3]
    shape = *beta.shape, key_dim
    found = PairGradients(k.new_empty(shape), single(k, *shape), k.new_empty(shape), single(k, *shape))
    programs = chunks.slots * heads * (chunks.size // 16)
    pair_backward_kernel[lambda meta: (programs, cdiv(key_dim, meta["BK"]))](
        q, k, write_key, beta, *outer(x, grad_o, grad_missing, chunks), gates.sums, gates.rests, *found,
        *chunks.pointers, chunks.length, chunks.per_sequence, scale,
        H=heads, G=heads // k.shape[2], K=key_dim, C=chunks.size, PACKED=chunks.packed,
        PRECISION=operand_precision(k.dtype),
    )  # fmt: skip
    return found
