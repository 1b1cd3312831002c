"""What the launch code asks of its surroundings: interpreter or GPU, precision of float32 products, tile sizes."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch
import triton.language as tl

from .interpreter import quicken

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
"""Whether Triton runs kernels in its CPU interpreter; fixed when Triton is first imported."""

if INTERPRETED:
    from triton.runtime import interpreter

    quicken(interpreter)

IN_INTERPRETER: tl.constexpr = tl.constexpr(INTERPRETED)
"""The same, for use inside kernels."""


def can_launch(device: torch.device) -> bool:
    """Whether the Triton kernels run on tensors of `device`: CUDA ones, or CPU ones in the interpreter."""
    return device.type == "cpu" if INTERPRETED else device.type == "cuda"


def operand_precision(dtype: torch.dtype) -> str:
    """Precision of products whose operands have the inputs' dtype.

    Full float32 for float32 inputs, TF32 only where the caller allowed it by
    ``torch.set_float32_matmul_precision("high")``. For 16-bit inputs it applies to the few float32 products whose
    result is rounded to 16 bits right after, where TF32 loses nothing.
    """
    if dtype in (torch.float16, torch.bfloat16) or torch.get_float32_matmul_precision() != "highest":
        return "tf32"
    return "ieee"


def exact_precision(dtype: torch.dtype) -> str:
    """Precision of products that must be good to float32: three TF32 products are, where operands have 16 bits.

    The square of a float16 or bfloat16 key has at most 22 significant bits, so that its two TF32 parts hold it exactly.
    """
    return "tf32x3" if dtype in (torch.float16, torch.bfloat16) else "ieee"


def inverse_precision(dtype: torch.dtype) -> str:
    """Precision of the products of an inverse that is stored in the inputs' dtype.

    Three bfloat16 products are twice as quick as three TF32 ones, and add at most a tenth of what rounding the inverse
    to 16 bits does, where one TF32 product adds up to seven times that.
    """
    return "bf16x3" if dtype in (torch.float16, torch.bfloat16) else "ieee"


def tile(size: int) -> int:
    """Smallest tile edge that covers `size` and that a matrix product accepts: a power of two, at least 16."""
    return max(16, 1 << (size - 1).bit_length())


def cdiv(size: int, block: int) -> int:
    """Blocks that cover `size`. Triton's own is made for kernels, and slow on the host."""
    return -(-size // block)


def single(like: torch.Tensor, *shape: int) -> torch.Tensor:
    """New memory for float32 numbers, beside `like`."""
    return like.new_empty(shape, dtype=torch.float32)


def on_device_of(tensor: torch.Tensor) -> AbstractContextManager[object]:
    """Launches inside go to the tensor's GPU, whichever is current."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def captured() -> bool:
    """Whether launches become part of a CUDA graph."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
