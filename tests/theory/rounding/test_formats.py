"""Emulated rounding against torch, NumPy and exact rational arithmetic, bit by bit."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from osdn_theory.rounding.formats import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    TF32,
    Format,
    is_representable,
    round_to,
    spacing,
    truncate_to,
    ulp_distance,
)

NARROW = [FLOAT32, TF32, BFLOAT16, FLOAT16]
SIXTEEN = {BFLOAT16: torch.bfloat16, FLOAT16: torch.float16}


def same_bits(a, b):
    """Equal as float64 numbers, zeros with their sign, NaN with NaN."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    nan = np.isnan(a) & np.isnan(b)
    return bool(np.all(nan | ((a == b) & (np.signbit(a) == np.signbit(b)))))


def every_number(fmt):
    """All 2^16 bit patterns of a 16-bit format, as float64."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    return bits.view(SIXTEEN[fmt]).double().numpy()


def nearest(x, fmt: Format):
    """The number of the format nearest to x, ties to even, by exact arithmetic; None where it overflows."""
    value = Fraction(x)
    exponent = fmt.min_exponent
    while abs(value) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    step = Fraction(2) ** (exponent - fmt.significand + 1)
    rounded = round(value / step) * step  # Fraction rounds ties to even
    return None if abs(rounded) > Fraction(fmt.largest) else float(rounded)


def hard_cases(fmt, rng):
    """Midpoints between neighbours, and what lies a float64 ulp and a float32 half-ulp beside them."""
    exponents = rng.integers(fmt.min_exponent - fmt.significand - 1, fmt.max_exponent + 1, size=400)
    mantissa = rng.integers(2 ** (fmt.significand - 1), 2**fmt.significand, size=400)
    middle = np.ldexp(mantissa + 0.5, exponents - fmt.significand + 1)
    middle = middle[np.abs(middle) <= fmt.largest]
    beside = [middle, np.nextafter(middle, 0), np.nextafter(middle, np.inf)]
    # float64 -> float32 -> 16 bits would round these twice: the first rounding lands on the tie.
    beside += [middle * (1 + sign * 2.0**-30) for sign in (-1, 1)]
    return np.concatenate([*beside, *(-x for x in beside)])


@pytest.mark.parametrize("fmt", NARROW, ids=lambda f: f.name)
def test_rounding_agrees_with_exact_arithmetic_on_hard_cases(fmt):
    x = hard_cases(fmt, np.random.default_rng(0))
    expected = [nearest(v, fmt) for v in x]
    expected = [
        np.copysign(np.inf, v) if e is None else np.copysign(e, v) for v, e in zip(x, expected, strict=True)
    ]
    assert same_bits(round_to(x, fmt), expected)


def test_float64_to_bfloat16_is_rounded_once():
    """1 + 2^-8 + 2^-40 lies above a tie; through float32 it would become the tie, and go to even, down."""
    x = 1 + 2.0**-8 + 2.0**-40
    assert round_to(x, BFLOAT16) == 1 + 2.0**-7
    assert round_to(round_to(x, FLOAT32), BFLOAT16) == 1.0


@pytest.mark.parametrize("fmt", SIXTEEN, ids=lambda f: f.name)
def test_every_16_bit_number_is_a_fixed_point(fmt):
    values = every_number(fmt)
    assert same_bits(round_to(values, fmt), values)
    assert same_bits(truncate_to(values, fmt), values)
    assert is_representable(values, fmt)


@pytest.mark.parametrize("fmt", SIXTEEN, ids=lambda f: f.name)
def test_every_16_bit_midpoint_and_its_neighbours_agree_with_torch(fmt):
    """From float32, where torch rounds once."""
    values = np.unique(every_number(fmt)[np.isfinite(every_number(fmt))])
    middles = (values[1:] + values[:-1]) / 2
    edge = fmt.largest + (values[-1] - values[-2]) / 2
    middles = np.concatenate((middles, [edge, -edge])).astype(np.float32)
    assert same_bits(middles[:-2], (values[1:] + values[:-1]) / 2)
    cases = np.concatenate(
        (middles, np.nextafter(middles, np.float32(0)), np.nextafter(middles, np.float32(np.inf)))
    )
    expected = torch.from_numpy(cases).to(SIXTEEN[fmt]).double().numpy()
    assert same_bits(round_to(cases, fmt), expected)
    assert np.isinf(round_to(edge, fmt))
    assert round_to(np.nextafter(edge, 0), fmt) == fmt.largest


@pytest.mark.parametrize("fmt", SIXTEEN, ids=lambda f: f.name)
def test_random_float32_numbers_agree_with_torch(fmt):
    bits = np.random.default_rng(1).integers(0, 2**32, size=200_000, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    with np.errstate(invalid="ignore"):
        wide = x.astype(np.float64)
    expected = torch.from_numpy(x).to(SIXTEEN[fmt]).double().numpy()
    assert same_bits(round_to(wide, fmt), expected)


def test_float64_to_float32_agrees_with_torch_and_numpy():
    rng = np.random.default_rng(2)
    bits = rng.integers(0, 2**64, size=200_000, dtype=np.uint64)
    x = np.concatenate(
        (bits.view(np.float64), hard_cases(FLOAT32, rng), np.ldexp(rng.normal(size=5000), -140))
    )
    with np.errstate(over="ignore", invalid="ignore"):
        by_numpy = x.astype(np.float32).astype(np.float64)
    assert same_bits(round_to(x, FLOAT32), by_numpy)
    assert same_bits(round_to(x, FLOAT32), torch.from_numpy(x).float().double().numpy())


def test_tf32_drops_thirteen_bits_of_float32():
    """Adding half a TF32 ulp to the float32 pattern and cutting it rounds to nearest; ties are made even."""
    bits = np.random.default_rng(3).integers(0, 0x7F000000, size=100_000, dtype=np.int64)
    x = bits.astype(np.uint32).view(np.float32)
    rounded = bits + 0xFFF + ((bits >> 13) & 1) & ~0x1FFF
    expected = rounded.astype(np.uint32).view(np.float32)
    assert same_bits(round_to(x, TF32), expected)
    assert same_bits(truncate_to(x, TF32), (bits & ~0x1FFF).astype(np.uint32).view(np.float32))


@pytest.mark.parametrize("fmt", [*NARROW, FLOAT64], ids=lambda f: f.name)
def test_special_values(fmt):
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, fmt.smallest_subnormal, -fmt.largest, 1.0])
    assert same_bits(round_to(special, fmt), special)
    if fmt != FLOAT64:
        tiny = fmt.smallest_subnormal
        below = np.array([tiny / 2, -tiny / 2, np.nextafter(tiny / 2, 1), -tiny * 1.5])
        assert same_bits(round_to(below, fmt), [0.0, -0.0, tiny, -2 * tiny])
        assert same_bits(truncate_to(below, fmt), [0.0, -0.0, 0.0, -tiny])
        assert same_bits(truncate_to([2.0 * fmt.largest, -1e300], fmt), [fmt.largest, -fmt.largest])


def test_constants_are_those_of_the_formats():
    for fmt, dtype in {FLOAT32: torch.float32, **SIXTEEN, FLOAT64: torch.float64}.items():
        info = torch.finfo(dtype)
        assert fmt.unit_roundoff == info.eps / 2
        assert fmt.smallest_normal == info.smallest_normal
        assert fmt.largest == info.max
        assert spacing(1.0, fmt) == info.eps
    assert FLOAT16.smallest_subnormal == 2.0**-24
    assert TF32.unit_roundoff == 2.0**-11
    assert TF32.smallest_normal == FLOAT32.smallest_normal


def test_spacing_near_one_is_that_of_a_calibrate_step():
    """bfloat16 has spacing 2^-8 below 1 and 2^-7 above, as T18 says."""
    below = np.nextafter(1.0, 0)
    assert spacing(1.0, BFLOAT16) == 2.0**-7
    assert spacing(below, BFLOAT16) == 2.0**-8
    assert np.isnan(spacing(np.inf, BFLOAT16))
    assert spacing(0.0, FLOAT16) == FLOAT16.smallest_subnormal


@pytest.mark.parametrize("fmt", SIXTEEN, ids=lambda f: f.name)
def test_ulp_distance_counts_the_numbers_between(fmt):
    values = every_number(fmt)
    ordered = np.unique(values[~np.isnan(values)])
    assert np.all(ulp_distance(ordered[1:], ordered[:-1], fmt) == 1)
    assert ulp_distance(ordered[0], ordered[-1], fmt) == len(ordered) - 1
    assert ulp_distance(-0.0, 0.0, fmt) == 0


def test_ulp_distance_of_float32_is_that_of_the_bit_patterns():
    a = np.random.default_rng(4).normal(size=1000).astype(np.float32)
    b = np.abs(a) * np.float32(1.37)
    a = np.abs(a)
    expected = np.abs(a.view(np.int32).astype(np.int64) - b.view(np.int32))
    assert np.array_equal(ulp_distance(a, b, FLOAT32), expected)


def test_ulp_distance_rejects_numbers_beside_the_format():
    with pytest.raises(ValueError, match="b: expected numbers of bfloat16"):
        ulp_distance(1.0, 1.001, BFLOAT16)
    with pytest.raises(ValueError, match="fmt"):
        ulp_distance(1.0, 1.0, FLOAT64)


@pytest.mark.parametrize("broken", ["half up", "twice", "no subnormals"])
def test_a_broken_rounding_is_caught(broken):
    """The cases above tell right from nearly right."""
    x = hard_cases(BFLOAT16, np.random.default_rng(0))
    step = spacing(x, BFLOAT16)
    wrong = {
        "half up": np.floor(x / step + 0.5) * step,
        "twice": round_to(round_to(x, FLOAT32), BFLOAT16),
        "no subnormals": np.where(np.abs(x) < BFLOAT16.smallest_normal, 0 * x, round_to(x, BFLOAT16)),
    }[broken]
    assert not same_bits(wrong, round_to(x, BFLOAT16))
