"""L2 normalisation of queries and keys, x / sqrt(|x|^2 + 1e-6), as one registered operator with its gradient."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch.runtime import on_device_of, tile
from ..launch.tuning import autotune, configurations


# Memory-bound: several rows in a program keep its loads in flight.
@autotune(configurations([{"ROWS": 16}, {"ROWS": 64}], warps=(4, 8)), ["K"])
@triton.jit
def norm_kernel(x, y, inverse_norm, rows, K: tl.constexpr, BK: tl.constexpr, ROWS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BK)
    mask = (row < rows)[:, None] & (column < K)[None, :]
    cell = row[:, None] * K + column[None, :]
    values = tl.load(x + cell, mask=mask, other=0.0).to(tl.float32)
    factor = 1.0 / tl.sqrt(tl.sum(values * values, 1) + 1e-6)
    tl.store(y + cell, (values * factor[:, None]).to(y.dtype.element_ty), mask=mask)
    tl.store(inverse_norm + row, factor, mask=row < rows)


@autotune(configurations([{"ROWS": 16}, {"ROWS": 64}], warps=(4, 8)), ["K"])
@triton.jit
def norm_backward_kernel(
    x, inverse_norm, grad_y, grad_x, rows, K: tl.constexpr, BK: tl.constexpr, ROWS: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BK)
    mask = (row < rows)[:, None] & (column < K)[None, :]
    cell = row[:, None] * K + column[None, :]
    factor = tl.load(inverse_norm + row, mask=row < rows, other=0.0)
    unit = tl.load(x + cell, mask=mask, other=0.0).to(tl.float32) * factor[:, None]
    grad = tl.load(grad_y + cell, mask=mask, other=0.0).to(tl.float32)
    along = tl.sum(grad * unit, 1)
    result = (grad - along[:, None] * unit) * factor[:, None]
    tl.store(grad_x + cell, result.to(grad_x.dtype.element_ty), mask=mask)


@torch.library.custom_op("osdn::l2norm", mutates_args=())
def l2norm(x: Tensor) -> tuple[Tensor, Tensor]:
    """(x / sqrt(|x|^2 + 1e-6) in x's dtype, its factor in float32), norms over the last axis, computed in float32."""
    x = x.contiguous()
    y = torch.empty_like(x)
    factor = torch.empty(x.shape[:-1], dtype=torch.float32, device=x.device)
    if x.numel():
        with on_device_of(x):
            norm_kernel[lambda meta: (triton.cdiv(factor.numel(), meta["ROWS"]),)](
                x, y, factor, factor.numel(), K=x.shape[-1], BK=tile(x.shape[-1])
            )
    return y, factor


@l2norm.register_fake
def _(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[:-1], dtype=torch.float32)


@torch.library.custom_op("osdn::l2norm_backward", mutates_args=())
def l2norm_backward(x: Tensor, factor: Tensor, grad: Tensor) -> Tensor:
    """Gradient of x [..., K] from that of its normalised form."""
    x, grad = x.contiguous(), grad.contiguous()
    grad_x = torch.empty_like(x)
    if x.numel():
        with on_device_of(x):
            norm_backward_kernel[lambda meta: (triton.cdiv(factor.numel(), meta["ROWS"]),)](
                x, factor, grad, grad_x, factor.numel(), K=x.shape[-1], BK=tile(x.shape[-1])
            )
    return grad_x


@l2norm_backward.register_fake
def _(x: Tensor, factor: Tensor, grad: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _save(ctx, inputs, output):
    ctx.save_for_backward(inputs[0], output[1])
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx, grad, _):
    return l2norm_backward(*ctx.saved_tensors, grad)


l2norm.register_autograd(_differentiate, setup_context=_save)
