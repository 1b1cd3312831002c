"""The reverse chain of the memory's gradient, chunk by chunk (T12, differentiated).

With Y = diag(beta) (V - K H), what the chunk has missing, X = (I + A)^-1 Y. From the gradient of X, that of Y is
Z = (I + A)^-T dX, and the state's is dH = dH+ + scale Q^T dO - K^T diag(beta) Z: the chain needs neither W = T K nor
the residuals, and Z is what every other gradient of the chunk follows from (`gradients`).
"""

import triton
import triton.language as tl
from torch import Tensor

from ..launch.descriptors import copies_tiles, load_tile, rows_of
from ..launch.dots import dot
from ..launch.runtime import cdiv, operand_precision, single, tile
from ..launch.sequences import Chunks, sequence_of
from ..launch.tuning import autotune, crowd_of
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
from .state import CHAIN, KEY, across, down, times, tokens_of


@autotune(CHAIN, KEY)
@triton.jit
def memory_backward_kernel(
    q, k, write_key, beta, inverse, sums, rests, scalars, overlaps, grad_o, grad_states, grad_missing, grad_final,
    grad_initial, bounds, first, length, stride, scale, crowd,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr, FLIP: tl.constexpr,
    HAS_FINAL: tl.constexpr, HAS_INITIAL: tl.constexpr, PACKED: tl.constexpr, STATE_GATE: tl.constexpr,
    BULK: tl.constexpr, SAME: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
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
    # The read's products by token pairs stand by its writer, or transposed by its reader.
    side: tl.constexpr = 1.0 if FLIP else -1.0
    grad = tl.zeros(cell.shape, tl.float32)
    if HAS_FINAL:
        grad = tl.load(grad_final + program.to(tl.int64) * (K * V) + cell, mask=in_cell, other=0.0).to(
            tl.float32
        )
    dtype = grad_missing.dtype.element_ty
    here = (start + (chunks - 1) * C).to(tl.int64) * H + head
    left = tokens - (chunks - 1) * C
    numbers, total = load_scalars(beta, scalars, here, left, H, C, STATE_GATE)
    fading = load_fading(sums, here, left, key, H, K, C, STATE_GATE)
    own_here = start.to(tl.int64) * H + head
    key_here = start.to(tl.int64) * (H // G) + head // G
    all_keys, all_writes, all_queries, all_inverse = None, None, None, None
    if BULK:
        all_keys = rows_of(k + key_here * K, tokens, H // G * K, K, C, BK)
        all_writes = rows_of(write_key + key_here * K, tokens, H // G * K, K, C, BK)
        all_queries = rows_of(q + key_here * K, tokens, H // G * K, K, C, BK)
        all_inverse = rows_of(inverse + own_here * C, tokens, H * C, C, C, C)
    for back in range(chunks):
        i = chunks - 1 - back
        leaving = grad.to(dtype)
        if grad_states is not None:
            place = ((slot + i) * H + head).to(tl.int64) * (K * V)
            tl.store(grad_states + place + cell, leaving, mask=in_cell)
        token, key_token, valid, in_row, in_out, at = tokens_of(
            i, start, tokens, head, row, in_key, in_value, H, G, C, FLIP
        )
        writes = load_tile(all_writes, at, 0, write_key + key_token * K + by_key, in_row, BULK)
        queries = load_tile(all_queries, at, 0, q + key_token * K + by_key, in_row, BULK)
        output = tl.load(grad_o + token * V + by_value, mask=in_out, other=0.0)
        solve = load_tile(all_inverse, at, 0, inverse + token * C + by_row, valid[:, None], BULK)
        # Of no chunk before the first: nothing is left of it.
        sooner = tl.where(i > 0, tokens - (i - 1) * C, 0)
        ahead = load_scalars(beta, scalars, token - C * H, sooner, H, C, STATE_GATE)
        later = load_fading(sums, token - C * H, sooner, key, H, K, C, STATE_GATE)
        if STATE_GATE == 2:
            by_pair = across(row * (H * C), FLIP) + down(row, FLIP)
            overlap = tl.load(overlaps + token * C + by_pair, mask=across(valid, FLIP), other=0.0)
        else:
            overlap = times(writes, queries if FLIP else tl.trans(queries), FLIP, PRECISION) * scale
            if STATE_GATE == 1:
                overlap *= decays_between_tokens(numbers, rests, token, tokens - i * C, side, H, C)
            overlap = tl.where(down(row, FLIP) <= across(row, FLIP), overlap, 0.0).to(dtype)
        handed_back = times(writes, leaving, FLIP, PRECISION)
        if STATE_GATE == 1:
            handed_back *= down(pick(numbers, KEPT), FLIP)
        write = dot(output, overlap, PRECISION) if FLIP else dot(overlap, output, PRECISION)
        if STATE_GATE == 2:
            write *= scale
        write = (write + handed_back).to(dtype)
        missing = times(tl.trans(solve), write, FLIP, PRECISION)
        own = start if PACKED else (program // H).to(tl.int64) * length
        tl.store(
            grad_missing + ((own + i * C).to(tl.int64) * H + head) * V + by_value,
            missing.to(dtype),
            mask=in_out,
        )
        keys = writes
        if not SAME:
            keys = load_tile(all_keys, at, 0, k + key_token * K + by_key, in_row, BULK)
        scaled = output.to(tl.float32) * scale
        # Of Z as it is stored, so that whoever has but that finds the same.
        erased = missing.to(dtype).to(tl.float32) * down(-pick(numbers, RATE), FLIP)
        if STATE_GATE == 1:
            scaled *= down(pick(numbers, ENTERED), FLIP)
            erased *= down(pick(numbers, ENTERED), FLIP)
            grad = fade(grad, total, STATE_GATE)
        if STATE_GATE == 2:
            grad = fade_features(grad, fading, FLIP)
        numbers, total = ahead
        fading = later
        grad += times(tl.trans(queries), scaled.to(dtype), FLIP, PRECISION)
        grad += times(tl.trans(keys), erased.to(dtype), FLIP, PRECISION)
    if HAS_INITIAL:
        tl.store(grad_initial + program.to(tl.int64) * (K * V) + cell, grad, mask=in_cell)


def read_backward(
    q: Tensor, k: Tensor, write_key: Tensor, beta: Tensor, inverse: Tensor, gates: GateSums, overlap: Tensor | None,
    grad_o: Tensor, grad_states: Tensor | None, grad_final: Tensor | None, chunks: Chunks, scale: float, *,
    initial: bool,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Z [B, T, H, V] and gradients of the initial states; of a stretch, Z is of its own T.

    Gradients of the states leaving each chunk go to `grad_states` [slots, H, K, V] where given.
    """
    key_dim, (heads, value_dim) = k.shape[3], grad_o.shape[2:]
    programs = chunks.sequences * heads
    grad_missing = grad_o.new_empty(grad_o.shape)
    grad_initial = None
    if initial:
        grad_initial = single(k, chunks.sequences, heads, key_dim, value_dim)
    bulk = gates.kind == 1 and copies_tiles(q, k, write_key, inverse)
    memory_backward_kernel[lambda meta: (programs, cdiv(value_dim, meta["BV"]))](
        q, k, write_key, beta, inverse, *gates, overlap, grad_o, grad_states, grad_missing, grad_final, grad_initial,
        chunks.bounds, chunks.first, chunks.length, chunks.stride, scale, crowd_of(programs),
        H=heads, G=heads // k.shape[2], K=key_dim, V=value_dim, C=chunks.size, BK=tile(key_dim),
        HAS_FINAL=grad_final is not None, HAS_INITIAL=initial, PACKED=chunks.packed,
        STATE_GATE=gates.kind, BULK=bulk, SAME=write_key.data_ptr() == k.data_ptr(),
        PRECISION=operand_precision(k.dtype),
    )  # fmt: skip
    return grad_missing, grad_initial
