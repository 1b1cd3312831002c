"""Time constants and bias (T13, T19): the figures of the theory page, and Monte Carlo."""

import numpy as np
import pytest

from osdn_theory.measures.calibration_times import (
    calibration_times,
    constant_key_alignment,
    half_life,
    isotropic_alignment,
    isotropic_eigenvalues,
    moment_matrix,
)
from osdn_theory.recurrence.calibrate import calibrate_step
from osdn_theory.recurrence.rules import FROZEN, CalibrationRule
from osdn_theory.streams.stream import Stream

OPEN = {"d_min": -np.inf, "d_max": np.inf}


def unit_keys(rng, *shape):
    keys = rng.normal(size=shape)
    return keys / np.linalg.norm(keys, axis=-1, keepdims=True)


def test_figures_of_both_settings_at_128():
    ones, rest = isotropic_eigenvalues(128)
    assert 1 / (0.003 * ones) == pytest.approx(4e4, rel=0.1)
    assert 1 / (0.003 * rest) == pytest.approx(2.8e6, rel=0.02)
    assert 1 / ones == 128
    assert 1 / rest == pytest.approx(8e3, rel=0.05)


def test_bias_figures_at_128():
    squared = 3 / (128 + 2)
    key = np.sqrt(np.full(128, squared / 128))
    assert constant_key_alignment(key, 0.0, eta=0.003, gamma=0.999) == pytest.approx(0.07, abs=0.006)
    assert isotropic_alignment(128, eta=0.003, gamma=0.999) == pytest.approx(0.023, abs=5e-4)
    assert isotropic_alignment(128, eta=1.0, gamma=0.999) == pytest.approx(0.89, abs=5e-3)


def test_an_anchor_of_one_removes_the_bias_of_unit_keys():
    key = unit_keys(np.random.default_rng(0), 16)
    assert constant_key_alignment(key**2, 1.0, eta=0.003, gamma=0.99) == pytest.approx(1, rel=1e-14)
    assert isotropic_alignment(16, eta=0.003, gamma=0.99, anchor=1.0) == pytest.approx(1, rel=1e-14)


def test_isotropic_eigenvalues_are_those_of_the_sampled_moments():
    key_dim = 6
    keys = unit_keys(np.random.default_rng(1), 400_000, key_dim)
    eigenvalues = np.linalg.eigvalsh(moment_matrix(keys**2))
    ones, rest = isotropic_eigenvalues(key_dim)
    assert eigenvalues[-1] == pytest.approx(ones, rel=1e-2)
    np.testing.assert_allclose(eigenvalues[:-1], rest, rtol=2e-2)
    assert ones + (key_dim - 1) * rest == pytest.approx(3 / (key_dim + 2), rel=1e-14)


def test_moment_matrix_weights_its_tokens():
    rng = np.random.default_rng(2)
    x, w = rng.uniform(size=(2, 9, 3)), rng.uniform(size=(2, 9))
    expected = np.einsum("bt,bti,btj->bij", w, x, x) / 9
    np.testing.assert_allclose(moment_matrix(x, w), expected, rtol=1e-13)
    np.testing.assert_allclose(moment_matrix(x, 2.0), 2 * moment_matrix(x), rtol=1e-14)


def test_times_are_the_inverse_rates():
    rng = np.random.default_rng(3)
    stream = Stream(keys=unit_keys(rng, 2, 30, 4), values=np.ones((2, 30, 1)))
    plain = calibration_times(stream, CalibrationRule(eta=0.1))
    eigenvalues = np.linalg.eigvalsh(moment_matrix(stream.squared_keys))
    np.testing.assert_allclose(plain.times, 1 / (0.1 * eigenvalues), rtol=1e-10)
    assert plain.length == 30
    forgetful = calibration_times(stream, CalibrationRule(eta=0.1, forgetting=0.9))
    np.testing.assert_allclose(forgetful.rates, plain.rates + 0.1, rtol=1e-12)
    frozen = calibration_times(stream, FROZEN)
    assert np.isinf(frozen.times).all()
    assert not frozen.calibrated_fraction.any()


def test_times_follow_the_feedback():
    rng = np.random.default_rng(4)
    beta = rng.uniform(0.2, 1, size=20)
    stream = Stream(keys=rng.normal(size=(20, 3)), values=np.ones((20, 1)), beta=beta)
    aware = calibration_times(stream, CalibrationRule(eta=1.0, beta_aware=True))
    np.testing.assert_allclose(
        aware.eigenvalues, np.linalg.eigvalsh(moment_matrix(beta[:, None] * stream.keys**2)), rtol=1e-10
    )
    normalised = calibration_times(stream, CalibrationRule(eta=1.0, normalize_feedback=True))
    weight = 1 / (np.sum(stream.keys**2, axis=-1) + 1e-5)
    np.testing.assert_allclose(
        normalised.eigenvalues, np.linalg.eigvalsh(moment_matrix(stream.keys**2, weight)), rtol=1e-10
    )


