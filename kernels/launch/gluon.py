"""Triton's Gluon, in which kernels say themselves which products and copies run side by side.

Its interface changes: it is used in versions that kernels here have been run with on a GPU (3.6) or whose machine code
for them has been checked (3.7). Elsewhere the kernels in Triton, which compute the same, are all there is.
"""

import triton

from .runtime import INTERPRETED

CHECKED = ("3.6.", "3.7.")
"""Triton's versions whose Gluon is used."""

try:
    from triton.experimental import gluon
    from triton.experimental.gluon import language as gl
    from triton.experimental.gluon.language.nvidia.hopper import (
        fence_async_shared,
        mbarrier,
        tma,
        warpgroup_mma,
        warpgroup_mma_wait,
    )

    # Of 3.6, then of 3.7.
    barrier = getattr(gl, "thread_barrier", None) or gl.barrier
    KNOWN = triton.__version__.startswith(CHECKED) and not INTERPRETED
except (ImportError, AttributeError):
    KNOWN = False

__all__ = [
    "KNOWN",
    "barrier",
    "fence_async_shared",
    "gl",
    "gluon",
    "mbarrier",
    "tma",
    "warpgroup_mma",
    "warpgroup_mma_wait",
]
