"""Matrix products inside kernels."""

import triton
import triton.language as tl

from .runtime import IN_INTERPRETER


@triton.jit
def dot(a, b, PRECISION: tl.constexpr):
    """a @ b accumulated in float32; both of one dtype.

    The interpreter multiplies the bit patterns of bfloat16 operands, so there they are widened first; their values,
    already rounded to bfloat16, are the same.
    """
    if IN_INTERPRETER:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, input_precision=PRECISION)
