from __future__ import annotations

from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from osdn_theory.base.validation import as_float64, broadcastable, require
from osdn_theory.recurrence.rules import BOUNDED, FROZEN, HISTORIC, CalibrationRule
from osdn_theory.streams.stream import Stream

B, H, T, K, V = 2, 3, 5, 4, 6
GATED = ("keys", "values", "queries", "beta", "state_gate", "forget_gate", "comparator")


def full(seed=0, *, per_feature=True, moving=True, **changes) -> Stream:
    random = np.random.default_rng(seed)
    fields = {
        "keys": random.standard_normal((B, H, T, K)),
        "values": random.standard_normal((B, H, T, V)),
        "queries": random.standard_normal((B, H, T, K)),
        "beta": random.random((B, H, T)),
        "state_gate": random.random((B, H, T, K) if per_feature else (B, H, T)),
        "forget_gate": 1 - random.random((B, H, T)) / 2,
        "comparator": random.random((B, H, T, K) if moving else (B, H, K)),
        "solution": random.standard_normal((B, H, V, K)),
        "initial_preconditioner": random.random((B, H, K)),
        "name": "full",
    }
    return Stream(**{**fields, **changes})


def test_a_minimal_stream_has_defaults():
    keys, values = np.ones((T, K)), np.zeros((T, V))
    stream = Stream(keys, values)
    assert (stream.lead, stream.length, stream.key_dim, stream.value_dim) == ((), T, K, V)
    assert np.array_equal(stream.queries, keys)
    assert np.array_equal(stream.beta, np.ones(T))
    assert stream.state_gate is stream.forget_gate is stream.comparator is stream.solution is None
    assert stream.name == "stream"
    assert dict(stream.metadata) == {}


def test_squared_keys_are_the_features():
    stream = full()
    assert np.array_equal(stream.squared_keys, stream.keys**2)


def test_leading_axes_broadcast():
    stream = Stream(np.ones((H, T, K)), np.ones((B, 1, T, V)), beta=0.5, comparator=np.ones(K))
    assert stream.lead == (B, H)
    assert stream.keys.shape == stream.queries.shape == (B, H, T, K)
    assert stream.values.shape == (B, H, T, V)
    assert stream.beta.shape == (B, H, T)
    assert stream.comparator.shape == (B, H, K)


def test_lower_precision_is_converted_exactly():
    keys = np.linspace(-1, 1, T * K).reshape(T, K).astype(ml_dtypes.bfloat16)
    stream = Stream(keys, np.arange(T * V).reshape(T, V))
    assert stream.keys.dtype == stream.values.dtype == np.float64
    assert np.array_equal(stream.keys.astype(ml_dtypes.bfloat16), keys)


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, T), max_size=4).map(sorted),
    per_feature=st.booleans(),
    moving=st.booleans(),
)
def test_cut_streams_join_to_the_whole(cuts, per_feature, moving):
    stream = full(per_feature=per_feature, moving=moving)
    edges = [0, *cuts, T]
    parts = [stream.tokens(a, b) for a, b in pairwise(edges)]
    assert sum(part.length for part in parts) == T
    for name in GATED:
        whole = getattr(stream, name)
        if name == "comparator" and not moving:
            assert all(np.array_equal(part.comparator, whole) for part in parts)
            continue
        axis = -2 if whole.ndim == 4 else -1
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts], axis=axis), whole)
    assert all(np.array_equal(part.solution, stream.solution) for part in parts)
    assert all(part.initial_preconditioner is not None for part in parts)


def test_cutting_leaves_absent_gates_absent():
    part = Stream(np.ones((T, K)), np.ones((T, V))).tokens(1, 3)
    assert part.length == 2
    assert part.state_gate is part.forget_gate is part.comparator is None


@pytest.mark.parametrize("per_feature", [True, False])
@pytest.mark.parametrize("moving", [True, False])
def test_at_picks_one_stream(per_feature, moving):
    stream = full(per_feature=per_feature, moving=moving)
    one = stream.at((1, 2))
    assert one.lead == ()
    assert one.name == "full[1,2]"
    for name in (*GATED, "solution", "initial_preconditioner"):
        assert np.array_equal(getattr(one, name), getattr(stream, name)[1, 2])
    assert one.at(()).name == "full[1,2]"
    bare = Stream(np.ones((B, T, K)), np.ones((B, T, V))).at((0,))
    assert bare.forget_gate is bare.solution is None


def test_at_needs_one_index_per_leading_axis():
    with pytest.raises(ValueError, match="index: expected 2 integers, got"):
        full().at((1,))


