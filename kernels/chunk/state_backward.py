"""The reverse chain of the memory's gradient, chunk by chunk (T12, differentiated)."""

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
from .state import KEY

CHAIN = (
    configurations([{"BV": 64}], warps=(4,), stages=(3, 1))
    + configurations([{"BV": 128}], warps=(8,), stages=(3, 2))
    + configurations([{"BV": 32}], warps=(4,), stages=(3,))
    + unrolled(BV=32)
)
"""As in the forward pass; what is left out is at most 2 % faster anywhere on an H100 (`measured/tuning.csv`)."""


@autotune(CHAIN, KEY)
@triton.jit
def memory_backward_kernel(
    q, write_key, w, sums, rests, grad_o, grad_states, grad_x, grad_final, grad_initial, bounds, first, length, scale,
    crowd,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr,
    HAS_FINAL: tl.constexpr, HAS_INITIAL: tl.constexpr, PACKED: tl.constexpr, STATE_GATE: tl.constexpr,
    PRECISION: tl.constexpr,
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
    by_erase_t = row[None, :] * (H * K) + key[:, None]
    by_value = row[:, None] * (H * V) + value[None, :]
    grad = tl.zeros([BK, BV], tl.float32)
    if HAS_FINAL:
        grad = tl.load(grad_final + program.to(tl.int64) * (K * V) + cell, mask=in_cell, other=0.0).to(
            tl.float32
        )
    dtype = grad_x.dtype.element_ty
    for back in range(chunks):
        i = chunks - 1 - back
        leaving = grad.to(dtype)
        tl.store(grad_states + ((slot + i) * H + head).to(tl.int64) * (K * V) + cell, leaving, mask=in_cell)
        token = (start + i * C).to(tl.int64) * H + head
        key_token = (start + i * C).to(tl.int64) * (H // G) + head // G
        valid = row < tokens - i * C
        in_row_t = valid[None, :] & in_key[:, None]
        in_out = valid[:, None] & in_value[None, :]
        keys = tl.load(write_key + key_token * K + by_key, mask=valid[:, None] & in_key[None, :], other=0.0)
        queries = tl.load(q + key_token * K + by_key_t, mask=in_row_t, other=0.0)
        erase = tl.load(w + token * K + by_erase_t, mask=in_row_t, other=0.0)
        output = tl.load(grad_o + token * V + by_value, mask=in_out, other=0.0)
        later = row[:, None] <= row[None, :]
        overlap = dot(keys, queries, PRECISION) * scale
        if STATE_GATE == 1:
            since, rest = load_sums(sums, rests, token + row * H, valid)
            last = token + (tl.minimum(tokens - i * C, C) - 1) * H
            kept, total = decay_to_end(sums, rests, since, rest, last)
            overlap *= decay_tile(-since, -rest, -since, -rest)
        overlap = tl.where(later, overlap, 0.0).to(dtype)
        write = dot(overlap, output, PRECISION)
        handed_back = dot(keys, leaving, PRECISION)
        if STATE_GATE == 1:
            handed_back *= kept[:, None]
        write += handed_back
        tl.store(grad_x + token * V + by_value, write.to(dtype), mask=in_out)
        scaled = output.to(tl.float32) * scale
        if STATE_GATE == 1:
            scaled *= tl.exp(since)[:, None]
            grad = fade(grad, total, STATE_GATE)
        scaled = scaled.to(dtype)
        grad += dot(queries, scaled, PRECISION)
        grad += dot(erase, (-write).to(dtype), PRECISION)
    if HAS_INITIAL:
        tl.store(grad_initial + program.to(tl.int64) * (K * V) + cell, grad, mask=in_cell)


def read_backward(
    q: Tensor, write_key: Tensor, w: Tensor, gates: GateSums, grad_o: Tensor, grad_final: Tensor | None, chunks: Chunks,
    scale: float, *, initial: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
    """Gradients of the states leaving each chunk [slots, H, K, V], of X [B, T, H, V], and of the initial states."""
    heads, key_dim, value_dim = *w.shape[2:], grad_o.shape[-1]
    programs = chunks.sequences * heads
    grad_states = w.new_empty(chunks.slots, heads, key_dim, value_dim)
    grad_x = torch.empty_like(grad_o)
    grad_initial = (
        w.new_empty(chunks.sequences, heads, key_dim, value_dim, dtype=torch.float32) if initial else None
    )
    memory_backward_kernel[lambda meta: (programs, triton.cdiv(value_dim, meta["BV"]))](
        q, write_key, w, *gates, grad_o, grad_states, grad_x, grad_final, grad_initial,
        chunks.bounds, chunks.first, chunks.length, scale, crowd_of(programs),
        H=heads, G=heads // write_key.shape[2], K=key_dim, V=value_dim, C=chunks.size, BK=tile(key_dim),
        HAS_FINAL=grad_final is not None, HAS_INITIAL=initial, PACKED=chunks.packed,
        STATE_GATE=gates.kind, PRECISION=operand_precision(w.dtype),
    )  # fmt: skip
    return grad_states, grad_x, grad_initial
