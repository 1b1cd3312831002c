"""Token-by-token trajectories against plain Python loops, special cases, and errors at the boundary."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from support import naive

from osdn_theory.recurrence import calibrate as calibration
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC, CalibrationRule
from osdn_theory.recurrence.solve import delta_net, gated_delta_net, kda, osdn, preconditioned_delta_net
from osdn_theory.streams.stream import Stream

RULES = {
    "bounded": (BOUNDED, {"eta": 0.003, "d_min": 2 / 3, "d_max": 1.5}),
    "historic": (HISTORIC, {"eta": 1.0, "d_min": 0.0, "d_max": 1e9}),
    "narrow box": (
        CalibrationRule(eta=0.5, d_min=0.97, d_max=1.03),
        {"eta": 0.5, "d_min": 0.97, "d_max": 1.03},
    ),
    "normalised": (
        CalibrationRule(eta=0.5, normalize_feedback=True),
        {"eta": 0.5, "d_min": 2 / 3, "d_max": 1.5, "normalize": True},
    ),
    "beta-aware": (
        CalibrationRule(eta=0.5, beta_aware=True),
        {"eta": 0.5, "d_min": 2 / 3, "d_max": 1.5, "beta_aware": True},
    ),
}


def make(seed, lead=(), length=9, key_dim=4, value_dim=3, gate=None, unit=True):
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(*lead, length, key_dim))
    if unit:
        keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    shapes = {"token": (*lead, length), "feature": (*lead, length, key_dim)}
    return Stream(
        keys=keys,
        values=rng.normal(size=(*lead, length, value_dim)),
        queries=rng.normal(size=(*lead, length, key_dim)),
        beta=rng.uniform(0, 1.2, size=(*lead, length)),
        state_gate=None if gate is None else rng.uniform(0.2, 1, size=shapes[gate]),
        forget_gate=rng.uniform(0.1, 1, size=(*lead, length)),
        initial_preconditioner=rng.uniform(0.8, 1.2, size=(*lead, key_dim)),
    )


def naively(stream, **options):
    gate = options.pop("gate", None)
    return naive.run(
        stream.keys.tolist(),
        stream.values.tolist(),
        stream.queries.tolist(),
        stream.beta.tolist(),
        stream.initial_preconditioner.tolist(),
        gate=None if gate is None else gate.tolist(),
        **options,
    )


def disagreement(trajectory, reference):
    """The largest relative Frobenius distance over everything both report."""
    names = ("outputs", "preconditioner", "alignment", "residuals", "final_state", "final_preconditioner")
    worst = 0.0
    for name in names:
        expected = np.array(getattr(reference, name))
        distance = np.linalg.norm(getattr(trajectory, name) - expected)
        worst = max(worst, distance / np.linalg.norm(expected))
    return worst


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("gamma", [None, 0.9, "token"])
@pytest.mark.parametrize("anchor", [0.0, 1.1, "initial"])
def test_osdn_follows_the_plain_loop(name, gamma, anchor):
    rule, options = RULES[name]
    rule = dataclasses.replace(rule, forgetting=1.0 if gamma is None else gamma, anchor=anchor)
    stream = make(3, lead=(2,))
    trajectory = osdn(stream, rule, scale=0.5, return_states=True)
    for lead in range(2):
        one = stream.at((lead,))
        forget = one.forget_gate.tolist() if gamma == "token" else [gamma or 1.0] * one.length
        centre = one.initial_preconditioner.tolist() if anchor == "initial" else anchor
        reference = naively(one, gamma=forget, anchor=centre, scale=0.5, **options)
        picked = osdn(one, rule, scale=0.5)
        assert disagreement(picked, reference) < 1e-13
        np.testing.assert_allclose(trajectory.states[lead], reference.states, rtol=1e-12, atol=1e-13)
        np.testing.assert_array_equal(trajectory.outputs[lead], picked.outputs)
        np.testing.assert_array_equal(trajectory.states[lead, -1], picked.final_state)


@pytest.mark.parametrize(("solver", "gate"), [(gated_delta_net, "token"), (kda, "feature")])
@pytest.mark.parametrize("name", [None, "bounded", "beta-aware"])
def test_gated_recurrences_follow_the_plain_loop(solver, gate, name):
    rule, options = RULES[name] if name else (None, {})
    stream = make(5, gate=gate)
    state = np.random.default_rng(0).normal(size=(3, 4))
    trajectory = solver(stream, rule, initial_state=state)
    reference = naively(stream, gate=stream.state_gate, state=state.tolist(), **options)
    assert disagreement(trajectory, reference) < 1e-13


def test_forgetting_per_head_reaches_each_head():
    stream = make(1, lead=(2, 3))
    gamma = np.random.default_rng(1).uniform(0.5, 1, size=(2, 3))
    together = osdn(stream, CalibrationRule(eta=0.5, forgetting=gamma))
    for index in np.ndindex(2, 3):
        alone = osdn(stream.at(index), CalibrationRule(eta=0.5, forgetting=float(gamma[index])))
        np.testing.assert_array_equal(together.preconditioner[index], alone.preconditioner)


def test_box_per_coordinate_clips_each_coordinate():
    low, high = np.array([0.7, 0.99, 0.9, 0.8]), np.array([0.75, 1.0, 1.4, 0.81])
    stream = make(2)
    trajectory = osdn(stream, CalibrationRule(eta=1.0, d_min=low, d_max=high))
    reference = naively(stream, eta=1.0, d_min=low.tolist(), d_max=high.tolist())
    assert disagreement(trajectory, reference) < 1e-13
    later = trajectory.preconditioner[1:]
    assert np.all((later >= low) & (later <= high))
    assert np.any(later == low)
    assert np.any(later == high)


def test_first_preconditioner_is_used_as_given():
    stream = make(2)
    outside = np.array([9.0, 0.1, 1.0, 1.0])
    trajectory = osdn(stream, initial_preconditioner=outside)
    np.testing.assert_array_equal(trajectory.preconditioner[0], outside)
    assert trajectory.preconditioner[1].max() <= 1.5
    np.testing.assert_array_equal(osdn(stream).preconditioner[0], stream.initial_preconditioner)
    plain = dataclasses.replace(stream, initial_preconditioner=None)
    np.testing.assert_array_equal(osdn(plain).preconditioner[0], np.ones(4))


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 5), st.integers(0, 12))
@settings(max_examples=30, deadline=None)
def test_delta_net_is_osdn_with_ones(seed, key_dim, value_dim, length):
    stream = make(seed, length=length, key_dim=key_dim, value_dim=value_dim)
    plain = delta_net(stream, initial_preconditioner=1.0)
    unmoved = osdn(stream, CalibrationRule(eta=0.0, d_min=1.0, d_max=1.0), initial_preconditioner=1.0)
    np.testing.assert_array_equal(plain.outputs, unmoved.outputs)
    np.testing.assert_array_equal(plain.final_state, unmoved.final_state)
    assert np.all(plain.preconditioner == 1.0)


def exactly_unit_keys(rng, length):
    """Rows whose squares are sixteenths that sum to one without rounding."""
    rows = np.array([[3, 2, 1, 1, 1], [2, 2, 2, 2, 0], [4, 0, 0, 0, 0]]) / 4
    keys = rows[rng.integers(3, size=length)] * rng.choice([-1, 1], size=(length, 5))
    return rng.permuted(keys, axis=-1)


@pytest.mark.parametrize("method", ["recurrent", "chunk"])
def test_exactly_unit_keys_keep_the_preconditioner_at_one(method):
    rng = np.random.default_rng(0)
    keys = exactly_unit_keys(rng, 200)
    assert np.all(np.sum(keys * keys, axis=-1) == 1.0)
    stream = Stream(keys=keys, values=rng.normal(size=(200, 3)))
    for rule in (BOUNDED, HISTORIC):
        trajectory = osdn(stream, rule, method=method, chunk_size=16)
        assert np.all(trajectory.preconditioner == 1.0)
        np.testing.assert_array_equal(
            trajectory.outputs, delta_net(stream, method=method, chunk_size=16).outputs
        )
    moved = osdn(stream, initial_preconditioner=1.1, method=method)
    assert not np.all(moved.preconditioner == 1.1)


def test_preconditioned_delta_net_follows_its_formula():
    stream = make(8, gate="token")
    rng = np.random.default_rng(4)
    decay, weight = rng.uniform(size=9), rng.uniform(size=9)
    trajectory = preconditioned_delta_net(
        stream, decay=decay, weight=weight, gated=True, initial_gram_diagonal=0.5
    )
    gram, state = [0.5] * 4, np.zeros((3, 4))
    for t in range(9):
        key = stream.keys[t]
        gram = [decay[t] * a + weight[t] * k * k for a, k in zip(gram, key, strict=True)]
        ratios = [math.log(a + 1e-6) + 0.2 for a in gram]
        d = np.array([1.5 ** (-r / (1 + abs(r))) for r in ratios])
        np.testing.assert_allclose(trajectory.preconditioner[t], d, rtol=1e-14)
        state = state * stream.state_gate[t]
        state = state + stream.beta[t] * np.outer(stream.values[t] - state @ key, d * key)
        np.testing.assert_allclose(trajectory.outputs[t], state @ stream.queries[t], rtol=1e-11, atol=1e-12)
    assert trajectory.rule is None
    assert np.all((trajectory.preconditioner > 1 / 1.5) & (trajectory.preconditioner < 1.5))
    np.testing.assert_allclose(trajectory.carry.gram_diagonal, gram, rtol=1e-14)


def dropped_clip(step):
    def broken(d, x, w, gamma, anchor, rule):
        return step(d, x, w, gamma, anchor, dataclasses.replace(rule, d_min=-np.inf, d_max=np.inf))

    return broken


def flipped_sign(step):
    def broken(d, x, w, gamma, anchor, rule):
        return step(d, x, -np.asarray(w), gamma, anchor, rule)

    return broken


def forgetting_twice(step):
    def broken(d, x, w, gamma, anchor, rule):
        return step(d, x, w, gamma * gamma, anchor, rule)

    return broken


@pytest.mark.parametrize("breakage", [None, dropped_clip, flipped_sign, forgetting_twice])
def test_a_broken_calibrate_step_is_noticed(monkeypatch, breakage):
    stream = make(6)
    rule = CalibrationRule(eta=0.5, d_min=0.9, d_max=1.05, forgetting=0.98, anchor=1.0)
    reference = naively(stream, eta=0.5, d_min=0.9, d_max=1.05, gamma=[0.98] * 9, anchor=1.0)
    if breakage is not None:
        monkeypatch.setattr(calibration, "calibrate_step", breakage(calibration.calibrate_step))
    found = disagreement(osdn(stream, rule), reference)
    assert (found > 1e-4) if breakage else (found < 1e-13)


def test_calibrating_before_the_write_is_noticed():
    stream = make(6)
    reference = naively(stream, eta=0.5, d_min=2 / 3, d_max=1.5)
    late = reference.preconditioner
    reference.preconditioner = [*late[1:], reference.final_preconditioner]
    assert disagreement(osdn(stream, CalibrationRule(eta=0.5)), reference) > 1e-4


def test_residual_ratio_matches_the_losses():
    stream = make(7)
    trajectory = osdn(stream, CalibrationRule(eta=0.5), return_states=True)
    after = stream.values - np.einsum("tvk,tk->tv", trajectory.states, stream.keys)
    ratio = np.sum(after**2, axis=-1) / np.sum(trajectory.residuals**2, axis=-1)
    np.testing.assert_allclose(trajectory.residual_ratio, ratio, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("method", ["recurrent", "chunk"])
@pytest.mark.parametrize("length", [0, 1])
def test_shortest_streams(method, length):
    stream = make(1, lead=(2,), length=length)
    trajectory = osdn(stream, method=method)
    assert trajectory.outputs.shape == (2, length, 3)
    assert trajectory.preconditioner.shape == (2, length, 4)
    if length == 0:
        np.testing.assert_array_equal(trajectory.final_state, np.zeros((2, 3, 4)))
        np.testing.assert_array_equal(trajectory.final_preconditioner, stream.initial_preconditioner)


STREAM = make(0)
GATED = make(0, gate="token")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: osdn(STREAM, method="scan"), "method"),
        (lambda: osdn(STREAM, chunk_size=0), "chunk_size"),
        (lambda: osdn(STREAM, method="chunk", return_states=True), "return_states"),
        (lambda: osdn(STREAM, initial_state=np.zeros((2, 2))), "initial_state"),
        (lambda: osdn(STREAM, initial_state=np.full((3, 4), np.nan)), "initial_state"),
        (lambda: osdn(STREAM, initial_preconditioner=np.ones(3)), "initial_preconditioner"),
        (lambda: osdn(STREAM, carry=osdn(STREAM).carry, initial_state=np.zeros((3, 4))), "carry"),
        (lambda: osdn(make(0, key_dim=5), carry=osdn(STREAM).carry), "carry"),
        (lambda: osdn(make(0, value_dim=5), carry=osdn(STREAM).carry), "carry"),
        (lambda: osdn(STREAM, CalibrationRule(d_min=np.zeros(3))), "d_min"),
        (lambda: osdn(STREAM, CalibrationRule(anchor=np.zeros(3))), "anchor"),
        (lambda: osdn(STREAM, CalibrationRule(forgetting=np.full(3, 0.5))), "forgetting"),
        (
            lambda: osdn(dataclasses.replace(STREAM, forget_gate=None), CalibrationRule(forgetting="token")),
            "forget_gate",
        ),
        (lambda: gated_delta_net(STREAM), "state_gate"),
        (lambda: gated_delta_net(make(0, gate="feature")), "state_gate"),
        (lambda: kda(GATED), "state_gate"),
        (lambda: preconditioned_delta_net(STREAM, squash=1.0), "squash"),
        (lambda: preconditioned_delta_net(STREAM, epsilon=0.0), "epsilon"),
        (lambda: preconditioned_delta_net(STREAM, decay=1.5), "decay"),
        (lambda: preconditioned_delta_net(STREAM, weight=-1.0), "weight"),
        (lambda: preconditioned_delta_net(STREAM, gated=True), "gated"),
        (lambda: preconditioned_delta_net(STREAM, initial_gram_diagonal=-1.0), "initial_gram_diagonal"),
        (lambda: preconditioned_delta_net(STREAM, carry=osdn(STREAM).carry), "carry"),
    ],
)
def test_bad_arguments_name_themselves(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("method", ["recurrent", "chunk"])
def test_overflow_is_an_error_unless_allowed(method):
    rng = np.random.default_rng(0)
    stream = Stream(keys=rng.normal(size=(300, 4)) * 30, values=rng.normal(size=(300, 3)))
    with pytest.raises(FloatingPointError, match="final_state"):
        delta_net(stream, method=method)
    assert not np.isfinite(delta_net(stream, method=method, check_finite=False).final_state).all()


def test_results_say_what_ran():
    assert delta_net(STREAM).recurrence == "delta_net"
    assert osdn(STREAM).rule is BOUNDED
    assert gated_delta_net(GATED).recurrence == "gated_delta_net"
