"""The boundary of the decoding step: what would lead to a wrong address or number, at the price of comparisons."""

from typing import Any

import torch
from torch import Tensor

from .checks import read_finite, read_rule, refuse
from .inputs import INDICES, KERNEL_DTYPES, KERNELS, POOL_DTYPES, WIDE, check_size
from .results import State
from .rule import Rule


def check_step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: State, *, g: Tensor | None, scale: Any, eta: Any, d_min: Any,
    d_max: Any, anchor: Tensor | float | None, normalize_feedback: Any, out: Tensor | None,
    state_indices: Tensor | None, num_tokens: Tensor | None, seed: Tensor | None,
) -> tuple[Rule, float]:  # fmt: skip
    """Shapes, dtypes, devices and layouts of a call of `decode_step_`; returns its rule and its scale."""
    if not isinstance(state, State):
        raise TypeError(f"state: expected a State, got {type(state).__name__}")
    if torch._C._functorch.maybe_current_level() is not None:
        raise NotImplementedError(
            "decode_step_ writes in place, outside of torch.func; fused_recurrent_osdn does not"
        )
    for name, tensor in {"q": q, "v": v}.items():
        if tensor.dim() != 4:
            refuse(name, "four axes", list(tensor.shape))
        check_size(name, tensor, KERNELS)
    batch, tokens, heads, key_dim = q.shape
    value_dim = v.shape[3]
    if not tokens:
        refuse("q", "at least one token", list(q.shape))
    if seed is not None and state.state.dtype != torch.bfloat16:
        refuse("seed", "None but beside a memory in bfloat16", f"one in {state.state.dtype}")
    rows = batch
    if state_indices is None:
        if num_tokens is not None:
            refuse("num_tokens", "None without state_indices", "a tensor")
    else:
        rows = state.preconditioner.shape[0]
        if state_indices.dim() == 2 and state_indices.shape[1] != tokens + 1:
            refuse("state_indices", f"[B] or [B, T + 1] = [{batch}, {tokens + 1}]", list(state_indices.shape))
    per_token = (batch, tokens, heads)
    expected: list[tuple[str, Any, tuple[int, ...], tuple[torch.dtype, ...]]] = [
        ("q", q, (*per_token, key_dim), KERNEL_DTYPES),
        ("k", k, (*per_token, key_dim), (q.dtype,)),
        ("v", v, (*per_token, value_dim), (q.dtype,)),
        ("beta", beta, per_token, KERNEL_DTYPES),
        ("g", g, per_token, KERNEL_DTYPES),
        ("state.state", state.state, (rows, heads, key_dim, value_dim), POOL_DTYPES),
        ("state.preconditioner", state.preconditioner, (rows, heads, key_dim), WIDE),
        ("anchor", anchor if isinstance(anchor, Tensor) else None, (batch, heads, key_dim), WIDE),
        ("out", out, (*per_token, value_dim), (v.dtype,)),
        ("state_indices", state_indices, (batch, *([] if state_indices is None else state_indices.shape[1:])), INDICES),
        ("num_tokens", num_tokens, (1,), INDICES),
        ("seed", seed, (1,), (torch.int64,)),
    ]  # fmt: skip
    graded = torch.is_grad_enabled()
    for name, tensor, shape, dtypes in expected:
        if tensor is None:
            continue
        if tensor.shape != shape or tensor.dtype not in dtypes:
            kinds = " or ".join(map(str, dtypes))
            refuse(name, f"{list(shape)} of {kinds}", f"{list(tensor.shape)} of {tensor.dtype}")
        if graded and tensor.requires_grad:
            refuse(name, "no gradient, as decode_step_ has none", "a tensor that requires one")
        if tensor.device != q.device:
            refuse(name, str(q.device), tensor.device)
    for name, tensor, *_ in expected[5:]:
        if tensor is not None and not tensor.is_contiguous():
            refuse(name, "a contiguous tensor", f"strides {tensor.stride()}")
    rule = read_rule(eta, d_min, d_max, normalize_feedback)
    return rule, key_dim**-0.5 if scale is None else read_finite("scale", scale)
