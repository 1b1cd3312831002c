"""Recursive least squares against direct solves, and against the naive inverse update it replaces."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from osdn_theory.measures.least_squares import (
    checkpoints,
    newton_distance,
    recursive_least_squares,
    relative_distance,
    ridge_solution,
)
from osdn_theory.recurrence.solve import delta_net
from osdn_theory.streams.stream import Stream


def ill_conditioned(seed, condition, lead=(2,), length=40, key_dim=8, value_dim=3):
    """Keys whose Gram matrix has about the given condition number, in a rotated basis."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(key_dim, key_dim)))[0]
    keys = rng.normal(size=(*lead, length, key_dim)) * np.geomspace(1, condition**-0.5, key_dim) @ basis
    return Stream(keys=keys, values=rng.normal(size=(*lead, length, value_dim)))


def every_prefix(stream, ridge, **options):
    return np.stack(
        [
            ridge_solution(stream.keys[..., :t, :], stream.values[..., :t, :], ridge, **options)
            for t in range(1, stream.length + 1)
        ],
        axis=-3,
    )


def sherman_morrison(stream, ridge):
    inverse = np.broadcast_to(np.eye(stream.key_dim) / ridge, (*stream.lead, *(stream.key_dim,) * 2))
    state, states = np.zeros((*stream.lead, stream.value_dim, stream.key_dim)), []
    for t in range(stream.length):
        key = stream.keys[..., t, :]
        moved = np.einsum("...ij,...j->...i", inverse, key)
        gain = moved / (1 + np.sum(moved * key, axis=-1))[..., None]
        residual = stream.values[..., t, :] - np.einsum("...vk,...k->...v", state, key)
        state = state + residual[..., None] * gain[..., None, :]
        inverse = inverse - gain[..., None] * moved[..., None, :]
        states.append(state)
    return np.stack(states, axis=-3)


@pytest.mark.parametrize("condition", [1e2, 1e5, 1e8])
@pytest.mark.parametrize("ridge", [1e-6, 1e-10])
def test_every_prefix_matches_the_direct_solve(condition, ridge):
    stream = ill_conditioned(0, condition)
    run = recursive_least_squares(stream, ridge=ridge, return_states=True)
    error = relative_distance(run.states, every_prefix(stream, ridge)).max()
    # Conditioning of the augmented rows [keys; sqrt(ridge) I], not of the Gram matrix.
    spread = np.sqrt(np.linalg.norm(stream.keys, 2, axis=(-2, -1)).max() ** 2 / ridge)
    assert error < 50 * np.finfo(float).eps * spread
    assert relative_distance(sherman_morrison(stream, ridge), every_prefix(stream, ridge)).max() > 10 * error


def test_the_naive_update_loses_half_the_digits():
    stream = ill_conditioned(1, 1e8)
    direct = every_prefix(stream, 1e-10)
    stable = recursive_least_squares(stream, ridge=1e-10, return_states=True).states
    assert relative_distance(sherman_morrison(stream, 1e-10), direct).max() > 1e-8
    assert relative_distance(stable, direct).max() < 1e-9


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 12),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 7),
    st.floats(1e-4, 10),
)
def test_normal_equations_hold(seed, length, key_dim, value_dim, block, ridge):
    rng = np.random.default_rng(seed)
    stream = Stream(keys=rng.normal(size=(length, key_dim)), values=rng.normal(size=(length, value_dim)))
    start = rng.normal(size=(value_dim, key_dim))
    run = recursive_least_squares(stream, ridge=ridge, initial_state=start, block_size=block)
    pull = ridge * (run.final_state - start)
    gradient = (stream.keys @ run.final_state.T - stream.values).T @ stream.keys + pull
    np.testing.assert_allclose(gradient, 0, atol=1e-10)