NAN_KEY = np.where(np.arange(K) == 2, np.nan, np.ones((T, K)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": np.ones(K)}, "keys: expected at least 2 axes"),
        ({"values": np.ones(T)}, "values: expected at least 2 axes"),
        ({"values": np.ones((B, H, T + 1, V))}, "values: expected 5 tokens as in keys"),
        ({"values": np.ones((H, B, T, V))}, "values: leading axes"),
        ({"keys": np.ones((B, H, T, 0))}, "feature axis is empty"),
        ({"values": np.ones((B, H, T, 0))}, "feature axis is empty"),
        (
            {"keys": np.broadcast_to(NAN_KEY, (B, H, T, K))},
            r"keys: expected finite numbers, got nan at index \(0, 0, 0, 2\)",
        ),
        ({"values": np.full((B, H, T, V), np.inf)}, "values: expected finite numbers, got inf"),
        ({"queries": np.ones((B, H, T, K + 1))}, "queries: shape"),
        ({"beta": np.ones((B, H, T + 1))}, "beta: shape"),
        ({"beta": np.nan}, "beta: expected finite"),
        ({"state_gate": np.ones((B, H, T, K + 1))}, "state_gate: shape"),
        ({"state_gate": np.full((B, H, T), 1.5)}, r"state_gate: expected values in \[0, 1\]"),
        ({"state_gate": np.full((B, H, T, K), -0.1)}, r"state_gate: expected values in \[0, 1\]"),
        ({"state_gate": 0.5}, "state_gate: expected at least 1 axes"),
        ({"forget_gate": np.zeros((B, H, T))}, r"forget_gate: expected values in \(0, 1\]"),
        ({"forget_gate": np.full(T, 1.01)}, r"forget_gate: expected values in \(0, 1\]"),
        ({"forget_gate": np.ones(T + 1)}, "forget_gate: shape"),
        ({"comparator": np.ones(K + 1)}, "comparator: shape"),
        ({"comparator": np.ones((B, H, T + 1, K))}, "comparator: shape"),
        ({"comparator": 1.0}, "comparator: expected at least 1 axes"),
        ({"solution": np.ones((B, H, K, V))}, "solution: shape"),
        ({"initial_preconditioner": np.ones((B, H, K + 1))}, "initial_preconditioner: shape"),
        ({"initial_preconditioner": np.full(K, -np.inf)}, "initial_preconditioner: expected finite"),
    ],
)
def test_bad_fields_name_themselves(changes, message):
    with pytest.raises(ValueError, match=message):
        full(**changes)


@pytest.mark.parametrize("bad", ["keys", np.ones((T, K), complex), np.array([[None]])])
def test_what_is_not_real_numbers_is_a_type_error(bad):
    with pytest.raises(TypeError, match="keys: expected real numbers, got dtype"):
        Stream(bad, np.ones((T, V)))


def test_as_float64_checks_only_what_it_is_asked_to():
    assert np.isnan(as_float64("x", [np.nan], check_finite=False)[0])
    assert as_float64("x", True) == 1.0
    assert as_float64("x", np.ones(2, ml_dtypes.float8_e4m3fn)).dtype == np.float64
    with pytest.raises(ValueError, match=r"x: expected finite numbers, got -inf at index \(1,\)"):
        as_float64("x", [0.0, -np.inf])


def test_require_and_broadcastable():
    require(True, "unused")
    with pytest.raises(ValueError, match="as told"):
        require(False, "as told")
    broadcastable("x", (1, 3), (2, 3))
    for shape in ((2,), (1, 2, 3), (4, 3)):
        with pytest.raises(ValueError, match="x: shape"):
            broadcastable("x", shape, (2, 3))


def test_the_named_rules():
    assert (BOUNDED.eta, BOUNDED.d_min, BOUNDED.d_max) == (0.003, 2 / 3, 3 / 2)
    assert (HISTORIC.eta, HISTORIC.d_min, HISTORIC.d_max) == (1.0, 0.0, 1e9)
    assert FROZEN.eta == 0
    for rule in (BOUNDED, HISTORIC, FROZEN):
        assert (rule.forgetting, rule.anchor) == (1.0, 0.0)
        assert not rule.normalize_feedback
        assert not rule.beta_aware


@pytest.mark.parametrize(
    "changes",
    [
        {"forgetting": "token", "anchor": "initial"},
        {"forgetting": np.array([0.5, 1.0]), "anchor": np.ones(3)},
        {"d_min": np.zeros(3), "d_max": np.array([0.0, 1.0, np.inf])},
        {"eta": 0.0},
    ],
)
def test_good_rules(changes):
    rule = CalibrationRule(**changes)
    assert all(getattr(rule, name) is value for name, value in changes.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eta": -1e-9}, "eta"),
        ({"eta": np.inf}, "eta"),
        ({"eta": np.nan}, "eta"),
        ({"d_min": np.nan}, "NaN in the box"),
        ({"d_max": np.nan}, "NaN in the box"),
        (
            {"epsilon": 5e-324, "normalize_feedback": True},
            "epsilon: expected 1/epsilon and eta/epsilon finite",
        ),
        ({"d_min": 2.0}, "the box is empty"),
        ({"d_min": np.array([0.0, 2.0])}, "the box is empty"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": np.inf}, "epsilon"),
        ({"forgetting": 0.0}, "forgetting"),
        ({"forgetting": 1.1}, "forgetting"),
        ({"forgetting": np.array([0.5, -0.5])}, "forgetting"),
        ({"forgetting": np.nan}, "forgetting"),
        ({"forgetting": "head"}, "forgetting: expected a number or 'token', got 'head'"),
        ({"anchor": "zero"}, "anchor: expected a number or 'initial', got 'zero'"),
        ({"anchor": np.inf}, "anchor"),
    ],
)
def test_bad_rules_name_the_argument(changes, message):
    with pytest.raises(ValueError, match=message):
        CalibrationRule(**changes)
