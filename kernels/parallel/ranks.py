"""What the ranks of a group tell each other; all compute from it the same, in the same order, to the same bit."""

from typing import Any

import torch
from torch import Tensor, distributed

from ..boundary.checks import refuse


def check_group(group: Any) -> None:
    """Raise a TypeError for what is no process group, such as the mesh that has one."""
    if not (callable(getattr(group, "rank", None)) and callable(getattr(group, "size", None))):
        raise TypeError(f"cp_group: expected a ProcessGroup, got {type(group).__name__}")


def gather(x: Tensor, group: Any) -> Tensor:
    """The tensors of all ranks, of one shape, stacked in their order: [R, ...]."""
    found = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(group.size())]
    distributed.all_gather(found, x.contiguous(), group=group)
    return torch.stack(found)


class GatherRanks(torch.autograd.Function):
    """`gather` with a gradient: that of what a rank gave is the sum over the ranks, in their order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return gather(x, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return sum_ranks(gather(grad, ctx.group)[:, ctx.group.rank()]), None


def sum_ranks(x: Tensor) -> Tensor:
    """The sum of [R, ...] over its first axis, one after the other."""
    total = x[0]
    for each in x[1:]:
        total = total + each
    return total


def check_ranks(sizes: dict[str, int], like: Tensor, group: Any) -> None:
    """Raise the same ValueError on every rank where one of these sizes differs between ranks."""
    found = gather(torch.tensor(list(sizes.values()), device=like.device), group)
    for name, column in zip(sizes, found.T.tolist(), strict=True):
        if len(set(column)) > 1:
            refuse(name, "the same on every rank of cp_group", column)


def local_cu_seqlens(cu_seqlens: Tensor, length: int, cp_group: Any) -> Tensor:
    """Bounds of this rank's part of packed sequences, some of which may be empty here.

    - `cu_seqlens` [N + 1] int32 or int64: Bounds in the whole row, the same on every rank.
    - `length`: Tokens of this rank, which may differ from those of others.

    Returns [N + 1], same dtype: Sequence n of a rank goes on with sequence n of the rank before.

    Raises ValueError: the bounds do not end where the tokens of all ranks do.
    """
    lengths = gather(torch.tensor(length, device=cu_seqlens.device), cp_group).tolist()
    if int(cu_seqlens[-1]) != sum(lengths):
        refuse(
            "cu_seqlens", f"bounds that end at {sum(lengths)}, the tokens of all ranks", int(cu_seqlens[-1])
        )
    bounds: Tensor = (cu_seqlens - sum(lengths[: cp_group.rank()])).clamp(0, length)
    return bounds
