"""Head-by-head measures against what they are defined to be, on streams whose answers are known."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from osdn_theory.measures.analysis import (
    analyze,
    clipped_steps,
    geometric_mean_ratio,
    keeps_identity,
    key_spectrum,
)
from osdn_theory.measures.least_squares import ridge_solution
from osdn_theory.recurrence.calibrate import calibrate_step
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC, CalibrationRule
from osdn_theory.recurrence.solve import delta_net, osdn
from osdn_theory.streams.stream import Stream


def stream(seed=0, lead=(2, 3), length=24, key_dim=4, value_dim=5, **options):
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(*lead, length, key_dim)) / 2
    return Stream(keys=keys, values=rng.normal(size=(*lead, length, value_dim)), name="layer", **options)


def unit(data):
    return replace(data, keys=data.keys / np.linalg.norm(data.keys, axis=-1, keepdims=True))


def test_one_entry_per_head_in_order():
    heads = analyze([stream(0), replace(stream(1, lead=()), name="other")])
    assert [(h.stream, h.index) for h in heads][:2] == [("layer", (0, 0)), ("layer", (0, 1))]
    assert (heads[-1].stream, heads[-1].index) == ("other", ())
    assert len(heads) == 7
    assert all(h.length == 24 for h in heads)


def test_measures_are_those_of_the_runs():
    data, rule = stream(2, beta=0.7), CalibrationRule(eta=0.2, d_min=0.9, d_max=1.3)
    head = analyze([data], rule, ridge=1e-3)[4]
    alone = data.at((1, 1))
    for name, run in {"osdn": osdn(alone, rule), "delta_net": delta_net(alone)}.items():
        got = head.measures[name]
        assert got.log_residual_ratio == pytest.approx(np.log(run.residual_ratio).mean(), rel=1e-9)
        assert got.residual_ratio == pytest.approx(np.exp(got.log_residual_ratio), rel=1e-12)
        reads = alone.keys @ run.final_state.T
        recall = np.sum((reads - alone.values) ** 2) / np.sum(alone.values**2)
        assert got.missing_share == pytest.approx(recall, rel=1e-12)
        visited = np.vstack([run.preconditioner, run.final_preconditioner])
        assert (got.preconditioner_min, got.preconditioner_max) == (visited.min(), visited.max())
        assert got.drift_max == pytest.approx(np.abs(visited - 1).max())
        assert got.drift_rms == pytest.approx(np.sqrt(np.mean((visited - 1) ** 2)))
        assert got.mean_alignment == pytest.approx(run.alignment.mean(), rel=1e-12)
        newton = ridge_solution(alone.keys, alone.values, 1e-3)
        distance = np.linalg.norm(run.final_state - newton) / np.linalg.norm(newton)
        assert got.newton_distance == pytest.approx(distance, rel=1e-9)
    assert head.measures["osdn"].clipped_fraction > 0
    assert head.measures["delta_net"].clipped_fraction == 0
    assert head.measures["osdn"].missing_share != head.measures["delta_net"].missing_share


def test_exactly_normalised_keys_leave_osdn_equal_to_delta_net():
    head = analyze([unit(stream(3))], HISTORIC)[0]
    assert head.measures["osdn"].drift_max < 1e-14
    assert head.measures["osdn"].missing_share == pytest.approx(head.measures["delta_net"].missing_share)
    for measures in head.measures.values():
        assert measures.mean_alignment == pytest.approx(1)
        assert measures.vanishing_tokens == 24
        assert measures.log_residual_ratio == -np.inf
        assert measures.residual_ratio == 0


@pytest.mark.parametrize("power", [-700, 700])
def test_measures_do_not_depend_on_the_size_of_the_values(power):
    plain = stream(lead=(2,))
    scaled = replace(plain, values=np.ldexp(plain.values, power))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = analyze([scaled])
    for one, other in zip(analyze([plain]), found, strict=True):
        assert one.measures["osdn"] == other.measures["osdn"]
        assert np.isfinite(other.measures["osdn"].newton_distance)


def test_a_step_that_overflows_ends_on_the_faces():
    keys = np.random.default_rng(0).normal(size=(1, 24, 4))
    keys[:, 1::2] *= 4
    keys[:, ::2] /= 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (head,) = analyze([Stream(keys=keys, values=keys)], replace(BOUNDED, eta=1e308))
    assert head.fastest_calibration == 0
    assert (head.measures["osdn"].preconditioner_min, head.measures["osdn"].preconditioner_max) == (
        2 / 3,
        1.5,
    )


def test_delta_net_ignores_a_learned_preconditioner_and_osdn_starts_from_it():
    learned = stream(4, initial_preconditioner=np.full(4, 1.2))
    head = analyze([learned])[0]
    assert head.measures["osdn"].preconditioner_max >= 1.2
    assert head.measures["delta_net"].drift_max == 0


def test_state_gates_are_followed_and_leave_least_squares_out():
    plain = stream(5, lead=())
    open_gate, gated = (replace(plain, state_gate=np.full(24, gate)) for gate in (1.0, 0.5))
    expected, found, faded = (analyze([each])[0].measures["osdn"] for each in (plain, open_gate, gated))
    assert np.isnan(found.newton_distance)
    assert replace(found, newton_distance=expected.newton_distance) == expected
    assert faded.missing_share != expected.missing_share


def test_calibration_is_held_against_the_context():
    slow, fast = analyze([stream(6, lead=())])[0], analyze([stream(6, lead=())], HISTORIC)[0]
    assert slow.calibrated_directions == 0
    assert slow.calibrated_fraction == 0
    assert slow.fastest_calibration > slow.length
    assert fast.calibrated_directions >= 1
    assert 0 < fast.calibrated_fraction <= 1
    assert fast.fastest_calibration <= fast.slowest_calibration
    assert slow.fastest_calibration == pytest.approx(fast.fastest_calibration / BOUNDED.eta)


def test_key_spectrum():
    keys = np.zeros((3, 6, 4))
    keys[0, :4] = 2 * np.eye(4)
    keys[1, 0, 0], keys[1, 1, 1] = 3.0, 1.0
    rank, condition, effective = key_spectrum(keys)
    assert rank.tolist() == [4, 2, 0]
    np.testing.assert_allclose(condition, [1, 9, np.nan])
    shares = np.array([0.9, 0.1])
    np.testing.assert_allclose(effective, [4, np.exp(-np.sum(shares * np.log(shares))), 0])


def test_geometric_mean_leaves_out_undefined_tokens_and_keeps_zeros():
    mean, geometric = geometric_mean_ratio(
        np.array([[0.5, np.nan, 2.0], [0.0, 1.0, np.nan], [np.nan] * 3, [0.25, 0.25, 0.25]])
    )
    np.testing.assert_allclose(mean, [0, -np.inf, np.nan, np.log(0.25)], atol=1e-15)
    np.testing.assert_allclose(geometric, [1, 0, np.nan, 0.25])


def test_zero_residuals_are_undefined_not_zero():
    data = stream(7, lead=(), length=3)
    silent = replace(data, values=np.zeros((3, 5)))
    measures = analyze([silent])[0].measures["osdn"]
    assert measures.undefined_tokens == 3
    assert measures.vanishing_tokens == 0
    assert np.isnan(measures.log_residual_ratio)
    assert np.isnan(measures.missing_share)


@pytest.mark.parametrize("box", [(0.95, 1.02), (np.full(4, 0.95), np.array([1.01, 1.5, 1.02, 2.0]))])
def test_clipped_steps_are_those_the_box_changed(box):
    data, rule = stream(8), CalibrationRule(eta=0.3, d_min=box[0], d_max=box[1], forgetting=0.99, anchor=1.0)
    run = osdn(data, rule)
    after = np.concatenate([run.preconditioner[..., 1:, :], run.final_preconditioner[..., None, :]], axis=-2)
    free = replace(rule, d_min=-np.inf, d_max=np.inf)
    clipped = clipped_steps(run)
    assert clipped.any()
    assert not clipped.all()
    for t in range(data.length):
        step = calibrate_step(
            run.preconditioner[..., t, :], data.squared_keys[..., t, :], 1.0, 0.99, run.anchor, free
        )
        np.testing.assert_array_equal(
            clipped[..., t], np.any(np.abs(step - after[..., t, :]) > 1e-13, axis=-1)
        )


def test_a_trajectory_without_a_rule_has_no_clips():
    with pytest.raises(ValueError, match=r"^trajectory"):
        clipped_steps(replace(osdn(stream(9)), rule=None))


def test_json():
    heads = analyze([unit(stream(10, lead=(1,)))])
    read = json.loads(json.dumps([head.as_dict() for head in heads], allow_nan=False))[0]
    assert read["index"] == [0]
    assert read["measures"]["osdn"]["log_residual_ratio"] == "-inf"
    assert isinstance(read["measures"]["osdn"]["vanishing_tokens"], int)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"^streams"):
        analyze([stream(length=0)])
    with pytest.raises(ValueError, match=r"^ridge"):
        analyze([stream()], ridge=0.0)
    with pytest.raises(ValueError, match=r"^forget_gate"):
        analyze([stream()], CalibrationRule(forgetting="token"))


@pytest.mark.parametrize(
    ("changes", "rule", "kept"),
    [
        ({}, {}, True),
        ({}, {"eta": 1.0}, True),
        ({}, {"forgetting": 0.9, "anchor": 1.0}, True),
        ({}, {"forgetting": 0.9, "anchor": "initial"}, True),
        ({}, {"forgetting": 0.9}, False),
        ({}, {"d_min": 1.1}, False),
        ({}, {"beta_aware": True, "eta": 1.0}, False),
        ({"initial_preconditioner": np.array([1.0, 1.0, 1.0, 1.25])}, {"eta": 1.0}, False),
    ],
)
def test_identity_is_said_exactly_where_osdn_is_delta_net(changes, rule, kept):
    data = replace(unit(stream(5, beta=0.5)), **changes)
    heads = analyze([data], CalibrationRule(**rule))
    assert {head.identity for head in heads} == {kept}
    same = [
        np.isclose(head.measures["osdn"].missing_share, head.measures["delta_net"].missing_share, rtol=1e-12)
        for head in heads
    ]
    assert all(same) if kept else not any(same)


def test_identity_needs_the_norm_of_every_key():
    data = unit(stream(6))
    keys = data.keys.copy()
    keys[1, 2, 7] *= 1 + 1e-6
    kept = keeps_identity(replace(data, keys=keys), BOUNDED)
    assert not kept[1, 2]
    assert kept.sum() == kept.size - 1


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"d_min": 1.0, "d_max": 1.0}, True),
        ({"d_min": 0.5, "d_max": np.array([2.0, 2.0, 2.0, 0.75])}, False),
        ({"d_min": np.array([0.5, 0.5, 0.5, 1.25]), "d_max": 2.0}, False),
        ({"forgetting": "token"}, False),
        ({"forgetting": "token", "anchor": 1.0}, True),
        ({"forgetting": 0.5, "anchor": np.array([1.0, 1.0, 1.0, 0.5])}, False),
        ({"beta_aware": True}, False),
    ],
)
def test_identity_is_lost_by_one_token_one_coordinate_or_one_face(changes, kept):
    gates = np.ones(24)
    gates[-1] = 0.5
    data = unit(stream(5, lead=(), forget_gate=gates))
    given = {"eta": 0.2, "d_min": 0.5, "d_max": 2.0} | changes
    assert bool(keeps_identity(data, CalibrationRule(**given))) is kept


@pytest.mark.parametrize("box", [(1.0, 2.0), (0.5, 1.0)])
def test_a_step_to_a_face_is_not_clipped(box):
    data = Stream(keys=np.eye(3), values=np.ones((3, 1)))
    assert not clipped_steps(osdn(data, CalibrationRule(eta=0.5, d_min=box[0], d_max=box[1]))).any()
