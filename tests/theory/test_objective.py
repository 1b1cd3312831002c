"""The objectives of T1-T4 against differences, identities and each other."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from osdn_theory import objective as o


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def token(rng, lead=(2, 3), value_dim=4, key_dim=5):
    return (
        rng.normal(size=(*lead, value_dim, key_dim)),
        rng.normal(size=(*lead, key_dim)),
        rng.normal(size=(*lead, value_dim)),
    )


def context(rng, lead=(2,), length=9, value_dim=3, key_dim=4):
    return (
        rng.normal(size=(*lead, value_dim, key_dim)),
        rng.normal(size=(*lead, length, key_dim)),
        rng.normal(size=(*lead, length, value_dim)),
    )


def inner(a, b):
    return np.sum(a * b, axis=(-2, -1))


def test_token_loss_is_exactly_quadratic(rng):
    state, key, value = token(rng)
    step = rng.normal(size=state.shape)
    left = o.token_loss(state + step, key, value)
    curvature = 0.5 * np.sum(np.einsum("...vk,...k->...v", step, key) ** 2, axis=-1)
    right = o.token_loss(state, key, value) + inner(o.token_gradient(state, key, value), step) + curvature
    np.testing.assert_allclose(left, right, rtol=1e-13)


def test_context_gradient_is_the_central_difference(rng):
    state, keys, values = context(rng, lead=())
    step = rng.normal(size=state.shape)
    # The loss is quadratic: central differences are exact up to rounding at any width.
    difference = o.context_loss(state + step, keys, values) - o.context_loss(state - step, keys, values)
    np.testing.assert_allclose(
        0.5 * difference, inner(o.context_gradient(state, keys, values), step), rtol=1e-12
    )


def test_context_sums_its_tokens(rng):
    state, keys, values = context(rng)
    tokens = o.token_loss(state[:, None], keys, values)
    np.testing.assert_allclose(o.context_loss(state, keys, values), tokens.sum(-1), rtol=1e-14)
    gradients = o.token_gradient(state[:, None], keys, values)
    np.testing.assert_allclose(o.context_gradient(state, keys, values), gradients.sum(1), rtol=1e-13)


def test_gradient_is_the_error_times_the_gram_matrix(rng):
    state, keys, values = context(rng)
    error = state - o.context_minimizer(keys, values)
    np.testing.assert_allclose(
        o.context_gradient(state, keys, values), error @ o.gram(keys), rtol=1e-11, atol=1e-12
    )


def test_suboptimality_is_the_excess_loss(rng):
    state, keys, values = context(rng)
    least = o.context_loss(o.context_minimizer(keys, values), keys, values)
    np.testing.assert_allclose(
        o.suboptimality(state, keys, values), o.context_loss(state, keys, values) - least, rtol=1e-12
    )


def test_suboptimality_does_not_cancel(rng):
    _, keys, values = context(rng, lead=())
    best = o.context_minimizer(keys, values)
    step = 1e-9 * rng.normal(size=best.shape)
    gap = o.suboptimality(best + step, keys, values)
    np.testing.assert_allclose(gap, 0.5 * np.sum((keys @ step.T) ** 2), rtol=1e-6)
    subtracted = o.context_loss(best + step, keys, values) - o.context_loss(best, keys, values)
    assert abs(subtracted - gap) > 1e-3 * gap


def test_singular_gram_gives_the_minimum_norm_minimizer(rng):
    _, keys, values = context(rng, lead=(2,), length=2, key_dim=5)
    best = o.context_minimizer(keys, values)
    np.testing.assert_allclose(keys @ np.swapaxes(best, -1, -2), values, atol=1e-12)
    np.testing.assert_allclose(o.context_gradient(best, keys, values), 0, atol=1e-12)
    null = np.eye(5) - np.linalg.pinv(keys) @ keys
    np.testing.assert_allclose(best @ null, 0, atol=1e-12)
    assert np.linalg.matrix_rank(o.gram(keys)).tolist() == [2, 2]


def test_empty_context():
    keys, values = np.empty((0, 3)), np.empty((0, 2))
    assert not o.context_minimizer(keys, values).any()
    assert o.suboptimality(np.ones((2, 3)), keys, values) == 0
    assert not o.gram(keys).any()


def test_gram_is_symmetric_to_the_bit(rng):
    g = o.gram(rng.normal(size=(3, 17, 6)))
    assert np.array_equal(g, np.swapaxes(g, -1, -2))


def test_write_is_the_right_preconditioned_gradient_step(rng):
    state, key, value = token(rng)
    d, beta = rng.uniform(0.5, 1.5, size=key.shape), rng.uniform(size=key.shape[:-1])
    gradient = o.token_gradient(state, key, value) @ (d[..., None] * np.eye(key.shape[-1]))
    expected = state - beta[..., None, None] * gradient
    np.testing.assert_allclose(o.write(state, key, value, d, beta), expected, rtol=1e-13, atol=1e-13)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4), st.floats(0, 2))
def test_residual_ratio_is_the_ratio_of_losses(seed, key_dim, value_dim, beta):
    rng = np.random.default_rng(seed)
    state, key, value = token(rng, (), value_dim, key_dim)
    d = rng.uniform(0.1, 2, size=key_dim)
    after = o.token_loss(o.write(state, key, value, d, beta), key, value)
    ratio = o.residual_ratio(np.sum(d * key**2), beta)
    scale = (1 + beta * np.sum(d * key**2)) ** 2
    np.testing.assert_allclose(after / o.token_loss(state, key, value), ratio, atol=1e-12 * scale)


def test_residual_ratio_sees_the_sign():
    assert o.residual_ratio(0.5, 1.0) == 0.25
    assert o.residual_ratio(0.5, -1.0) == 2.25


def test_hypergradient_is_the_difference_of_the_surrogate(rng):
    d, s = rng.uniform(size=(4, 6)), rng.uniform(size=(4, 6))
    step = rng.normal(size=6)
    difference = 0.5 * (o.surrogate(d + step, s) - o.surrogate(d - step, s))
    np.testing.assert_allclose(difference, o.hypergradient(d, s) @ step, rtol=1e-11, atol=1e-12)


def test_surrogate_is_half_the_ratio_of_a_full_write_and_self_bounding(rng):
    d, key = rng.uniform(size=(5, 3)), rng.normal(size=(5, 3))
    s = key**2
    loss = o.surrogate(d, s)
    np.testing.assert_allclose(loss, 0.5 * o.residual_ratio(np.sum(d * s, axis=-1), 1.0), rtol=1e-14)
    squared = np.sum(o.hypergradient(d, s) ** 2, axis=-1)
    np.testing.assert_allclose(squared, 2 * np.sum(s**2, axis=-1) * loss, rtol=1e-12)


def test_descending_the_surrogate_lowers_it_and_ascending_does_not(rng):
    d, s = np.full(4, 0.1), rng.uniform(0.2, 0.5, size=4)
    step = 0.1 * o.hypergradient(d, s)
    assert o.surrogate(d - step, s) < o.surrogate(d, s) < o.surrogate(d + step, s)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: o.token_loss(np.ones((2, 3)), np.ones(2), np.ones(2)), "key"),
        (lambda: o.token_loss(np.ones((2, 3)), np.ones(3), np.ones(3)), "value"),
        (lambda: o.token_gradient(np.ones((2, 3)), [1, np.nan, 1], np.ones(2)), "key"),
        (lambda: o.write(np.ones((2, 3)), np.ones(3), np.ones(2), np.ones(2)), "preconditioner"),
        (lambda: o.surrogate(np.ones(3), np.ones(2)), "squared_key"),
        (lambda: o.hypergradient(np.ones(3), np.ones(2)), "squared_key"),
        (lambda: o.context_loss(np.ones((2, 3)), np.ones((4, 3)), np.ones((5, 2))), "values"),
        (lambda: o.context_gradient(np.ones((2, 2)), np.ones((4, 3)), np.ones((4, 2))), "state"),
        (lambda: o.gram(np.ones(3)), "keys"),
        (lambda: o.context_minimizer([[np.inf]], [[1.0]]), "keys"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}"):
        call()


def test_non_numeric_arguments_are_a_type_error():
    with pytest.raises(TypeError, match=r"^keys"):
        o.gram([["a"]])
