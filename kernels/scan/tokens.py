"""The calibrate step one token at a time: what chunks that clip fall back to, forward."""

import triton
import triton.language as tl

from .operator import feedback_weight, load_feedback


@triton.jit
def clip(x, d_min, d_max):
    """x in the box; a NaN stays one."""
    return tl.where(x < d_min, d_min, tl.where(x > d_max, d_max, x))


@triton.jit
def load_row(base, known, wanted):
    """One token's row, zero where masked."""
    return tl.load(base + tl.arange(0, known.shape[0]), mask=known & wanted, other=0.0)


@triton.jit
def step_tokens(
    d, c, k, g, feedback, gain, out, path, place, count, eta, eta_rest, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, HAS_GATE: tl.constexpr, BETA_AWARE: tl.constexpr,
    NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Step d [BK] float64 over `count` tokens, the first at row `place`; write their gains and rows of `out`.

    With KEEP also the d_t, rounded to float32, that rows of `out` are scaled by, into `path`.

    In float64: many clipped steps then stay within an ulp or two of the exact recurrence, and a row of K numbers per
    token costs latency, not arithmetic. `eta_rest` is what float32 leaves of eta.
    """
    feature = tl.arange(0, BK)
    known = feature < K
    eta64 = tl.full([], 0.0, tl.float64) + eta + eta_rest
    following = load_row(k + place * K, known, count > 0)
    for token in range(count):
        key = following.to(tl.float32)
        following = load_row(k + (place + H) * K, known, token + 1 < count)
        row = d.to(tl.float32)
        if KEEP:
            tl.store(path + place * K + feature, row, mask=known)
        if SCALE_KEY:
            row *= key
        tl.store(out + place * K + feature, row.to(out.dtype.element_ty), mask=known)
        wide = key.to(tl.float64)
        s = wide * wide
        step = eta64 * feedback_weight(tl.sum(s, 0), NORMALIZE)
        if BETA_AWARE:
            fixed, slope = load_feedback(feedback, place, True, BETA_AWARE)
            u = step * (fixed.to(tl.float64) - slope.to(tl.float64) * tl.sum(d * s, 0))
        else:
            u = step * (1.0 - tl.sum(d * s, 0))
        tl.store(gain + place, u.to(tl.float32))
        if HAS_GATE:
            gamma = tl.exp(tl.load(g + place).to(tl.float64))
            d = c + gamma * (d - c)
        d = clip(d + u * s, d_min, d_max)
        place += H
    return d
