"""What is left of the layer once projections, convolutions and the recurrence are taken away: gate and norm."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid, rms_norm

from ..boundary.results import widen
from .marks import MarkedModule

FORGET_BIAS = 6.9
"""Logit of the forgetting factor at the start: sigmoid(6.9) = 0.999."""


class ForgetGate(MarkedModule):
    """log gamma = logsigmoid(W x + b), [B, T, H] in float32 (float64 for float64 weights).

    W starts at zero and b at 6.9, so that gamma starts at 0.999 for every token. Not an `nn.Linear`, because generic
    initialisers redraw the weight of those and set the bias to zero: gamma would be 0.5.
    """

    marked = ("bias",)

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_heads, hidden_size))
        self.bias = nn.Parameter(torch.empty(num_heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.constant_(self.bias, FORGET_BIAS)

    def forward(self, x: Tensor) -> Tensor:
        logits = linear(x, self.weight)
        # Near 6.9 bfloat16 has a spacing of 0.03, that is 3% of 1 - gamma.
        wide = widen(logits.dtype)
        return logsigmoid(logits.to(wide) + self.bias.to(wide))


class HeadNorm(nn.RMSNorm):
    """RMS norm of each head's output, in float32 inside; takes a weight of another dtype, as under autocast."""

    def __init__(self, features: int, eps: float) -> None:
        super().__init__(features, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
