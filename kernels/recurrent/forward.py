"""OSDN token by token in one kernel: the forward pass, and the calibrate step that decoding and the gradient share."""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from ..boundary.rule import Rule
from ..launch.recurrence import Inputs
from ..launch.runtime import cdiv, single, tile
from ..launch.tuning import autotune, configurations, crowd_of
from ..scan.operator import load_feedback
from .gates import fade, forgotten, gate_kind, load_gate


class RecurrentOptions(NamedTuple):
    """Numbers of one call; `save` keeps what the backward pass needs."""

    scale: float
    rule: Rule
    save: bool


class RecurrentOutputs(NamedTuple):
    """What a run over all tokens leaves; the last three are what its gradient needs, None where not asked for.

    - `o` [B, T, H, V], v's dtype, `state` [N, H, K, V] float32
    - `preconditioner` [N, H, K] float32: d handed on by each sequence.
    - `path` [B, T, H, K] float32 or None: d_t that each token was written with.
    - `residual` [B, T, H, V] float32 or None: v_t - alpha_t H_{t-1}^T k_t.
    - `gain` [B, T, H] float32 or None: u_t = eta w_t (f_t - m_t a_t), where f_t = m_t = 1 unless the feedback is
      beta-aware.
    """

    o: Tensor
    state: Tensor
    preconditioner: Tensor
    path: Tensor | None
    residual: Tensor | None
    gain: Tensor | None


@triton.jit
def tokens_of(sequence, bounds, length, PACKED: tl.constexpr):
    """Where a sequence lies: (offset of its first token in int64, its length)."""
    if PACKED:
        start = tl.load(bounds + sequence).to(tl.int64)
        tokens = (tl.load(bounds + sequence + 1) - start).to(tl.int32)
    else:
        start = sequence.to(tl.int64) * length
        tokens = length
    return start, tokens


@triton.jit
def feedback(d, s, fixed, slope, eta, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr):
    """u_t = eta w_t (f_t - m_t <d_t, s_t>) (T4, T17)."""
    met = tl.sum(d * s, 0)
    gain = eta * (fixed - slope * met) if BETA_AWARE else eta * (1.0 - met)
    if NORMALIZE:
        gain /= tl.sum(s, 0) + 1e-5
    return gain


@triton.jit
def unclipped(d, rest, c, s, gain, gate, HAS_GATE: tl.constexpr):
    """c + gamma (d - c) + u s for d carried as d + rest, and its own rest: the sum of both is exact but for the step.

    Without the rest, steps far below an ulp of d would be lost one by one.
    """
    step = gain * s + rest
    if HAS_GATE:
        step += forgotten(gate) * (d - c + rest)
    moved = d + step
    taken = moved - d
    return moved, (d - (moved - taken)) + (step - taken)


@triton.jit
def outside(moved, rest, d_min, d_max):
    """Whether moved + rest is (below, above) the box. NaN is neither; the differences near a bound are exact."""
    return (moved - d_min) + rest < 0.0, (moved - d_max) + rest > 0.0


@triton.jit
def calibrate(d, rest, c, s, gain, gate, d_min, d_max, HAS_GATE: tl.constexpr):
    """(d_{t+1}, its rest) from d_t and its rest (T4, T13)."""
    moved, rest = unclipped(d, rest, c, s, gain, gate, HAS_GATE)
    below, above = outside(moved, rest, d_min, d_max)
    rest = tl.where(below | above, 0.0, rest)
    return tl.where(below, d_min, tl.where(above, d_max, moved)), rest


@triton.jit
def load_token(
    q, k, v, beta, g, state_gate, terms, place, key_place, wanted, K: tl.constexpr, V: tl.constexpr, key, value,
    HAS_GATE: tl.constexpr, STATE_GATE: tl.constexpr, BETA_AWARE: tl.constexpr,
):  # fmt: skip
    """Inputs of the token and head at row `place` of [B*T*H], of its key head at `key_place`; zero if not wanted."""
    in_key = (key < K) & wanted
    gate = tl.full([], 0.0, tl.float32)
    if HAS_GATE:
        gate = tl.load(g + key_place, mask=wanted, other=0.0)
    fixed, slope = load_feedback(terms, key_place, wanted, BETA_AWARE)
    return (
        tl.load(q + key_place * K + key, mask=in_key, other=0.0),
        tl.load(k + key_place * K + key, mask=in_key, other=0.0),
        tl.load(v + place * V + value, mask=(value < V) & wanted, other=0.0),
        tl.load(beta + place, mask=wanted, other=0.0),
        gate,
        load_gate(state_gate, place, key, wanted, K, STATE_GATE),
        fixed,
        slope,
    )


