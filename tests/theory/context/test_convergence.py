"""The data of the convergence figure: spectra as asked for, bounds above curves, valid JSON."""

import json

import numpy as np
import pytest

from osdn_theory.context.convergence import (
    LABELS,
    RULES,
    conditioned_keys,
    context_convergence,
    convergence_rates,
)
from osdn_theory.objective import gram


@pytest.fixture(scope="module")
def rotated():
    return convergence_rates(np.random.default_rng(0), condition=10.0, key_dim=6, value_dim=4, steps=400)


@pytest.fixture(scope="module")
def aligned():
    return convergence_rates(
        np.random.default_rng(0), condition=10.0, key_dim=6, value_dim=4, steps=400, rotate=False
    )


@pytest.mark.parametrize("rotate", [True, False])
def test_the_spectrum_is_the_one_asked_for(rotate):
    keys = conditioned_keys(np.random.default_rng(1), condition=1e4, key_dim=5, rotate=rotate, smoothness=3.0)
    np.testing.assert_allclose(np.linalg.eigvalsh(gram(keys)), 3 * np.geomspace(1e-4, 1, 5), rtol=1e-9)
    off = gram(keys) - np.diag(np.diag(gram(keys)))
    assert off.any() == rotate


def test_rotation_is_uniform_in_sign():
    rng = np.random.default_rng(2)
    entries = [conditioned_keys(rng, condition=1.0, key_dim=3)[0, 0] for _ in range(300)]
    assert abs(np.mean(np.sign(entries))) < 0.25


def test_rules_rank_as_the_theory_says(rotated, aligned):
    for data in (rotated, aligned):
        final = {rule: curve[-1] for rule, curve in data.log_suboptimality.items()}
        assert list(final) == list(RULES) == list(LABELS)
        assert np.isneginf(final["newton"])
        assert final["diagonal"] < final["gradient"]
        assert final["best_fixed_diagonal"] < final["gradient"]
    # Across the eigenvectors no diagonal is Newton: OSDN settles at a linear rate. Along them it does not.
    assert rotated.log_suboptimality["full"][-1] < 2 * rotated.log_suboptimality["diagonal"][-1]
    lost = -np.diff(aligned.log_suboptimality["diagonal"][::100])
    assert lost[-1] > 2 * lost[0]


def test_the_best_fixed_diagonal_contracts_as_it_is_said_to(rotated):
    curve = rotated.log_suboptimality["best_fixed_diagonal"]
    assert np.exp(curve[-1] - curve[-2]) == pytest.approx(rotated.parameters["best_contraction"], rel=1e-3)


def test_curves_start_together(rotated):
    first = [curve[0] for curve in rotated.log_suboptimality.values()]
    np.testing.assert_allclose(first, first[0], rtol=1e-14)
    assert rotated.log10_suboptimality("gradient")[0] == pytest.approx(first[0] / np.log(10))


def test_bounds_lie_above_their_curves(rotated, aligned):
    assert set(rotated.bounds) == {"full", "diagonal_agnostic"}
    assert {"full", "diagonal"} <= set(aligned.bounds)
    for data in (rotated, aligned):
        for name, bound in data.bounds.items():
            curve = data.log_suboptimality[name.removesuffix("_agnostic")]
            assert np.all(curve <= bound + 1e-9)


def test_the_bound_names_the_rules_it_speaks_of(rotated, aligned):
    assert rotated.bound_rules == ("full",)
    assert aligned.bound_rules == ("diagonal", "full")
    # With a rotated Gram matrix the bound is no bound for the diagonal rule: its curve crosses it.
    assert np.any(rotated.log_suboptimality["diagonal"] > rotated.log_bound)
    for data in (rotated, aligned):
        for rule in data.bound_rules:
            assert np.all(data.log_suboptimality[rule] <= data.log_bound + 1e-9)


