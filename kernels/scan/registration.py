"""The calibrate scan alone, as PyTorch sees it."""

from typing import Optional

import torch
import triton
from torch import Tensor

from ..boundary.rule import Rule
from ..chunk.stages import optional
from ..launch.runtime import on_device_of
from ..launch.sequences import cut
from .backward import scan_backward
from .forward import Gains, expand, scan_forward

Maybe = Optional[Tensor]  # noqa: UP045  (the schema's parser knows no other spelling)


@torch.library.custom_op("osdn::preconditioner_forward", mutates_args=())
def preconditioner(
    k: Tensor, g: Maybe, anchor: Maybe, initial: Maybe, cu_seqlens: Maybe, eta: float, d_min: float, d_max: float,
    normalize_feedback: bool, chunk_size: int, sequential: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """d_t and the d handed on; then gain, entry and clipped of the scan, for the backward pass."""
    rule = Rule(eta, d_min, d_max, normalize_feedback)
    k, g, anchor, initial = map(optional, (k, g, anchor, initial))
    d = torch.empty(k.shape, dtype=torch.float32, device=k.device)
    with on_device_of(k):
        chunks = cut(k.shape[0], k.shape[1], chunk_size, cu_seqlens)
        gains = scan_forward(k, g, anchor, initial, rule, chunks, d, scale_key=False, sequential=sequential)
        if not sequential:
            expand(k, g, anchor, chunks, gains, d)
    return d, gains.final, gains.gain, gains.entry, gains.clipped


@preconditioner.register_fake
def _(k, g, anchor, initial, cu_seqlens, eta, d_min, d_max, normalize_feedback, chunk_size, sequential):
    batch, length, heads, key_dim = k.shape
    sequences, slots = batch, batch * triton.cdiv(length, chunk_size)
    if cu_seqlens is not None:
        sequences = cu_seqlens.shape[0] - 1
        slots = triton.cdiv(length, chunk_size) + sequences - 1
    wide = {"dtype": torch.float32}
    return (
        k.new_empty(k.shape, **wide),
        k.new_empty(sequences, heads, key_dim, **wide),
        k.new_empty(batch, length, heads, **wide),
        k.new_empty(slots, heads, key_dim, **wide),
        k.new_empty(slots, heads, dtype=torch.int8),
    )


@torch.library.custom_op("osdn::preconditioner_backward", mutates_args=())
def preconditioner_gradient(
    k: Tensor, g: Maybe, anchor: Maybe, initial: Maybe, cu_seqlens: Maybe, gain: Tensor, entry: Tensor,
    clipped: Tensor, grad: Tensor, grad_final: Maybe, eta: float, d_min: float, d_max: float,
    normalize_feedback: bool, chunk_size: int, sequential: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of k, g, the anchor and the initial preconditioner; empty for those not given."""
    rule = Rule(eta, d_min, d_max, normalize_feedback)
    given = tuple(map(optional, (k, g, anchor, initial)))
    gains = Gains(gain, entry, clipped, entry.new_empty(0))
    with on_device_of(k):
        chunks = cut(k.shape[0], k.shape[1], chunk_size, cu_seqlens)
        grad_k, grad_g, grad_initial, grad_anchor = scan_backward(
            *given[:3], rule, chunks, gains, grad.contiguous(), optional(grad_final), None,
            scale_key=False, sequential=sequential,
        )  # fmt: skip
    return tuple(
        k.new_empty(0) if x is None or found is None else found.to(x.dtype)
        for x, found in zip(given, (grad_k, grad_g, grad_anchor, grad_initial), strict=True)
    )


@preconditioner_gradient.register_fake
def _(k, g, anchor, initial, *rest):
    given = (k, g, None if g is None else anchor, initial)
    return tuple(k.new_empty(0) if x is None else x.new_empty(x.shape) for x in given)


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:5], *output[2:])
    ctx.options = inputs[5:]
    ctx.mark_non_differentiable(*output[2:])
    ctx.set_materialize_grads(False)


def _differentiate(ctx, grad, grad_final, *_):
    saved = ctx.saved_tensors
    if grad is None:
        grad = torch.zeros(saved[0].shape, dtype=torch.float32, device=saved[0].device)
    grads = preconditioner_gradient(*saved, grad, grad_final, *ctx.options)
    wanted = zip(grads, saved[:4], ctx.needs_input_grad[:4], strict=True)
    reached = [found if need and found.shape == x.shape else None for found, x, need in wanted]
    return (*reached, *[None] * (1 + len(ctx.options)))


preconditioner.register_autograd(_differentiate, setup_context=_save)
