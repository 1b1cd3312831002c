from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from osdn_theory.streams.exact_keys import (
    dyadic_comparator,
    four_squares,
    nearest_unit_keys,
    to_grid,
    unit_keys,
    weighted_unit_keys,
)


def exact_weighted_square(comparator, key) -> Fraction:
    terms = zip(comparator.tolist(), key.tolist(), strict=True)
    return sum((Fraction(u) * Fraction(k) ** 2 for u, k in terms), Fraction(0))


def all_exactly_one(comparator, keys) -> bool:
    u = np.broadcast_to(comparator, keys.shape).reshape(-1, keys.shape[-1])
    return all(exact_weighted_square(*pair) == 1 for pair in zip(u, keys.reshape(u.shape), strict=True))


def on_grid(x, bits) -> bool:
    scaled = np.ldexp(x, bits)
    return bool(np.array_equal(scaled, np.rint(scaled)))


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    lead=st.lists(st.integers(0, 3), max_size=3),
    key_dim=st.integers(5, 40),
    grid_bits=st.integers(3, 12),
)
def test_unit_keys_have_norm_exactly_one(seed, lead, key_dim, grid_bits):
    keys = unit_keys(np.random.default_rng(seed), (*lead, key_dim), grid_bits=grid_bits)
    assert keys.shape == (*lead, key_dim)
    assert keys.dtype == np.float64
    assert on_grid(keys, grid_bits)
    assert all_exactly_one(np.ones(key_dim), keys)


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds, key_dim=st.integers(5, 40), bits=st.sampled_from([0, 1, 2, 3, 4, 6]), length=st.integers(0, 9)
)
def test_weighted_keys_interpolate_exactly(seed, key_dim, bits, length):
    rng = np.random.default_rng(seed)
    u = dyadic_comparator(rng, (2, 1), key_dim, bits=bits)
    keys = weighted_unit_keys(rng, u, (2, length, key_dim))
    assert keys.shape == (2, length, key_dim)
    assert all_exactly_one(u, keys)
    # The same sum in float64 is exact too, so a solver sees <u, s> == 1 without rounding.
    assert np.all(np.sum(u * (keys * keys), axis=-1) == 1.0)


def test_one_ulp_breaks_exactness():
    rng = np.random.default_rng(3)
    keys = unit_keys(rng, (4, 16))
    assert all_exactly_one(np.ones(16), keys)
    keys[2, 5] = np.nextafter(keys[2, 5], 2.0)
    assert not all_exactly_one(np.ones(16), keys)


def test_the_same_seed_gives_the_same_keys_and_another_seed_others():
    first, again, other = (unit_keys(np.random.default_rng(s), (6, 8)) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_unit_keys_are_isotropic_to_fourth_order():
    dim, count = 16, 20_000
    keys = unit_keys(np.random.default_rng(0), (count, dim))
    second = keys.T @ keys / count
    assert np.allclose(second, np.eye(dim) / dim, atol=6 / dim / np.sqrt(count))
    # E sum k^4 = 3 / (K + 2) on the sphere; a coordinate-vector-like law would give up to 1.
    assert np.sum(keys**4, axis=-1).mean() == pytest.approx(3 / (dim + 2), rel=0.02)


def test_weighted_keys_spread_evenly_over_completing_and_other_coordinates():
    rng = np.random.default_rng(5)
    u = dyadic_comparator(rng, (), 32)
    energy = np.mean(weighted_unit_keys(rng, u, (20_000, 32)) ** 2, axis=0)
    assert energy[u == 1].mean() == pytest.approx(energy[u != 1].mean(), rel=0.05)


def test_k_at_most_four_is_trivial_so_it_is_refused():
    total = 4**4
    roots = range(-16, 17)
    solutions = [p for p in itertools.product(roots, repeat=4) if sum(n * n for n in p) == total]
    assert {tuple(sorted(map(abs, p))) for p in solutions} == {(0, 0, 0, 16), (8, 8, 8, 8)}
    assert len(solutions) == 8 + 16
    for key_dim in range(1, 5):
        with pytest.raises(ValueError, match="K >= 5"):
            unit_keys(np.random.default_rng(0), (3, key_dim))


def test_k_five_is_not_trivial():
    keys = unit_keys(np.random.default_rng(0), (50, 5))
    assert len({tuple(row) for row in np.sort(np.abs(keys), axis=-1)}) > 40


def test_four_squares_is_exact_for_every_small_total():
    total = np.arange(3000)
    parts = four_squares(np.random.default_rng(0), total)
    assert parts.shape == (3000, 4)
    assert np.array_equal(np.sum(parts**2, axis=-1), total)


@pytest.mark.parametrize("total", [0, 1, 7, 15, 2 * 4**11, 6 * 4**10, 7 * 4**10, 4**12 - 1, 4**12])
def test_four_squares_at_totals_with_few_solutions(total):
    for size in (1, 5):
        parts = four_squares(np.random.default_rng(size), np.full(size, total))
        assert np.array_equal(np.sum(parts**2, axis=-1), np.full(size, total))


def test_four_squares_spreads_over_solutions_and_keeps_the_shape():
    parts = four_squares(np.random.default_rng(0), np.full((3, 400), 1_000_003))
    assert parts.shape == (3, 400, 4)
    second = np.mean(parts.reshape(-1, 4).astype(float) ** 2, axis=0)
    assert np.allclose(second, 1_000_003 / 4, rtol=0.15)
    assert len(np.unique(parts.reshape(-1, 4), axis=0)) > 1000


def test_four_squares_rejects_what_is_not_a_total():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="integers"):
        four_squares(rng, np.array([1.5]))
    with pytest.raises(ValueError, match=r"\[0, 4\^12\]"):
        four_squares(rng, np.array([-1]))
    with pytest.raises(ValueError, match=r"\[0, 4\^12\]"):
        four_squares(rng, np.array([4**12 + 1]))


