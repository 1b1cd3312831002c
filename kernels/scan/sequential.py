"""Every chunk of a sequence stepped token by token: what is held against all other ways."""

import triton
import triton.language as tl
from torch import Tensor

from ..launch.sequences import Chunks, sequence_of
from ..launch.tuning import autotune, configurations
from .calls import Gains, ScanCall, rule_numbers
from .tokens import step_tokens


# One warp holds the row: sums over features then need no exchange between warps.
@autotune(configurations(warps=(1,)), ["K", "HAS_GATE"])
@triton.jit
def sequential_kernel(
    k, g, feedback, anchor, initial, gain, entry, clipped, final, out, path, bounds, first, length,
    eta, eta_rest, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, HAS_INITIAL: tl.constexpr, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr,
    SCALE_KEY: tl.constexpr, KEEP: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    head = program % H
    start, tokens, slot, chunks = sequence_of(program // H, bounds, first, length, C, PACKED)
    feature = tl.arange(0, BK)
    known = feature < K
    own = program.to(tl.int64) * K + feature
    d = tl.full([BK], 1.0, tl.float64)
    if HAS_INITIAL:
        d = tl.load(initial + own, mask=known, other=0.0).to(tl.float64)
    c = tl.zeros([BK], tl.float64)
    if HAS_ANCHOR:
        c = tl.load(anchor + own, mask=known, other=0.0).to(tl.float64)
    place = start.to(tl.int64) * H + head
    item = slot.to(tl.int64) * H + head
    left = tokens
    for _ in range(chunks):
        tl.store(entry + item * K + feature, d.to(tl.float32), mask=known)
        tl.store(clipped + item, 1)
        count = tl.minimum(left, C).to(tl.int32)
        d = step_tokens(
            d, c, k, g, feedback, gain, out, path, place, count, eta, eta_rest, d_min, d_max,
            H, K, BK, HAS_GATE, BETA_AWARE, NORMALIZE, SCALE_KEY, KEEP, 1,
        )  # fmt: skip
        place += C * H
        item += H
        left -= C
    tl.store(final + own, d.to(tl.float32), mask=known)


def step_chunks(scan: ScanCall, initial: Tensor | None, gains: Gains, chunks: Chunks) -> Gains:
    """All `gains`, entries and the d handed on, and the rows that `scan` has written where chunks are stepped."""
    sequential_kernel[(chunks.sequences * scan.k.shape[2],)](
        scan.k, scan.g, scan.feedback, scan.anchor, initial, *gains[:4], scan.out, scan.path, chunks.bounds,
        chunks.first, chunks.length, *rule_numbers(scan.rule), **scan.constants(chunks, initial),
    )  # fmt: skip
    return gains._replace(written=True)
