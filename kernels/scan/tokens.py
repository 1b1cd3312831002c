"""The calibrate step one token at a time: what chunks that clip fall back to, forward."""

# ruff: noqa: RUF005, SIM108 -- Triton knows no unpacking

import triton
import triton.language as tl

from ..launch.runtime import IN_INTERPRETER
from .operator import feedback_weight


@triton.jit
def clip(x, d_min, d_max):
    """x in the box; a NaN stays one."""
    return tl.where(x < d_min, d_min, tl.where(x > d_max, d_max, x))


TOGETHER: tl.constexpr = tl.constexpr(8)
"""Tokens whose rows are asked for at once, while those before them are stepped over: no token waits for memory."""


@triton.jit
def copy_rows(x, COPIES: tl.constexpr):
    """A row x [BK] as [COPIES, BK].

    With as many copies as a program has warps each holds a row of its own, and sums over features need no exchange
    between warps, of which a token would wait for several.
    """
    return tl.broadcast_to(x[None, :], [COPIES, x.shape[0]])


@triton.jit
def first_of(rows, COPIES: tl.constexpr):
    """The row that all copies are of."""
    if COPIES == 1:
        return tl.reshape(rows, [rows.shape[1]])
    else:  # noqa: RET505 -- Triton compiles what follows a return as well
        return tl.sum(tl.where(tl.arange(0, COPIES)[:, None] == 0, rows, 0.0), 0)


@triton.jit
def apart(x):
    """x [N] where it lies in registers for itself: who goes on with it need not have it lie as who found it did."""
    return tl.gather(x, tl.arange(0, x.shape[0]), 0)


@triton.jit
def load_rows_of(base, place, left, known, H: tl.constexpr, K: tl.constexpr):
    """Rows of `TOGETHER` tokens, `left` of them there, zeros for the others."""
    feature = tl.broadcast_to(tl.arange(0, known.shape[1])[None, :], known.shape)
    rows = ()
    for j in tl.static_range(TOGETHER):
        rows = rows + (tl.load(base + (place + j * H) * K + feature, mask=known & (j < left), other=0.0),)
    return rows


@triton.jit
def load_numbers_of(base, place, left, H: tl.constexpr, WANTED: tl.constexpr):
    """A number of each of them, likewise; zeros where they are not wanted."""
    numbers = ()
    for j in tl.static_range(TOGETHER):
        if WANTED:
            numbers = numbers + (tl.load(base + place + j * H, mask=j < left, other=0.0),)
        else:
            numbers = numbers + (0.0,)
    return numbers


@triton.jit
def store_numbers(base, numbers, place, left, H: tl.constexpr):
    """Store a number of each of `TOGETHER` tokens, `left` of them there: that of token j is in column j [COPIES, BK].

    All at once, as numbers that all lanes have change places before they are stored.
    """
    copy = tl.arange(0, numbers.shape[0])[:, None]
    token = tl.arange(0, numbers.shape[1])[None, :]
    wanted = (copy == 0) & (token < tl.minimum(left, TOGETHER))
    tl.store(base + place + token * H + 0 * copy, numbers, mask=wanted)


@triton.jit
def after_loads(x):
    """x, for use after the loads that stand before it: ptxas moves loads down to what uses them otherwise."""
    if not IN_INTERPRETER:
        x = tl.inline_asm_elementwise(
            "bar.warp.sync 0xffffffff; mov.b32 $0, $1;", "=r,r", [x], dtype=x.dtype, is_pure=False, pack=1
        )
    return x


@triton.jit
def forget(d, c, gate, there, HAS_GATE: tl.constexpr):
    """c + gamma (d - c) in float64. What a token that is not `there` steps over has no key, and moves nothing else."""
    if HAS_GATE:
        return tl.where(there, c + tl.exp(gate.to(tl.float64)) * (d - c), d)
    return d


@triton.jit
def step_tokens(
    d, c, k, g, feedback, gain, out, path, place, count, eta, eta_rest, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr, BETA_AWARE: tl.constexpr,
    NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr, KEEP: tl.constexpr, COPIES: tl.constexpr,
):  # fmt: skip
    """Step d [BK] float64 over `count` tokens, the first at row `place`; write their gains and rows of `out`.

    With KEEP also the d_t, rounded to float32, that rows of `out` are scaled by, into `path`.

    In float64: many clipped steps then stay within an ulp or two of the exact recurrence, and a row of K numbers per
    token costs latency, not arithmetic. `eta_rest` is what float32 leaves of eta.
    """
    copy = tl.arange(0, COPIES)
    feature = copy_rows(tl.arange(0, BK), COPIES)
    known = feature < K
    writes = known & (copy == 0)[:, None]
    eta64 = tl.full([], 0.0, tl.float64) + eta + eta_rest
    d, c = copy_rows(d, COPIES), copy_rows(c, COPIES)
    following = load_rows_of(k, place, count, known, H, K)
    for group in range(tl.cdiv(count, TOGETHER)):
        left = count - group * TOGETHER
        keys = following
        following = load_rows_of(k, place + TOGETHER * H, left - TOGETHER, known, H, K)
        gates = load_numbers_of(g, place, left, H, HAS_GATE)
        fixed = load_numbers_of(feedback, 2 * place, left, 2 * H, BETA_AWARE)
        slopes = load_numbers_of(feedback, 2 * place + 1, left, 2 * H, BETA_AWARE)
        left = after_loads(left)
        gains = tl.zeros([COPIES, BK], tl.float32)
        for j in tl.static_range(TOGETHER):
            here = place + j * H
            key = keys[j].to(tl.float32)
            row = d.to(tl.float32)
            if KEEP:
                tl.store(path + here * K + feature, row, mask=writes & (j < left))
            if SCALE_KEY:
                row *= key
            tl.store(out + here * K + feature, row.to(out.dtype.element_ty), mask=writes & (j < left))
            wide = key.to(tl.float64)
            s = wide * wide
            step = eta64
            if NORMALIZE:
                step *= feedback_weight(tl.sum(s, 1), NORMALIZE)
            if BETA_AWARE:
                u = step * (fixed[j].to(tl.float64) - slopes[j].to(tl.float64) * tl.sum(d * s, 1))
            else:
                u = step * (1.0 - tl.sum(d * s, 1))
            gains = tl.where(feature == j, u.to(tl.float32)[:, None], gains)
            d = clip(forget(d, c, gates[j], j < left, HAS_GATE) + u[:, None] * s, d_min, d_max)
        store_numbers(gain, gains, place, left, H)
        place += TOGETHER * H
    return first_of(d, COPIES)
