"""Inverse of I + A for strictly lower triangular A of up to 64 rows, in blocks of 16, by matrix products alone."""

import triton
import triton.language as tl

from ..launch.dots import dot


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
    return x - dot(dot(x, tl.where(couples, a, 0.0), PRECISION), x, PRECISION)


@triton.jit
def inverse_64(a00, a10, a11, a20, a21, a22, a30, a31, a32, a33, PRECISION: tl.constexpr):
    """The ten lower 16 x 16 blocks of (I + A)^-1 from those of A, in the same order."""
    x00 = inverse_16(a00, PRECISION)
    x11 = inverse_16(a11, PRECISION)
    x22 = inverse_16(a22, PRECISION)
    x33 = inverse_16(a33, PRECISION)
    x10 = -dot(x11, dot(a10, x00, PRECISION), PRECISION)
    x21 = -dot(x22, dot(a21, x11, PRECISION), PRECISION)
    x32 = -dot(x33, dot(a32, x22, PRECISION), PRECISION)
    x20 = -dot(x22, dot(a20, x00, PRECISION) + dot(a21, x10, PRECISION), PRECISION)
    x31 = -dot(x33, dot(a31, x11, PRECISION) + dot(a32, x21, PRECISION), PRECISION)
    y30 = dot(a30, x00, PRECISION) + dot(a31, x10, PRECISION) + dot(a32, x20, PRECISION)
    x30 = -dot(x33, y30, PRECISION)
    return x00, x10, x11, x20, x21, x22, x30, x31, x32, x33
