"""The boundary of the layer's forward pass."""

import torch
from torch import Tensor

from ..layers.cache import LayerCache
from .checks import count_sequences, refuse
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
    if x.dim() != 3 or x.shape[2] != hidden_size:
        refuse("hidden_states", f"[B, T, {hidden_size}]", list(x.shape))
    if mask is not None:
        if cu_seqlens is not None:
            refuse("attention_mask", "None beside cu_seqlens", "both")
        if mask.dim() != 2 or mask.shape[0] != x.shape[0] or mask.shape[1] < x.shape[1]:
            refuse("attention_mask", f"[{x.shape[0]}, {x.shape[1]} or more]", list(mask.shape))
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
            refuse(
                "state_indices", "None but beside a cache with rows and no attention_mask", list(rows.shape)
            )
        if rows.shape != (sequences,):
            refuse("state_indices", f"[{sequences}], as many as sequences in this call", list(rows.shape))
    if cu_seqlens is None:
        return None
    check_values({}, None, None, cu_seqlens, rule, x.shape[1])
    return settle(cu_seqlens, x.shape[1])


def in_backward() -> bool:
    """Whether autograd's backward pass is what calls."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
