"""Gradients through what tokens of a chunk meet of each other where every feature has a gate (`pairs`, differentiated).

P_tj = <do_t, x_j> meets the read's overlaps and S_tj = -<z_t, x_j> the system's (`gradients`): q_t and k_t take their
sums over j with k~_j e^{G_t - G_j}, and k~_j takes those over t with q_t and beta_t k_t. As there, blocks of 16 tokens
meet others in products, both sides scaled to an edge between them, and themselves half by half, in all dtypes.
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


class PairGradients(NamedTuple):
    """Through pairs of tokens of a chunk alone, by value head [B, T, HV, K].

    - `q`, without the factor of the read.
    - `k`, float32: Of k_t where it erases, without beta_t, whose gradient sums it.
    - `write_key`
    - `gate`, float32: Of the log gates: each has the pairs of a token from it on with one before it.
    - `far`, [slots, HV, 3, K] float32: What is missing there of pairs with a block of 16 between them, whose gates all
      have it: of blocks 2 and 0, of 3 and 0, and of 3 and both 0 and 1.
    """

    q: Tensor
    k: Tensor
    write_key: Tensor
    gate: Tensor
    far: Tensor


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


@autotune(
    configurations([{"BK": 32, "BV": 64}, {"BK": 64, "BV": 64}], warps=(4,)) + unrolled(4, BK=32, BV=32),
    ["K", "V", "C"],
)
@triton.jit
def pair_backward_kernel(
    q, k, write_key, beta, x, sums, rests, grad_o, grad_missing, pair_q, pair_key, pair_write, pair_gate, pair_far,
    bounds, first, owner, length, per_sequence, scale,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) % H
    _, chunk, start, tokens = chunk_of(
        tl.program_id(0) // H, bounds, first, owner, length, per_sequence, C, PACKED
    )
    left = tokens - chunk * C
    own = tl.program_id(1) * 16
    if own >= left:
        return
    near, all_rows = tl.arange(0, 16), tl.arange(0, C)
    row = own + near
    valid = row < left
    earlier = all_rows < own
    later = (all_rows >= own + 16) & (all_rows < left)
    column = tl.program_id(2) * BK + tl.arange(0, BK)
    inside = column < K
    stride = H // G * K
    token = (start + chunk * C).to(tl.int64) * H + head
    key_token = (start + chunk * C).to(tl.int64) * (H // G) + head // G
    q, k, write_key = q + key_token * K, k + key_token * K, write_key + key_token * K
    x, grad_o, grad_missing = x + token * V, grad_o + token * V, grad_missing + token * V
    sums += token * K
    if rests is not None:
        rests += token * K
    within_p = tl.zeros([16, 16], tl.float32)
    within_s = tl.zeros([16, 16], tl.float32)
    before_p = tl.zeros([16, C], tl.float32)
    before_s = tl.zeros([16, C], tl.float32)
    after_p = tl.zeros([16, C], tl.float32)
    after_s = tl.zeros([16, C], tl.float32)
    for i in range(tl.cdiv(V, BV)):
        value = i * BV + tl.arange(0, BV)
        in_value = value < V
        output = load_rows(grad_o, row, valid, H * V, value, in_value)
        change = load_rows(grad_missing, row, valid, H * V, value, in_value)
        written = tl.trans(load_rows(x, row, valid, H * V, value, in_value))
        within_p += dot(output, written, PRECISION)
        within_s -= dot(change, written, PRECISION)
        if C > 16:
            before = tl.trans(load_rows(x, all_rows, earlier, H * V, value, in_value))
            before_p += dot(output, before, PRECISION)
            before_s -= dot(change, before, PRECISION)
            written = load_rows(x, row, valid, H * V, value, in_value)
            after_p += dot(
                written, tl.trans(load_rows(grad_o, all_rows, later, H * V, value, in_value)), PRECISION
            )
            after_s -= dot(
                written, tl.trans(load_rows(grad_missing, all_rows, later, H * V, value, in_value)), PRECISION
            )
    since, rest = load_sums(
        sums, rests, row[:, None] * (H * K) + column[None, :], valid[:, None] & inside[None, :]
    )
    reads = load_rows(q, row, valid, stride, column, inside).to(tl.float32) * scale
    rate = tl.load(beta + token + row * H, mask=valid, other=0.0).to(tl.float32)
    erases = load_rows(k, row, valid, stride, column, inside).to(tl.float32) * rate[:, None]
    writes = load_rows(write_key, row, valid, stride, column, inside).to(tl.float32)
    for_q = tl.zeros([16, BK], tl.float32)
    for_key = tl.zeros([16, BK], tl.float32)
    for_write = tl.zeros([16, BK], tl.float32)
    if C > 16:
        edge, edge_rest = load_sums(sums, rests, (own - 1) * (H * K) + column, inside & (own > 0))
        others = load_faded(
            write_key, sums, rests, all_rows, earlier, edge, edge_rest, column, inside, stride, H, K, -1
        )
        entered = decay_between(since, rest, edge[None, :], edge_rest[None, :])
        for block in range(1, own // 16):
            beyond = (all_rows < 16 * block)[None, :]
            passed = reads * dot(tl.where(beyond, before_p, 0.0), others, PRECISION)
            passed += erases * dot(tl.where(beyond, before_s, 0.0), others, PRECISION)
            place = tl.program_id(0).to(tl.int64) * 3 + (own // 48) + block - 1
            tl.store(pair_far + place * K + column, tl.sum(passed * entered, 0), mask=inside)
        for_q = entered * dot(before_p, others, PRECISION)
        for_key = entered * dot(before_s, others, PRECISION)
        edge, edge_rest = load_sums(sums, rests, (own + 15) * (H * K) + column, inside & (own + 16 < left))
        rates = tl.load(beta + token + all_rows * H, mask=later, other=0.0).to(tl.float32)
        others = load_faded(q, sums, rests, all_rows, later, edge, edge_rest, column, inside, stride, H, K, 1)
        for_write = dot(after_p * scale, others, PRECISION)
        others = load_faded(k, sums, rests, all_rows, later, edge, edge_rest, column, inside, stride, H, K, 1)
        for_write += dot(after_s * rates[None, :], others, PRECISION)
        for_write *= decay_between(edge[None, :], edge_rest[None, :], since, rest)
    # A gate has pairs with blocks before from its token on, pairs with blocks after up to the token before it.
    left_behind = writes * for_write
    through = tl.cumsum(left_behind, 0) - left_behind
    through += tl.cumsum(reads * for_q + erases * for_key, 0, reverse=True)
    itself = tl.sum(tl.where(near[:, None] == near[None, :], within_p, 0.0), 1)[:, None]
    for_q += itself * writes
    for_write += itself * reads
    later = near[:, None] > near[None, :]
    apart = near[:, None] ^ near[None, :]
    for i in range(4):
        # Pairs of tokens in different halves of 2 `half`, which meet through the last token of the first.
        half = 8 >> i
        between = tl.minimum(own + (near & (-2 * half)) + half - 1, left - 1)
        at, at_rest = load_sums(sums, rests, between[:, None] * (H * K) + column[None, :], inside[None, :])
        faded = exponential(-tl.abs((since - at) - (at_rest - rest)))
        pair = later & (apart >= half) & (apart < 2 * half)
        p = tl.where(pair, within_p, 0.0)
        s = tl.where(pair, within_s, 0.0)
        columns = writes * faded
        of_q = faded * dot(p, columns, PRECISION)
        of_key = faded * dot(s, columns, PRECISION)
        of_write = dot(tl.trans(p), reads * faded, PRECISION) + dot(tl.trans(s), erases * faded, PRECISION)
        of_write *= faded
        for_q += of_q
        for_key += of_key
        for_write += of_write
        # Of a token of a first half only the last is not zero, of one of a second half all others.
        met = reads * of_q + erases * of_key + writes * of_write
        across = tl.where((near & half)[:, None] != 0, near[None, :] >= near[:, None], later) & (apart < half)
        through += dot(across.to(tl.float32), met, PRECISION)
    store_rows(pair_q + token * K, row, valid, H * K, column, inside, for_q.to(pair_q.dtype.element_ty))
    store_rows(pair_key + token * K, row, valid, H * K, column, inside, for_key)
    store_rows(
        pair_write + token * K, row, valid, H * K, column, inside, for_write.to(pair_write.dtype.element_ty)
    )
    store_rows(pair_gate + token * K, row, valid, H * K, column, inside, through)


@triton.jit
def far_apart(far, in_key, block, left, K: tl.constexpr):
    """What the gates of blocks 1 and 2 have of pairs with a block between them, [C, BK]."""
    last = in_key & (left > 48)
    second = tl.load(far, mask=in_key & (left > 32), other=0.0) + tl.load(far + K, mask=last, other=0.0)
    third = tl.load(far + 2 * K, mask=last, other=0.0)
    of_third = tl.where((block == 2)[:, None], third[None, :], 0.0)
    return tl.where((block == 1)[:, None], second[None, :], of_third)


def pair_backward(
    q: Tensor, k: Tensor, write_key: Tensor, beta: Tensor, x: Tensor, gates: GateSums, grad_o: Tensor,
    grad_missing: Tensor, chunks: Chunks, scale: float,
) -> PairGradients:  # fmt: skip
    """Backward of `pairs.pair`, whose inverse's part is `grad_missing` [B, T, HV, V], Z."""
    key_dim, (heads, value_dim) = k.shape[3], x.shape[2:]
    shape = *beta.shape, key_dim
    far = single(k, chunks.slots, heads, 3, key_dim)
    found = PairGradients(k.new_empty(shape), single(k, *shape), k.new_empty(shape), single(k, *shape), far)
    pair_backward_kernel[
        lambda meta: (chunks.slots * heads, chunks.size // 16, triton.cdiv(key_dim, meta["BK"]))
    ](
        q, k, write_key, beta, x, *gates, grad_o, grad_missing, *found, *chunks.pointers, chunks.length,
        chunks.per_sequence, scale, H=heads, G=heads // k.shape[2], K=key_dim, V=value_dim, C=chunks.size,
        PACKED=chunks.packed, PRECISION=operand_precision(k.dtype),
    )  # fmt: skip
    return found
