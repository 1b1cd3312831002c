"""Random inputs: the same tensors for every provider of a row."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .shapes import Shape

CLIPPING_BOX = 1.05
"""d_min, and d_1, of the stream on which every chunk clips: with unit keys a_t > 1 there, and each token steps down."""

D_MIN, D_MAX = 2 / 3, 3 / 2

START = 0.8, 1.2
"""Between which d_1 is drawn: clear of the bounds, so that no chunk clips. Where all of them do has its own rows."""


@dataclass(frozen=True)
class Drawn:
    """q and k have unit rows, beta lies in (0, 1); g = log sigmoid(6.9 + normal), near log 0.999, is float32."""

    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor
    g: Tensor
    start: Tensor
    grad: Tensor


def draw(shape: Shape, device: torch.device, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> Drawn:
    rng = torch.Generator(device=device).manual_seed(seed)
    tokens = (shape.batch, shape.length, shape.heads)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=rng, device=device, dtype=torch.float32)

    def unit(*size: int) -> Tensor:
        return torch.nn.functional.normalize(normal(*size), dim=-1)

    share = torch.rand(shape.batch, shape.heads, shape.key_dim, generator=rng, device=device)
    low, high = START
    return Drawn(
        q=unit(*tokens, shape.key_dim).to(dtype),
        k=unit(*tokens, shape.key_dim).to(dtype),
        v=normal(*tokens, shape.value_dim).to(dtype),
        beta=normal(*tokens).sigmoid().to(dtype),
        g=torch.nn.functional.logsigmoid(6.9 + normal(*tokens)),
        start=low + (high - low) * share,
        grad=normal(*tokens, shape.value_dim).to(dtype),
    )
