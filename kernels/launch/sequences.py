"""How tokens are cut into chunks, for batches of equal length and for packed sequences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..boundary.cuts import count_slots, number_chunks
from .runtime import cdiv
from .tuning import autotune, configurations


@dataclass(frozen=True)
class Chunks:
    """The cut of a batch into chunks of `size` tokens; no chunk crosses a sequence.

    Chunks are numbered by *slot*. In a batch slot = b * per_sequence + chunk. Packed sequences have their chunks in
    order, and `slots` is the bound ceil(T / size) + N - 1 rather than their number, which only the device knows: the
    slots left over carry sequence -1.

    - `batch`, `length`: B and T of the tensors; B = 1 for packed sequences.
    - `sequences`: N: B, or the number of packed sequences.
    - `size`: Tokens in a chunk.
    - `slots`: First size of the buffers that hold one item per chunk.
    - `bounds`, [N + 1] int64 or None: `cu_seqlens` of packed sequences.
    - `first`, [N + 1] int64 or None: First slot of each packed sequence.
    - `owner`, [slots] int32 or None: Sequence of each slot, -1 for those left over.
    - `stretch`: Tokens between the starts of sequences where `length` is that of a stretch of each; else None.
    """

    batch: int
    length: int
    sequences: int
    size: int
    slots: int
    bounds: Tensor | None = None
    first: Tensor | None = None
    owner: Tensor | None = None
    stretch: int | None = None

    @property
    def packed(self) -> bool:
        return self.bounds is not None

    @property
    def per_sequence(self) -> int:
        """Chunks in each sequence of a batch of equal lengths."""
        return cdiv(self.length, self.size)

    @property
    def stride(self) -> int:
        """Tokens from the start of one sequence of a batch to that of the next."""
        return self.length if self.stretch is None else self.stretch

    def cut_time(self, step: int) -> list[tuple[slice | None, "Chunks"]]:
        """Stretches of `step` chunks of all sequences of a batch: their tokens, and the cut of each.

        Kernels take them of tensors that begin at a stretch's first token. Of one stretch the tokens are None: all.
        """
        if step >= self.per_sequence:
            return [(None, self)]
        starts = range(0, self.length, step * self.size)
        spans = [slice(at, min(at + step * self.size, self.length)) for at in starts]
        return [(span, self.stretch_over(span.stop - span.start)) for span in spans]

    def stretch_over(self, tokens: int) -> "Chunks":
        """The same of the first tokens of every sequence."""
        slots = self.batch * cdiv(tokens, self.size)
        return replace(self, length=tokens, slots=slots, stretch=self.stride)

    @property
    def pointers(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The three tensors that `chunk_of` takes, in its order."""
        return self.bounds, self.first, self.owner


def count(tokens: Tensor, cu_seqlens: Tensor | None) -> int:
    """N: the B of tokens [B, T, ...], or the number of packed sequences."""
    return tokens.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1


def cut(batch: int, length: int, size: int, cu_seqlens: Tensor | None) -> Chunks:
    """Cut B sequences of T tokens, or the packed ones of `cu_seqlens`, into chunks, without a read by the host."""
    slots = count_slots(batch, length, size, cu_seqlens)
    if cu_seqlens is None:
        return Chunks(batch, length, batch, size, slots)
    bounds = cu_seqlens.to(torch.int64)
    sequences = bounds.numel() - 1
    first, owner = number_chunks(bounds, slots, size)
    owner = torch.where(owner < sequences, owner, -1).to(torch.int32)
    return Chunks(1, length, sequences, size, slots, bounds, first, owner)


