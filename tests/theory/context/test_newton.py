"""Context-level OSDN and right-Newton (T9, T10): derivatives, bounds, attainment, and breakage."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from osdn_theory.context.comparators import best_context_diagonal
from osdn_theory.context.convergence import conditioned_keys
from osdn_theory.context.newton import (
    context_hessian,
    context_hypergradient,
    context_osdn,
    context_ratio,
    fixed_diagonal,
    gradient_descent,
    right_newton,
)
from osdn_theory.context.newton_bounds import (
    agnostic_bound,
    agnostic_ratio_sum,
    comparator_ratios,
    newton_bound,
    vacuous_until,
)
from osdn_theory.objective import context_gradient, context_loss, context_minimizer, gram, suboptimality

FORMS = ("diagonal", "full")


def context(seed, lead=(), length=7, value_dim=3, key_dim=4):
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(*lead, length, key_dim)) / np.sqrt(length)
    return rng, keys, rng.normal(size=(*lead, length, value_dim))


def orthogonal(seed, condition=5.0, key_dim=4, value_dim=3, rotate=False):
    rng = np.random.default_rng(seed)
    keys = conditioned_keys(rng, condition=condition, key_dim=key_dim, rotate=rotate)
    return keys, rng.normal(size=(key_dim, value_dim))


def shape_of(form, key_dim=4):
    return (key_dim,) if form == "diagonal" else (key_dim, key_dim)


def as_matrix(p):
    return p[..., None] * np.eye(p.shape[-1])


@pytest.mark.parametrize("form", FORMS)
def test_ratio_is_the_ratio_of_suboptimalities(form):
    rng, keys, values = context(0, lead=(2,))
    state, p = rng.normal(size=(2, 3, 4)), 0.3 * rng.normal(size=(2, *shape_of(form)))
    full = as_matrix(p) if form == "diagonal" else p
    after = state - context_gradient(state, keys, values) @ full
    expected = suboptimality(after, keys, values) / suboptimality(state, keys, values)
    np.testing.assert_allclose(context_ratio(state, p, keys, values, form=form), expected, rtol=1e-11)


@pytest.mark.parametrize("form", FORMS)
def test_hypergradient_is_the_central_difference(form):
    rng, keys, values = context(1)
    state, p = rng.normal(size=(3, 4)), rng.normal(size=shape_of(form))
    step = rng.normal(size=p.shape)
    ratio = lambda q: context_ratio(state, q, keys, values, form=form)  # noqa: E731
    # The ratio is quadratic in P: central differences are exact up to rounding.
    difference = 0.5 * (ratio(p + step) - ratio(p - step))
    gradient = context_hypergradient(state, p, keys, values, form=form)
    np.testing.assert_allclose(difference, np.sum(gradient * step), rtol=1e-10)


def test_diagonal_hypergradient_is_the_diagonal_of_the_full_one():
    rng, keys, values = context(2)
    state, d = rng.normal(size=(3, 4)), rng.normal(size=4)
    full = context_hypergradient(state, np.diag(d), keys, values, form="full")
    np.testing.assert_allclose(context_hypergradient(state, d, keys, values), np.diag(full), rtol=1e-11)


def test_hessian_is_the_difference_of_the_hypergradient_and_at_most_two_l_squared():
    rng, keys, values = context(3)
    state, d, step = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=4)
    hessian = context_hessian(state, keys, values)
    difference = context_hypergradient(state, d + step, keys, values) - context_hypergradient(
        state, d, keys, values
    )
    np.testing.assert_allclose(hessian @ step, difference, rtol=1e-10, atol=1e-12)
    eigenvalues = np.linalg.eigvalsh(hessian)
    assert eigenvalues[0] > -1e-12
    assert eigenvalues[-1] <= 2 * np.linalg.eigvalsh(gram(keys))[-1] ** 2


def test_smoothness_two_l_squared_is_attained():
    # E along the leading eigenvector, rank one: the direction P = E gives curvature 2 L^2 exactly.
    keys = np.diag([2.0, 1.0])
    state = np.array([[1.0, 0.0]])
    hessian = context_hessian(state, keys, np.zeros((2, 1)))
    assert hessian[0, 0] == pytest.approx(2 * 4.0**2, rel=1e-14)


@pytest.mark.parametrize("form", FORMS)
def test_run_is_the_plain_recursion(form):
    rng, keys, values = context(4, lead=(2,))
    state, p = rng.normal(size=(2, 3, 4)), 0.3 * np.ones((2, *shape_of(form)))
    run = context_osdn(
        keys, values, steps=6, form=form, eta=0.1, initial_state=state, initial_preconditioner=p
    )
    for j in range(6):
        np.testing.assert_allclose(
            run.states[:, j], state, rtol=1e-10, atol=1e-10, err_msg=f"state {j} differs"
        )
        np.testing.assert_allclose(run.preconditioners[:, j], p, rtol=1e-10, atol=1e-10)
        ratio = context_ratio(state, p, keys, values, form=form)
        np.testing.assert_allclose(run.ratios[:, j], ratio, rtol=1e-10)
        log = np.log(suboptimality(state, keys, values))
        np.testing.assert_allclose(run.log_suboptimality[:, j], log, rtol=1e-10)
        gradient = context_hypergradient(state, p, keys, values, form=form)
        state = state - context_gradient(state, keys, values) @ (as_matrix(p) if form == "diagonal" else p)
        p = p - 0.1 * gradient


def test_defaults_are_the_documented_ones():
    _, keys, values = context(5)
    run = context_osdn(keys, values, steps=1)
    largest = np.linalg.eigvalsh(gram(keys))[-1]
    assert run.smoothness == pytest.approx(largest, rel=1e-13)
    assert run.eta == pytest.approx(1 / (2 * largest**2), rel=1e-13)
    np.testing.assert_allclose(run.preconditioners[0], 1 / largest, rtol=1e-13)
    assert not run.states[0].any()
    assert run.initial_suboptimality == pytest.approx(suboptimality(run.states[0], keys, values), rel=1e-13)
    first = gradient_descent(keys, values, steps=1)
    np.testing.assert_allclose(run.states[1], first.states[1], rtol=1e-12)


def test_leading_axes_broadcast_and_match_single_runs():
    rng, keys, values = context(6, lead=(3,))
    states = rng.normal(size=(2, 1, 3, 4))
    run = context_osdn(keys, values, steps=5, form="full", initial_state=states)
    assert run.states.shape == (2, 3, 6, 3, 4)
    single = context_osdn(keys[1], values[1], steps=5, form="full", initial_state=states[1, 0])
    np.testing.assert_allclose(run.log_suboptimality[1, 1], single.log_suboptimality, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(FORMS),
    st.floats(1, 8),
    st.floats(0.02, 0.98),
    st.integers(1, 3),
)
def test_newton_bound_holds_for_every_step_below_one_over_l_squared(seed, form, condition, step, value_dim):
    keys, values = orthogonal(seed, condition, 3, value_dim, rotate=form == "full")
    first = np.random.default_rng(seed).normal(size=shape_of(form, 3))
    run = context_osdn(keys, values, steps=60, form=form, eta=step, initial_preconditioner=first)
    slack = 1e-9 * (1 + np.abs(run.log_suboptimality))
    seen = np.isfinite(run.log_suboptimality)
    assert np.all((run.log_suboptimality <= newton_bound(run) + slack)[seen])
    assert np.nansum(run.ratios) <= vacuous_until(run) * (1 + 1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_newton_bound_is_attained_in_one_dimension(form):
    keys, values = np.array([[3.0]]), np.array([[2.0]])
    first = np.full((1,) * (1 if form == "diagonal" else 2), 0.05)
    run = context_osdn(keys, values, steps=3, form=form, initial_preconditioner=first)
    budget = vacuous_until(run)
    assert budget == pytest.approx((1 - 9 * 0.05) ** 2, rel=1e-13)
    assert np.nansum(run.ratios) == pytest.approx(budget, rel=1e-13)
    assert run.log_suboptimality[1] == pytest.approx(newton_bound(run)[1], rel=1e-13)


def test_a_quarter_of_l_squared_is_too_little():
    # One dimension attains the sum, so any smaller constant is violated, 0.25 L^2 by a factor of four.
    run = context_osdn([[3.0]], [[2.0]], steps=3, initial_preconditioner=[0.05])
    assert np.nansum(run.ratios) > 0.25 * vacuous_until(run) * 3.9
    log_bound = newton_bound(run) + np.arange(4) * np.log(0.25)
    assert run.log_suboptimality[1] > log_bound[1]


def test_an_understated_smoothness_breaks_the_bound():
    keys, values = orthogonal(3, 5.0)
    right = context_osdn(keys, values, steps=40)
    assert np.all(right.log_suboptimality <= newton_bound(right) + 1e-9)
    run = context_osdn([[3.0]], [[2.0]], steps=1, smoothness=4.5, eta=0.5 / 81, initial_preconditioner=[0.05])
    assert run.log_suboptimality[1] > newton_bound(run)[1]


def test_ascending_the_ratio_breaks_the_bound(monkeypatch):
    keys, values = orthogonal(4, 3.0)
    good = context_osdn(keys, values, steps=60)
    assert np.all(good.log_suboptimality <= newton_bound(good))
    from osdn_theory.context import newton

    true_cross = newton.cross
    monkeypatch.setattr(newton, "cross", lambda a, b, form: -true_cross(a, b, form))
    bad = context_osdn(keys, values, steps=60, eta=0.05, initial_preconditioner=np.full(4, 0.9))
    assert np.any(bad.log_suboptimality > newton_bound(bad))


@pytest.mark.parametrize("form", FORMS)
def test_super_geometric_decay_goes_on_far_below_underflow(form):
    keys, values = orthogonal(0, 3.0)
    run = context_osdn(keys, values, steps=600, form=form)
    log10 = run.log_suboptimality / np.log(10)
    assert log10[-1] < -1200
    # Super-geometric: each stretch of 200 steps loses more digits than the one before.
    lost = -np.diff(log10[::200])
    assert np.all(np.diff(lost) > 0)
    assert np.all(run.log_suboptimality <= newton_bound(run))


def test_diagonal_preconditioner_learns_newton_where_gram_is_diagonal():
    keys, values = orthogonal(1, 4.0)
    run = context_osdn(keys, values, steps=400)
    assert run.diagonal_gram
    rows = np.abs(run.preconditioners[-1] * np.diagonal(run.gram) - 1)
    assert rows.min() < 1e-6
    assert rows.max() < 1


def test_right_newton_needs_one_step():
    rng, keys, values = context(8, lead=(2,))
    run = right_newton(keys, values, steps=3, initial_state=rng.normal(size=(2, 3, 4)))
    assert np.all(run.ratios[:, 0] == 0)
    assert np.isnan(run.ratios[:, 1:]).all()
    assert np.isneginf(run.log_suboptimality[:, 1:]).all()
    np.testing.assert_array_equal(run.states[:, -1], run.minimizer)
    np.testing.assert_allclose(run.newton, np.linalg.inv(run.gram), rtol=1e-10)


def test_singular_gram_leaves_the_null_space_of_the_state_alone():
    rng, keys, values = context(9, length=2, key_dim=4)
    start = rng.normal(size=(3, 4))
    run = right_newton(keys, values, steps=1, initial_state=start)
    null = np.eye(4) - np.linalg.pinv(keys) @ keys
    np.testing.assert_allclose(run.states[1] @ null, start @ null, atol=1e-12)
    np.testing.assert_allclose(keys @ run.states[1].T, values, atol=1e-12)
    learned = context_osdn(keys, values, steps=400, form="full", initial_state=start)
    assert learned.log_suboptimality[-1] < -50
    assert np.all(learned.log_suboptimality <= newton_bound(learned))


def test_rounding_does_not_raise_the_rank():
    rng = np.random.default_rng(16)
    keys = rng.normal(size=(6, 2)) @ rng.normal(size=(2, 4))
    assert 0 < np.linalg.svd(keys)[1][-1] < 1e-14
    run = right_newton(keys, rng.normal(size=(6, 3)), steps=1)
    np.testing.assert_allclose(run.newton, np.linalg.pinv(run.gram, rcond=1e-9), rtol=1e-9, atol=1e-12)
    best = gradient_descent(keys, np.ones((6, 1)), steps=1, step="best")
    eigenvalues = np.linalg.eigvalsh(run.gram)
    assert best.preconditioners[0] == pytest.approx(2 / (eigenvalues[-1] + eigenvalues[-2]), rel=1e-9)


@pytest.mark.parametrize("entry", [(0, 1), (0, 2), (1, 2)])
def test_one_entry_off_the_diagonal_is_no_diagonal_gram(entry):
    keys = np.eye(3)
    assert context_osdn(keys, keys, steps=1).diagonal_gram
    keys[entry] = 0.5
    assert not context_osdn(keys, keys, steps=1).diagonal_gram


@pytest.mark.parametrize("form", FORMS)
def test_singular_states_follow_the_plain_recursion(form):
    rng, keys, values = context(10, length=2, key_dim=4)
    run = context_osdn(keys, values, steps=4, form=form, initial_state=rng.normal(size=(3, 4)))
    for j in range(4):
        p = run.preconditioners[j]
        step = context_gradient(run.states[j], keys, values) @ (np.diag(p) if form == "diagonal" else p)
        np.testing.assert_allclose(run.states[j + 1], run.states[j] - step, rtol=1e-9, atol=1e-10)


def test_gradient_descent_rates():
    rng = np.random.default_rng(0)
    keys, values = conditioned_keys(rng, condition=9.0, key_dim=5), rng.normal(size=(5, 2))
    plain = gradient_descent(keys, values, steps=200)
    best = gradient_descent(keys, values, steps=200, step="best")
    assert plain.ratios[-1] == pytest.approx((1 - 1 / 9) ** 2, rel=1e-6)
    assert best.ratios.max() <= (8 / 10) ** 2 * (1 + 1e-12)
    assert best.log_suboptimality[-1] < plain.log_suboptimality[-1]
    given = gradient_descent(keys, values, steps=200, step=1.0)
    np.testing.assert_allclose(given.log_suboptimality, plain.log_suboptimality, rtol=1e-9)
    assert plain.eta is None
    assert np.all(np.diff(plain.log_suboptimality) < 0)
    np.testing.assert_allclose(context_loss(plain.states[-1], keys, values), 0, atol=1e-16)


def test_fixed_diagonal_with_the_scalar_step_is_gradient_descent():
    _, keys, values = context(11)
    plain = gradient_descent(keys, values, steps=20, step=0.3)
    fixed = fixed_diagonal(keys, values, np.full(4, 0.3), steps=20)
    np.testing.assert_allclose(fixed.states, plain.states, rtol=1e-12)
    assert (plain.form, fixed.form) == ("gradient", "fixed_diagonal")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(FORMS), st.floats(0.05, 0.9), st.floats(0.1, 2))
def test_agnostic_bound_holds_for_any_comparator(seed, form, step, size):
    rng, keys, values = context(seed, lead=(2,), length=6, value_dim=2, key_dim=3)
    eta = step / np.linalg.eigvalsh(gram(keys))[:, -1] ** 2
    run = context_osdn(keys, values, steps=40, form=form, eta=eta)
    u = size * rng.normal(size=(2, *shape_of(form, 3)))
    total = np.cumsum(run.ratios, axis=-1)
    tight, loose = agnostic_ratio_sum(run, u), agnostic_ratio_sum(run, u, argument="convex")
    assert np.all(total <= tight * (1 + 1e-10))
    if step < 0.499:
        assert np.all(total <= loose * (1 + 1e-10))
        assert np.all(tight <= loose * (1 + 1e-12))
    elif step > 0.501:
        assert np.isnan(loose).all()
    assert np.all(run.log_suboptimality <= agnostic_bound(run, u) + 1e-9)


def test_agnostic_bound_becomes_t10_at_newton():
    keys, values = orthogonal(5, 6.0, rotate=True)
    run = context_osdn(keys, values, steps=10, form="full", eta=0.4)
    np.testing.assert_allclose(agnostic_ratio_sum(run, run.newton), vacuous_until(run), rtol=1e-10)


def test_agnostic_bound_needs_its_comparator_term():
    # A poor comparator's own ratios are what the bound allows for; without them it is violated.
    keys, values = orthogonal(6, 50.0, rotate=True)
    run = context_osdn(keys, values, steps=300, eta=0.25)
    u = best_context_diagonal(run.gram)
    ratios = comparator_ratios(run, u)
    distance = np.sum((run.preconditioners[0] - u) ** 2) / (2 * 0.25)
    assert run.ratios.sum() <= (ratios.sum() + distance) / 0.5
    sums = np.cumsum(run.ratios)
    assert np.all(sums <= agnostic_ratio_sum(run, u))
    assert sums[-1] > agnostic_ratio_sum(run, u)[-1] / 3


def test_comparator_ratios_are_ratios_at_the_states_of_the_run():
    rng, keys, values = context(12)
    run = context_osdn(keys, values, steps=5)
    u = rng.uniform(size=4)
    expected = [context_ratio(run.states[j], u, keys, values) for j in range(5)]
    np.testing.assert_allclose(comparator_ratios(run, u), expected, rtol=1e-9)


def test_bounds_say_where_they_do_not_apply():
    _, keys, values = context(13)
    general = context_osdn(keys, values, steps=3)
    assert np.isnan(vacuous_until(general))
    assert np.isnan(newton_bound(general)[1:]).all()
    too_long = context_osdn(*orthogonal(0), steps=3, eta=1.5)
    assert np.isnan(vacuous_until(too_long))
    still = context_osdn(keys, values, steps=3, form="full", eta=0.0)
    assert np.isnan(vacuous_until(still))
    assert np.isnan(agnostic_ratio_sum(still, np.eye(keys.shape[1]))).all()
    assert np.isnan(agnostic_ratio_sum(too_long, np.ones(4))).all()
    with pytest.raises(ValueError, match=r"^run"):
        vacuous_until(gradient_descent(keys, values, steps=1))


def test_starting_at_the_minimum_is_not_a_number():
    _, keys, values = context(14)
    start = context_minimizer(keys, values)
    run = context_osdn(keys, values, steps=2, initial_state=start)
    assert np.isneginf(run.log_suboptimality).all()
    assert np.isnan(run.ratios).all()
    assert np.isnan(comparator_ratios(run, np.ones(4))).all()
    assert np.isnan(context_ratio(start, np.ones(4), keys, values))
    assert np.isnan(context_hypergradient(start, np.ones(4), keys, values)).all()
    assert np.isnan(context_hessian(start, keys, values)).all()


def test_empty_and_zero_contexts_are_at_their_minimum():
    for keys in (np.empty((0, 3)), np.zeros((4, 3))):
        run = context_osdn(keys, np.ones((len(keys), 2)), steps=2, initial_state=np.ones((2, 3)))
        assert np.isneginf(run.log_suboptimality).all()
        np.testing.assert_array_equal(run.states[-1], np.ones((2, 3)))
    assert context_osdn(np.eye(2), np.eye(2), steps=0).ratios.shape == (0,)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda k, v: context_osdn(k, v, steps=-1), "steps"),
        (lambda k, v: context_osdn(k, v, steps=1.5), "steps"),
        (lambda k, v: context_osdn(k, v, steps=1, form="dense"), "form"),
        (lambda k, v: context_osdn(k, v, steps=1, eta=-1), "eta"),
        (lambda k, v: context_osdn(k, v, steps=60, eta=50), "(eta|preconditioner)"),
        (lambda k, v: context_osdn(k, v, steps=1, smoothness=0), "smoothness"),
        (lambda k, v: context_osdn(k, v, steps=1, initial_state=np.ones((2, 2))), "initial_state"),
        (lambda k, v: context_osdn(k, v, steps=1, initial_preconditioner=np.ones(3)), "initial_precond"),
        (lambda k, v: context_osdn(k[None].repeat(2, 0), v[None].repeat(3, 0), steps=1), "values"),
        (lambda k, v: gradient_descent(k, v, steps=1, step="exact"), "step"),
        (lambda k, v: gradient_descent(k, v, steps=500, step=1e3), "preconditioner"),
        (lambda k, v: fixed_diagonal(k, v, np.full(4, np.nan), steps=1), "preconditioner"),
        (lambda k, v: right_newton(k, np.full_like(v, np.inf), steps=1), "values"),
        (lambda k, v: comparator_ratios(right_newton(k, v, steps=1), np.ones((3, 3))), "comparator"),
        (lambda k, v: agnostic_ratio_sum(context_osdn(k, v, steps=1), np.ones(4), argument="x"), "argument"),
    ],
)
def test_bad_arguments_are_named(call, name):
    _, keys, values = context(15)
    with pytest.raises(ValueError, match=rf"^{name}"):
        call(keys, values)
