"""The memory's path cut in time: the states at a few cuts are kept, in float32, and save room and time.

The forward pass keeps the memory that each piece but the first enters with (`state.read`). The backward pass forms the
states again in all pieces of a stretch at once, which fills the card where sequences are few. It goes through the
stretches, most often one, from the last to the first, with the gradient handed back in float32, so that where all
states would take much room, a part's are held at once. Every chunk does what it does otherwise, so results are the same
to the bit.
"""

from typing import Any, NamedTuple

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

LARGE = 2**27
"""Bytes of states and of their gradients from which on they are held in stretches."""

SHORTEST, MOST = 16, 3
"""Chunks of a piece, at least, so that what is kept of the memory is little beside the states; stretches, at most."""

CROWD = 32
"""Sequences and heads, times pieces, that states are formed again for at once: with blocks of value features enough to
fill a card. More cuts cost the forward pass more than that saves."""


class Plan(NamedTuple):
    """Where a call is cut: `every` so many chunks, and which of these cuts, every `pieces`-th, divide stretches."""

    every: int
    pieces: int

    @property
    def stretch(self) -> int:
        """Chunks of a stretch."""
        return self.every * self.pieces


def plan_cuts(v: Tensor, key_dim: int, size: int, mode: int, *, per_feature: bool) -> Plan:
    """For v [B, T, H, V]; in one stretch with a fixed preconditioner or gates per feature, which want all states."""
    whole = mode == FIXED or per_feature
    batch, length, heads, value_dim = v.shape
    chunks = -(-length // size)
    stored = 2 * batch * chunks * heads * key_dim * value_dim * v.element_size()
    stretches = max(min(MOST, chunks // SHORTEST), 1) if stored >= LARGE and not whole else 1
    pieces = max(min(CROWD // max(batch * heads, 1), chunks // (stretches * SHORTEST)), 1)
    return Plan(max(-(-chunks // (stretches * pieces)), 1), pieces)


def count_cuts(inputs: Inputs, size: int, mode: int, *, needed: bool) -> int:
    """None for packed sequences, or where walks or the call need none."""
    gated, packed = inputs.state_gate is not None, inputs.cu_seqlens is not None
    k, v = inputs.k, inputs.v
    if not needed or packed or walks(k, v, inputs.sequences, mode, packed=packed, gated=gated):
        return 0

    def cuts() -> int:
        every = plan_cuts(v, k.shape[3], size, mode, per_feature=inputs.per_feature).every
        return max(-(-v.shape[1] // (size * every)) - 1, 0)

    return size_for(v.shape[1], cuts)


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
    plan = Plan(chunks.per_sequence, 1)
    if len(cuts):
        zero = torch.zeros_like(cuts[0])
        first, handed = (zero if x is None else x for x in (initial, grad_final))
        plan = plan_cuts(v, k.shape[3], chunks.size, keys.mode, per_feature=gates.per_feature)
    entering = [first, *cuts]
    for at, (span, part) in reversed([*enumerate(chunks.cut_time(plan.stretch))]):
        begin = at * plan.pieces
        start, inside = entering[begin], cuts[begin : begin + plan.pieces - 1]
        part_gates = gates_of(span, gates)
        part_q, part_k, part_v, part_beta, out = part_of(span, q, k, v, beta, keys.out)
        part_o, solve = part_of(span, grad_o, inverse)
        reads, erases, writes = part_of(span, *rows)
        states, x = keep_states(
            erases, writes, part_v, part_beta, solve, part_gates, start, part, inside, plan.every
        )
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
