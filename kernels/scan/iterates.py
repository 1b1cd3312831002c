"""The preconditioner inside a block of tokens, from the value it enters with and the gains (T11)."""

import triton
import triton.language as tl

from ..launch.dots import dot

ROOM: tl.constexpr = tl.constexpr(4)
"""Terms of a chunk before those of its tokens, of which one is used: chunks begin at multiples of 16 bytes."""


@triton.jit
def gate_sums(gate):
    """Sums of a block's log gates before and after each token, [C] float64, and over all of it.

    Decays are exponentials of differences of these sums. Under strong forgetting the sums are large and their
    differences are not: in float32 the rounding of the sums alone would move the decays by more than 1e-6.
    """
    wide = gate.to(tl.float64)
    after = tl.cumsum(wide, 0)
    return after - wide, after, tl.sum(wide, 0)


@triton.jit
def load_pairs(numbers, wanted, stride: tl.constexpr, apart: tl.constexpr):
    """Two numbers of each token of a chunk, [C] each: `apart` from each other, `stride` from those of the next.

    For chains, also where one would do: fewer numbers than there are threads Triton 3.6 copies ahead once for every
    thread that needs them.
    """
    token, part = tl.arange(0, wanted.shape[0]), tl.arange(0, 2)
    place = stride * token[:, None] + apart * part[None, :]
    return tl.split(tl.load(numbers + place, mask=wanted[:, None], other=0.0))


@triton.jit
def decay(sums):
    """exp of float64 sums of log gates, in float32."""
    return tl.exp(sums.to(tl.float32))


@triton.jit
def decays(to, since):
    """exp(to_t - since_j), [R, C] float32, from float64 sums of log gates; 1 where the exponent is positive."""
    return tl.exp(tl.minimum((to[:, None] - since[None, :]).to(tl.float32), 0.0))


@triton.jit
def store_terms(terms, row, first, after, total, C: tl.constexpr, HAS_GATE: tl.constexpr):
    """What chains need of a chunk beside its operator: a number of each token, the decay from it on, and the decay of
    the whole chunk, from float64 sums of its gates."""
    inside = row < C
    tl.store(terms + ROOM + row, first, mask=inside)
    if HAS_GATE:
        tl.store(terms + ROOM + C + row, decay(total - after), mask=inside)
        tl.store(terms, decay(total))


@triton.jit
def load_terms(terms, item, valid, C: tl.constexpr, HAS_GATE: tl.constexpr):
    """The two of each token of a chunk, [C] each, zero where not `valid`; without gates the first alone.

    Found in the chain itself, they would be most of its time.
    """
    return load_pairs(terms + item * (2 * C + ROOM) + ROOM, valid, 1, C if HAS_GATE else 0)


@triton.jit
def load_decay(terms, item, there, C: tl.constexpr, HAS_GATE: tl.constexpr):
    """That of a whole chunk, if it is there. Asked for a chunk ahead: one number is not copied as tiles are. It lies
    beside the first of those of tokens, which have been asked for by then, and so is near.

    Loaded for every feature, it would be: the compiler then has d lie as this does, and sums over features between all
    lanes of a warp.
    """
    if HAS_GATE:
        return tl.load(terms + item * (2 * C + ROOM), mask=there, other=0.0)
    return 0.0


@triton.jit
def iterate_tile(
    s, gain, gate, entry, anchor, C: tl.constexpr, HAS_GATE: tl.constexpr, PRECISION: tl.constexpr
):
    """d_t of a block's C tokens, [C, BK], where nothing clips.

    d_t = c + G_t (d_entry - c) + sum_{j<t} (G_t / G_{j+1}) u_j s_j, with G_t the product of the gates before t.

    s : [C, BK] squared keys; gain : [C] u_t = eta w_t (1 - a_t); gate : [C] log gates (ignored without HAS_GATE);
    entry, anchor : [BK]. Tokens beyond the sequence have s = 0, gain = 0 and gate = 0.
    """
    row = tl.arange(0, C)
    earlier = row[:, None] > row[None, :]
    if HAS_GATE:
        before, after, _ = gate_sums(gate)
        weights = tl.where(earlier, decays(before, after) * gain[None, :], 0.0)
        start = anchor[None, :] + decay(before)[:, None] * (entry - anchor)[None, :]
    else:
        weights = tl.where(earlier, gain[None, :], 0.0)
        start = entry[None, :]
    return start + dot(weights, s, PRECISION)


@triton.jit
def next_entry(s, gain, gate, entry, anchor, HAS_GATE: tl.constexpr):
    """d handed on by a block where nothing clips, [BK]; arguments as in `iterate_tile`."""
    if HAS_GATE:
        _, after, total = gate_sums(gate)
        weights = gain * decay(total - after)
        return anchor + decay(total) * (entry - anchor) + tl.sum(weights[:, None] * s, 0)
    return entry + tl.sum(gain[:, None] * s, 0)
