"""The memory from chunk to chunk (T12): X = T (V - K H), H+ = H + K~^T X; the read O = scale (Q H + tril(Q K~^T) X).

T = (I + A)^-1 diag(beta) meets the chunk's residuals V - K H, so that neither T K nor T V is ever formed, and what is
rounded is small where the residuals are. Where the memory is gated (T17), with D_tj the product of the gates after
token j up to token t, D_t0 that of all up to t, and the gates after t up to the chunk's last token C:
X = T (V - D_t0 K H), O = scale (D_t0 Q H + (D * tril(Q K~^T)) X), H+ = D_C0 H + K~^T D_Ct X.
Decays for each key feature stand inside these products: Q, K and K~ come with them folded in, as does the overlap
(see `feature`), and D_C0 alone is left.

The forward pass reads inside the chain, so that neither the states nor X go through global memory, but for the few
states at cuts (`stretches`). The backward pass forms both again and keeps them, from all cuts at once.
"""

import triton
import triton.language as tl
from torch import Tensor

from ..launch import gluon
from ..launch.descriptors import copies_on_hopper, copies_tiles, load_tile, rows_of
from ..launch.dots import dot
from ..launch.following import (
    Signals,
    agree_whether,
    begin_followers,
    end_after_leader,
    following,
    wait_until,
)
from ..launch.runtime import cdiv, operand_precision, tile
from ..launch.sequences import Chunks, sequence_of
from ..launch.tuning import autotune, configurations, crowd_of, unrolled
from ..recurrent.gates import fade
from .decays import (
    ENTERED,
    KEPT,
    RATE,
    GateSums,
    decays_between_tokens,
    fade_features,
    load_fading,
    load_scalars,
    pick,
)

if gluon.KNOWN:
    from .hopper import hopper_memory_kernel

# The chain over chunks is sequential. With many sequences and heads one program holds all of V, so that keys are read
# once; the memory is then transposed (FLIP), the left operand of its products, which stays in registers. With few,
# narrow value blocks fill the multiprocessors and shorten each step. Stages prefetch the next chunk's tiles: as many as
# there is shared memory for. One stage is for keys that are too wide for more.
CHAIN = (
    configurations([{"BV": 128, "FLIP": True}], warps=(8,), stages=(3,))
    + configurations([{"BV": 128, "FLIP": True}], warps=(8,), stages=(2,))
    + configurations([{"BV": 64, "FLIP": True}], warps=(4,), stages=(3,))
    + configurations([{"BV": 64, "FLIP": False}], warps=(4,), stages=(3,))
    + configurations([{"BV": 32, "FLIP": False}, {"BV": 16, "FLIP": False}], warps=(4,), stages=(3,))
    + configurations([{"BV": 64, "FLIP": False}], warps=(4,), stages=(1,))
    + unrolled(BV=32, FLIP=False)
)
KEY = ["K", "V", "C", "crowd", "STATE_GATE", "SAME", "BULK"]
"""The last two decide how much shared memory a configuration takes, and so whether a multiprocessor has room for it."""

MOST_BESIDE = 64
"""Programs of a memory beside other launches, at most: each takes most of a multiprocessor's shared memory."""

GROUP: tl.constexpr = tl.constexpr(32)
"""Chunks whose systems such a memory waits for at once: as many as a warp has threads, at most (`wait_until`)."""


@triton.jit
def down(x, FLIP: tl.constexpr):
    """Numbers by token or key feature beside a block whose columns are value features, its rows with FLIP."""
    return x[None, :] if FLIP else x[:, None]


@triton.jit
def across(x, FLIP: tl.constexpr):
    """Numbers by value feature beside such a block."""
    return x[:, None] if FLIP else x[None, :]


@triton.jit
def times(x, block, FLIP: tl.constexpr, PRECISION: tl.constexpr):
    """x @ block; with FLIP both block and result are transposed."""
    return dot(block, tl.trans(x), PRECISION) if FLIP else dot(x, block, PRECISION)


