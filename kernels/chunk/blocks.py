"""The ten lower 16 x 16 blocks of what up to 64 tokens of a chunk meet of each other."""

import triton
import triton.language as tl

from ..launch.dots import dot
from .decays import decay_tile


@triton.jit
def meet_blocks(
    b00, b10, b11, b20, b21, b22, b30, b31, b32, b33, x0, x1, x2, x3, y0, y1, y2, y3, PRECISION: tl.constexpr,
):  # fmt: skip
    """Blocks with the products x_i y_j of some features added; rows x [16, BK], and columns y [BK, 16]."""
    b00 += dot(x0, y0, PRECISION)
    b10 += dot(x1, y0, PRECISION)
    b11 += dot(x1, y1, PRECISION)
    b20 += dot(x2, y0, PRECISION)
    b21 += dot(x2, y1, PRECISION)
    b22 += dot(x2, y2, PRECISION)
    b30 += dot(x3, y0, PRECISION)
    b31 += dot(x3, y1, PRECISION)
    b32 += dot(x3, y2, PRECISION)
    b33 += dot(x3, y3, PRECISION)
    return b00, b10, b11, b20, b21, b22, b30, b31, b32, b33


@triton.jit
def fade_blocks(b00, b10, b11, b20, b21, b22, b30, b31, b32, b33, s0, s1, s2, s3, r0, r1, r2, r3):
    """Blocks times the decays between their tokens, from sums s of log gates and their rests r, [16] each."""
    b00 *= decay_tile(s0, r0, s0, r0)
    b10 *= decay_tile(s1, r1, s0, r0)
    b11 *= decay_tile(s1, r1, s1, r1)
    b20 *= decay_tile(s2, r2, s0, r0)
    b21 *= decay_tile(s2, r2, s1, r1)
    b22 *= decay_tile(s2, r2, s2, r2)
    b30 *= decay_tile(s3, r3, s0, r0)
    b31 *= decay_tile(s3, r3, s1, r1)
    b32 *= decay_tile(s3, r3, s2, r2)
    b33 *= decay_tile(s3, r3, s3, r3)
    return b00, b10, b11, b20, b21, b22, b30, b31, b32, b33
