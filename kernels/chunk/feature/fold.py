"""Rows with their decays folded in, for a memory with a gate for each key feature (T17).

With G_t the sums of a chunk's log gates up to token t [K], queries and keys meet the memory that the chunk enters with
as e^{G_t} q_t and e^{G_t} k_t, and what is written reaches the chunk's end C as e^{G_C - G_t} k~_t. The memory's chain
takes these in the place of q, k and k~, and fades feature by feature; no factor is above 1.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from ...launch.following import APART, Signals, end_after_leader, following, slot_of, wait_until
from ...launch.runtime import cdiv, operand_precision
from ...launch.sequences import Chunks, chunk_of
from ...launch.tuning import autotune, configurations
from ..decays import GateSums, decay_between, exponential, load_sums
from ..rows import load_rows, store_rows
from ..write_keys import WriteKeys
from ..wy import block_keys, first_entry


class Folded(NamedTuple):
    """Rows by value head, [B, T, HV, K], in the inputs' dtype.

    - `q`, `k`: e^{G_t} q_t and e^{G_t} k_t.
    - `write_key`: e^{G_C - G_t} k~_t.
    """

    q: Tensor
    k: Tensor
    write_key: Tensor


# Blocks follow each other; `STAGES` lets the loads of the next run ahead, which those of the compiler's stages do only
# for what products take.
@autotune(
    configurations([{"BK": 64, "STAGES": 2}], warps=(4,), stages=(1,), registers=128)
    + configurations([{"BK": 64, "STAGES": 2}], warps=(4,), stages=(1,))
    + configurations([{"BK": 128, "STAGES": 3}], warps=(8,), stages=(1,))
    + configurations([{"BK": 32, "STAGES": 1}], warps=(2,), stages=(1,)),
    ["K", "C", "KEYS"],
)
@triton.jit
def fold_kernel(
    q, k, sums, rests, gate, gain, entry, anchor, clipped, write_key, path, folded_q, folded_k, folded_write, flag,
    progress, summed, bounds, first, owner, length, per_sequence, wanted,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
    KEYS: tl.constexpr, KEEP: tl.constexpr, HAS_GATE: tl.constexpr, HAS_ANCHOR: tl.constexpr, PACKED: tl.constexpr,
    AGAIN: tl.constexpr, BEHIND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Behind a chain (BEHIND), whose `progress` [N, H // G] says how many chunks' gains are there, and beside the sums
    of gates, of which `summed` [slots] says how many of `wanted` parts are. AGAIN does nothing where `flag` is 0."""
    if AGAIN:  # noqa: SIM102 -- nested, because `flag` is None otherwise
        if tl.load(flag) == 0:
            return
    head = tl.program_id(0) % H
    slot = slot_of(tl.program_id(0) // H, per_sequence, H, BEHIND)
    sequence, chunk, start, tokens = chunk_of(slot, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tl.minimum(tokens - chunk * C, C)
    if left <= 0:
        return
    if BEHIND:
        last = tl.program_id(0) + tl.program_id(1) == tl.num_programs(0) + tl.num_programs(1) - 2
        leader = (sequence * (H // G) + head // G) * APART
        wait_until(summed + slot + tl.arange(0, 1), wanted, flag)
        stopped = wait_until(progress + leader + tl.arange(0, 1), chunk + 1, flag)
        if last:
            end_after_leader()
        if stopped:
            return
    column = tl.program_id(1) * BK + tl.arange(0, BK)
    inside = column < K
    key_heads = H // G
    token = (start + chunk * C).to(tl.int64) * H + head
    key_token = (start + chunk * C).to(tl.int64) * key_heads + head // G
    key_item = slot * key_heads + head // G
    place = key_token * K
    stepped = False
    c = tl.zeros([BK], tl.float32)
    u = tl.zeros([16], tl.float32)
    g = tl.zeros([16], tl.float32)
    if KEYS == 1:
        entry += (sequence * key_heads + head // G) * K
    if KEYS == 2:
        stepped = tl.load(clipped + key_item) != 0
        entry += key_item.to(tl.int64) * K
    d = first_entry(entry, column, inside, KEYS)
    if HAS_ANCHOR:
        c = tl.load(anchor + (sequence * key_heads + head // G) * K + column, mask=inside, other=0.0)
    # Keys are those of a group of G heads; the first writes what they share.
    solved = inside & (stepped == 0) & (head % G == 0)
    last = (token + (left - 1) * H) * K + column[None, :]
    total, total_rest = load_sums(sums, rests, last, inside[None, :])
    folded_q, folded_k, folded_write = folded_q + token * K, folded_k + token * K, folded_write + token * K
    dtype = folded_q.dtype.element_ty
    for block in tl.range(0, tl.cdiv(left, 16), num_stages=STAGES):
        row = block * 16 + tl.arange(0, 16)
        valid = row < left
        queries = load_rows(q + place, row, valid, key_heads * K, column, inside)
        cell = (token + row[:, None] * H) * K + column[None, :]
        since, rest = load_sums(sums, rests, cell, valid[:, None] & inside[None, :])
        keys = load_rows(k + place, row, valid, key_heads * K, column, inside)
        writes = keys
        if KEYS == 3:
            writes = load_rows(write_key + place, row, valid, key_heads * K, column, inside)
        if KEYS == 2:
            writes = load_rows(write_key + place, row, valid & stepped, key_heads * K, column, inside)
            u = tl.load(gain + key_token + row * key_heads, mask=valid, other=0.0)
        if HAS_GATE:
            g = tl.load(gate + key_token + row * key_heads, mask=valid, other=0.0).to(tl.float32)
        if KEYS == 1 or KEYS == 2:
            writes, met, d = block_keys(keys, u, g, d, c, writes, stepped, KEYS, HAS_GATE, PRECISION)
            store_rows(write_key + place, row, valid, key_heads * K, column, solved, writes)
            if KEEP:
                store_rows(path + place, row, valid, key_heads * K, column, solved, met)
        entered = exponential(since)
        kept = decay_between(total, total_rest, since, rest)
        store_rows(folded_q, row, valid, H * K, column, inside, (queries * entered).to(dtype))
        store_rows(folded_k, row, valid, H * K, column, inside, (keys * entered).to(dtype))
        store_rows(folded_write, row, valid, H * K, column, inside, (writes * kept).to(dtype))


def new_folded(k: Tensor, gates: GateSums) -> Folded:
    assert gates.sums is not None
    return Folded(*(k.new_empty(gates.sums.shape) for _ in Folded._fields))


def fold(
    q: Tensor, k: Tensor, gates: GateSums, keys: WriteKeys, chunks: Chunks, folded: Folded | None = None, *,
    again: Tensor | None = None, signals: Signals | None = None,
) -> Folded:  # fmt: skip
    """The folded rows, in `folded` where given. Fills `keys.out` and `keys.path` as `wy.solve` does.

    With `signals` behind a chain and what sums the gates; with `again` [1] only where that is not 0.
    """
    if folded is None:
        folded = new_folded(k, gates)
    heads, key_dim = folded.q.shape[2:]
    flag, progress, summed = again, None, None
    if signals is not None:
        flag, progress, summed = signals.busy, signals.progress, signals.summed
    fold_kernel[lambda meta: (chunks.slots * heads, cdiv(key_dim, meta["BK"]))](
        q, k, gates.sums, gates.rests, keys.gate, keys.gain, keys.entry, keys.anchor, keys.clipped, keys.out, keys.path,
        *folded, flag, progress, summed, *chunks.pointers, chunks.length, chunks.per_sequence, gates.parts,
        H=heads, G=heads // k.shape[2], K=key_dim, C=chunks.size, **keys.constants, PACKED=chunks.packed,
        AGAIN=again is not None, BEHIND=signals is not None, PRECISION=operand_precision(k.dtype),
        **({} if signals is None else following(k.device)),
    )  # fmt: skip
    return folded
