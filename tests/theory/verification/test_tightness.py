"""The search for tight cases: finds equality where it is known, never less, and sees a bound that is too small."""

from __future__ import annotations

import numpy as np
import pytest

from osdn_theory.bounds.statements import memory, regret
from osdn_theory.verification.tightness import TIGHTENABLE, UNSEARCHED, tighten


@pytest.mark.parametrize("theorem", TIGHTENABLE)
def test_no_slack_below_one(theorem: str) -> None:
    for result in tighten(theorem, np.random.default_rng(1), restarts=1, evaluations=60):
        assert result.theorem == theorem
        assert result.slack > 1 - 1e-9
        assert result.note
        assert result.evaluations > 0


@pytest.mark.parametrize("theorem", ["T5", "T6", "T7", "T10", "T13", "T16", "T20", "T26"])
def test_attained_bounds_are_found_attained(theorem: str) -> None:
    results = tighten(theorem, np.random.default_rng(0), restarts=1, evaluations=300)
    assert all(result.attained for result in results)


def test_agnostic_bounds_are_approached_not_attained() -> None:
    (result,) = tighten("T8", np.random.default_rng(0), restarts=2, evaluations=400)
    assert 1 < result.slack < 1.2
    assert not result.attained


def test_a_halved_constant_shows_as_slack_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = regret.interpolating_constant
    monkeypatch.setattr(regret, "interpolating_constant", lambda e: whole(e) / 2)
    (result,) = tighten("T5", np.random.default_rng(0), restarts=1, evaluations=300)
    assert result.slack == pytest.approx(0.5, rel=1e-3)
    assert not result.attained


@pytest.mark.parametrize(
    ("theorem", "constant"), [("T25", "speed_limit"), ("T26", "difference_limit"), ("T27", "metric_growth")]
)
def test_a_smaller_limit_on_the_memory_shows_as_slack_below_one(
    theorem: str, constant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sound,) = tighten(theorem, np.random.default_rng(0), restarts=2, evaluations=150)
    assert 1 - 1e-9 < sound.slack < 1.25
    whole = getattr(memory, constant)
    monkeypatch.setattr(memory, constant, lambda *given: whole(*given) / 2)
    (found,) = tighten(theorem, np.random.default_rng(0), restarts=2, evaluations=150)
    assert found.slack < 0.75


def test_every_theorem_that_reaches_further_is_searched_or_says_why_not() -> None:
    beyond = {f"T{number}" for number in range(20, 29)}
    assert beyond <= {*TIGHTENABLE, *UNSEARCHED}
    assert not {*TIGHTENABLE} & {*UNSEARCHED}
    assert all(UNSEARCHED.values())


def test_seeded_searches_repeat() -> None:
    first = tighten("T8", np.random.default_rng(5), restarts=1, evaluations=50)
    assert first == tighten("T8", np.random.default_rng(5), restarts=1, evaluations=50)


@pytest.mark.parametrize(
    ("theorem", "counts", "message"),
    [
        ("T3", {}, "no inequality to tighten"),
        ("T22", {}, "no inequality to tighten; equality, pair by pair"),
        ("T99", {}, "no inequality"),
        ("T5", {"restarts": 0}, "at least 1"),
    ],
)
def test_bad_arguments(theorem: str, counts: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tighten(theorem, np.random.default_rng(0), **counts)
