"""Random inputs: the same tensors for every provider of a row, but for the keys and d_1 that make a regime."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from ..shapes import Shape
from .regimes import HEAVY, LIGHT, NOTHING, Regime

Tensors = dict[str, Tensor]


def draw(shape: Shape, device: torch.device, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> Tensors:
    """q and k with unit rows, v, beta in (0, 1), grad of o, float32 g = log sigmoid(6.9 + normal), near log 0.999."""
    rng = torch.Generator(device=device).manual_seed(seed)
    tokens = (shape.batch, shape.length, shape.heads)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=rng, device=device, dtype=torch.float32)

    return {
        "q": normalize(normal(*tokens, shape.key_dim), dim=-1).to(dtype),
        "k": normalize(normal(*tokens, shape.key_dim), dim=-1).to(dtype),
        "v": normal(*tokens, shape.value_dim).to(dtype),
        "beta": normal(*tokens).sigmoid().to(dtype),
        "g": logsigmoid(6.9 + normal(*tokens)),
        "grad": normal(*tokens, shape.value_dim).to(dtype),
        "start": started(NOTHING, torch.rand(shape.batch, shape.heads, shape.key_dim, generator=rng, device=device)),
    }  # fmt: skip


def feature_gates(g: Tensor, features: int) -> Tensor:
    """Log gates [B, T, H, K] of which the mean over features is `g`."""
    return g[..., None] * torch.linspace(0.5, 1.5, features, device=g.device)


def started(regime: Regime, share: Tensor) -> Tensor:
    """d_1 [N, H, K] from uniform numbers."""
    (low, high), (other_low, other_high) = regime.first, regime.second
    half = share.shape[-1] // 2
    first, second = share[..., :half], share[..., half:]
    return torch.cat([low + (high - low) * first, other_low + (other_high - other_low) * second], -1)


def in_regime(regime: Regime, drawn: Tensors, seed: int = 0) -> Tensors:
    """What was drawn, with the keys and d_1 of a regime."""
    start = drawn["start"]
    rng = torch.Generator(device=start.device).manual_seed(seed)
    share = torch.rand(start.shape, generator=rng, device=start.device)
    tensors = {**drawn, "start": started(regime, share)}
    if regime.mixed:
        tensors["k"] = mixed(drawn["k"], rng)
    return tensors


def mixed(k: Tensor, rng: torch.Generator) -> Tensor:
    """Keys whose first half weighs `HEAVY` or `LIGHT` at random, and whose second half 0.5."""
    half = k.shape[-1] // 2
    heavy = torch.rand(*k.shape[:-1], 1, generator=rng, device=k.device) < 0.5
    weight = torch.where(heavy, HEAVY, LIGHT).sqrt()
    first = weight * normalize(k[..., :half].float(), dim=-1)
    second = 0.5**0.5 * normalize(k[..., half:].float(), dim=-1)
    return torch.cat([first, second], -1).to(k.dtype)
