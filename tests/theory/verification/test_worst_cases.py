"""Worst cases by semidefinite programs: below every bound, at T20 where it is tight, and above one that is wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from osdn_theory.commands.main import app
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.streams.exhibits import alternating
from osdn_theory.streams.stream import Stream
from osdn_theory.verification import worst_cases as module
from osdn_theory.verification.worst_cases import Setting, alternating_family, bound_of, worst_case

pytest.importorskip("cvxpy")

TIGHT = Setting(1, 0.5, loss=1.0)
PLAIN = Setting(3, 0.4, loss=0.5)


@pytest.mark.parametrize(
    ("theorem", "setting"),
    [
        ("T20", PLAIN),
        ("T8", PLAIN),
        ("T21", replace(PLAIN, gamma=0.75, anchor=0.5)),
        ("T14", replace(PLAIN, path=0.25, diameter=2.0)),
    ],
)
def test_the_worst_case_is_below_the_bound_and_of_its_size(theorem: str, setting: Setting) -> None:
    found = worst_case(theorem, setting)
    assert 1 < found.slack < 5
    assert found.worst <= bound_of(theorem, setting)


def test_t20_is_attained_and_the_stream_that_attains_it_is_the_worst_case() -> None:
    found = worst_case("T20", TIGHT)
    assert found.slack == pytest.approx(1, abs=1e-6)
    # u = 0, d_1 = -1 and one feature of 1: the gaps are h = 1 and g = 2.
    rule = CalibrationRule(eta=0.5, d_min=-np.inf, d_max=np.inf)
    run = osdn(
        Stream(keys=np.ones((1, 1)), values=np.ones((1, 1))), rule, initial_preconditioner=np.full(1, -1.0)
    )
    assert float((1 - run.alignment[0]) ** 2) == pytest.approx(found.worst, rel=1e-6)


def test_more_tokens_come_closer_and_t8_stays_away() -> None:
    slacks = [worst_case("T20", replace(PLAIN, tokens=tokens)).slack for tokens in (1, 2, 4)]
    assert slacks[0] > slacks[1] > slacks[2] > 1
    assert worst_case("T8", PLAIN).slack > worst_case("T20", PLAIN).slack


def test_a_smaller_bound_shows_as_slack_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = module.bound_of
    monkeypatch.setattr(module, "bound_of", lambda theorem, setting: 0.99 * whole(theorem, setting))
    assert worst_case("T20", TIGHT).slack < 1


def test_no_run_is_worse_than_the_worst_case() -> None:
    rng = np.random.default_rng(0)
    worst, found = worst_case("T20", PLAIN).worst, []
    rule = CalibrationRule(eta=PLAIN.eta, d_min=-np.inf, d_max=np.inf)
    for _ in range(500):
        features = rng.random((3, 3))
        features /= np.linalg.norm(features, axis=1).max()
        losses, away = rng.standard_normal((2, 3))
        losses *= math.sqrt(PLAIN.loss) / np.linalg.norm(losses)
        u = np.linalg.solve(features, 1 - losses)
        stream = Stream(keys=np.sqrt(features), values=np.ones((3, 1)))
        run = osdn(stream, rule, initial_preconditioner=u + away / np.linalg.norm(away))
        found.append(float(np.sum((1 - run.alignment) ** 2)))
    assert 0.7 * worst < max(found) <= worst * (1 + 1e-6)


@pytest.mark.parametrize("width", [2, 4])
def test_the_family_of_t28_is_what_its_stream_does(width: int) -> None:
    stream = alternating(width=width)
    eta = float(width**2)
    run = osdn(stream, CalibrationRule(eta=eta, d_min=-np.inf, d_max=np.inf))
    start = np.asarray(stream.initial_preconditioner) - 1
    constant = float(np.sum(start**2)) / eta
    factor = np.exp(np.mean(np.log((1 - run.alignment) ** 2))) / (constant / stream.length)
    found = alternating_family(stream.length)
    assert factor == pytest.approx(found.worst, rel=1e-9)
    assert 2 / math.e < found.worst < 2 / math.e * 1.01


@pytest.mark.parametrize(
    ("theorem", "setting", "message"),
    [
        ("T5", PLAIN, "theorem: expected one of"),
        ("T8", replace(PLAIN, eta=1.0), "0 < eta M < 1"),
        ("T21", replace(PLAIN, eta=1.0, gamma=0.5), "0 < eta M < 1"),
        ("T20", replace(PLAIN, gamma=0.5), "T20 has no forgetting"),
        ("T8", replace(PLAIN, path=0.5), "comparator of T8 does not move"),
    ],
)
def test_settings_beyond_the_hypotheses_are_refused(theorem: str, setting: Setting, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        worst_case(theorem, setting)


def test_without_a_solver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osdn_theory.sweep.packages.find_spec", lambda package: None)
    with pytest.raises(OSError, match=r"cvxpy is not installed: pip install -e '.\[worst-cases\]'"):
        worst_case("T20", TIGHT)


def test_the_command_prints_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTINGS", (("T20", TIGHT), ("T8", PLAIN)))
    found = CliRunner().invoke(app, ["tighten", "--worst-cases", "--bounds", "t20,T6"])
    assert found.exit_code == 0
    assert "T = 1, eta M = 0.5, B^2 = 1" in found.stdout
    assert "two features" in found.stdout
    assert "T8" not in found.stdout