@triton.jit
def chunk_of(
    slot, bounds, first, owner, length, per_sequence, C: tl.constexpr, PACKED: tl.constexpr, stride=None
):
    """Where a slot's tokens lie: (sequence, chunk in it, offset of the sequence's first token, its length).

    The length is 0 for a slot left over. Sequences of a batch start every `stride` tokens, or every `length`.
    """
    if PACKED:
        sequence = tl.load(owner + slot).to(tl.int64)
        known = tl.maximum(sequence, 0)
        chunk = slot - tl.load(first + known)
        start = tl.load(bounds + known)
        tokens = tl.where(sequence < 0, 0, tl.load(bounds + known + 1) - start)
    else:
        sequence = (slot // per_sequence).to(tl.int64)
        chunk = slot % per_sequence
        start = sequence * (length if stride is None else stride)
        tokens = length
    return sequence, chunk, start, tokens


@triton.jit
def sequence_of(sequence, bounds, first, length, C: tl.constexpr, PACKED: tl.constexpr, stride=None):
    """Where a sequence lies: (offset of its first token, its length, its first slot, its number of chunks)."""
    if PACKED:
        start = tl.load(bounds + sequence)
        tokens = tl.load(bounds + sequence + 1) - start
        slot = tl.load(first + sequence)
    else:
        start = sequence.to(tl.int64) * (length if stride is None else stride)
        tokens = length
        slot = sequence.to(tl.int64) * tl.cdiv(length, C)
    return start, tokens, slot, tl.cdiv(tokens, C)


def sum_by_sequence(per_slot: Tensor, chunks: Chunks) -> Tensor:
    """[slots, ...] summed over the chunks of each sequence, [N, ...]; slots left over must hold zeros."""
    if chunks.owner is None:
        per_sequence: Tensor = per_slot.unflatten(0, (chunks.batch, chunks.per_sequence)).sum(1)
        return per_sequence
    owner = chunks.owner.clamp(min=0)
    return per_slot.new_zeros(chunks.sequences, *per_slot.shape[1:]).index_add_(0, owner, per_slot)


@triton.jit
def clear_rows(x, start, end, BLOCK: tl.constexpr):
    """Zeros in x[start:end], by all programs together."""
    step = tl.num_programs(0) * BLOCK
    place = start + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    for _ in range(tl.cdiv(end - start, step)):
        tl.store(x + place, tl.zeros([BLOCK], x.dtype.element_ty), mask=place < end)
        place += step


# Nearly always there is nothing to clear: few programs, which find that out by reading two bounds.
@autotune(configurations([{"BLOCK": 1024}]), [])
@triton.jit
def clear_kernel(
    a, b, c, d, e, bounds, sequences, length,
    A: tl.constexpr, B: tl.constexpr, C: tl.constexpr, D: tl.constexpr, E: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Zeros in the rows before the first sequence and after the last, of tensors with rows of A, B, ... numbers."""
    first = tl.load(bounds).to(tl.int64)
    last = tl.load(bounds + sequences).to(tl.int64)
    end = first * 0 + length
    clear_rows(a, first * 0, first * A, BLOCK)
    clear_rows(a, last * A, end * A, BLOCK)
    if B > 0:
        clear_rows(b, first * 0, first * B, BLOCK)
        clear_rows(b, last * B, end * B, BLOCK)
    if C > 0:
        clear_rows(c, first * 0, first * C, BLOCK)
        clear_rows(c, last * C, end * C, BLOCK)
    if D > 0:
        clear_rows(d, first * 0, first * D, BLOCK)
        clear_rows(d, last * D, end * D, BLOCK)
    if E > 0:
        clear_rows(e, first * 0, first * E, BLOCK)
        clear_rows(e, last * E, end * E, BLOCK)


def clear_between(cu_seqlens: Tensor, tensors: Sequence[Tensor]) -> None:
    """Zero the rows that no packed sequence has, in contiguous tensors [1, T, ...], five at a time."""
    if not tensors:
        return
    clear_between(cu_seqlens, tensors[5:])
    given = [*tensors[:5], *[None] * (5 - len(tensors[:5]))]
    widths = [0 if x is None else x[0, 0].numel() for x in given]
    clear_kernel[(16,)](
        *given,
        cu_seqlens,
        cu_seqlens.shape[0] - 1,
        tensors[0].shape[1],
        **dict(zip("ABCDE", widths, strict=True)),
    )
