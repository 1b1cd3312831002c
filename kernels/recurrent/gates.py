"""Gates of the memory, token by token: one for each head or one for each key feature, given as logarithms (T17)."""

import triton
import triton.language as tl
from torch import Tensor

PER_HEAD: tl.constexpr = tl.constexpr(1)
PER_FEATURE: tl.constexpr = tl.constexpr(2)
"""Kinds of state gate, STATE_GATE in kernels; 0 is none."""


def gate_kind(state_gate: Tensor | None) -> int:
    """STATE_GATE of log gates [B, T, HV], [B, T, HV, K] or None."""
    return 0 if state_gate is None else state_gate.dim() - 2


@triton.jit
def forgotten(g):
    """exp(g) - 1 for g <= 0.

    Near 0 by its series: 1 + g rounded to float32 would be off by the same part of an ulp at every token, which slow
    forgetting adds up over its long memory.
    """
    series = 1.0 + g / 6.0 * (1.0 + g / 7.0 * (1.0 + g / 8.0))
    series = 1.0 + g / 2.0 * (1.0 + g / 3.0 * (1.0 + g / 4.0 * (1.0 + g / 5.0 * series)))
    return tl.where(g > -0.5, g * series, tl.exp(g) - 1.0)


@triton.jit
def fading_of(gate):
    """Two factors that add up to alpha, of float32 log gates.

    Weak gates by what they take away: alpha rounded to float32 is off by the same part of an ulp at every token.
    """
    return tl.where(gate > -0.5, 1.0, 0.0), tl.where(gate > -0.5, forgotten(gate), tl.exp(gate))


@triton.jit
def fade(memory, gate, STATE_GATE: tl.constexpr):
    """alpha H for the log gate, one number or one for each feature [K], or broadcast against H (T17)."""
    if STATE_GATE > 0:
        kept, factor = fading_of(gate.to(tl.float32))
        if len(gate.shape) == 1:
            kept, factor = kept[:, None], factor[:, None]
        memory = kept * memory + factor * memory
    return memory


@triton.jit
def load_gate(gates, place, key, wanted, K: tl.constexpr, STATE_GATE: tl.constexpr):
    """Log gate of the memory of the token and head at row `place`; 0 where there is none."""
    if STATE_GATE == PER_FEATURE:
        gate = tl.load(gates + place * K + key, mask=(key < K) & wanted, other=0.0)
    elif STATE_GATE == PER_HEAD:
        gate = tl.load(gates + place, mask=wanted, other=0.0)
    else:
        gate = tl.full([], 0.0, tl.float32)
    return gate
