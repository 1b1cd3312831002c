"""The chunk's triangular system: write keys, and the inverse of I + A, A = tril(diag(beta) K K~^T, -1) (T12).

Everything that does not need the memory, for all chunks at once. Where the memory is gated (T17), the product of the
gates after token j up to token t is a factor of A_tj.
"""

import triton
import triton.language as tl
from torch import Tensor

from ..launch.dots import choose, dot
from ..launch.following import (
    APART,
    Signals,
    end_after_leader,
    following,
    report_one,
    slot_of,
    wait_until,
)
from ..launch.runtime import IN_INTERPRETER, inverse_precision, operand_precision
from ..launch.sequences import Chunks, chunk_of
from ..launch.tuning import autotune, configurations, unrolled
from ..scan.iterates import decay, decays, gate_sums
from .blocks import fade_blocks, meet_blocks
from .decays import GateSums, load_sums
from .overlaps import fill_overlaps
from .rows import load_rows, store_row, store_rows
from .triangular import inverse_64
from .write_keys import IDENTITY, WriteKeys


@triton.jit
def block_keys(
    k,
    gain,
    gate,
    entry,
    anchor,
    stored,
    stepped,
    KEYS: tl.constexpr,
    HAS_GATE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write keys of 16 tokens, the preconditioner of each (all the first if KEYS is 1), and the one they hand on.

    `entry`, and what is handed on, as `first_entry` has it. That is the same sum as the tokens' own, over all of them:
    as a product it lies in registers as these do, where sums over rows would be exchanged between lanes.
    """
    write_key, handed_on, d = k, entry, entry
    key = k.to(tl.float32)
    if KEYS == 1:
        write_key = (key * d).to(k.dtype)
    if KEYS == 2:
        row = tl.arange(0, 16)
        earlier = row[:, None] > row[None, :]
        moves = key * key
        if HAS_GATE:
            before, after, total = gate_sums(gate)
            to_later = tl.where(earlier, decays(before, after) * gain[None, :], 0.0)
            to_next = tl.broadcast_to((gain * decay(total - after))[None, :], [16, 16])
            offset = entry - anchor[None, :]
            # Products in TF32 would want keys transposed in shared memory; the interpreter has neither.
            FORMED: tl.constexpr = (
                "ieee" if IN_INTERPRETER else "bf16x3" if PRECISION == "tf32" else PRECISION
            )
            d = anchor[None, :] + decay(before)[:, None] * offset + dot(to_later, moves, FORMED)
            handed_on = anchor[None, :] + decay(total) * offset + dot(to_next, moves, FORMED)
        else:
            moves *= gain[:, None]
            # The interpreter has no TF32, and parts in its place would lose more than it does.
            CHOSEN: tl.constexpr = "ieee" if IN_INTERPRETER else PRECISION
            d = entry + choose(earlier.to(tl.float32), moves, CHOSEN)
            handed_on = entry + choose(tl.full([16, 16], 1.0, tl.float32), moves, CHOSEN)
        write_key = tl.where(stepped, stored, (d * key).to(k.dtype))
    return write_key, d, handed_on


@triton.jit
def first_entry(entry, column, inside, KEYS: tl.constexpr):
    """The preconditioner that a chunk is entered with, of some features, for 16 tokens each."""
    d = tl.zeros([column.shape[0]], tl.float32)
    if KEYS == 1 or KEYS == 2:
        d = tl.load(entry + column, mask=inside, other=0.0)
    return tl.broadcast_to(d[None, :], [16, column.shape[0]])


# One program per chunk and head works on 16-row blocks, whose products run on single warps: few warps, narrow key
# blocks and many programs per multiprocessor hide the latency of the inverse's chain of small products.
@autotune(
    configurations([{"BK": 32}], warps=(1,)) + unrolled(4, BK=32),
    ["K", "C", "KEYS", "STATE_GATE"],
)
@triton.jit
def solve_kernel(
    q, k, beta, sums, rests, gate, gain, entry, anchor, clipped, write_key, system, inverse, overlap, path, flag,
    progress, done, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    KEYS: tl.constexpr, KEEP: tl.constexpr, HAS_GATE: tl.constexpr, HAS_ANCHOR: tl.constexpr, PACKED: tl.constexpr,
    STATE_GATE: tl.constexpr, READ: tl.constexpr, AGAIN: tl.constexpr, BEHIND: tl.constexpr, PRECISION: tl.constexpr,
    INVERSE: tl.constexpr,
):  # fmt: skip
    """Behind a chain, whose `progress` [N, H // G] says how many chunks' gains are there, or, without one, behind the
    memory (BEHIND). That sees in `done` [slots, H // G], if it waits, how many of a chunk's G systems are there; with
    READ what a read meets is in `overlap` then. AGAIN does nothing where `flag` is 0."""
    if AGAIN:  # noqa: SIM102 -- nested, because `flag` is None otherwise
        if tl.load(flag) == 0:
            return
    program = tl.program_id(0)
    slot = slot_of(program // H, per_sequence, H, BEHIND)
    head = program % H
    last = program == tl.num_programs(0) - 1
    sequence, chunk, start, tokens = chunk_of(slot, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tokens - chunk * C
    if left <= 0:
        return
    left = tl.minimum(left, C)
    if BEHIND and progress is not None:
        leader = (sequence * (H // G) + head // G) * APART
        if wait_until(progress + leader + tl.arange(0, 1), chunk + 1, flag):
            if done is not None:
                report_one(done + slot * (H // G) + head // G)
            if last:
                end_after_leader()
            return
    token = (start + chunk * C).to(tl.int64) * H + head
    # Keys, and the preconditioner with them, are those of a group of G heads; the first writes what they share.
    key_head, key_heads = head // G, H // G
    key_token = (start + chunk * C).to(tl.int64) * key_heads + key_head
    key_item = slot * key_heads + key_head
    key_stride = key_heads * K
    row0 = tl.arange(0, 16)
    row1, row2, row3 = row0 + 16, row0 + 32, row0 + 48
    in0, in1, in2, in3 = row0 < left, row1 < left, row2 < left, row3 < left
    strict = row0[:, None] > row0[None, :]
    k += key_token * K
    write_key += key_token * K
    g0 = tl.zeros([16], tl.float32)
    g1, g2, g3, u0, u1, u2, u3 = g0, g0, g0, g0, g0, g0, g0
    stepped = False
    if KEYS == 2:
        u0 = tl.load(gain + key_token + row0 * key_heads, mask=in0, other=0.0)
        u1 = tl.load(gain + key_token + row1 * key_heads, mask=in1, other=0.0)
        u2 = tl.load(gain + key_token + row2 * key_heads, mask=in2, other=0.0)
        u3 = tl.load(gain + key_token + row3 * key_heads, mask=in3, other=0.0)
        stepped = tl.load(clipped + key_item) != 0
        entry += key_item.to(tl.int64) * K
    if HAS_ANCHOR:
        anchor += (sequence * key_heads + key_head) * K
    if KEYS == 1:
        entry += (sequence * key_heads + key_head) * K
    if HAS_GATE:
        g0 = tl.load(gate + key_token + row0 * key_heads, mask=in0, other=0.0).to(tl.float32)
        g1 = tl.load(gate + key_token + row1 * key_heads, mask=in1, other=0.0).to(tl.float32)
        g2 = tl.load(gate + key_token + row2 * key_heads, mask=in2, other=0.0).to(tl.float32)
        g3 = tl.load(gate + key_token + row3 * key_heads, mask=in3, other=0.0).to(tl.float32)
    a00 = tl.zeros([16, 16], tl.float32)
    a10, a11, a20, a21, a22, a30, a31, a32, a33 = a00, a00, a00, a00, a00, a00, a00, a00, a00
    if STATE_GATE == 2:
        system += token * C
        a00 = load_rows(system, row0, in0, H * C, row0, row0 < C)
        a10 = load_rows(system, row1, in1, H * C, row0, row0 < C)
        a11 = load_rows(system, row1, in1, H * C, row1, row1 < C)
        a20 = load_rows(system, row2, in2, H * C, row0, row0 < C)
        a21 = load_rows(system, row2, in2, H * C, row1, row1 < C)
        a22 = load_rows(system, row2, in2, H * C, row2, row2 < C)
        a30 = load_rows(system, row3, in3, H * C, row0, row0 < C)
        a31 = load_rows(system, row3, in3, H * C, row1, row1 < C)
        a32 = load_rows(system, row3, in3, H * C, row2, row2 < C)
        a33 = load_rows(system, row3, in3, H * C, row3, row3 < C)
    for i in range(tl.cdiv(K, BK) if STATE_GATE < 2 else 0):
        column = i * BK + tl.arange(0, BK)
        inside = column < K
        d = first_entry(entry, column, inside, KEYS)
        c = tl.zeros([BK], tl.float32)
        if HAS_ANCHOR:
            c = tl.load(anchor + column, mask=inside, other=0.0)
        k0 = load_rows(k, row0, in0, key_stride, column, inside)
        k1 = load_rows(k, row1, in1, key_stride, column, inside)
        k2 = load_rows(k, row2, in2, key_stride, column, inside)
        k3 = load_rows(k, row3, in3, key_stride, column, inside)
        x0, x1, x2, x3 = k0, k1, k2, k3
        if KEYS == 3:
            x0 = load_rows(write_key, row0, in0, key_stride, column, inside)
            x1 = load_rows(write_key, row1, in1, key_stride, column, inside)
            x2 = load_rows(write_key, row2, in2, key_stride, column, inside)
            x3 = load_rows(write_key, row3, in3, key_stride, column, inside)
        if KEYS == 2:
            x0 = load_rows(write_key, row0, in0 & stepped, key_stride, column, inside)
            x1 = load_rows(write_key, row1, in1 & stepped, key_stride, column, inside)
            x2 = load_rows(write_key, row2, in2 & stepped, key_stride, column, inside)
            x3 = load_rows(write_key, row3, in3 & stepped, key_stride, column, inside)
        if KEYS == 1 or KEYS == 2:
            x0, d0, d = block_keys(k0, u0, g0, d, c, x0, stepped, KEYS, HAS_GATE, PRECISION)
            x1, d1, d = block_keys(k1, u1, g1, d, c, x1, stepped, KEYS, HAS_GATE, PRECISION)
            x2, d2, d = block_keys(k2, u2, g2, d, c, x2, stepped, KEYS, HAS_GATE, PRECISION)
            x3, d3, d = block_keys(k3, u3, g3, d, c, x3, stepped, KEYS, HAS_GATE, PRECISION)
            solved = inside & (stepped == 0)
            # Whoever reads them below has written them: all heads write the same.
            if G > 1 and READ == 0:
                solved = solved & (head % G == 0)
            store_rows(write_key, row0, in0, key_stride, column, solved, x0)
            store_rows(write_key, row1, in1, key_stride, column, solved, x1)
            store_rows(write_key, row2, in2, key_stride, column, solved, x2)
            store_rows(write_key, row3, in3, key_stride, column, solved, x3)
            if KEEP:
                store_rows(path + key_token * K, row0, in0, key_stride, column, solved, d0)
                store_rows(path + key_token * K, row1, in1, key_stride, column, solved, d1)
                store_rows(path + key_token * K, row2, in2, key_stride, column, solved, d2)
                store_rows(path + key_token * K, row3, in3, key_stride, column, solved, d3)
        y0, y1, y2, y3 = tl.trans(x0), tl.trans(x1), tl.trans(x2), tl.trans(x3)
        a00, a10, a11, a20, a21, a22, a30, a31, a32, a33 = meet_blocks(
            a00, a10, a11, a20, a21, a22, a30, a31, a32, a33, k0, k1, k2, k3, y0, y1, y2, y3, PRECISION,
        )  # fmt: skip
    b0 = tl.load(beta + token + row0 * H, mask=in0, other=0.0).to(tl.float32)
    b1 = tl.load(beta + token + row1 * H, mask=in1, other=0.0).to(tl.float32)
    b2 = tl.load(beta + token + row2 * H, mask=in2, other=0.0).to(tl.float32)
    b3 = tl.load(beta + token + row3 * H, mask=in3, other=0.0).to(tl.float32)
    if STATE_GATE == 1:
        s0, r0 = load_sums(sums, rests, token + row0 * H, in0)
        s1, r1 = load_sums(sums, rests, token + row1 * H, in1)
        s2, r2 = load_sums(sums, rests, token + row2 * H, in2)
        s3, r3 = load_sums(sums, rests, token + row3 * H, in3)
        a00, a10, a11, a20, a21, a22, a30, a31, a32, a33 = fade_blocks(
            a00, a10, a11, a20, a21, a22, a30, a31, a32, a33, s0, s1, s2, s3, r0, r1, r2, r3,
        )  # fmt: skip
    i00, i10, i11, i20, i21, i22, i30, i31, i32, i33 = inverse_64(
        tl.where(strict, a00 * b0[:, None], 0.0), a10 * b1[:, None],
        tl.where(strict, a11 * b1[:, None], 0.0), a20 * b2[:, None], a21 * b2[:, None],
        tl.where(strict, a22 * b2[:, None], 0.0), a30 * b3[:, None], a31 * b3[:, None], a32 * b3[:, None],
        tl.where(strict, a33 * b3[:, None], 0.0), INVERSE,
    )  # fmt: skip
    zero = tl.zeros([16, 16], tl.float32)
    inverse += token * C
    store_row(inverse, row0, in0, H, C, i00, zero, zero, zero)
    store_row(inverse, row1, in1, H, C, i10, i11, zero, zero)
    store_row(inverse, row2, in2, H, C, i20, i21, i22, zero)
    store_row(inverse, row3, in3, H, C, i30, i31, i32, i33)
    if READ:
        tl.debug_barrier()
        fill_overlaps(
            q + key_token * K, write_key, overlap + token * C, sums + token, rests if rests is None else rests + token,
            left, key_stride, H, K, C, BK, PRECISION,
        )  # fmt: skip
    if BEHIND:
        if done is not None:
            report_one(done + key_item)
        if last:
            end_after_leader()


def solve(
    k: Tensor, beta: Tensor, gates: GateSums, keys: WriteKeys, chunks: Chunks, system: Tensor | None = None,
    inverse: Tensor | None = None, q: Tensor | None = None, overlap: Tensor | None = None, *,
    again: Tensor | None = None, signals: Signals | None = None,
) -> Tensor:  # fmt: skip
    """Rows of every chunk's (I + A)^-1, [B, T, H, C], in `inverse` where given. With `q` also, in `overlap`
    [B, T, H, C], of what a read meets, decays and all, of a memory gated by head.

    With `signals` behind a chain, or the memory; with `again` [1] only where that is not 0.

    system [B, T, H, C] float32: A without its factor beta, where gates are per feature (`feature.pairs`). Otherwise
    fills `keys.out` with the write keys of chunks that did not clip, and `keys.path`, if there, with their d_t, unless
    the scan has.
    """
    heads = beta.shape[2]
    if inverse is None:
        inverse = k.new_empty(*beta.shape, chunks.size)
    if system is not None:
        keys = WriteKeys(IDENTITY, keys.out)
    flag, progress, done = again, None, None
    if signals is not None:
        flag, progress, done = signals.busy, signals.progress, signals.solved
    solve_kernel[(chunks.slots * heads,)](
        q, k, beta, gates.sums, gates.rests, keys.gate, keys.gain, keys.entry, keys.anchor, keys.clipped, keys.out,
        system, inverse, overlap, keys.path, flag, progress, done,
        *chunks.pointers, chunks.length, chunks.per_sequence,
        H=heads, G=heads // k.shape[2], K=k.shape[3], C=chunks.size, **keys.constants, PACKED=chunks.packed,
        STATE_GATE=gates.kind, READ=q is not None, AGAIN=again is not None, BEHIND=signals is not None,
        PRECISION=operand_precision(k.dtype), INVERSE=inverse_precision(k.dtype),
        **({} if signals is None else following(k.device)),
    )  # fmt: skip
    return inverse
