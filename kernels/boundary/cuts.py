"""How sequences are cut into chunks, which are numbered by slot; importable without Triton."""

from collections.abc import Callable

import torch
from torch import Tensor


def count_slots(batch: int, length: int, size: int, cu_seqlens: Tensor | None) -> int:
    """Slots for the chunks of B sequences of T tokens; of packed ones ceil(T / size) + N - 1, which may be too many."""

    def slots() -> int:
        chunks = -(-length // size)
        return batch * chunks if cu_seqlens is None else chunks + cu_seqlens.shape[0] - 2

    return size_for(length, slots)


def size_for(length: int, count: Callable[[], int]) -> int:
    """What `count` says, or some size in a program that is exported for many lengths at once.

    PyTorch would ask whether what depends on the length is 1, and export a program for such lengths alone.
    """
    if torch.compiler.is_exporting() and isinstance(length, torch.SymInt):
        unknown: int = torch.library.get_ctx().new_dynamic_size()
        return unknown
    return count()


def number_chunks(bounds: Tensor, slots: int, size: int) -> tuple[Tensor, Tensor]:
    """First slot of each packed sequence [N + 1], and the sequence of each slot [slots], N for those left over."""
    counts = (bounds.diff() + (size - 1)) // size
    first = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return first, torch.searchsorted(first[1:], torch.arange(slots, device=bounds.device), right=True)


def start_chunks(bounds: Tensor, slots: int, size: int) -> tuple[Tensor, Tensor]:
    """Sequence and first token of each slot; those left over are empty ones of the last sequence."""
    first, owner = number_chunks(bounds, slots, size)
    owner = owner.clamp(max=len(bounds) - 2)
    start = bounds[owner] + (torch.arange(slots, device=bounds.device) - first[owner]) * size
    return owner, torch.minimum(start, bounds[owner + 1])
