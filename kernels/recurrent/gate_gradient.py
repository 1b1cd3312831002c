"""Gradients of the gates of the memory, from those of what reads it, erases from it and writes to it (T17)."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch.recurrence import Inputs
from ..launch.runtime import tile
from ..launch.tuning import autotune, configurations
from .forward import tokens_of
from .gates import PER_FEATURE, gate_kind, load_gate


# One warp holds a row, whose sum then needs no exchange between warps.
@autotune(configurations(warps=(1,)), ["K", "STATE_GATE"])
@triton.jit
def gate_gradient_kernel(
    q, k, path, state_gate, by_query, by_erase_key, by_write_key, initial, grad_gate, bounds, length,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, STATE_GATE: tl.constexpr,
    HAS_INITIAL: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """From token to token with <M_t, dM_t> of each feature, in float64; 0 where a gate leaves nothing of the memory."""
    program = tl.program_id(0)
    start, tokens = tokens_of(program // H, bounds, length, PACKED)
    key = tl.arange(0, BK)
    known = key < K
    met = tl.zeros([BK], tl.float64)
    if HAS_INITIAL:
        met = tl.load(initial + program.to(tl.int64) * K + key, mask=known, other=0.0)
    place = start * H + program % H
    key_place = start * (H // G) + program % H // G
    for _ in range(tokens):
        own, shared = place * K + key, key_place * K + key
        left = tl.exp(load_gate(state_gate, place, key, True, K, STATE_GATE).to(tl.float32))
        met = tl.where(left == 0.0, 0.0, met)
        if STATE_GATE == PER_FEATURE:
            tl.store(grad_gate + own, met.to(grad_gate.dtype.element_ty), mask=known)
        else:
            tl.store(grad_gate + place, tl.sum(met, 0).to(grad_gate.dtype.element_ty))
        read = tl.load(q + shared, mask=known, other=0.0).to(tl.float64)
        erased = tl.load(k + shared, mask=known, other=0.0).to(tl.float64)
        written = erased * tl.load(path + shared, mask=known, other=0.0).to(tl.float64)
        met -= read * tl.load(by_query + own, mask=known, other=0.0).to(tl.float64)
        met -= erased * tl.load(by_erase_key + own, mask=known, other=0.0).to(tl.float64)
        met += written * tl.load(by_write_key + own, mask=known, other=0.0).to(tl.float64)
        place += H
        key_place += H // G


def state_gate_gradient(
    inputs: Inputs, path: Tensor, by_head: Sequence[Tensor], grad_initial: Tensor | None
) -> Tensor | None:
    r"""Gradient of the log gates of the memory, if there are any (T17).

    `by_head` are those of what reads, erases and writes: of q, of k where it erases, and of w = d k [B, T, HV, K].
    With G the gradient of a memory, :math:`\partial_{g_t} = \langle H_{t-1}, G_{t-1}\rangle`, and one token changes
    that by what reads it less what writes it:
    :math:`\langle H_{t-1}, G_{t-1}\rangle = \langle H_t, G_t\rangle + q dq + k dk_{erase} - w dw`. So it is summed from
    the start on: after strong gates it is as exact as the largest term before them, not as what they leave of it.
    """
    gate = inputs.state_gate
    if gate is None:
        return None
    heads, key_dim, initial = gate.shape[2], inputs.k.shape[3], None
    if inputs.initial_state is not None and grad_initial is not None:
        initial = (inputs.initial_state.double() * grad_initial).sum(-1)
    grad_gate = torch.empty_like(gate)
    gate_gradient_kernel[(inputs.sequences * heads,)](
        inputs.q, inputs.k, path, gate, *by_head, initial, grad_gate, inputs.cu_seqlens, gate.shape[1],
        H=heads, G=heads // inputs.k.shape[2], K=key_dim, BK=tile(key_dim), STATE_GATE=gate_kind(gate),
        HAS_INITIAL=initial is not None, PACKED=inputs.cu_seqlens is not None,
    )  # fmt: skip
    return grad_gate
