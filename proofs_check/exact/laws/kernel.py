"""T18: a whole run in rounded arithmetic, each number with a bound on its error, against the exact run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.law import law
from proofs_check.exact.laws.rounding import BFLOAT16, FLOAT16, to_nearest, unit
from proofs_check.exact.numbers import Array, Number, array, vector
from proofs_check.exact.propositions import Proposition, every, le
from proofs_check.exact.rules import clip, memories, path


@dataclass(frozen=True)
class Tracked:
    """A number computed with so many significant bits, and a bound on its distance from the exact one."""

    value: Number
    error: Number
    bits: int

    def _rounded(self, exact: Number, error: Number, bits: int = 0) -> Tracked:
        """|fl(z) - z| <= u |fl(z)| on top of the error that came in."""
        bits = bits or self.bits
        value = to_nearest(exact, bits)
        return Tracked(value, unit(bits) * abs(value) + error, self.bits)

    def __add__(self, other: Tracked) -> Tracked:
        return self._rounded(self.value + other.value, self.error + other.error)

    def __sub__(self, other: Tracked) -> Tracked:
        return self._rounded(self.value - other.value, self.error + other.error)

    def __mul__(self, other: Tracked) -> Tracked:
        error = abs(self.value) * other.error + abs(other.value) * self.error + self.error * other.error
        return self._rounded(self.value * other.value, error)

    def clipped(self, low: Any, high: Any) -> Tracked:
        """Projection is exact and moves no two numbers apart."""
        return Tracked(min(max(self.value, low), high), self.error, self.bits)

    def stored(self, bits: int) -> Tracked:
        """Rounded once more, to the format that it is kept in."""
        return self._rounded(self.value, self.error, bits)


def draw_kernel(draw: Draw) -> Instance:
    """A stream in a low precision, d stored in one as low or lower, a box about that of `bounded`."""
    bits = draw.rng.choice((BFLOAT16, FLOAT16, 24))
    n, p, length = draw.key_dim(3), draw.value_dim(), draw.length(3)

    def short(rows: list[Array]) -> list[Array]:
        return [array([to_nearest(a, bits) for a in row]) for row in rows]

    keys = short(draw.keys(length, n))
    low, high = (fmpq(1, 2), fmpq(3, 2)) if draw.kind == "boxed" else (fmpq(-500), fmpq(1500))
    return Instance(
        k=keys, s=[k * k for k in keys], v=short(draw.vectors(length, p)), bits=bits,
        stored=min(bits, draw.rng.choice((BFLOAT16, FLOAT16))), beta=[fmpq(draw.integer(0, 8), 4) for _ in keys],
        S0=draw.matrix(p, n, 0, 0), d1=vector(n, 1), eta=draw.choice(1, fmpq(1, 4), fmpq(1, 256)),
        lo=vector(n, low), hi=vector(n, high),
    )  # fmt: skip


def kernel(x: Instance) -> Iterator[Array]:
    """The rounded run, token by token: S, o and d as a kernel computes them, each with its running bound."""
    tracked = np.vectorize(lambda a: Tracked(a, 0 * a, x.bits), otypes=[object])
    d, eta, one, state = tracked(x.d1), tracked(x.eta)[()], tracked(fmpq(1))[()], tracked(x.S0)
    for key, value, beta in zip(x.k, x.v, x.beta, strict=True):
        k = tracked(key)
        gains = (tracked(value) - state @ k) * tracked(beta)[()]
        state = state + np.outer(gains, d * k)
        s = k * k
        d = clip(d + s * (eta * (one - d @ s)), x.lo, x.hi)
        d = array([a.stored(x.stored) for a in d])
        yield from (state, state @ k, d)


def exact_run(x: Instance) -> Iterator[Array]:
    """The same quantities in the same order, without rounding."""
    ds = path(x)
    for key, d, state in zip(x.k, ds[1:], memories(x, ds)[1:], strict=True):
        yield from (state, state @ key, d)


@law(draw_kernel)
def T18_running_error_bound(x: Instance) -> Proposition:
    """|computed - exact| <= the running bound, for every entry of every d_t, S_t, o_t."""
    pairs = zip(kernel(x), exact_run(x), strict=True)
    return every(
        le(abs(a.value - b), a.error)
        for found, exact in pairs
        for a, b in zip(found.ravel(), exact.ravel(), strict=True)
    )
