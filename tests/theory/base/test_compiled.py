"""Compiled functions keep IEEE semantics, and a cache that cannot be written costs time only."""

import numpy as np
import pytest

from osdn_theory.base import compiled as _compiled
from osdn_theory.recurrence.calibrate import calibration_scan
from osdn_theory.recurrence.rules import BOUNDED, CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.streams.stream import Stream


def double(x):
    return 2.0 * x


@pytest.mark.parametrize("writable", [True, False])
def test_compiles_without_a_place_for_the_cache(monkeypatch, writable):
    original = _compiled.numba.njit

    def njit(*function, cache=False, **options):
        if cache and not writable:
            raise RuntimeError("cannot cache function: no locator available")
        return original(*function, cache=cache, **options)

    monkeypatch.setattr(_compiled.numba, "njit", njit)
    function = _compiled.compiled(double)
    assert function(1.5) == 3.0
    assert function.py_func is double


@pytest.mark.parametrize("rule", [BOUNDED, CalibrationRule(forgetting=0.9)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_the_scan_carries_non_finite_keys_as_steps_do(rule, bad):
    keys = np.random.default_rng(0).normal(size=(2, 30, 5)) / 3
    keys[1, 13, 2] = bad
    with np.errstate(all="ignore"):
        expected = calibration_scan(keys, rule, method="sequential", check_finite=False)[0]
    found = calibration_scan(keys, rule, check_finite=False)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.isnan(expected).any() == np.isnan(bad)


def test_an_overflowing_chunk_is_noticed():
    rng = np.random.default_rng(0)
    stream = Stream(keys=1e150 * rng.normal(size=(40, 4)), values=rng.normal(size=(40, 3)))
    with pytest.raises(FloatingPointError):
        osdn(stream, method="chunk", chunk_size=16)
