"""T18: the running error bound on (d_t, S_t, o_t) along a rounded trajectory, against the exact one, on rationals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import fmpq

from proofs_check.exact import linear as la, rules
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance, Law, Relation, at_most
from proofs_check.exact.rounding_laws import BFLOAT16, FLOAT16, to_nearest


@dataclass(frozen=True)
class Arithmetic:
    """`bits` significant bits for every operation, and how much of its rounding the bound counts (1: all)."""

    bits: int
    counted: Fraction = Fraction(1)
    propagates: bool = True

    def number(self, x: Any) -> Tracked:
        """An input, exact in the format."""
        return Tracked(x, 0 * x, self)

    def rounded(self, exact: Any, error: Any) -> Tracked:
        """The rounded value: |fl(z) - z| <= u |fl(z)| on top of the error that came in."""
        value = to_nearest(exact, self.bits)
        unit = la.times(self.counted * Fraction(1, 1 << self.bits), abs(value))
        return Tracked(value, unit + (error if self.propagates else 0 * unit), self)


@dataclass(frozen=True)
class Tracked:
    """A computed number and a bound on its distance from the exact one."""

    value: Any
    error: Any
    arithmetic: Arithmetic

    def __add__(self, other: Tracked) -> Tracked:
        return self.arithmetic.rounded(self.value + other.value, self.error + other.error)

    def __sub__(self, other: Tracked) -> Tracked:
        return self.arithmetic.rounded(self.value - other.value, self.error + other.error)

    def __mul__(self, other: Tracked) -> Tracked:
        error = abs(self.value) * other.error + abs(other.value) * self.error + self.error * other.error
        return self.arithmetic.rounded(self.value * other.value, error)

    def clipped(self, low: Any, high: Any) -> Tracked:
        """Projection is exact and moves no two numbers apart."""
        return Tracked(min(max(self.value, low), high), self.error, self.arithmetic)

    def stored(self, bits: int, *, counted: bool = True) -> Tracked:
        """Rounded once more, to the format that it is kept in."""
        value = to_nearest(self.value, bits)
        unit = la.times(Fraction(int(counted), 1 << bits), abs(value))
        return Tracked(value, self.error + unit, self.arithmetic)


def inner(u: list[Tracked], v: list[Tracked]) -> Tracked:
    """<u, v>, added in order."""
    total = u[0] * v[0]
    for a, b in zip(u[1:], v[1:], strict=True):
        total = total + a * b
    return total


def draw_kernel(draw: Draw) -> Instance:
    """A stream in a low precision, d stored in one as low or lower, a box about the published one."""
    bits = draw.rng.choice((BFLOAT16, FLOAT16, 24))
    n, v, length = draw.key_dim(3), draw.value_dim(), draw.length(3)
    keys = [[to_nearest(a, bits) for a in key] for key in draw.keys(length, n)]
    x = Instance(keys=keys, features=[la.sq(k) for k in keys], bits=bits, stored=min(bits, draw.rng.choice((8, 11))),
                 values=[[to_nearest(a, bits) for a in row] for row in draw.matrix(length, v)],
                 betas=[fmpq(draw.rng.randint(0, 8), 4) for _ in keys],
                 state=[[fmpq(0)] * n for _ in range(v)], d1=[fmpq(1)] * n,
                 eta=draw.choice(fmpq(1), fmpq(1, 4), fmpq(1, 256)),
                 low=[fmpq(1, 2)] * n, high=[fmpq(3, 2)] * n)  # fmt: skip
    if draw.kind != "boxed":
        x.low, x.high = [fmpq(-1000)] * n, [fmpq(1000)] * n
    return x


def kernel(
    x: Instance, arithmetic: Arithmetic, *, counts_storage: bool
) -> Iterator[tuple[str, list[Tracked]]]:
    """The rounded run, token by token: what the kernel computes, with its running bound."""
    number = arithmetic.number
    d, eta, one = [number(a) for a in x.d1], number(x.eta), number(la.one(x.d1))
    state = [[number(a) for a in row] for row in x.state]
    for t, (key, value, beta) in enumerate(zip(x.keys, x.values, x.betas, strict=True)):
        k = [number(a) for a in key]
        write_key = [a * b for a, b in zip(d, k, strict=True)]
        gains = [number(beta) * (number(b) - inner(row, k)) for row, b in zip(state, value, strict=True)]
        state = [
            [a + g * w for a, w in zip(row, write_key, strict=True)]
            for row, g in zip(state, gains, strict=True)
        ]
        yield f"S_{t + 1}", [a for row in state for a in row]
        yield f"o_{t + 1}", [inner(row, k) for row in state]
        s = [a * a for a in k]
        gain = eta * (one - inner(d, s))
        moved = [a + gain * b for a, b in zip(d, s, strict=True)]
        d = [a.stored(x.stored, counted=counts_storage) for a in la.clip(moved, x.low, x.high)]
        yield f"d_{t + 2}", d


def exact_run(x: Instance) -> Iterator[la.Vector]:
    """The same quantities in the same order, without rounding."""
    state, path = x.state, rules.path(x)
    for t, (key, value, beta) in enumerate(zip(x.keys, x.values, x.betas, strict=True)):
        state = rules.write(state, key, value, path[t], beta)
        yield la.flat(state)
        yield la.apply(state, key)
        yield path[t + 1]


def running_bound(
    x: Instance, *, counted: Fraction = Fraction(1), propagates: bool = True, counts_storage: bool = True
) -> Iterator[Relation]:
    """|computed - exact| <= the running bound, for every entry of every d_t, S_t, o_t."""
    found = kernel(x, Arithmetic(x.bits, counted, propagates), counts_storage=counts_storage)
    for (name, computed), exact in zip(found, exact_run(x), strict=True):
        for i, (a, b) in enumerate(zip(computed, exact, strict=True)):
            yield at_most(f"|error of {name}[{i}]|", abs(a.value - b), a.error)


RUNNING_BOUND = (
    Law("T18", "running error bound", "the error of (d_t, S_t, o_t) of a rounded run stays below its running bound",
        draw_kernel, running_bound, {})
    .mutant("wrong constant", "a quarter of u", relations=lambda x: running_bound(x, counted=Fraction(1, 4)))
    .mutant("wrong formula", "errors are not propagated", relations=lambda x: running_bound(x, propagates=False))
    .mutant("wrong formula", "the storage of d left out", relations=lambda x: running_bound(x, counts_storage=False))
)  # fmt: skip

LAWS = (RUNNING_BOUND,)
