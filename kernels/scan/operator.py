"""The triangular system of the calibrate scan, for all chunks at once (T11).

Where nothing clips, the gains of a chunk that enters with d satisfy (I + L) u = r, with for j < t
L_tj = eta w_t m_t D_tj <s_t, s_j>, D_tj the product of the gates strictly between, m_t the slope of the feedback
f_t - m_t a_t (both are 1 unless it is beta-aware), and r linear in d. The inverse does not depend on d, so it leaves
the chain of chunks only products with it.
"""

import triton
import triton.language as tl

from ..chunk.triangular import inverse_64
from ..launch.dots import dot_small
from ..launch.following import (
    LEFT,
    THERE,
    acquire,
    begin_followers,
    end_after_leader,
    pause,
    report,
    slot_of,
)
from ..launch.sequences import chunk_of
from ..launch.tuning import autotune, configurations, unrolled
from .iterates import decays, gate_sums


@triton.jit
def feedback_weight(norm, NORMALIZE: tl.constexpr):
    """w_t from |k_t|^2."""
    if NORMALIZE:
        return 1.0 / (norm + 1e-5)
    return norm * 0.0 + 1.0


@triton.jit
def load_feedback(terms, place, wanted, BETA_AWARE: tl.constexpr):
    """(f, m) of the feedback f - m <d, s> at rows `place` of [B*T*H]: (1, 1) unless it is beta-aware."""
    fixed, slope = tl.full([], 1.0, tl.float32), tl.full([], 1.0, tl.float32)
    if BETA_AWARE:
        fixed = tl.load(terms + place * 2, mask=wanted, other=0.0)
        slope = tl.load(terms + place * 2 + 1, mask=wanted, other=0.0)
    return fixed, slope


@triton.jit
def load_pairs(numbers, wanted, stride: tl.constexpr, apart: tl.constexpr):
    """Two numbers of each token of a chunk, [C] each: `apart` from each other, `stride` from those of the next.

    For chains, also where one would do: fewer numbers than there are threads Triton 3.6 copies ahead once for every
    thread that needs them.
    """
    token, part = tl.arange(0, wanted.shape[0]), tl.arange(0, 2)
    place = stride * token[:, None] + apart * part[None, :]
    return tl.split(tl.load(numbers + place, mask=wanted[:, None], other=0.0))


@triton.jit
def store_feedback_gradient(grad, place, wanted, rho, met, slice):
    """Gradient of (f, m) from rho and from rho a_t, `met` a slice of features' part of it, into that slice's rows."""
    share = tl.load(rho + place, mask=wanted, other=0.0)
    tl.store(grad + 2 * place, tl.where(slice == 0, share, 0.0), mask=wanted)
    tl.store(grad + 2 * place + 1, -met, mask=wanted)


@triton.jit
def squares(base, row, valid, stride, column, inside):
    """Rows of squared keys, float32, zero where masked."""
    mask = valid[:, None] & inside[None, :]
    key = tl.load(base + row[:, None] * stride + column[None, :], mask=mask, other=0.0).to(tl.float32)
    return key * key


@triton.jit
def coupling(gram, step, to, since, DIAGONAL: tl.constexpr, HAS_GATE: tl.constexpr):
    """A 16 x 16 block of L from one of the Gram matrix."""
    row = tl.arange(0, 16)
    block = gram * step[:, None]
    if HAS_GATE:
        block *= decays(to, since)
    if DIAGONAL:
        block = tl.where(row[:, None] > row[None, :], block, 0.0)
    return block


@triton.jit
def store_block(
    target, block, ROW: tl.constexpr, COL: tl.constexpr, C: tl.constexpr, TRANSPOSED: tl.constexpr
):
    """Store block (ROW, COL) of a [C, C] matrix, or of its transpose, if the matrix has it."""
    row = tl.arange(0, 16)[:, None]
    col = tl.arange(0, 16)[None, :]
    if ROW * 16 < C:
        if TRANSPOSED:
            tl.store(target + (16 * COL + col) * C + 16 * ROW + row, block)
        else:
            tl.store(target + (16 * ROW + row) * C + 16 * COL + col, block)


@triton.jit
def wait_for_series(operator):
    """What the launch before, all of whose programs are at work and wait for none, says of a chunk's operator."""
    found = acquire(operator)
    while found == 0:
        pause(1)
        found = acquire(operator)
    return found


