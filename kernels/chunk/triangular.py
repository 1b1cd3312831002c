"""Inverse of I + A for strictly lower triangular A of up to 64 rows, in blocks of 16, by matrix products alone."""

import triton
import triton.language as tl

from ..launch.dots import dot_small


@triton.jit
def inverse_16(a, PRECISION: tl.constexpr):
    """(I + a)^-1 for a strictly lower triangular 16 x 16 tile.

    Diagonal blocks of size n are joined in pairs to size 2n: with X their inverse and N what couples the two of a pair,
    the pair's inverse is X - X N X. Each doubling is exact but for rounding, and no power of a is formed, so that
    repeated keys (a full of ones) do not cancel.
    """
    row = tl.arange(0, 16)[:, None]
    col = tl.arange(0, 16)[None, :]
    x = tl.where(row == col, 1.0, 0.0) - tl.where((row // 2 == col // 2) & (row > col), a, 0.0)
    x = join(x, a, row, col, 2, PRECISION)
    x = join(x, a, row, col, 4, PRECISION)
    return join(x, a, row, col, 8, PRECISION)


@triton.jit
def join(x, a, row, col, size: tl.constexpr, PRECISION: tl.constexpr):
    """Inverse of diagonal blocks of twice `size` from those of `size`."""
    couples = (row // (2 * size) == col // (2 * size)) & (row // size > col // size)
    return x - dot_small(dot_small(x, tl.where(couples, a, 0.0), PRECISION), x, PRECISION)


@triton.jit
def inverse_64(a00, a10, a11, a20, a21, a22, a30, a31, a32, a33, PRECISION: tl.constexpr):
    """The ten lower 16 x 16 blocks of (I + A)^-1 from those of A, in the same order.

    Blocks X_ij = -X_ii (A_ij X_jj + ...) below the diagonal are formed transposed, Y_ij = X_ij^T: a thread then holds
    what it needs of both factors of a product, where they would otherwise change lanes.
    """
    x00 = inverse_16(a00, PRECISION)
    x11 = inverse_16(a11, PRECISION)
    x22 = inverse_16(a22, PRECISION)
    x33 = inverse_16(a33, PRECISION)
    y00, y11, y22 = tl.trans(x00), tl.trans(x11), tl.trans(x22)
    y10 = -by_transposed(by_transposed(y00, a10, PRECISION), x11, PRECISION)
    y21 = -by_transposed(by_transposed(y11, a21, PRECISION), x22, PRECISION)
    y32 = -by_transposed(by_transposed(y22, a32, PRECISION), x33, PRECISION)
    y20 = by_transposed(y00, a20, PRECISION) + by_transposed(y10, a21, PRECISION)
    y20 = -by_transposed(y20, x22, PRECISION)
    y31 = by_transposed(y11, a31, PRECISION) + by_transposed(y21, a32, PRECISION)
    y31 = -by_transposed(y31, x33, PRECISION)
    y30 = by_transposed(y00, a30, PRECISION) + by_transposed(y10, a31, PRECISION)
    y30 += by_transposed(y20, a32, PRECISION)
    y30 = -by_transposed(y30, x33, PRECISION)
    x10, x20, x21 = tl.trans(y10), tl.trans(y20), tl.trans(y21)
    return x00, x10, x11, x20, x21, x22, tl.trans(y30), tl.trans(y31), tl.trans(y32), x33


@triton.jit
def by_transposed(a, b, PRECISION: tl.constexpr):
    """a b^T."""
    return dot_small(a, tl.trans(b), PRECISION)
