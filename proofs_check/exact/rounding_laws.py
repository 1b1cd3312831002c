"""T18: the standard model of rounding, checked exactly on rationals, and what bfloat16 does to d next to one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from math import floor
from typing import Any

from flint import fmpq

from proofs_check.exact import linear as la
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance, Law, Relation, at_most, equal
from proofs_check.exact.roots import fraction

Rounding = Callable[[Any, int], Any]

BFLOAT16, FLOAT16 = 8, 11
"""Significant bits, the leading one included."""


def scaled(x: Any, bits: int) -> tuple[Fraction, int]:
    """x = y 2^e with 2^(bits - 1) <= |y| < 2^bits."""
    value = fraction(x)
    exponent = value.numerator.bit_length() - value.denominator.bit_length() - bits
    scaled_value = value / Fraction(2) ** exponent
    while abs(scaled_value) < 1 << (bits - 1):
        exponent, scaled_value = exponent - 1, scaled_value * 2
    while abs(scaled_value) >= 1 << bits:
        exponent, scaled_value = exponent + 1, scaled_value / 2
    return scaled_value, exponent


def like(x: Any, value: Fraction) -> Any:
    """`value` in the type of x."""
    return la.times(value, x * 0 + 1)


def to_nearest(x: Any, bits: int) -> Any:
    """Round to nearest, ties to even, to `bits` significant bits; exponents are unbounded."""
    if x == 0:
        return x
    significand, exponent = scaled(x, bits)
    # Python rounds a Fraction to the nearest integer, ties to even.
    return like(x, round(significand) * Fraction(2) ** exponent)


def towards_zero(x: Any, bits: int) -> Any:
    """Truncation."""
    if x == 0:
        return x
    significand, exponent = scaled(abs(x), bits)
    return like(x, floor(significand) * Fraction(2) ** exponent) * (1 if x > 0 else -1)


def draw_rounding(draw: Draw) -> Instance:
    """A number and a precision; for "limit" a tie, for "tight" the tie next to one that errs most."""
    bits = draw.rng.choice((2, 4, BFLOAT16, FLOAT16, 24, 53))
    x = Instance(x=draw.number(-40, 40) / draw.choice(1, 3, 1024), bits=bits)
    if draw.kind == "limit":
        x.x = fmpq(2 * draw.rng.randint(1 << (bits - 1), (1 << bits) - 1) + 1, 1 << draw.rng.randint(0, 9))
    if draw.kind == "tight":
        x.x = draw.choice(1, -1) * (1 + fmpq(1, 1 << bits))
    return x


def standard_model(x: Instance, *, rounding: Rounding = to_nearest, finer: int = 0) -> Iterator[Relation]:
    """fl(x) = x (1 + delta), |delta| <= u/(1 + u) <= u = 2^-p, and fl(fl(x)) = fl(x)."""
    result, u = rounding(x.x, x.bits), Fraction(1, 1 << (x.bits + finer))
    error = abs(result - x.x)
    yield at_most("|fl(x) - x|", error, la.times(u, abs(x.x)))
    yield at_most("(1 + u)|fl(x) - x|", la.times(1 + u, error), la.times(u, abs(x.x)))
    yield equal("fl(fl(x))", rounding(result, x.bits), result)
    yield equal("fl(-x)", rounding(-x.x, x.bits), -result)


STANDARD_MODEL = (
    Law("T18", "standard model", "|fl(x) - x| <= u/(1 + u) |x| with u = 2^-p, to nearest even", draw_rounding,
        standard_model, {})
    .mutant("wrong constant", "u = 2^-(p+1)", relations=lambda x: standard_model(x, finer=1))
    .mutant("wrong formula", "towards zero", relations=lambda x: standard_model(x, rounding=towards_zero))
    .mutant("index shift", "one bit less kept", relations=lambda x: standard_model(
        x, rounding=lambda y, bits: to_nearest(y, bits - 1)))
)  # fmt: skip


def draw_sum(draw: Draw) -> Instance:
    """Terms already in the precision, and an order to add them: any binary tree.

    For "tight", 1 and then numbers that each round away: the error is n - 1 half units.
    """
    bits = draw.rng.choice((4, BFLOAT16, FLOAT16, 24))
    n = draw.rng.randint(2, 6)
    x = Instance(bits=bits, terms=[to_nearest(draw.number(-4, 4), bits) for _ in range(n)],
                 factors=[to_nearest(draw.number(-4, 4), bits) for _ in range(n)])  # fmt: skip
    x.order = [(draw.rng.randrange(i + 2), draw.rng.randrange(i + 1)) for i in reversed(range(n - 1))]
    if draw.kind == "tight":
        x.terms = [fmpq(1)] + [fmpq(1, 1 << bits)] * (n - 1)
        x.order = [(0, 0)] * (n - 1)
    if draw.kind == "limit":
        x.terms[-1] = -to_nearest(sum(x.terms[:-1], fmpq(0)), bits)
    return x


def swallowed(draw: Draw) -> Instance:
    """At least three terms: 1, and then half a unit at a time that each rounds away."""
    x = draw_sum(Draw(draw.rng, "tight"))
    while len(x.terms) < 3:
        x = draw_sum(Draw(draw.rng, "tight"))
    x.factors = [fmpq(1)] * len(x.terms)
    return x


def rounded_sum(terms: la.Vector, order: list[tuple[int, int]], bits: int) -> la.Number:
    """Add two of what is left, round, put back; `order` says which two, so any order and any tree."""
    left = list(terms)
    for i, j in order:
        a, b = left.pop(i), left.pop(j)
        left.insert(0, to_nearest(a + b, bits))
    (total,) = left
    return total


def gamma_n(n: int, bits: int) -> Fraction:
    """n u / (1 - n u)."""
    u = Fraction(1, 1 << bits)
    return n * u / (1 - n * u)


def summation(x: Instance, *, fewer: int = 0, sizes: bool = True, flat: bool = False) -> Iterator[Relation]:
    """|fl(sum x) - sum x| <= gamma_{n-1} sum |x|, in any order."""
    found, exact = rounded_sum(x.terms, x.order, x.bits), sum(x.terms)
    scale = sum(abs(a) for a in x.terms) if sizes else abs(exact)
    count = 1 if flat else len(x.terms) - 1 - fewer
    yield at_most("|fl(sum) - sum|", abs(found - exact), la.times(gamma_n(count, x.bits), scale))


SUMMATION = (
    Law("T18", "sums in any order", "|fl(sum x) - sum x| <= gamma_{n-1} sum |x|", draw_sum, summation, {})
    .mutant("index shift", "gamma_{n-2}", draw=swallowed, relations=lambda x: summation(x, fewer=1))
    .mutant("wrong formula", "relative to |sum x|", relations=lambda x: summation(x, sizes=False))
    .mutant("wrong constant", "gamma_1 whatever n", draw=swallowed, relations=lambda x: summation(x, flat=True))
)  # fmt: skip


def products(x: Instance) -> la.Vector:
    """The rounded products x_i y_i."""
    return [to_nearest(a * b, x.bits) for a, b in zip(x.terms, x.factors, strict=True)]


def dot_product(x: Instance, *, count: int | None = None, sizes: bool = True) -> Iterator[Relation]:
    """|fl(<x, y>) - <x, y>| <= gamma_n sum |x_i y_i|, products and sums rounded, in any order."""
    found, exact = rounded_sum(products(x), x.order, x.bits), la.dot(x.terms, x.factors)
    scale = sum(abs(a * b) for a, b in zip(x.terms, x.factors, strict=True)) if sizes else abs(exact)
    factor = gamma_n(len(x.terms) if count is None else count, x.bits)
    yield at_most("|fl(dot) - dot|", abs(found - exact), la.times(factor, scale))


def one_product(draw: Draw) -> Instance:
    """n = 1."""
    x = draw_sum(draw)
    x.terms, x.factors, x.order = x.terms[:1], x.factors[:1], []
    return x


DOT_PRODUCT = (
    Law("T18", "dot products in any order", "|fl(<x, y>) - <x, y>| <= gamma_n sum |x_i y_i|", draw_sum, dot_product, {})
    .mutant("wrong constant", "gamma_1 whatever n", draw=swallowed, relations=lambda x: dot_product(x, count=1))
    .mutant("wrong formula", "relative to |<x, y>|", relations=lambda x: dot_product(x, sizes=False))
    .mutant("index shift", "gamma_{n-1}, products counted as exact", draw=one_product,
            relations=lambda x: dot_product(x, count=len(x.terms) - 1))
)  # fmt: skip


def draw_near_one(draw: Draw) -> Instance:
    """A published calibrate step from d = 1 (eta = 0.003): how far, of what size |1 - a| s_i <= 1."""
    return Instance(eta=fmpq(3, 1000), size=draw.number(fmpq(1, 64), 1), within=draw.number(0, 1))


def near_one(
    x: Instance, *, bits: int = BFLOAT16, below: int = 8, above: int = 7, lost_down: bool = False
) -> Iterator[Relation]:
    """bfloat16 next to 1: spacing 2^-8 below and 2^-7 above, and a published step upwards is lost whole."""
    one = x.eta * 0 + 1
    down, up = like(one, Fraction(1, 1 << below)), like(one, Fraction(1, 1 << above))
    for name, neighbour in (("1 - 2^-8", one - down), ("1 + 2^-7", one + up)):
        yield equal(f"{name} is a number of the format", to_nearest(neighbour, bits), neighbour)
    yield equal(
        "nothing between, above", to_nearest(one + up * x.within, bits), one + (up if 2 * x.within > 1 else 0)
    )
    yield equal(
        "nothing between, below",
        to_nearest(one - down * x.within, bits),
        one - (down if 2 * x.within > 1 else 0),
    )
    step = x.eta * x.size
    yield at_most("the step is below half a spacing", step, up / 2)
    yield equal("1 + step", to_nearest(one + step, bits), one)
    moved = one if lost_down or 2 * step <= down else one - down
    yield equal("1 - step", to_nearest(one - step, bits), moved)


def large_step(draw: Draw) -> Instance:
    """A step of one."""
    x = draw_near_one(draw)
    x.eta, x.size = fmpq(1), fmpq(1)
    return x


NEAR_ONE = (
    Law("T18", "bfloat16 next to one", "spacing 2^-8 below and 2^-7 above 1: a published step up from d = 1 is lost",
        draw_near_one, near_one,
        {"eta |1 - a| s <= 0.003": lambda x: x.eta * x.size * 1000 <= 3})
    .mutant("flipped sign", "2^-7 below and 2^-8 above", relations=lambda x: near_one(x, below=7, above=8))
    .mutant("wrong formula", "steps down are lost too", relations=lambda x: near_one(x, lost_down=True))
    .mutant("wrong constant", "float16 in place of bfloat16", relations=lambda x: near_one(x, bits=FLOAT16))
    .mutant("dropped hypothesis", "eta = 1", draw=large_step, without=["eta |1 - a| s <= 0.003"])
)  # fmt: skip

LAWS = (STANDARD_MODEL, SUMMATION, DOT_PRODUCT, NEAR_ONE)
