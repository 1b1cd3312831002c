"""The chunkwise operator as PyTorch sees it."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ..launch.recurrence import Cotangents, Gradients, Inputs, RecurrenceOperator
from ..launch.runtime import single
from ..launch.sequences import Chunks, count_slots, cut
from . import stages
from .stages import ChunkOptions, ChunkOutputs, ChunkSaved
from .write_keys import FIXED, IDENTITY, LEARNED


class ChunkOperator(RecurrenceOperator[ChunkOptions, ChunkOutputs]):
    """Registered as osdn::chunk_forward and osdn::chunk_backward."""

    name = "chunk"
    options, outputs, saved = ChunkOptions, ChunkOutputs, len(ChunkSaved._fields)

    def allocate(self, inputs: Inputs, options: ChunkOptions) -> ChunkOutputs:
        k, v = inputs.k, inputs.v
        batch, length, heads, key_dim = k.shape
        slots = count_slots(batch, length, options.chunk_size, inputs.cu_seqlens)
        learned = options.mode == LEARNED

        return ChunkOutputs(
            o=v.new_empty(v.shape),
            state=single(k, inputs.sequences, heads, key_dim, v.shape[-1]),
            preconditioner=single(k, inputs.sequences, heads, key_dim),
            write_key=None if options.mode == IDENTITY else k.new_empty(k.shape),
            inverse=k.new_empty((batch, length, heads, options.chunk_size)),
            gain=single(k, batch, length, heads) if learned else None,
            entry=single(k, slots, heads, key_dim) if learned else None,
            clipped=k.new_empty((slots, heads), dtype=torch.int8) if learned else None,
            path=single(k, *k.shape) if options.keep else None,
        )

    def unreached(self, inputs: Inputs, options: ChunkOptions) -> Collection[str]:
        if options.mode == LEARNED:
            return () if inputs.g is not None else ("anchor",)
        return ("g", "anchor") if options.mode == FIXED else ("g", "anchor", "initial_preconditioner")

    def run(self, inputs: Inputs, options: ChunkOptions) -> ChunkOutputs:
        return stages.forward(inputs, options, _chunks(inputs, options))

    def differentiate(
        self, inputs: Inputs, options: ChunkOptions, saved: Sequence[Tensor], grads: Cotangents
    ) -> Gradients:
        return stages.backward(inputs, options, ChunkSaved(*saved), grads, _chunks(inputs, options))


def _chunks(inputs: Inputs, options: ChunkOptions) -> Chunks:
    batch, length = inputs.k.shape[:2]
    return cut(batch, length, options.chunk_size, inputs.cu_seqlens)


chunk_forward = ChunkOperator()
