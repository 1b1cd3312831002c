"""How the memory fades inside a chunk: sums of its log gates, and decays from differences of them (T17).

No exponential of a positive number is formed, so that none overflows, however strong the gates are.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..boundary.inputs import FORGOTTEN
from ..launch.dots import dot
from ..launch.following import (
    Signals,
    begin_followers,
    end_after_leader,
    following,
    report_one,
    slot_of,
)
from ..launch.runtime import cdiv, single, tile
from ..launch.sequences import Chunks, chunk_of
from ..launch.tuning import autotune, configurations
from ..recurrent.gates import fading_of, gate_kind
from ..scan.iterates import gate_sums

UNDERFLOW: tl.constexpr = tl.constexpr(-104.0)
"""A logarithm whose exponential is 0 in float32."""

LEAST: tl.constexpr = tl.constexpr(FORGOTTEN)

SCALARS: tl.constexpr = tl.constexpr(4)
RATE: tl.constexpr = tl.constexpr(0)
ENTERED: tl.constexpr = tl.constexpr(1)
KEPT: tl.constexpr = tl.constexpr(2)
SINCE: tl.constexpr = tl.constexpr(3)
"""Of a token's `scalars`: beta_t, e^{G_t}, e^{G_C - G_t} and G_t, with G_t the sums of a chunk's log gates."""

WIDEST = 64
"""Gates of a token that one program sums, at most."""


class GateSums(NamedTuple):
    """Sums of the memory's log gates from each chunk's first token on, float32; None where it has none.

    [B, T, HV] for a gate for each head, [B, T, HV, K] for one for each key feature. `rests` is what float32 loses of
    them: strong gates make them large while differences of two stay small. Beside inputs of 16 bits there are none: the
    gates summed are then at least `UNDERFLOW`, and a decay is good to 5e-4, for two sums of up to 64 of these are each
    off by 2^-12 at most.

    `scalars`, [B, T, HV, 4], for a gate for each head: what the memory's chains need of each token, see `RATE`.
    """

    sums: Tensor | None = None
    rests: Tensor | None = None
    scalars: Tensor | None = None

    @property
    def kind(self) -> int:
        """`STATE_GATE` of kernels."""
        return gate_kind(self.sums)

    @property
    def per_feature(self) -> bool:
        return self.sums is not None and self.sums.dim() == 4

    @property
    def block(self) -> int:
        """Gates of a token that one program sums."""
        return 1 if self.sums is None else min(tile(self.sums[0, 0].numel()), WIDEST)

    @property
    def parts(self) -> int:
        """Programs that sum a chunk's gates."""
        return 0 if self.sums is None else cdiv(self.sums[0, 0].numel(), self.block)


@autotune(configurations(warps=(4,)), ["H", "C"])
@triton.jit
def sum_gates_kernel(
    gate, beta, sums, rests, scalars, summed, bounds, first, owner, length, per_sequence,
    H: tl.constexpr, C: tl.constexpr, BH: tl.constexpr, PACKED: tl.constexpr, HAS_RESTS: tl.constexpr,
    HAS_SCALARS: tl.constexpr, FOLLOWS: tl.constexpr, REPORTS: tl.constexpr,
):  # fmt: skip
    """It may run beside a launch that it FOLLOWS; what is launched behind it sees in `summed` [slots] how many of a
    chunk's programs are done (REPORTS)."""
    if REPORTS:
        begin_followers()
    if FOLLOWS:  # noqa: SIM102 -- nested, because a constant and a number are not joined
        if tl.program_id(0) + tl.program_id(1) == tl.num_programs(0) + tl.num_programs(1) - 2:
            end_after_leader()
    slot = slot_of(tl.program_id(0), per_sequence, 1, REPORTS)
    _, chunk, start, tokens = chunk_of(slot, bounds, first, owner, length, per_sequence, C, PACKED)
    left = tokens - chunk * C
    if left <= 0:
        return
    row = tl.arange(0, C)
    head = tl.program_id(1) * BH + tl.arange(0, BH)
    cell = ((start + chunk * C).to(tl.int64) + row[:, None]) * H + head[None, :]
    mask = (row < left)[:, None] & (head < H)[None, :]
    gates = tl.load(gate + cell, mask=mask, other=0.0)
    least = LEAST if HAS_RESTS else UNDERFLOW
    gates = tl.where(gates < least, least, gates)
    _, wide, _ = gate_sums(gates)
    narrow = wide.to(tl.float32)
    tl.store(sums + cell, narrow, mask=mask)
    if HAS_RESTS:
        tl.store(rests + cell, (wide - narrow.to(tl.float64)).to(tl.float32), mask=mask)
    if HAS_SCALARS:
        # Tokens beyond the last have gates of 0.
        total = tl.sum(tl.where((row == C - 1)[:, None], wide, 0.0), 0)
        kept = exponential(tl.minimum((total[None, :] - wide).to(tl.float32), 0.0))
        rate = tl.load(beta + cell, mask=mask, other=0.0).to(tl.float32)
        # The four of a token side by side, written at once.
        numbers = tl.join(tl.join(rate, kept), tl.join(tl.exp(narrow), narrow))
        column = tl.program_id(1) * (BH * SCALARS) + tl.arange(0, BH * SCALARS)
        place = ((start + chunk * C).to(tl.int64) + row[:, None]) * (H * SCALARS) + column[None, :]
        mask = (row < left)[:, None] & (column < H * SCALARS)[None, :]
        tl.store(scalars + place, tl.reshape(numbers, [C, BH * SCALARS]), mask=mask)
    if REPORTS:
        report_one(summed + slot)


