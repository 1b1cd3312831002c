"""The chain of adjoints of the calibrate scan, from a sequence's last chunk to its first.

With mu_t = lambda_{t+1} where the clip passes and 0 where it binds, p_t the direct gradient of d_t and
rho_t = eta w_t <mu_t, s_t>, the gradient of f_t:

    lambda_t = p_t + gamma_t mu_t - rho_t m_t s_t

Where nothing clipped, a chunk's rho solve the transposed triangular system. Chunks that clipped go token by token, from
iterates recomputed forward, and their share of the gradients is written here.
"""

import triton
import triton.language as tl

from ..launch.sequences import sequence_of
from ..launch.sums import WARPS, sum_rows
from ..launch.tuning import autotune, configurations
from .iterates import gate_sums
from .operator import feedback_weight, load_feedback
from .tokens import clip, load_row


@triton.jit
def pick(tile, index, ROWS: tl.constexpr):
    """Row `index` of a [ROWS, BK] tile."""
    return tl.sum(tl.where((tl.arange(0, ROWS) == index)[:, None], tile, 0.0), 0)


@triton.jit
def retrace(
    d, c, k, g, gain, place, count, d_min, d_max, ROWS: tl.constexpr, EVERY: tl.constexpr,
    H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
):  # fmt: skip
    """The clipped d_t of tokens 0, EVERY, 2 EVERY ... of `count`, [ROWS, BK] float64, from d and the gains.

    Kept in registers: a chain that reads back what it wrote to memory needs barriers, which keep Triton from
    pipelining it.
    """
    known = tl.arange(0, BK) < K
    index = tl.arange(0, ROWS)[:, None] * EVERY
    path = tl.zeros([ROWS, BK], tl.float64)
    following = load_row(k + place * K, known, count > 0)
    for token in range(count):
        path = tl.where(index == token, d[None, :], path)
        key = following.to(tl.float64)
        following = load_row(k + (place + H) * K, known, token + 1 < count)
        if HAS_GATE:
            d = c + tl.exp(tl.load(g + place).to(tl.float64)) * (d - c)
        d = clip(d + tl.load(gain + place).to(tl.float64) * (key * key), d_min, d_max)
        place += H
    return path


@triton.jit
def step_back(
    adjoint, pull, d, c, k, g, feedback, gain, grad, grad_key, grad_k, grad_g, grad_feedback, place, eta, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr, BETA_AWARE: tl.constexpr,
    NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr, HAS_GRAD_KEY: tl.constexpr,
):  # fmt: skip
    """Carry the adjoint back over the token at row `place`, which met d; write its grad_k, grad_g and grad_feedback.

    Vectors are [BK] float64, as in the forward steps. `pull` gains the token's share of the anchor's gradient,
    (1 - gamma_t) mu_t.
    """
    feature = tl.arange(0, BK)
    known = feature < K
    key = load_row(k + place * K, known, True).to(tl.float32).to(tl.float64)
    direct = load_row(grad + place * K, known, True).to(tl.float32).to(tl.float64)
    u = tl.load(gain + place).to(tl.float64)
    s = key * key
    kept = d
    if HAS_GATE:
        gamma = tl.exp(tl.load(g + place).to(tl.float64))
        kept = c + gamma * (d - c)
    unclipped = kept + u * s
    passes = (unclipped >= d_min) & (unclipped <= d_max) & (d_min < d_max)
    mu = tl.where(known & passes, adjoint, 0.0)
    inner = tl.sum(mu * s, 0)
    weight = feedback_weight(tl.sum(s, 0), NORMALIZE)
    rho = eta * weight * inner
    if BETA_AWARE:
        tl.store(grad_feedback + 2 * place, rho.to(tl.float32))
        tl.store(grad_feedback + 2 * place + 1, (-rho * tl.sum(d * s, 0)).to(tl.float32))
        rho *= load_feedback(feedback, place, True, BETA_AWARE)[1].to(tl.float64)
    row = 2.0 * key * (u * mu - rho * d)
    if SCALE_KEY:
        row += direct * d
        direct *= key
    if NORMALIZE:
        row -= 2.0 * weight * u * inner * key
    if HAS_GRAD_KEY:
        row += load_row(grad_key + place * K, known, True).to(tl.float32)
    tl.store(grad_k + place * K + feature, row.to(tl.float32).to(grad_k.dtype.element_ty), mask=known)
    if HAS_GATE:
        tl.store(grad_g + place, (gamma * tl.sum(mu * (d - c), 0)).to(tl.float32))
        pull += (1.0 - gamma) * mu
        mu *= gamma
    return direct + mu - rho * s, pull


