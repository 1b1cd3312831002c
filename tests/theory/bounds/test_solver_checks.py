"""The check of the solver itself: a wrong number at any token, the first and the last included, is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.bound_cases import FAST, one, stream_of

from osdn_theory.bounds import check_bounds
from osdn_theory.recurrence.solve import gated_delta_net, kda, osdn
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.transforms import with_gates

PARTS = {
    "outputs": "Read",
    "residuals": "Residual",
    "states": "Write",
    "alignment": "Alignment",
    "preconditioner": "Calibrate",
}


def solved(kind: str = "plain") -> Trajectory:
    stream = stream_of()
    queries = np.random.default_rng(2).standard_normal(stream.keys.shape)
    stream = replace(stream, queries=queries)
    options = {"return_states": True, "scale": 0.25}
    if kind == "plain":
        return osdn(stream, FAST, **options)  # type: ignore[arg-type]
    gates = with_gates(stream, np.random.default_rng(3), state=kind)  # type: ignore[arg-type]
    return (gated_delta_net if kind == "token" else kda)(gates, FAST, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["plain", "token", "feature"])
def test_each_solver_is_a_rounding_of_its_recurrence(kind: str) -> None:
    checks = check_bounds(solved(kind), ["float64"])
    assert len(checks) == 5
    assert {check.outcome for check in checks} == {"holds"}


@pytest.mark.parametrize("token", [0, 13, 23])
@pytest.mark.parametrize(("part", "title"), PARTS.items())
def test_a_wrong_number_at_one_token_is_seen(part: str, title: str, token: int) -> None:
    run = solved()
    values = np.array(getattr(run, part))
    values.reshape(24, -1)[token, -1] += 1e-12 * np.abs(values).max()
    check = one(check_bounds(replace(run, **{part: values}), ["float64"]), "float64", title)
    assert check.outcome == "violated"
    assert f"token {token + 1}" in check.reason or f"token {token + 2}" in check.reason


def test_another_start_is_seen() -> None:
    """Every step is right, from where the run says that it did not begin."""
    run = solved()
    elsewhere = replace(run, initial_preconditioner=run.initial_preconditioner + 1e-12)
    check = one(check_bounds(elsewhere, ["float64"]), "float64", "Calibrate")
    assert (check.outcome, check.reason) == ("violated", "first seen around token 1")


def test_a_wrong_last_step_is_seen() -> None:
    run = solved()
    handed_on = np.array(run.final_preconditioner)
    handed_on[-1] += 1e-12
    check = one(
        check_bounds(replace(run, final_preconditioner=handed_on), ["float64"]), "float64", "Calibrate"
    )
    assert check.outcome == "violated"
