"""The recurrences in float64 PyTorch, token by token, for autograd: what gradients are held against.

Every place where a backward pass may go wrong has a name here, and `Backward` says what becomes of the gradient that
flows through it; the forward results do not depend on that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Clip = Literal["exact", "straight-through", "whole token", "open"]
"""Gradient of the clip: through what is in the closed box; through everything; not through tokens of which one
feature clips; through the open box alone, which is as good a derivative as the first."""

FEEDBACK_EPSILON = 1e-5
"""Added to |k|^2 in the normalised feedback."""


@dataclass(frozen=True)
class Backward:
    """A backward pass: factors of the gradient at named places, and what the clip lets through.

    - `factors`, mapping from place to number: What the gradient through a place is multiplied by; 1 where nothing is
      said, 0 detaches.
    - `chunk`: Tokens between the places "memory between chunks" and "d between chunks"; 0: there are none.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    clip: Clip = "exact"
    chunk: int = 0

    def at(self, place: str, x: Tensor) -> Tensor:
        """The same numbers, the gradient through them multiplied."""
        factor = self.factors.get(place, 1.0)
        if factor == 1:
            return x
        fixed = x.detach()
        return fixed if factor == 0 else fixed + factor * (x - fixed)

    def between(self, place: str, token: int, x: Tensor) -> Tensor:
        """`at` where a chunk begins."""
        return self.at(place, x) if self.chunk and token and token % self.chunk == 0 else x


EXACT = Backward()


class Final(NamedTuple):
    """State [B, H, K, V] and preconditioner [B, H, K] handed on."""

    state: Tensor
    preconditioner: Tensor | None


def recurrence_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    *,
    g: Tensor | None = None,
    g_d: Tensor | None = None,
    scale: float | None = None,
    eta: float | None = None,
    d_min: float = -float("inf"),
    d_max: float = float("inf"),
    anchor: Tensor | None = None,
    normalize_feedback: bool = False,
    beta_aware: bool = False,
    decays: bool = False,
    initial_state: Tensor | None = None,
    initial_preconditioner: Tensor | None = None,
    output_final_state: bool = True,
    cu_seqlens: Tensor | None = None,
    backward: Backward = EXACT,
) -> tuple[Tensor, Final | None]:
    r"""OSDN with an `eta`; else DeltaNet, Gated DeltaNet with a `g` [B, T, H], or KDA with one [B, T, H, K].

    With `decays` g is the memory's in OSDN too, and `g_d` the preconditioner's: OS-GDN and OS-KDA.

    .. math::
        H_t = \alpha_t H_{t-1} + \beta_t (d_t \odot k_t)(v_t - (\alpha_t H_{t-1})^T k_t)^T, \qquad
        o_t = \text{scale}\, H_t^T q_t

    d is 1 but in OSDN (see `calibration_reference`), alpha is 1 but in the gated ones. Tensors as in
    flash-linear-attention: q, k [B, T, H, K], v [B, T, H, V], states [B, H, K, V]. `scale` is K^(-1/2) by default. With
    `cu_seqlens` the sequences between these bounds are packed into one batch row, and states have one row for each.
    """
    import torch

    if cu_seqlens is not None:
        tokens = {"q": q, "k": k, "v": v, "beta": beta, "g": g, "g_d": g_d}
        states = {
            "initial_state": initial_state,
            "initial_preconditioner": initial_preconditioner,
            "anchor": anchor,
        }
        return _packed(
            tokens, states, cu_seqlens.tolist(), scale=scale, eta=eta, d_min=d_min, d_max=d_max,
            normalize_feedback=normalize_feedback, beta_aware=beta_aware, decays=decays,
            output_final_state=output_final_state, backward=backward,
        )  # fmt: skip
    path, last = None, None
    if eta is not None:
        path, last = calibration_reference(
            k, g=g_d if decays else g, eta=eta, d_min=d_min, d_max=d_max, anchor=anchor,
            normalize_feedback=normalize_feedback, write_gates=beta if beta_aware else None,
            initial_preconditioner=initial_preconditioner, backward=backward,
        )  # fmt: skip
    decay = g if decays or eta is None else None
    state = k.new_zeros(k.shape[0], *k.shape[2:], v.shape[3]) if initial_state is None else initial_state
    outputs = []
    for t in range(k.shape[1]):
        state = backward.between("memory between chunks", t, state)
        d = None if path is None else path[:, t]
        gate = None if decay is None else decay[:, t].exp()
        state = _written(state, k[:, t], v[:, t], beta[:, t], d, gate, backward)
        read = backward.at("memory of the read", state)
        outputs.append(torch.einsum("bhkv,bhk->bhv", read, q[:, t]))
    o = (k.shape[-1] ** -0.5 if scale is None else scale) * _stacked(outputs, v)
    final = Final(backward.at("final state", state), last) if output_final_state else None
    return backward.at("o", o), final


