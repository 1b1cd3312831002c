"""Exponentials of gates, and products with them, in float32 as a GPU may compute them, and their bounds (T17, T18)."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from osdn_theory.rounding import CHUNK_BF16
from osdn_theory.rounding.errors import decays
from osdn_theory.rounding.errors.decays import decay_error, fading_error
from osdn_theory.rounding.errors.enclosed import Enclosed
from osdn_theory.rounding.errors.error_set import ErrorSet
from osdn_theory.rounding.errors.lemmas import UNIT
from osdn_theory.rounding.memory.fading import TokenGates, faded
from osdn_theory.rounding.models import GATE_RESTS


def exponents():
    x = np.concatenate((np.linspace(1e-6, 0.5, 20001), np.linspace(0.5, 90.0, 20001)))
    return x.astype(np.float32)


def by_powers_of_two(x):
    """e^{-x} as GPUs compute it, from a power of two within two ulps either way."""
    y = (x * np.float32(np.log2(np.e))).astype(np.float64)
    side = np.where(y.astype(np.int64) % 2, 1.0, -1.0)
    return np.exp2(-y) * (1 + side * 4 * UNIT)


def test_an_exponential_stays_within_four_units_and_two_of_its_exponent():
    x = exponents()
    exact, bound = np.exp(-x.astype(np.float64)), decay_error(x.astype(np.float64))
    error = np.abs(by_powers_of_two(x) - exact)
    assert np.all(error <= bound)
    assert np.all(np.abs(np.exp(-x).astype(np.float64) - exact) <= bound)
    # Half of either term is too little.
    relative = error / exact
    assert np.any(relative > (2 + 2 * x) * UNIT)
    assert np.any(relative > (4 + 0.5 * x) * UNIT)


def test_an_exponent_that_errs_moves_its_exponential():
    x, missed = np.array([0.25, 3.0]), np.array([1e-4, 1e-2])
    moved = np.exp(-x + missed) - np.exp(-x)
    assert np.all(moved <= decay_error(x, missed))
    assert np.all(moved > decay_error(x, 0.9 * missed))


def test_an_exponential_may_be_flushed_to_zero():
    x = np.array([100.0, 1e4])
    assert np.all(np.exp(-x) < decay_error(x))


def test_each_part_of_a_weak_gate_counts():
    """The series, its product and the sum; an exponent that errs; and beyond one half none of this."""
    x = np.array([0.01, 0.3, 0.499])
    away = -np.expm1(-x)
    assert np.all(fading_error(x, taken=True) >= UNIT * ((decays.TAKEN + 1) * away + np.exp(-x)))
    missed = 1e-3
    assert np.all(np.exp(-x + missed) - np.exp(-x) <= fading_error(x, missed, taken=True))
    strong = np.array([0.6, 5.0, 40.0])
    np.testing.assert_array_equal(fading_error(strong, taken=True), fading_error(strong, taken=False))


def series(x):
    """e^{-x} - 1 for x < 1/2 as kernels add it up, every quotient within two ulps, in float32."""
    one, g = np.float32(1), -x
    total = np.ones_like(g)
    for n in range(8, 1, -1):
        quotient = (g / np.float32(n)) * np.float32(1 + (1 if n % 2 else -1) * 4 * UNIT)
        total = one + quotient * total
    return g * total


def test_a_weak_gate_takes_away_its_series():
    x = exponents()
    x = x[x < decays.WEAK]
    exact = np.expm1(-x.astype(np.float64))
    error = np.abs(series(x).astype(np.float64) - exact) / (UNIT * np.abs(exact))
    assert 0.4 * decays.TAKEN < error.max() <= decays.TAKEN


@pytest.mark.parametrize("taken", [True, False])
def test_a_faded_number(taken):
    x, h = exponents(), np.float32(1 + 2.0**-12)
    if taken:
        x = x[x < decays.WEAK]
        found = h + series(x) * h
    else:
        found = (by_powers_of_two(x) * h).astype(np.float32)
    x, exact = x.astype(np.float64), float(h) * np.exp(-x.astype(np.float64))
    error = np.abs(found.astype(np.float64) - exact)
    bound = fading_error(x, taken=taken) * float(h)
    assert np.all(error <= bound)
    assert np.any(error > 0.5 * bound)
    # Weak gates lose less where they take away.
    assert fading_error(np.array(1e-3), taken=True) < 0.3 * fading_error(np.array(1e-3), taken=False)


def test_near_one_half_either_form_is_covered():
    x = np.array([decays.WEAK - 1e-9, decays.WEAK, decays.WEAK + 1e-9])
    both = [fading_error(np.array([0.499]), taken=True), fading_error(np.array([0.501]), taken=True)]
    assert np.all(fading_error(x, taken=True) >= np.max(both) * 0.99)


def test_factors_that_err_reach_products():
    matrix = Enclosed(np.array([[2.0, -3.0]]), np.array([[0.5, 0.0]]), np.array([[0.1, 0.2]]))
    factor = Enclosed(np.array([[0.5, 1.0]]), 0.0, np.array([[0.01, 0.02]]))
    found = matrix.faded(factor)
    np.testing.assert_allclose(found.value, [[1.0, -3.0]])
    np.testing.assert_allclose(found.slack, [[0.25, 0.0]])
    first, second = 0.51 * 0.1 + 2.5 * 0.01, 1.02 * 0.2 + 3.0 * 0.02
    np.testing.assert_allclose(found.error, [[first, second]], rtol=1e-5)
    assert np.all(found.error > [[first, second]])


@pytest.mark.parametrize("per_feature", [True, False])
def test_errors_fade_as_the_memory_does(per_feature):
    rng = np.random.default_rng(0)
    gate = rng.uniform(0.2, 1.0, size=(1, 3) if per_feature else 1)
    errors = ErrorSet.zero(1, 3)
    line = rng.normal(size=(1, 3))
    errors.add_line(line, np.array([2.0]))
    errors.fade(gate)
    rows = np.broadcast_to(gate if per_feature else gate[:, None], (1, 3))
    np.testing.assert_allclose(errors.rows(), 2 * np.abs(rows * line), rtol=1e-9)
    ball = ErrorSet.zero(1, 3)
    ball.add_ball(np.array([2.0]))
    ball.fade(gate)
    np.testing.assert_allclose(ball.rows(), 2 * rows, rtol=1e-9)
    np.testing.assert_allclose(ball.radius(), 2 * rows.max(axis=-1), rtol=1e-9)


# The factors of a chunk


def drawn(heads=200, length=16, strongest=50.0):
    rng = np.random.default_rng(0)
    x = rng.exponential(1.0, size=(heads, length)) * rng.choice([0.01, 1.0, strongest], size=(heads, length))
    return x.astype(np.float32).astype(np.float64)


def fading_of(exponent, *, wide, rests=True):
    model = SimpleNamespace(wide_gates=wide, kept_sums=GATE_RESTS if rests else UNIT)
    return TokenGates(SimpleNamespace(exponent=exponent, model=model), slice(0, None))


def computed(exponent, *, wide, rests=True):
    """(D_t0, D_tj, sums) in float32: sums of float64, with rests or without, or of float32."""
    if not wide:
        sums = np.cumsum(exponent.astype(np.float32), axis=-1, dtype=np.float32)
        apart = sums[:, :, None] - sums[:, None, :]
    else:
        whole = np.cumsum(exponent, axis=-1)
        sums = whole.astype(np.float32)
        lost = (whole - sums).astype(np.float32) * rests
        apart = (sums[:, :, None] - sums[:, None, :]) + (lost[:, :, None] - lost[:, None, :])
    return by_powers_of_two(sums), by_powers_of_two(np.maximum(apart, 0)), sums


@pytest.mark.parametrize("kept", [{"wide": True}, {"wide": True, "rests": False}, {"wide": False}])
def test_factors_of_a_chunk_stay_below_their_bounds(kept):
    exponent = drawn()
    found, (entry, pairs, _) = fading_of(exponent, **kept), computed(exponent, **kept)
    sums = np.cumsum(exponent, axis=-1)
    lower = np.tri(exponent.shape[1], dtype=bool)
    exact = np.exp(-np.where(lower, sums[:, :, None] - sums[:, None, :], 0.0))
    np.testing.assert_allclose(found.pairs.value, exact, rtol=1e-12)
    np.testing.assert_allclose(found.kept[..., 0], np.exp(-sums), rtol=1e-12)
    missed = np.abs(pairs - exact)
    assert np.all(missed <= found.pairs.error)
    assert np.any(missed[:, lower] > 0.6 * np.asarray(found.pairs.error)[:, lower])
    missed = np.abs(entry - found.kept[..., 0])
    assert np.all(missed <= found.entry.error[..., 0])
    assert np.any(missed > 0.6 * found.entry.error[..., 0])
    np.testing.assert_array_equal(found.rest.value[..., 0], found.pairs.value[:, -1])
    np.testing.assert_array_equal(found.rest.error[..., 0], np.asarray(found.pairs.error)[:, -1])


def test_differences_of_sums_with_rests_round_twice():
    exponent = drawn()
    found, x = fading_of(exponent, wide=True), np.cumsum(exponent, axis=-1)
    exact = np.where(np.tri(16, dtype=bool), x[:, :, None] - x[:, None, :], 0.0)
    sums = x.astype(np.float32)
    rests = (x - sums).astype(np.float32)
    made = (sums[:, :, None] - sums[:, None, :]) + (rests[:, :, None] - rests[:, None, :])
    missed = np.abs(np.maximum(made, 0).astype(np.float64) - exact)
    normal = exact < 80
    covered = (
        np.log1p(np.asarray(found.pairs.error) * np.exp(np.minimum(exact, 90.0))) - (4 + 2 * exact) * UNIT
    )
    assert np.all((missed <= covered)[normal])
    assert np.any((missed > 0.6 * covered)[normal & (exact > 1)])


def test_only_sums_with_rests_keep_differences():
    """Rounded sums leave the bound of wide ones, and stay below their own."""
    exponent = drawn(strongest=2000.0)
    _, pairs, _ = computed(exponent, wide=False)
    _, rounded, _ = computed(exponent, wide=True, rests=False)
    wide, narrow = (fading_of(exponent, wide=each) for each in (True, False))
    assert np.any(np.abs(rounded - wide.pairs.value) > wide.pairs.error)
    missed = np.abs(pairs - wide.pairs.value)
    assert np.any(missed > wide.pairs.error)
    assert np.all(missed <= narrow.pairs.error)


@pytest.mark.parametrize("wide", [True, False])
def test_the_memory_that_a_chunk_hands_on(wide):
    """Weak gates alone, by what they take away, and strong ones."""
    exponent = drawn(heads=4000, length=4, strongest=0.5) / 8
    found = fading_of(exponent, wide=wide)
    total = np.cumsum(exponent, axis=-1)[:, -1].astype(np.float32)
    h = np.float32(1 + 2.0**-10)
    whole = (by_powers_of_two(total) * h).astype(np.float32)
    part = h + series(total) * h
    made = np.where((total < decays.WEAK) & wide, part, whole).astype(np.float64)
    faded_memory = found.handed_on(Enclosed(np.full((4000, 1, 1), float(h)), 0.25, 0.125))
    missed = np.abs(made - faded_memory.value[:, 0, 0])
    own = faded_memory.error[:, 0, 0] - 0.125 * found.kept[:, -1, 0]
    assert np.all(missed <= own * float(h) / (float(h) + 0.375) * 1.001)
    assert np.any(missed > 0.4 * own * float(h) / (float(h) + 0.375))
    np.testing.assert_allclose(faded_memory.slack[:, 0, 0], 0.25 * found.kept[:, -1, 0])


def test_a_product_with_any_factor_loses_at_most_what_is_linear():
    exponent = drawn()
    found = fading_of(exponent, wide=False)
    worst = max(float(np.max(x.error)) for x in (found.entry, found.pairs, found.rest))
    assert np.all(found.linear >= found.lost[:, 0, 0])
    assert np.max(found.linear) > worst
    one = Enclosed(np.ones((len(exponent), 16, 16)))
    assert np.all(one.faded(found.pairs).error <= found.linear[:, None, None] * (1 + 1e-6))


def test_what_decays_cost_parts_of_known_norm():
    """Reads of a memory of norm one, what is left of it, and a written value of norm one, converted to 16 bits."""
    exponent, rng = drawn(heads=50, strongest=0.5) / 8, np.random.default_rng(1)
    model = replace(CHUNK_BF16, wide_gates=False)
    found = TokenGates(SimpleNamespace(exponent=exponent, model=model), slice(0, None))
    rows = Enclosed(rng.uniform(1, 2, size=(50, 16, 1)))
    one, none = np.ones(50), np.zeros((50, 16))
    read = rows.faded(found.entry)
    assert np.all(read.error[..., 0] <= found.lost_reading(rows) * (1 + 1e-6))
    assert np.any(read.error[..., 0] > 0.1 * found.lost_reading(rows))
    left = found.handed_on(Enclosed(np.ones((50, 1, 1)))).error[:, 0, 0]
    assert np.all(left <= found.lost_handing(rows, one, none) * (1 + 1e-6))
    _, ended = found.ended(rows, Enclosed(np.ones((50, 16, 1))))
    for token in range(16):
        alone = found.lost_handing(rows, 0 * one, np.eye(16)[token] + none)
        bound = rows.value[:, token, 0] * ended.error[:, token, 0]
        assert np.all(bound <= alone * (1 + 1e-6))
        assert np.any(bound > 0.4 * alone)


@pytest.mark.parametrize("per_feature", [True, False])
def test_the_exact_memory_fades(per_feature):
    rng = np.random.default_rng(0)
    exponent = rng.exponential(size=(2, 3, 4) if per_feature else (2, 3))
    state = rng.normal(size=(2, 5, 4))
    gate = np.exp(-exponent[:, 1])
    expected = state * (gate[:, None, :] if per_feature else gate[:, None, None])
    np.testing.assert_array_equal(faded(SimpleNamespace(exponent=exponent), 1, state), expected)
    assert faded(SimpleNamespace(exponent=None), 1, state) is state
