"""All gradients of the memory path by walks along each sequence, without any state in global memory.

Two chains, forward for X and back for Z (`state`, `state_backward`), leave nothing else behind. Given both, rows of the
state, one for each key feature, no longer meet, and blocks of them go separate ways: the walk back carries their
gradients and finds what write keys get, the walk forward forms them again and finds what queries and keys get
(`gradients` has the formulas). Every number is to the bit that of the kernels that take a chunk each: those fill a GPU
however few the sequences, these read and write far less.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..launch.descriptors import copies_on_hopper, load_tile, rows_of
from ..launch.dots import dot, dot_rows
from ..launch.runtime import IN_INTERPRETER, cdiv, operand_precision, tile
from ..launch.sequences import Chunks
from ..launch.tuning import autotune, configurations, crowd_of
from .decays import GateSums
from .gradients import ChunkGradients, block_of_keys, new_gradients
from .state import form_x
from .state_backward import read_backward
from .values import differentiate_values
from .write_keys import FIXED, IDENTITY, WriteKeys

WIDEST = 128
"""Key and value features, at most: a program holds a block of rows of a state, with all value features of each."""


def walks(k: Tensor, v: Tensor, sequences: int, mode: int, *, packed: bool, gated: bool) -> bool:
    """Whether the gradients of a call are found by walks: where equally long sequences and heads fill a GPU.

    Gates need states and their gradients at once, a fixed preconditioner's gradient is summed chunk by chunk, and of
    bfloat16 alone are sums over features the same in both ways (`dot_rows`).
    """
    narrow = max(k.shape[3], v.shape[3]) <= WIDEST and k.dtype == torch.bfloat16
    many = crowd_of(sequences * v.shape[2]) == 2
    return narrow and many and not (packed or gated or mode == FIXED)


@triton.jit
def read_again(block):
    """A second reader of a block that products read: on a Hopper Triton then keeps one copy of it in shared memory, not
    two."""
    if not IN_INTERPRETER:
        tl.inline_asm_elementwise(
            "mov.b32 $0, $1;", "=r,r", [block], dtype=block.dtype, is_pure=False, pack=2
        )


# Rows of the state are the left operand of their products, in registers, so that what queries and keys get stands
# transposed. Two programs share a multiprocessor, as long as each takes half of its shared memory at most.
WALK = configurations(warps=(4,), stages=(2, 1))
KEY = ["K", "V", "C", "SAME"]


# With all key features, a program a multiprocessor has room to ask for tiles a chunk ahead.
@autotune(
    configurations([{"BK": 128}], warps=(8,), stages=(3,))
    + configurations([{"BK": 64}], warps=(4,), stages=(2, 1)),
    KEY,
)
@triton.jit
def walk_back_kernel(
    q, k, beta, x, grad_o, grad_missing, grad_final, grad_write_key, length, scale,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr, HAS_FINAL: tl.constexpr, SAME: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    parts: tl.constexpr = (K + BK - 1) // BK
    program = tl.program_id(0) // parts
    part = tl.program_id(0) % parts
    head = program % H
    start = (program // H).to(tl.int64) * length
    row = tl.arange(0, C)
    key = part * BK + tl.arange(0, BK)
    value = tl.arange(0, BV)
    in_key, in_value = key < K, value < V
    # With its sign turned, the gradient takes in each product as it is accumulated.
    less = tl.zeros([BK, BV], tl.float32)
    if HAS_FINAL:
        cell = program.to(tl.int64) * (K * V) + key[:, None] * V + value[None, :]
        less -= tl.load(grad_final + cell, mask=in_key[:, None] & in_value[None, :], other=0.0).to(tl.float32)
    dtype = grad_write_key.dtype.element_ty
    by_key = row[:, None] * (H // G * K) + key[None, :]
    by_column = row[None, :] * (H * K) + key[:, None]
    by_value = row[:, None] * (H * V) + value[None, :]
    chunks = tl.cdiv(length, C)
    for back in range(chunks):
        i = chunks - 1 - back
        token = (start + i * C) * H + head
        key_token = (start + i * C) * (H // G) + head // G
        valid = row < length - i * C
        in_row = valid[:, None] & in_key[None, :]
        in_out = valid[:, None] & in_value[None, :]
        rate = tl.load(beta + token + row * H, mask=valid, other=0.0).to(tl.float32)
        output = tl.load(grad_o + token * V + by_value, mask=in_out, other=0.0)
        written = tl.load(x + token * V + by_value, mask=in_out, other=0.0)
        change = tl.load(grad_missing + token * V + by_value, mask=in_out, other=0.0)
        keys = tl.load(k + key_token * K + by_key, mask=in_row, other=0.0)
        queries = tl.load(q + key_token * K + by_key, mask=in_row, other=0.0)
        reads = dot(output, tl.trans(written), PRECISION)
        reads = tl.where(row[:, None] >= row[None, :], reads * -scale, 0.0).to(dtype)
        for_written = dot(less.to(dtype), tl.trans(written), PRECISION)
        for_written += dot(tl.trans(queries), reads, PRECISION)
        erases = dot(change, tl.trans(written), PRECISION)
        erases = tl.where(row[:, None] > row[None, :], erases * rate[:, None], 0.0).to(dtype)
        for_written += dot(tl.trans(keys), erases, PRECISION)
        in_column = valid[None, :] & in_key[:, None]
        tl.store(grad_write_key + token * K + by_column, (-for_written).to(dtype), mask=in_column)
        less += dot(tl.trans(queries), (output.to(tl.float32) * -scale).to(dtype), PRECISION)
        less += dot(tl.trans(keys), (change.to(tl.float32) * rate[:, None]).to(dtype), PRECISION)


@autotune(WALK, [*KEY, "BULK"], restored=["grad_k"])
@triton.jit
def walk_kernel(
    k, write_key, beta, x, initial, grad_o, grad_missing, grad_q, grad_k, shares, length, scale,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, BK: tl.constexpr,
    BV: tl.constexpr, PARTS: tl.constexpr, HAS_INITIAL: tl.constexpr, BULK: tl.constexpr, SAME: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0) // PARTS
    part = tl.program_id(0) % PARTS
    head = program % H
    start = (program // H).to(tl.int64) * length
    row = tl.arange(0, C)
    key = part * BK + tl.arange(0, BK)
    value = tl.arange(0, BV)
    in_key, in_value = key < K, value < V
    memory = tl.zeros([BK, BV], tl.float32)
    if HAS_INITIAL:
        cell = program.to(tl.int64) * (K * V) + key[:, None] * V + value[None, :]
        memory = tl.load(initial + cell, mask=in_key[:, None] & in_value[None, :], other=0.0)
    dtype = grad_q.dtype.element_ty
    by_key = row[:, None] * (H // G * K) + key[None, :]
    by_column = row[None, :] * (H * K) + key[:, None]
    by_value = row[:, None] * (H * V) + value[None, :]
    all_keys, all_writes, all_outputs, all_written, all_changes = None, None, None, None, None
    if BULK:
        here = start * H + head
        tokens = start * 0 + length
        key_here = start * (H // G) + head // G
        all_writes = rows_of(write_key + key_here * K, tokens, H // G * K, K, C, BK)
        all_outputs = rows_of(grad_o + here * V, tokens, H * V, V, C, BV)
        all_written = rows_of(x + here * V, tokens, H * V, V, C, BV)
        all_changes = rows_of(grad_missing + here * V, tokens, H * V, V, C, BV)
        all_keys = rows_of(k + key_here * K, tokens, H // G * K, K, C, BK)
        if SAME:
            to_keys = rows_of(grad_k + here * K, tokens, H * K, K, C, BK)
    for i in range(tl.cdiv(length, C)):
        token = (start + i * C) * H + head
        key_token = (start + i * C) * (H // G) + head // G
        valid = row < length - i * C
        in_row = valid[:, None] & in_key[None, :]
        in_column = valid[None, :] & in_key[:, None]
        in_out = valid[:, None] & in_value[None, :]
        at = (start * 0 + i * C).to(tl.int32)
        rate = tl.load(beta + token + row * H, mask=valid, other=0.0).to(tl.float32)
        output = load_tile(all_outputs, at, 0, grad_o + token * V + by_value, in_out, BULK)
        written = load_tile(all_written, at, 0, x + token * V + by_value, in_out, BULK)
        change = load_tile(all_changes, at, 0, grad_missing + token * V + by_value, in_out, BULK)
        writes = load_tile(all_writes, at, part * BK, write_key + key_token * K + by_key, in_row, BULK)
        keys = writes
        if not SAME:
            keys = load_tile(all_keys, at, part * BK, k + key_token * K + by_key, in_row, BULK)
        if BULK:
            read_again(keys)
            read_again(writes)
            read_again(written)
        entering = memory.to(dtype)
        reads = dot(written, tl.trans(output), PRECISION)
        reads = tl.where(row[:, None] <= row[None, :], reads, 0.0).to(dtype)
        for_q = dot(entering, tl.trans(output), PRECISION)
        for_q += dot(tl.trans(writes), reads, PRECISION)
        tl.store(grad_q + token * K + by_column, (for_q * scale).to(dtype), mask=in_column)
        erases = dot(written, tl.trans(change), PRECISION)
        erases = tl.where(row[:, None] < row[None, :], erases, 0.0).to(dtype)
        for_key = dot(entering, tl.trans(change), PRECISION)
        for_key += dot(tl.trans(writes), erases, PRECISION)
        for_beta = -dot_rows(tl.trans(for_key), keys, PRECISION)
        tl.store(shares + (token + row * H) * PARTS + part, for_beta, mask=valid)
        for_key = (for_key * -rate[None, :]).to(dtype)
        if SAME and BULK and not IN_INTERPRETER:
            to_keys.atomic_add([at, part * BK], tl.trans(for_key))
        else:
            place = grad_k + token * K + by_column
            if SAME:
                for_written = tl.load(place, mask=in_column, other=0.0).to(tl.float32)
                for_key = (for_key.to(tl.float32) + for_written).to(dtype)
            tl.store(place, for_key, mask=in_column)
        memory += dot(tl.trans(writes), written, PRECISION)


def walk_both_ways(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, inverse: Tensor, keys: WriteKeys, initial: Tensor | None,
    grad_o: Tensor, grad_final: Tensor | None, chunks: Chunks, scale: float,
) -> tuple[ChunkGradients, Tensor | None]:  # fmt: skip
    """Gradients of what chunks read and write, and of the initial states [N, H, K, V] float32 where there are any."""
    key_dim, (heads, value_dim) = k.shape[3], v.shape[2:]
    ungated = GateSums()
    out = new_gradients(k, v, ungated, keys.mode, chunks.slots)
    x = form_x(k, keys.out, v, beta, inverse, ungated, initial, chunks)
    grad_missing, grad_initial = read_backward(
        q, k, keys.out, beta, inverse, ungated, None, grad_o, None, grad_final, chunks, scale,
        initial=initial is not None,
    )  # fmt: skip
    same, parts = keys.mode == IDENTITY, out.shares.shape[3]
    constants: dict[str, Any] = {
        "H": heads, "G": heads // k.shape[2], "K": key_dim, "V": value_dim, "C": chunks.size,
        "BV": tile(value_dim), "SAME": same,
        "PRECISION": operand_precision(k.dtype),
    }  # fmt: skip
    programs = chunks.sequences * heads
    # Where keys are written as they are, what they get is added to what write keys get.
    walk_back_kernel[lambda meta: (programs * cdiv(key_dim, meta["BK"]),)](
        q, k, beta, x, grad_o, grad_missing, grad_final, out.k if same else out.write_key, chunks.length, scale,
        HAS_FINAL=grad_final is not None, **constants,
    )  # fmt: skip
    bulk = copies_on_hopper(k, keys.out, grad_o, x, grad_missing, out.k)
    walk_kernel[(programs * parts,)](
        k, keys.out, beta, x, initial, grad_o, grad_missing, out.q, out.k, out.shares, chunks.length, scale,
        HAS_INITIAL=initial is not None, BULK=bulk, BK=block_of_keys(key_dim), PARTS=parts, **constants,
    )  # fmt: skip
    differentiate_values(v, beta, grad_missing, out.shares, out.v, out.beta, chunks)
    return out, grad_initial