def test_the_bound_is_vacuous_for_as_long_as_it_says(aligned):
    bound, until = aligned.log_bound, aligned.vacuous_until
    np.testing.assert_array_equal(bound, aligned.bounds["diagonal"])
    assert np.all(bound[1:until] >= bound[0])
    assert bound[until] < bound[0]
    assert until == int(np.floor(aligned.vacuous_sum["diagonal"])) + 1
    expected = np.sum((np.geomspace(1, 10, 6) - 1) ** 2)
    assert aligned.vacuous_sum["diagonal"] == pytest.approx(expected, rel=1e-9)


def test_a_bound_that_never_bites_says_so():
    data = convergence_rates(np.random.default_rng(0), condition=100.0, key_dim=4, steps=20)
    assert data.vacuous_until is None
    assert data.vacuous_sum["full"] > 20
    only = convergence_rates(np.random.default_rng(0), condition=4.0, key_dim=4, steps=5, rules=["gradient"])
    assert only.log_bound is None
    assert only.vacuous_until is None


def test_a_step_too_long_has_no_bound():
    data = convergence_rates(
        np.random.default_rng(0), condition=2.0, key_dim=3, steps=2, rotate=False, eta=1.1
    )
    assert data.bounds == {}
    assert data.vacuous_sum == {}
    assert data.log_bound is None


def test_starting_from_zero_stands_still_for_one_step():
    data = convergence_rates(
        np.random.default_rng(0), condition=4.0, key_dim=3, steps=30, rotate=False, start="zero"
    )
    for rule in ("diagonal", "full"):
        curve = data.log_suboptimality[rule]
        assert curve[1] == pytest.approx(curve[0], rel=1e-12)
        assert data.vacuous_sum[rule] == pytest.approx(1 + 4 + 16, rel=1e-9)
    assert data.parameters["initial_preconditioner"] == "zero"


def test_same_seed_same_data():
    one, two = (convergence_rates(np.random.default_rng(3), steps=5) for _ in range(2))
    assert one.as_dict() == two.as_dict()
    assert one.as_dict() != convergence_rates(np.random.default_rng(4), steps=5).as_dict()


def test_json(rotated):
    text = json.dumps(rotated.as_dict(), allow_nan=False)
    read = json.loads(text)
    assert read["log10_suboptimality"]["newton"][1] == "-inf"
    assert read["parameters"]["condition"] == pytest.approx(10, rel=1e-9)
    assert read["parameters"]["steps"] == 400
    assert read["parameters"]["eta"] == pytest.approx(0.5)
    np.testing.assert_allclose(read["log10_bounds"]["full"], rotated.bounds["full"] / np.log(10))


def test_a_given_context_may_be_singular():
    rng = np.random.default_rng(5)
    data = context_convergence(rng.normal(size=(3, 5)), rng.normal(size=(3, 2)), steps=50)
    assert data.parameters["length"] == 3
    assert np.all(data.log_suboptimality["full"] <= data.bounds["full"])
    assert data.parameters["best_contraction"] < 1
    assert context_convergence([[1.0, 2.0, 3.0]], [[1.0]], steps=1).parameters["condition"] == np.inf


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"condition": 0.5}, "condition"),
        ({"key_dim": 0}, "key_dim"),
        ({"value_dim": 0}, "value_dim"),
        ({"steps": -1}, "steps"),
        ({"rules": []}, "rules"),
        ({"rules": ["adam"]}, "rules"),
        ({"start": "one"}, "start"),
    ],
)
def test_bad_options_are_named(options, name):
    with pytest.raises(ValueError, match=rf"^{name}"):
        convergence_rates(np.random.default_rng(0), **options)


def test_one_context_only():
    with pytest.raises(ValueError, match=r"^keys"):
        context_convergence(np.ones((2, 3, 3)), np.ones((3, 2)), steps=1)
    with pytest.raises(ValueError, match=r"^smoothness"):
        conditioned_keys(np.random.default_rng(0), condition=2, key_dim=2, smoothness=0)
