"""Gates of the memory, token by token: one for each head or one for each key feature, given as logarithms (T17)."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch.recurrence import Inputs

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


def state_gate_gradient(
    inputs: Inputs, path: Tensor, by_head: Sequence[Tensor], grad_initial: Tensor | None
) -> Tensor | None:
    r"""Gradient of the log gates of the memory, if there are any (T17).

    `by_head` are those of what reads, erases and writes: of q, of k where it erases, and of w = d k [B, T, HV, K].
    With G the gradient of a memory, :math:`\partial_{g_t} = \langle H_{t-1}, G_{t-1}\rangle`, and one token changes
    that by what reads it less what writes it:
    :math:`\langle H_{t-1}, G_{t-1}\rangle = \langle H_t, G_t\rangle + q dq + k dk_{erase} - w dw`. So it is summed from
    the start on, in float64, as the sums are long and what is left of them may be small.
    """
    gate, (by_query, by_erase_key, by_write_key) = inputs.state_gate, by_head
    if gate is None:
        return None
    group = gate.shape[2] // inputs.k.shape[2]
    q, k = (x.repeat_interleave(group, 2).float() for x in (inputs.q, inputs.k))
    through = q * by_query + k * (by_erase_key - path.repeat_interleave(group, 2) * by_write_key)
    at_start = through.new_zeros(inputs.sequences, *through.shape[2:])
    if inputs.initial_state is not None and grad_initial is not None:
        at_start = (inputs.initial_state.double() * grad_initial).sum(-1)
    if gate.dim() == 3:
        through, at_start = through.sum(-1, dtype=torch.float64), at_start.sum(-1)
    passed = through.cumsum(1, dtype=torch.float64) - through
    if inputs.cu_seqlens is None:
        return (at_start[:, None] - passed).to(gate.dtype)
    first = inputs.cu_seqlens[:-1].clamp(max=gate.shape[1] - 1)
    token = torch.arange(gate.shape[1], device=gate.device, dtype=inputs.cu_seqlens.dtype)
    sequence = (torch.searchsorted(inputs.cu_seqlens, token, right=True) - 1).clamp(0, len(first) - 1)
    return (at_start[sequence] - passed[0] + passed[0, first[sequence].long()]).to(gate.dtype)[None]
