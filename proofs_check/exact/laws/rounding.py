"""T18: the standard model of rounding and what follows from it, and a rounded run against the exact one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flint import fmpq

from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.law import law
from proofs_check.exact.numbers import Array, Items, Number, array, product
from proofs_check.exact.propositions import Proposition, eq, every, implies, le, lt
from proofs_check.exact.rules import clip, path, write

BFLOAT16, FLOAT16 = 8, 11
"""Significant bits, the leading one included."""


def to_nearest(x: Number, bits: int) -> Number:
    """Round to nearest, ties to even, to `bits` significant bits; exponents are unbounded."""
    if x == 0:
        return x
    exponent = 0
    while abs(x) >= fmpq(2) ** (exponent + bits):
        exponent += 1
    while abs(x) < fmpq(2) ** (exponent + bits - 1):
        exponent -= 1
    scaled = x / fmpq(2) ** exponent
    below = int(scaled.floor())
    twice = 2 * (scaled - below)
    return (below + (twice > 1 or (twice == 1 and below % 2 == 1))) * fmpq(2) ** exponent


def unit(bits: int) -> Number:
    """u = 2^-bits."""
    return fmpq(1, 1 << bits)


def gamma_n(n: int, bits: int) -> Number:
    """n u / (1 - n u)."""
    return n * unit(bits) / (1 - n * unit(bits))


def draw_rounding(draw: Draw) -> Instance:
    """Numbers and a precision; for "limit" a tie, for "tight" the tie next to one that errs most."""
    p = draw.rng.choice((4, BFLOAT16, FLOAT16, 24, 53))
    x = Instance(p=p, choice=lambda below: below % 2 == 1, x=draw.number(-40, 40) / draw.choice(1, 3, 1024))
    if draw.kind == "limit":
        x.x = fmpq(2 * draw.integer(1 << (p - 1), (1 << p) - 1) + 1, 1 << draw.integer(0, 9))
    if draw.kind == "tight":
        x.x = draw.choice(1, -1) * (1 + unit(p))
    x.y, x.d, x.eta, x.a, x.s = (
        draw.number(fmpq(1, 3), 5),
        draw.positive(),
        draw.positive(),
        *draw.numbers(2, 0, 1),
    )
    x.delta = to_nearest(x.x, p) / x.x - 1 if x.x != 0 else fmpq(0)
    x.deltas = Items(unit(p) * draw.number(-1, 1) for _ in range(draw.integer(0, 5)))
    x.first = to_nearest(draw.number(-4, 4), p)
    x.xs = Items(to_nearest(draw.number(-4, 4), p) for _ in range(draw.integer(0, 4)))
    x.h = unit(p) / 2 * draw.choice(fmpq(31, 32), fmpq(-31, 32), fmpq(1, 3))
    return x


def rounded(x: Instance, value: Number) -> Number:
    return to_nearest(value, x.p)


def precise(x: Instance, *facts: Proposition) -> Proposition:
    """For a precision of at least one bit."""
    return implies(lt(0, x.p), *facts)


def errs_by_u(x: Instance, value: Number) -> Proposition:
    return precise(x, le(abs(rounded(x, value) - value), unit(x.p) * abs(value)))


@law(draw_rounding)
def T18_round(x: Instance) -> Proposition:
    return errs_by_u(x, x.x)


T18_round.false("u = 2^-(p+1)", lambda x: le(2 * abs(rounded(x, x.x) - x.x), unit(x.p) * abs(x.x)))


@law(draw_rounding)
def T18_add(x: Instance) -> Proposition:
    return errs_by_u(x, x.x + x.y)


@law(draw_rounding)
def T18_subtract(x: Instance) -> Proposition:
    return errs_by_u(x, x.x - x.y)


@law(draw_rounding)
def T18_multiply(x: Instance) -> Proposition:
    return errs_by_u(x, x.x * x.y)


@law(draw_rounding)
def T18_divide(x: Instance) -> Proposition:
    return errs_by_u(x, x.x / x.y)


@law(draw_rounding)
def T18_standard_model(x: Instance) -> Proposition:
    return precise(x, every(le(abs(x.delta), unit(x.p)), eq(rounded(x, x.x), x.x * (1 + x.delta))))


@law(draw_rounding)
def T18_calibrate_coordinate(x: Instance) -> Proposition:
    step = x.eta * (1 - x.a) * x.s
    gain = rounded(x, rounded(x, x.eta * rounded(x, 1 - x.a)) * x.s)
    bound = unit(x.p) * abs(x.d) + gamma_n(4, x.p) * abs(step)
    return precise(x, lt(4 * unit(x.p), 1), le(abs(rounded(x, x.d + gain) - (x.d + step)), bound))


@law(draw_rounding)
def T18_gamma_product(x: Instance) -> Proposition:
    small, n = [le(abs(delta), unit(x.p)) for delta in x.deltas], len(x.deltas)
    off = abs(product(1 + delta for delta in x.deltas) - 1)
    return implies(small, lt(n * unit(x.p), 1), le(off, gamma_n(n, x.p)))


def added(x: Instance, terms: list[Number]) -> Number:
    """One after the other, rounded."""
    total = terms[0]
    for term in terms[1:]:
        total = rounded(x, total + term)
    return total


@law(draw_rounding)
def T18_sum(x: Instance) -> Proposition:
    terms, n = [x.first, *x.xs], len(x.xs)
    bound = gamma_n(n, x.p) * sum(map(abs, terms))
    return precise(x, lt(n * unit(x.p), 1), le(abs(added(x, terms) - sum(terms)), bound))


def draw_pairs(draw: Draw) -> Instance:
    """Pairs of numbers of the format."""
    x = draw_rounding(draw)
    x.first = (x.first, to_nearest(draw.number(-4, 4), x.p))
    x.pairs = Items((a, to_nearest(draw.number(-4, 4), x.p)) for a in x.xs)
    return x


def dot_errs(x: Instance, fewer: int = 0) -> Proposition:
    """|fl(<x, y>) - <x, y>| <= gamma_n sum |x_i y_i|."""
    products = [a * b for a, b in (x.first, *x.pairs)]
    n = len(products) - fewer
    found = added(x, [rounded(x, a) for a in products])
    bound = gamma_n(n, x.p) * sum(map(abs, products))
    return precise(x, lt(n * unit(x.p), 1), le(abs(found - sum(products)), bound))


@law(draw_pairs)
def T18_dot(x: Instance) -> Proposition:
    return dot_errs(x)


T18_dot.false("gamma_{n-1}, products counted as exact", lambda x: dot_errs(x, 1))


def one_bit_off(x: Instance, p: int) -> Proposition:
    """1 + 2u and 1 - u are the numbers of the format next to 1."""
    above, below = fmpq((1 << (p - 1)) + 1, 1 << (p - 1)), fmpq((1 << p) - 1, 1 << p)
    return every(eq(above, 1 + 2 * unit(p)), eq(below, 1 - unit(p)))


@law(draw_rounding)
def T18_spacing_near_one(x: Instance) -> Proposition:
    return one_bit_off(x, x.p)


@law(draw_rounding)
def T18_storage_stalls(x: Instance) -> Proposition:
    return precise(x, lt(abs(x.h), unit(x.p) / 2), eq(rounded(x, 1 + x.h), 1))


def draw_bfloat16(draw: Draw) -> Instance:
    x = draw_rounding(draw)
    steps = [fmpq(1, 512) * share for share in (fmpq(31, 32), fmpq(-31, 32), fmpq(1, 3))]
    return Instance(choice=x.choice, domains={"h": steps})


@law(draw_bfloat16)
def T18_bfloat16(x: Instance) -> Proposition:
    lost = [implies(lt(abs(h), fmpq(1, 512)), eq(to_nearest(1 + h, BFLOAT16), 1)) for h in x.domains["h"]]
    return every(one_bit_off(x, BFLOAT16), lost)


T18_bfloat16.false("steps of half a spacing above 1 are lost downwards too", lambda x: eq(
    to_nearest(1 - fmpq(1, 256), BFLOAT16), 1))  # fmt: skip


def draw_running(draw: Draw) -> Instance:
    """Steps a_t x + b_t, a run of them, and another with an error of at most `local`."""
    count = 3
    slopes, shifts, errors = draw.numbers(count), draw.numbers(count), draw.numbers(count, -1, 1)
    x = Instance(A="number", stretch=[abs(a) for a in slopes], local=[abs(e) for e in errors])
    x.dist = lambda a: lambda b: abs(a - b)
    x.step = lambda t: lambda y: slopes[t] * y + shifts[t]
    x.x, x.y = [draw.number()], [draw.number()]
    for t in range(count):
        x.x.append(x.step(t)(x.x[t]))
        x.y.append(x.step(t)(x.y[t]) + errors[t])
    x.start = abs(x.x[0] - x.y[0]) + draw.choice(0, 1)
    sample = draw.numbers(2)
    x.domains = {"nat": range(count), "z": sample, "x": sample, "y": sample}
    return x


@law(draw_running)
def T18_running_bound(x: Instance) -> Proposition:
    sample, tokens = x.domains["z"], x.domains["nat"]
    triangle = [le(abs(a - c), abs(a - b) + abs(b - c)) for a in sample for b in sample for c in sample]
    exact = [eq(x.x[t + 1], x.step(t)(x.x[t])) for t in tokens]
    local = [le(abs(x.y[t + 1] - x.step(t)(x.y[t])), x.local[t]) for t in tokens]
    lipschitz = [
        le(abs(x.step(t)(x.y[t]) - x.step(t)(x.x[t])), x.stretch[t] * abs(x.y[t] - x.x[t])) for t in tokens
    ]
    bound, ends = x.start, []
    for t in tokens:
        ends.append(le(abs(x.y[t] - x.x[t]), bound))
        bound = x.stretch[t] * bound + x.local[t]
    start = le(abs(x.y[0] - x.x[0]), x.start)
    return implies(triangle, exact, local, [le(0, a) for a in x.stretch], lipschitz, start, every(ends))


@dataclass(frozen=True)
class Arithmetic:
    """`bits` significant bits for every operation, and how much of its rounding the bound counts (1: all)."""

    bits: int
    counted: Number = 1

    def rounded(self, exact: Number, error: Number) -> Tracked:
        """The rounded value: |fl(z) - z| <= u |fl(z)| on top of the error that came in."""
        value = to_nearest(exact, self.bits)
        return Tracked(value, self.counted * unit(self.bits) * abs(value) + error, self)


@dataclass(frozen=True)
class Tracked:
    """A computed number and a bound on its distance from the exact one."""

    value: Number
    error: Number
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

    def stored(self, bits: int, counted: int) -> Tracked:
        """Rounded once more, to the format that it is kept in."""
        value = to_nearest(self.value, bits)
        return Tracked(value, self.error + counted * unit(bits) * abs(value), self.arithmetic)


def draw_kernel(draw: Draw) -> Instance:
    """A stream in a low precision, d stored in one as low or lower, a box about the published one."""
    bits, n, p, length = (
        draw.rng.choice((BFLOAT16, FLOAT16, 24)),
        draw.key_dim(3),
        draw.value_dim(),
        draw.length(3),
    )

    def short(rows: list[Array]) -> list[Array]:
        return [array([to_nearest(a, bits) for a in row]) for row in rows]

    keys = short(draw.keys(length, n))
    wide = 1000 if draw.kind != "boxed" else 1
    return Instance(
        k=keys, s=[k * k for k in keys], v=short(draw.vectors(length, p)), bits=bits,
        stored=min(bits, draw.rng.choice((BFLOAT16, FLOAT16))), beta=[fmpq(draw.integer(0, 8), 4) for _ in keys],
        S0=draw.matrix(p, n, 0, 0), d1=array([fmpq(1)] * n), eta=draw.choice(1, fmpq(1, 4), fmpq(1, 256)),
        lo=array([fmpq(1, 2) * wide * (-1) ** (wide > 1)] * n), hi=array([fmpq(3, 2) * wide] * n),
    )  # fmt: skip


def kernel(x: Instance, arithmetic: Arithmetic, counts_storage: int) -> Iterator[Array]:
    """The rounded run, token by token: S, o and d as a kernel computes them, each with its running bound."""

    def tracked(values: Any) -> Any:
        exact = array(values)
        found = array([Tracked(a, 0 * a, arithmetic) for a in exact.ravel()])
        return found.reshape(exact.shape) if exact.ndim else found[0]

    d, eta, one, state = tracked(x.d1), tracked(x.eta), tracked(fmpq(1)), tracked(x.S0)
    for key, value, beta in zip(x.k, x.v, x.beta, strict=True):
        k = tracked(key)
        gains = array([tracked(beta) * error for error in tracked(value) - state @ k])
        scaled = d * k
        state = state + array([[gain * a for a in scaled] for gain in gains])
        s = k * k
        gain = eta * (one - d @ s)
        d = clip(array([a + gain * b for a, b in zip(d, s, strict=True)]), x.lo, x.hi)
        d = array([a.stored(x.stored, counts_storage) for a in d])
        yield from (state, state @ k, d)


def exact_run(x: Instance) -> Iterator[Array]:
    """The same quantities in the same order, without rounding."""
    state, ds = x.S0, path(x)
    for t, (key, value, beta) in enumerate(zip(x.k, x.v, x.beta, strict=True)):
        state = write(state, key, value, ds[t], beta)
        yield from (state, state @ key, ds[t + 1])


def bounded(x: Instance, counted: Number = 1, counts_storage: int = 1) -> Proposition:
    """|computed - exact| <= the running bound, for every entry of every d_t, S_t, o_t."""
    found = kernel(x, Arithmetic(x.bits, counted), counts_storage)
    pairs = [
        (a, b)
        for rows in zip(found, exact_run(x), strict=True)
        for a, b in zip(*map(array, rows), strict=True)
    ]
    return every(
        le(abs(a.value - b), a.error) for rows in pairs for a, b in zip(*map(_flat, rows), strict=True)
    )


def _flat(values: Any) -> list[Any]:
    return list(array(values).ravel())


@law(draw_kernel)
def T18_running_error_bound(x: Instance) -> Proposition:
    return bounded(x)


T18_running_error_bound.false("a quarter of u", lambda x: bounded(x, counted=unit(2)))
T18_running_error_bound.false("the storage of d left out", lambda x: bounded(x, counts_storage=0))
