"""The triangular system of the calibrate scan, for all chunks at once (T11).

Where nothing clips, the gains of a chunk that enters with d satisfy (I + L) u = r, with for j < t
L_tj = eta w_t m_t D_tj <s_t, s_j>, D_tj the product of the gates strictly between, m_t the slope of the feedback
f_t - m_t a_t (both are 1 unless it is beta-aware), and r_t = eta w_t (f_t - m_t <c, s_t> - m_t D_t <d - c, s_t>), D_t
the product of the gates before t (without gates that is 1, and c 0). The inverse does not depend on d: it leaves the
chain of chunks u = b - M a, with a_t = <d - c, s_t>, M the inverse times diag(eta w_t m_t D_t), and b what it makes of
the rest.
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
from .iterates import ROOM, decay, decays, gate_sums, store_terms


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
def weighted(feedback, place, inside, weight, met, BETA_AWARE: tl.constexpr, HAS_ANCHOR: tl.constexpr):
    """Of tokens with eta w_t and met = <c, s_t>: what of r_t is free of d, and eta w_t m_t."""
    fixed, slope = load_feedback(feedback, place, inside, BETA_AWARE)
    if HAS_ANCHOR:
        fixed = fixed - slope * met
    return weight * fixed, weight * slope


@triton.jit
def applied(block, x):
    """block @ x, in float32."""
    return tl.sum(block * x[None, :], 1)


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
    k, g, feedback, anchor, clipped, operators, inverse, terms, bounds, first, owner, length, per_sequence, eta,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, ADJOINT: tl.constexpr,
    LARGE: tl.constexpr, BEHIND: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What `Operators` are, of every chunk, or (LARGE) of those that a series has not taken, as `operators` [slots, H]
    say.

    Behind the chain that waits for them (BEHIND) they say so at any time, and then that they are there.
    """
    if BEHIND:
        begin_followers()
    program = tl.program_id(0)
    last = program == tl.num_programs(0) - 1
    slot = slot_of(program // H, per_sequence, H, BEHIND)
    head = program % H
    program = slot * H + head
    sequence, chunk, start, tokens = chunk_of(slot, bounds, first, owner, length, per_sequence, C, PACKED)
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
    n1, n2, n3, m0, m1, m2, m3 = n0, n0, n0, n0, n0, n0, n0
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
        if HAS_ANCHOR:
            c = tl.load(anchor + (sequence * H + head) * K + column, mask=inside, other=0.0)[None, :]
            m0 += tl.sum(s0 * c, 1)
            m1 += tl.sum(s1 * c, 1)
            m2 += tl.sum(s2 * c, 1)
            m3 += tl.sum(s3 * c, 1)
        if NORMALIZE:
            n0 += tl.sum(s0, 1)
            n1 += tl.sum(s1, 1)
            n2 += tl.sum(s2, 1)
            n3 += tl.sum(s3, 1)
    w0 = eta * feedback_weight(n0, NORMALIZE)
    w1 = eta * feedback_weight(n1, NORMALIZE)
    w2 = eta * feedback_weight(n2, NORMALIZE)
    w3 = eta * feedback_weight(n3, NORMALIZE)
    f0, w0 = weighted(feedback, place + row0 * H, in0, w0, m0, BETA_AWARE, HAS_ANCHOR)
    f1, w1 = weighted(feedback, place + row1 * H, in1, w1, m1, BETA_AWARE, HAS_ANCHOR)
    f2, w2 = weighted(feedback, place + row2 * H, in2, w2, m2, BETA_AWARE, HAS_ANCHOR)
    f3, w3 = weighted(feedback, place + row3 * H, in3, w3, m3, BETA_AWARE, HAS_ANCHOR)
    b0, b1, b2, b3, e0, e1, e2, e3, total = n0, n1, n2, n3, n0, n1, n2, n3, 0.0
    if HAS_GATE:
        g += place
        b0, e0, t0 = gate_sums(tl.load(g + row0 * H, mask=in0, other=0.0))
        b1, e1, t1 = gate_sums(tl.load(g + row1 * H, mask=in1, other=0.0))
        b2, e2, t2 = gate_sums(tl.load(g + row2 * H, mask=in2, other=0.0))
        b3, e3, t3 = gate_sums(tl.load(g + row3 * H, mask=in3, other=0.0))
        b1, e1 = b1 + t0, e1 + t0
        b2, e2 = b2 + (t0 + t1), e2 + (t0 + t1)
        b3, e3 = b3 + (t0 + t1 + t2), e3 + (t0 + t1 + t2)
        total = t0 + t1 + t2 + t3
    x00, x10, x11, x20, x21, x22, x30, x31, x32, x33 = inverse_64(
        coupling(g00, w0, b0, e0, True, HAS_GATE), coupling(g10, w1, b1, e0, False, HAS_GATE),
        coupling(g11, w1, b1, e1, True, HAS_GATE), coupling(g20, w2, b2, e0, False, HAS_GATE),
        coupling(g21, w2, b2, e1, False, HAS_GATE), coupling(g22, w2, b2, e2, True, HAS_GATE),
        coupling(g30, w3, b3, e0, False, HAS_GATE), coupling(g31, w3, b3, e1, False, HAS_GATE),
        coupling(g32, w3, b3, e2, False, HAS_GATE), coupling(g33, w3, b3, e3, True, HAS_GATE), PRECISION,
    )  # fmt: skip
    if HAS_GATE:
        d0, d1, d2, d3 = decay(b0), decay(b1), decay(b2), decay(b3)
    if ADJOINT == 0:
        a0 = applied(x00, f0)
        a1 = applied(x10, f0) + applied(x11, f1)
        a2 = applied(x20, f0) + applied(x21, f1) + applied(x22, f2)
        a3 = applied(x30, f0) + applied(x31, f1) + applied(x32, f2) + applied(x33, f3)
        if HAS_GATE:
            w0, w1, w2, w3 = w0 * d0, w1 * d1, w2 * d2, w3 * d3
        w0, w1, w2, w3 = w0[None, :], w1[None, :], w2[None, :], w3[None, :]
        x00, x10, x20, x30 = x00 * w0, x10 * w0, x20 * w0, x30 * w0
        x11, x21, x31, x22, x32, x33 = x11 * w1, x21 * w1, x31 * w1, x22 * w2, x32 * w2, x33 * w3
    elif HAS_GATE:
        a0, a1, a2, a3 = d0, d1, d2, d3
    if HAS_GATE or ADJOINT == 0:
        terms += program.to(tl.int64) * (2 * C + ROOM)
        store_terms(terms, row0, a0, e0, total, C, HAS_GATE)
        store_terms(terms, row1, a1, e1, total, C, HAS_GATE)
        store_terms(terms, row2, a2, e2, total, C, HAS_GATE)
        store_terms(terms, row3, a3, e3, total, C, HAS_GATE)
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
