"""Eager kernels with other people's names, layouts and defaults, right ones and ones with a fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FAULTS = (
    "beta ignored",
    "beta shifted",
    "keys of another head",
    "state ignored",
    "gate ignored",
    "read first",
)


@dataclass
class Foreign:
    """The conventions of a kernel, its fault, and how often it was called."""

    layout: str = "time first"
    state_layout: str = "KV"
    scale: str = "K^-1/2"
    per_feature: bool = False
    fault: str = ""
    multiple: int = 1
    calls: int = 0

    def run(
        self, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, h0: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """o in its layout, and the final state in its own."""
        self.calls += 1
        if self.layout == "head first":
            q, k, v, beta = (x.transpose(1, 2) for x in (q, k, v, beta))
            g = None if g is None else g.transpose(1, 2)
        (batch, length, heads, features), dtype = k.shape, v.dtype
        assert length % self.multiple == 0, f"T must be a multiple of {self.multiple}, got {length}"
        q, k, v, beta = (x.float() for x in (q, k, v, self._beta(beta)))
        k = self._keys(k)
        gate = self._gate(g, k)
        h = self._start(h0, (batch, heads, features, v.shape[-1]))
        outputs = []
        for t in range(length):
            before = h
            h = gate[:, t, :, :, None] * h
            residual = v[:, t] - (h * k[:, t, :, :, None]).sum(-2)
            h = h + k[:, t, :, :, None] * (beta[:, t, :, None] * residual)[:, :, None, :]
            read = before if self.fault == "read first" else h
            outputs.append((read * q[:, t, :, :, None]).sum(-2))
        scale = features**-0.5 if self.scale == "K^-1/2" else 1.0
        o = (scale * torch.stack(outputs, 1)).to(dtype)
        final = h.transpose(-1, -2) if self.state_layout == "VK" else h
        return (o.transpose(1, 2) if self.layout == "head first" else o), final

    def _beta(self, beta: Tensor) -> Tensor:
        if self.fault == "beta shifted":
            return beta.roll(1, 1)
        return torch.ones_like(beta) if self.fault == "beta ignored" else beta

    def _keys(self, k: Tensor) -> Tensor:
        if self.fault == "keys of another head":
            return k.roll(1, 2)
        if self.fault == "one batch row for all":
            return k[:1].expand_as(k)
        return k / k.norm(dim=-1, keepdim=True) if self.fault == "keys normalised" else k

    def _gate(self, g: Tensor | None, k: Tensor) -> Tensor:
        """[B, T, H, K], or [B, T, H, 1]."""
        if g is None or self.fault == "gate ignored":
            return torch.ones_like(k[..., :1])
        assert g.ndim == (4 if self.per_feature else 3), f"g has rank {g.ndim}"
        assert g.shape == k.shape[: g.ndim]
        return g.exp() if self.per_feature else g.exp()[..., None]

    def _start(self, h0: Tensor | None, shape: tuple[int, ...]) -> Tensor:
        if h0 is None:
            return torch.zeros(shape)
        h = h0.transpose(-1, -2) if self.state_layout == "VK" else h0
        assert h.shape == shape, f"state of shape {list(h0.shape)}"
        return torch.zeros(shape) if self.fault == "state ignored" else h.float()


def gated(kernel: Foreign) -> Callable[..., Any]:
    """With a gate and states, under other names, and no scale."""

    def layer(
        xq: Tensor, xk: Tensor, xv: Tensor, log_alpha: Tensor, b: Tensor, prev_state: Tensor | None,
        return_state: bool = False, **unused: Any,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        o, final = kernel.run(xq, xk, xv, b, log_alpha, prev_state)
        return o, final if return_state else None

    return layer


def multiplied(kernel: Foreign) -> Callable[..., Any]:
    """With the gate itself, under a name that says nothing of a logarithm."""

    def layer(
        q: Tensor, k: Tensor, v: Tensor, beta: Tensor, decay: Tensor, h0: Tensor | None = None,
        output_final_state: bool = False,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        return kernel.run(q, k, v, beta, decay.log(), h0)

    return layer


def stateless(kernel: Foreign) -> Callable[..., Any]:
    """DeltaNet that returns its output alone."""

    def layer(queries: Tensor, keys: Tensor, values: Tensor, beta: Tensor) -> Tensor:
        return kernel.run(queries, keys, values, beta, None, None)[0]

    return layer


def usual(kernel: Foreign) -> Callable[..., Any]:
    """flash-linear-attention's signature of Gated DeltaNet."""

    def layer(
        q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, scale: float | None = None,
        initial_state: Tensor | None = None, output_final_state: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        o, final = kernel.run(q, k, v, beta, g, initial_state)
        factor = 1.0 if scale is None else scale * k.shape[-1] ** 0.5
        return factor * o, final if output_final_state else None

    return layer
