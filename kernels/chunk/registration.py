"""The chunkwise operator as PyTorch sees it: registered with shapes for tracing and with its gradient.

Registered operators return tensors alone, so that what a mode does not have is an empty tensor.
"""

from typing import Optional

import torch
import triton
from torch import Tensor

from ..boundary.rule import Rule
from ..launch.runtime import on_device_of
from ..launch.sequences import cut
from ..scan.forward import Gains
from . import stages as chunk
from .write_keys import IDENTITY, LEARNED

Maybe = Optional[Tensor]  # noqa: UP045  (the schema's parser knows no other spelling)


@torch.library.custom_op("osdn::chunk_forward", mutates_args=())
def chunk_forward(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Maybe, anchor: Maybe, initial_state: Maybe,
    initial_preconditioner: Maybe, cu_seqlens: Maybe, scale: float, eta: float, d_min: float, d_max: float,
    normalize_feedback: bool, chunk_size: int, mode: int, sequential: bool, keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """o, final state, final preconditioner; for the backward pass write keys, inverse, gain, entry, clipped; d_t.

    `keep` asks for the last, [B, T, H, K] float32: the d that the write keys were formed with.
    """
    rule = Rule(eta, d_min, d_max, normalize_feedback)
    inputs = chunk.contiguous(q, k, v, beta, g, anchor, initial_state, initial_preconditioner)
    with on_device_of(q):
        chunks = cut(q.shape[0], q.shape[1], chunk_size, cu_seqlens)
        result = chunk.forward(inputs, rule, mode, scale, chunks, sequential=sequential, keep=keep)
    write_key = q.new_empty(0) if mode == IDENTITY else result.write_key
    gains = result.gains[:3] if mode == LEARNED else [q.new_empty(0) for _ in range(3)]
    path = result.path if keep else q.new_empty(0)
    return result.o, result.state, result.preconditioner, write_key, result.inverse, *gains, path


@chunk_forward.register_fake
def _(
    q, k, v, beta, g, anchor, initial_state, initial_preconditioner, cu_seqlens, scale, eta, d_min, d_max,
    normalize_feedback, chunk_size, mode, sequential, keep,
):  # fmt: skip
    batch, length, heads, key_dim = k.shape
    if cu_seqlens is None:
        sequences, slots = batch, batch * triton.cdiv(length, chunk_size)
    else:
        sequences = cu_seqlens.shape[0] - 1
        slots = triton.cdiv(length, chunk_size) + sequences - 1
    wide = {"dtype": torch.float32}
    learned = mode == LEARNED
    return (
        v.new_empty(v.shape),
        k.new_empty(sequences, heads, key_dim, v.shape[-1], **wide),
        k.new_empty(sequences, heads, key_dim, **wide),
        k.new_empty(0) if mode == IDENTITY else k.new_empty(k.shape),
        k.new_empty(batch, length, heads, chunk_size),
        k.new_empty(beta.shape, **wide) if learned else k.new_empty(0),
        k.new_empty(slots, heads, key_dim, **wide) if learned else k.new_empty(0),
        k.new_empty(slots, heads, dtype=torch.int8) if learned else k.new_empty(0),
        k.new_empty(k.shape, **wide) if keep else k.new_empty(0),
    )


@torch.library.custom_op("osdn::chunk_backward", mutates_args=())
def chunk_backward(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Maybe, anchor: Maybe, initial_state: Maybe,
    initial_preconditioner: Maybe, cu_seqlens: Maybe, write_key: Tensor, inverse: Tensor, gain: Tensor, entry: Tensor,
    clipped: Tensor, grad_o: Tensor, grad_state: Maybe, grad_preconditioner: Maybe, scale: float, eta: float,
    d_min: float, d_max: float, normalize_feedback: bool, chunk_size: int, mode: int, sequential: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of the eight tensors that `chunk_forward` starts with; empty for those it was not given."""
    rule = Rule(eta, d_min, d_max, normalize_feedback)
    inputs = chunk.contiguous(q, k, v, beta, g, anchor, initial_state, initial_preconditioner)
    gains = Gains(gain, entry, clipped, entry.new_empty(0)) if mode == LEARNED else None
    saved = chunk.Saved(inputs.k if mode == IDENTITY else write_key, inverse, gains)
    grads = chunk.Outputs(
        grad_o.contiguous(), chunk.optional(grad_state), chunk.optional(grad_preconditioner)
    )
    with on_device_of(q):
        chunks = cut(q.shape[0], q.shape[1], chunk_size, cu_seqlens)
        result = chunk.backward(inputs, saved, rule, mode, scale, chunks, grads, sequential=sequential)
    return tuple(
        q.new_empty(0) if given is None or grad is None else grad.to(given.dtype)
        for given, grad in zip(inputs, result, strict=True)
    )


@chunk_backward.register_fake
def _(
    q, k, v, beta, g, anchor, initial_state, initial_preconditioner, cu_seqlens, write_key, inverse, gain, entry,
    clipped, grad_o, grad_state, grad_preconditioner, scale, eta, d_min, d_max, normalize_feedback, chunk_size, mode,
    sequential,
):  # fmt: skip
    given = (q, k, v, beta, g, anchor, initial_state, initial_preconditioner)
    reached = [
        True,
        True,
        True,
        True,
        mode == LEARNED,
        mode == LEARNED and g is not None,
        True,
        mode != IDENTITY,
    ]
    return tuple(
        q.new_empty(0) if x is None or not there else x.new_empty(x.shape)
        for x, there in zip(given, reached, strict=True)
    )


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:9], *output[3:8])
    ctx.options = inputs[9:-1]
    ctx.mark_non_differentiable(*output[3:])
    ctx.set_materialize_grads(False)


def _differentiate(ctx, grad_o, grad_state, grad_preconditioner, *_):
    saved = ctx.saved_tensors
    if grad_o is None:
        grad_o = torch.zeros_like(saved[2])
    grads = chunk_backward(*saved, grad_o, grad_state, grad_preconditioner, *ctx.options)
    wanted = zip(grads, saved[:8], ctx.needs_input_grad[:8], strict=True)
    reached = [grad if need and grad.shape == x.shape else None for grad, x, need in wanted]
    return (*reached, *[None] * (2 + len(ctx.options)))


chunk_forward.register_autograd(_differentiate, setup_context=_save)
