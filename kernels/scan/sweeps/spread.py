"""Gradients of keys, gates and anchor in sequences that were swept: elementwise, sixteen tokens at a time."""

# ruff: noqa: RUF005 -- Triton knows no unpacking

import triton
import triton.language as tl
from torch import Tensor

from ...launch.runtime import cdiv
from ...launch.sequences import Chunks, chunk_of
from ...launch.tuning import autotune, configurations
from ..operator import load_feedback, store_feedback_gradient
from .pattern import ROWS, Swept
from .walk import clip_to


@triton.jit
def spread_group(
    c, k, shrinks, feedback, gain, pattern, starts, grad, grad_key, grad_k, grad_g, grad_feedback, rho, exits,
    at, place, count, inverse_eta, d_min, d_max, feature, H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr,
    ROWS: tl.constexpr, HAS_GATE: tl.constexpr, HAS_GRAD_KEY: tl.constexpr, BETA_AWARE: tl.constexpr,
    NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr,
):  # fmt: skip
    """Gradients of up to ROWS tokens, `count` of them there; returns the anchor's share, sum of (1 - gamma) mu.

    What they begin and end with is in row `at` of starts and exits.
    """
    known = feature < K
    row = tl.arange(0, ROWS)
    adjoint = tl.load(exits + at, mask=known, other=0.0)
    deviation = tl.load(starts + at, mask=known, other=0.0)
    word = tl.load(pattern + at, mask=known, other=0)
    keys, directs, others, gains, shares, slopes, shrunk = (), (), (), (), (), (), ()
    for j in tl.static_range(ROWS):
        cells = (place + j * H) * K + feature
        mask = known & (j < count)
        keys = keys + (tl.load(k + cells, mask=mask, other=0.0),)
        directs = directs + (tl.load(grad + cells, mask=mask, other=0.0),)
        gains = gains + (tl.load(gain + place + j * H, mask=j < count, other=0.0),)
        shares = shares + (tl.load(rho + place + j * H, mask=j < count, other=0.0),)
        if BETA_AWARE:
            slopes = slopes + (load_feedback(feedback, place + j * H, j < count, BETA_AWARE)[1],)
        if HAS_GRAD_KEY:
            others = others + (tl.load(grad_key + cells, mask=mask, other=0.0),)
        if HAS_GATE:
            shrunk = shrunk + (tl.load(shrinks + place + j * H, mask=j < count, other=0.0),)
    # d_t - c rather than d_t: under forgetting it is much smaller, and what gates are multiplied by.
    deviations = ()
    rest = tl.zeros([BK], tl.float32)
    for j in tl.static_range(ROWS):
        deviations = deviations + (deviation,)
        key = keys[j].to(tl.float32)
        step = gains[j] * key * key + rest
        if HAS_GATE:
            step += shrunk[j] * deviation
        moved = deviation + step
        passes = (word & (1 << j)) != 0
        rest = tl.where(passes, step - (moved - deviation), 0.0)
        deviation = tl.where(passes, moved, clip_to(c + moved, d_min, d_max) - c)
    pull = tl.zeros([BK], tl.float32)
    passed = tl.zeros([ROWS], tl.float32)
    met = tl.zeros([ROWS], tl.float32)
    for j in tl.static_range(ROWS - 1, -1, -1):
        key = keys[j].to(tl.float32)
        direct = directs[j].to(tl.float32)
        deviation = deviations[j]
        d = c + deviation
        mu = tl.where((word & (1 << j)) != 0, adjoint, 0.0)
        share = shares[j]
        if BETA_AWARE:
            share *= slopes[j]
            met = tl.where(row == j, shares[j] * tl.sum(d * key * key, 0), met)
        result = 2.0 * key * (gains[j] * mu - share * d)
        if SCALE_KEY:
            result += direct * d
            direct *= key
        if NORMALIZE:
            result -= (2.0 * inverse_eta * gains[j] * shares[j]) * key
        if HAS_GRAD_KEY:
            result += others[j].to(tl.float32)
        tl.store(
            grad_k + (place + j * H) * K + feature,
            result.to(grad_k.dtype.element_ty),
            mask=known & (j < count),
        )
        before = mu + direct - share * key * key
        if HAS_GATE:
            through = (1.0 + shrunk[j]) * tl.sum(tl.where(known, mu * deviation, 0.0), 0)
            passed = tl.where(row == j, through, passed)
            lost = tl.where(j < count, shrunk[j] * mu, 0.0)
            pull -= lost
            before += lost
        adjoint = tl.where(j < count, before, adjoint)
    if HAS_GATE:
        tl.store(grad_g + place + row * H, passed, mask=row < count)
    if BETA_AWARE:
        store_feedback_gradient(grad_feedback, place + row * H, row < count, rho, met, tl.program_id(1))
    return pull


