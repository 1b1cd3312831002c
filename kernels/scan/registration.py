"""The calibrate scan alone, as PyTorch sees it."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..boundary.cuts import count_slots
from ..boundary.rule import Rule
from ..launch.registration import Operator
from ..launch.runtime import single
from ..launch.sequences import Chunks, count, cut
from .backward import scan_backward
from .calls import Gains, ScanCall
from .expand import expand
from .forward import scan_forward


class ScanInputs(NamedTuple):
    """Tensors of one call of the scan; shapes as in `osdn_kernels.osdn_preconditioner`, the last but one d_1."""

    k: Tensor
    g: Tensor | None
    anchor: Tensor | None
    initial: Tensor | None
    cu_seqlens: Tensor | None


class ScanOptions(NamedTuple):
    """Numbers of one call."""

    rule: Rule
    chunk_size: int
    sequential: bool


class ScanOutputs(NamedTuple):
    """d_t [B, T, H, K] and the d handed on [N, H, K]; then what the backward pass needs, see `Gains`."""

    d: Tensor
    final: Tensor
    gain: Tensor
    entries: Tensor
    clipped: Tensor


class ScanOperator(Operator[ScanInputs, ScanOptions, ScanOutputs]):
    """Registered as osdn::preconditioner_forward and osdn::preconditioner_backward."""

    name = "preconditioner"
    inputs, options, outputs = ScanInputs, ScanOptions, ScanOutputs
    differentiable, results, saved = 4, 2, 3

    def allocate(self, inputs: ScanInputs, options: ScanOptions) -> ScanOutputs:
        k, cu_seqlens = inputs.k, inputs.cu_seqlens
        batch, length, heads, key_dim = k.shape
        slots = count_slots(batch, length, options.chunk_size, cu_seqlens)

        return ScanOutputs(
            single(k, *k.shape), single(k, count(k, cu_seqlens), heads, key_dim), single(k, batch, length, heads),
            single(k, 2, slots, heads, key_dim), k.new_empty((slots, heads), dtype=torch.int8),
        )  # fmt: skip

    def unreached(self, inputs: ScanInputs, options: ScanOptions) -> Collection[str]:
        return () if inputs.g is not None else ("anchor",)

    def count_flops(self, inputs: ScanInputs, options: ScanOptions) -> tuple[int, int]:
        """Products [C, K] by [K, C] and [C, C] by [C, K]: of keys with keys and for d_t; then these two again, keys by
        what the loss sends to d_t, and weights by that. Stepping has none."""
        each = 0 if options.sequential else 2 * options.chunk_size * inputs.k.numel()
        return 2 * each, 4 * each

    def forward(self, inputs: ScanInputs, options: ScanOptions) -> ScanOutputs:
        k, g, anchor, initial, _ = inputs
        chunks, sequential = _chunks(inputs, options), options.sequential
        d = single(k, *k.shape)
        scan = ScanCall(k, g, anchor, None, options.rule, d, None, False)
        gains = scan_forward(scan, initial, chunks, sequential=sequential)
        if not sequential:
            expand(k, g, anchor, chunks, gains, d)
        return ScanOutputs(d, gains.final, gains.gain, gains.entries, gains.clipped)

    def backward(
        self, inputs: ScanInputs, options: ScanOptions, saved: Sequence[Any], grads: Sequence[Any]
    ) -> Sequence[Tensor | None]:
        gain, entries, clipped = saved
        grad, grad_final = grads
        found = scan_backward(
            inputs.k, inputs.g, inputs.anchor, options.rule, _chunks(inputs, options),
            Gains(gain, entries, clipped, entries.new_empty(0)), grad, grad_final, None,
            scale_key=False, sequential=options.sequential,
        )  # fmt: skip
        return found.k, found.g, found.anchor, found.initial


def _chunks(inputs: ScanInputs, options: ScanOptions) -> Chunks:
    batch, length = inputs.k.shape[:2]
    return cut(batch, length, options.chunk_size, inputs.cu_seqlens)


preconditioner = ScanOperator()
