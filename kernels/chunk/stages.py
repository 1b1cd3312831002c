"""The chunkwise operator: its stages in order, forward and backward."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..boundary.rule import Rule
from ..launch.sequences import Chunks, sum_by_sequence
from ..scan.backward import scan_backward
from ..scan.forward import Gains, scan_forward
from .key_gradient import run_key_gradient
from .state import keep_states, read
from .state_backward import read_backward
from .write_keys import FIXED, IDENTITY, LEARNED, WriteKeys
from .wy import solve
from .wy_backward import apply_inverse, solve_backward


class Inputs(NamedTuple):
    """Tensors of one call, contiguous. Shapes as in `osdn_kernels.chunk_osdn`; anchors and states are float32."""

    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor
    gate: Tensor | None
    anchor: Tensor | None
    initial_state: Tensor | None
    initial_preconditioner: Tensor | None


class Forward(NamedTuple):
    """Outputs, what the backward pass needs beside the inputs, and d_t of every token where it was asked for."""

    o: Tensor
    state: Tensor
    preconditioner: Tensor
    write_key: Tensor
    inverse: Tensor
    gains: Gains | None
    path: Tensor | None


class Saved(NamedTuple):
    """The part of `Forward` that the backward pass needs."""

    write_key: Tensor
    inverse: Tensor
    gains: Gains | None


class Outputs(NamedTuple):
    """Gradients that come in."""

    o: Tensor
    state: Tensor | None
    preconditioner: Tensor | None


class Gradients(NamedTuple):
    """Gradients of the fields of `Inputs`, in its order; None where nothing depends on the field."""

    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor
    gate: Tensor | None
    anchor: Tensor | None
    initial_state: Tensor | None
    initial_preconditioner: Tensor | None


def optional(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def contiguous(*tensors: Tensor | None) -> Inputs:
    """The fields of `Inputs`, in its order, as the kernels take them."""
    return Inputs(*map(optional, tensors))


def key_mode(rule: Rule, *, gated: bool, started: bool, start_learns: bool) -> int:
    """Which write keys a call needs, decided without reading a tensor.

    A box of one point pins d; so do eta = 0 and no gate, at d_1. `started` says that d_1 is given (ones otherwise), and
    `start_learns` that its gradient is wanted.
    """
    if rule.pinned:
        return IDENTITY if rule.d_min == 1.0 and not start_learns else FIXED
    if rule.eta == 0.0 and not gated:
        return FIXED if started else IDENTITY
    return LEARNED


def write_keys(
    inputs: Inputs, mode: int, gains: Gains | None, out: Tensor, path: Tensor | None = None
) -> WriteKeys:
    """The preconditioner of a call as the chunk kernels take it."""
    if mode == LEARNED:
        return WriteKeys(mode, out, gains.entry, gains.gain, gains.clipped, inputs.gate, inputs.anchor, path)
    if mode == FIXED:
        return WriteKeys(mode, out, inputs.initial_preconditioner, path=path)
    return WriteKeys(mode, out)


def forward(
    inputs: Inputs, rule: Rule, mode: int, scale: float, chunks: Chunks,
    *, sequential: bool = False, keep: bool = False,
) -> Forward:  # fmt: skip
    """Output, final state and final preconditioner of every sequence; with `keep` the d_t that they come from."""
    q, k, v, beta, gate, anchor, initial_state, start = inputs
    if q.numel() == 0:
        return empty_forward(inputs, chunks, keep=keep)
    gains = None
    path = new_path(k, mode) if keep else None
    out = k if mode == IDENTITY else torch.empty_like(k)
    if mode == LEARNED:
        gains = scan_forward(
            k, gate, anchor, start, rule, chunks, out, scale_key=True, sequential=sequential, path=path
        )
    solved = solve(k, v, beta, write_keys(inputs, mode, gains, out, path), chunks)
    o, state = read(q, out, solved.w, solved.u, initial_state, chunks, scale)
    final = gains.final if gains else starting_preconditioner(inputs, chunks)
    return Forward(o, state, final, out, solved.inverse, gains, path)


def new_path(k: Tensor, mode: int) -> Tensor:
    """Memory for d_t of every token; ones, and right, where the keys are written as they are."""
    make = torch.ones if mode == IDENTITY else torch.empty
    return make(k.shape, dtype=torch.float32, device=k.device)


def starting_preconditioner(inputs: Inputs, chunks: Chunks) -> Tensor:
    """d_1 of every sequence, in memory of its own."""
    if inputs.initial_preconditioner is not None:
        return inputs.initial_preconditioner.clone()
    heads, key_dim = inputs.k.shape[2:]
    return inputs.k.new_ones(chunks.sequences, heads, key_dim, dtype=torch.float32)


def empty_forward(inputs: Inputs, chunks: Chunks, *, keep: bool = False) -> Forward:
    """The outputs where there are no tokens: every sequence hands on what it was given."""
    k, v = inputs.k, inputs.v
    state = inputs.initial_state
    shape = (chunks.sequences, *k.shape[2:], v.shape[-1])
    state = k.new_zeros(shape, dtype=torch.float32) if state is None else state.clone()
    wide = {"dtype": torch.float32}
    gains = Gains(
        k.new_empty(k.shape[:3], **wide),
        k.new_ones(chunks.slots, *k.shape[2:], **wide),
        k.new_zeros(chunks.slots, k.shape[2], dtype=torch.int8),
        starting_preconditioner(inputs, chunks),
    )
    inverse = k.new_empty(*k.shape[:3], chunks.size)
    path = k.new_empty(k.shape, **wide) if keep else None
    return Forward(torch.empty_like(v), state, gains.final, torch.empty_like(k), inverse, gains, path)


def empty_backward(inputs: Inputs, grads: Outputs) -> Gradients:
    """Gradients where there are no tokens."""
    passed = (grads.state, grads.preconditioner)
    given = (inputs.initial_state, inputs.initial_preconditioner)
    through = [
        None if x is None else torch.zeros_like(x) if grad is None else grad.clone()
        for x, grad in zip(given, passed, strict=True)
    ]
    return Gradients(*[None if x is None else torch.zeros_like(x) for x in inputs[:6]], *through)


def backward(
    inputs: Inputs, saved: Saved, rule: Rule, mode: int, scale: float, chunks: Chunks, grads: Outputs,
    *, sequential: bool = False,
) -> Gradients:  # fmt: skip
    """Gradients of every input; W, U and the states are formed again rather than kept."""
    q, k, v, beta, gate, anchor, initial_state, _ = inputs
    if q.numel() == 0:
        return empty_backward(inputs, grads)
    keys = write_keys(inputs, mode, saved.gains, saved.write_key)
    w, u = apply_inverse(k, v, beta, saved.inverse, chunks)
    states, x = keep_states(keys.out, w, u, initial_state, chunks)
    del u
    grad_states, grad_x, grad_initial = read_backward(
        q, keys.out, w, grads.o, grads.state, chunks, scale, initial=initial_state is not None
    )
    del w
    grad_q, grad_write_key, grad_w = run_key_gradient(
        q, keys.out, x, states, grads.o, grad_x, grad_states, chunks, scale
    )
    del states, grad_states, x
    solved = solve_backward(
        k, v, beta, keys, saved.inverse, grad_write_key, grad_w, grad_x, chunks, pinned=rule.pinned
    )
    del grad_w, grad_x
    grad_k, grad_gate, grad_start, grad_anchor = solved.k, None, None, None
    if mode == FIXED:
        grad_start = sum_by_sequence(solved.entry, chunks)
        if grads.preconditioner is not None and not rule.pinned:
            grad_start += grads.preconditioner
    if mode == LEARNED:
        grad_k, grad_gate, grad_start, grad_anchor = scan_backward(
            k, gate, anchor, rule, chunks, saved.gains, grad_write_key, grads.preconditioner, solved.k,
            scale_key=True, sequential=sequential,
        )  # fmt: skip
    return Gradients(grad_q, grad_k, solved.v, solved.beta, grad_gate, grad_anchor, grad_initial, grad_start)
