"""The check of the solver itself: a wrong number at any token, the first and the last included, is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.bound_cases import FAST, one, stream_of

from osdn_theory.bounds import check_bounds
from osdn_theory.bounds.statements import solver
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import gated_delta_net, kda, osdn
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream
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


@pytest.mark.parametrize(
    ("rule", "keys", "beta", "start"),
    [
        (CalibrationRule(eta=1e-32, d_min=-np.inf, d_max=np.inf), np.full((3, 1), 1e8), -1.0, 1e9),
        (
            CalibrationRule(eta=2.0, d_min=0.0, d_max=np.inf, forgetting=0.999, anchor=np.array([1e8, 2.0])),
            np.array([[0.6, 0.8], [0.0, 1.0], [0.6, 0.8], [0.28, 0.96], [0.6, 0.8]]),
            1.0,
            2 / 3,
        ),
    ],
)
def test_a_block_of_the_scan_rounds_what_it_adds_up(
    rule: CalibrationRule, keys: np.ndarray, beta: float, start: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where steps cancel or an anchor is far away, and not only what a single step would."""
    stream = Stream(keys=keys, values=keys[:, :1], beta=beta)
    run = osdn(stream, rule, initial_preconditioner=start, method="chunk")
    assert one(check_bounds(run, ["float64"]), "float64", "Calibrate").outcome == "holds"
    monkeypatch.setattr(solver, "_block_rounding", lambda problem: 0.0)
    assert one(check_bounds(run, ["float64"]), "float64", "Calibrate").outcome == "violated"


def test_an_alignment_of_keys_whose_squares_underflow_is_that_of_the_solver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Stream(keys=np.full((1, 1), 1e-155), values=np.ones((1, 1)))
    open_box = CalibrationRule(eta=0.0, d_min=-np.inf, d_max=np.inf)
    run = osdn(stream, open_box, initial_preconditioner=1.5e282, method="chunk")
    assert one(check_bounds(run, ["float64"]), "float64", "Alignment").outcome == "holds"
    monkeypatch.setattr(solver, "SUBNORMAL", 0.0)
    assert one(check_bounds(run, ["float64"]), "float64", "Alignment").outcome == "violated"
