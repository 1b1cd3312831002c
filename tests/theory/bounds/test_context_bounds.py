"""T10 on contexts: where it applies, what it says, and that it is attained by the smallest of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.bound_cases import one

from osdn_theory.bounds import context_checks
from osdn_theory.bounds.numbers import Balls
from osdn_theory.bounds.statements import context as context_module
from osdn_theory.bounds.statements.context import ContextProblem, ContextSolver, matrix_rank
from osdn_theory.context.newton import context_osdn
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import constant_key, ill_conditioned, orthogonal
from osdn_theory.verification.suite import SYNTHETIC


def context(kind: str) -> Stream:
    rng = np.random.default_rng(3)
    if kind == "diagonal":
        return orthogonal(rng, length=20, key_dim=4, value_dim=3)
    return ill_conditioned(rng, length=20, key_dim=4, value_dim=3, condition=10.0)


def test_context_bounds_hold_in_the_forms_that_apply() -> None:
    diagonal, general = context_checks(context("diagonal")), context_checks(context("general"))
    # The decay of all sixteen steps is bounded by more than 1: it says nothing.
    assert {c.outcome for c in diagonal} == {"holds, vacuously"}
    refused = [c for c in general if c.outcome == "not applicable"]
    assert {c.rule for c in refused} == {"context, diagonal P"}
    assert all("needs a diagonal Gram" in c.reason for c in refused)
    assert len(refused) == 2


@pytest.mark.parametrize("form", ["full", "diagonal"])
def test_context_run_agrees_with_the_float64_solver(form: str) -> None:
    stream = context("diagonal")
    problem = ContextProblem.of(stream)
    field = Balls(256)
    with field.working():
        run = ContextSolver(problem, field).run(form, 6)  # type: ignore[arg-type]
        ratios = [float(r) for r in run.ratios]
    start = np.eye(4) if form == "full" else np.ones(4)
    reference = context_osdn(
        stream.keys,
        stream.values,
        steps=6,
        form=form,  # type: ignore[arg-type]
        smoothness=problem.smoothness,
        initial_preconditioner=problem.start * start,
    )
    np.testing.assert_allclose(ratios, reference.ratios, rtol=1e-9)


def twin() -> Stream:
    """Two features are one: rank 3 of 4."""
    stream = context("general")
    keys = np.array(stream.keys)
    keys[:, 3] = keys[:, 2]
    return replace(stream, keys=keys, solution=None)


def test_a_singular_gram_is_covered_by_its_pseudo_inverse() -> None:
    assert matrix_rank(twin().keys) == 3
    for stream in (twin(), context("general").tokens(0, 3)):
        checks = [c for c in context_checks(stream) if "diagonal Gram" not in c.reason]
        assert {c.outcome for c in checks} <= {"holds", "holds, vacuously"}
    field = Balls(256)
    with field.working():
        solver = ContextSolver(ContextProblem.of(twin()), field)
        found = np.array([[float(x) for x in row] for row in solver.newton.tolist()])
    np.testing.assert_allclose(found, np.linalg.pinv(twin().keys.T @ twin().keys), rtol=1e-9, atol=1e-12)


def test_a_rank_one_context_says_something_and_a_smaller_constant_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = constant_key(np.random.default_rng(0), length=8, key_dim=8, value_dim=2)
    found = one(context_checks(stream), "T10", "Regret of full P against right-Newton")
    assert found.outcome == "holds"
    # P_1 = I / (2 L), G^+ = k k^T / L: one direction off by half, seven by their whole entry.
    assert found.rhs == pytest.approx(8 / 4, rel=1e-6)
    whole = context_module.newton_constant
    monkeypatch.setattr(context_module, "newton_constant", lambda *given: whole(*given) / 10)
    assert one(context_checks(stream), "T10", "Regret of full P against right-Newton").outcome == "violated"


def test_context_refuses_what_it_cannot_do() -> None:
    stream = context("general")
    silent = replace(stream, values=np.zeros_like(stream.values), solution=None)
    assert all("every value is zero" in c.reason for c in context_checks(silent))
    assert all("at least one step" in c.reason for c in context_checks(stream, steps=0))


def test_a_context_too_wide_to_run_is_undecided_not_excused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_module, "_LARGEST_KEY_DIM", 3)
    checks = context_checks(context("general"))
    assert {c.outcome for c in checks} == {"undecided"}
    assert all("not run for K > 3, got K = 4" in c.reason for c in checks)


def test_an_uncertified_smoothness_stays_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = context("general")
    true = ContextProblem.of(stream)
    low = replace(true, smoothness=true.smoothness * 0.9)
    monkeypatch.setattr(ContextProblem, "of", staticmethod(lambda _: low))
    applied = [c for c in context_checks(stream) if c.outcome != "not applicable"]
    assert applied
    assert all(c.outcome == "undecided" and "not certified" in c.reason for c in applied)


def test_scalar_context_attains_the_bound() -> None:
    scalar = next(e for e in SYNTHETIC if e.name == "scalar").build(np.random.default_rng(0))
    check = one(context_checks(scalar), "T10", "Regret of full P against right-Newton")
    assert check.outcome == "holds"
    assert check.log10_slack == pytest.approx(0, abs=1e-8)


def test_the_agnostic_sides_are_those_of_t8() -> None:
    """(sum rho(U) + |P_1 - U|^2 / (2 eta)) / (1 - 2 L^2 eta), with eta = 1/(4 L^2)."""
    problem, field = ContextProblem.of(context("general")), Balls(256)
    u = np.array([0.5, 0.25, 0.125, 1.0]) / problem.smoothness
    with field.working():
        run = ContextSolver(problem, field).run("agnostic", 6, u)
        (sides,) = context_module._sides(run, "agnostic")
    smoothness, start = problem.smoothness, problem.start
    step = 1 / (4 * smoothness**2)
    assert float(run.step) == pytest.approx(step, rel=1e-12)
    distance = np.sum((start - u) ** 2)
    spent = sum(float(rho) for rho in run.comparator_ratios) + distance / (2 * step)
    assert float(sides.lhs) == pytest.approx(sum(float(rho) for rho in run.ratios), rel=1e-12)
    assert float(sides.rhs) == pytest.approx(spent / (1 - 2 * smoothness**2 * step), rel=1e-9)


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2)])
def test_a_gram_matrix_is_diagonal_or_not_in_every_entry(pair: tuple[int, int]) -> None:
    keys = np.eye(3)
    assert ContextSolver(ContextProblem(keys, keys, 1.0, 1.0), Balls(128)).gram_diagonal
    keys[pair] = 2.0**-300
    assert not ContextSolver(ContextProblem(keys, keys, 1.0, 1.0), Balls(128)).gram_diagonal
