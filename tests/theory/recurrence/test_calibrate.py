"""The calibrate step's helpers, and the WY scan with its clip certificate against the sequential scan (T11)."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from osdn_theory.recurrence import calibrate as calibration, scan_loops as scan_kernel
from osdn_theory.recurrence.calibrate import (
    calibrate_step,
    calibration_scan,
    features,
    forgetting,
    resolve_anchor,
    resolve_initial_preconditioner,
)
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC, CalibrationRule
from osdn_theory.streams.stream import Stream

BOXES = {
    "bounded": (2 / 3, 3 / 2),
    "historic": (0.0, 1e9),
    "clips often": (0.97, 1.03),
    "one side": (-np.inf, 1.01),
    "none": (-np.inf, np.inf),
}


def unit_keys(rng, shape):
    keys = rng.normal(size=shape)
    return keys / np.linalg.norm(keys, axis=-1, keepdims=True)


def both(keys, rule, chunk_size, **options):
    expected = calibration_scan(keys, rule, method="sequential", **options)
    found = calibration_scan(keys, rule, method="wy", chunk_size=chunk_size, **options)
    return expected, found


def assert_agree(expected, found, tolerance=1e-13):
    for a, b in zip(expected, found, strict=True):
        assert a.shape == b.shape
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(a)


@st.composite
def scans(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    lead = draw(st.sampled_from([(), (1,), (3,), (2, 2), (0,)]))
    length, dim = draw(st.integers(0, 50)), draw(st.integers(1, 8))
    box = draw(st.sampled_from(sorted(BOXES)))
    gamma = draw(st.sampled_from([1.0, 0.9, 0.999, "token"]))
    rule = CalibrationRule(
        eta=draw(st.sampled_from([0.0, 0.003, 0.1, 1.0])),
        d_min=BOXES[box][0],
        d_max=BOXES[box][1],
        forgetting=gamma,
        anchor=draw(st.sampled_from([0.0, 1.0, "initial"])),
        normalize_feedback=draw(st.booleans()),
        beta_aware=draw(st.booleans()),
    )
    options = {
        "beta": rng.uniform(0, 1, size=(*lead, length)),
        "initial_preconditioner": rng.uniform(0.5, 1.6, size=(*lead, dim)),
        "gamma": 10.0 ** rng.uniform(-6, 0, size=(*lead, length)) if gamma == "token" else None,
    }
    return unit_keys(rng, (*lead, length, dim)), rule, options, draw(st.integers(1, 20))


@given(scans())
@settings(max_examples=120, deadline=None)
def test_wy_scan_is_the_sequential_scan(case):
    keys, rule, options, chunk_size = case
    assert_agree(*both(keys, rule, chunk_size, **options))


@given(scans(), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_prefix_of_the_scan_has_the_same_bits(case, where):
    keys, rule, options, chunk_size = case
    whole, final = calibration_scan(keys, rule, chunk_size=chunk_size, **options)
    cut = int(where * keys.shape[-2])
    for name in ("beta", "gamma"):
        options[name] = None if options[name] is None else options[name][..., :cut]
    head, handed_on = calibration_scan(keys[..., :cut, :], rule, chunk_size=chunk_size, **options)
    np.testing.assert_array_equal(head, whole[..., :cut, :])
    np.testing.assert_array_equal(handed_on, whole[..., cut, :] if cut < keys.shape[-2] else final)


@pytest.mark.parametrize("name", ["clipped", "unclipped"])
def test_many_slabs_agree_and_bits_ignore_the_other_heads(name):
    rng = np.random.default_rng(0)
    keys = unit_keys(rng, (6, 700, 64))
    box = {"clipped": (0.999, 1.001), "unclipped": (0.5, 2.0)}[name]
    rule = CalibrationRule(eta=0.5, d_min=box[0], d_max=box[1])
    start = rng.uniform(0.999, 1.001, size=(6, 64))
    expected, found = both(keys, rule, 8, initial_preconditioner=start)
    assert_agree(expected, found)
    clipped = np.any((expected[0] == box[0]) | (expected[0] == box[1]))
    assert clipped == (name == "clipped")
    alone, final = calibration_scan(keys[4], rule, chunk_size=8, initial_preconditioner=start[4])
    np.testing.assert_array_equal(found[0][4], alone)
    np.testing.assert_array_equal(found[1][4], final)


def test_clip_in_every_chunk():
    rng = np.random.default_rng(1)
    keys = unit_keys(rng, (4, 96, 8))
    rule = CalibrationRule(eta=1.0, d_min=1.1, d_max=1.12)
    expected, found = both(keys, rule, 8, initial_preconditioner=1.2)
    assert_agree(expected, found)
    per_chunk = (expected[0] == 1.1).reshape(4, 12, -1)
    assert np.all(per_chunk.any(axis=-1))


@pytest.mark.parametrize("wrong", [None, "lower", "upper", "certificate"])
def test_the_certificate_decides_between_wy_and_steps(monkeypatch, wrong):
    rng = np.random.default_rng(2)
    keys = unit_keys(rng, (2, 64, 6)) * np.reshape([0.7, 1.5], (2, 1, 1))  # d grows; d falls
    rule = CalibrationRule(eta=0.1, d_min=0.9, d_max=1.1)
    compiled = scan_kernel.advance

    def advance(d, e, x, gain, gamma, anchor, low, high, *rest):
        box = {"lower": low, "upper": high}
        if wrong in box:
            box[wrong] = np.full_like(low, -np.inf if wrong == "lower" else np.inf)
        return compiled(d, e, x, gain, gamma, anchor, *box.values(), *rest) or wrong == "certificate"

    monkeypatch.setattr(scan_kernel, "advance", advance)
    monkeypatch.setattr(scan_kernel, "scan_leads", scan_kernel.scan_leads.py_func)
    expected, found = both(keys, rule, 8)
    distance = np.linalg.norm(expected[0] - found[0]) / np.linalg.norm(expected[0])
    assert (distance > 1e-4) if wrong else (distance < 1e-13)


@pytest.mark.parametrize("forgetting", [None, 0.7])
def test_the_compiled_step_is_the_calibrate_step(forgetting):
    rng = np.random.default_rng(6)
    rule = CalibrationRule(eta=0.8, d_min=0.9, d_max=1.1)
    d, anchor = rng.uniform(0.7, 1.3, size=(2, 5, 40))
    feature = rng.uniform(0, 0.3, size=(5, 40))
    weight = rng.uniform(size=5)
    gamma = None if forgetting is None else np.full((5, 1), forgetting)
    box = np.full(40, rule.d_min), np.full(40, rule.d_max)
    expected = calibrate_step(d, feature, weight, None if gamma is None else gamma[:, 0], anchor, rule)
    found = d.copy()
    for b in range(5):
        scan_kernel.step(
            found[b], feature[b : b + 1], rule.eta * weight[b : b + 1], gamma, anchor, *box, b, 0, 0
        )
    assert {rule.d_min, rule.d_max} < set(expected.ravel())
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_diverging_unprojected_iterates_are_recomputed():
    """A step far too large overflows the WY gains; the steps after the first clip do not see it."""
    rng = np.random.default_rng(3)
    keys = 1e3 * rng.normal(size=(2, 130, 6))
    expected, found = both(keys, HISTORIC, 128)
    assert_agree(expected, found)
    assert np.isfinite(found[0]).all()
    head = calibration_scan(keys[:, :50], HISTORIC, chunk_size=128)[0]
    np.testing.assert_array_equal(head, found[0][:, :50])


def test_box_per_head_and_coordinate():
    rng = np.random.default_rng(4)
    keys = unit_keys(rng, (2, 3, 40, 5))
    rule = CalibrationRule(
        eta=1.0, d_min=rng.uniform(0.9, 0.99, size=(2, 3, 5)), d_max=rng.uniform(1.01, 1.1, size=5)
    )
    start = rng.uniform(0.9, 1.1, size=(2, 3, 5))
    expected, found = both(keys, rule, 7, initial_preconditioner=start)
    assert_agree(expected, found)
    assert np.any(expected[0] == np.asarray(rule.d_min)[:, :, np.newaxis])


def test_ill_conditioned_and_repeated_keys():
    rng = np.random.default_rng(5)
    keys = unit_keys(rng, (200, 16)) * np.geomspace(1, 1e-6, 16)
    keys[100:] = keys[0]
    for rule in (BOUNDED, HISTORIC, CalibrationRule(eta=0.5, normalize_feedback=True)):
        assert_agree(*both(keys, rule, 16))


def test_scan_writes_to_out():
    keys = unit_keys(np.random.default_rng(0), (2, 20, 4))
    out = np.empty(keys.shape)
    path, _ = calibration_scan(keys, BOUNDED, out=out)
    assert path is out
    np.testing.assert_array_equal(out, calibration_scan(keys, BOUNDED)[0])


def test_step_is_the_formula():
    rule = CalibrationRule(eta=0.5, d_min=0.0, d_max=1.25)
    d, x = np.array([1.0, 2.0]), np.array([0.5, 0.125])
    found = calibrate_step(d, x, np.array(0.5), np.array(0.5), np.array([1.0, 1.0]), rule)
    np.testing.assert_array_equal(found, [1.0 + 0.25 * 0.25 * 0.5, 1.25])
    unforgotten = calibrate_step(d, x, np.array(0.5), None, np.array([1.0, 1.0]), rule)
    np.testing.assert_array_equal(unforgotten, [1.0 + 0.25 * 0.25 * 0.5, 1.25])


def test_features_and_weights():
    rng = np.random.default_rng(0)
    stream = Stream(keys=rng.normal(size=(3, 4)), values=np.ones((3, 1)), beta=rng.uniform(size=3))
    feature, weight = features(stream, BOUNDED)
    np.testing.assert_array_equal(feature, stream.keys**2)
    np.testing.assert_array_equal(weight, np.ones(3))
    aware, normal = features(stream, CalibrationRule(beta_aware=True, normalize_feedback=True, epsilon=0.5))
    np.testing.assert_array_equal(aware, np.asarray(stream.beta)[:, np.newaxis] * stream.keys**2)
    np.testing.assert_allclose(normal, 1 / (np.sum(stream.keys**2, axis=-1) + 0.5), rtol=1e-15)


def test_forgetting_anchor_and_first_preconditioner():
    rng = np.random.default_rng(0)
    stream = Stream(
        keys=rng.normal(size=(2, 3, 4)),
        values=np.ones((2, 3, 1)),
        forget_gate=rng.uniform(0.1, 1, size=(2, 3)),
    )
    np.testing.assert_array_equal(forgetting(stream, BOUNDED), np.ones((2, 3)))
    np.testing.assert_array_equal(forgetting(stream, CalibrationRule(forgetting="token")), stream.forget_gate)
    per_head = forgetting(stream, CalibrationRule(forgetting=np.array([0.5, 0.25])))
    np.testing.assert_array_equal(per_head, [[0.5] * 3, [0.25] * 3])
    d1 = resolve_initial_preconditioner(stream, 1.5)
    np.testing.assert_array_equal(d1, np.full((2, 4), 1.5))
    np.testing.assert_array_equal(resolve_initial_preconditioner(stream), np.ones((2, 4)))
    own = dataclasses.replace(stream, initial_preconditioner=np.full(4, 0.9))
    np.testing.assert_array_equal(resolve_initial_preconditioner(own), np.full((2, 4), 0.9))
    assert resolve_anchor(CalibrationRule(anchor="initial"), d1) is d1
    np.testing.assert_array_equal(resolve_anchor(CalibrationRule(anchor=0.5), d1), np.full((2, 4), 0.5))


KEYS = np.ones((3, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "fast"}, "method"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"gamma": 0.5}, "gamma"),
        ({"rule": CalibrationRule(forgetting="token")}, "forget_gate"),
        ({"rule": CalibrationRule(forgetting="token"), "gamma": np.zeros(3)}, "gamma"),
        ({"rule": CalibrationRule(forgetting="token"), "gamma": np.ones(2)}, "gamma"),
        ({"beta": np.ones(2)}, "beta"),
        ({"anchor": np.ones(3)}, "anchor"),
        ({"initial_preconditioner": np.ones(3)}, "initial_preconditioner"),
        ({"out": np.empty((2, 2))}, "out"),
        ({"out": np.empty((3, 2), dtype=np.float32)}, "out"),
        ({"keys": np.ones(3)}, "keys"),
        ({"keys": np.full((3, 2), np.inf)}, "keys"),
        ({"rule": CalibrationRule(d_max=np.full(3, 2.0))}, "d_max"),
    ],
)
def test_bad_arguments_name_themselves(options, message):
    keys, rule = options.pop("keys", KEYS), options.pop("rule", BOUNDED)
    with pytest.raises(ValueError, match=message):
        calibration_scan(keys, rule, **options)


def test_sequential_scan_calls_the_one_calibrate_step(monkeypatch):
    monkeypatch.setattr(calibration, "calibrate_step", lambda d, *rest: d + 1.0)
    path, final = calibration_scan(KEYS, BOUNDED, method="sequential")
    np.testing.assert_array_equal(path[:, 0], [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(final, [4.0, 4.0])
