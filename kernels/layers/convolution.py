"""Causal depthwise convolution over the last few tokens, for batches, packed sequences and decoding alike."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

from ..boundary.cuts import count_slots, start_chunks


class Packing(NamedTuple):
    """Where packed sequences lie once each has its tail, `reach` rows long, in front of it.

    - `tokens`, [T] int64: Row of each token.
    - `tails`, [N * reach] int64: Rows of the tails that the sequences begin with.
    - `next_tails`, [(N + C) * reach] int64: Rows of the tails that they hand on, the last ones of each; then, if asked
      for, of those before each chunk.
    """

    tokens: Tensor
    tails: Tensor
    next_tails: Tensor


def packing(cu_seqlens: Tensor, length: int, reach: int, chunk_size: int | None = None) -> Packing:
    """The rows of T packed tokens with `reach` rows before each sequence; nothing is read back to the host."""
    bounds = cu_seqlens.to(torch.int64)
    tokens = torch.arange(length, device=bounds.device)
    # Tokens of no sequence go with a neighbouring one, and reach no other.
    sequence = torch.searchsorted(bounds[1:-1].contiguous(), tokens, right=True)
    numbers = torch.arange(len(bounds) - 1, device=bounds.device)
    tail = torch.arange(reach, device=bounds.device)
    places = bounds[1:] + reach * numbers
    if chunk_size is not None:
        owner, start = start_chunks(bounds, count_slots(1, length, chunk_size, bounds), chunk_size)
        places = torch.cat([places, start + reach * owner])
    return Packing(
        tokens + reach * (sequence + 1),
        ((bounds[:-1] + reach * numbers)[:, None] + tail).flatten(),
        (places[:, None] + tail).flatten(),
    )


class ShortConvolution(nn.Conv1d):
    r"""One short causal filter per channel.

    .. math:: y_t = b + \sum_{j < size} w_{size - 1 - j} \, x_{t - j}

    x before a sequence's first token is its *tail*: the last `size - 1` inputs of what it continues, or zeros. The
    weight has the shape [channels, 1, size] of `nn.Conv1d`, so that initialisers know it.
    """

    def __init__(self, channels: int, size: int = 4, bias: bool = False) -> None:
        if size < 2:
            raise ValueError(f"size: expected at least 2, got {size}")
        super().__init__(channels, channels, size, groups=channels, bias=bias)

    @property
    def reach(self) -> int:
        """Tokens seen beside the present one, and rows of a tail."""
        return self.kernel_size[0] - 1

    def forward(  # type: ignore[override]
        self, x: Tensor, tail: Tensor | None = None, packed: Packing | None = None
    ) -> tuple[Tensor, Tensor]:
        """Filter x [B, T, D], or with `packed` sequences in one row, and return y of that shape with the next tails.

        - `x` [B, T, D]
        - `tail` [N, reach, D] or None: N is B, or the number of packed sequences; None is zeros.
        - `packed`: From `packing` with this `reach`.

        Returns (y [B, T, D], [N, reach, D]): Packed, as many tails as `packed` has. They may be views of a buffer of
        all T inputs.
        """
        if tail is None:
            sequences = x.shape[0] if packed is None else len(packed.tails) // self.reach
            tail = x.new_zeros(sequences, self.reach, x.shape[2])
        tail = tail.to(x.dtype)
        if packed is None:
            rows = torch.cat([tail, x], 1)
            return self._filter(rows)[:, : x.shape[1]], rows[:, x.shape[1] :]
        rows = x.new_zeros(1, len(packed.tokens) + len(packed.tails), x.shape[2])
        rows = rows.index_copy(1, packed.tokens, x).index_copy(1, packed.tails, tail.flatten(0, 1)[None])
        next_tail = rows[0, packed.next_tails].unflatten(0, (-1, self.reach))
        # The filter's first output belongs to row `reach`.
        return self._filter(rows)[:, packed.tokens - self.reach], next_tail

    def _filter(self, rows: Tensor) -> Tensor:
        """One row at least, so that weights and tails have their part in a call without tokens, as all others do."""
        rows = pad(rows, (0, 0, 0, max(0, self.reach + 1 - rows.shape[1])))
        return conv1d(rows.mT, self.weight, self.bias, groups=self.groups).mT
