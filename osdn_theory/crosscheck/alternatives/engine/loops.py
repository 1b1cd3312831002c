"""Compiled loops of recurrences with faults switched on; see `mechanism` for what the switches say.

Imported when an alternative is computed. Arrays are contiguous float64, (B, H) flattened to one leading axis. `edge`
is the chunk that faults of the chunk form speak of, `dropped` how many of the 53 bits storage loses.
"""

# Typing stops at the compiler, which infers the types of these functions itself.
# mypy: allow-untyped-defs

import numpy as np

from osdn_theory.base.compiled import compiled

UNDECAYED, CHUNK_START, FIRST_ORDER, OPPOSITE, LAGGING = 1, 2, 3, 4, 5
"""What the residual reads, beside the decayed state (0)."""

AFTER_WRITE, RESIDUAL_ONLY = 1, 2
"""Where the memory decays, beside before the residual (0)."""

READ_BEFORE, READ_UNDECAYED, READ_CHUNK_START, READ_CHUNK_ALONE, READ_CHUNK_END = 1, 2, 3, 4, 5
"""What the output reads, beside the state after the write (0)."""

FORGET_FIRST, FORGET_LAST, FORGET_AFTER_CLIP = 1, 2, 3
"""When d forgets, beside in one go with the step (0)."""

FROZEN_WRITES, FROZEN_GAINS = 1, 2
"""What stands still inside a chunk, beside nothing (0)."""


@compiled
def remember(queries, erase, write, taught, beta, decay, start, switches, outputs, final):
    """Outputs (n, T, V) and final states (n, V, K) of a memory; `taught` is the value times its gate, (n, T, V)."""
    source, place, read, edge, reset, carry, decays, dropped = switches
    length, dim = erase.shape[1:]
    s, h, f, p, u = np.empty(dim), np.empty(dim), np.empty(dim), np.empty(dim), np.empty(dim)
    bits = s.view(np.int64)
    auxiliary = source >= CHUNK_START or read >= READ_CHUNK_START or carry > 0
    for b in range(start.shape[0]):
        for i in range(start.shape[1]):
            for j in range(dim):
                s[j] = start[b, i, j]
            first = 0
            for t in range(length):
                if reset > 0 and t > 0 and t % reset == 0:
                    s[:] = 0.0
                if auxiliary and t % edge == 0:
                    if carry > 0 and t > 0:
                        for j in range(dim):
                            s[j] = h[j] + u[j]
                    for j in range(dim):
                        h[j], f[j], p[j], u[j] = s[j], s[j], s[j], 0.0
                    first = t
                e, w = erase[b, t], write[b, t]
                early = 0.0
                if read == READ_UNDECAYED:
                    early = dot(s, queries[b, t])
                seen = dot(s, e) if source == UNDECAYED or place == AFTER_WRITE else 0.0
                if decays and place == RESIDUAL_ONLY:
                    for j in range(dim):
                        seen += s[j] * decay[b, t, j] * e[j]
                elif decays and place == 0:
                    multiply(s, decay[b, t])
                    if auxiliary:
                        multiply(h, decay[b, t])
                        multiply(f, decay[b, t])
                        multiply(p, decay[b, t])
                if source == 0 and place == 0:
                    seen = dot(s, e)
                elif source == CHUNK_START:
                    seen = dot(h, e)
                elif source == FIRST_ORDER:
                    seen = dot(f, e)
                    add(f, taught[b, t, i] - beta[b, t] * dot(h, e), w)
                elif source == OPPOSITE:
                    seen = 2.0 * dot(h, e) - dot(s, e)
                elif source == LAGGING:
                    seen = dot(p, e)
                    for j in range(dim):
                        p[j] = s[j]
                if read == READ_BEFORE:
                    early = dot(s, queries[b, t])
                x = taught[b, t, i] - beta[b, t] * seen
                add(s, x, w)
                if carry > 0:
                    add(u, x, w)
                if decays and place == AFTER_WRITE:
                    multiply(s, decay[b, t])
                if dropped > 0:
                    drop(bits, dropped)
                if read == 0:
                    outputs[b, t, i] = dot(s, queries[b, t])
                elif read == READ_CHUNK_START:
                    outputs[b, t, i] = dot(h, queries[b, t])
                elif read == READ_CHUNK_ALONE:
                    outputs[b, t, i] = dot(s, queries[b, t]) - dot(h, queries[b, t])
                elif read == READ_CHUNK_END:
                    if (t + 1) % edge == 0 or t + 1 == length:
                        for m in range(first, t + 1):
                            outputs[b, m, i] = dot(s, queries[b, m])
                else:
                    outputs[b, t, i] = early
            if carry > 0 and length > 0:
                for j in range(dim):
                    s[j] = h[j] + u[j]
            for j in range(dim):
                final[b, i, j] = s[j]


