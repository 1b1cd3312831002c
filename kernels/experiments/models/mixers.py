"""The layers of the recall models: `OnlineScaledDeltaNet`, observed, and with its preconditioner replaced on demand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...layers.layer import OnlineScaledDeltaNet
from ...layers.operator import choose
from ...reference.chunkwise import remember_chunks
from ...reference.tokenwise import Memory, unit, widened
from .gated_delta import gated_delta_rule

Replacement = Callable[[Tensor, Tensor], Tensor]
"""(d_t [B, T, H, K], d_1 [B, H, K]) -> what takes the place of d_t."""

CHUNK = 64


def shuffled(path: Tensor, start: Tensor) -> Tensor:
    """d_t with its features permuted, the same way for every token and sequence."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(path.shape[-1], generator=generator).to(path.device)
    return path[..., order]


REPLACEMENTS: dict[str, Replacement] = {
    "ones": lambda path, start: torch.ones_like(path),
    "mean": lambda path, start: path.mean(-1, keepdim=True).expand_as(path),
    "shuffled": shuffled,
    "reversed": lambda path, start: path.flip(-1),
    "initial": lambda path, start: start[:, None].expand_as(path),
}
"""Ablations: d is replaced by 1, by its mean over the features, by itself shuffled or reversed over them, by d_1."""


class ScaledMixer(OnlineScaledDeltaNet):
    """The layer with two switches: `replacement` of d, and a `captured` dictionary that a call fills when it is one."""

    replacement: Replacement | None = None
    captured: dict[str, Tensor] | None = None

    def operator(self, q: Tensor) -> Callable[..., Any]:
        return partial(self._observed, super().operator(q))

    def _observed(
        self, plain: Callable[..., Any], q: Tensor, k: Tensor, v: Tensor, beta: Tensor, **options: Any
    ) -> tuple[Tensor, Any]:
        if self.replacement is None:
            o, state = plain(q, k, v, beta, **options)
        else:
            o, state = replaced(plain, self.replacement, q, k, v, beta, **options), None
        if self.captured is not None:
            given = {"q": q, "k": k, "v": v, "beta": beta, "o": o, **self._extra(options)}
            self.captured.update({name: x.detach().float() for name, x in given.items() if x is not None})
        return o, state

    def _extra(self, options: dict[str, Any]) -> dict[str, Tensor | None]:
        # A file of activations holds d_1 > 0; the box of `historic` begins at 0.
        start = options["initial_preconditioner"].clamp(min=torch.finfo(torch.float32).tiny)
        return {"g": options["g"], "d0": start}


class GatedMixer(ScaledMixer):
    """Gated DeltaNet, or OS-GDN where d is not pinned: the gate that would forget d lets the state decay instead."""

    def operator(self, q: Tensor) -> Callable[..., Any]:
        return partial(self._observed, gated if self.rule.pinned else partial(fading, self.mode))

    def _extra(self, options: dict[str, Any]) -> dict[str, Tensor | None]:
        start = {} if self.rule.pinned else {"d0": super()._extra(options)["d0"]}
        return {"log_decay": options["g"], **start}


def gated(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, *, g: Tensor, **options: Any) -> tuple[Tensor, None]:
    """`gated_delta_rule` with the layer's arguments, in float32."""
    o = gated_delta_rule(
        unit(q), unit(k), widened(v), widened(beta), widened(g), scale=q.shape[-1] ** -0.5, chunk_size=CHUNK
    )
    return o.to(v.dtype), None


def fading(
    mode: str, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, *, g: Tensor, **options: Any
) -> tuple[Tensor, Any]:
    """OS-GDN with the arguments of a layer whose gate is of d; token by token where there is no GPU."""
    found: tuple[Tensor, Any] = choose(mode, q, "osgdn")(q, k, v, g, beta, **options)
    return found


def replaced(
    plain: Callable[..., Any], replacement: Replacement, q: Tensor, k: Tensor, v: Tensor, beta: Tensor,
    **options: Any,
) -> Tensor:  # fmt: skip
    """Outputs of the delta rule with its write keys scaled by what takes the place of the d_t of `plain`."""
    path = plain(q, k, v, beta, return_trajectory=True, **options)[2].preconditioner
    start = v.new_zeros(q.shape[0], *q.shape[2:], v.shape[3], dtype=path.dtype)
    memory = Memory(unit(q), unit(k), widened(v), widened(beta), start)
    scaled = replacement(path, path[:, 0])
    return remember_chunks(memory, scaled, q.shape[-1] ** -0.5, CHUNK)[0].to(v.dtype)


def mixers_of(model: nn.Module) -> list[ScaledMixer]:
    """From the first layer to the last."""
    return [module for module in model.modules() if isinstance(module, ScaledMixer)]


@contextmanager
def replacing(model: nn.Module, replacement: Replacement | None) -> Iterator[None]:
    """Every layer with its d replaced."""
    layers = mixers_of(model)
    before = [layer.replacement for layer in layers]
    for layer in layers:
        layer.replacement = replacement
    try:
        yield
    finally:
        for layer, old in zip(layers, before, strict=True):
            layer.replacement = old


@contextmanager
def capturing(model: nn.Module) -> Iterator[list[dict[str, Tensor]]]:
    """What every layer's operator was given and gave in the calls inside, one dictionary for each layer."""
    layers = mixers_of(model)
    for layer in layers:
        layer.captured = {}
    try:
        yield [layer.captured for layer in layers if layer.captured is not None]
    finally:
        for layer in layers:
            layer.captured = None
