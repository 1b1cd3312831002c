"""The boundary of the layer's forward pass."""

import torch
from torch import Tensor

from ..layers.cache import LayerCache
from .checks import check_tensor, count_sequences, refuse, require_tensor
from .inputs import INDICES
from .rule import Rule
from .values import check_values, settle


def check_forward(
    x: Tensor,
    hidden_size: int,
    mask: Tensor | None,
    cache: LayerCache | None,
    cu_seqlens: Tensor | None,
    rows: Tensor | None,
    rule: Rule,
) -> Tensor | None:
    """Raise for a wrong call of the layer; returns `cu_seqlens`, within the tokens whatever was given."""
    require_tensor("hidden_states", x)
    if mask is not None:
        require_tensor("attention_mask", mask)
    if x.dim() != 3 or x.shape[2] != hidden_size:
        refuse("hidden_states", f"[B, T, {hidden_size}]", list(x.shape))
    if not x.is_floating_point():
        refuse("hidden_states", "floating-point numbers", x.dtype)
    if mask is not None:
        if cu_seqlens is not None:
            refuse("attention_mask", "None beside cu_seqlens", "both")
        if mask.dim() != 2 or mask.shape[0] != x.shape[0] or mask.shape[1] < x.shape[1]:
            refuse("attention_mask", f"[{x.shape[0]}, {x.shape[1]} or more]", list(mask.shape))
        if mask.device != x.device:
            refuse("attention_mask", f"device {x.device}", mask.device)
        if mask.is_floating_point():
            refuse("attention_mask", "bool or integer", mask.dtype)
    if cache is not None:
        if not isinstance(cache, LayerCache):
            raise TypeError(f"cache: expected a LayerCache or None, got {type(cache).__name__}")
        if in_backward():
            refuse("cache", "None where activation checkpointing repeats a call", cache)
    sequences = count_sequences(cu_seqlens, x)
    if rows is not None:
        if mask is not None or cache is None or cache.state is None:
            refuse("state_indices", "None but beside a cache with rows and no attention_mask", "indices")
        check_tensor("state_indices", rows, "[N]", INDICES, (sequences,), x.device)
    if cu_seqlens is None:
        return None
    check_values({}, None, None, cu_seqlens, rule, x.shape[1])
    return settle(cu_seqlens, x.shape[1])


def check_cache(
    cache: LayerCache, sequences: int | None, memory: tuple[int, int, int], convolves: bool
) -> None:
    """Raise for a cache of a layer with other heads or convolutions, or of another number of sequences than a call."""
    if cache.state is None:
        return
    found = tuple(cache.state.state.shape[1:])
    if found != memory:
        refuse("cache", f"memories [HV, K, V] = {list(memory)}, as the layer has", list(found))
    if convolves != (cache.tails is not None):
        refuse("cache", f"one {'with' if convolves else 'without'} tails of convolutions", cache)
    # Dynamo answers `in` on sizes that it traces as symbols by identity, so this is spelt out.
    if sequences is not None and cache.sequences != sequences:
        refuse("cache", f"one of {sequences} sequences, as in this call", cache)


def in_backward() -> bool:
    """Whether autograd's backward pass is what calls."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