def new_sums(gate: Tensor | None, dtype: torch.dtype) -> GateSums:
    """Memory for those of log gates [B, T, HV] or [B, T, HV, K] beside inputs of `dtype`."""
    if gate is None:
        return GateSums()
    rests = single(gate, *gate.shape) if dtype == torch.float32 else None
    scalars = single(gate, *gate.shape, SCALARS.value) if gate.dim() == 3 else None
    return GateSums(single(gate, *gate.shape), rests, scalars)


def sum_gates(
    gate: Tensor | None, beta: Tensor, sums: GateSums, chunks: Chunks, *, follows: bool = False,
    signals: Signals | None = None,
) -> None:  # fmt: skip
    """Fill `sums`, with beta [B, T, HV]; if it `follows` another launch, beside that one, and with `signals` ahead of
    one that follows it."""
    if gate is None:
        return
    summed = None if signals is None else signals.summed
    sum_gates_kernel[(chunks.slots, sums.parts)](
        gate, beta, *sums, summed, *chunks.pointers, chunks.length, chunks.per_sequence,
        H=gate[0, 0].numel(), C=chunks.size, BH=sums.block, PACKED=chunks.packed, HAS_RESTS=sums.rests is not None,
        HAS_SCALARS=sums.scalars is not None, FOLLOWS=follows, REPORTS=signals is not None,
        **(following(gate.device) if follows else {}),
    )  # fmt: skip


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
    earlier = (row[:, None] < row[None, :]).to(tl.float32)
    across = dot(pairs, earlier, PRECISION)
    return tl.sum(tl.where(row[:, None] >= row[None, :], across + reads[:, None], writes[:, None]), 0)


@triton.jit
def load_scalars(beta, scalars, token, left, H: tl.constexpr, C: tl.constexpr, STATE_GATE: tl.constexpr):
    """The scalars of a chunk's tokens [C, 4], of which `pick` takes those of one kind, and the sum of all its gates.

    A chain asks for those of the next chunk before it needs them: unlike tiles, they are too small to be copied ahead.
    Four of a token are loaded even where there is beta alone: a load of fewer numbers than there are threads the
    compiler repeats for every product that they stand beside, and holds each result in sixteen registers.
    """
    row = tl.arange(0, C)[:, None]
    kind = tl.arange(0, SCALARS)[None, :]
    valid = (row < left) & (kind < SCALARS)
    total = 0.0
    if STATE_GATE == 1:
        last = token + (tl.minimum(left, C) - 1) * H
        total = tl.load(scalars + last * SCALARS + SINCE, mask=left > 0, other=0.0)
        numbers = tl.load(scalars + (token + row * H) * SCALARS + kind, mask=valid, other=0.0)
    else:
        numbers = tl.load(beta + token + row * H + 0 * kind, mask=valid, other=0.0).to(tl.float32)
    return numbers, total


@triton.jit
def load_fading(
    sums, token, left, key, H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, STATE_GATE: tl.constexpr
):
    """How a chunk fades each feature, where gates are per feature: the two of `fading_of` side by side, [K, 2].

    A chain asks for those of the next chunk, as it does for scalars, and holds them so until they are needed: apart,
    and beside what they multiply, they take 64 registers of each thread.
    """
    part = tl.arange(0, 2)[None, :]
    if STATE_GATE == 2:
        last = token + (tl.minimum(left, C) - 1) * H
        place = last * K + key[:, None] + 0 * part
        total = tl.load(sums + place, mask=(key < K)[:, None] & (left > 0), other=0.0)
        kept, taken = fading_of(total)
        return tl.where(part == 0, kept, taken)
    else:  # noqa: RET505 -- Triton compiles what follows a return as well
        return 0.0 * part


@triton.jit
def fade_features(memory, fading, FLIP: tl.constexpr):
    """A memory, or its gradient, faded so; with FLIP it is transposed."""
    kept, taken = tl.split(fading)
    if FLIP:
        kept, taken = kept[None, :], taken[None, :]
    else:
        kept, taken = kept[:, None], taken[:, None]
    return kept * memory + taken * memory


@triton.jit
def pick(numbers, kind: tl.constexpr):
    """The scalars of one kind, [C], of a chunk's [C, 4]."""
    return tl.sum(tl.where(tl.arange(0, SCALARS)[None, :] == kind, numbers, 0.0), 1)


@triton.jit
def decays_between_tokens(numbers, rests, token, left, sign: tl.constexpr, H: tl.constexpr, C: tl.constexpr):
    """`decay_tile` of a chunk from its scalars; transposed for a sign of -1."""
    row = tl.arange(0, C)
    since = sign * pick(numbers, SINCE)
    rest = tl.zeros_like(since)
    if rests is not None:
        rest = sign * tl.load(rests + token + row * H, mask=row < left, other=0.0)
    return decay_tile(since, rest, since, rest)