@triton.jit
def tokens_of(
    i, start, tokens, head, row, in_key, in_value, H: tl.constexpr, G: tl.constexpr, C: tl.constexpr,
    FLIP: tl.constexpr,
):  # fmt: skip
    """Where chunk i of a sequence lies: its first token among value heads and among key heads, which rows are there,
    masks of rows of keys and of values, and its first row."""
    token = (start + i * C).to(tl.int64) * H + head
    key_token = (start + i * C).to(tl.int64) * (H // G) + head // G
    valid = row < tokens - i * C
    in_row = valid[:, None] & in_key[None, :]
    in_out = down(valid, FLIP) & across(in_value, FLIP)
    return token, key_token, valid, in_row, in_out, (tokens * 0 + i * C).to(tl.int32)


@autotune(CHAIN, [*KEY, "READ", "BESIDE"])
@triton.jit
def memory_kernel(
    q, k, write_key, v, beta, inverse, sums, rests, scalars, overlaps, o, states, cuts, x, initial, final, flag,
    solved, bounds, first, length, stride, every, parts, scale, crowd,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr, FLIP: tl.constexpr,
    READ: tl.constexpr, KEEP: tl.constexpr, CUT: tl.constexpr, HAS_INITIAL: tl.constexpr, HAS_FINAL: tl.constexpr,
    PACKED: tl.constexpr, STATE_GATE: tl.constexpr, BULK: tl.constexpr, SAME: tl.constexpr, AGAIN: tl.constexpr,
    BESIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Beside the launch that finds the chunks' systems (BESIDE), which begins once all programs of this one have, their
    `solved` [slots, H // G] says how many of each chunk's G are there. AGAIN does nothing where `flag` is 0."""
    if BESIDE > 0:
        begin_followers()
    if AGAIN:  # noqa: SIM102 -- nested, because `flag` is None otherwise
        if tl.load(flag) == 0:
            return
    program = tl.program_id(0)
    head = program % H
    start, tokens, slot, chunks = sequence_of(program // H, bounds, first, length, C, PACKED, stride)
    row = tl.arange(0, C)
    key = tl.arange(0, BK)
    value = tl.program_id(1) * BV + tl.arange(0, BV)
    in_key, in_value = key < K, value < V
    cell = down(key * V, FLIP) + across(value, FLIP)
    in_cell = down(in_key, FLIP) & across(in_value, FLIP)
    by_key = row[:, None] * (H // G * K) + key[None, :]
    by_row = row[:, None] * (H * C) + row[None, :]
    by_value = down(row * (H * V), FLIP) + across(value, FLIP)
    memory = tl.zeros(cell.shape, tl.float32)
    if HAS_INITIAL:
        memory = tl.load(initial + program.to(tl.int64) * (K * V) + cell, mask=in_cell, other=0.0)
    entered = chunks * 0
    if CUT and READ == 0:
        piece = tl.program_id(2)
        entered = tl.minimum(entered + piece * every, chunks)
        reached = ((piece - 1) * tl.num_programs(0) + program).to(tl.int64)
        kept = tl.load(cuts + reached * (K * V) + cell, mask=in_cell & (piece > 0), other=0.0)
        memory = tl.where(piece > 0, kept, memory)
    dtype = v.dtype.element_ty
    # The read's products by token pairs stand by its reader, or transposed by its writer.
    side: tl.constexpr = -1.0 if FLIP else 1.0
    here = start.to(tl.int64) * H + head
    numbers, total = load_scalars(
        beta, scalars, here + entered * (C * H), tokens - entered * C, H, C, STATE_GATE
    )
    fading = load_fading(sums, here + entered * (C * H), tokens - entered * C, key, H, K, C, STATE_GATE)
    key_here = start.to(tl.int64) * (H // G) + head // G
    all_keys, all_writes, all_queries = None, None, None
    all_values, all_inverse, all_overlaps = None, None, None
    # Beside overlaps there is no room for wide blocks of them.
    BULK_VALUES: tl.constexpr = BULK and (STATE_GATE < 2 or BV < 128)
    if BULK:
        all_keys = rows_of(k + key_here * K, tokens, H // G * K, K, C, BK)
        all_writes = rows_of(write_key + key_here * K, tokens, H // G * K, K, C, BK)
        all_values = rows_of(v + here * V, tokens, H * V, V, C, BV)
        all_inverse = rows_of(inverse + here * C, tokens, H * C, C, C, C)
        if READ:
            all_queries = rows_of(q + key_here * K, tokens, H // G * K, K, C, BK)
            if STATE_GATE == 2:
                all_overlaps = rows_of(overlaps + here * C, tokens, H * C, C, C, C)
    # A loop inside a loop: a branch inside a single one keeps its loads from running ahead.
    for part in range(parts if CUT and READ else 1):
        begin, end = entered, chunks
        if CUT:
            begin += part * every
            end = tl.minimum(begin + every, chunks)
        for group in range(tl.cdiv(end - begin, GROUP) if BESIDE > 0 else 1):
            near, far = begin, end
            if BESIDE > 0:
                near += group * GROUP
                far = tl.minimum(near + GROUP, end)
                item = tl.minimum(near + tl.arange(0, GROUP), far - 1)
                wait_until(solved + (slot + item) * (H // G) + head // G, G, flag)
                if agree_whether(flag):
                    far = near
            for i in range(near, far):
                entering = memory.to(dtype)
                token, key_token, valid, in_row, in_out, at = tokens_of(
                    i, start, tokens, head, row, in_key, in_value, H, G, C, FLIP
                )
                keys = load_tile(all_keys, at, 0, k + key_token * K + by_key, in_row, BULK)
                writes = keys
                if not SAME:
                    writes = load_tile(all_writes, at, 0, write_key + key_token * K + by_key, in_row, BULK)
                target = load_tile(
                    all_values, at, tl.program_id(1) * BV, v + token * V + by_value, in_out, BULK_VALUES
                )
                # Descriptors know rows by token alone.
                if BULK_VALUES and FLIP:
                    target = tl.trans(target)
                target = target.to(tl.float32)
                ahead = load_scalars(beta, scalars, token + C * H, tokens - (i + 1) * C, H, C, STATE_GATE)
                later = load_fading(sums, token + C * H, tokens - (i + 1) * C, key, H, K, C, STATE_GATE)
                solve = load_tile(all_inverse, at, 0, inverse + token * C + by_row, valid[:, None], BULK)
                if READ:
                    queries = load_tile(all_queries, at, 0, q + key_token * K + by_key, in_row, BULK)
                    if STATE_GATE == 2:
                        by_pair = down(row * (H * C), FLIP) + across(row, FLIP)
                        overlap = load_tile(
                            all_overlaps, at, 0, overlaps + token * C + by_pair, down(valid, FLIP), BULK
                        )
                        if BULK and FLIP:
                            overlap = tl.trans(overlap)
                    else:
                        overlap = times(queries, writes if FLIP else tl.trans(writes), FLIP, PRECISION)
                        if STATE_GATE == 1:
                            overlap *= decays_between_tokens(
                                numbers, rests, token, tokens - i * C, side, H, C
                            )
                        overlap = tl.where(down(row, FLIP) >= across(row, FLIP), overlap, 0.0).to(dtype)
                known = times(keys, entering, FLIP, PRECISION)
                if STATE_GATE == 1:
                    known *= down(pick(numbers, ENTERED), FLIP)
                missing = (down(pick(numbers, RATE), FLIP) * (target - known)).to(dtype)
                found = times(solve, missing, FLIP, PRECISION)
                written = found.to(dtype)
                if READ:
                    out = times(queries, entering, FLIP, PRECISION)
                    if STATE_GATE == 1:
                        out *= down(pick(numbers, ENTERED), FLIP)
                    out += dot(written, overlap, PRECISION) if FLIP else dot(overlap, written, PRECISION)
                    tl.store(o + token * V + by_value, (out * scale).to(dtype), mask=in_out)
                if KEEP:
                    held = memory if READ else entering
                    tl.store(
                        states + ((slot + i) * H + head).to(tl.int64) * (K * V) + cell, held, mask=in_cell
                    )
                if READ == 0:
                    own = start if PACKED else (program // H).to(tl.int64) * length
                    tl.store(x + ((own + i * C).to(tl.int64) * H + head) * V + by_value, written, mask=in_out)
                if STATE_GATE == 1:
                    memory = fade(memory, total, STATE_GATE)
                    written = (found * down(pick(numbers, KEPT), FLIP)).to(dtype)
                if STATE_GATE == 2:
                    memory = fade_features(memory, fading, FLIP)
                numbers, total = ahead
                fading = later
                memory += times(tl.trans(writes), written, FLIP, PRECISION)
        if CUT and READ:  # noqa: SIM102 -- nested, because `cuts` is None otherwise
            if part < parts - 1:
                at = (part * tl.num_programs(0) + program).to(tl.int64)
                tl.store(cuts + at * (K * V) + cell, memory, mask=in_cell)
    if HAS_FINAL:
        tl.store(final + program.to(tl.int64) * (K * V) + cell, memory, mask=in_cell)
    if BESIDE > 0:
        end_after_leader()


def width_beside(programs: int, value_dim: int) -> int:
    """Value features of blocks that fill at most half of a large GPU."""
    widths = (16, 32, 64, 128)
    return next((width for width in widths if programs * cdiv(value_dim, width) <= MOST_BESIDE), widths[-1])


def suits_hopper(programs: int, key_dim: int, value_dim: int, size: int) -> bool:
    """Whether `hopper` has a kernel of these sizes, and so few programs that these are what a call waits for."""
    few = programs * cdiv(value_dim, 64) <= 2 * MOST_BESIDE
    return gluon.KNOWN and few and size == 64 and tile(key_dim) in (64, 128) and tile(value_dim) >= 32


def wants_overlaps(k: Tensor, v: Tensor, gates: GateSums, chunks: Chunks) -> bool:
    """Whether what a read meets is found with the systems, and not by the memory's own programs: for a memory gated by
    head with so few of these that each waits for its products. Where many copy tiles, these would be more to copy."""
    heads, value_dim = v.shape[2:]
    suits = suits_hopper(chunks.sequences * heads, k.shape[3], value_dim, chunks.size)
    return gates.kind == 1 and suits and copies_on_hopper(k, v)


def launch_memory(
    q: Tensor | None, k: Tensor, write_key: Tensor, v: Tensor, beta: Tensor, inverse: Tensor, gates: GateSums,
    overlap: Tensor | None, o: Tensor | None, states: Tensor | None, cuts: Tensor | None, x: Tensor | None,
    initial: Tensor | None, final: Tensor | None, chunks: Chunks, scale: float, every: int | None = None,
    *, again: Tensor | None = None, signals: Signals | None = None,
) -> None:  # fmt: skip
    """With `o`, states at cuts are written; without, they are what the pieces between them start from, all at once.

    `overlap` [B, T, HV, C] where gates are per feature; where the memory is gated by head it may be given as well.
    With `signals` beside the launch that finds the systems, for which it leaves room on the GPU; with `again` [1] only
    where that is not 0.
    """
    key_dim, (heads, value_dim) = k.shape[3], v.shape[2:]
    programs = chunks.sequences * heads
    parts = 1 if cuts is None else len(cuts) + 1
    if parts == 1:
        cuts = None
    pieces = parts if o is None else 1
    crowd = crowd_of(programs * pieces)
    flag, solved = (again, None) if signals is None else (signals.busy, signals.solved)
    sizes = (chunks.bounds, chunks.first, chunks.length, chunks.stride, every, parts, scale, crowd)
    constants = {
        "H": heads, "G": heads // k.shape[2], "K": key_dim, "V": value_dim, "C": chunks.size, "BK": tile(key_dim),
        "CUT": cuts is not None, "HAS_INITIAL": initial is not None, "HAS_FINAL": final is not None,
        "PACKED": chunks.packed, "STATE_GATE": gates.kind, "SAME": write_key.data_ptr() == k.data_ptr(),
        "AGAIN": again is not None, "BESIDE": 0 if signals is None else width_beside(programs, value_dim),
        **({} if signals is None or signals.progress is None else following(v.device)),
    }  # fmt: skip
    tiles = (k, write_key, v, inverse, q, overlap)
    reads = o is not None and states is None and suits_hopper(programs, key_dim, value_dim, chunks.size)
    if reads and copies_on_hopper(*tiles):
        hopper_memory_kernel[lambda meta: (programs, cdiv(value_dim, meta["BV"]))](
            q, k, write_key, v, beta, inverse, gates.sums, gates.scalars, overlap, o, cuts, initial, final, flag,
            solved, *sizes, **constants,
        )  # fmt: skip
        return
    # Beside gates per feature narrow blocks are faster without: 1,505 microseconds for 1,750 (H200, T 65536).
    bulk = (not gates.per_feature or crowd > 0) and copies_tiles(*tiles)
    memory_kernel[lambda meta: (programs, cdiv(value_dim, meta["BV"]), pieces)](
        q, k, write_key, v, beta, inverse, *gates, overlap, o, states, cuts, x, initial, final, flag, solved,
        *sizes, **constants, READ=o is not None, KEEP=states is not None, BULK=bulk,
        PRECISION=operand_precision(v.dtype),
    )  # fmt: skip


def keep_states(
    k: Tensor, write_key: Tensor, v: Tensor, beta: Tensor, inverse: Tensor, gates: GateSums, initial: Tensor | None,
    chunks: Chunks, cuts: Tensor | None = None, every: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The states that the chunks enter with [slots, H, K, V], and X [B, T, H, V]; of a stretch, X is of its own T.

    Those of every `every`-th chunk but the first are known: `cuts` [pieces - 1, N, H, K, V] float32.
    """
    states = v.new_empty(chunks.slots, v.shape[2], k.shape[3], v.shape[3])
    return states, form_x(k, write_key, v, beta, inverse, gates, initial, chunks, states, cuts, every)


def form_x(
    k: Tensor, write_key: Tensor, v: Tensor, beta: Tensor, inverse: Tensor, gates: GateSums, initial: Tensor | None,
    chunks: Chunks, states: Tensor | None = None, cuts: Tensor | None = None, every: int | None = None,
) -> Tensor:  # fmt: skip
    """X alone, or with the states kept in `states`; from `cuts` as in `keep_states`."""
    x = v.new_empty(v.shape)
    launch_memory(
        None, k, write_key, v, beta, inverse, gates, None, None, states, cuts, x, initial, None, chunks, 1.0, every
    )  # fmt: skip
    return x
