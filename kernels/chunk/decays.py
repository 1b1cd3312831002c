"""How the memory fades inside a chunk: sums of its log gates, and decays from differences of them (T17).

No exponential of a positive number is formed, so that none overflows, however strong the gates are.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch.dots import dot
from ..launch.runtime import single, tile
from ..launch.sequences import Chunks, chunk_of
from ..launch.tuning import autotune, configurations
from ..recurrent.gates import gate_kind
from ..scan.iterates import gate_sums

UNDERFLOW: tl.constexpr = tl.constexpr(-104.0)
"""A logarithm whose exponential is 0 in float32."""

WIDEST = 64
"""Gates of a token that one program sums, at most."""


class GateSums(NamedTuple):
    """Sums of the memory's log gates from each chunk's first token on, float32; None where it has none.

    [B, T, HV] for a gate for each head, [B, T, HV, K] for one for each key feature. `rests` is what float32 loses of
    them: strong gates make them large while differences of two stay small. Beside inputs of 16 bits there are none: the
    gates summed are then at least `UNDERFLOW`, and a decay is good to 5e-4, for two sums of up to 64 of these are each
    off by 2^-12 at most.
    """

    sums: Tensor | None = None
    rests: Tensor | None = None

    @property
    def kind(self) -> int:
        """`STATE_GATE` of kernels."""
        return gate_kind(self.sums)

    @property
    def per_feature(self) -> bool:
        return self.sums is not None and self.sums.dim() == 4


@autotune(configurations(warps=(4,)), ["H", "C"])
@triton.jit
def sum_gates_kernel(
    gate, sums, rests, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, C: tl.constexpr, BH: tl.constexpr, PACKED: tl.constexpr, HAS_RESTS: tl.constexpr,
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
    gates = tl.load(gate + cell, mask=mask, other=0.0)
    if not HAS_RESTS:
        gates = tl.where(gates < UNDERFLOW, UNDERFLOW, gates)
    _, wide, _ = gate_sums(gates)
    narrow = wide.to(tl.float32)
    tl.store(sums + cell, narrow, mask=mask)
    if HAS_RESTS:
        tl.store(rests + cell, (wide - narrow.to(tl.float64)).to(tl.float32), mask=mask)


def sum_gates(gate: Tensor | None, chunks: Chunks, dtype: torch.dtype) -> GateSums:
    """Of log gates [B, T, HV] or [B, T, HV, K], beside inputs of `dtype`."""
    if gate is None:
        return GateSums()
    gates = gate[0, 0].numel()
    kept = dtype == torch.float32
    sums, rests = single(gate, *gate.shape), single(gate, *gate.shape) if kept else None
    block = min(tile(gates), WIDEST)
    sum_gates_kernel[(chunks.slots, triton.cdiv(gates, block))](
        gate, sums, rests, *chunks.pointers, chunks.length, chunks.per_sequence,
        H=gates, C=chunks.size, BH=block, PACKED=chunks.packed, HAS_RESTS=kept,
    )  # fmt: skip
    return GateSums(sums, rests)


@triton.jit
def load_sums(sums, rests, place, valid):
    """Sums at some tokens and their rests, zero where masked."""
    found = tl.load(sums + place, mask=valid, other=0.0)
    return found, tl.zeros_like(found) if rests is None else tl.load(rests + place, mask=valid, other=0.0)


@triton.jit
def exponential(x):
    """e^x by the instruction for 2^x alone: `tl.exp` takes three more for results below 2^-126, which are 0 here."""
    return tl.exp2(x * 1.4426950408889634)


@triton.jit
def decay_between(to, to_rest, since, since_rest):
    """exp of differences of sums; 1 where one is positive, which nothing asks for.

    What is subtracted last the compiler leaves out where there are no rests, unlike a zero that is added.
    """
    return exponential(tl.minimum((to - since) - (since_rest - to_rest), 0.0))


@triton.jit
def decay_tile(to, to_rest, since, since_rest):
    """The product of the gates after token j up to token t, [R, C]; for t before j, where nothing asks for it, 1."""
    return decay_between(to[:, None], to_rest[:, None], since[None, :], since_rest[None, :])


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
def load_scalars(beta, sums, rests, token, left, H: tl.constexpr, C: tl.constexpr, STATE_GATE: tl.constexpr):
    """beta by token of a chunk with `left` tokens or fewer; its sums of gates per head, and that of all, with rests.

    A chain asks for those of the next chunk before it needs them: unlike tiles, they are too small to be copied ahead.
    """
    row = tl.arange(0, C)
    valid = row < left
    rate = tl.load(beta + token + row * H, mask=valid, other=0.0).to(tl.float32)
    since = tl.zeros([C], tl.float32)
    rest, total, total_rest = since, 0.0, 0.0
    if STATE_GATE == 1:
        since, rest = load_sums(sums, rests, token + row * H, valid)
        total, total_rest = load_sums(sums, rests, token + (tl.minimum(left, C) - 1) * H, left > 0)
    return rate, since, rest, total, total_rest
