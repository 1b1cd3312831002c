"""What a model keeps between calls: the cache of each of its layers, as transformers handles caches."""

import torch
from torch import Tensor
from transformers import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from ..layers.cache import LayerCache

CACHE_NAME = "cache" if "cache" in CausalLMOutputWithPast.__annotations__ else "past_key_values"
"""What the transformers that is installed calls it, in arguments and outputs."""


class OsdnCache(Cache):
    """The past of N sequences in all layers; its size does not grow with their length.

    - `seen`: Tokens that have been passed on, padding included.
    """

    is_compileable, is_croppable = False, False

    def __init__(self, num_layers: int) -> None:
        super().__init__(layers=[LayerCache() for _ in range(num_layers)])
        self.seen = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens that have been passed on, padding included."""
        return self.seen

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """-1: no length is the longest."""
        return -1

    @property
    def is_initialized(self) -> bool:
        """Whether any token has been passed on."""
        return self.batch_size >= 0

    @property
    def batch_size(self) -> int:
        """N, or -1 while empty."""
        return next((layer.sequences for layer in self.layers if layer.sequences is not None), -1)

    @property
    def is_linear(self) -> list[bool]:
        """False for every layer: `get_seq_length` counts, so that prompts are cut where the past ends."""
        return [False] * len(self.layers)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Let sequence i go on from what was sequence beam_idx[i]."""
        for layer in self.layers:
            layer.reorder(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Let each sequence be so many, one after the other."""
        self.reorder_cache(torch.arange(self.batch_size).repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some sequences."""
        self.reorder_cache(indices)

    def reset(self) -> None:
        """Forget everything."""
        self.seen = 0
        for layer in self.layers:
            layer.reset()

    def crop(self, *args: object) -> None:
        """Not possible: what a state forgot is gone."""
        raise NotImplementedError(
            "the past of an OSDN model cannot be shortened; keep a clone of where to go back to"
        )

    def clone(self) -> "OsdnCache":
        """An independent copy, say for a second continuation of one prompt."""
        copy = OsdnCache(0)
        copy.layers, copy.seen = [layer.clone() for layer in self.layers], self.seen
        return copy


torch.serialization.add_safe_globals([OsdnCache])
