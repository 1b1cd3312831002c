"""Chunks of a sequence one after the other, as far as nothing clips; what clips is stepped, or left for sweeps."""

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch.following import (
    APART,
    THERE,
    Signals,
    agree_whether,
    begin_followers,
    report,
    wait_until,
)
from ..launch.runtime import exact_precision
from ..launch.sequences import Chunks, sequence_of
from ..launch.sums import WARPS, sum_rows
from ..launch.tuning import autotune, configurations
from .calls import Gains, ScanCall, rule_numbers
from .iterates import iterate_tile, load_decay, load_terms, next_entry
from .operator import squares
from .series import Operators
from .sweeps.blocks import BLOCK
from .tokens import apart, step_tokens

SEGMENT: tl.constexpr = tl.constexpr(32)
"""Chunks after which a chain asks whether any of them may have clipped, and whether it was stopped; whose operators it
waits for at once: as many as a warp has threads, at most (`wait_until`)."""

FIRST, AGAIN = 2, 3
"""Turns of a chain that waits: the second does nothing but where the first was stuck. Numbers that Triton does not
compile apart."""

ONCE: tl.constexpr = tl.constexpr(FIRST)

FEW = 32
"""Chains at most that have multiprocessors to themselves where others are launched behind them: it is they that are
waited for, and their instructions wait for those of programs beside them."""

Launch = Callable[..., object]


def new_origin(k: Tensor, chunks: Chunks) -> Tensor:
    return torch.empty(chunks.sequences * k.shape[2], dtype=torch.int32, device=k.device)


@triton.jit
def advance(s, u, stays, whole, d, rest, c, HAS_GATE: tl.constexpr):
    """Where nothing clips: the d handed on and its rest, the least and greatest value any iterate can have, [BK] each.

    Where nothing is forgotten every rounding of d would stay, so d + rest is carried, `rest` what float32 lost of d.
    With u = rise - fall split by sign, and every product of gates in (0, 1], each iterate lies between
    c + min(e, G e) - S^T fall and c + max(e, G e) + S^T rise, for e = d - c and G the product of all the gates: that is
    `whole`, and `stays` [C] is that of those after each token.
    """
    rise = tl.maximum(u, 0.0)[:, None] * s
    fall = tl.maximum(-u, 0.0)[:, None] * s
    up, down = sum_rows(rise, WARPS), sum_rows(fall, WARPS)
    if HAS_GATE:
        moved = sum_rows((u * stays)[:, None] * s, WARPS)
        kept = whole * (d - c)
        low = c + tl.minimum(d - c, kept) - down
        high = c + tl.maximum(d - c, kept) + up
        handed_on = c + kept + moved
        rest = tl.zeros_like(d)
    else:
        low = d - down
        high = d + up
        moved = (up - down) + rest
        handed_on = d + moved
        rest = moved - (handed_on - d)
    return handed_on, rest, low, high


@triton.jit
def leaves(low, high, known, d_min, d_max):
    """Which features' ranges leave the box, [BK]; NaN does. A box of one point always clips."""
    return known & (((low >= d_min) & (high <= d_max) == 0) | (d_min == d_max))


