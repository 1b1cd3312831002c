"""The boundary of the decoding step: what would lead to a wrong address or number, at the price of comparisons.

A step that is not part of a CUDA graph takes tens of microseconds on the host, so what is right is found right quickly.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .checks import read_finite, read_rule, refuse, require_tensor
from .inputs import (
    INDICES,
    KERNEL_DTYPES,
    KERNELS,
    MAX_FEATURES,
    POOL_DTYPES,
    WIDE,
    check_device,
    check_groups,
    check_size,
)
from .results import State
from .rule import Rule
from .values import in_transform

Row = tuple[str, Any, tuple[int, ...], Sequence[torch.dtype]]
"""Name, tensor, shape and dtypes."""


def check_step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: State, *, g: Tensor | None,
    state_gate: Tensor | None, scale: Any, eta: Any, d_min: Any, d_max: Any, anchor: Tensor | float | None,
    normalize_feedback: Any, beta_aware: Any, out: Tensor | None,
    state_indices: Tensor | None, num_tokens: Tensor | None, seed: Tensor | None,
) -> tuple[Rule, float]:  # fmt: skip
    """Shapes, dtypes, devices and layouts of a call of `decode_step_`; returns its rule and its scale."""
    if not isinstance(state, State):
        raise TypeError(f"state: expected a State, got {type(state).__name__}")
    if in_transform():
        raise NotImplementedError(
            "decode_step_ writes in place, outside of torch.func; fused_recurrent_osdn does not"
        )
    needed = (
        ("q", q), ("k", k), ("v", v), ("beta", beta), ("state.state", state.state),
        ("state.preconditioner", state.preconditioner),
    )  # fmt: skip
    optional = (
        ("g", g), ("state_gate", state_gate), ("out", out), ("state_indices", state_indices),
        ("num_tokens", num_tokens), ("seed", seed),
    )  # fmt: skip
    for name, tensor in (*needed, *(each for each in optional if each[1] is not None)):
        require_tensor(name, tensor)
    for name, tensor in (("q", q), ("v", v)):
        if tensor.dim() != 4:
            refuse(name, "four axes", list(tensor.shape))
        if not (tensor.is_cuda and tensor.numel() and tensor.shape[3] <= MAX_FEATURES):
            check_size(name, tensor, KERNELS)
            check_device(name, tensor.device, KERNELS)
    batch, tokens, heads, key_dim = q.shape
    if not tokens:
        refuse("q", "at least one token", list(q.shape))
    dtype, per_token, memory = q.dtype, (batch, tokens, heads), state.state
    by_key, by_value = (*per_token, key_dim), (batch, tokens, *v.shape[2:])
    check_groups(q, v)
    rows = batch
    # Copied where they are not contiguous.
    inputs: list[Row] = [
        ("q", q, by_key, KERNEL_DTYPES), ("k", k, by_key, (dtype,)), ("v", v, by_value, (dtype,)),
        ("beta", beta, by_value[:3], KERNEL_DTYPES),
    ]  # fmt: skip
    others: list[Row] = []
    if g is not None:
        inputs.append(("g", g, per_token, KERNEL_DTYPES))
    if state_gate is not None:
        shape = (*by_value[:3], key_dim) if state_gate.dim() == 4 else by_value[:3]
        inputs.append(("state_gate", state_gate, shape, KERNEL_DTYPES))
    if isinstance(anchor, Tensor):
        others.append(("anchor", anchor, (batch, heads, key_dim), WIDE))
    elif anchor is not None:
        read_finite("anchor", anchor)
    if out is not None:
        others.append(("out", out, by_value, (dtype,)))
    if state_indices is not None:
        rows = len(state.preconditioner)
        several = state_indices.dim() == 2
        others.append(("state_indices", state_indices, (batch, tokens + 1) if several else (batch,), INDICES))
    if num_tokens is not None:
        if state_indices is None:
            refuse("num_tokens", "None without state_indices", "a tensor")
        others.append(("num_tokens", num_tokens, (1,), INDICES))
    if seed is not None:
        if memory.dtype != torch.bfloat16:
            refuse("seed", "None but beside a memory in bfloat16", f"one in {memory.dtype}")
        others.append(("seed", seed, (1,), (torch.int64,)))
    others += [
        ("state.state", memory, (rows, by_value[2], key_dim, by_value[3]), POOL_DTYPES),
        ("state.preconditioner", state.preconditioner, (rows, heads, key_dim), WIDE),
    ]
    _check(inputs, q.device, contiguous=False)
    _check(others, q.device, contiguous=True)
    rule = read_rule(eta, d_min, d_max, normalize_feedback, beta_aware)
    return rule, key_dim**-0.5 if scale is None else read_finite("scale", scale)


def _check(table: list[Row], device: torch.device, *, contiguous: bool) -> None:
    graded = torch.is_grad_enabled()
    for name, tensor, shape, dtypes in table:
        if tensor.shape != shape or tensor.dtype not in dtypes:
            kinds = " or ".join(map(str, dtypes))
            refuse(name, f"{list(shape)} of {kinds}", f"{list(tensor.shape)} of {tensor.dtype}")
        if graded and tensor.requires_grad:
            refuse(name, "no gradient, as decode_step_ has none", "a tensor that requires one")
        if tensor.device != device:
            refuse(name, str(device), tensor.device)
        if contiguous and not tensor.is_contiguous():
            refuse(name, "a contiguous tensor", f"strides {tensor.stride()}")