@triton.jit
def step_back_chunk(
    adjoint, d, c, k, g, feedback, gain, grad, grad_key, grad_k, grad_g, grad_feedback, place, count, eta, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
    BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr, HAS_GRAD_KEY: tl.constexpr,
):  # fmt: skip
    """`step_back` over a chunk's `count` tokens: (adjoint at the first, share of the anchor's gradient), each [BK].

    The iterates are retraced to every 16th token first, and from there for one block of 16 at a time.
    """
    adjoint = adjoint.to(tl.float64)
    d = d.to(tl.float64)
    c = c.to(tl.float64)
    pull = tl.zeros([BK], tl.float64)
    starts = retrace(d, c, k, g, gain, place, count, d_min, d_max, C // 16, 16, H, K, BK, HAS_GATE)
    blocks = tl.cdiv(count, 16)
    for passed in range(blocks):
        block = blocks - 1 - passed
        origin = place + block * (16 * H)
        width = tl.minimum(count - 16 * block, 16)
        path = retrace(
            pick(starts, block, C // 16), c, k, g, gain, origin, width, d_min, d_max, 16, 1, H, K, BK, HAS_GATE,
        )  # fmt: skip
        for back in range(width):
            token = width - 1 - back
            adjoint, pull = step_back(
                adjoint, pull, pick(path, token, 16), c, k, g, feedback, gain, grad, grad_key, grad_k, grad_g,
                grad_feedback, origin + token * H, eta, d_min, d_max, H, K, BK, HAS_GATE, BETA_AWARE, NORMALIZE,
                SCALE_KEY, HAS_GRAD_KEY,
            )  # fmt: skip
    return adjoint.to(tl.float32), pull.to(tl.float32)


# Latency, as in the forward chain: see there.
@autotune(configurations([{"STAGES": 3}, {"STAGES": 2}], warps=(WARPS.value,)), ["K", "C", "HAS_GATE"])
@triton.jit
def adjoint_kernel(
    k, g, feedback, anchor, gain, entry, clipped, grad, grad_final, grad_key, grad_k, grad_g, grad_feedback,
    grad_initial, pulls,
    inverse, inner, forcing, rho, exits, bounds, first, length, eta, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, HAS_GRAD_FINAL: tl.constexpr, HAS_GRAD_KEY: tl.constexpr, BETA_AWARE: tl.constexpr,
    NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr, PACKED: tl.constexpr, SWEPT: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The adjoint at every chunk's end. With SWEPT, `clipped` marks whole sequences, which are left to sweeps."""
    program = tl.program_id(0)
    head = program % H
    start, tokens, slot, chunks = sequence_of(program // H, bounds, first, length, C, PACKED)
    row = tl.arange(0, C)
    feature = tl.arange(0, BK)
    known = feature < K
    own = program.to(tl.int64) * K + feature
    adjoint = tl.zeros([BK], tl.float32)
    if HAS_GRAD_FINAL:
        adjoint = tl.load(grad_final + own, mask=known, other=0.0).to(tl.float32)
    c = tl.zeros([BK], tl.float32)
    if HAS_ANCHOR:
        c = tl.load(anchor + own, mask=known, other=0.0)
    rows = row[:, None] * (H * K) + feature[None, :]
    square = row[:, None] * C + row[None, :]
    upper = row[:, None] // 16 <= row[None, :] // 16
    last = chunks - 1
    left = tokens - last * C
    place = (start + last * C).to(tl.int64) * H + head
    item = (slot + last).to(tl.int64) * H + head
    stepped = tl.load(clipped + item, mask=chunks > 0, other=0)
    if SWEPT:  # noqa: SIM102 -- the compiler then drops the branch that steps
        if stepped != 0:
            return
    for back in tl.range(0, chunks, num_stages=STAGES):
        inside = row < left
        key = tl.load(k + place * K + rows, mask=inside[:, None] & known[None, :], other=0.0).to(tl.float32)
        solve = tl.load(inverse + item * (C * C) + square, mask=upper, other=0.0)
        met = tl.load(inner + place + row * H, mask=inside, other=0.0)
        push = tl.load(forcing + item * K + feature, mask=known, other=0.0)
        if HAS_GATE:
            gate = tl.load(g + place + row * H, mask=inside, other=0.0).to(tl.float32)
        sooner = tl.load(clipped + item - H, mask=back + 1 < chunks, other=0)
        if (SWEPT == 0) & (stepped != 0):
            d = tl.load(entry + item * K + feature, mask=known, other=0.0)
            count = tl.minimum(left, C).to(tl.int32)
            adjoint, pull = step_back_chunk(
                adjoint, d, c, k, g, feedback, gain, grad, grad_key, grad_k, grad_g, grad_feedback, place, count,
                eta, d_min, d_max, H, K, C, BK, HAS_GATE, BETA_AWARE, NORMALIZE, SCALE_KEY, HAS_GRAD_KEY,
            )  # fmt: skip
            if HAS_ANCHOR and HAS_GATE:
                tl.store(pulls + item * K + feature, pull, mask=known)
        else:
            tl.store(exits + item * K + feature, adjoint, mask=known)
            s = key * key
            step = tl.where(inside, eta, 0.0)
            if NORMALIZE:
                step *= feedback_weight(tl.sum(s, 1), NORMALIZE)
            handed_back = tl.sum(s * adjoint[None, :], 1)
            if HAS_GATE:
                before, after, total = gate_sums(gate)
                handed_back *= tl.exp((total - after).to(tl.float32))
            met += handed_back
            share = step * tl.sum(solve * met[None, :], 1)
            tl.store(rho + place + row * H, share, mask=inside)
            if BETA_AWARE:
                share *= load_feedback(feedback, place + row * H, inside, BETA_AWARE)[1]
            if HAS_GATE:
                adjoint *= tl.exp(total.to(tl.float32))
                share *= tl.exp(before.to(tl.float32))
            adjoint += push - sum_rows(share[:, None] * s, WARPS)
        stepped = sooner
        place -= C * H
        item -= H
        left = tl.zeros([], left.dtype) + C
    tl.store(grad_initial + own, adjoint, mask=known)


# One warp holds the row, as in the forward scan.
@autotune(configurations(warps=(1, 2, 4)), ["K", "HAS_GATE"])
@triton.jit
def sequential_adjoint_kernel(
    k, g, feedback, anchor, gain, entry, grad, grad_final, grad_key, grad_k, grad_g, grad_feedback, grad_initial, pulls,
    bounds, first, length, eta, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, HAS_GRAD_FINAL: tl.constexpr, HAS_GRAD_KEY: tl.constexpr, BETA_AWARE: tl.constexpr,
    NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    head = program % H
    start, tokens, slot, chunks = sequence_of(program // H, bounds, first, length, C, PACKED)
    feature = tl.arange(0, BK)
    known = feature < K
    own = program.to(tl.int64) * K + feature
    adjoint = tl.zeros([BK], tl.float32)
    if HAS_GRAD_FINAL:
        adjoint = tl.load(grad_final + own, mask=known, other=0.0).to(tl.float32)
    c = tl.zeros([BK], tl.float32)
    if HAS_ANCHOR:
        c = tl.load(anchor + own, mask=known, other=0.0)
    last = chunks - 1
    left = tokens - last * C
    place = (start + last * C).to(tl.int64) * H + head
    item = (slot + last).to(tl.int64) * H + head
    for _ in range(chunks):
        d = tl.load(entry + item * K + feature, mask=known, other=0.0)
        adjoint, pull = step_back_chunk(
            adjoint, d, c, k, g, feedback, gain, grad, grad_key, grad_k, grad_g, grad_feedback, place,
            left.to(tl.int32), eta, d_min, d_max, H, K, C, BK, HAS_GATE, BETA_AWARE, NORMALIZE, SCALE_KEY,
            HAS_GRAD_KEY,
        )  # fmt: skip
        if HAS_ANCHOR and HAS_GATE:
            tl.store(pulls + item * K + feature, pull, mask=known)
        place -= C * H
        item -= H
        left = tl.zeros([], left.dtype) + C
    tl.store(grad_initial + own, adjoint, mask=known)
