"""Sums over the rows of a tile, for chains that wait for them."""

import triton
import triton.language as tl

WARPS = tl.constexpr(4)
"""Warps of the programs that sum so."""


@triton.jit
def sum_rows(x, WARPS: tl.constexpr):
    """Column sums [N] of x [M, N], M a multiple of 2 WARPS.

    Where a thread holds eight columns side by side, as tiles of 16 bits are loaded, `tl.sum` over rows that several
    warps hold has sixteen lanes write to one bank of shared memory. Here each warp sums its own rows first (two of them
    lie in different lanes); what they leave is handed over as wide stores, and split until one thread has all of it.
    """
    ROWS: tl.constexpr = x.shape[0]
    COLUMNS: tl.constexpr = x.shape[1]
    own = tl.sum(tl.sum(tl.reshape(x, [ROWS // (2 * WARPS), WARPS, 2, COLUMNS]), 0), 1)
    first, second = tl.split(tl.reshape(tl.trans(own), [COLUMNS, WARPS // 2, 2]))
    first, second = tl.split(first + second)
    return first + second