@compiled
def calibrate(seen, direction, rate, gate, anchor, start, low, high, switches, out, final):
    """d_t of every token (n, T, K) and the d handed on, from features that are seen and ones to step along."""
    order, clip_every, frozen, edge, reset, forgets, dropped, apart = switches
    length, dim = seen.shape[1:]
    d, m, carried = np.empty(dim), np.empty(dim), np.empty(dim)
    bits = d.view(np.int64)
    for b in range(start.shape[0]):
        for j in range(dim):
            d[j] = carried[j] = start[b, j]
        for t in range(length):
            if apart > 0 and t % edge == 0:
                d[:] = carried
            if reset > 0 and t > 0 and t % reset == 0:
                for j in range(dim):
                    d[j] = start[b, j]
            if t % edge == 0:
                for j in range(dim):
                    m[j] = d[j]
            shown = m if frozen > 0 else d
            for j in range(dim):
                out[b, t, j] = shown[j]
            if forgets and order == FORGET_FIRST:
                forget(d, gate[b, t], anchor[b])
            gain = rate[b, t] * (1.0 - dot(m if frozen == FROZEN_GAINS else d, seen[b, t]))
            if forgets and order == 0:
                forget(d, gate[b, t], anchor[b])
            add(d, gain, direction[b, t])
            if forgets and order == FORGET_LAST:
                forget(d, gate[b, t], anchor[b])
            if (t + 1) % clip_every == 0 or t + 1 == length:
                clip(d, low, high)
            if forgets and order == FORGET_AFTER_CLIP:
                forget(d, gate[b, t], anchor[b])
            if dropped > 0:
                drop(bits, dropped)
            if apart > 0:
                gain = rate[b, t] * (1.0 - dot(carried, seen[b, t]))
                if forgets:
                    forget(carried, gate[b, t], anchor[b])
                add(carried, gain, direction[b, t])
                if (t + 1) % edge == 0 or t + 1 == length:
                    clip(carried, low, high)
        for j in range(dim):
            final[b, j] = carried[j] if apart > 0 else d[j]


@compiled
def dot(left, right):
    total = 0.0
    for j in range(left.size):
        total += left[j] * right[j]
    return total


@compiled
def add(target, factor, vector):
    """target += factor * vector."""
    for j in range(target.size):
        target[j] += factor * vector[j]


@compiled
def multiply(target, factors):
    for j in range(target.size):
        target[j] *= factors[j]


@compiled
def forget(d, gate, anchor):
    """d <- c + gamma (d - c)."""
    for j in range(d.size):
        d[j] = anchor[j] + gate * (d[j] - anchor[j])


@compiled
def clip(d, low, high):
    """d <- its nearest point of the box; NaN stays."""
    for j in range(d.size):
        v = d[j]
        d[j] = low if v < low else high if v > high else v


@compiled
def drop(bits, dropped):
    """Round float64 numbers, seen as integers, to 53 - `dropped` bits, ties to even.

    NaN and infinity stay what they are. Formats of fewer bits have a shorter range as well, which this leaves out.
    """
    mask = (np.int64(1) << dropped) - 1
    for j in range(bits.size):
        b = bits[j]
        if (b >> 52) & 0x7FF != 0x7FF:
            odd = (b >> dropped) & 1
            bits[j] = (b + (mask >> 1) + odd) & ~mask
