"""A few tokens per sequence with the state updated in place: the step of autoregressive decoding."""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ..boundary.results import State
from ..boundary.steps import check_step
from ..boundary.values import has_values
from ..launch.runtime import captured, cdiv, on_device_of, tile
from .forward import calibrate, feedback
from .gates import PER_FEATURE, fade, gate_kind, load_gate

HELD = 2048
"""Numbers of the state that a warp holds, 64 registers of each thread, all asked for at once; twice as many where many
heads have a gate for each feature, whose factors every warp finds."""

FEW = 512
"""Heads up to which programs of one warp are better: more of them ask at once. Log in `benchmarks/measured`."""

NARROW, WIDE = 16, 64
"""Columns of the state that a program takes at least, for few heads and for many: rows of 64 and of 256 bytes."""

_arrivals = WeakTensorKeyDictionary()
_in_graphs: dict[int, Tensor] = {}


@triton.jit
def unit(x, dtype):
    """x / sqrt(|x|^2 + 1e-6), rounded to the inputs' dtype."""
    return (x * tl.rsqrt(tl.sum(x * x, 0) + 1e-6)).to(dtype).to(tl.float32)


@triton.jit
def count_in(arrivals, row, seen, one):
    """Say that this program has read what it has `seen`: how many programs of the head had before, in element 0.

    No fence: the addend depends on what was read, and what the caller writes depends on the count. `one` is 1, which
    the compiler is not told. A vector, because all of a program waits at once for an atomic operation on a scalar.
    """
    lane = tl.arange(0, 32)
    return tl.atomic_add(
        arrivals + row + 0 * lane, tl.where(seen > 0.0, one, 1), mask=lane == 0, sem="relaxed"
    )


@triton.jit
def is_last(arrivals, row, before, PARTS: tl.constexpr):
    """Whether the other programs of a head have read d; the last of them resets the count."""
    last = tl.sum(tl.where(tl.arange(0, 32) == 0, before, 0), 0) == PARTS - 1
    tl.store(arrivals + row, 0, mask=last)
    return last


@triton.jit
def round_either_way(x, seed, cell):
    """x as the bfloat16 number below or above it in magnitude, by the distances to them; `cell` tells entries apart.

    Rounding to nearest would lose updates below half a digit one by one; the expectation of this one is x. A NaN stays
    one: more in its last bits could make it a number.
    """
    bits = x.to(tl.int32, bitcast=True) + (tl.randint(seed, cell) & 0xFFFF).to(tl.int32)
    rounded = (bits & -65536).to(tl.float32, bitcast=True)
    return tl.where(x == x, rounded, x).to(tl.bfloat16)


@triton.jit
def mean_feedback(beta, own, key_place, G: tl.constexpr, BETA_AWARE: tl.constexpr):
    """(f, m) of the feedback f - m <d, s>: means over the G heads of a key head; `own` is this head's write gate."""
    fixed, slope = own, own * own
    if BETA_AWARE and G > 1:
        fixed, slope = 0.0 * own, 0.0 * own
        for head in tl.static_range(G):
            other = tl.load(beta + key_place * G + head).to(tl.float32)
            fixed += other / G
            slope += other * other / G
    return fixed, slope


