"""Best fixed diagonals: optimality conditions, and never worse than the simple choices."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from osdn_theory.context import comparators as c
from osdn_theory.context.convergence import conditioned_keys
from osdn_theory.context.newton import context_ratio
from osdn_theory.objective import gram


def loss(x, u, y=1.0):
    return np.sum((y - np.einsum("...tk,...k->...t", x, u)) ** 2, axis=-1)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 12),
    st.integers(1, 6),
    st.sampled_from([(2 / 3, 3 / 2), (0.0, np.inf), (-np.inf, np.inf), (0.9, 0.9), (-1.0, 0.0)]),
)
def test_optimality_conditions_hold(seed, length, key_dim, box):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, length, key_dim)) ** 2
    y = rng.uniform(0, 3, size=(2, length))
    u = c.best_fixed_diagonal(x, *box, targets=y)
    assert np.all((u >= box[0]) & (u <= box[1]))
    assert np.all(c.optimality_gap(x, u, *box, targets=y) < 1e-9)
    for _ in range(5):
        other = np.clip(u + 0.1 * rng.normal(size=u.shape), *box)
        assert np.all(loss(x, u, y) <= loss(x, other, y) + 1e-9)


def test_lagrange_multipliers_have_the_right_signs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 12)) ** 2
    u = c.best_fixed_diagonal(x, 0.05, 0.12)
    gradient = x.T @ (x @ u - 1)
    low, high = u == 0.05, u == 0.12
    assert low.any()
    assert high.any()
    assert not (low | high).all()
    assert np.all(gradient[low] >= 0)
    assert np.all(gradient[high] <= 0)
    np.testing.assert_allclose(gradient[~(low | high)], 0, atol=1e-10 * np.abs(gradient).max())


def test_the_gap_sees_a_point_that_is_not_optimal():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 4)) ** 2
    u = c.best_fixed_diagonal(x, 0, 1)
    assert c.optimality_gap(x, u, 0, 1) < 1e-12
    assert c.optimality_gap(x, np.clip(u + 1e-3, 0, 1), 0, 1) > 1e-6


def test_the_gap_is_a_gradient_step_over_the_trace():
    x = np.array([[1.0, 0.0], [0.0, 2.0]])
    assert c.optimality_gap(x, np.zeros(2), -np.inf, np.inf) == pytest.approx(2 / 5, rel=1e-15)


def test_a_hidden_diagonal_is_found():
    rng = np.random.default_rng(2)
    hidden = rng.uniform(0.7, 1.4, size=(3, 5))
    x = rng.uniform(size=(3, 40, 5))
    x /= np.einsum("btk,bk->bt", x, hidden)[..., None]
    np.testing.assert_allclose(c.best_fixed_diagonal(x, 2 / 3, 3 / 2), hidden, rtol=1e-10)


def test_box_per_coordinate_and_fixed_coordinates():
    rng = np.random.default_rng(3)
    x = rng.uniform(size=(20, 3))
    low, high = np.array([0.5, 0.0, -np.inf]), np.array([0.5, 0.1, np.inf])
    u = c.best_fixed_diagonal(x, low, high)
    assert u[0] == 0.5
    assert 0 <= u[1] <= 0.1
    assert c.optimality_gap(x, u, low, high) < 1e-12


def test_silent_features_and_empty_streams_are_indifferent():
    x = np.zeros((4, 3))
    x[:, 0] = 2.0
    np.testing.assert_allclose(c.best_fixed_diagonal(x, 0.25, 3), [0.5, 0.25, 0.25])
    np.testing.assert_array_equal(c.best_fixed_diagonal(np.empty((2, 0, 3)), -1, 1), np.zeros((2, 3)))
    silent_first = np.array([[0.0, 0.39199416, 1.41982842], [0.0, 0.18978074, 0.41137945]])
    assert c.best_fixed_diagonal(silent_first, [-np.inf, 0.25, -np.inf], np.inf)[0] == 0.0


def test_repeated_tokens_leave_a_whole_face_of_minimisers():
    x = np.tile([[0.5, 0.5, 0.25]], (7, 1))
    u = c.best_fixed_diagonal(x, 0, 10)
    assert loss(x, u) == pytest.approx(0, abs=1e-20)


def test_a_missed_optimum_is_an_error(monkeypatch):
    class Stopped:
        x = np.full(2, 0.3)

    monkeypatch.setattr(c, "lsq_linear", lambda *args, **options: Stopped())
    with pytest.raises(ArithmeticError, match=r"^features"):
        c.best_fixed_diagonal(np.eye(2), 0, 5)


def rotated_gram(seed, condition, key_dim):
    return gram(conditioned_keys(np.random.default_rng(seed), condition=condition, key_dim=key_dim))


def best_scalar(g):
    eigenvalues = np.linalg.eigvalsh(g)
    return 2 / (eigenvalues[0] + eigenvalues[-1])


def jacobi(g):
    d = 1 / np.diag(g)
    eigenvalues = np.linalg.eigvals(g * d).real
    return 2 * d / (eigenvalues.min() + eigenvalues.max())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.floats(1, 1e4))
def test_never_worse_than_the_scalar_or_jacobi(seed, key_dim, condition):
    g = rotated_gram(seed, condition, key_dim)
    best = c.context_contraction(g, c.best_context_diagonal(g))
    assert best <= c.context_contraction(g, np.full(key_dim, best_scalar(g))) + 1e-12
    assert best <= c.context_contraction(g, jacobi(g)) + 1e-12


def test_better_than_jacobi_in_general(monkeypatch):
    """By the smooth problem alone: without a box there is no second stage."""
    monkeypatch.setattr(c, "_boxed_scaling", None)
    g = rotated_gram(0, 1e3, 8)
    best = c.context_contraction(g, c.best_context_diagonal(g))
    assert 1 - best > 1.1 * (1 - c.context_contraction(g, jacobi(g)))


def test_jacobi_is_optimal_in_two_dimensions():
    # Two coordinates: the equilibrated matrix [[1, r], [r, 1]] has the least condition (1 + r)/(1 - r).
    g = np.array([[2.0, 0.6], [0.6, 0.5]])
    best = c.best_context_diagonal(g)
    np.testing.assert_allclose(best, 1 / np.diag(g), rtol=1e-3)
    assert c.context_contraction(g, best) == pytest.approx(0.36, rel=1e-6)


def test_a_diagonal_gram_is_solved_exactly():
    g = np.diag([4.0, 1.0, 0.01])
    best = c.best_context_diagonal(g)
    np.testing.assert_allclose(best, [0.25, 1, 100], rtol=1e-9)
    assert c.context_contraction(g, best) < 1e-18
    assert c.context_contraction(g, np.full(3, best_scalar(g))) > 0.9


@pytest.mark.parametrize("box", [(0.5, 2.5), (1.5, 4.0), (0.0, 2.0), (1.0, 1.0)])
def test_no_feasible_direction_improves_the_boxed_optimum(box):
    g = rotated_gram(4, 6.0, 5)
    best = c.best_context_diagonal(g, *box)
    value = c.context_contraction(g, best)
    assert np.all((best >= box[0]) & (best <= box[1]))
    rng = np.random.default_rng(5)
    # The problem is convex: a point that beats it by more than the smoothing would show nearby.
    for width in (0.3, 0.1, 0.03, 0.01):
        others = np.clip(best + width * rng.normal(size=(300, 5)), *box)
        assert c.context_contraction(g, others).min() > value - 2e-3
    scalars = np.linspace(*box, 50)[:, None] * np.ones(5)
    assert value <= c.context_contraction(g, scalars).min() + 1e-12


def test_contraction_bounds_the_ratio_of_every_state_and_is_attained():
    rng = np.random.default_rng(6)
    keys, values = rng.normal(size=(9, 4)) / 3, np.zeros((9, 2))
    g, d = gram(keys), rng.uniform(0.2, 1.2, size=4)
    worst = c.context_contraction(g, d)
    states = rng.normal(size=(500, 2, 4))
    ratios = context_ratio(states, d, keys, values)
    assert ratios.max() <= worst * (1 + 1e-12)
    eigenvalues, vectors = np.linalg.eigh(g)
    half = (vectors * np.sqrt(eigenvalues)) @ vectors.T
    spectrum, basis = np.linalg.eigh(np.eye(4) - half @ np.diag(d) @ half)
    leading = basis[:, np.argmax(np.abs(spectrum))]
    state = np.stack([np.linalg.solve(half, leading), np.zeros(4)])
    assert context_ratio(state, d, keys, values) == pytest.approx(worst, rel=1e-10)


def test_contraction_is_convex_along_segments():
    g, rng = rotated_gram(7, 20.0, 4), np.random.default_rng(8)
    a, b = rng.uniform(0, 6, size=(2, 200, 4))
    middle = c.context_contraction(g, (a + b) / 2)
    assert np.all(middle <= (c.context_contraction(g, a) + c.context_contraction(g, b)) / 2 + 1e-12)


def test_singular_and_zero_grams():
    rng = np.random.default_rng(9)
    keys = rng.normal(size=(2, 4))
    g = gram(keys)
    best = c.best_context_diagonal(g)
    assert c.context_contraction(g, best) < c.context_contraction(g, np.full(4, 1 / np.linalg.norm(g, 2)))
    unseen = np.zeros((3, 3))
    unseen[0, 0] = 2.0
    assert c.context_contraction(unseen, c.best_context_diagonal(unseen)) < 1e-18
    assert c.context_contraction(np.zeros((2, 2)), np.ones(2)) == 0
    np.testing.assert_array_equal(c.best_context_diagonal(np.zeros((2, 2)), 0.5, 1), [0.5, 0.5])


@pytest.mark.parametrize("seed", range(4))
def test_rounding_adds_no_eigenvalue(seed):
    rng = np.random.default_rng(seed)
    g = gram(rng.normal(size=(6, 2)) @ rng.normal(size=(2, 5)))
    least, largest = np.linalg.eigvalsh(g)[-2:]
    expected = (1 - least / largest) ** 2
    assert c.context_contraction(g, np.full(5, 1 / largest)) == pytest.approx(expected, rel=1e-9)


def test_leading_axes():
    g = np.stack([rotated_gram(s, 10.0, 3) for s in range(4)]).reshape(2, 2, 3, 3)
    best = c.best_context_diagonal(g, 0, 5)
    assert best.shape == (2, 2, 3)
    np.testing.assert_array_equal(best[1, 0], c.best_context_diagonal(g[1, 0], 0, 5))
    assert c.context_contraction(g, best).shape == (2, 2)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: c.best_fixed_diagonal(np.ones((3, 2)), 1, 0), "d_min"),
        (lambda: c.best_fixed_diagonal(np.ones((3, 2)), np.nan, 1), "d_min"),
        (lambda: c.best_fixed_diagonal(np.ones((3, 2)), 0, np.ones(3)), "d_max"),
        (lambda: c.best_fixed_diagonal(np.ones((3, 2)), 0, 1, targets=np.ones(4)), "targets"),
        (lambda: c.best_fixed_diagonal(np.full((3, 2), np.nan), 0, 1), "features"),
        (lambda: c.best_context_diagonal(np.ones((2, 3))), "gram"),
        (lambda: c.best_context_diagonal(np.array([[1.0, 2.0], [0.0, 1.0]])), "gram"),
        (lambda: c.best_context_diagonal(-np.eye(2)), "gram"),
        (lambda: c.best_context_diagonal(np.eye(2), -1), "d_min"),
        (lambda: c.context_contraction(np.eye(2), np.ones(3)), "preconditioner"),
    ],
)
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ValueError, match=rf"^{name}"):
        call()