def test_token_forgetting_enters_by_its_mean():
    gate = np.linspace(0.9, 1.0, 11)
    stream = Stream(keys=np.ones((11, 1)), values=np.ones((11, 1)), forget_gate=gate)
    times = calibration_times(stream, CalibrationRule(eta=0.25, forgetting="token"))
    assert times.rates[0] == pytest.approx(0.25 + 0.05)


def test_directions_without_variance_never_calibrate():
    keys = np.zeros((50, 3))
    keys[:, 0], keys[::2, 1] = 1.0, 0.5
    times = calibration_times(Stream(keys=keys, values=np.ones((50, 1))), CalibrationRule(eta=0.5))
    assert np.isinf(times.times[0])
    assert np.isfinite(times.times[1:]).all()
    assert times.calibrated_directions == 1
    assert times.calibrated_fraction == pytest.approx(times.eigenvalues[2] / times.eigenvalues.sum())
    silent = calibration_times(Stream(keys=0 * keys, values=np.ones((50, 1))), CalibrationRule())
    assert np.isnan(silent.calibrated_fraction)


def test_a_repeated_key_calibrates_one_direction_only():
    key = np.array([0.3, -0.7, 0.2, 0.6])
    stream = Stream(keys=np.tile(key, (30, 1)), values=np.ones((30, 1)))
    times = calibration_times(stream, CalibrationRule(eta=1.0))
    assert times.times[-1] == pytest.approx(1 / np.sum(key**4))
    assert np.isinf(times.times[:-1]).all()


@pytest.mark.parametrize(("gamma", "anchor"), [(1.0, 0.0), (0.98, 0.0), (0.98, 1.0)])
def test_mean_calibration_follows_the_time_constants(gamma, anchor):
    """Monte Carlo of E[d_t - u] along the ones and across, 4000 independent runs (T13, T19)."""
    rng, key_dim, steps, runs, eta = np.random.default_rng(5), 4, 40, 4000, 0.2
    rule = CalibrationRule(eta=eta, **OPEN)
    start = np.array([2.0, 0.5, 1.5, 0.4])
    d, centre = np.broadcast_to(start, (runs, key_dim)), np.full(key_dim, anchor)
    for _ in range(steps):
        squared = unit_keys(rng, runs, key_dim) ** 2
        d = calibrate_step(d, squared, 1.0, gamma, centre, rule)
    settled = isotropic_alignment(key_dim, eta=eta, gamma=gamma, anchor=anchor)
    ones, rest = (1 - eta * lam - (1 - gamma) for lam in isotropic_eigenvalues(key_dim))
    gap = start - settled
    expected = settled + ones**steps * gap.mean() + rest**steps * (gap - gap.mean())
    error = 4 * d.std(axis=0) / np.sqrt(runs)
    assert np.all(np.abs(d.mean(axis=0) - expected) < error)
    # Half the rate is far outside the noise: the test can fail.
    wrong = settled + ones ** (steps / 2) * gap.mean() + rest ** (steps / 2) * (gap - gap.mean())
    assert np.any(np.abs(d.mean(axis=0) - wrong) > error)


def test_a_constant_key_settles_at_the_stated_alignment():
    rng = np.random.default_rng(6)
    squared, anchor = rng.uniform(size=5), rng.uniform(size=5)
    rule, d = CalibrationRule(eta=0.3, **OPEN), np.ones(5)
    for _ in range(2000):
        d = calibrate_step(d, squared, 1.0, 0.97, anchor, rule)
    settled = constant_key_alignment(squared, anchor, eta=0.3, gamma=0.97)
    assert d @ squared == pytest.approx(settled, rel=1e-12)
    assert np.isnan(constant_key_alignment(squared, anchor, eta=0.0, gamma=1.0))
    assert constant_key_alignment(squared, anchor, eta=0.1, gamma=1.0) == pytest.approx(1)


def test_half_life():
    assert half_life(0.5) == pytest.approx(1)
    assert 0.999 ** half_life(0.999) == pytest.approx(0.5)
    assert np.isinf(half_life(1.0))
    assert half_life(np.array([0.9, 0.99])).shape == (2,)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: half_life(0.0), "gamma"),
        (lambda: half_life(1.1), "gamma"),
        (lambda: isotropic_eigenvalues(0), "key_dim"),
        (lambda: isotropic_alignment(3, eta=-1, gamma=0.9), "eta"),
        (lambda: moment_matrix(np.empty((0, 3))), "features"),
        (lambda: moment_matrix(np.ones((2, 3)), -1.0), "weight"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}"):
        call()
