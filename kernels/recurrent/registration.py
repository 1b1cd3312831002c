"""The token-by-token operator as PyTorch sees it; what it has no use for is an empty tensor."""

from typing import Optional

import torch
from torch import Tensor

from ..boundary.rule import Rule
from ..chunk import stages as chunk
from ..launch.runtime import on_device_of
from ..launch.sequences import Chunks
from .backward import recurrent_backward
from .forward import Recurrence, recurrent_forward

Maybe = Optional[Tensor]  # noqa: UP045  (the schema's parser knows no other spelling)


def sequences_of(k: Tensor, cu_seqlens: Tensor | None) -> int:
    return k.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1


@torch.library.custom_op("osdn::recurrent_forward", mutates_args=())
def recurrent(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Maybe, anchor: Maybe, initial_state: Maybe,
    initial_preconditioner: Maybe, cu_seqlens: Maybe, scale: float, eta: float, d_min: float, d_max: float,
    normalize_feedback: bool, save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """o, final state, final preconditioner; with `save` also the d_t of the run, its residuals and its gains."""
    inputs = chunk.contiguous(q, k, v, beta, g, anchor, initial_state, initial_preconditioner)
    if q.numel() == 0:
        start = chunk.empty_forward(inputs, Chunks(k.shape[0], 0, sequences_of(k, cu_seqlens), 16, 0))
        wide = {"dtype": torch.float32}
        saved = [x.new_empty(x.shape, **wide) if save else None for x in (k, v, beta)]
        result = Recurrence(start.o, start.state, start.preconditioner, *saved)
    else:
        with on_device_of(q):
            rule = Rule(eta, d_min, d_max, normalize_feedback)
            result = recurrent_forward(*inputs, rule, scale, chunk.optional(cu_seqlens), save=save)
    return tuple(q.new_empty(0) if x is None else x for x in result)


@recurrent.register_fake
def _(
    q, k, v, beta, g, anchor, initial_state, initial_preconditioner, cu_seqlens, scale, eta, d_min, d_max,
    normalize_feedback, save,
):  # fmt: skip
    heads, key_dim = k.shape[2:]
    sequences = sequences_of(k, cu_seqlens)
    wide = {"dtype": torch.float32}
    outputs = (
        v.new_empty(v.shape),
        k.new_empty(sequences, heads, key_dim, v.shape[-1], **wide),
        k.new_empty(sequences, heads, key_dim, **wide),
    )
    if not save:
        return (*outputs, *[q.new_empty(0) for _ in range(3)])
    return (*outputs, *[q.new_empty(x.shape, **wide) for x in (k, v, beta)])


@torch.library.custom_op("osdn::recurrent_backward", mutates_args=())
def recurrent_gradient(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Maybe, anchor: Maybe, initial_state: Maybe,
    initial_preconditioner: Maybe, cu_seqlens: Maybe, path: Tensor, residual: Tensor, gain: Tensor, grad_o: Tensor,
    grad_state: Maybe, grad_preconditioner: Maybe, scale: float, eta: float, d_min: float, d_max: float,
    normalize_feedback: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of the eight tensors that the forward operator starts with; empty for those it was not given."""
    inputs = chunk.contiguous(q, k, v, beta, g, anchor, initial_state, initial_preconditioner)
    grads = chunk.Outputs(
        grad_o.contiguous(), chunk.optional(grad_state), chunk.optional(grad_preconditioner)
    )
    if q.numel() == 0:
        result = chunk.empty_backward(inputs, grads)
    else:
        saved = Recurrence(grads.o, grads.o, grads.o, path, residual, gain)
        with on_device_of(q):
            found = recurrent_backward(
                inputs.q, inputs.k, inputs.beta, inputs.gate, inputs.anchor, inputs.initial_state, saved,
                Rule(eta, d_min, d_max, normalize_feedback), scale, chunk.optional(cu_seqlens), *grads,
            )  # fmt: skip
        result = chunk.Gradients(
            found.q, found.k, found.v, found.beta, found.g, found.anchor, found.initial_state,
            found.initial_preconditioner,
        )  # fmt: skip
    return tuple(
        q.new_empty(0) if given is None else grad.to(given.dtype)
        for given, grad in zip(inputs, result, strict=True)
    )


@recurrent_gradient.register_fake
def _(q, k, v, beta, g, anchor, initial_state, initial_preconditioner, *rest):
    given = (q, k, v, beta, g, anchor, initial_state, initial_preconditioner)
    return tuple(q.new_empty(0) if x is None else x.new_empty(x.shape) for x in given)


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:9], *output[3:])
    ctx.options = inputs[9:-1]
    ctx.mark_non_differentiable(*output[3:])
    ctx.set_materialize_grads(False)


def _differentiate(ctx, grad_o, grad_state, grad_preconditioner, *_):
    saved = ctx.saved_tensors
    if grad_o is None:
        grad_o = torch.zeros_like(saved[2])
    grads = recurrent_gradient(*saved, grad_o, grad_state, grad_preconditioner, *ctx.options)
    wanted = zip(grads, ctx.needs_input_grad[:8], strict=True)
    return (*[grad if need else None for grad, need in wanted], *[None] * (2 + len(ctx.options)))


recurrent.register_autograd(_differentiate, setup_context=_save)
