"""The scan's triangular operator by its series, for all chunks in which it is small (T11, T29).

(I + L)^-1 = (I - L)(I + L^2) up to L^4, which is below float32 where the rows of L sum to less than 2^-7. At the
step of `bounded` they do, unless keys repeat. L then need not be known better than to 2^-16: squared keys are split
into two bfloat16 parts, whose products run at full speed. Its own powers are products of L in float16, which is as good
as TF32 where entries are at most 2^-7 (L^2 to within 2^-24, L^3 to 2^-31) and costs half. Chunks with a larger L are
left to `scan_operator`.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..boundary.rule import Rule
from ..launch.dots import dot, parts
from ..launch.following import (
    LEFT,
    THERE,
    Signals,
    begin_followers,
    end_after_leader,
    following,
    report,
    slot_of,
)
from ..launch.runtime import exact_precision, single, tile
from ..launch.sequences import Chunks, chunk_of
from ..launch.sums import WARPS, sum_rows
from ..launch.tuning import autotune, configurations
from .iterates import ROOM, decay, decays, gate_sums, load_pairs, store_terms
from .operator import applied, feedback_weight, operator_kernel

LARGEST_STEP = 1 / 16
"""eta above which no chunk is expected to be small."""

SMALL: tl.constexpr = tl.constexpr(2.0**-7)


@triton.jit
def dot_across(x, y):
    """x yᵀ of `parts` of float32 tiles [C, BK], to about 2^-16."""
    x_high, x_low = x
    y_high, y_low = y
    small = dot(x_high, tl.trans(y_low), "tf32") + dot(x_low, tl.trans(y_high), "tf32")
    return dot(x_high, tl.trans(y_high), "tf32") + small


@triton.jit
def gram_of(s):
    """s sᵀ of such parts."""
    high, low = s
    across = dot(high, tl.trans(low), "tf32")
    return dot(high, tl.trans(high), "tf32") + (across + tl.trans(across))


# All features at once: in parts it takes half as long again.
@autotune(configurations(warps=(WARPS.value,)), ["K", "C", "HAS_GATE"])
@triton.jit
def series_kernel(
    k, g, feedback, anchor, clipped, grad, inner, forcing, inverse, terms, operators, bounds, first, owner, length,
    per_sequence, eta,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, ADJOINT: tl.constexpr,
    FORCED: tl.constexpr, SCALE_KEY: tl.constexpr, BEHIND: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """What `Operators` are, of every chunk where L is small; `operators` [slots, H] say where.

    With FORCED also what `forcing_kernel` finds, of all chunks: the keys are read once for both. A chain before it may
    wait for its operators (BEHIND).
    """
    if BEHIND:
        begin_followers()
    program = tl.program_id(0)
    last = program == tl.num_programs(0) - 1
    slot = slot_of(program // H, per_sequence, H, BEHIND)
    head = program % H
    program = slot * H + head
    sequence, chunk, start, tokens = chunk_of(slot, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tokens - chunk * C
    if left <= 0:
        return
    if ADJOINT:  # noqa: SIM102 -- nested, because the pointer is None otherwise
        if tl.load(clipped + program) != 0:
            return
    row = tl.arange(0, C)
    inside = row < left
    place = (start + chunk * C).to(tl.int64) * H + head
    feature = tl.arange(0, BK)
    known = feature < K
    cells = place * K + row[:, None] * (H * K) + feature[None, :]
    mask = inside[:, None] & known[None, :]
    if BETA_AWARE:
        fixed, slope = load_pairs(feedback + 2 * place, inside, 2 * H, 1)
    key = tl.load(k + cells, mask=mask, other=0.0).to(tl.float32)
    if FORCED:
        p = tl.load(grad + cells, mask=mask, other=0.0).to(tl.float32)
    s = key * key
    halves = parts(s)
    step = tl.zeros([C], tl.float32) + eta
    if NORMALIZE:
        step *= feedback_weight(tl.sum(s, 1), NORMALIZE)
    force = step
    if BETA_AWARE:
        force *= fixed
        step *= slope
    if HAS_ANCHOR:
        c = tl.load(anchor + (sequence * H + head) * K + feature, mask=known, other=0.0)
        force -= step * tl.sum(s * c[None, :], 1)
    lower = tl.where(row[:, None] > row[None, :], gram_of(halves) * step[:, None], 0.0)
    if HAS_GATE:
        before, after, total = gate_sums(tl.load(g + place + row * H, mask=inside, other=0.0))
        lower *= decays(before, after)
    if FORCED:
        if SCALE_KEY:
            p *= key
        met = tl.where(row[:, None] < row[None, :], dot_across(halves, parts(p)), 0.0)
        if HAS_GATE:
            met *= decays(-after, -before)
            p *= tl.exp(before.to(tl.float32))[:, None]
        tl.store(inner + place + row * H, tl.sum(met, 1), mask=inside)
        tl.store(forcing + program.to(tl.int64) * K + feature, sum_rows(p, WARPS), mask=known)
    # By a product: Triton 3.7 does not compile the sum of its rows for a Blackwell GPU.
    half = lower.to(tl.float16)
    sums = dot(half, tl.zeros([C, 16], tl.float16) + 1.0, "tf32")
    small = tl.max(tl.reshape(sums, [C * 16]), 0) < SMALL
    if small == 0:
        tell(operators + program, LEFT, last, BEHIND)
        return
    square = dot(half, half, "tf32")
    found = square - lower - dot(half, square.to(tl.float16), "tf32")
    found = tl.where(row[:, None] == row[None, :], 1.0, found)
    stored = row[:, None] // 16 >= row[None, :] // 16
    if HAS_GATE:
        entered = decay(before)
    else:
        after, total, entered = row, row, tl.zeros([C], tl.float32) + 1.0
    if ADJOINT:
        found = tl.trans(found)
        stored = row[:, None] // 16 <= row[None, :] // 16
        term = entered
    else:
        term = applied(found, force)
        found *= (step * entered)[None, :]
    if HAS_GATE or ADJOINT == 0:
        store_terms(terms + program.to(tl.int64) * (2 * C + ROOM), row, term, after, total, C, HAS_GATE)
    cells = row[:, None] * C + row[None, :]
    tl.store(inverse + program.to(tl.int64) * (C * C) + cells, found, mask=stored)
    tell(operators + program, THERE, last, BEHIND)


@triton.jit
def tell(operator, what, last, BEHIND: tl.constexpr):
    """Say what has become of an operator, to a chain before it as well (BEHIND)."""
    if BEHIND:
        report(operator, what)
        if last:
            end_after_leader()
    else:
        tl.store(operator, what)


class Forced(NamedTuple):
    """What `forcing_kernel` takes and finds: gradients [B, T, H, K], and float32 [B, T, H] and [slots, H, K]; whether
    the gradients are those of d_t * k_t."""

    grad: Tensor
    inner: Tensor
    forcing: Tensor
    scale_key: bool


class Operators(NamedTuple):
    """What chains need of each chunk (`operator`).

    - `matrix`, [slots, H, C, C] float32: M; for the chain of adjoints the transpose of (I + L)^-1.
    - `terms`, [slots, H, 2 C + ROOM] float32: b, and of the chunk's gates what `store_terms` does. For the chain of
      adjoints the decay up to each token stands in the place of b; None where it has no gates.
    """

    matrix: Tensor
    terms: Tensor | None


def fill_small(
    k: Tensor, g: Tensor | None, feedback: Tensor | None, anchor: Tensor | None, rule: Rule, chunks: Chunks,
    clipped: Tensor | None, found: Operators, forced: Forced | None = None, signals: Signals | None = None,
) -> Tensor:  # fmt: skip
    """Fill the operators that are small; returns which are, [slots, H] int32 (`Signals`). Arguments as in
    `find_operators`."""
    heads, dim = k.shape[2:]
    if signals is None:
        operators = torch.empty(chunks.slots, heads, dtype=torch.int32, device=k.device)
    else:
        operators = signals.operators
    *pressed, scale_key = forced or (None, None, None, True)
    series_kernel[(chunks.slots * heads,)](
        k, g, feedback, anchor, clipped, *pressed, *found, operators, *chunks.pointers, chunks.length,
        chunks.per_sequence, rule.eta,
        H=heads, K=dim, C=chunks.size, BK=tile(dim), HAS_GATE=g is not None, HAS_ANCHOR=anchor is not None,
        BETA_AWARE=feedback is not None, NORMALIZE=rule.normalize_feedback, ADJOINT=clipped is not None,
        FORCED=forced is not None, SCALE_KEY=scale_key, BEHIND=signals is not None, PACKED=chunks.packed,
        **({} if signals is None else following(k.device)),
    )  # fmt: skip
    return operators


def new_operators(k: Tensor, chunks: Chunks, *, has_terms: bool) -> Operators:
    """Memory for those of every chunk."""
    items, size = (chunks.slots, k.shape[2]), chunks.size
    terms = single(k, *items, 2 * size + ROOM.value) if has_terms else None
    return Operators(single(k, *items, size, size), terms)


def find_operators(
    k: Tensor, g: Tensor | None, feedback: Tensor | None, rule: Rule, chunks: Chunks, found: Operators,
    clipped: Tensor | None = None, forced: Forced | None = None, signals: Signals | None = None,
    anchor: Tensor | None = None,
) -> None:  # fmt: skip
    """Fill in what is `found` of every chunk; 16 x 16 blocks above the diagonal are not written.

    With `clipped` [slots, H] for the chain of adjoints, which needs no anchor, and not of chunks that clipped.
    Small operators are sums of their first powers; `forced` is filled beside them, which wants a step of at most
    `LARGEST_STEP`. With `signals` behind the chain that waits for them.
    """
    if found.matrix.numel() == 0:
        return
    heads, dim = k.shape[2:]
    operators = None if signals is None else signals.operators
    series = rule.eta <= LARGEST_STEP
    # Without gates nothing is drawn to it.
    anchor = None if g is None else anchor
    if series:
        operators = fill_small(k, g, feedback, anchor, rule, chunks, clipped, found, forced, signals)
    operator_kernel[(chunks.slots * heads,)](
        k, g, feedback, anchor, clipped, operators, *found, *chunks.pointers, chunks.length, chunks.per_sequence,
        rule.eta, H=heads, K=dim, C=chunks.size, HAS_GATE=g is not None, HAS_ANCHOR=anchor is not None,
        BETA_AWARE=feedback is not None, NORMALIZE=rule.normalize_feedback,
        ADJOINT=clipped is not None, LARGE=series, BEHIND=signals is not None, PACKED=chunks.packed,
        PRECISION=exact_precision(k.dtype), **({} if signals is None else following(k.device)),
    )  # fmt: skip
