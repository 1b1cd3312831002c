"""Matrix products inside kernels."""

import triton
import triton.language as tl

from .runtime import IN_INTERPRETER


@triton.jit
def dot(a, b, PRECISION: tl.constexpr):
    """a @ b accumulated in float32; both of one dtype.

    PRECISION is one of Triton's, or "bf16x3" for float32 operands: three products of their bfloat16 `parts`.

    The interpreter multiplies the bit patterns of bfloat16 operands, so there they are widened first; their values,
    already rounded to bfloat16, are the same.
    """
    if PRECISION == "bf16x3":
        return dot_of_parts(a, b)
    if IN_INTERPRETER:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def dot_of_parts(a, b):
    """a @ b of float32 numbers without the product of their small parts; the other small terms are added first."""
    a_high, a_low = parts(a)
    b_high, b_low = parts(b)
    small = tl.dot(a_high, b_low, tl.dot(a_low, b_high))
    return tl.dot(a_high, b_high, small)


@triton.jit
def dot_small(a, b, PRECISION: tl.constexpr):
    """`dot` without Triton's care for infinities in three TF32 products, which is a quarter of a small tile's code."""
    if PRECISION != "tf32x3":
        return dot(a, b, PRECISION)
    a_high, b_high = tf32(a), tf32(b)
    small = tl.dot(
        a_high, b - b_high, tl.dot(a - a_high, b_high, input_precision="tf32"), input_precision="tf32"
    )
    return tl.dot(a_high, b_high, small, input_precision="tf32")


@triton.jit
def tf32(x):
    """The bits of x that a TF32 product reads."""
    return (x.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)


@triton.jit
def choose(mask, x, PRECISION: tl.constexpr):
    """mask @ x of float32 tiles, mask of zeros and ones: by x's `parts` instead of in TF32.

    Products in TF32 would want x transposed in shared memory.
    """
    if PRECISION == "tf32":
        high, low = parts(x)
        mask = mask.to(high.dtype)
        return tl.dot(mask, high, tl.dot(mask, low))
    else:  # noqa: RET505 -- Triton compiles what follows a return as well
        return dot(mask, x, PRECISION)


@triton.jit
def dot_rows(x, y, PRECISION: tl.constexpr):
    """Each row's product of x, float32, and y, of the inputs' dtype; both [R, N].

    Of bfloat16 y by products of x's parts that meet every row of y: these are summed in one order whatever the tiles'
    layouts, and their diagonal is left of a row's sum of one number and zeros.
    """
    if y.dtype == tl.bfloat16:
        high, low = parts(x)
        products = dot(y, tl.trans(low), PRECISION)
        products += dot(y, tl.trans(high), PRECISION)
        row = tl.arange(0, x.shape[0])
        return tl.sum(tl.where(row[:, None] == row[None, :], products, 0.0), 1)
    else:  # noqa: RET505 -- Triton compiles what follows a return as well
        return tl.sum(x * y.to(tl.float32), 1)


@triton.jit
def parts(x):
    """A float32 tile as bfloat16 numbers and what these lose of it, rounded to bfloat16 as well.

    Two of a thread's numbers are converted by one instruction. Triton converts those that are also widened again one by
    one, at a quarter of the pace. In the interpreter both parts stay float32, without the bits that its conversions
    drop.
    """
    if IN_INTERPRETER:
        high = x.to(tl.bfloat16).to(tl.float32)
        return high, (x - high).to(tl.bfloat16).to(tl.float32)
    return tl.inline_asm_elementwise(
        """{
        .reg .b32 a, b;
        cvt.rn.bf16x2.f32 $0, $3, $2;
        shl.b32 a, $0, 16;
        and.b32 b, $0, 0xffff0000;
        sub.rn.f32 a, $2, a;
        sub.rn.f32 b, $3, b;
        cvt.rn.bf16x2.f32 $1, b, a;
        }""",
        "=r,=r,r,r",
        [x],
        dtype=(tl.bfloat16, tl.bfloat16),
        is_pure=True,
        pack=2,
    )
