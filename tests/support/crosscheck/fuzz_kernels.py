"""Kernels for the fuzzer's tests: right ones, and ones whose single fault shows on some inputs only."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from support.crosscheck import eager_faults
from torch import Tensor


class State(NamedTuple):
    state: Tensor
    preconditioner: Tensor


def right(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None = None, scale: float | None = None,
    eta: float = 0.003, d_min: float = 2 / 3, d_max: float = 1.5, anchor: Tensor | None = None,
    normalize_feedback: bool = False, initial_state: Tensor | None = None,
    initial_preconditioner: Tensor | None = None, output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, State | None]:  # fmt: skip
    """OSDN token by token in float32, with everything that the fuzzer knows to ask for."""
    dtype, scale = v.dtype, k.shape[-1] ** -0.5 if scale is None else scale
    q, k, v, beta = (x.float() for x in (q, k, v, beta))
    bounds = [0, k.shape[1]] if cu_seqlens is None else cu_seqlens.tolist()
    rows = k.shape[0] if cu_seqlens is None else len(bounds) - 1
    features = (*k.shape[2:], v.shape[-1])
    states = k.new_zeros(rows, *features) if initial_state is None else initial_state.float()
    starts = (
        k.new_ones(rows, *k.shape[2:]) if initial_preconditioner is None else initial_preconditioner.float()
    )
    anchors = torch.zeros_like(starts) if anchor is None else anchor
    outputs, finals, handed = v.new_zeros(v.shape), [], []
    for n, (start, stop) in enumerate(pairwise(bounds)):
        own = slice(None) if cu_seqlens is None else slice(n, n + 1)
        state, d, c = states[own], starts[own], anchors[own]
        for t in range(start, stop):
            s = k[:, t].square()
            residual = v[:, t] - torch.einsum("bhkv,bhk->bhv", state, k[:, t])
            state = state + torch.einsum("bhk,bhv->bhkv", d * k[:, t], beta[:, t, :, None] * residual)
            outputs[:, t] = scale * torch.einsum("bhkv,bhk->bhv", state, q[:, t])
            weight = 1 / (s.sum(-1, keepdim=True) + 1e-5) if normalize_feedback else 1.0
            kept = d if g is None else c + g[:, t, :, None].exp() * (d - c)
            d = (kept + eta * weight * (1 - (d * s).sum(-1, keepdim=True)) * s).clamp(d_min, d_max)
        finals.append(state)
        handed.append(d)
    final = State(torch.cat(finals), torch.cat(handed)) if output_final_state else None
    return outputs.to(dtype), final


def _like_right(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """With the signature of `right`."""
    kernel.__wrapped__ = right  # type: ignore[attr-defined]
    return kernel


@_like_right
def drops_the_last_partial_chunk(**given: Any) -> Any:
    """Tokens after the last whole chunk of 16 do not write."""
    beta = given["beta"].clone()
    if given.get("cu_seqlens") is None:
        beta[:, beta.shape[1] // 16 * 16 :] = 0
    return right(**{**given, "beta": beta})


@_like_right
def ignores_the_initial_state(**given: Any) -> Any:
    return right(**{**given, "initial_state": None})


@_like_right
def wrong_for_one_token(**given: Any) -> Any:
    o, final = right(**given)
    return (o + 1 if o.shape[1] == 1 else o), final


@_like_right
def wrong_above_16_features(**given: Any) -> Any:
    """Features beyond a tile of 16 are not read."""
    q = given["q"].clone()
    q[..., 16:] = 0
    return right(**{**given, "q": q})


@_like_right
def nan_for_beta_0(**given: Any) -> Any:
    o, final = right(**given)
    return torch.where((given["beta"] == 0)[..., None], torch.nan, o), final


@_like_right
def raises_for_strides(**given: Any) -> Any:
    if not given["k"].is_contiguous():
        raise RuntimeError(f"view size is not compatible with strides {given['k'].stride()}")
    return right(**given)


@_like_right
def ignores_the_lower_bound(**given: Any) -> Any:
    return right(**{**given, "d_min": float("-inf")})


@_like_right
def mixes_packed_sequences(**given: Any) -> Any:
    """The second packed sequence starts from what the first one should."""
    state = given.get("initial_state")
    if given.get("cu_seqlens") is not None and state is not None and len(state) > 1:
        given["initial_state"] = torch.cat([state[:1], state[:1], state[2:]])
    return right(**given)


@_like_right
def wrong_in_bfloat16(**given: Any) -> Any:
    o, final = right(**given)
    return (o * 1.25 if o.dtype == torch.bfloat16 else o), final


@_like_right
def refuses_normalised_feedback(**given: Any) -> Any:
    if given.get("normalize_feedback"):
        raise NotImplementedError("normalised feedback")
    return right(**given)


def delta_net(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, scale: float | None = None,
    initial_state: Tensor | None = None, output_final_state: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    o, final = right(
        q, k, v, beta, scale=scale, initial_state=initial_state, output_final_state=True, d_min=1, d_max=1
    )
    assert final is not None
    return o, final.state if output_final_state else None


def _gated(
    query: Tensor, key: Tensor, value: Tensor, g: Tensor, beta: Tensor, initial_state: Tensor | None,
    *, late: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Head first, states [V, K]; one gate per feature, or one per token as the last axis of g."""
    dtype, scale = value.dtype, key.shape[-1] ** -0.5
    q, k, v, g, beta = (x.float() for x in (query, key, value, g, beta))
    state = k.new_zeros(*k.shape[:2], v.shape[-1], k.shape[-1]) if initial_state is None else initial_state
    outputs = v.new_zeros(v.shape)
    for t in range(k.shape[2]):
        decayed = state * g[:, :, t].exp()[:, :, None]
        read = state if late else decayed
        residual = v[:, :, t] - torch.einsum("bhvk,bhk->bhv", read, k[:, :, t])
        state = decayed + torch.einsum("bhk,bhv->bhvk", k[:, :, t], beta[:, :, t, None] * residual)
        outputs[:, :, t] = scale * torch.einsum("bhvk,bhk->bhv", state, q[:, :, t])
    return outputs.to(dtype), state


