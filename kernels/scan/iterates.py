"""The preconditioner inside a block of tokens, from the value it enters with and the gains (T11)."""

import triton
import triton.language as tl

from ..launch.dots import dot


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
def decays(to, since):
    """exp(to_t - since_j), [R, C] float32, from float64 sums of log gates; 1 where the exponent is positive."""
    return tl.exp(tl.minimum((to[:, None] - since[None, :]).to(tl.float32), 0.0))


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
        start = anchor[None, :] + tl.exp(before.to(tl.float32))[:, None] * (entry - anchor)[None, :]
    else:
        weights = tl.where(earlier, gain[None, :], 0.0)
        start = entry[None, :]
    return start + dot(weights, s, PRECISION)


@triton.jit
def next_entry(s, gain, gate, entry, anchor, HAS_GATE: tl.constexpr):
    """d handed on by a block where nothing clips, [BK]; arguments as in `iterate_tile`."""
    if HAS_GATE:
        _, after, total = gate_sums(gate)
        weights = gain * tl.exp((total - after).to(tl.float32))
        return anchor + tl.exp(total.to(tl.float32)) * (entry - anchor) + tl.sum(weights[:, None] * s, 0)
    return entry + tl.sum(gain[:, None] * s, 0)
