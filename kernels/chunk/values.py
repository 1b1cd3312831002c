"""What values get, and beta from values, token by token, where Z is known (`gradients` has the formulas)."""

import triton
import triton.language as tl
from torch import Tensor

from ..launch.runtime import cdiv, tile
from ..launch.sequences import Chunks, chunk_of
from ..launch.tuning import autotune, configurations


@autotune(configurations([{"ROWS": 16}]), ["V"])
@triton.jit
def value_kernel(
    v, beta, grad_missing, shares, grad_v, grad_beta, bounds, first, owner, length, per_sequence, stride,
    H: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BV: tl.constexpr, PARTS: tl.constexpr, ROWS: tl.constexpr,
    PACKED: tl.constexpr,
):  # fmt: skip
    # Tokens and heads of a chunk are rows that follow each other.
    blocks: tl.constexpr = (C * H + ROWS - 1) // ROWS
    sequence, chunk, start, tokens = chunk_of(
        tl.program_id(0) // blocks, bounds, first, owner, length, per_sequence, C, PACKED, stride
    )
    row = tl.program_id(0) % blocks * ROWS + tl.arange(0, ROWS)
    valid = row < tl.minimum(tokens - chunk * C, C) * H
    place = (start + chunk * C).to(tl.int64) * H + row
    # Z has the rows of a stretch alone.
    own = ((start if PACKED else sequence * length) + chunk * C).to(tl.int64) * H + row
    value = tl.arange(0, BV)
    mask = valid[:, None] & (value < V)[None, :]
    cell = place[:, None] * V + value[None, :]
    change = tl.load(grad_missing + own[:, None] * V + value[None, :], mask=mask, other=0.0).to(tl.float32)
    target = tl.load(v + cell, mask=mask, other=0.0).to(tl.float32)
    rate = tl.load(beta + place, mask=valid, other=0.0).to(tl.float32)
    for_beta = tl.sum(change * target, 1)
    for part in tl.static_range(PARTS):
        for_beta += tl.load(shares + place * PARTS + part, mask=valid, other=0.0)
    tl.store(grad_v + cell, (change * rate[:, None]).to(grad_v.dtype.element_ty), mask=mask)
    tl.store(grad_beta + place, for_beta, mask=valid)


def differentiate_values(
    v: Tensor, beta: Tensor, grad_missing: Tensor, shares: Tensor, grad_v: Tensor, grad_beta: Tensor, chunks: Chunks
) -> None:  # fmt: skip
    """Fill `grad_v` [B, T, H, V] and `grad_beta` [B, T, H] float32, from Z of a stretch and what beta gets from keys,
    `shares` [B, T, H, blocks]."""
    heads, value_dim = v.shape[2:]
    rows = chunks.size * heads
    value_kernel[lambda meta: (chunks.slots * cdiv(rows, meta["ROWS"]),)](
        v, beta, grad_missing, shares, grad_v, grad_beta, *chunks.pointers, chunks.length, chunks.per_sequence,
        chunks.stride, H=heads, V=value_dim, C=chunks.size, BV=tile(value_dim), PARTS=shares.shape[3],
        PACKED=chunks.packed,
    )  # fmt: skip
