"""The calibrate scan by sweeps, parallel in time (T29): all blocks of chunks at once, clip or no clip.

A sweep walks every block exactly from the d that it is thought to be entered with, and keeps what the block does at the
same gains to a change y of that d, min(high, max(low, slope y + excess)) per feature, and how its gains answer y: by
-eta G y, G = sum of w_t s_t s_t^T taken as its rank-one part and what that leaves of its diagonal. With both, the
blocks of a sequence are joined, one after the other, which gives the entries of the next sweep. Blocks whose entry
moves no more are not walked again. All sweeps are one launch: programs take blocks sweep by sweep, the last of a
sequence and head joins, and the others of the next sweep wait for it.

Certificate. Let x be the joined entries and y = x - w how far they lie from the entries w that were walked from. At
fixed gains the maps carry x exactly, so the clipped recurrence started at x_b misses x_{b+1} by no more than what the
gains answer to y_b, at most kappa_b |y_b| with kappa_b = eta sum of w_t |s_t|^2 over the block, and what they were
taken to answer, at most the same: G is positive, and so is what it is taken for, of the same trace. Where kappa_b <= 1
the projected step stretches no distance (T13), and shrinks it by the product of the gates, slope_b, where
kappa_b <= 2 slope_b. Hence |w - d| <= (1 + r) max |y| with r_{b+1} = l_b r_b + 2 kappa_b, l_b = slope_b or 1. Sweeps
stop where (1 + r) |y| is below half an ulp of 1, and where what each block hands on is indeed what the next was walked
from. What does not settle is walked by one warp, from the first block that has not to the end.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...boundary.numerics import LARGEST_SWEPT_STEP
from ...boundary.rule import Rule
from ...launch.runtime import tile
from ...launch.sequences import Chunks, chunk_of, sequence_of
from ...launch.tuning import autotune, configurations
from .blocks import (
    AHEAD,
    BLOCK,
    ENDED,
    GOES_ON,
    UNSPECIALIZED,
    WALKS,
    allowed_sweeps,
    answer,
    apart,
    arrive,
    blocks_of,
    enter_sweep,
    goes_on_after,
    leave,
    lengthen,
    load_pair,
    most_sweeps,
    norm_of,
    progress_of,
    spread_of,
)
from .walk import clip_to, walk_chunk

ROWS = 8
"""Tokens whose keys are loaded together: more would need more registers and leave fewer warps."""

TOLERANCE: tl.constexpr = tl.constexpr(2.0**-24)
PLANES = 11
WALKED, WANTED, EXIT, EXCESS, LOW, HIGH, COMMON, OWN = (
    tl.constexpr(plane) for plane in (0, 2, 4, 6, 7, 8, 9, 10)
)
"""Rows [K] of a block, by plane: two for numbers carried with their rest."""


class Sweeps(NamedTuple):
    """What sweeps leave on the device.

    - `planes`, [PLANES, blocks, H, K] float32
    - `factors`, [2, blocks, H] float32: slope and kappa of each block.
    - `tolerance`, [N, H] float32: How far a block's entry may move and still count as settled.
    - `opened`, [sweeps, N, H] int32: 1 where a sweep walked something, or, the last, found something left to walk.
    - `origin`, [N, H] int32 or None: First block to walk; the blocks before are done.
    """

    planes: Tensor
    factors: Tensor
    tolerance: Tensor
    opened: Tensor
    origin: Tensor | None


def sweeps_pay(rule: Rule) -> bool:
    """Whether sweeps are tried at all, known without reading a tensor."""
    return rule.eta <= LARGEST_SWEPT_STEP and not rule.pinned


@triton.jit
def walk_block(
    d, rest, c, k, shrinks, feedback, gain, entry, entry_rest, clipped, final, out, path, planes, factors,
    row, item, place, left, chain, size, rows, eta, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
    HAS_GATE: tl.constexpr, HAS_ANCHOR: tl.constexpr, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr,
    SCALE_KEY: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Walk one block from d + rest [BK], and leave what it does to a change of that in its `row` of the planes."""
    feature = tl.arange(0, BK)
    known = feature < K
    own = row.to(tl.int64) * K + feature
    tl.store(planes + WALKED * size + own, d, mask=known)
    tl.store(planes + (WALKED + 1) * size + own, rest, mask=known)
    excess = tl.zeros([BK], tl.float32)
    low, high = tl.minimum(d_min - d, 0.0), tl.maximum(d_max - d, 0.0)
    mass, strength = tl.zeros([BK], tl.float32), tl.zeros([BK], tl.float32)
    slope, total = 1.0, 0.0
    for _ in range(tl.minimum(tl.cdiv(left, C), BLOCK)):
        tl.store(entry + item * K + feature, d, mask=known)
        tl.store(entry_rest + item * K + feature, rest, mask=known)
        d, rest, excess, low, high, slope, mass, strength, total, hit = walk_chunk(
            d, rest, c, excess, low, high, slope, mass, strength, total, k, shrinks, feedback, gain, out, path, place,
            left, eta, d_min, d_max, H, K, C, BK, ROWS, HAS_GATE, HAS_ANCHOR, BETA_AWARE, NORMALIZE, SCALE_KEY, KEEP,
            True,
        )  # fmt: skip
        tl.store(clipped + item, tl.max((known & (hit != 0)).to(tl.int32), 0).to(tl.int8))
        place += C * H
        item += H
        left -= C
    tl.store(planes + EXIT * size + own, d, mask=known)
    tl.store(planes + (EXIT + 1) * size + own, rest, mask=known)
    tl.store(planes + EXCESS * size + own, excess, mask=known)
    tl.store(planes + LOW * size + own, low, mask=known)
    tl.store(planes + HIGH * size + own, high, mask=known)
    common, own_part = spread_of(mass, strength, total)
    tl.store(planes + COMMON * size + own, common, mask=known)
    tl.store(planes + OWN * size + own, own_part, mask=known)
    tl.store(factors + row, slope)
    tl.store(factors + rows + row, eta * tl.sum(tl.where(known, strength, 0.0), 0))
    if left <= 0:
        tl.store(final + chain * K + feature, d, mask=known)


