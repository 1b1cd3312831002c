"""The chain of adjoints of the calibrate scan, from a sequence's last chunk to its first.

With mu_t = lambda_{t+1} where the clip passes and 0 where it binds, p_t the direct gradient of d_t and
rho_t = eta w_t <mu_t, s_t>, the gradient of f_t:

    lambda_t = p_t + gamma_t mu_t - rho_t m_t s_t

Where nothing clipped, a chunk's rho solve the transposed triangular system. Chunks that clipped go token by token, from
iterates recomputed forward, and their share of the gradients is written here.
"""

# ruff: noqa: RUF005 -- Triton knows no unpacking

import triton
import triton.language as tl

from ..launch.sequences import sequence_of
from ..launch.sums import WARPS, sum_rows
from ..launch.tuning import autotune, configurations
from .iterates import load_decay, load_pairs, load_terms
from .operator import feedback_weight
from .tokens import (
    TOGETHER,
    after_loads,
    apart,
    clip,
    copy_rows,
    first_of,
    forget,
    load_numbers_of,
    load_rows_of,
    store_numbers,
)


@triton.jit
def pick(tile, index, ROWS: tl.constexpr):
    """Row `index` of a [ROWS, BK] tile."""
    return tl.sum(tl.where((tl.arange(0, ROWS) == index)[:, None], tile, 0.0), 0)


@triton.jit
def load_traces_of(k, g, gain, place, left, known, H: tl.constexpr, K: tl.constexpr, HAS_GATE: tl.constexpr):
    """What d is retraced from: keys, gates and gains of `TOGETHER` tokens."""
    keys = load_rows_of(k, place, left, known, H, K)
    gates = load_numbers_of(g, place, left, H, HAS_GATE)
    return keys, gates, load_numbers_of(gain, place, left, H, True)


@triton.jit
def retrace(d, c, traces, left, d_min, d_max, HAS_GATE: tl.constexpr):
    """The clipped d_t of `TOGETHER` tokens, `left` of them there, and the one after them: a tuple of [COPIES, BK]
    float64."""
    keys, gates, gains = traces
    path = (d,)
    for j in tl.static_range(TOGETHER):
        key = keys[j].to(tl.float32).to(tl.float64)
        kept = forget(d, c, gates[j], j < left, HAS_GATE)
        d = clip(kept + gains[j].to(tl.float64) * (key * key), d_min, d_max)
        path = path + (d,)
    return path


@triton.jit
def step_back(
    adjoint, pull, d, c, key, direct, other, u, gate, slope, there, eta, d_min, d_max, HAS_GATE: tl.constexpr,
    BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr, HAS_GRAD_KEY: tl.constexpr,
):  # fmt: skip
    """Carry the adjoint back over a token, if `there`, that met d: with what the anchor gets, (1 - gamma_t) mu_t, added
    to `pull`, the gradients of its key, its gate, and the feedback's two terms.

    Rows are [COPIES, BK] float64, as in the forward steps. A token that is not there has no key and no direct gradient.
    """
    key = key.to(tl.float32).to(tl.float64)
    direct = direct.to(tl.float32).to(tl.float64)
    u = u.to(tl.float64)
    s = key * key
    unclipped = forget(d, c, gate, there, HAS_GATE) + u * s
    passes = (unclipped >= d_min) & (unclipped <= d_max) & (d_min < d_max)
    mu = tl.where(passes, adjoint, 0.0)
    inner = tl.sum(mu * s, 1)
    rho = eta * inner
    weight = 1.0
    if NORMALIZE:
        weight = feedback_weight(tl.sum(s, 1), NORMALIZE)
        rho *= weight
    pressed, for_slope, for_gate = rho, rho, rho
    if BETA_AWARE:
        for_slope = -rho * tl.sum(d * s, 1)
        rho *= slope.to(tl.float64)
    row = 2.0 * key * (u * mu - rho[:, None] * d)
    if SCALE_KEY:
        row += direct * d
        direct *= key
    if NORMALIZE:
        row -= (2.0 * weight * u * inner)[:, None] * key
    if HAS_GRAD_KEY:
        row += other.to(tl.float32)
    if HAS_GATE:
        gamma = tl.exp(gate.to(tl.float64))
        for_gate = gamma * tl.sum(mu * (d - c), 1)
        pull += (1.0 - gamma) * mu
        mu *= gamma
    return direct + mu - rho[:, None] * s, pull, row, for_gate, pressed, for_slope


