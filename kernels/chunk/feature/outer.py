"""Gradients of what tokens of a chunk meet of each other, all pairs at once: P_tj = <do_t, x_j>, S_tj = -<z_t, x_j>.

They are what a gate for each feature does not enter (`pairs_backward`).
"""

import triton
import triton.language as tl
from torch import Tensor

from ...launch.dots import dot
from ...launch.runtime import operand_precision
from ...launch.sequences import Chunks, chunk_of
from ...launch.tuning import autotune, configurations, unrolled
from ..rows import load_rows, store_rows


@autotune(configurations([{"BV": 64}], warps=(4,)) + unrolled(4, BV=32), ["V", "C"])
@triton.jit
def outer_kernel(
    x, grad_o, grad_missing, overlap, system, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BV: tl.constexpr, PACKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """P and S of every chunk, [B, T, HV, C], of all pairs."""
    head = tl.program_id(0) % H
    _, chunk, start, tokens = chunk_of(
        tl.program_id(0) // H, bounds, first, owner, length, per_sequence, C, PACKED
    )
    left = tokens - chunk * C
    if left <= 0:
        return
    row = tl.arange(0, C)
    valid = row < left
    token = (start + chunk * C).to(tl.int64) * H + head
    p = tl.zeros([C, C], tl.float32)
    s = tl.zeros([C, C], tl.float32)
    for i in range(tl.cdiv(V, BV)):
        value = i * BV + tl.arange(0, BV)
        in_value = value < V
        written = tl.trans(load_rows(x + token * V, row, valid, H * V, value, in_value))
        p += dot(load_rows(grad_o + token * V, row, valid, H * V, value, in_value), written, PRECISION)
        s -= dot(load_rows(grad_missing + token * V, row, valid, H * V, value, in_value), written, PRECISION)
    dtype = overlap.dtype.element_ty
    store_rows(overlap + token * C, row, valid, H * C, row, row < C, p.to(dtype))
    store_rows(system + token * C, row, valid, H * C, row, row < C, s.to(dtype))


@triton.jit
def load_pairs(overlap, system, own, other, left, H: tl.constexpr, C: tl.constexpr):
    """Blocks of P and S, float32: 16 rows from `own` and columns from `other` on."""
    row = own + tl.arange(0, 16)
    column = other + tl.arange(0, 16)
    p = load_rows(overlap, row, row < left, H * C, column, column < left).to(tl.float32)
    return p, load_rows(system, row, row < left, H * C, column, column < left).to(tl.float32)


def outer(x: Tensor, grad_o: Tensor, grad_missing: Tensor, chunks: Chunks) -> tuple[Tensor, Tensor]:
    """P and S of every chunk, [B, T, HV, C], in the dtype of x [B, T, HV, V]."""
    heads, value_dim = x.shape[2:]
    p, s = (x.new_empty(*x.shape[:3], chunks.size) for _ in range(2))
    outer_kernel[(chunks.slots * heads,)](
        x, grad_o, grad_missing, p, s, *chunks.pointers, chunks.length, chunks.per_sequence,
        H=heads, V=value_dim, C=chunks.size, PACKED=chunks.packed, PRECISION=operand_precision(x.dtype),
    )  # fmt: skip
    return p, s
