"""The memory's path in stretches of time: where all states would take much room, a few chunks' are held at once.

The forward pass keeps the memory, in float32, that each stretch but the first enters with (`state.read`). The backward
pass goes through the stretches from the last to the first, with the gradient handed back in float32. Every chunk does
what it does otherwise, so results are the same to the bit.
"""

from typing import Any

import torch
from torch import Tensor

from ..boundary.cuts import size_for
from ..launch.recurrence import Inputs
from ..launch.runtime import single
from ..launch.sequences import Chunks
from .decays import GateSums
from .feature.fold import fold
from .feature.pairs_backward import pair_backward
from .gradients import ChunkGradients, add_blocks, differentiate_chunks, new_gradients
from .state import keep_states
from .state_backward import read_backward
from .values import differentiate_values
from .walk import walk_both_ways, walks
from .write_keys import FIXED, WriteKeys

LARGE = 2**28
"""Bytes of states and of their gradients from which on they are held in stretches."""

SHORTEST, MOST = 16, 3
"""Chunks of a stretch, at least, so that what is kept of the memory is little beside the states; stretches, at most."""


def count_cuts(inputs: Inputs, size: int, mode: int, *, needed: bool) -> int:
    """Between stretches; none for packed sequences, a fixed preconditioner, gates per feature, or where walks or the
    call need none."""
    gate, packed = inputs.state_gate, inputs.cu_seqlens is not None
    if not needed or packed or mode == FIXED or (gate is not None and gate.dim() == 4):
        return 0
    if walks(inputs.k, inputs.v, inputs.sequences, mode, packed=packed, gated=gate is not None):
        return 0
    (batch, length, heads, value_dim), key_dim = inputs.v.shape, inputs.k.shape[3]

    def cuts() -> int:
        chunks = -(-length // size)
        stored = 2 * batch * chunks * heads * key_dim * value_dim * inputs.v.element_size()
        return max(min(MOST, chunks // SHORTEST) - 1, 0) if stored >= LARGE else 0

    return size_for(length, cuts)


def new_cuts(inputs: Inputs, size: int, mode: int, *, needed: bool) -> Tensor:
    """Memory for the states at cuts [cuts, N, H, K, V] float32."""
    cuts = count_cuts(inputs, size, mode, needed=needed)
    return single(inputs.k, cuts, inputs.sequences, inputs.v.shape[2], inputs.k.shape[3], inputs.v.shape[3])


def part_of(span: slice | None, *tensors: Any) -> list[Any]:
    """The tokens of a stretch of [B, T, ...]; all of them where there is but one."""
    return [x if x is None or span is None else x[:, span] for x in tensors]


def gates_of(span: slice | None, gates: GateSums) -> GateSums:
    return GateSums(*part_of(span, *gates))


def differentiate_memory(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, inverse: Tensor, gates: GateSums, overlap: Tensor | None,
    keys: WriteKeys, initial: Tensor | None, cuts: Tensor, grad_o: Tensor, grad_final: Tensor | None, chunks: Chunks,
    scale: float, *, pinned: bool,
) -> tuple[ChunkGradients, Tensor | None]:  # fmt: skip
    """Gradients of what chunks read and write, and of the initial states [N, H, K, V] float32 where there are any."""
    if walks(k, v, chunks.sequences, keys.mode, packed=chunks.packed, gated=gates.kind > 0):
        return walk_both_ways(q, k, v, beta, inverse, keys, initial, grad_o, grad_final, chunks, scale)
    rows = [*fold(q, k, gates, keys._replace(stored=True), chunks)] if gates.per_feature else [q, k, keys.out]
    found = new_gradients(k, v, gates, keys.mode, chunks.slots)
    first, handed = initial, grad_final
    if len(cuts):
        zero = torch.zeros_like(cuts[0])
        first, handed = (zero if x is None else x for x in (initial, grad_final))
    entering = [first, *cuts]
    for (span, part), start in reversed([*zip(chunks.cut_time(len(cuts) + 1), entering, strict=True)]):
        part_gates = gates_of(span, gates)
        part_q, part_k, part_v, part_beta, out = part_of(span, q, k, v, beta, keys.out)
        part_o, solve = part_of(span, grad_o, inverse)
        reads, erases, writes = part_of(span, *rows)
        states, x = keep_states(erases, writes, part_v, part_beta, solve, part_gates, start, part)
        grad_states = torch.empty_like(states)
        grad_missing, handed = read_backward(
            reads, erases, writes, part_beta, solve, part_gates, overlap, part_o, grad_states, handed, part, scale,
            initial=start is not None,
        )  # fmt: skip
        del reads, erases, writes
        pairs = None
        if gates.per_feature:
            rows.clear()
            pairs = pair_backward(q, k, keys.out, beta, x, gates, grad_o, grad_missing, chunks, scale)
        into = ChunkGradients(*part_of(span, *found))
        differentiate_chunks(
            part_q, part_k, part_v, part_beta, part_gates, keys._replace(out=out), x, states, pairs, part_o,
            grad_missing, grad_states, into, part, scale, pinned=pinned,
        )  # fmt: skip
        if gates.kind == 0:
            differentiate_values(part_v, part_beta, grad_missing, into.shares, into.v, into.beta, part)
        del states, grad_states, grad_missing, x
    return add_blocks(found, gates), None if initial is None else handed
