"""Rows with their decays folded in, for a memory with a gate for each key feature (T17).

With G_t the sums of a chunk's log gates up to token t [K], queries and keys meet the memory that the chunk enters with
as e^{G_t} q_t and e^{G_t} k_t, and what is written reaches the chunk's end C as e^{G_C - G_t} k~_t. The memory's chain
takes these in the place of q, k and k~, and fades feature by feature; no factor is above 1.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from ...launch.sequences import Chunks, chunk_of
from ...launch.tuning import autotune, configurations
from ..decays import GateSums, decay_between, exponential, load_sums
from ..wy import load_rows, store_rows


class Folded(NamedTuple):
    """Rows by value head, [B, T, HV, K], in the inputs' dtype.

    - `q`, `k`: e^{G_t} q_t and e^{G_t} k_t.
    - `write_key`: e^{G_C - G_t} k~_t.
    """

    q: Tensor
    k: Tensor
    write_key: Tensor


def new_folded(like: Tensor, gates: GateSums) -> Folded:
    """Memory for them."""
    assert gates.sums is not None
    return Folded(*(like.new_empty(gates.sums.shape) for _ in Folded._fields))


@triton.jit
def store_folded(
    folded_q, folded_k, folded_write, queries, keys, writes, since, rest, total, total_rest, row, valid, stride,
    column, inside,
):  # fmt: skip
    """Fold and store rows of a block; `total` [1, BK] are the sums at the chunk's last token."""
    entered = exponential(since)
    kept = decay_between(total, total_rest, since, rest)
    dtype = folded_q.dtype.element_ty
    store_rows(folded_q, row, valid, stride, column, inside, (queries * entered).to(dtype))
    store_rows(folded_k, row, valid, stride, column, inside, (keys * entered).to(dtype))
    store_rows(folded_write, row, valid, stride, column, inside, (writes * kept).to(dtype))


@autotune(configurations([{"BK": 32}, {"BK": 64}], warps=(2,)), ["K", "C"])
@triton.jit
def fold_kernel(
    q, k, write_key, sums, rests, folded_q, folded_k, folded_write, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) % H
    _, chunk, start, tokens = chunk_of(
        tl.program_id(0) // H, bounds, first, owner, length, per_sequence, C, PACKED
    )
    left = tl.minimum(tokens - chunk * C, C)
    if left <= 0:
        return
    column = tl.program_id(1) * BK + tl.arange(0, BK)
    inside = column < K
    token = (start + chunk * C).to(tl.int64) * H + head
    key_token = (start + chunk * C).to(tl.int64) * (H // G) + head // G
    last = (token + (left - 1) * H) * K + column[None, :]
    total, total_rest = load_sums(sums, rests, last, inside[None, :])
    for block in range(tl.cdiv(left, 16)):
        row = block * 16 + tl.arange(0, 16)
        valid = row < left
        queries = load_rows(q + key_token * K, row, valid, H // G * K, column, inside)
        keys = load_rows(k + key_token * K, row, valid, H // G * K, column, inside)
        writes = load_rows(write_key + key_token * K, row, valid, H // G * K, column, inside)
        cell = (token + row[:, None] * H) * K + column[None, :]
        since, rest = load_sums(sums, rests, cell, valid[:, None] & inside[None, :])
        store_folded(
            folded_q + token * K, folded_k + token * K, folded_write + token * K, queries, keys, writes, since, rest,
            total, total_rest, row, valid, H * K, column, inside,
        )  # fmt: skip


def fold(q: Tensor, k: Tensor, write_key: Tensor, gates: GateSums, chunks: Chunks) -> Folded:
    """The folded rows, as `pairs.pair` forms them beside what it does."""
    folded = new_folded(k, gates)
    heads, key_dim = folded.q.shape[2:]
    fold_kernel[lambda meta: (chunks.slots * heads, triton.cdiv(key_dim, meta["BK"]))](
        q, k, write_key, *gates, *folded, *chunks.pointers, chunks.length, chunks.per_sequence,
        H=heads, G=heads // k.shape[2], K=key_dim, C=chunks.size, PACKED=chunks.packed,
    )  # fmt: skip
    return folded
