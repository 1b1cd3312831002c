"""Tiles that the GPU copies by itself, from descriptors that a kernel makes of the tensors it is given."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import plans

HOPPER = 9
"""Major compute capability of the first GPUs that copy tiles by themselves."""

BYTES = 16
"""What a row's width and a tensor's place are multiples of."""


def copies_tiles(first: Tensor, *others: Tensor | None) -> bool:
    """Whether descriptors can be made of 16-bit tensors [..., width] that are there, on their GPU and with this Triton.

    Triton is then given memory for them.
    """
    there = [first, *(x for x in others if x is not None)]
    if not knows_descriptors(first.device) or not all(fits_descriptor(x) for x in there):
        return False
    give_memory()
    return True


def copies_on_hopper(first: Tensor, *others: Tensor | None) -> bool:
    """The same where Triton 3.7.1 compiles what a kernel does around its tiles for Hopper alone."""
    return is_hopper(first.device) and copies_tiles(first, *others)


def generation(device: torch.device) -> int:
    """Major compute capability; 0 where a device is no GPU."""
    return torch.cuda.get_device_capability(device)[0] if device.type == "cuda" else 0


def is_hopper(device: torch.device) -> bool:
    return generation(device) == HOPPER


def knows_descriptors(device: torch.device) -> bool:
    """Whether a device copies tiles by itself: Hopper and later."""
    return hasattr(tl, "make_tensor_descriptor") and generation(device) >= HOPPER


def fits_descriptor(x: Tensor) -> bool:
    """Whether rows of a 16-bit tensor begin where descriptors want them to."""
    return x.element_size() == 2 and x.shape[-1] * 2 % BYTES == 0 and x.data_ptr() % BYTES == 0


def give_memory() -> None:
    """Let Triton take memory for descriptors from PyTorch; it asks the context that a launch is made in."""
    recorder = plans.recorder()
    if recorder is not None:
        recorder.note(give_memory, (), {}, None)
    triton.set_allocator(lambda size, alignment, stream: torch.empty(size, dtype=torch.int8, device="cuda"))


@triton.jit
def rows_of(base, tokens, stride, WIDTH: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr):
    """A descriptor of `tokens` rows of WIDTH numbers, `stride` apart, in tiles [C, BLOCK]; zero beyond both."""
    return tl.make_tensor_descriptor(base, [tokens.to(tl.int32), WIDTH], [stride, 1], [C, BLOCK])


@triton.jit
def load_tile(rows, row, column, pointers, mask, BULK: tl.constexpr):
    """A tile [C, BLOCK] by a descriptor of its rows from `row` and `column` on, or else by pointers."""
    return rows.load([row, column]) if BULK else tl.load(pointers, mask=mask, other=0.0)
