"""T18: the rounding that is proved about, against that of the machine and the error terms of the code."""

import ml_dtypes
import numpy as np
from flint import fmpq

from osdn_theory.bounds.runs import enclosed as float_run
from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.laws.rounding import gamma_n, to_nearest, unit
from proofs_check.links.bridge import floats
from proofs_check.links.link import Link, Pairs, rational

FORMATS = {53: np.float64, 24: np.float32, 11: np.float16, 8: ml_dtypes.bfloat16}
"""Significant bits -> type."""


def draw_numbers(draw: Draw) -> Instance:
    """Two float64 numbers of full length, and ties of every format."""
    bits = draw.rng.choice(list(FORMATS))
    x = Instance(
        bits=bits,
        a=fmpq(draw.rng.getrandbits(53) | 1, 1 << 52),
        b=fmpq(draw.rng.getrandbits(53) | 1, 1 << 53),
    )
    if draw.kind in ("limit", "tight") and bits < 53:
        x.a = fmpq(2 * draw.rng.randint(1 << (bits - 1), (1 << bits) - 1) + 1, 1 << bits)
    if draw.kind == "zeros":
        x.b = fmpq(0)
    return x


def formats(x: Instance) -> Pairs:
    """Casting rounds to nearest even, and so do float64's own operations."""
    a, b = floats(x.a), floats(x.b)
    cast = float(FORMATS[x.bits](a))
    yield f"cast to {x.bits} bits", cast, to_nearest(x.a, x.bits)
    yield "a + b", a + b, to_nearest(x.a + x.b, 53)
    yield "a - b", a - b, to_nearest(x.a - x.b, 53)
    yield "a b", a * b, to_nearest(x.a * x.b, 53)


def error_terms(x: Instance) -> Pairs:
    """The code's unit roundoff is 2^-53 and its gamma_n is that of the law, to its own rounding."""
    n = x.terms
    yield "u", float_run.UNIT, unit(53)
    expected = gamma_n(n, 53)
    yield "gamma_n", float_run.dot_error(n), expected, expected * fmpq(4, 1 << 53)


def draw_terms(draw: Draw) -> Instance:
    """A number of terms."""
    return Instance(terms=1 if draw.kind == "single" else draw.rng.randint(1, 5000))


def near_one(x: Instance) -> Pairs:
    """bfloat16 next to one as the format has it: 2^-8 below, 2^-7 above, a `bounded` step up lost."""
    one = ml_dtypes.bfloat16(1)
    above = float(np.nextafter(one, ml_dtypes.bfloat16(2))) - 1
    below = 1 - float(np.nextafter(one, ml_dtypes.bfloat16(0)))
    yield "spacing above", above, fmpq(1, 128)
    yield "spacing below", below, fmpq(1, 256)
    step = floats(x.step)
    for name, moved, exact in (("up", 1 + step, 1 + x.step), ("down", 1 - step, 1 - x.step)):
        yield f"a step {name}", float(ml_dtypes.bfloat16(moved)), to_nearest(exact, 8)
    yield "the step up is lost", float(ml_dtypes.bfloat16(1 + step)), fmpq(1)


def draw_small_step(draw: Draw) -> Instance:
    """Up to 0.003, the eta of `bounded` times |1 - a| s <= 1, as a number of few bits."""
    return Instance(step=fmpq(draw.rng.randint(1, int(rational(0.003) * (1 << 20))), 1 << 20))


LINKS = (
    Link("T18", "formats", "float64 operations, casts to float32, float16, bfloat16", draw_numbers, formats, 240),
    Link("T18", "error terms", "bounds.float_run.dot_error", draw_terms, error_terms),
    Link("T18", "bfloat16 next to one", "ml_dtypes.bfloat16, as the kernels store", draw_small_step, near_one),
)  # fmt: skip
