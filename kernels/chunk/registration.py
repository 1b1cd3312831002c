"""The chunkwise operator as PyTorch sees it."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ..boundary.cuts import count_slots, size_for
from ..launch.precompile import ahead_of_first
from ..launch.recurrence import Cotangents, Gradients, Inputs, RecurrenceOperator, start_rest
from ..launch.runtime import single
from ..launch.sequences import Chunks, cut
from ..scan.sweeps.blocks import most_sweeps
from ..scan.sweeps.forward import sweeps_pay
from . import stages
from .stages import ChunkOptions, ChunkOutputs, ChunkSaved
from .stretches import new_cuts
from .write_keys import FIXED, IDENTITY, LEARNED

PER_TOKEN = ("q", "k", "v", "beta", "g", "state_gate", "feedback")


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
            state=single(k, inputs.sequences, v.shape[2], key_dim, v.shape[3]),
            preconditioner=single(k, inputs.sequences, heads, key_dim),
            write_key=None if options.mode == IDENTITY else k.new_empty(k.shape),
            inverse=k.new_empty((batch, length, v.shape[2], options.chunk_size)),
            gain=single(k, batch, length, heads) if learned else None,
            entries=single(k, 2, slots, heads, key_dim) if learned else None,
            clipped=k.new_empty((slots, heads), dtype=torch.int8) if learned else None,
            overlap=_overlap(inputs, options),
            cuts=new_cuts(inputs, options.chunk_size, options.mode, needed=options.keeps_cuts),
            opened=_opened(inputs, options),
            path=single(k, *k.shape) if options.keep else None,
            states=stages.new_states(inputs, slots) if options.intermediate else None,
            rest=start_rest(inputs) if learned and stages.in_order(inputs, options) else None,
        )

    def unreached(self, inputs: Inputs, options: ChunkOptions) -> Collection[str]:
        if options.mode == LEARNED:
            return () if inputs.g is not None else ("anchor",)
        apart = ("g", "anchor", "feedback")
        return apart if options.mode == FIXED else (*apart, "initial_preconditioner")

    def prepare(self, inputs: Inputs, options: ChunkOptions) -> None:
        compile_chunk(inputs, options)

    def count_flops(self, inputs: Inputs, options: ChunkOptions) -> tuple[int, int]:
        tokens, key_dim, value_dim = inputs.beta.numel(), inputs.k.shape[-1], inputs.v.shape[-1]
        state, size = key_dim * value_dim, options.chunk_size
        by_key, by_value = size * key_dim, size * value_dim
        scan = 2 * inputs.k.shape[:3].numel() * by_key if options.mode == LEARNED else 0
        forward = tokens * (6 * state + 4 * by_key + 4 * by_value) + scan
        backward = 16 * state + 10 * by_key + 14 * by_value
        gate = inputs.state_gate
        if gate is not None and gate.dim() == 3:
            backward += 4 * by_key + 2 * size**2
        elif gate is not None:
            # Overlaps are kept rather than formed again.
            backward -= 2 * by_key
        return forward, tokens * backward

    def run(self, inputs: Inputs, options: ChunkOptions) -> ChunkOutputs:
        return stages.forward(inputs, options, _chunks(inputs, options))

    def differentiate(
        self, inputs: Inputs, options: ChunkOptions, saved: Sequence[Tensor], grads: Cotangents
    ) -> Gradients:
        return stages.backward(inputs, options, ChunkSaved(*saved), grads, _chunks(inputs, options))


def _overlap(inputs: Inputs, options: ChunkOptions) -> Tensor | None:
    gate = inputs.state_gate
    if gate is None or gate.dim() == 3:
        return None
    return inputs.k.new_empty((*gate.shape[:3], options.chunk_size))


def _opened(inputs: Inputs, options: ChunkOptions) -> Tensor | None:
    """Memory for `Gains.opened`, where there are sweeps."""
    swept = options.mode == LEARNED and not options.sequential and not stages.in_order(inputs, options)
    swept = swept and sweeps_pay(options.rule)
    if not swept or not inputs.k.numel():
        return None
    _, length, heads, _ = inputs.k.shape
    sweeps = size_for(length, lambda: most_sweeps(length, options.chunk_size))
    return inputs.k.new_empty((sweeps, inputs.sequences, heads), dtype=torch.int32)


def _chunks(inputs: Inputs, options: ChunkOptions) -> Chunks:
    batch, length = inputs.k.shape[:2]
    return cut(batch, length, options.chunk_size, inputs.cu_seqlens)


def compile_chunk(inputs: Inputs, options: ChunkOptions) -> None:
    """Before the first call of its kind: compile the kernels of both passes, on the first few tokens, or on all of one
    long sequence, whose memory then has a kernel of its own."""
    length = inputs.k.shape[1]
    # The cut of packed sequences would be launched.
    long = 0
    if inputs.cu_seqlens is None:
        long = stages.launches_behind(inputs, options, _chunks(inputs, options))
    # Triton has kernels for 1, for multiples of 16 and for the rest.
    few = 16 if length % 16 == 0 else min(length, 2)
    kind = (
        long,
        *[None if x is None else (x.dtype, x.shape[2:], x.device) for x in inputs[:-1]],
        few, inputs.cu_seqlens is None, options.rule.normalize_feedback, *options[2:],
        torch.get_float32_matmul_precision(),
    )  # fmt: skip

    def launch() -> None:
        given = inputs._asdict()
        tokens = length if long else few
        first = {name: given[name][:, :tokens] for name in PER_TOKEN if given[name] is not None}
        chunk_forward.launch(inputs._replace(**first), options, backward=options.learns)

    ahead_of_first(kind, launch)


chunk_forward = ChunkOperator()
