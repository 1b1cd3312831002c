"""The memory from chunk to chunk (T12): X = U - W H, H+ = H + K~^T X, and the read O = scale (Q H + tril(Q K~^T) X).

Where it is gated (T17), with D_tj the product of the gates after token j up to token t, in D_t0 of all up to t, and C
the chunk's last token: O = scale (D_t0 Q H + tril(D_tj Q K~^T) X) and H+ = D_C0 H + K~^T D_Cj X.

The forward pass reads inside the chain, so that neither the states nor X go through global memory; the backward pass
forms both again and keeps them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch.dots import dot
from ..launch.runtime import operand_precision, tile
from ..launch.sequences import Chunks, sequence_of
from ..launch.tuning import autotune, configurations, crowd_of, unrolled
from ..recurrent.gates import fade
from .decays import GateSums, decay_tile, decay_to_end, load_sums

# The chain over chunks is sequential. With many sequences and heads one program should hold all of V, so that keys are
# read once; with few, narrow value blocks fill the multiprocessors and shorten each step. Stages prefetch the next
# chunk's tiles: as many as there is shared memory for, so that what is left out below is at most 2 % faster anywhere
# on an H100 (`benchmarks/measured/tuning.csv`). One stage is for keys that are too wide for more.
CHAIN = (
    configurations([{"BV": 64}], warps=(4,), stages=(3, 1))
    + configurations([{"BV": 128}], warps=(8,), stages=(3, 2))
    + configurations([{"BV": 32}], warps=(4,), stages=(3,))
    + unrolled(BV=32)
)
KEY = ["K", "V", "C", "crowd", "STATE_GATE"]


@autotune(CHAIN, [*KEY, "READ"])
@triton.jit
def memory_kernel(
    q, write_key, w, u, sums, rests, o, states, x, initial, final, bounds, first, length, scale, crowd,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr,
    READ: tl.constexpr, KEEP: tl.constexpr, HAS_INITIAL: tl.constexpr, HAS_FINAL: tl.constexpr, PACKED: tl.constexpr,
    STATE_GATE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    head = program % H
    start, tokens, slot, chunks = sequence_of(program // H, bounds, first, length, C, PACKED)
    row = tl.arange(0, C)
    key = tl.arange(0, BK)
    value = tl.program_id(1) * BV + tl.arange(0, BV)
    in_key, in_value = key < K, value < V
    cell = key[:, None] * V + value[None, :]
    in_cell = in_key[:, None] & in_value[None, :]
    by_key = row[:, None] * (H // G * K) + key[None, :]
    by_key_t = row[None, :] * (H // G * K) + key[:, None]
    by_erase = row[:, None] * (H * K) + key[None, :]
    by_value = row[:, None] * (H * V) + value[None, :]
    memory = tl.zeros([BK, BV], tl.float32)
    if HAS_INITIAL:
        memory = tl.load(initial + program.to(tl.int64) * (K * V) + cell, mask=in_cell, other=0.0)
    dtype = u.dtype.element_ty
    for i in range(chunks):
        entering = memory.to(dtype)
        token = (start + i * C).to(tl.int64) * H + head
        key_token = (start + i * C).to(tl.int64) * (H // G) + head // G
        valid = row < tokens - i * C
        in_row = valid[:, None] & in_key[None, :]
        in_out = valid[:, None] & in_value[None, :]
        erase = tl.load(w + token * K + by_erase, mask=in_row, other=0.0)
        target = tl.load(u + token * V + by_value, mask=in_out, other=0.0).to(tl.float32)
        keys = tl.load(write_key + key_token * K + by_key_t, mask=valid[None, :] & in_key[:, None], other=0.0)
        found = target - dot(erase, entering, PRECISION)
        written = found.to(dtype)
        if STATE_GATE == 1:
            since, rest = load_sums(sums, rests, token + row * H, valid)
        if READ:
            queries = tl.load(q + key_token * K + by_key, mask=in_row, other=0.0)
            causal = row[:, None] >= row[None, :]
            overlap = dot(queries, keys, PRECISION)
            if STATE_GATE == 1:
                overlap *= decay_tile(since, rest, since, rest)
            overlap = tl.where(causal, overlap, 0.0).to(dtype)
            out = dot(queries, entering, PRECISION)
            if STATE_GATE == 1:
                out *= tl.exp(since)[:, None]
            out += dot(overlap, written, PRECISION)
            tl.store(o + token * V + by_value, (out * scale).to(dtype), mask=in_out)
        if KEEP:
            held = memory if READ else entering
            tl.store(states + ((slot + i) * H + head).to(tl.int64) * (K * V) + cell, held, mask=in_cell)
        if READ == 0:
            tl.store(x + token * V + by_value, written, mask=in_out)
        if STATE_GATE == 1:
            last = token + (tl.minimum(tokens - i * C, C) - 1) * H
            kept, total = decay_to_end(sums, rests, since, rest, last)
            memory = fade(memory, total, STATE_GATE)
            written = (found * kept[:, None]).to(dtype)
        memory += dot(keys, written, PRECISION)
    if HAS_FINAL:
        tl.store(final + program.to(tl.int64) * (K * V) + cell, memory, mask=in_cell)


def launch_memory(
    q: Tensor | None, write_key: Tensor, w: Tensor, u: Tensor, gates: GateSums, o: Tensor | None,
    states: Tensor | None, x: Tensor | None, initial: Tensor | None, final: Tensor | None, chunks: Chunks, scale: float,
) -> None:  # fmt: skip
    heads, key_dim, value_dim = *w.shape[2:], u.shape[-1]
    programs = chunks.sequences * heads
    memory_kernel[lambda meta: (programs, triton.cdiv(value_dim, meta["BV"]))](
        q, write_key, w, u, *gates, o, states, x, initial, final, chunks.bounds, chunks.first, chunks.length, scale,
        crowd_of(programs), H=heads, G=heads // write_key.shape[2], K=key_dim, V=value_dim, C=chunks.size,
        BK=tile(key_dim), READ=o is not None, KEEP=states is not None,
        HAS_INITIAL=initial is not None, HAS_FINAL=final is not None, PACKED=chunks.packed,
        STATE_GATE=gates.kind, PRECISION=operand_precision(w.dtype),
    )  # fmt: skip


def read(
    q: Tensor, write_key: Tensor, w: Tensor, u: Tensor, gates: GateSums, initial: Tensor | None, states: Tensor | None,
    chunks: Chunks, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Outputs [B, T, H, V], and the final states [N, H, K, V] float32; those between go to `states` where given."""
    heads, key_dim, value_dim = *w.shape[2:], u.shape[-1]
    o = torch.empty_like(u)
    final = w.new_empty(chunks.sequences, heads, key_dim, value_dim, dtype=torch.float32)
    launch_memory(q, write_key, w, u, gates, o, states, None, initial, final, chunks, scale)
    return o, final


def keep_states(
    write_key: Tensor, w: Tensor, u: Tensor, gates: GateSums, initial: Tensor | None, chunks: Chunks
) -> tuple[Tensor, Tensor]:
    """The states that the chunks enter with [slots, H, K, V], and X [B, T, H, V]."""
    heads, key_dim, value_dim = *w.shape[2:], u.shape[-1]
    states = w.new_empty(chunks.slots, heads, key_dim, value_dim)
    x = torch.empty_like(u)
    launch_memory(None, write_key, w, u, gates, None, states, x, initial, None, chunks, 1.0)
    return states, x
