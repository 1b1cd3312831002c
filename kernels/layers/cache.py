"""What a layer keeps between calls, so that a sequence can go on where it stopped."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from ..boundary.checks import check_tensor, refuse
from ..boundary.inputs import INDICES
from ..boundary.pools import put_, put_state_, take, take_state
from ..boundary.results import AnyState
from ..boundary.values import in_transform


class LayerCache:
    """The past of N sequences in one layer; its size does not grow with their length.

    Empty at first. Every forward pass that gets it starts from it and leaves in it what the sequences hand on.
    One-token steps without autograd overwrite its tensors in place: to keep the past take a `clone`.

    - `tails`, tuple of three [N, conv_size - 1, features] tensors, or None: Last inputs of the short convolutions of
      q, k and v; None without convolutions.
    - `state`, State, ExactState or None: Memory and preconditioner; None before the first token.
    """

    def __init__(self) -> None:
        self.tails: tuple[Tensor, ...] | None = None
        self.state: AnyState | None = None

    @property
    def sequences(self) -> int | None:
        """N, or None while empty."""
        return None if self.state is None else self.state.state.shape[0]

    def clone(self) -> "LayerCache":
        """An independent copy, say for a second continuation of one prompt."""
        return LayerCache()._take(self, lambda x: x.clone())

    def reset(self) -> Self:
        """Forget everything: the next call starts new sequences."""
        self.tails = self.state = None
        return self

    def reorder(self, index: Tensor) -> Self:
        """Let sequence i go on from what was sequence index[i], as beam search does; N becomes len(index).

        - `index` [M] int32 or int64: Rows to keep, in order and repeated at will.
        """
        check_tensor("index", index, "[M]", INDICES)
        return self._take(self, lambda x: x.index_select(0, index.to(x.device)))

    def take(self, rows: Tensor) -> "LayerCache":
        """A copy of some sequences, say of a prefix to start others from; rows below 0 have an empty memory and d = 1.

        A sequence that has not begun is one of the layer's `new_cache`, whose d is d_1.
        """
        state = self._filled(rows, None)
        taken = LayerCache()._take(self, lambda x: take(x, rows))
        taken.state = take_state(state, rows, 1.0)
        return taken

    def put_(self, rows: Tensor, other: "LayerCache") -> Self:
        """Let sequence rows[i] go on from what is sequence i of another cache; none where rows[i] is below 0."""
        state = self._filled(rows, other.sequences)
        if other.state is None:
            refuse("other", "a cache that is not empty", other)
        put_state_(state, rows, other.state)
        self.put_tails_(rows, other.tails)
        return self

    def _filled(self, rows: Tensor, sequences: int | None) -> AnyState:
        """The state of which there are rows."""
        check_tensor("rows", rows, "[N]", INDICES, (sequences,))
        if self.state is None:
            refuse("rows", "None of an empty cache", list(rows.shape))
        return self.state

    def put_tails_(self, rows: Tensor, tails: tuple[Tensor, ...] | None) -> None:
        for mine, tail in zip(self.tails or (), tails or (), strict=True):
            put_(mine, rows, tail)

    def detach(self) -> Self:
        """Cut the past off autograd, for training over truncated stretches of one long sequence."""
        # Copied, because autograd may have saved what a step would then overwrite.
        return self._take(self, lambda x: x.detach().clone())

    @property
    def writable(self) -> bool:
        """Whether there is a state that may be overwritten: not claimed by autograd, `torch.func` or a compiler."""
        if self.state is None or torch.is_grad_enabled() or torch.compiler.is_compiling() or in_transform():
            return False
        memory = self.state.state
        return not memory.requires_grad and (torch.is_inference_mode_enabled() or not memory.is_inference())

    def advance(self, tails: tuple[Tensor, ...] | None, state: AnyState | None) -> None:
        """Hold what a call handed on; with `state` None the call has written the state, and its tails follow it."""
        if state is not None:
            self.tails = None if tails is None else tuple(tail.clone() for tail in tails)
            self.state = state
        elif tails is not None and self.tails is not None:
            for mine, tail in zip(self.tails, tails, strict=True):
                mine.copy_(tail)

    def _take(self, other: "LayerCache", change: Callable[[Tensor], Tensor]) -> Self:
        self.tails = None if other.tails is None else tuple(change(tail) for tail in other.tails)
        self.state = None if other.state is None else type(other.state)(*map(change, other.state))
        return self

    def __repr__(self) -> str:
        return f"LayerCache(sequences={self.sequences})"


torch.serialization.add_safe_globals([LayerCache])