def test_positions_pick_from_all_states():
    stream = ill_conditioned(2, 1e3, lead=(2, 3))
    everything = recursive_least_squares(stream, return_states=True)
    some = recursive_least_squares(stream, positions=[0, 1, 7, 39, 40], block_size=16)
    assert some.states.shape == (2, 3, 5, 3, 8)
    assert not some.states[..., 0, :, :].any()
    picked = everything.states[..., [0, 6, 38, 39], :, :]
    np.testing.assert_allclose(some.states[..., 1:, :, :], picked, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(some.final_state, everything.states[..., -1, :, :], rtol=1e-7, atol=1e-8)
    final_only = recursive_least_squares(stream)
    assert final_only.states.shape == (2, 3, 0, 3, 8)


def test_empty_stream_keeps_the_initial_state():
    stream = Stream(keys=np.empty((2, 0, 3)), values=np.empty((2, 0, 2)))
    start = np.arange(6.0).reshape(2, 3)
    run = recursive_least_squares(stream, initial_state=start)
    np.testing.assert_array_equal(run.final_state, np.broadcast_to(start, (2, 2, 3)))
    np.testing.assert_array_equal(
        ridge_solution(stream.keys, stream.values, 1.0, initial_state=start)[0], start
    )


def test_gates_are_not_read():
    rng = np.random.default_rng(3)
    keys, values = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    plain = recursive_least_squares(Stream(keys, values))
    gated = recursive_least_squares(Stream(keys, values, beta=0.1, state_gate=np.full(9, 0.5)))
    np.testing.assert_array_equal(plain.final_state, gated.final_state)


def test_ridge_shrinks_towards_the_initial_state():
    stream = ill_conditioned(4, 10, lead=())
    start = np.ones((3, 8))
    far = ridge_solution(stream.keys, stream.values, 1e12, initial_state=start)
    np.testing.assert_allclose(far, start, atol=1e-9)
    near = ridge_solution(stream.keys, stream.values, 1e-12, initial_state=start)
    exact = np.linalg.lstsq(stream.keys, stream.values)[0].T
    np.testing.assert_allclose(near, exact, rtol=1e-8)


def test_distance_of_a_trajectory():
    stream = ill_conditioned(5, 20)
    run = delta_net(stream, return_states=True)
    newton = recursive_least_squares(stream, return_states=True).states
    expected = np.linalg.norm(run.states - newton, axis=(-2, -1)) / np.linalg.norm(newton, axis=(-2, -1))
    at = [1, 8, 40]
    picked = expected[:, [0, 7, 39]]
    np.testing.assert_allclose(newton_distance(run, positions=at), picked, rtol=1e-6)
    lean = delta_net(stream)
    states = run.states[..., [0, 7, 39], :, :]
    np.testing.assert_allclose(newton_distance(lean, positions=at, states=states), picked, rtol=1e-6)
    np.testing.assert_allclose(newton_distance(lean), expected[:, -1:], rtol=1e-6)
    # The one-token prefix is interpolated by both: only the ridge parts them.
    assert picked[:, 0].max() < 10
    with pytest.raises(ValueError, match=r"^positions"):
        newton_distance(lean, positions=at)
    with pytest.raises(ValueError, match=r"^states"):
        newton_distance(lean, positions=at, states=states[..., :2, :, :])
    with pytest.raises(ValueError, match=r"^states"):
        newton_distance(lean, states=states)
    with pytest.raises(ValueError, match=r"^positions"):
        newton_distance(run, positions=[0, 2])


def test_distance_from_newton_is_zero_for_newton():
    stream = ill_conditioned(6, 20)
    lean = delta_net(stream)
    newton = recursive_least_squares(stream, positions=[5, 40]).states
    assert not newton_distance(lean, positions=[5, 40], states=newton).any()
    assert newton_distance(lean, positions=[5, 40], states=1.1 * newton) == pytest.approx(0.1)


def test_relative_distance_at_zero():
    zero, one = np.zeros((2, 2)), np.eye(2)
    assert np.isinf(relative_distance(one, zero))
    assert np.isnan(relative_distance(zero, zero))
    assert relative_distance(zero, one) == 1


def test_checkpoints():
    assert checkpoints(0) == []
    assert checkpoints(1) == [1]
    assert checkpoints(5, 100) == [1, 2, 3, 4, 5]
    spaced = checkpoints(4096, 7)
    assert spaced == [1, 4, 16, 64, 256, 1024, 4096]
    assert checkpoints(10, 1) == [10]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"ridge": 0.0}, "ridge"),
        ({"ridge": np.nan}, "ridge"),
        ({"positions": [41]}, "positions"),
        ({"positions": [3, 2]}, "positions"),
        ({"positions": [1.5]}, "positions"),
        ({"positions": [1], "return_states": True}, "positions"),
        ({"block_size": 0}, "block_size"),
        ({"initial_state": np.zeros((8, 3))}, "initial_state"),
    ],
)
def test_bad_options_are_named(options, name):
    with pytest.raises(ValueError, match=rf"^{name}"):
        recursive_least_squares(ill_conditioned(7, 10), **options)


def test_other_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"^initial_state"):
        ridge_solution(np.ones((4, 3)), np.ones((4, 2)), 1.0, initial_state=np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"^reference"):
        relative_distance(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"^count"):
        checkpoints(5, 0)
