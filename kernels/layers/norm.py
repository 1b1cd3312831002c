"""L2 normalisation of queries and keys, x / sqrt(|x|^2 + 1e-6), as one registered operator with its gradient."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch.registration import Operator
from ..launch.runtime import cdiv, single, tile
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
    # A row that nobody reads has no gradient, whatever it holds.
    read = tl.sum((grad != 0.0).to(tl.int32), 1) > 0
    result = tl.where(read[:, None], (grad - along[:, None] * unit) * factor[:, None], 0.0)
    tl.store(grad_x + cell, result.to(grad_x.dtype.element_ty), mask=mask)


class NormInputs(NamedTuple):
    """x [..., K]."""

    x: Tensor


class NormOptions(NamedTuple):
    """None."""


class NormOutputs(NamedTuple):
    """y = x / sqrt(|x|^2 + 1e-6) in x's dtype, and the factor [...] of x in float32."""

    y: Tensor
    factor: Tensor


class NormOperator(Operator[NormInputs, NormOptions, NormOutputs]):
    """Registered as osdn::l2norm_forward and osdn::l2norm_backward."""

    name = "l2norm"
    inputs, options, outputs = NormInputs, NormOptions, NormOutputs
    differentiable, results, saved = 1, 1, 1

    def allocate(self, inputs: NormInputs, options: NormOptions) -> NormOutputs:
        return NormOutputs(inputs.x.new_empty(inputs.x.shape), single(inputs.x, *inputs.x.shape[:-1]))

    def forward(self, inputs: NormInputs, options: NormOptions) -> NormOutputs:
        outputs = self.allocate(inputs, options)
        _launch(norm_kernel, inputs.x, *outputs)
        return outputs

    def backward(
        self, inputs: NormInputs, options: NormOptions, saved: Sequence[Any], grads: Sequence[Any]
    ) -> Sequence[Tensor]:
        grad_x = torch.empty_like(inputs.x)
        _launch(norm_backward_kernel, inputs.x, *saved, *grads, grad_x)
        return (grad_x,)


def _launch(kernel: Any, x: Tensor, *others: Tensor) -> None:
    rows, features = x.shape[:-1].numel(), x.shape[-1]
    if rows:
        kernel[lambda meta: (cdiv(rows, meta["ROWS"]),)](x, *others, rows, K=features, BK=tile(features))


norm = NormOperator()


def l2norm(x: Tensor) -> Tensor:
    """x / sqrt(|x|^2 + 1e-6) over the last axis, computed in float32 and rounded to x's dtype."""
    return norm(NormInputs(x), NormOptions()).y
