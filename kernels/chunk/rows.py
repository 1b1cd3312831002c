"""Rows of blocks in memory, a token each."""

import triton
import triton.language as tl


@triton.jit
def load_rows(base, row, valid, stride, column, inside):
    """Rows of a [tokens, columns] block, zero where masked."""
    return tl.load(
        base + row[:, None] * stride + column[None, :], mask=valid[:, None] & inside[None, :], other=0.0
    )


@triton.jit
def store_rows(base, row, valid, stride, column, inside, block):
    """The same rows written, where not masked."""
    tl.store(base + row[:, None] * stride + column[None, :], block, mask=valid[:, None] & inside[None, :])


@triton.jit
def store_row(target, row, valid, H: tl.constexpr, C: tl.constexpr, x0, x1, x2, x3):
    """Store 16 rows of a [C, C] matrix for each head, as many of its column blocks as the chunk has."""
    column = tl.arange(0, 16)
    target += row[:, None] * (H * C) + column[None, :]
    dtype = target.dtype.element_ty
    tl.store(target, x0.to(dtype), mask=valid[:, None])
    if C > 16:
        tl.store(target + 16, x1.to(dtype), mask=valid[:, None])
    if C > 32:
        tl.store(target + 32, x2.to(dtype), mask=valid[:, None])
        tl.store(target + 48, x3.to(dtype), mask=valid[:, None])
