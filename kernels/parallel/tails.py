"""The left context of short convolutions, which the ranks before hold."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from .ranks import GatherRanks, check_group, gather


def exchange_tails(
    streams: Sequence[Tensor],
    tails: Sequence[Tensor] | None,
    reach: int,
    cu_seqlens: Tensor | None,
    cp_group: Any,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The last `reach` inputs before this rank's tokens, and before the token after those of all ranks.

    - `streams`, sequence of [B, T, D] tensors: Inputs of this rank, D of each its own; T may be less than `reach`, or
      0.
    - `tails`, sequence of [N, reach, D] tensors, or None: Before the first rank's tokens, the same on every rank;
      None is zeros.
    - `cu_seqlens` [N + 1] integers or None: Bounds of this rank's part of packed sequences.

    Returns (tuple of [N, reach, D] tensors, the same).
    """
    check_group(cp_group)
    sizes = [x.shape[2] for x in streams]
    x, tail = torch.cat(list(streams), 2), None if tails is None else torch.cat(list(tails), 2)
    bounds = torch.arange(x.shape[0] + 1, device=x.device) * x.shape[1] if cu_seqlens is None else cu_seqlens
    counts = bounds.diff().clamp(max=reach)[:, None]
    place = torch.arange(reach, device=x.device)
    # Rows are shifted by one: the first is zero, for what a sequence is too short to have.
    rows = (bounds[1:, None] - reach + 1 + place) * (place >= reach - counts)
    last = pad(x.flatten(0, 1), (0, 0, 1, 0))[rows]
    known = [torch.zeros_like(last) if tail is None else tail.to(x.dtype)]
    for own, count in zip(GatherRanks.apply(last, cp_group), gather(counts, cp_group), strict=True):
        kept = torch.where(place < reach - count, place + count, place + reach)
        both = torch.cat([known[-1], own], 1)
        known.append(both.gather(1, kept[..., None].expand_as(last)))
    # All of them, whichever a rank reads: otherwise one would not take part in what the others exchange backwards.
    every = torch.stack(known)
    return every[cp_group.rank()].split(sizes, 2), every[-1].split(sizes, 2)
