"""Every d_t of the chunks in which none clips, from what each is entered with and its gains."""

import triton
import triton.language as tl
from torch import Tensor

from ..launch.runtime import cdiv, exact_precision
from ..launch.sequences import Chunks, chunk_of
from ..launch.tuning import autotune, configurations
from .calls import Gains
from .iterates import iterate_tile


# Tiles of [C, BK] with one product each; more warps where the tile is wide.
@autotune(configurations([{"BK": 64}, {"BK": 128}], warps=(4, 8)), ["K", "C", "HAS_GATE"])
@triton.jit
def expand_kernel(
    k, g, anchor, gain, entry, clipped, out, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    slot = program // H
    head = program % H
    sequence, chunk, start, tokens = chunk_of(slot, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tokens - chunk * C
    if left <= 0:
        return
    if tl.load(clipped + program) != 0:
        return
    row = tl.arange(0, C)
    inside = row < left
    place = (start + chunk * C).to(tl.int64) * H + head
    u = tl.load(gain + place + row * H, mask=inside, other=0.0)
    gate = tl.zeros([C], tl.float32)
    if HAS_GATE:
        gate = tl.load(g + place + row * H, mask=inside, other=0.0).to(tl.float32)
    feature = tl.program_id(1) * BK + tl.arange(0, BK)
    known = feature < K
    d = tl.load(entry + program.to(tl.int64) * K + feature, mask=known, other=0.0)
    c = tl.zeros([BK], tl.float32)
    if HAS_ANCHOR:
        c = tl.load(anchor + (sequence * H + head) * K + feature, mask=known, other=0.0)
    rows = place * K + row[:, None] * (H * K) + feature[None, :]
    mask = inside[:, None] & known[None, :]
    key = tl.load(k + rows, mask=mask, other=0.0).to(tl.float32)
    met = iterate_tile(key * key, u, gate, d, c, C, HAS_GATE, PRECISION)
    tl.store(out + rows, met.to(out.dtype.element_ty), mask=mask)


def expand(
    k: Tensor, g: Tensor | None, anchor: Tensor | None, chunks: Chunks, gains: Gains, out: Tensor
) -> None:
    """Write the d_t that `scan_forward` did not into out [B, T, H, K]."""
    heads, dim = k.shape[2:]
    if gains.written or chunks.slots * heads == 0:
        return

    def grid(meta: dict[str, int]) -> tuple[int, int]:
        return chunks.slots * heads, cdiv(dim, meta["BK"])

    expand_kernel[grid](
        k, g, anchor, gains.gain, gains.entries, gains.clipped, out, *chunks.pointers, chunks.length,
        chunks.per_sequence,
        H=heads, K=dim, C=chunks.size, HAS_GATE=g is not None, HAS_ANCHOR=anchor is not None, PACKED=chunks.packed,
        PRECISION=exact_precision(k.dtype),
    )  # fmt: skip
