"""The algorithm of the theory page in exact arithmetic, written from the page and from nothing else."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from proofs_check.exact.draw import Instance
from proofs_check.exact.numbers import Array, Number, array, larger, smaller
from proofs_check.exact.propositions import Proposition, every, le


def sq(u: Array) -> Number:
    """|u|^2."""
    return u @ u


def frob_sq(m: Array) -> Number:
    """|M|_F^2."""
    return sq(m.ravel())


def inner(a: Array, b: Array) -> Number:
    """tr(A B^T)."""
    return a.ravel() @ b.ravel()


def residual(state: Array, key: Array, value: Array) -> Array:
    """v - S k."""
    return value - state @ key


def token_loss(state: Array, key: Array, value: Array) -> Number:
    """f(S) = |S k - v|^2 / 2."""
    return sq(residual(state, key, value)) / 2


def token_gradient(state: Array, key: Array, value: Array) -> Array:
    """(S k - v) k^T."""
    return np.outer(state @ key - value, key)


def write(state: Array, key: Array, value: Array, d: Array, beta: Number) -> Array:
    """S - beta (S k - v)(d * k)^T."""
    return state - beta * np.outer(state @ key - value, d * key)


def alignment(d: Array, key: Array) -> Number:
    """a = <d, k * k>."""
    return d @ (key * key)


def surrogate(d: Array, s: Array) -> Number:
    """l(d) = (1 - <d, s>)^2 / 2."""
    return (1 - d @ s) ** 2 / 2


def surrogate_gradient(d: Array, s: Array) -> Array:
    """-(1 - <d, s>) s."""
    return (d @ s - 1) * s


def clamp(a: Number, low: Number, high: Number) -> Number:
    """Projection onto an interval; a number that carries a bound on its error clips itself, and keeps the bound."""
    return a.clipped(low, high) if hasattr(a, "clipped") else smaller(larger(a, low), high)


def clip(d: Array, low: Array, high: Array) -> Array:
    """Projection onto the box."""
    return array([clamp(a, lo, hi) for a, lo, hi in zip(d, low, high, strict=True)])


def in_box(low: Array, high: Array, d: Array) -> Proposition:
    """Whether d lies in the box."""
    return every([le(lo, a), le(a, hi)] for lo, a, hi in zip(low, d, high, strict=True))


def moved(eta: Number, w: Number, gamma: Number, c: Array, d: Array, s: Array) -> Array:
    """The calibrate step before the projection: c + gamma (d - c) + eta w (1 - <d, s>) s."""
    return c + gamma * (d - c) + eta * w * (1 - d @ s) * s


def path(x: Instance, *, start: Array | None = None, project: bool = True) -> list[Array]:
    """d_1, d_2, ... of an instance: `s`, `eta`, `lo`, `hi`, `d1`, and optionally `gamma`, `w`, `c`."""
    d = x.d1 if start is None else start
    count, found = len(x.s), [d]
    gammas, weights = getattr(x, "gamma", [1] * count), getattr(x, "w", [1] * count)
    anchor = getattr(x, "c", 0 * d)
    for s, gamma, w in zip(x.s, gammas, weights, strict=True):
        d = moved(x.eta, w, gamma, anchor, d, s)
        d = clip(d, x.lo, x.hi) if project else d
        found.append(d)
    return found


def memories(x: Instance, ds: Sequence[Array], betas: Sequence[Number] | None = None) -> list[Array]:
    """S_0, S_1, ... of the tokens (k_t, v_t), written with `ds`."""
    state, found = x.S0, [x.S0]
    for k, v, d, beta in zip(x.k, x.v, ds, x.beta if betas is None else betas, strict=False):
        state = write(state, k, v, d, beta)
        found.append(state)
    return found


def losses(x: Instance, states: Sequence[Array]) -> list[tuple[Number, Number]]:
    """f_t before and after the write of token t."""
    return [
        (token_loss(before, k, v), token_loss(after, k, v))
        for (before, after), k, v in zip(pairwise(states), x.k, x.v, strict=False)
    ]


def largest(features: Sequence[Any]) -> Number:
    """M = max |s_t|^2."""
    return max(sq(s) for s in features)