def test_dyadic_comparator_lies_in_the_box_on_the_grid_with_ones():
    u = dyadic_comparator(np.random.default_rng(0), (50,), 9)
    assert u.shape == (50, 9)
    assert on_grid(u, 4)
    assert u.min() >= 11 / 16
    assert u.max() <= 1.5
    assert u.min() > 2 / 3
    assert np.all(np.count_nonzero(u == 1, axis=-1) >= 4)
    assert np.unique(u).size == 14


def test_to_grid_rounds_to_the_nearest_multiple():
    assert np.array_equal(to_grid([0.3, -0.3, 0.125, 0.375, 2.0], 2), [0.25, -0.25, 0.0, 0.5, 2.0])


@pytest.mark.parametrize(
    ("comparator", "shape", "message"),
    [
        (np.ones(5), (), "shape"),
        (np.ones(5), (-1, 5), "shape"),
        (np.ones(4), (4,), "K >= 5"),
        (np.ones((3, 6)), (2, 6), "does not broadcast"),
        ([0.0, 1, 1, 1, 1], (5,), "> 0"),
        ([2.0, 2, 1, 1, 1], (5,), "at least four entries equal to 1 per key, got 3"),
        ([2 / 3, 1, 1, 1, 1], (5,), "multiples of 2"),
        ([np.nan, 1, 1, 1, 1], (5,), "finite"),
    ],
)
def test_weighted_keys_name_the_bad_argument(comparator, shape, message):
    with pytest.raises(ValueError, match=message):
        weighted_unit_keys(np.random.default_rng(0), comparator, shape)


@pytest.mark.parametrize("grid_bits", [2, 13])
def test_grid_bits_out_of_range(grid_bits):
    with pytest.raises(ValueError, match="grid_bits"):
        unit_keys(np.random.default_rng(0), (2, 8), grid_bits=grid_bits)


def test_unit_keys_need_a_shape():
    with pytest.raises(ValueError, match="shape"):
        unit_keys(np.random.default_rng(0), ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key_dim": 4}, "key_dim"),
        ({"low": 1.25}, "low <= 1 <= high"),
        ({"high": 0.9}, "low <= 1 <= high"),
        ({"low": -1.0}, "low"),
    ],
)
def test_dyadic_comparator_names_the_bad_argument(changes, message):
    with pytest.raises(ValueError, match=message):
        dyadic_comparator(np.random.default_rng(0), (), **{"key_dim": 8, **changes})


@pytest.mark.parametrize("total", [1, 4, 12, 20, 28, 8, 96])
def test_four_squares_reaches_every_solution(total):
    parts = four_squares(np.random.default_rng(0), np.full(20_000, total))
    reach = range(-int(total**0.5), int(total**0.5) + 1)
    solutions = {p for p in itertools.product(reach, repeat=4) if sum(n * n for n in p) == total}
    found = {tuple(row) for row in np.sort(np.abs(parts), axis=-1).tolist()}
    assert found == {tuple(sorted(map(abs, p))) for p in solutions}


def test_nearest_unit_keys_are_unit_and_near() -> None:
    rng = np.random.default_rng(0)
    given = rng.standard_normal((40, 32))
    keys = nearest_unit_keys(rng, given)
    assert all(sum(Fraction(x) ** 2 for x in key) == 1 for key in keys.tolist())
    moved = np.linalg.norm(keys - given / np.linalg.norm(given, axis=-1, keepdims=True), axis=-1)
    assert moved.max() < 0.1
    assert np.mean(moved) < 0.03


@pytest.mark.parametrize(
    ("keys", "message"),
    [(np.zeros((2, 6)), "zero key"), (np.ones((2, 4)), "K >= 5"), (np.full((1, 6), np.nan), "finite")],
)
def test_nearest_unit_keys_refuse(keys: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nearest_unit_keys(np.random.default_rng(0), keys)
