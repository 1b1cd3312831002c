"""What the read of a chunk meets of its write keys, tril(D * Q K~^T), where the memory is gated by head (T17).

For memories that go from chunk to chunk by their own products alone: found beside each chunk's system.
"""

import triton
import triton.language as tl

from .blocks import fade_blocks, meet_blocks
from .decays import load_sums
from .rows import load_rows, store_row


@triton.jit
def fill_overlaps(
    q, write_key, overlap, sums, rests, left, stride: tl.constexpr, H: tl.constexpr, K: tl.constexpr, C: tl.constexpr,
    BK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Those of a chunk of `left` tokens, all pointers at its first: rows of keys `stride` apart, of others H."""
    row0 = tl.arange(0, 16)
    row1, row2, row3 = row0 + 16, row0 + 32, row0 + 48
    in0, in1, in2, in3 = row0 < left, row1 < left, row2 < left, row3 < left
    seen = row0[:, None] >= row0[None, :]
    zero = tl.zeros([16, 16], tl.float32)
    p00, p10, p11, p20, p21 = zero, zero, zero, zero, zero
    p22, p30, p31, p32, p33 = zero, zero, zero, zero, zero
    for i in range(tl.cdiv(K, BK)):
        column = i * BK + tl.arange(0, BK)
        inside = column < K
        q0 = load_rows(q, row0, in0, stride, column, inside)
        q1 = load_rows(q, row1, in1, stride, column, inside)
        q2 = load_rows(q, row2, in2, stride, column, inside)
        q3 = load_rows(q, row3, in3, stride, column, inside)
        y0 = tl.trans(load_rows(write_key, row0, in0, stride, column, inside))
        y1 = tl.trans(load_rows(write_key, row1, in1, stride, column, inside))
        y2 = tl.trans(load_rows(write_key, row2, in2, stride, column, inside))
        y3 = tl.trans(load_rows(write_key, row3, in3, stride, column, inside))
        p00, p10, p11, p20, p21, p22, p30, p31, p32, p33 = meet_blocks(
            p00, p10, p11, p20, p21, p22, p30, p31, p32, p33, q0, q1, q2, q3, y0, y1, y2, y3, PRECISION,
        )  # fmt: skip
    s0, r0 = load_sums(sums, rests, row0 * H, in0)
    s1, r1 = load_sums(sums, rests, row1 * H, in1)
    s2, r2 = load_sums(sums, rests, row2 * H, in2)
    s3, r3 = load_sums(sums, rests, row3 * H, in3)
    p00, p10, p11, p20, p21, p22, p30, p31, p32, p33 = fade_blocks(
        p00, p10, p11, p20, p21, p22, p30, p31, p32, p33, s0, s1, s2, s3, r0, r1, r2, r3,
    )  # fmt: skip
    p00, p11 = tl.where(seen, p00, 0.0), tl.where(seen, p11, 0.0)
    p22, p33 = tl.where(seen, p22, 0.0), tl.where(seen, p33, 0.0)
    store_row(overlap, row0, in0, H, C, p00, zero, zero, zero)
    store_row(overlap, row1, in1, H, C, p10, p11, zero, zero)
    store_row(overlap, row2, in2, H, C, p20, p21, p22, zero)
    store_row(overlap, row3, in3, H, C, p30, p31, p32, p33)