@triton.jit
def clips(
    k, g, gain, place, left, d, c, known, d_min, d_max, H: tl.constexpr, K: tl.constexpr, C: tl.constexpr,
    HAS_GATE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Whether any of a chunk's iterates, or what it hands on, would leave the box.

    In blocks of 16 tokens whose keys are loaded again, up to the first block in which one does: seldom needed, it
    should not cost the chain registers.
    """
    row = tl.arange(0, 16)
    feature = tl.arange(0, d.shape[0])
    gains = tl.reshape(gain, [C // 16, 16])
    block = tl.arange(0, C // 16)
    found = place < 0
    i = 0
    while (i < C // 16) & (found == 0):
        inside = row < left - 16 * i
        s = squares(k + place * K, row, inside, H * K, feature, known)
        u = tl.sum(tl.where(block[:, None] == i, gains, 0.0), 0)
        gate = tl.zeros([16], tl.float32)
        if HAS_GATE:
            gate = tl.load(g + place + row * H, mask=inside, other=0.0).to(tl.float32)
        met = iterate_tile(s, u, gate, d, c, 16, HAS_GATE, PRECISION)
        d = next_entry(s, u, gate, d, c, HAS_GATE)
        least, greatest = tl.minimum(tl.min(met, 0), d), tl.maximum(tl.max(met, 0), d) + (d - d)
        found = tl.max(leaves(least, greatest, known, d_min, d_max).to(tl.int32), 0) != 0
        place += 16 * H
        i += 1
    return found


@triton.jit
def free_chunk(
    d, rest, c, whole, k, matrix, terms, place, item, left, rows, square, lower, known,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, HAS_GATE: tl.constexpr,
):  # fmt: skip
    """The gains [C] of a chunk of `left` tokens that is entered with d + rest, and `advance`, as if nothing clipped.

    `whole` is its decay.
    """
    row = tl.arange(0, C)
    inside = row < left
    key = tl.load(k + place * K + rows, mask=inside[:, None] & known[None, :], other=0.0).to(tl.float32)
    answer = tl.load(matrix + item * (C * C) + square, mask=lower, other=0.0)
    resting, stays = load_terms(terms, item, inside, C, HAS_GATE)
    s = key * key
    away = d - c if HAS_GATE else d
    met = tl.sum(s * away[None, :], 1)
    u = resting - tl.sum(answer * met[None, :], 1)
    handed_on, lost, low, high = advance(s, u, stays, whole, d, rest, c, HAS_GATE)
    return u, handed_on, lost, low, high


@triton.jit
def store_chunk(
    gain, entry, entry_rest, u, d, rest, place, item, left, keeps, known, H: tl.constexpr, K: tl.constexpr
):
    """What a chunk is entered with, and its gains where it `keeps` them."""
    feature = tl.arange(0, d.shape[0])
    row = tl.arange(0, u.shape[0])
    tl.store(entry + item * K + feature, d, mask=known)
    tl.store(entry_rest + item * K + feature, rest, mask=known)
    tl.store(gain + place + row * H, u, mask=(row < left) & keeps)


# A chain is latency, most of it exchanges between warps: eight take twice as long. The tiles of the next chunks are on
# their way while one is worked on; deeper pipelines need more shared memory than long rows leave. A barrier in the
# loop, even in a branch, would keep Triton from pipelining it.
@autotune(
    configurations([{"STAGES": 3}, {"STAGES": 2}], warps=(WARPS.value,)), ["K", "C", "HAS_GATE", "WAITS"]
)
@triton.jit
def chain_kernel(
    k, g, feedback, anchor, initial, initial_rest, matrix, terms, gain, entry, entry_rest, clipped, final,
    final_rest, out, path, origin, busy, stuck, operators, progress, bounds, first, length, turn, eta, eta_rest, d_min,
    d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BLOCK: tl.constexpr,
    HAS_GATE: tl.constexpr, HAS_ANCHOR: tl.constexpr, HAS_INITIAL: tl.constexpr, HAS_INITIAL_REST: tl.constexpr,
    HAS_FINAL_REST: tl.constexpr, HAS_ORIGIN: tl.constexpr, LED: tl.constexpr, WAITS: tl.constexpr, ALONE: tl.constexpr,
    BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr, KEEP: tl.constexpr,
    PACKED: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Gains of a sequence's chunks, one after the other.

    A segment of chunks is first gone through as if nothing clipped: whether d may leave the box is noted by feature,
    and asked once, at its end, as whoever asks has all threads wait. Where it may, the segment is gone through again,
    and every chunk asked; so is the next one, until one is found in which no d may.

    With `origin` [N, H] the first chunk that clips ends it, and its block is left there for sweeps to begin with (one
    past the last where none clips), with a 1 in `busy`; without, such chunks are stepped. Others are launched beside it
    (LED of 1) or behind it (2): these see in `progress` [N, H] how many chunks are done. It may itself be at work
    while launches after it find the chunks' operators (WAITS), of which it sees in `operators` [slots, H] what has
    come. Where these do not come it ends, `stuck`, and its second `turn` is from the start.
    """
    # ALONE is for who launches it (`launch.repeats`).
    if LED > 0:
        begin_followers()
    if WAITS:  # noqa: SIM102 -- nested, because `stuck` is None otherwise
        if (turn != ONCE) & (tl.load(stuck) == 0):
            return
    program = tl.program_id(0)
    head = program % H
    start, tokens, slot, chunks = sequence_of(program // H, bounds, first, length, C, PACKED)
    row = tl.arange(0, C)
    feature = tl.arange(0, BK)
    known = feature < K
    own = program.to(tl.int64) * K + feature
    d = tl.full([BK], 1.0, tl.float32)
    if HAS_INITIAL:
        d = tl.load(initial + own, mask=known, other=0.0)
    rest = tl.zeros([BK], tl.float32)
    if HAS_INITIAL_REST:
        rest = tl.load(initial_rest + own, mask=known, other=0.0)
    c = tl.zeros([BK], tl.float32)
    if HAS_ANCHOR:
        c = tl.load(anchor + own, mask=known, other=0.0)
    rows = row[:, None] * (H * K) + feature[None, :]
    square = row[:, None] * C + row[None, :]
    lower = row[:, None] // 16 >= row[None, :] // 16
    place = start.to(tl.int64) * H + head
    item = slot.to(tl.int64) * H + head
    left = tokens
    reached = tl.cdiv(chunks, BLOCK).to(tl.int32)
    alive = chunks > 0
    asks = chunks < 0
    for part in range(tl.cdiv(chunks, SEGMENT)):
        if WAITS:  # noqa: SIM102
            if turn == ONCE:
                last = tl.minimum(SEGMENT, chunks - part * SEGMENT) - 1
                near = tl.minimum(tl.arange(0, 32), last)
                wait_until(operators + item + near * H, THERE, stuck)
                alive = alive & (agree_whether(stuck) == 0)
        count = tl.where(alive, tl.minimum(chunks - part * SEGMENT, SEGMENT), 0)
        first_d, first_rest = d, rest
        outside = tl.zeros([BK], tl.int32)
        at, here, tail = place, item, left
        whole = load_decay(terms, here, count > 0, C, HAS_GATE)
        for _ in tl.range(0, tl.where(asks, 0, count), num_stages=STAGES):
            later = load_decay(terms, here + H, tail > C, C, HAS_GATE)
            u, handed_on, lost, low, high = free_chunk(
                d, rest, c, whole, k, matrix, terms, at, here, tail, rows, square, lower, known, H, K, C, HAS_GATE,
            )  # fmt: skip
            store_chunk(gain, entry, entry_rest, u, d, rest, at, here, tail, True, known, H, K)
            tl.store(clipped + here, 0)
            outside |= leaves(low, high, known, d_min, d_max).to(tl.int32)
            d, rest = handed_on, lost
            whole = later
            at += C * H
            here += H
            tail -= C
        asks = asks | (tl.max(outside, 0) != 0)
        d, rest = tl.where(asks, first_d, d), tl.where(asks, first_rest, rest)
        doubtful = asks & (chunks < 0)
        at, here, tail = place, item, left
        whole = load_decay(terms, here, count > 0, C, HAS_GATE)
        passed = part * SEGMENT
        # What is stopped idles to the end of its segment: loops whose loads run ahead have no way out.
        for _ in tl.range(0, tl.where(asks, count, 0), num_stages=STAGES):
            later = load_decay(terms, here + H, tail > C, C, HAS_GATE)
            u, handed_on, lost, low, high = free_chunk(
                d, rest, c, whole, k, matrix, terms, at, here, tail, rows, square, lower, known, H, K, C, HAS_GATE,
            )  # fmt: skip
            may = tl.max(leaves(low, high, known, d_min, d_max).to(tl.int32), 0) != 0
            doubtful = doubtful | may
            stepped = may & alive
            if stepped:
                stepped = clips(k, g, u, at, tail, d, c, known, d_min, d_max, H, K, C, HAS_GATE, PRECISION)
            store_chunk(
                gain, entry, entry_rest, u, d, rest, at, here, tail, alive & (stepped == 0), known & alive, H, K,
            )  # fmt: skip
            tl.store(clipped + here, stepped.to(tl.int8), mask=alive)
            if HAS_ORIGIN:
                reached = tl.where(stepped, (passed // BLOCK).to(tl.int32), reached)
                alive = alive & (stepped == 0)
                d, rest = handed_on, lost
            elif stepped:
                wide = step_tokens(
                    d.to(tl.float64) + rest.to(tl.float64), c.to(tl.float64), k, g, feedback, gain, out, path, at,
                    tl.minimum(tail, C).to(tl.int32), eta, eta_rest, d_min, d_max,
                    H, K, BK, HAS_GATE, BETA_AWARE, NORMALIZE, SCALE_KEY, KEEP, WARPS,
                )  # fmt: skip
                near = wide.to(tl.float32)
                d, rest = apart(near), apart((wide - near.to(tl.float64)).to(tl.float32))
            else:
                d, rest = handed_on, lost
            whole = later
            at += C * H
            here += H
            tail -= C
            passed += 1
        asks = doubtful
        if LED == 2:
            tl.store(busy, 1, mask=alive == 0)
            done = tl.where(alive, tl.minimum((part + 1) * SEGMENT, chunks), chunks)
            report(progress + program * APART, done.to(tl.int32))
        place += SEGMENT * (C * H)
        item += SEGMENT * H
        left -= SEGMENT * C
    if HAS_ORIGIN:
        tl.store(origin + program, reached)
        tl.store(busy, 1, mask=reached < tl.cdiv(chunks, BLOCK))
    tl.store(final + own, d, mask=known)
    if HAS_FINAL_REST:
        tl.store(final_rest + own, rest, mask=known)


def run_chain(
    scan: ScanCall, operators: Operators, gains: Gains, initial: Tensor | None, initial_rest: Tensor | None,
    origin: Tensor | None, signals: Signals | None, chunks: Chunks, *, led: int = 0, waits: bool = False,
    turn: int = FIRST,
) -> None:  # fmt: skip
    """Go through the chunks, of which the `operators` are known, one after the other, from the d that they are entered
    with, ones where None.

    `origin` [N, H] int32 gets the block of the first chunk that clips, at which a chain ends; without, chunks are
    stepped. `led`, `waits` and `turn` as in the kernel, with `signals`.
    """
    seen: tuple[Tensor | None, ...] = (None,) * 4
    if signals is not None:
        seen = (signals.busy, signals.stuck, signals.operators, signals.progress)
    chain_kernel[(chunks.sequences * scan.k.shape[2],)](
        scan.k, scan.g, scan.feedback, scan.anchor, initial, initial_rest, *operators, gains.gain, *gains.entries,
        gains.clipped, gains.final, gains.rest, scan.out, scan.path, origin, *seen, chunks.bounds, chunks.first,
        chunks.length, turn,
        *rule_numbers(scan.rule), **scan.constants(chunks, initial), BLOCK=BLOCK,
        HAS_INITIAL_REST=initial_rest is not None, HAS_FINAL_REST=gains.rest is not None,
        HAS_ORIGIN=origin is not None, LED=led, WAITS=waits,
        ALONE=waits and chunks.sequences * scan.k.shape[2] <= FEW, PRECISION=exact_precision(scan.k.dtype),
    )  # fmt: skip