# Each token waits for the one before, so what counts is the latency of a step: few warps exchange less, narrow value
# blocks make more programs, wide ones repeat the calibration less often. Fewer warps than these would spill.
@autotune(
    configurations([{"BV": 32}], warps=(4,)) + configurations([{"BV": 16}, {"BV": 8}], warps=(1,)),
    ["K", "V", "HAS_GATE", "STATE_GATE", "crowd"],
)
@triton.jit
def recurrent_kernel(
    q, k, v, beta, g, anchor, initial_state, initial_preconditioner, state_gate, terms, o, final_state,
    final_preconditioner, path, residuals, gains, bounds, length, crowd, scale, eta, d_min, d_max,
    H: tl.constexpr, G: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    HAS_GATE: tl.constexpr, HAS_ANCHOR: tl.constexpr, STATE_GATE: tl.constexpr, BETA_AWARE: tl.constexpr,
    HAS_STATE: tl.constexpr, HAS_PRECONDITIONER: tl.constexpr, NORMALIZE: tl.constexpr, PACKED: tl.constexpr,
    SAVE: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    start, tokens = tokens_of(program // H, bounds, length, PACKED)
    key = tl.arange(0, BK)
    value = tl.program_id(1) * BV + tl.arange(0, BV)
    known, in_value = key < K, value < V
    # Every value block, and every head of a group of G with one key head, calibrates for itself; the first writes it.
    writes = (tl.program_id(1) == 0) & (program % G == 0)
    own = (program // G).to(tl.int64) * K + key
    cell = (program.to(tl.int64) * K + key)[:, None] * V + value[None, :]
    in_cell = known[:, None] & in_value[None, :]
    memory = tl.zeros([BK, BV], tl.float32)
    if HAS_STATE:
        memory = tl.load(initial_state + cell, mask=in_cell, other=0.0)
    d = tl.full([BK], 1.0, tl.float32)
    if HAS_PRECONDITIONER:
        d = tl.load(initial_preconditioner + own, mask=known, other=0.0)
    rest = tl.zeros([BK], tl.float32)
    c = tl.zeros([BK], tl.float32)
    if HAS_ANCHOR:
        c = tl.load(anchor + own, mask=known, other=0.0)
    place = start * H + program % H
    key_place = start * (H // G) + program % H // G
    next_q, next_k, next_v, next_beta, next_gate, next_fading, next_fixed, next_slope = load_token(
        q, k, v, beta, g, state_gate, terms, place, key_place, tokens > 0, K, V, key, value,
        HAS_GATE, STATE_GATE, BETA_AWARE,
    )  # fmt: skip
    for token in range(tokens):
        q_t, k_t, v_t = next_q.to(tl.float32), next_k.to(tl.float32), next_v.to(tl.float32)
        beta_t, gate = next_beta.to(tl.float32), next_gate.to(tl.float32)
        fading, fixed, slope = next_fading, next_fixed, next_slope
        # The next token's inputs depend on nothing here: on their way while this one is worked on.
        next_q, next_k, next_v, next_beta, next_gate, next_fading, next_fixed, next_slope = load_token(
            q, k, v, beta, g, state_gate, terms, place + H, key_place + H // G, token + 1 < tokens, K, V, key, value,
            HAS_GATE, STATE_GATE, BETA_AWARE,
        )  # fmt: skip
        memory = fade(memory, fading, STATE_GATE)
        s = k_t * k_t
        write_key = d * k_t
        residual = v_t - tl.sum(memory * k_t[:, None], 0)
        x = beta_t * residual
        # H_t^T q from what it was before: the read need not wait for the write.
        read = tl.sum(memory * q_t[:, None], 0) + tl.sum(write_key * q_t, 0) * x
        memory += write_key[:, None] * x[None, :]
        tl.store(o + place * V + value, (scale * read).to(o.dtype.element_ty), mask=in_value)
        gain = feedback(d, s, fixed, slope, eta, BETA_AWARE, NORMALIZE)
        if SAVE:
            tl.store(residuals + place * V + value, residual, mask=in_value)
            tl.store(path + key_place * K + key, d, mask=known & writes)
            tl.store(gains + key_place, gain, mask=writes)
        d, rest = calibrate(d, rest, c, s, gain, gate, d_min, d_max, HAS_GATE)
        place += H
        key_place += H // G
    tl.store(final_state + cell, memory, mask=in_cell)
    tl.store(final_preconditioner + own, d, mask=known & writes)


def allocate(inputs: Inputs, options: RecurrentOptions) -> RecurrentOutputs:
    """Memory for the outputs."""
    k, v = inputs.k, inputs.v
    heads, key_dim = k.shape[2:]

    return RecurrentOutputs(
        o=v.new_empty(v.shape),
        state=single(k, inputs.sequences, v.shape[2], key_dim, v.shape[3]),
        preconditioner=single(k, inputs.sequences, heads, key_dim),
        path=single(k, *k.shape) if options.save else None,
        residual=single(k, *v.shape) if options.save else None,
        gain=single(k, *k.shape[:3]) if options.save else None,
    )


def recurrent_forward(inputs: Inputs, options: RecurrentOptions) -> RecurrentOutputs:
    """All tokens one after the other, from contiguous inputs."""
    *tensors, _, cu_seqlens = inputs
    k, g, (heads, value_dim) = inputs.k, inputs.g, inputs.v.shape[2:]
    key_dim = k.shape[3]
    rule, result = options.rule, allocate(inputs, options)
    recurrent_kernel[lambda meta: (inputs.sequences * heads, cdiv(value_dim, meta["BV"]))](
        *tensors, *result, cu_seqlens, k.shape[1],
        crowd_of(inputs.sequences * heads), options.scale, rule.eta, rule.d_min, rule.d_max,
        H=heads, G=heads // k.shape[2], K=key_dim, V=value_dim, BK=tile(key_dim), HAS_GATE=g is not None,
        HAS_ANCHOR=g is not None and inputs.anchor is not None, STATE_GATE=gate_kind(inputs.state_gate),
        BETA_AWARE=inputs.feedback is not None, HAS_STATE=inputs.initial_state is not None,
        HAS_PRECONDITIONER=inputs.initial_preconditioner is not None, NORMALIZE=rule.normalize_feedback,
        PACKED=cu_seqlens is not None, SAVE=options.save,
    )  # fmt: skip
    return result