# Columns of the state have nothing to do with each other, but all of them are written with d, which is overwritten in
# place: by whichever program of a head comes last, when all have read it.
@triton.jit(do_not_specialize=["one"])
def decode_kernel(
    q, k, v, beta, g, state_gate, anchor, state, preconditioner, arrivals, o, indices, count, seed, slots, anchor_value,
    scale, eta, d_min, d_max, one,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    STEPS: tl.constexpr, PARTS: tl.constexpr, WIDTH: tl.constexpr, HAS_COUNT: tl.constexpr, HAS_SEED: tl.constexpr,
    HAS_GATE: tl.constexpr, STATE_GATE: tl.constexpr, HAS_ANCHOR: tl.constexpr, BETA_AWARE: tl.constexpr,
    NORMALIZE: tl.constexpr, UNIT: tl.constexpr,
):  # fmt: skip
    """STEPS tokens of a sequence and head, whose state is its own row or that of a slot; WIDTH slots for each."""
    program = (tl.program_id(0) // PARTS).to(tl.int64)
    value = tl.program_id(0) % PARTS * BV + tl.arange(0, BV)
    key = tl.arange(0, BK)
    known, in_value = key < K, value < V
    writes = known
    # G heads share a key head and its preconditioner.
    place, key_place = program, program // G
    if STEPS > 1:
        place = program // H * (STEPS * H) + program % H
        key_place = program // H * (STEPS * (H // G)) + program % H // G
    row, key_row = program, program // G
    if WIDTH > 0:
        slot = tl.load(indices + program // H * WIDTH).to(tl.int64)
        wanted = (slot >= 0) & (slot < slots)
        if HAS_COUNT:
            wanted = wanted & (program // H < tl.load(count))
        if wanted == 0:
            for t in tl.static_range(STEPS):
                tl.store(o + (place + t * H) * V + value, tl.zeros([BV], o.dtype.element_ty), mask=in_value)
            return
        row, key_row = slot * H + program % H, slot * (H // G) + program % H // G
    start = key_row
    own = key_row * K + key
    cell = key[:, None] * V + value[None, :]
    in_cell = known[:, None] & in_value[None, :]
    # Everything that is read is on its way before anything waits.
    memory = tl.load(state + row * (K * V) + cell, mask=in_cell, other=0.0).to(tl.float32)
    d = tl.load(preconditioner + own, mask=known, other=0.0)
    c = tl.full([BK], 0.0, tl.float32) + anchor_value
    if HAS_ANCHOR:
        c = tl.load(anchor + program // G * K + key, mask=known, other=0.0)
    for t in tl.static_range(STEPS):
        k_t = tl.load(k + key_place * K + key, mask=known, other=0.0).to(tl.float32)
        q_t = tl.load(q + key_place * K + key, mask=known, other=0.0).to(tl.float32)
        v_t = tl.load(v + place * V + value, mask=in_value, other=0.0).to(tl.float32)
        beta_t = tl.load(beta + place).to(tl.float32)
        gate = tl.full([], 0.0, tl.float32)
        if HAS_GATE:
            gate = tl.load(g + key_place).to(tl.float32)
        fading = load_gate(state_gate, place, key, True, K, STATE_GATE).to(tl.float32)
        fixed, slope = mean_feedback(beta, beta_t, key_place, G, BETA_AWARE)
        if UNIT:
            q_t = unit(q_t, q.dtype.element_ty)
            k_t = unit(k_t, k.dtype.element_ty)
        write_key = d * k_t
        along = tl.sum(write_key * q_t, 0)
        # What reads the memory fades in its place, which is left to its update.
        reads, erases = q_t, k_t
        if STATE_GATE > 0:
            reads, erases = q_t * tl.exp(fading), k_t * tl.exp(fading)
        if PARTS * G > 1 and t == 0:
            before = count_in(arrivals, start, along, one)
        x = beta_t * (v_t - tl.sum(memory * erases[:, None], 0))
        read = scale * (tl.sum(memory * reads[:, None], 0) + along * x)
        memory = fade(memory, fading, STATE_GATE) + write_key[:, None] * x[None, :]
        if HAS_SEED:
            held = round_either_way(memory, tl.load(seed) + t, program * (K * V) + cell)
        else:
            held = memory.to(state.dtype.element_ty)
        if WIDTH > 1:
            slot = tl.load(indices + program // H * WIDTH + t + 1).to(tl.int64)
            wanted = (slot >= 0) & (slot < slots)
            row, key_row = slot * H + program % H, slot * (H // G) + program % H // G
            tl.store(state + row * (K * V) + cell, held, mask=in_cell & wanted)
        elif t == STEPS - 1:
            tl.store(state + row * (K * V) + cell, held, mask=in_cell)
        # The next token meets what is stored, as in a call of its own.
        memory = held.to(tl.float32)
        tl.store(o + place * V + value, read.to(o.dtype.element_ty), mask=in_value)
        # What is handed on can wait, as it has to for the other programs.
        s = k_t * k_t
        gain = feedback(d, s, fixed, slope, eta, BETA_AWARE, NORMALIZE)
        d, _ = calibrate(d, tl.zeros([BK], tl.float32), c, s, gain, gate, d_min, d_max, HAS_GATE)
        if PARTS * G > 1 and t == 0:
            writes = known & is_last(arrivals, start, before, PARTS * G)
        if WIDTH > 1:
            tl.store(preconditioner + key_row * K + key, d, mask=writes & wanted)
        elif t == STEPS - 1:
            tl.store(preconditioner + own, d, mask=writes)
        place += H
        key_place += H // G


def decode_step_(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    state: State,
    *,
    g: Tensor | None = None,
    state_gate: Tensor | None = None,
    scale: float | None = None,
    eta: float = 0.003,
    d_min: float = 2 / 3,
    d_max: float = 3 / 2,
    anchor: Tensor | float | None = None,
    normalize_feedback: bool = False,
    beta_aware: bool | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    out: Tensor | None = None,
    state_indices: Tensor | None = None,
    num_tokens: Tensor | None = None,
    seed: Tensor | None = None,
) -> Tensor:
    """Write a token, read, calibrate; `state` is updated in place. For inference: no gradient.

    The same as `fused_recurrent_osdn` on T = 1 with `state` as initial state, and with a state gate as
    `fused_recurrent_osgdn` and `fused_recurrent_oskda`. T tokens in one call give what T calls
    give. With `out` and contiguous inputs nothing is allocated after the first step on a `state.preconditioner`, and no
    value is read on the host, so that a CUDA graph can capture the step.

    - `q`, `k`, [B, T, H, K]: T is a constant of the program: a few.
    - `v`, `beta`, [B, T, HV, V], [B, T, HV]: HV is H or a multiple of it.
    - `g`, [B, T, H]: Log forgetting gates of d.
    - `state_gate`, [B, T, HV] or [B, T, HV, K]: Log gates of the memory, which fades before it is read.
    - `beta_aware`: Whether the feedback is beta_t (1 - beta_t a_t); by default with a state gate alone, as in the
      operators.
    - `state`: state [B, HV, K, V], float32 or bfloat16, and preconditioner [B, H, K] float32, contiguous; a bfloat16
      memory is rounded after every token, and all arithmetic is float32. With `state_indices` a pool [S, ...] instead.
    - `anchor`, [B, H, K] float32, float or None: c of the forgetting; None is 0.
    - `out`, [B, T, HV, V], v's dtype, contiguous: Where to put the output.
    - `state_indices`, [B] or [B, T + 1] int32 or int64, contiguous: The row of the pool that each sequence has; below
      0 or beyond the pool: none, and its outputs are zero. With T + 1 of them, the row that it starts from and those
      that take the state after each of the tokens (none: not kept), so that drafted tokens are verified in one call
      and the next one starts from the last that was accepted. No row may belong to two sequences.
    - `num_tokens`, [1] int32 or int64: With `state_indices`: how many of the B sequences are there (all, if it is
      more); the others are as those without a row.
    - `seed`, [1] int64: For a bfloat16 memory: round it up or down at random, in expectation to what it is; token t of
      the call takes ``seed + t``. The same seed gives the same bits; one for every step is the caller's to count on.

    Raises ValueError, TypeError: an argument is wrong, or requires a gradient while gradients are enabled. Values are
    not read: g > 0 or a d outside its box go unseen.

    Returns [B, T, HV, V] in v's dtype; `out` if given.
    """
    if beta_aware is None:
        beta_aware = state_gate is not None
    rule, scale = check_step(
        q, k, v, beta, state, g=g, state_gate=state_gate, scale=scale, eta=eta, d_min=d_min, d_max=d_max,
        anchor=anchor, normalize_feedback=normalize_feedback, beta_aware=beta_aware, out=out,
        state_indices=state_indices, num_tokens=num_tokens, seed=seed,
    )  # fmt: skip
    key_dim, (batch, tokens, heads, value_dim) = q.shape[3], v.shape
    group = heads // q.shape[2]
    if out is None:
        out = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    if not has_values(q):
        return out
    tensor_anchor = isinstance(anchor, Tensor)
    rows = tile(key_dim)
    few, gate_is = batch * heads <= FEW, gate_kind(state_gate)
    columns = min(tile(value_dim), max(NARROW if few else WIDE, HELD // rows))
    held = HELD if few or gate_is < PER_FEATURE.value else 2 * HELD
    parts = cdiv(value_dim, columns)
    with on_device_of(q):
        decode_kernel[(batch * heads * parts,)](
            q.contiguous(), k.contiguous(), v.contiguous(), beta.contiguous(), None if g is None else g.contiguous(),
            None if state_gate is None else state_gate.contiguous(),
            anchor if tensor_anchor else None, state.state, state.preconditioner,
            arrivals_of(state.preconditioner) if parts * group > 1 else None, out, state_indices, num_tokens, seed,
            None if state_indices is None else state.preconditioner.shape[0],
            0.0 if tensor_anchor or anchor is None else float(anchor), scale, *rule[:3], 1,
            H=heads, G=group, K=key_dim, V=value_dim, BK=rows, BV=columns, STEPS=tokens, PARTS=parts,
            WIDTH=0 if state_indices is None else state_indices.numel() // batch,
            HAS_COUNT=num_tokens is not None, HAS_SEED=seed is not None,
            HAS_GATE=g is not None, STATE_GATE=gate_is, HAS_ANCHOR=tensor_anchor,
            BETA_AWARE=rule.beta_aware, NORMALIZE=rule.normalize_feedback,
            UNIT=use_qk_l2norm_in_kernel, num_warps=max(1, rows * columns // held),
        )  # fmt: skip
    if not torch.compiler.is_compiling():
        # Autograd then sees that what it may have saved is no more.
        torch.autograd.graph.increment_version((*state, out))
    return out


def arrivals_of(preconditioner: Tensor) -> Tensor:
    """A count for each head, zero between steps. It lives as long as the tensor.

    One that a graph is captured on lives for ever: the tensor may be a view that is let go, of memory that the graph is
    replayed on. Where a graph is captured with the first step it sets its own to zero at each replay.
    """
    found: Tensor | None = _arrivals.get(preconditioner)
    capturing = captured()
    if found is None:
        found = torch.zeros(preconditioner.shape[:2], dtype=torch.int32, device=preconditioner.device)
        if not capturing:
            _arrivals[preconditioner] = found
    elif capturing:
        _in_graphs[id(found)] = found
    return found
