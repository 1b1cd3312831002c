"""Compiled loops of the preconditioner's scan (T11); see `scan`.

Imported when a scan runs. Arrays are contiguous, leading axes flattened to one; `b` is a leading entry and `t` a
token. `gamma` None compiles to loops without the decay.
"""

# Typing stops at the compiler, which infers the types of these functions itself.
# mypy: allow-untyped-defs

import numpy as np

from osdn_theory.base.compiled import compiled

TILE = 4
"""Tokens per WY block: work per token grows with it, and two tokens more cost what a pass saves."""


@compiled
def scan_leads(begin, end, period, keys, beta, gamma, initial, anchor, lower, upper, rule, out, final):
    """d_1 ... d_T of the leading entries ``begin:end`` to `out`, d_{T+1} to `final`; blocks start at each `period`.

    `rule` is (eta, normalize_feedback, beta_aware, epsilon).
    """
    length, dim = keys.shape[1:]
    d = np.empty(dim)
    e = d if gamma is None else np.empty(dim)
    x, rate = np.zeros((TILE, dim)), np.zeros(TILE)
    start, target, gram = np.empty(TILE), np.ones(TILE), np.empty((TILE, TILE))
    gain, faded = np.empty(TILE), np.empty(TILE)
    low, high = np.empty(dim), np.empty(dim)
    for b in range(begin, end):
        for i in range(dim):
            d[i], low[i], high[i] = initial[b, i], lower[b, i], upper[b, i]
        for first in range(0, length, period):
            stop = min(first + period, length)
            for t in range(first, stop, TILE):
                count = min(TILE, stop - t)
                if count == TILE:  # the same with a constant count: loops over it are unrolled
                    load(keys, beta, rule, b, t, TILE, x, rate)
                else:
                    load(keys, beta, rule, b, t, count, x, rate)
                if gamma is not None:
                    shift(d, anchor, b, x, e, target)
                products(e, x, start, gram)
                solve(start, target, gram, rate, gamma, b, t, count, gain, faded)
                if count == TILE:
                    kept = advance(d, e, x, gain, gamma, anchor, low, high, b, t, TILE, out)
                else:
                    kept = advance(d, e, x, gain, gamma, anchor, low, high, b, t, count, out)
                if not kept:
                    step_rest(d, x, rate, gamma, anchor, low, high, b, t, count, out)
        for i in range(dim):
            final[b, i] = d[i]


@compiled
def load(keys, beta, rule, b, t, count, x, rate):
    """Features and eta w of `count` tokens; the rest of the block is zero, so that it changes nothing."""
    eta, normalize, aware, epsilon = rule
    dim = x.shape[1]
    for j in range(count):
        rate[j] = eta
        for i in range(dim):
            k = keys[b, t + j, i]
            x[j, i] = k * k
        if normalize:
            size = 0.0
            for i in range(dim):
                size += x[j, i]
            rate[j] = eta * (1.0 / (size + epsilon))
        if aware:
            for i in range(dim):
                x[j, i] *= beta[b, t + j]
    for j in range(count, TILE):
        rate[j] = 0.0
        for i in range(dim):
            x[j, i] = 0.0


@compiled
def shift(d, anchor, b, x, e, target):
    """e = d - c and 1 - <c, x_j>; without forgetting nothing is anchored and c counts as zero."""
    for i in range(d.size):
        e[i] = d[i] - anchor[b, i]
    for j in range(TILE):
        seen = 0.0
        for i in range(d.size):
            seen += anchor[b, i] * x[j, i]
        target[j] = 1.0 - seen


@compiled
def products(e, x, start, gram):
    """<e, x_j> and the lower triangle of the Gram matrix, in one pass over the features."""
    s0 = s1 = s2 = s3 = g10 = g20 = g21 = g30 = g31 = g32 = 0.0
    for i in range(e.size):
        v, x0, x1, x2, x3 = e[i], x[0, i], x[1, i], x[2, i], x[3, i]
        s0 += v * x0
        s1 += v * x1
        s2 += v * x2
        s3 += v * x3
        g10 += x1 * x0
        g20 += x2 * x0
        g21 += x2 * x1
        g30 += x3 * x0
        g31 += x3 * x1
        g32 += x3 * x2
    start[0], start[1], start[2], start[3] = s0, s1, s2, s3
    gram[1, 0], gram[2, 0], gram[2, 1], gram[3, 0], gram[3, 1], gram[3, 2] = g10, g20, g21, g30, g31, g32


@compiled
def solve(start, target, gram, rate, gamma, b, t, count, gain, faded):
    """Gains by forward substitution; decays are multiplied up, never divided by."""
    kept = 1.0
    for j in range(count):
        seen = kept * start[j]
        for m in range(j):
            seen += faded[m] * gram[j, m]
        gain[j] = rate[j] * (target[j] - seen)
        faded[j] = gain[j]
        if gamma is not None:
            kept *= gamma[b, t + j]
            for m in range(j):
                faded[m] *= gamma[b, t + j]


@compiled
def advance(d, e, x, gain, gamma, anchor, low, high, b, t, count, out):
    """The unprojected iterates of a block to `out` and `d`; whether all of them are in the box (NaN is not)."""
    outside, dim = 0, d.size
    for i in range(dim):
        out[b, t, i] = d[i]
    for j in range(count):
        u, last = gain[j], j + 1 == count
        if gamma is not None:
            for i in range(dim):
                e[i] = gamma[b, t + j] * e[i] + u * x[j, i]
                d[i] = anchor[b, i] + e[i]
                outside += not (d[i] >= low[i] and d[i] <= high[i])
            for i in range(0 if last else dim):
                out[b, t + j + 1, i] = d[i]
        elif last:
            for i in range(dim):
                v = out[b, t + j, i] + u * x[j, i]
                d[i] = v
                outside += not (v >= low[i] and v <= high[i])
        else:  # row from row: one store for each number
            for i in range(dim):
                v = out[b, t + j, i] + u * x[j, i]
                out[b, t + j + 1, i] = v
                outside += not (v >= low[i] and v <= high[i])
    return outside == 0


@compiled
def step_rest(d, x, rate, gamma, anchor, low, high, b, t, count, out):
    """Step the block's tokens from the first whose unprojected iterate leaves the box."""
    first = 0
    while first + 1 < count and inside(out, low, high, b, t + first + 1):
        first += 1
    for i in range(d.size):
        d[i] = out[b, t + first, i]
    for j in range(first, count):
        for i in range(d.size):
            out[b, t + j, i] = d[i]
        step(d, x, rate, gamma, anchor, low, high, b, t, j)


@compiled
def inside(out, low, high, b, t):
    """Whether the iterate of token `t` is in the box."""
    outside = 0
    for i in range(out.shape[2]):
        outside += not (out[b, t, i] >= low[i] and out[b, t, i] <= high[i])
    return outside == 0


@compiled
def step(d, x, rate, gamma, anchor, low, high, b, t, j):
    """`preconditioner.calibrate_step` of token `t` + `j`, in place."""
    seen = 0.0
    for i in range(d.size):
        seen += d[i] * x[j, i]
    gain = rate[j] * (1.0 - seen)
    for i in range(d.size):
        v = d[i]
        if gamma is not None:
            v = anchor[b, i] + gamma[b, t + j] * (v - anchor[b, i])
        v += gain * x[j, i]
        d[i] = low[i] if v < low[i] else high[i] if v > high[i] else v
