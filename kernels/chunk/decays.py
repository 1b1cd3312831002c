"""How the memory fades inside a chunk: sums of its log gates, and decays from differences of them (T17)."""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch.dots import dot
from ..launch.sequences import Chunks, chunk_of
from ..launch.tuning import autotune, configurations
from ..recurrent.gates import gate_kind
from ..scan.iterates import gate_sums


class GateSums(NamedTuple):
    """Sums of the memory's log gates from each chunk's first token on, [B, T, H] float32; None where it has none.

    `rests` is what float32 loses of them: strong gates make them large while differences of two stay small.
    """

    sums: Tensor | None = None
    rests: Tensor | None = None

    @property
    def kind(self) -> int:
        """`STATE_GATE` of kernels."""
        return gate_kind(self.sums)


@autotune(configurations([{"BH": 16}], warps=(4,)), ["H", "C"])
@triton.jit
def sum_gates_kernel(
    gate, sums, rests, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, C: tl.constexpr, BH: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    _, chunk, start, tokens = chunk_of(
        tl.program_id(0), bounds, first, owner, length, per_sequence, C, PACKED
    )
    left = tokens - chunk * C
    if left <= 0:
        return
    row = tl.arange(0, C)
    head = tl.program_id(1) * BH + tl.arange(0, BH)
    cell = ((start + chunk * C).to(tl.int64) + row[:, None]) * H + head[None, :]
    mask = (row < left)[:, None] & (head < H)[None, :]
    _, wide, _ = gate_sums(tl.load(gate + cell, mask=mask, other=0.0))
    narrow = wide.to(tl.float32)
    tl.store(sums + cell, narrow, mask=mask)
    tl.store(rests + cell, (wide - narrow.to(tl.float64)).to(tl.float32), mask=mask)


def sum_gates(gate: Tensor | None, chunks: Chunks) -> GateSums:
    """Of log gates [B, T, H]."""
    if gate is None:
        return GateSums()
    heads = gate.shape[2]
    make: dict[str, Any] = {"dtype": torch.float32, "device": gate.device}
    sums, rests = torch.empty(gate.shape, **make), torch.empty(gate.shape, **make)
    sum_gates_kernel[lambda meta: (chunks.slots, triton.cdiv(heads, meta["BH"]))](
        gate, sums, rests, *chunks.pointers, chunks.length, chunks.per_sequence,
        H=heads, C=chunks.size, PACKED=chunks.packed,
    )  # fmt: skip
    return GateSums(sums, rests)


@triton.jit
def load_sums(sums, rests, place, valid):
    """Sums at some tokens and their rests, zero where masked."""
    return tl.load(sums + place, mask=valid, other=0.0), tl.load(rests + place, mask=valid, other=0.0)


@triton.jit
def decay_tile(to, to_rest, since, since_rest):
    """The product of the gates after token j up to token t, [R, C]; for t before j, where nothing asks for it, 1."""
    return tl.exp(tl.minimum((to[:, None] - since[None, :]) + (to_rest[:, None] - since_rest[None, :]), 0.0))


@triton.jit
def gate_gradient(pairs, reads, writes, PRECISION: tl.constexpr):
    """Gradient of a chunk's log gates [C]: each is a factor of what lies across it.

    pairs [C, C]: what token t meets of token j, times its gradient, zero unless j < t. reads [C]: the same of t and of
    what is before the chunk; writes [C]: of j and of what follows the chunk. Sums of terms that do not cancel.
    """
    row = tl.arange(0, pairs.shape[0])
    later = (row[:, None] <= row[None, :]).to(tl.float32)
    across = dot(later, pairs, PRECISION)
    return tl.sum(tl.where(row[:, None] <= row[None, :], reads[None, :], across + writes[None, :]), 1)


@triton.jit
def decay_to_end(sums, rests, since, since_rest, place):
    """The product of a chunk's gates after each token, and the logarithm of all; its last token is at `place`."""
    total = tl.load(sums + place)
    return tl.exp(tl.minimum((total - since) + (tl.load(rests + place) - since_rest), 0.0)), total
