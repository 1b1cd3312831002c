"""A chain of maps of which each rank has one, solved by all ranks at once and to the bit (T29)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .ranks import gather


def settle(
    run: Callable[[Tensor], tuple[Tensor, Tensor]],
    first: Tensor,
    group: Any,
    project: Callable[[Tensor], Tensor],
    *,
    backwards: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""What this rank's map is entered with, and what the chain ends with.

    Every rank runs its map from a guess; all tell each other where that ended, and next guesses follow:

    .. math:: x_{r+1} = \Pi[f_r(\hat x_r) + a_r (x_r - \hat x_r)]

    with :math:`\hat x` what was tried. Where all :math:`x = \hat x`, bit for bit, each map has been entered with what
    the one before it ended with: the result is that of the chain, whatever the slopes `a` are. The first m guesses are
    right after m rounds (T29 (i)), so R rounds always suffice; good slopes take fewer.

    - `run`: Entry -> end and slopes, both of its shape. Called equally often on every rank.
    - `first`: What the chain is entered with, the same on every rank.
    - `project`: Pi: leaves alone what a map may end with.
    - `backwards`: From the last rank to the first.
    """
    ranks = list(range(group.size()))[:: -1 if backwards else 1]
    tried = [first] * len(ranks)
    for _ in ranks:
        ends, slopes = gather(torch.stack(run(tried[group.rank()])), group).unbind(1)
        entries, entry = list(tried), first
        for rank in ranks:
            entries[rank] = entry
            entry = project(ends[rank] + slopes[rank] * (entry - tried[rank]))
        if all(torch.equal(a, b) for a, b in zip(entries, tried, strict=True)):
            break
        tried = entries
    return tried[group.rank()], ends[ranks[-1]]