# Single warps suit 16 x 16 products, which more warps only repeat (two take 1.6 times as long on an H100), and leave
# room for many programs to hide the latency of the inverse's chain of products. Wider key blocks than these would not
# fit its registers.
@autotune(configurations([{"BK": 16}, {"BK": 32}], warps=(1,)) + unrolled(4, BK=16), ["K", "C", "HAS_GATE"])
@triton.jit
def operator_kernel(
    k, g, feedback, clipped, operators, inverse, bounds, first, owner, length, per_sequence, eta,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
    BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, ADJOINT: tl.constexpr, LARGE: tl.constexpr,
    BEHIND: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """(I + L)^-1 of every chunk, or (LARGE) of those that a series has not taken, as `operators` [slots, H] say.

    Behind the chain that waits for them (BEHIND) they say so at any time, and then that they are there.
    """
    if BEHIND:
        begin_followers()
    program = tl.program_id(0)
    last = program == tl.num_programs(0) - 1
    slot = slot_of(program // H, per_sequence, H, BEHIND)
    head = program % H
    program = slot * H + head
    _, chunk, start, tokens = chunk_of(slot, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tl.minimum(tokens - chunk * C, C)
    if left <= 0:
        return
    if ADJOINT:  # noqa: SIM102 -- nested, because the pointer is None otherwise
        if tl.load(clipped + program) != 0:
            return
    if LARGE:
        taken = wait_for_series(operators + program) if BEHIND else tl.load(operators + program)
        if taken != LEFT:
            if BEHIND and last:
                end_after_leader()
            return
    place = (start + chunk * C).to(tl.int64) * H + head
    k += place * K
    row0 = tl.arange(0, 16)
    row1, row2, row3 = row0 + 16, row0 + 32, row0 + 48
    in0, in1, in2, in3 = row0 < left, row1 < left, row2 < left, row3 < left
    g00 = tl.zeros([16, 16], tl.float32)
    g10, g11, g20, g21, g22, g30, g31, g32, g33 = g00, g00, g00, g00, g00, g00, g00, g00, g00
    n0 = tl.zeros([16], tl.float32)
    n1, n2, n3 = n0, n0, n0
    for i in range(tl.cdiv(K, BK)):
        column = i * BK + tl.arange(0, BK)
        inside = column < K
        s0 = squares(k, row0, in0, H * K, column, inside)
        s1 = squares(k, row1, in1, H * K, column, inside)
        s2 = squares(k, row2, in2, H * K, column, inside)
        s3 = squares(k, row3, in3, H * K, column, inside)
        z0, z1, z2, z3 = tl.trans(s0), tl.trans(s1), tl.trans(s2), tl.trans(s3)
        g00 += dot_small(s0, z0, PRECISION)
        g10 += dot_small(s1, z0, PRECISION)
        g11 += dot_small(s1, z1, PRECISION)
        g20 += dot_small(s2, z0, PRECISION)
        g21 += dot_small(s2, z1, PRECISION)
        g22 += dot_small(s2, z2, PRECISION)
        g30 += dot_small(s3, z0, PRECISION)
        g31 += dot_small(s3, z1, PRECISION)
        g32 += dot_small(s3, z2, PRECISION)
        g33 += dot_small(s3, z3, PRECISION)
        if NORMALIZE:
            n0 += tl.sum(s0, 1)
            n1 += tl.sum(s1, 1)
            n2 += tl.sum(s2, 1)
            n3 += tl.sum(s3, 1)
    w0 = eta * feedback_weight(n0, NORMALIZE)
    w1 = eta * feedback_weight(n1, NORMALIZE)
    w2 = eta * feedback_weight(n2, NORMALIZE)
    w3 = eta * feedback_weight(n3, NORMALIZE)
    if BETA_AWARE:
        w0 *= load_feedback(feedback, place + row0 * H, in0, BETA_AWARE)[1]
        w1 *= load_feedback(feedback, place + row1 * H, in1, BETA_AWARE)[1]
        w2 *= load_feedback(feedback, place + row2 * H, in2, BETA_AWARE)[1]
        w3 *= load_feedback(feedback, place + row3 * H, in3, BETA_AWARE)[1]
    b0, b1, b2, b3, e0, e1, e2, e3 = n0, n1, n2, n3, n0, n1, n2, n3
    if HAS_GATE:
        g += place
        b0, e0, t0 = gate_sums(tl.load(g + row0 * H, mask=in0, other=0.0))
        b1, e1, t1 = gate_sums(tl.load(g + row1 * H, mask=in1, other=0.0))
        b2, e2, t2 = gate_sums(tl.load(g + row2 * H, mask=in2, other=0.0))
        b3, e3, _ = gate_sums(tl.load(g + row3 * H, mask=in3, other=0.0))
        b1, e1 = b1 + t0, e1 + t0
        b2, e2 = b2 + (t0 + t1), e2 + (t0 + t1)
        b3, e3 = b3 + (t0 + t1 + t2), e3 + (t0 + t1 + t2)
    x00, x10, x11, x20, x21, x22, x30, x31, x32, x33 = inverse_64(
        coupling(g00, w0, b0, e0, True, HAS_GATE), coupling(g10, w1, b1, e0, False, HAS_GATE),
        coupling(g11, w1, b1, e1, True, HAS_GATE), coupling(g20, w2, b2, e0, False, HAS_GATE),
        coupling(g21, w2, b2, e1, False, HAS_GATE), coupling(g22, w2, b2, e2, True, HAS_GATE),
        coupling(g30, w3, b3, e0, False, HAS_GATE), coupling(g31, w3, b3, e1, False, HAS_GATE),
        coupling(g32, w3, b3, e2, False, HAS_GATE), coupling(g33, w3, b3, e3, True, HAS_GATE), PRECISION,
    )  # fmt: skip
    inverse += program.to(tl.int64) * (C * C)
    store_block(inverse, x00, 0, 0, C, ADJOINT)
    store_block(inverse, x10, 1, 0, C, ADJOINT)
    store_block(inverse, x11, 1, 1, C, ADJOINT)
    store_block(inverse, x20, 2, 0, C, ADJOINT)
    store_block(inverse, x21, 2, 1, C, ADJOINT)
    store_block(inverse, x22, 2, 2, C, ADJOINT)
    store_block(inverse, x30, 3, 0, C, ADJOINT)
    store_block(inverse, x31, 3, 1, C, ADJOINT)
    store_block(inverse, x32, 3, 2, C, ADJOINT)
    store_block(inverse, x33, 3, 3, C, ADJOINT)
    if BEHIND:
        report(operators + program, THERE)
        if last:
            end_after_leader()
