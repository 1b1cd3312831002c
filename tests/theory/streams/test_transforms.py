from __future__ import annotations

import numpy as np
import pytest

from osdn_theory.streams import synthetic
from osdn_theory.streams.transforms import repeated, with_gates


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("state", [None, "token", "feature"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_repeated_reads_every_token_again(state, times):
    once = with_gates(
        synthetic.non_stationary(rng(), lead=(2,), length=5, key_dim=6, beta="random"),
        rng(1),
        state=state,
        forget="random",
    )
    again = repeated(once, times)
    assert again.length == 5 * times
    for name in ("keys", "values", "queries", "beta", "state_gate", "forget_gate", "comparator"):
        for start in range(0, again.length, 5):
            part, whole = getattr(again.tokens(start, start + 5), name), getattr(once, name)
            assert np.array_equal(part, whole) if whole is not None else part is None
    assert np.array_equal(again.solution, once.solution)
    seam = np.linalg.norm(once.comparator[:, 0] - once.comparator[:, -1], axis=-1)
    expected = times * once.metadata["path_length"] + (times - 1) * seam
    assert np.allclose(again.metadata["path_length"], expected, rtol=1e-14)
    assert again.metadata["source"]["mode"] == "drift"


def test_repeated_keeps_a_fixed_comparator_and_an_empty_stream():
    once = synthetic.interpolating(rng(), length=4, key_dim=6)
    twice = repeated(once)
    assert np.array_equal(twice.comparator, once.comparator)
    assert "path_length" not in twice.metadata
    assert twice.metadata["times"] == 2
    assert twice.forget_gate is None
    assert repeated(synthetic.isotropic(rng(), length=0)).length == 0


def test_repeated_needs_a_positive_count():
    with pytest.raises(ValueError, match="times"):
        repeated(synthetic.isotropic(rng(), length=2), 0)


def test_gates_are_dyadic_and_in_range():
    stream = with_gates(
        synthetic.isotropic(rng(), lead=(2,), length=400, key_dim=6), rng(), state="feature", forget="random"
    )
    assert stream.state_gate.shape == (2, 400, 6)
    assert stream.forget_gate.shape == (2, 400)
    assert (stream.state_gate.min(), stream.state_gate.max()) == (0.75, 1.0)
    assert (stream.forget_gate.min(), stream.forget_gate.max()) == (0.9375, 1.0)
    for gate, bits in ((stream.state_gate, 8), (stream.forget_gate, 10)):
        assert np.array_equal(np.ldexp(gate, bits), np.rint(np.ldexp(gate, bits)))
    assert stream.metadata["state_gate"] == "feature"
    assert stream.metadata["generator"] == "isotropic"


def test_constant_forgetting_and_gates_that_stay():
    plain = synthetic.isotropic(rng(), length=4, key_dim=6)
    gated = with_gates(plain, rng(), forget=0.999)
    assert np.all(gated.forget_gate == 0.999)
    assert gated.state_gate is None
    less = with_gates(plain, rng(), state="token", most=0.5)
    assert np.array_equal(less.state_gate, 0.5 * with_gates(plain, rng(), state="token").state_gate)
    both = with_gates(gated, rng(), state="token")
    assert both.state_gate.shape == (4,)
    assert np.array_equal(both.forget_gate, gated.forget_gate)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"state": "head"}, "state: expected 'token', 'feature' or None, got 'head'"),
        ({"forget": "always"}, "forget: expected a number, 'random' or None, got 'always'"),
        ({"forget": 0.0}, "forget"),
        ({"forget": 1.5}, "forget"),
        ({"forget": np.ones(4)}, "forget: expected one number"),
        ({"state": "token", "most": 0.0}, "most"),
        ({"state": "token", "most": 1.5}, r"most: expected a value in \(0, 1\], got 1.5"),
    ],
)
def test_gates_name_the_bad_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        with_gates(synthetic.isotropic(rng(), length=4), rng(), **arguments)
