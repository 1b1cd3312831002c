"""The boundary of the gated operators: their two gates, given as logarithms or as what the gates are formed from."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .checks import check_tensor, count_sequences, read_finite, read_rule, refuse, require_tensor
from .inputs import REFERENCE_DTYPES, Arguments, Gates, Limits, check_gates, check_groups, check_size
from .results import AnyState, turn_state, widen
from .rule import BOUNDED
from .values import own_rows


def check_gated_call(
    limits: Limits,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | AnyState | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    use_gate_in_kernel: bool = False,
    A_log: Tensor | None = None,
    dt_bias: Tensor | None = None,
    lower_bound: float | None = None,
    use_beta_sigmoid_in_kernel: bool = False,
    allow_neg_eigval: bool = False,
    safe_gate: bool = False,
    disable_recompute: bool = False,
    state_v_first: bool = False,
    cu_seqlens: Tensor | None = None,
    cu_seqlens_cpu: Tensor | None = None,
    chunk_indices: Tensor | None = None,
    g_d: Tensor | Literal["state"] | None = None,
    eta: float = BOUNDED.eta,
    d_min: float = BOUNDED.d_min,
    d_max: float = BOUNDED.d_max,
    anchor: Tensor | float | None = None,
    normalize_feedback: bool = BOUNDED.normalize_feedback,
    beta_aware: bool = True,
    initial_preconditioner: Tensor | None = None,
    state_indices: Tensor | None = None,
    chunk_size: int = 64,
    return_trajectory: bool = False,
    return_intermediate_states: bool = False,
    check_values: bool = True,
) -> Arguments:
    """The arguments of a gated operator, checked and made canonical; errors as in `check_scan`.

    With `use_gate_in_kernel` the log gates are formed from g, `A_log` and `dt_bias` (`form_gate`), and with
    `use_beta_sigmoid_in_kernel` the write gates from beta, both in torch. Without the former `A_log`, `dt_bias` and
    `lower_bound` are not read, as in flash-linear-attention: g is the gate, and a bound only says what it lies above.
    `safe_gate`, `disable_recompute`, `cu_seqlens_cpu` and `chunk_indices`, which change no result there, are not read
    either.
    """
    check_tensor("q", q, "[B, T, H, K]", limits.dtypes)
    check_size("q", q, limits)
    check_tensor("v", v, "[B, T, HV, V]", limits.beside(q), (*q.shape[:2], None, None), q.device)
    check_groups(q, v)
    features = (q.shape[3],) if limits.per_feature else ()
    layout = "[B, T, HV, K]" if limits.per_feature else "[B, T, HV]"
    check_tensor("g", g, layout, limits.dtypes, (*v.shape[:3], *features), q.device)
    check_tensor("beta", beta, "[B, T, HV]", limits.dtypes, v.shape[:3], q.device)
    count_sequences(cu_seqlens, q)
    if use_gate_in_kernel:
        g = form_gate(own_rows(g, cu_seqlens, read=check_values), A_log, dt_bias, lower_bound)
    if use_beta_sigmoid_in_kernel:
        beta = form_beta(own_rows(beta, cu_seqlens, read=check_values), allow_neg_eigval)
    elif allow_neg_eigval:
        refuse("allow_neg_eigval", "False without use_beta_sigmoid_in_kernel", allow_neg_eigval)
    if isinstance(g_d, str):
        if g_d != "state":
            refuse("g_d", 'a tensor, None or "state"', repr(g_d))
        g_d = reuse_gate(g, q.shape[2])
    if state_v_first:
        if state_indices is not None:
            refuse("state_v_first", "False beside state_indices", True)
        if return_intermediate_states:
            refuse("state_v_first", "False beside return_intermediate_states", True)
        initial_state = turn_given(initial_state, q, v)
    rule = read_rule(eta, d_min, d_max, normalize_feedback, beta_aware)
    call = check_gates(
        limits, q, k, v, beta, Gates(g, g_d, "g_d"), scale, rule, anchor, initial_state, initial_preconditioner,
        state_indices, output_final_state, use_qk_l2norm_in_kernel, cu_seqlens, chunk_size, return_trajectory,
        check_values, return_intermediate_states,
    )  # fmt: skip
    return replace(call, state_v_first=state_v_first)


def turn_given(state: Tensor | AnyState | None, q: Tensor, v: Tensor) -> Tensor | AnyState | None:
    """An initial state whose memory is [N, HV, V, K], with [N, HV, K, V]."""
    if state is None:
        return None
    memory = state.state if isinstance(state, AnyState) else state
    shape = (None, v.shape[2], v.shape[3], q.shape[3])
    check_tensor("initial_state", memory, "[N, HV, V, K]", REFERENCE_DTYPES, shape, q.device)
    return turn_state(state) if isinstance(state, AnyState) else memory.mT


def form_gate(
    x: Tensor, A_log: Tensor | None, dt_bias: Tensor | None, lower_bound: float | None = None
) -> Tensor:
    """Log gates of inputs [..., HV] or [..., HV, K], as flash-linear-attention forms them, in float32 (float64).

    ``-exp(A_log) softplus(x + dt_bias)``, or with a lower bound ``lower_bound sigmoid(exp(A_log) (x + dt_bias))``, with
    A_log of HV and dt_bias of HV or HV * K elements in any shape, None for 0; without a bound A_log has to be given.
    """
    wide = x.to(widen(x.dtype))
    if dt_bias is not None:
        layout = "[HV]" if x.dim() == 3 else "[HV * K]"
        wide = wide + read_parameter("dt_bias", dt_bias, layout, x.shape[2:], wide)
    if A_log is None:
        if lower_bound is None:
            refuse("A_log", "a tensor [HV] without lower_bound", None)
        return read_bound(lower_bound) * wide.sigmoid()
    slope = read_parameter("A_log", A_log, "[HV]", (x.shape[2], *[1] * (x.dim() - 3)), wide).exp()
    if lower_bound is None:
        gate: Tensor = -slope * softplus(wide)
        return gate
    return read_bound(lower_bound) * (slope * wide).sigmoid()


def read_parameter(name: str, value: Tensor, layout: str, shape: Sequence[int], like: Tensor) -> Tensor:
    """`value` as `shape`, whatever shape has its elements, in the dtype of `like`; `layout` is what errors call it."""
    require_tensor(name, value, layout)
    elements = math.prod(shape)
    if value.numel() != elements:
        refuse(name, f"{layout} = [{elements}], or its elements in another shape", list(value.shape))
    flat = value.reshape(-1)
    check_tensor(name, flat, layout, REFERENCE_DTYPES, device=like.device)
    return flat.view(*shape).to(like.dtype)


def read_bound(lower_bound: float) -> float:
    """`lower_bound` as a number <= 0: log gates lie between it and 0."""
    bound = read_finite("lower_bound", lower_bound)
    if bound > 0.0:
        refuse("lower_bound", "a log gate <= 0", lower_bound)
    return bound


def form_beta(x: Tensor, allow_neg_eigval: bool) -> Tensor:
    """Write gates sigmoid(x), or twice that, in float32 (float64)."""
    gate = x.to(widen(x.dtype)).sigmoid()
    return 2 * gate if allow_neg_eigval else gate


def reuse_gate(g: Tensor, heads: int) -> Tensor:
    """Log gates of d [B, T, H] from those of the memory: their means over features and over the heads that share d."""
    wide = g.to(widen(g.dtype))
    per_head = wide.mean(-1) if g.dim() == 4 else wide
    mean: Tensor = per_head.unflatten(2, (heads, -1)).mean(3)
    return mean


def feedback_terms(beta: Tensor, heads: int) -> Tensor:
    """(f, m) [N, T, H, 2] of the feedback f - m <d_t, s_t>: means of beta and beta^2 over the heads that share d_t.

    The mean of beta (1 - beta <d, s>) is minus the slope of the mean of (1 - beta <d, s>)^2 / 2 over these heads (T17).
    """
    # A head alone needs no reductions, which every call would wait for.
    if beta.shape[2] == heads:
        return torch.stack([beta, beta.square()], -1)
    grouped = beta.unflatten(2, (heads, -1))
    return torch.stack([grouped.mean(3), grouped.square().mean(3)], -1)