def calibration_reference(
    k: Tensor,
    *,
    g: Tensor | None = None,
    eta: float,
    d_min: float = -float("inf"),
    d_max: float = float("inf"),
    anchor: Tensor | None = None,
    normalize_feedback: bool = False,
    write_gates: Tensor | None = None,
    initial_preconditioner: Tensor | None = None,
    backward: Backward = EXACT,
) -> tuple[Tensor, Tensor]:
    r"""The preconditioner alone: d_t [B, T, H, K] of every token, and the d handed on [B, H, K].

    .. math:: d_{t+1} = \Pi[c + e^{g_t} (d_t - c) + \eta w_t (1 - \langle d_t, k_t \odot k_t\rangle) k_t \odot k_t]

    `anchor` c is 0 by default and d_1 is 1. With `write_gates` beta [B, T, H] the feedback is
    beta_t (1 - beta_t <d_t, k_t * k_t>). A box of one point lets no gradient through: there the clip is a constant.
    """
    import torch

    at = backward.at
    d = k.new_ones(k.shape[0], *k.shape[2:]) if initial_preconditioner is None else initial_preconditioner
    center = torch.zeros_like(d) if anchor is None else anchor
    path = []
    for t in range(k.shape[1]):
        d = backward.between("d between chunks", t, d)
        path.append(d)
        s = at("k of the feature", k[:, t]).square()
        met = (at("d of the feedback", d) * s).sum(-1, keepdim=True)
        gate = 1.0 if write_gates is None else at("beta of the feedback", write_gates[:, t, :, None])
        feedback = gate * (1 - gate * met)
        if normalize_feedback:
            feedback = feedback * at(
                "weight of the feedback", 1 / (s.sum(-1, keepdim=True) + FEEDBACK_EPSILON)
            )
        kept = d if g is None else center + g[:, t, :, None].exp() * (d - center)
        d = _clipped(kept + eta * feedback * s, d_min, d_max, backward.clip)
    return _stacked(path, k), at("d handed on", d)


def _stacked(tokens: list[Tensor], like: Tensor) -> Tensor:
    """Tokens one after the other; none have the shape of what else has none."""
    import torch

    return torch.stack(tokens, 1) if tokens else torch.zeros_like(like)


def _packed(
    tokens: Mapping[str, Tensor | None], states: Mapping[str, Tensor | None], bounds: list[int], **rule: Any
) -> tuple[Tensor, Final | None]:
    """Each sequence by itself."""
    import torch

    found = []
    for at, (start, stop) in enumerate(pairwise(bounds)):
        own: dict[str, Any] = {n: None if x is None else x[:, start:stop] for n, x in tokens.items()}
        own |= {n: None if x is None else x[at : at + 1] for n, x in states.items()}
        found.append(recurrence_reference(**own, **rule))
    outputs = torch.cat([o for o, _ in found], 1)
    finals = [final for _, final in found if final is not None]
    if not finals:
        return outputs, None
    handed = [final.preconditioner for final in finals if final.preconditioner is not None]
    return outputs, Final(torch.cat([final.state for final in finals]), torch.cat(handed) if handed else None)


def _written(
    state: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    d: Tensor | None,
    gate: Tensor | None,
    backward: Backward,
) -> Tensor:
    """S_t from S_{t-1}; the gate [B, H] or [B, H, K], d [B, H, K], or None: 1."""
    import torch

    at, beta = backward.at, beta[..., None]
    kept = erased = state
    if gate is not None:
        wide = gate[..., None] if gate.ndim == k.ndim else gate[..., None, None]
        kept, erased = at("gate of the memory", wide) * state, at("gate of the residual", wide) * state
    read = torch.einsum("bhkv,bhk->bhv", erased, at("k of the erase", k))
    written = at("beta of the value", beta) * v - at("beta of the erase", beta) * read
    write_key = at("k of the write", k)
    if d is not None:
        write_key = at("d of the write", d) * write_key
    return kept + torch.einsum("bhk,bhv->bhkv", write_key, written)


def _clipped(d: Tensor, d_min: float, d_max: float, clip: Clip) -> Tensor:
    import torch

    held = d.detach().clamp(d_min, d_max)
    if clip == "straight-through":
        return held + (d - d.detach())
    if d_min == d_max:
        return held
    through: Any = (d >= d_min) & (d <= d_max)
    if clip == "open":
        through = (d > d_min) & (d < d_max)
    if clip == "whole token":
        through = through.all(-1, keepdim=True)
    return torch.where(through, d, held)
