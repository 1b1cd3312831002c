"""Gradients of the recurrence, token by token.

The memory's gradient runs back over the tokens and meets every write; a forward pass then recomputes the memory for
what reads it. Last, the calibration's gradient runs back along the preconditioner. All of it follows the recurrence
itself, not the chunk form, so that the two check each other.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..boundary.rule import Rule
from ..launch.recurrence import Cotangents, Gradients, Inputs, sum_groups
from ..launch.runtime import cdiv, single, tile
from ..launch.tuning import autotune, configurations
from ..scan.operator import load_feedback
from .forward import RecurrentOptions, outside, tokens_of, unclipped
from .gate_gradient import state_gate_gradient
from .gates import fade, forgotten, gate_kind, load_gate

VALUE_BLOCK = 64
"""Widest block of V: sums over V are stored once per block, so that narrow blocks would cost memory."""

# Each token waits for its neighbour, and its tiles do not: stages fetch them ahead. Warps trade registers per thread
# against exchanges between warps.
CHAIN = configurations([{"STAGES": 3}, {"STAGES": 2}], warps=(4, 8))


class RecurrentSaved(NamedTuple):
    """The part of `RecurrentOutputs` that the gradient needs."""

    path: Tensor
    residual: Tensor
    gain: Tensor


@autotune(CHAIN, ["K", "V", "STATE_GATE"])
@triton.jit
def write_gradient_kernel(
    q, k, beta, state_gate, path, residuals, grad_o, grad_final, grad_x, grad_v, grad_write_key, grad_beta,
    grad_initial, bounds, length, rows, scale,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    STATE_GATE: tl.constexpr, HAS_FINAL: tl.constexpr,
    HAS_INITIAL: tl.constexpr, PACKED: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Back over the tokens with dH [BK, BV]: gradients of x, v, the write key, beta and the initial state."""
    program = tl.program_id(0)
    start, tokens = tokens_of(program // H, bounds, length, PACKED)
    key = tl.arange(0, BK)
    value = tl.program_id(1) * BV + tl.arange(0, BV)
    known, in_value = key < K, value < V
    cell = (program.to(tl.int64) * K + key)[:, None] * V + value[None, :]
    in_cell = known[:, None] & in_value[None, :]
    grad = tl.zeros([BK, BV], tl.float32)
    if HAS_FINAL:
        grad = tl.load(grad_final + cell, mask=in_cell, other=0.0).to(tl.float32)
    block = tl.program_id(1).to(tl.int64) * rows
    place = (start + tokens - 1) * H + program % H
    key_place = (start + tokens - 1) * (H // G) + program % H // G
    for _ in tl.range(0, tokens, num_stages=STAGES):
        q_t = tl.load(q + key_place * K + key, mask=known, other=0.0).to(tl.float32)
        k_t = tl.load(k + key_place * K + key, mask=known, other=0.0).to(tl.float32)
        write_key = tl.load(path + key_place * K + key, mask=known, other=0.0) * k_t
        residual = tl.load(residuals + place * V + value, mask=in_value, other=0.0)
        read = scale * tl.load(grad_o + place * V + value, mask=in_value, other=0.0).to(tl.float32)
        beta_t = tl.load(beta + place).to(tl.float32)
        dx = tl.sum(grad * write_key[:, None], 0) + tl.sum(q_t * write_key, 0) * read
        grad += q_t[:, None] * read[None, :]
        by_key = tl.sum(grad * (beta_t * residual)[None, :], 1)
        grad -= (beta_t * k_t)[:, None] * dx[None, :]
        grad = fade(grad, load_gate(state_gate, place, key, True, K, STATE_GATE), STATE_GATE)
        tl.store(grad_x + place * V + value, dx, mask=in_value)
        tl.store(grad_v + place * V + value, (beta_t * dx).to(grad_v.dtype.element_ty), mask=in_value)
        tl.store(grad_write_key + (block + place) * K + key, by_key, mask=known)
        tl.store(grad_beta + block + place, tl.sum(dx * residual, 0))
        place -= H
        key_place -= H // G
    if HAS_INITIAL:
        tl.store(grad_initial + cell, grad, mask=in_cell)


@autotune(CHAIN, ["K", "V", "STATE_GATE"])
@triton.jit
def read_gradient_kernel(
    k, beta, state_gate, path, residuals, grad_o, grad_x, initial, grad_q, grad_erase_key, bounds, length, rows, scale,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    STATE_GATE: tl.constexpr, HAS_INITIAL: tl.constexpr,
    PACKED: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Forward with the memory recomputed: gradients of q and of k where it erases."""
    program = tl.program_id(0)
    start, tokens = tokens_of(program // H, bounds, length, PACKED)
    key = tl.arange(0, BK)
    value = tl.program_id(1) * BV + tl.arange(0, BV)
    known, in_value = key < K, value < V
    memory = tl.zeros([BK, BV], tl.float32)
    if HAS_INITIAL:
        cell = (program.to(tl.int64) * K + key)[:, None] * V + value[None, :]
        memory = tl.load(initial + cell, mask=known[:, None] & in_value[None, :], other=0.0)
    block = tl.program_id(1).to(tl.int64) * rows
    place = start * H + program % H
    key_place = start * (H // G) + program % H // G
    for _ in tl.range(0, tokens, num_stages=STAGES):
        k_t = tl.load(k + key_place * K + key, mask=known, other=0.0).to(tl.float32)
        write_key = tl.load(path + key_place * K + key, mask=known, other=0.0) * k_t
        beta_t = tl.load(beta + place).to(tl.float32)
        x = beta_t * tl.load(residuals + place * V + value, mask=in_value, other=0.0)
        dx = tl.load(grad_x + place * V + value, mask=in_value, other=0.0)
        output = tl.load(grad_o + place * V + value, mask=in_value, other=0.0).to(tl.float32)
        memory = fade(memory, load_gate(state_gate, place, key, True, K, STATE_GATE), STATE_GATE)
        erased = -beta_t * tl.sum(memory * dx[None, :], 1)
        memory += write_key[:, None] * x[None, :]
        asked = scale * tl.sum(memory * output[None, :], 1)
        tl.store(grad_erase_key + (block + place) * K + key, erased, mask=known)
        tl.store(grad_q + (block + place) * K + key, asked, mask=known)
        place += H
        key_place += H // G


# Rows of K numbers: one or two warps hold them, and sums over features stay within a warp.
@autotune(configurations([{"STAGES": 3}, {"STAGES": 2}], warps=(1, 2, 4)), ["K", "HAS_GATE"])
@triton.jit
def calibration_gradient_kernel(
    k, g, anchor, terms, path, gains, grad_write_key, grad_erase_key, grad_final, grad_k, grad_g, grad_initial,
    grad_anchor, grad_terms, bounds, length, eta, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr, HAS_ANCHOR: tl.constexpr,
    BETA_AWARE: tl.constexpr, HAS_FINAL: tl.constexpr, NORMALIZE: tl.constexpr, PACKED: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Back over the tokens with lambda = d loss / d d [BK]: gradients of k in full, g, d_1, the anchor and the
    terms of beta-aware feedback.

    Whether a step clipped is decided as the forward pass did, but from d_t without the part below its last digit:
    where the step ends within half an ulp of a bound the answers may differ, and only there.
    """
    program = tl.program_id(0)
    start, tokens = tokens_of(program // H, bounds, length, PACKED)
    key = tl.arange(0, BK)
    known = key < K
    own = program.to(tl.int64) * K + key
    onward = tl.zeros([BK], tl.float32)
    if HAS_FINAL:
        onward = tl.load(grad_final + own, mask=known, other=0.0).to(tl.float32)
    c = tl.zeros([BK], tl.float32)
    if HAS_ANCHOR:
        c = tl.load(anchor + own, mask=known, other=0.0)
    towards = tl.zeros([BK], tl.float32)
    place = (start + tokens - 1) * H + program % H
    for _ in tl.range(0, tokens, num_stages=STAGES):
        k_t = tl.load(k + place * K + key, mask=known, other=0.0).to(tl.float32)
        d = tl.load(path + place * K + key, mask=known, other=0.0)
        by_write_key = tl.load(grad_write_key + place * K + key, mask=known, other=0.0)
        erased = tl.load(grad_erase_key + place * K + key, mask=known, other=0.0)
        gain = tl.load(gains + place)
        gate = tl.full([], 0.0, tl.float32)
        if HAS_GATE:
            gate = tl.load(g + place).to(tl.float32)
        s = k_t * k_t
        moved, rest = unclipped(d, tl.zeros([BK], tl.float32), c, s, gain, gate, HAS_GATE)
        below, above = outside(moved, rest, d_min, d_max)
        # A box of one point is a constant, so that nothing passes it.
        passed = tl.where(below | above | (d_min == d_max), 0.0, onward)
        by_gain = tl.sum(passed * s, 0)
        step = eta * by_gain
        dk = erased + by_write_key * d
        if NORMALIZE:
            weight = 1.0 / (tl.sum(s, 0) + 1e-5)
            step *= weight
            dk -= 2.0 * weight * gain * by_gain * k_t
        if BETA_AWARE:
            _, slope = load_feedback(terms, place, True, BETA_AWARE)
            tl.store(grad_terms + place * 2, step)
            tl.store(grad_terms + place * 2 + 1, -step * tl.sum(d * s, 0))
            step *= slope
        dk += 2.0 * k_t * (gain * passed - step * d)
        tl.store(grad_k + place * K + key, dk.to(grad_k.dtype.element_ty), mask=known)
        onward = passed + (by_write_key * k_t - step * s)
        if HAS_GATE:
            lost = forgotten(gate)
            by_gate = (1.0 + lost) * tl.sum(passed * (d - c), 0)
            tl.store(grad_g + place, by_gate.to(grad_g.dtype.element_ty))
            onward += lost * passed
            towards -= lost * passed
        place -= H
    tl.store(grad_initial + own, onward, mask=known)
    if HAS_ANCHOR:
        tl.store(grad_anchor + own, towards, mask=known)


def recurrent_backward(
    inputs: Inputs, options: RecurrentOptions, saved: RecurrentSaved, grads: Cotangents
) -> Gradients:
    """Gradients of contiguous inputs; that of the initial preconditioner is of d_1, whether it was given or ones."""
    memory = _memory_gradients(inputs, options.scale, saved, grads)
    grad_k, grad_g, grad_initial, grad_anchor, grad_terms = _calibration_gradients(
        inputs, options.rule, saved, memory.write_key, memory.erase_key, grads.preconditioner
    )
    return Gradients(
        memory.q, grad_k, memory.v, memory.beta, grad_g, grad_anchor, memory.initial_state, grad_initial,
        memory.state_gate, grad_terms,
    )  # fmt: skip


class _MemoryGradients(NamedTuple):
    """Through the memory alone, where k is two inputs: what erases and what writes (both float32)."""

    q: Tensor
    erase_key: Tensor
    write_key: Tensor
    v: Tensor
    beta: Tensor
    initial_state: Tensor | None
    state_gate: Tensor | None


def _memory_gradients(
    inputs: Inputs, scale: float, saved: RecurrentSaved, grads: Cotangents
) -> _MemoryGradients:
    q, k, beta, initial_state = inputs.q, inputs.k, inputs.beta, inputs.initial_state
    key_dim, (batch, length, heads, value_dim) = k.shape[3], inputs.v.shape
    block = min(tile(value_dim), VALUE_BLOCK)
    grid = (inputs.sequences * heads, cdiv(value_dim, block))

    by_query, by_erase_key, by_write_key = (
        single(k, grid[1], batch, length, heads, key_dim) for _ in range(3)
    )
    by_beta, grad_x = single(k, grid[1], *beta.shape), single(k, *grads.o.shape)
    grad_v = torch.empty_like(grads.o)
    grad_initial = None if initial_state is None else torch.empty_like(initial_state)
    packed = inputs.cu_seqlens is not None
    shared = {
        "H": heads, "G": heads // k.shape[2], "K": key_dim, "V": value_dim, "BK": tile(key_dim), "BV": block,
        "STATE_GATE": gate_kind(inputs.state_gate), "PACKED": packed, "HAS_INITIAL": initial_state is not None,
    }  # fmt: skip
    where = (inputs.cu_seqlens, length, batch * length * heads, scale)
    write_gradient_kernel[grid](
        q, k, beta, inputs.state_gate, saved.path, saved.residual, grads.o, grads.state, grad_x, grad_v, by_write_key,
        by_beta, grad_initial, *where, **shared, HAS_FINAL=grads.state is not None,
    )  # fmt: skip
    read_gradient_kernel[grid](
        k, beta, inputs.state_gate, saved.path, saved.residual, grads.o, grad_x, initial_state, by_query, by_erase_key,
        *where, **shared,
    )  # fmt: skip
    by_head = [x.sum(0) for x in (by_query, by_erase_key, by_write_key)]
    grad_gate = state_gate_gradient(inputs, saved.path, by_head, grad_initial)
    query, erase_key, write_key = (sum_groups(x, k.shape[2]) for x in by_head)
    grad_beta = by_beta.sum(0).to(beta.dtype)
    return _MemoryGradients(
        query.to(q.dtype), erase_key, write_key, grad_v, grad_beta, grad_initial, grad_gate
    )


def _calibration_gradients(
    inputs: Inputs, rule: Rule, saved: RecurrentSaved, grad_write_key: Tensor, grad_erase_key: Tensor,
    grad_preconditioner: Tensor | None,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of k (all of it), g, d_1, the anchor (zero where nothing is forgotten) and the feedback's terms."""
    k, g, anchor, cu_seqlens = inputs.k, inputs.g, inputs.anchor, inputs.cu_seqlens
    heads, key_dim = k.shape[2:]
    grad_k = torch.empty_like(k)
    grad_g = None if g is None else torch.empty_like(g)
    grad_initial = single(k, inputs.sequences, heads, key_dim)
    grad_anchor = None if anchor is None else torch.zeros_like(anchor)
    grad_terms = None if inputs.feedback is None else torch.empty_like(inputs.feedback)
    calibration_gradient_kernel[(inputs.sequences * heads,)](
        k, g, anchor, inputs.feedback, saved.path, saved.gain, grad_write_key, grad_erase_key, grad_preconditioner,
        grad_k, grad_g, grad_initial, grad_anchor, grad_terms, cu_seqlens, k.shape[1], rule.eta, rule.d_min, rule.d_max,
        H=heads, K=key_dim, BK=tile(key_dim), HAS_GATE=g is not None,
        HAS_ANCHOR=g is not None and anchor is not None, BETA_AWARE=inputs.feedback is not None,
        HAS_FINAL=grad_preconditioner is not None, NORMALIZE=rule.normalize_feedback, PACKED=cu_seqlens is not None,
    )  # fmt: skip
    return grad_k, grad_g, grad_initial, grad_anchor, grad_terms