@autotune(WALKS, ["K", "C", "HAS_GATE"])
@triton.jit(do_not_specialize=UNSPECIALIZED)
def sweep_kernel(
    k, shrinks, feedback, anchor, initial, gain, entry, entry_rest, clipped, final, out, path,
    planes, factors, tolerance, opened, origin, progress, busy,
    bounds, first, owner, first_chunk, length, per_sequence, chunks_per_sequence, rows, chains, sweeps,
    eta, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
    AHEAD: tl.constexpr, HAS_GATE: tl.constexpr, HAS_ANCHOR: tl.constexpr, HAS_INITIAL: tl.constexpr,
    HAS_ORIGIN: tl.constexpr, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr,
    KEEP: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """Items, one block in one sweep each, taken in order, sweep by sweep: whoever waits, waits for programs at work.

    Where nothing clips none is asked for: programs ask one after the other, a nanosecond each.
    """
    if HAS_ORIGIN:  # noqa: SIM102 -- `busy` is None otherwise
        if tl.load(busy) == 0:
            return
    ticket = tl.atomic_add(progress, 1)
    while ticket < sweeps * rows:
        sweep, program = ticket // rows, ticket % rows
        head = program % H
        sequence, block, start, tokens = chunk_of(
            program // H, bounds, first, owner, length, per_sequence, BLOCK * C, PACKED
        )
        chain = sequence * H + head
        begin = 0
        if HAS_ORIGIN:
            begin = tl.load(origin + chain, mask=sequence >= 0, other=0)
        if (tokens > block * (BLOCK * C)) & (block >= begin):
            sweep_item(
                k, shrinks, feedback, anchor, initial, gain, entry, entry_rest, clipped, final, out, path, planes,
                factors, tolerance, opened, progress, first_chunk, chunks_per_sequence, rows, chains, sweeps, sweep,
                program, head, sequence, block, start, tokens, chain, begin, eta, d_min, d_max,
                H, K, C, BK, BLOCK, ROWS, AHEAD, HAS_GATE, HAS_ANCHOR, HAS_INITIAL, HAS_ORIGIN, BETA_AWARE, NORMALIZE,
                SCALE_KEY, KEEP, PACKED,
            )  # fmt: skip
        ticket = tl.atomic_add(progress, 1)


@triton.jit
def sweep_item(
    k, shrinks, feedback, anchor, initial, gain, entry, entry_rest, clipped, final, out, path, planes,
    factors, tolerance, opened, progress, first_chunk, chunks_per_sequence, rows, chains, sweeps, sweep,
    program, head, sequence, block, start, tokens, chain, begin, eta, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
    AHEAD: tl.constexpr, HAS_GATE: tl.constexpr, HAS_ANCHOR: tl.constexpr, HAS_INITIAL: tl.constexpr,
    HAS_ORIGIN: tl.constexpr, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr,
    KEEP: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """One block in one sweep; the last program of a sequence and head joins its blocks for the next."""
    arrived, ready, before = enter_sweep(progress, sweep, chain, sweeps, chains)
    if before == ENDED:
        leave(ready, ENDED)
    else:
        left = tokens - block * (BLOCK * C)
        feature = tl.arange(0, BK)
        known = feature < K
        slot = sequence * chunks_per_sequence
        if PACKED:
            slot = tl.load(first_chunk + sequence)
        c = tl.zeros([BK], tl.float32)
        if HAS_ANCHOR:
            c = tl.load(anchor + chain * K + feature, mask=known, other=0.0)
        own = program.to(tl.int64) * K + feature
        size = rows.to(tl.int64) * K
        d, rest = load_pair(planes, WANTED, own, size, known & (sweep > 0))
        moved = norm_of(apart(planes, WANTED, own, WALKED, own, size, known & (sweep > 0)))
        follows = known & (sweep > 0) & (block > begin)
        gap = norm_of(apart(planes, EXIT, own - H * K, WALKED, own, size, follows))
        allowed = tl.load(tolerance + chain, mask=sweep > 0, other=0.0)
        settled = (sweep > 0) & (moved <= allowed)
        blocks = tl.cdiv(tokens, BLOCK * C)
        last = sweep + 1 >= tl.minimum(allowed_sweeps(blocks), sweeps)
        if (settled == 0) | ((gap <= 4.0 * allowed) == 0):
            tl.store(opened + sweep * chains + chain, 1)
        if sweep == 0:
            # The first block is entered with what is known; of the others this is a guess.
            d = tl.full([BK], 1.0, tl.float32)
            if HAS_INITIAL:
                d = tl.load(initial + chain * K + feature, mask=known, other=0.0)
            if HAS_ORIGIN:
                reached = ((slot + begin * BLOCK).to(tl.int64) * H + head) * K + feature
                at_begin = known & (block == begin) & (begin > 0)
                rest = tl.load(entry_rest + reached, mask=at_begin, other=0.0)
                reached = tl.load(entry + reached, mask=known & (begin > 0), other=0.0)
                d = tl.where(begin > 0, reached, d)
            if HAS_GATE:
                d = tl.where(block > begin, clip_to(c, d_min, d_max), d)
        if (sweep == 0) | ((settled == 0) & (last == 0)):
            walk_block(
                d, rest, c, k, shrinks, feedback, gain, entry, entry_rest, clipped, final, out, path, planes, factors,
                program, (slot + block * BLOCK).to(tl.int64) * H + head,
                (start + block * (BLOCK * C)).to(tl.int64) * H + head, left, chain, size, rows, eta, d_min, d_max,
                H, K, C, BK, BLOCK, ROWS, HAS_GATE, HAS_ANCHOR, BETA_AWARE, NORMALIZE, SCALE_KEY, KEEP,
            )  # fmt: skip
        if arrive(arrived) + 1 == blocks - begin:
            goes_on = goes_on_after(opened, sweep, chain, sweeps, chains, blocks - begin, last)
            if goes_on:
                join_blocks(
                    planes, factors, tolerance + chain, program - block * H, begin, blocks, size, rows, eta, d_min,
                    d_max, H, K, BK, AHEAD,
                )  # fmt: skip
            leave(ready, tl.where(goes_on, GOES_ON, ENDED))


@triton.jit
def load_map(planes, factors, row, size, rows, follows, H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr):
    """What was walked from in a block, with its rest, how far what it hands on lies from what the next was walked from,
    and its map."""
    feature = tl.arange(0, BK)
    known = feature < K
    cells = row.to(tl.int64) * K + feature
    walked, rest = load_pair(planes, WALKED, cells, size, known)
    gap = apart(planes, EXIT, cells, WALKED, cells + H * K, size, known & follows)
    excess = tl.load(planes + EXCESS * size + cells, mask=known, other=0.0)
    low = tl.load(planes + LOW * size + cells, mask=known, other=0.0)
    high = tl.load(planes + HIGH * size + cells, mask=known, other=0.0)
    common = tl.load(planes + COMMON * size + cells, mask=known, other=0.0)
    own = tl.load(planes + OWN * size + cells, mask=known, other=0.0)
    slope = tl.load(factors + row)
    kappa = tl.load(factors + rows + row)
    return walked, rest, gap, excess, low, high, common, own, slope, kappa


@triton.jit
def join_blocks(
    planes, factors, tolerance, row, begin, blocks, size, rows, eta, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    """Entries of every block from the maps of those before, as deviations from what was walked: small, so exact.

    `row` is that of the sequence's block 0. Of the next blocks' maps some are on their way.
    """
    feature = tl.arange(0, BK)
    y = tl.zeros([BK], tl.float32)
    reach, farthest, strongest = 0.0, 0.0, 0.0
    for block in tl.range(begin, blocks, num_stages=AHEAD):
        walked, rest, gap, excess, low, high, common, own, slope, kappa = load_map(
            planes, factors, row + block * H, size, rows, block + 1 < blocks, H, K, BK
        )
        # The first block keeps what it was walked from.
        wanted = tl.where(block > begin, clip_to(walked + y, d_min, d_max), walked)
        rest += y - (wanted - walked)
        cells = (row + block * H).to(tl.int64) * K + feature
        tl.store(planes + WANTED * size + cells, wanted, mask=feature < K)
        tl.store(planes + (WANTED + 1) * size + cells, rest, mask=feature < K)
        reach = lengthen(reach, slope, kappa)
        farthest = tl.maximum(farthest, reach)
        strongest = tl.maximum(strongest, kappa)
        passed = slope * (y + answer(y, common, own, eta)) + excess
        y = tl.minimum(high, tl.maximum(low, passed)) + gap
    certified = strongest <= 1.0
    tl.store(tolerance, tl.where(certified, TOLERANCE / (1.0 + farthest), -1.0))


@triton.jit
def settled_blocks(
    planes, tolerance, chain, at, begin, blocks, size, known, H: tl.constexpr, K: tl.constexpr
):  # fmt: skip
    """The first block that has not settled, by what the last sweep looked at; `at` is the row of block 0."""
    allowed = tl.load(tolerance + chain)
    reached = begin + 0
    settled = True
    for block in range(begin, blocks):
        own = at + block * (H * K)
        moved = norm_of(apart(planes, WANTED, own, WALKED, own, size, known))
        gap = norm_of(apart(planes, EXIT, own - H * K, WALKED, own, size, known & (block > begin)))
        settled = settled & (moved <= allowed) & (gap <= 4.0 * allowed)
        reached += settled.to(tl.int32)
    return reached


@autotune(configurations(warps=(1,)), ["K", "C", "HAS_GATE"])
@triton.jit(do_not_specialize=UNSPECIALIZED)
def unsettled_kernel(
    k, shrinks, feedback, anchor, initial, gain, entry, entry_rest, clipped, final, out, path, planes, tolerance,
    opened, origin,
    bounds, first, first_block, length, rows, chains, sweeps, eta, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
    HAS_GATE: tl.constexpr, HAS_ANCHOR: tl.constexpr, HAS_INITIAL: tl.constexpr, HAS_ORIGIN: tl.constexpr,
    BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr, KEEP: tl.constexpr,
    PACKED: tl.constexpr,
):  # fmt: skip
    """Sequences that sweeps left open, from the first block that has not settled on; empty ones hand on their start."""
    chain = tl.program_id(0)
    head = chain % H
    start, tokens, slot, chunks = sequence_of(chain // H, bounds, first, length, C, PACKED)
    settled = tl.load(opened + (sweeps - 1) * chains + chain, mask=sweeps > 1, other=0) == 0
    if settled & (tokens > 0):
        return
    feature = tl.arange(0, BK)
    known = feature < K
    own = chain.to(tl.int64) * K + feature
    c = tl.zeros([BK], tl.float32)
    if HAS_ANCHOR:
        c = tl.load(anchor + own, mask=known, other=0.0)
    d = tl.full([BK], 1.0, tl.float32)
    if HAS_INITIAL:
        d = tl.load(initial + own, mask=known, other=0.0)
    rest = tl.zeros([BK], tl.float32)
    block = 0
    if tokens > 0:
        _, _, blocks_before, blocks = sequence_of(chain // H, bounds, first_block, length, BLOCK * C, PACKED)
        at = (blocks_before.to(tl.int64) * H + head) * K + feature
        size = rows.to(tl.int64) * K
        begin = 0
        if HAS_ORIGIN:
            begin = tl.load(origin + chain)
        block = settled_blocks(planes, tolerance, chain, at, begin, blocks, size, known, H, K)
        # From what was really handed on, whatever the maps say.
        d, rest = load_pair(planes, EXIT, at + (block - 1) * (H * K), size, known & (block > begin))
        if block == begin:
            d, rest = load_pair(planes, WALKED, at + block * (H * K), size, known & (block < blocks))
    place = (start + block * (BLOCK * C)).to(tl.int64) * H + head
    item = (slot + block * BLOCK).to(tl.int64) * H + head
    left = tokens - block * (BLOCK * C)
    slope = tl.full([], 1.0, tl.float32)
    for _ in range(block * BLOCK, chunks):
        tl.store(entry + item * K + feature, d, mask=known)
        tl.store(entry_rest + item * K + feature, rest, mask=known)
        d, rest, _, _, _, _, _, _, _, hit = walk_chunk(
            d, rest, c, rest, rest, rest, slope, rest, rest, slope, k, shrinks, feedback, gain, out, path, place,
            left, eta, d_min, d_max, H, K, C, BK, ROWS, HAS_GATE, HAS_ANCHOR, BETA_AWARE, NORMALIZE, SCALE_KEY, KEEP,
            False,
        )  # fmt: skip
        tl.store(clipped + item, tl.max((known & (hit != 0)).to(tl.int32), 0).to(tl.int8))
        place += C * H
        item += H
        left -= C
    tl.store(final + own, d, mask=known & ((left < tokens) | (tokens == 0)))


def sweep(
    k: Tensor, shrinks: Tensor | None, feedback: Tensor | None, anchor: Tensor | None, initial: Tensor | None,
    chunks: Chunks, origin: Tensor | None, busy: Tensor | None, targets: tuple[Tensor | None, ...],
    numbers: tuple[float, float, float], options: dict[str, int | bool],
) -> Tensor:  # fmt: skip
    """Walk every sequence from block `origin` [N, H] on (0 where None); returns `Sweeps.opened`.

    busy [1] int32: 0 where there is nothing to walk; None without `origin`.

    shrinks [B, T, H] float32: gamma_t - 1. `targets`: gain, entry and its rest, clipped, final, out, path. `numbers`:
    eta, d_min and d_max. `options`: constants of the kernels.
    """
    heads, dim = k.shape[2:]
    blocks = blocks_of(chunks)
    rows, chains = blocks.slots * heads, chunks.sequences * heads
    most = most_sweeps(chunks.length, chunks.size)
    state = Sweeps(
        k.new_empty(PLANES, rows, dim, dtype=torch.float32),
        k.new_empty(2, rows, dtype=torch.float32),
        k.new_empty(chains, dtype=torch.float32),
        torch.zeros(most, chains, dtype=torch.int32, device=k.device),
        origin,
    )
    given = (k, shrinks, feedback, anchor, initial, *targets)
    sizes = {"H": heads, "K": dim, "C": chunks.size, "ROWS": ROWS, "BK": tile(dim)}
    if rows:
        sweep_kernel[(rows,)](
            *given, *state, progress_of(most, chains, k), busy, *blocks.pointers, chunks.first, blocks.length,
            blocks.per_sequence, chunks.per_sequence, rows, chains, most, *numbers, **sizes, BLOCK=BLOCK,
            AHEAD=AHEAD, HAS_ORIGIN=origin is not None, **options,
        )  # fmt: skip
    unsettled_kernel[(chains,)](
        *given, state.planes, state.tolerance, state.opened, origin, chunks.bounds, chunks.first, blocks.first,
        chunks.length, rows, chains, most, *numbers, **sizes, BLOCK=BLOCK, HAS_ORIGIN=origin is not None, **options,
    )  # fmt: skip
    return state.opened.view(most, chunks.sequences, heads)