def gated(
    query: Tensor, key: Tensor, value: Tensor, decay: Tensor, beta: Tensor, h0: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Gated DeltaNet, head first, states [V, K], K ** -0.5 fixed, under other names."""
    return _gated(query, key, value, decay[..., None], beta, h0)


def late_gated(
    query: Tensor, key: Tensor, value: Tensor, decay: Tensor, beta: Tensor, h0: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The same, with the residual from the memory before its decay."""
    return _gated(query, key, value, decay[..., None], beta, h0, late=True)


def kda(
    query: Tensor, key: Tensor, value: Tensor, decay: Tensor, beta: Tensor, h0: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    return _gated(query, key, value, decay, beta, h0)


def kda_of_one_gate(
    query: Tensor, key: Tensor, value: Tensor, decay: Tensor, beta: Tensor, h0: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Every feature decays by the gate of the first."""
    return _gated(query, key, value, decay[..., :1], beta, h0)


def path_alone(
    k: Tensor, g: Tensor | None = None, eta: float = 0.003, d_min: float = 2 / 3, d_max: float = 1.5,
    initial_preconditioner: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The preconditioner alone."""
    k = k.float()
    d = k.new_ones(k.shape[0], *k.shape[2:]) if initial_preconditioner is None else initial_preconditioner
    path = torch.zeros_like(k)
    for t in range(k.shape[1]):
        path[:, t], s = d, k[:, t].square()
        kept = d if g is None else g[:, t, :, None].exp() * d
        d = (kept + eta * (1 - (d * s).sum(-1, keepdim=True)) * s).clamp(d_min, d_max)
    return path, d


def late_path(
    k: Tensor, g: Tensor | None = None, eta: float = 0.003, d_min: float = 2 / 3, d_max: float = 1.5,
    initial_preconditioner: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The same, one token late."""
    path, last = path_alone(k, g, eta, d_min, d_max, initial_preconditioner)
    return torch.cat([path[:, :1], path[:, :-1]], 1), last


osgdn, oskda = eager_faults.kernel("osgdn"), eager_faults.kernel("oskda")
late_oskda = eager_faults.kernel("oskda", "decays after the residual")