# Two features a lane: four would not leave registers for all loads at once.
@autotune(configurations([{"BK": 64}], warps=(1,)), ["K", "C", "HAS_GATE"])
@triton.jit
def spread_clipped_kernel(
    k, shrinks, feedback, anchor, gain, swept, pattern, starts, grad, grad_key, grad_k, grad_g, grad_feedback, pulls,
    rho, exits,
    bounds, first, owner, length, per_sequence, tokens_in_all, inverse_eta, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, ROWS: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, HAS_GRAD_KEY: tl.constexpr, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr,
    SCALE_KEY: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """Gradients of keys and gates in sequences that were swept; elementwise, and ROWS tokens at a time."""
    program = tl.program_id(0)
    head = program % H
    sequence, chunk, start, tokens = chunk_of(
        program // H, bounds, first, owner, length, per_sequence, C, PACKED
    )
    left = tl.minimum(tokens - chunk * C, C).to(tl.int32)
    if left <= 0:
        return
    if tl.load(swept + program) == 0:
        return
    feature = tl.program_id(1) * BK + tl.arange(0, BK)
    known = feature < K
    c = tl.zeros([BK], tl.float32)
    if HAS_ANCHOR:
        c = tl.load(anchor + (sequence * H + head) * K + feature, mask=known, other=0.0)
    if HAS_GATE:
        grad_g += tl.program_id(1).to(tl.int64) * tokens_in_all * H
    if BETA_AWARE:
        grad_feedback += 2 * tl.program_id(1).to(tl.int64) * tokens_in_all * H
    # All of a chunk's groups in one program: most often none of its sequence clipped, and programs cost time to launch.
    for group in range(tl.cdiv(left, ROWS)):
        place = (start + chunk * C + group * ROWS).to(tl.int64) * H + head
        at = (program.to(tl.int64) * (C // ROWS) + group) * K + feature
        pull = spread_group(
            c, k, shrinks, feedback, gain, pattern, starts, grad, grad_key, grad_k, grad_g, grad_feedback, rho, exits,
            at, place, tl.minimum(left - group * ROWS, ROWS), inverse_eta, d_min, d_max, feature, H, K, BK, ROWS,
            HAS_GATE, HAS_GRAD_KEY, BETA_AWARE, NORMALIZE, SCALE_KEY,
        )  # fmt: skip
        if HAS_ANCHOR and HAS_GATE:
            item = program.to(tl.int64) + group * tl.num_programs(0)
            tl.store(pulls + item * K + feature, pull, mask=known)


def spread_clipped(
    known: tuple[Tensor | None, ...], swept: Tensor, met: Swept, grad: Tensor, grad_key: Tensor | None,
    found: tuple[Tensor | None, ...], rho: Tensor, chunks: Chunks, numbers: tuple[float, float, float],
    *, normalize: bool, scale_key: bool,
) -> None:  # fmt: skip
    """Gradients of keys, gates and anchor where sequences were swept.

    `known`: k, shrinks, feedback, anchor, gain; `found`: grad_k, grad_g [slices, B, T, H], grad_feedback
    [slices, B, T, H, 2], pulls [C / ROWS, slots, H, K].
    """
    k, shrinks, feedback, anchor, _ = known
    assert k is not None
    heads, dim = k.shape[2:]
    eta, *box = numbers

    def grid(meta: dict[str, int]) -> tuple[int, int]:
        return chunks.slots * heads, cdiv(dim, meta["BK"])

    spread_clipped_kernel[grid](
        *known, swept, met.pattern, met.starts, grad, grad_key, *found, rho, met.exits, *chunks.pointers, chunks.length,
        chunks.per_sequence, k.shape[0] * k.shape[1], 1.0 / eta if eta else 0.0, *box,
        H=heads, K=dim, C=chunks.size, ROWS=ROWS, HAS_GATE=shrinks is not None,
        HAS_ANCHOR=shrinks is not None and anchor is not None, HAS_GRAD_KEY=grad_key is not None,
        BETA_AWARE=feedback is not None,
        NORMALIZE=normalize, SCALE_KEY=scale_key, PACKED=chunks.packed,
    )  # fmt: skip
