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
from osdn_theory.streams.synthetic import ill_conditioned, orthogonal
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


def test_singular_gram_is_not_applicable() -> None:
    few = context("general").tokens(0, 3)
    assert all("nonsingular, got 3 tokens" in c.reason for c in context_checks(few))
    stream = context("general")
    keys = np.array(stream.keys)
    keys[:, 3] = keys[:, 2]
    twin = replace(stream, keys=keys)
    reasons = {c.reason for c in context_checks(twin) if "diagonal Gram" not in c.reason}
    assert reasons == {"needs G nonsingular, got rank 3 of 4"}
    assert matrix_rank(keys) == 3


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