@triton.jit
def step_back_chunk(
    adjoint, d, c, k, g, feedback, gain, grad, grad_key, grad_k, grad_g, grad_feedback, place, count, eta, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
    BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr, HAS_GRAD_KEY: tl.constexpr,
    COPIES: tl.constexpr,
):  # fmt: skip
    """`step_back` over a chunk's `count` tokens: (adjoint at the first, share of the anchor's gradient), each [BK].

    The iterates are retraced to every group of tokens first, and from there for one group at a time. Kept in registers:
    a chain that reads back what it wrote to memory needs barriers, which keep Triton from pipelining it.
    """
    copy = tl.arange(0, COPIES)
    feature = copy_rows(tl.arange(0, BK), COPIES)
    known = feature < K
    writes = known & (copy == 0)[:, None]
    adjoint = copy_rows(adjoint.to(tl.float64), COPIES)
    d = copy_rows(d.to(tl.float64), COPIES)
    c = copy_rows(c.to(tl.float64), COPIES)
    pull = tl.zeros([COPIES, BK], tl.float64)
    rows: tl.constexpr = C // TOGETHER
    starts = tl.zeros([rows, BK], tl.float64)
    groups = tl.cdiv(count, TOGETHER)
    following = load_traces_of(k, g, gain, place, count, known, H, K, HAS_GATE)
    for group in range(groups):
        left = count - group * TOGETHER
        traces = following
        following = load_traces_of(
            k, g, gain, place + (group + 1) * (TOGETHER * H), left - TOGETHER, known, H, K, HAS_GATE
        )
        left = after_loads(left)
        starts = tl.where(tl.arange(0, rows)[:, None] == group, first_of(d, COPIES)[None, :], starts)
        d = retrace(d, c, traces, left, d_min, d_max, HAS_GATE)[TOGETHER]
    for passed in range(groups):
        group = groups - 1 - passed
        origin, left = place + group * (TOGETHER * H), count - group * TOGETHER
        traces = load_traces_of(k, g, gain, origin, left, known, H, K, HAS_GATE)
        keys, gates, gains = traces
        directs = load_rows_of(grad, origin, left, known, H, K)
        others = keys
        if HAS_GRAD_KEY:
            others = load_rows_of(grad_key, origin, left, known, H, K)
        slopes = load_numbers_of(feedback, 2 * origin + 1, left, 2 * H, BETA_AWARE)
        left = after_loads(left)
        path = retrace(copy_rows(pick(starts, group, rows), COPIES), c, traces, left, d_min, d_max, HAS_GATE)
        for_gates = tl.zeros([COPIES, BK], tl.float32)
        for_fixed, for_slopes = for_gates, for_gates
        for j in tl.static_range(TOGETHER - 1, -1, -1):
            adjoint, pull, row, for_gate, pressed, for_slope = step_back(
                adjoint, pull, path[j], c, keys[j], directs[j], others[j], gains[j], gates[j], slopes[j], j < left,
                eta, d_min, d_max, HAS_GATE, BETA_AWARE, NORMALIZE, SCALE_KEY, HAS_GRAD_KEY,
            )  # fmt: skip
            here = grad_k + (origin + j * H) * K + feature
            tl.store(here, row.to(tl.float32).to(grad_k.dtype.element_ty), mask=writes & (j < left))
            for_gates = tl.where(feature == j, for_gate.to(tl.float32)[:, None], for_gates)
            for_fixed = tl.where(feature == j, pressed.to(tl.float32)[:, None], for_fixed)
            for_slopes = tl.where(feature == j, for_slope.to(tl.float32)[:, None], for_slopes)
        if HAS_GATE:
            store_numbers(grad_g, for_gates, origin, left, H)
        if BETA_AWARE:
            store_numbers(grad_feedback, for_fixed, 2 * origin, left, 2 * H)
            store_numbers(grad_feedback, for_slopes, 2 * origin + 1, left, 2 * H)
    return first_of(adjoint, COPIES).to(tl.float32), first_of(pull, COPIES).to(tl.float32)


# Latency, as in the forward chain: see there.
@autotune(configurations([{"STAGES": 3}, {"STAGES": 2}], warps=(WARPS.value,)), ["K", "C", "HAS_GATE"])
@triton.jit
def adjoint_kernel(
    k, g, feedback, anchor, gain, entry, clipped, grad, grad_final, grad_key, grad_k, grad_g, grad_feedback,
    grad_initial, pulls,
    inverse, terms, inner, forcing, rho, exits, bounds, first, length, eta, d_min, d_max,
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
    if HAS_GATE:
        whole = load_decay(terms, item, chunks > 0, C, True)
    for back in tl.range(0, chunks, num_stages=STAGES):
        inside = row < left
        key = tl.load(k + place * K + rows, mask=inside[:, None] & known[None, :], other=0.0).to(tl.float32)
        solve = tl.load(inverse + item * (C * C) + square, mask=upper, other=0.0)
        met, _ = load_pairs(inner + place, inside, H, 0)
        push = tl.load(forcing + item * K + feature, mask=known, other=0.0)
        if HAS_GATE:
            entered, stays = load_terms(terms, item, inside, C, True)
            later = load_decay(terms, item - H, back + 1 < chunks, C, True)
        sooner = tl.load(clipped + item - H, mask=back + 1 < chunks, other=0)
        if (SWEPT == 0) & (stepped != 0):
            d = tl.load(entry + item * K + feature, mask=known, other=0.0)
            count = tl.minimum(left, C).to(tl.int32)
            adjoint, pull = step_back_chunk(
                adjoint, d, c, k, g, feedback, gain, grad, grad_key, grad_k, grad_g, grad_feedback, place, count,
                eta, d_min, d_max, H, K, C, BK, HAS_GATE, BETA_AWARE, NORMALIZE, SCALE_KEY, HAS_GRAD_KEY, WARPS,
            )  # fmt: skip
            adjoint = apart(adjoint)
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
                handed_back *= stays
            met += handed_back
            share = step * tl.sum(solve * met[None, :], 1)
            tl.store(rho + place + row * H, share, mask=inside)
            if BETA_AWARE:
                share *= load_pairs(feedback + 2 * place, inside, 2 * H, 1)[1]
            if HAS_GATE:
                adjoint *= whole
                share *= entered
            adjoint += push - sum_rows(share[:, None] * s, WARPS)
        stepped = sooner
        if HAS_GATE:
            whole = later
        place -= C * H
        item -= H
        left = tl.zeros([], left.dtype) + C
    tl.store(grad_initial + own, adjoint, mask=known)


# One warp holds the row, as in the forward scan.
@autotune(configurations(warps=(1,)), ["K", "HAS_GATE"])
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
            HAS_GRAD_KEY, 1,
        )  # fmt: skip
        if HAS_ANCHOR and HAS_GATE:
            tl.store(pulls + item * K + feature, pull, mask=known)
        place -= C * H
        item -= H
        left = tl.zeros([], left.dtype) + C
    tl.store(grad_initial + own, adjoint, mask=known)
