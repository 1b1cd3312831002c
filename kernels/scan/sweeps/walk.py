"""The calibrate scan token by token in one warp, and what a stretch of tokens does to any d that enters it (T29)."""

# ruff: noqa: RUF005, SIM108 -- Triton knows no unpacking

import triton
import triton.language as tl

from ..operator import feedback_weight


@triton.jit
def clip_to(x, d_min, d_max):
    """x in the box; a NaN stays one."""
    above = tl.maximum(x, d_min, propagate_nan=tl.PropagateNan.ALL)
    return tl.minimum(above, d_max, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def inward(d, rest, d_min, d_max):
    """The rest of d, none where it points out of the box: steps below half an ulp leave it there on a face."""
    return tl.where(((d <= d_min) & (rest < 0.0)) | ((d >= d_max) & (rest > 0.0)), 0.0, rest)


@triton.jit
def load_tokens(
    base, place, H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    """Rows of ROWS tokens, a tuple: all loads are under way before the first is used."""
    feature = tl.arange(0, BK)
    rows = ()
    for j in tl.static_range(ROWS):
        rows = rows + (tl.load(base + (place + j * H) * K + feature, mask=feature < K, other=0.0),)
    return rows


@triton.jit
def load_numbers(base, place, H: tl.constexpr, ROWS: tl.constexpr, WANTED: tl.constexpr):
    """A number of each of ROWS tokens, likewise; zeros where they are not wanted."""
    numbers = ()
    for j in tl.static_range(ROWS):
        if WANTED:
            numbers = numbers + (tl.load(base + place + j * H),)
        else:
            numbers = numbers + (0.0,)
    return numbers


@triton.jit
def differing(x, y):
    """Bits in which two float32 numbers differ."""
    return x.to(tl.int32, bitcast=True) ^ y.to(tl.int32, bitcast=True)


@triton.jit
def walk_group(
    d, rest, c, excess, low, high, slope, mass, strength, total, hit, k, shrinks, feedback, gain, out, path, place, eta,
    d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, BK: tl.constexpr, ROWS: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr,
    KEEP: tl.constexpr, MAPS: tl.constexpr,
):  # fmt: skip
    """`walk_chunk` over ROWS tokens."""
    feature = tl.arange(0, BK)
    row = tl.arange(0, ROWS)
    keys = load_tokens(k, place, H, K, BK, ROWS)
    shrunk = load_numbers(shrinks, place, H, ROWS, HAS_GATE)
    fixed = load_numbers(feedback, 2 * place, 2 * H, ROWS, BETA_AWARE)
    slopes = load_numbers(feedback, 2 * place + 1, 2 * H, ROWS, BETA_AWARE)
    gains = tl.zeros([ROWS], tl.float32)
    for j in tl.static_range(ROWS):
        key = keys[j].to(tl.float32)
        s = key * key
        cells = (place + j * H) * K + feature
        written = d
        if KEEP:
            tl.store(path + cells, d, mask=feature < K)
        if SCALE_KEY:
            written = d * key
        tl.store(out + cells, written.to(out.dtype.element_ty), mask=feature < K)
        weight = 1.0
        weighted = s
        if NORMALIZE:
            weight = feedback_weight(tl.sum(s, 0), NORMALIZE)
            weighted = weight * s
        if BETA_AWARE:
            u = eta * weight * (fixed[j] - slopes[j] * tl.sum(d * s, 0))
            weight *= slopes[j]
            weighted *= slopes[j]
        else:
            u = eta * weight * (1.0 - tl.sum(d * s, 0))
        gains = tl.where(row == j, u, gains)
        # d_{t+1}, and the rest that rounding takes from it: steps far below an ulp would else be lost one by one.
        step = u * s + rest
        if HAS_GATE:
            shrink = shrunk[j]
            if HAS_ANCHOR:
                step += shrink * (d - c)
            else:
                step += shrink * d
            slope += slope * shrink
        moved = d + step
        rest = step - (moved - d)
        d = clip_to(moved, d_min, d_max)
        rest = tl.where(d == moved, rest, 0.0)
        hit |= differing(d, moved)
        if MAPS:
            cut = moved - d
            if HAS_GATE:
                gamma = 1.0 + shrink
                excess, low, high = gamma * excess, gamma * low, gamma * high
            excess += cut
            low = tl.maximum(tl.minimum(low + cut, 0.0), d_min - d)
            high = tl.minimum(tl.maximum(high + cut, 0.0), d_max - d)
            mass += weighted
            strength += weighted * s
            total += weight
    tl.store(gain + place + row * H, gains)
    return d, rest, excess, low, high, slope, mass, strength, total, hit


@triton.jit
def walk_chunk(
    d, rest, c, excess, low, high, slope, mass, strength, total, k, shrinks, feedback, gain, out, path, place, left,
    eta, d_min, d_max,
    H: tl.constexpr, K: tl.constexpr, C: tl.constexpr, BK: tl.constexpr, ROWS: tl.constexpr, HAS_GATE: tl.constexpr,
    HAS_ANCHOR: tl.constexpr, BETA_AWARE: tl.constexpr, NORMALIZE: tl.constexpr, SCALE_KEY: tl.constexpr,
    KEEP: tl.constexpr, MAPS: tl.constexpr,
):  # fmt: skip
    """Step d + rest [BK] over a chunk, `left` of its tokens; write gains, rows of `out` and, with KEEP, of `path`.

    shrinks [B, T, H] float32: gamma_t - 1. With MAPS also carry, per feature, what the chunk does at these gains to a
    change y of what enters it: min(high, max(low, slope y + excess)), `excess` what the clip took; and the sums of
    w_t s_t (mass), w_t s_t^2 (strength) and w_t (total), with w_t m_t for w_t where the feedback is f_t - m_t a_t.
    Returns them all, and a number that is not 0 where the clip bound at some token.
    """
    hit = tl.zeros([BK], tl.int32)
    count = tl.minimum(left, C).to(tl.int32)
    for _ in range(count // ROWS):
        d, rest, excess, low, high, slope, mass, strength, total, hit = walk_group(
            d, rest, c, excess, low, high, slope, mass, strength, total, hit, k, shrinks, feedback, gain, out, path,
            place, eta, d_min, d_max, H, K, BK, ROWS, HAS_GATE, HAS_ANCHOR, BETA_AWARE, NORMALIZE, SCALE_KEY, KEEP,
            MAPS,
        )  # fmt: skip
        place += ROWS * H
    for _ in range(count % ROWS):
        d, rest, excess, low, high, slope, mass, strength, total, hit = walk_group(
            d, rest, c, excess, low, high, slope, mass, strength, total, hit, k, shrinks, feedback, gain, out, path,
            place, eta, d_min, d_max, H, K, BK, 1, HAS_GATE, HAS_ANCHOR, BETA_AWARE, NORMALIZE, SCALE_KEY, KEEP, MAPS,
        )  # fmt: skip
        place += H
    rest = inward(d, rest, d_min, d_max)
    return d, rest, excess, low, high, slope, mass, strength, total, hit | (d != d).to(tl.int32)
