"""Where the clip binds in sequences that are swept, replayed from the gains: what their adjoints are linear by."""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...launch.runtime import cdiv
from ...launch.sequences import Chunks, chunk_of, sequence_of
from ...launch.tuning import autotune, configurations
from .walk import clip_to

ROWS = 16
"""Tokens whose keys are loaded together, and that share a word of the clip's pattern."""

WHOLE: tl.constexpr = tl.constexpr((1 << ROWS) - 1)
"""A word of the clip's pattern where nothing clipped."""


class Swept(NamedTuple):
    """What sequences that are swept meet, ROWS tokens at a time; [slots, H, C / ROWS, K].

    - `pattern`, int32: Bit j: whether the clip passes at token j.
    - `starts`, `exits`, float32: d - c at the first of the tokens, and the adjoint after the last.
    """

    pattern: Tensor
    starts: Tensor
    exits: Tensor


@autotune(configurations(warps=(4,)), ["H"])
@triton.jit
def mark_kernel(
    clipped, swept, busy, bounds, first, length, H: tl.constexpr, C: tl.constexpr, PACKED: tl.constexpr
):
    """1 for every chunk of a sequence and head in which some chunk clipped, and in `busy` where there is any."""
    chain = tl.program_id(0)
    _, _, slot, chunks = sequence_of(chain // H, bounds, first, length, C, PACKED)
    clipped += slot.to(tl.int64) * H + chain % H
    swept += slot.to(tl.int64) * H + chain % H
    row = tl.arange(0, 128)
    # Flags are gathered as numbers row by row and reduced once: reduced in the loop as integers, ptxas 12.8 reads a
    # uniform register that nothing has written.
    flags = tl.zeros([128], tl.float32)
    for base in range(0, chunks, 128):
        found = tl.load(clipped + (base + row) * H, mask=base + row < chunks, other=0)
        flags = tl.maximum(flags, found.to(tl.float32))
    found = tl.max(flags, 0).to(tl.int8)
    tl.store(busy, 1, mask=found != 0)
    for base in range(0, chunks, 128):
        tl.store(swept + (base + row) * H, found, mask=base + row < chunks)


@triton.jit
def replay_token(d, rest, c, s, u, shrink, d_min, d_max, HAS_GATE: tl.constexpr):
    """(d_{t+1}, its rest, whether the clip passes) at a gain that is known; shrink = gamma_t - 1."""
    step = u * s + rest
    if HAS_GATE:
        step += shrink * (d - c)
    moved = d + step
    rest = step - (moved - d)
    # With the rest: whether a feature on a face is pushed out of the box shows below half an ulp as well.
    passes = ((moved - d_min) + rest >= 0.0) & ((moved - d_max) + rest <= 0.0)
    return clip_to(moved, d_min, d_max), tl.where(passes, rest, 0.0), passes


@triton.jit
def replay(
    d, rest, c, k, shrinks, gain, place, count, d_min, d_max, H: tl.constexpr, K: tl.constexpr, feature,
    ROWS: tl.constexpr, HAS_GATE: tl.constexpr,
):  # fmt: skip
    """d and its rest after up to ROWS tokens, of which `count` are there, and bit j where token j did not clip."""
    word = tl.zeros(d.shape, tl.int32)
    for j in tl.static_range(ROWS):
        inside = j < count
        key = tl.load(k + (place + j * H) * K + feature, mask=(feature < K) & inside, other=0.0).to(
            tl.float32
        )
        u = tl.load(gain + place + j * H, mask=inside, other=0.0)
        shrink = 0.0
        if HAS_GATE:
            shrink = tl.load(shrinks + place + j * H, mask=inside, other=0.0)
        d, rest, passes = replay_token(d, rest, c, key * key, u, shrink, d_min, d_max, HAS_GATE)
        word |= tl.where(passes, 1 << j, 0)
    return d, rest, word


@autotune(configurations([{"BK": 64}], warps=(1,)), ["K", "C", "HAS_GATE"])
@triton.jit
def pattern_kernel(
    k, shrinks, anchor, gain, entry, entry_rest, swept, pattern, starts,
    bounds, first, owner, length, per_sequence, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, ROWS: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """For each ROWS tokens where the clip passes, a word [K], and the d - c they are entered with.

    pattern [slots, H, C / ROWS, K] int32, starts [slots, H, C / ROWS, K] float32.
    """
    program = tl.program_id(0)
    head = program % H
    sequence, chunk, start, tokens = chunk_of(
        program // H, bounds, first, owner, length, per_sequence, C, PACKED
    )
    left = tokens - chunk * C
    if left <= 0:
        return
    if tl.load(swept + program) == 0:
        return
    feature = tl.program_id(1) * BK + tl.arange(0, BK)
    known = feature < K
    d = tl.load(entry + program.to(tl.int64) * K + feature, mask=known, other=0.0)
    rest = tl.load(entry_rest + program.to(tl.int64) * K + feature, mask=known, other=0.0)
    c = tl.zeros([BK], tl.float32)
    if HAS_ANCHOR:
        c = tl.load(anchor + (sequence * H + head) * K + feature, mask=known, other=0.0)
    place = (start + chunk * C).to(tl.int64) * H + head
    for group in range(C // ROWS):
        at = (program.to(tl.int64) * (C // ROWS) + group) * K + feature
        tl.store(starts + at, (d - c) + rest, mask=known)
        d, rest, word = replay(
            d, rest, c, k, shrinks, gain, place, left, d_min, d_max, H, K, feature, ROWS, HAS_GATE
        )
        tl.store(pattern + at, word, mask=known)
        place += ROWS * H
        left -= ROWS


def mark_swept(clipped: Tensor, chunks: Chunks) -> tuple[Tensor, Tensor]:
    """[slots, H] int8, 1 for chunks of sequences and heads in which some chunk clipped; [1] int32, 1 where any did."""
    swept = torch.zeros_like(clipped) if chunks.packed else torch.empty_like(clipped)
    busy = torch.zeros(1, dtype=torch.int32, device=clipped.device)
    heads = clipped.shape[1]
    mark_kernel[(chunks.sequences * heads,)](
        clipped,
        swept,
        busy,
        chunks.bounds,
        chunks.first,
        chunks.length,
        H=heads,
        C=chunks.size,
        PACKED=chunks.packed,
    )
    return swept, busy


def find_pattern(
    k: Tensor, shrinks: Tensor | None, anchor: Tensor | None, gain: Tensor, entries: Tensor, swept: Tensor,
    chunks: Chunks, box: tuple[float, float],
) -> Swept:  # fmt: skip
    """What sequences marked in `swept` meet; `exits` is for `sweep_back` to fill."""
    heads, dim = k.shape[2:]
    shape = (chunks.slots, heads, chunks.size // ROWS, dim)
    make: dict[str, Any] = {"dtype": torch.float32, "device": k.device}
    met = Swept(
        torch.empty(shape, dtype=torch.int32, device=k.device),
        torch.empty(shape, **make),
        torch.empty(shape, **make),
    )

    def grid(meta: dict[str, int]) -> tuple[int, int]:
        return chunks.slots * heads, cdiv(dim, meta["BK"])

    if chunks.slots * heads:
        pattern_kernel[grid](
            k, shrinks, anchor, gain, *entries, swept, met.pattern, met.starts, *chunks.pointers, chunks.length,
            chunks.per_sequence, *box,
            H=heads, K=dim, C=chunks.size, ROWS=ROWS, HAS_GATE=shrinks is not None,
            HAS_ANCHOR=shrinks is not None and anchor is not None, PACKED=chunks.packed,
        )  # fmt: skip
    return met
