"""Wrong constants, ratios and limits: the bounds that use them must be seen to fail."""

from __future__ import annotations

from dataclasses import replace

import flint
import numpy as np
import pytest
from support.bound_cases import FAST, one, stream_of

from osdn_theory.bounds import check_bounds, context_checks
from osdn_theory.bounds.numbers import Number
from osdn_theory.bounds.registry import BOUNDS, BoundEvidence
from osdn_theory.bounds.runs.window import Window, distances
from osdn_theory.bounds.statements import context as context_module, contraction, regret, sweeps
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import ill_conditioned
from osdn_theory.verification.suite import SYNTHETIC


def test_halved_constant_of_t5_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    attained = next(e for e in SYNTHETIC if e.name == "attained").build(np.random.default_rng(0))
    run = osdn(attained, CalibrationRule(eta=2.0))
    assert one(check_bounds(run, ["T5"]), "T5").outcome == "holds"
    whole = regret.interpolating_constant
    monkeypatch.setattr(regret, "interpolating_constant", lambda e: whole(e) / 2)
    assert one(check_bounds(run, ["T5"]), "T5").outcome == "violated"


def test_quartered_constant_of_t10_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    scalar = next(e for e in SYNTHETIC if e.name == "scalar").build(np.random.default_rng(0))
    whole = context_module.newton_constant

    def quarter(smoothness: Number, distance_sq: Number) -> Number:
        return whole(smoothness, distance_sq) / 4

    monkeypatch.setattr(context_module, "newton_constant", quarter)
    check = one(context_checks(scalar), "T10", "Regret of full P against right-Newton")
    assert check.outcome == "violated"


@pytest.mark.parametrize("factor", [0.5, 0.99])
def test_smaller_agnostic_bound_is_caught_where_it_is_tight(
    monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    # d_1 = u, tiny step: T8 is nearly attained, so any smaller right side is violated.
    rng = np.random.default_rng(0)
    stream = ill_conditioned(rng, length=24, key_dim=5, value_dim=2, condition=10.0)
    m = float(np.max(np.sum(stream.keys**4, -1)))
    rule = CalibrationRule(eta=1e-6 / m, d_min=0.0, d_max=10.0)
    from osdn_theory.context.comparators import best_fixed_diagonal

    best = np.clip(best_fixed_diagonal(stream.squared_keys, np.zeros(5), np.full(5, 10.0)), 0, 10)
    run = osdn(stream, rule, initial_preconditioner=best)
    assert one(check_bounds(run, ["T8"]), "T8").outcome == "holds"
    whole = regret.agnostic_bound
    monkeypatch.setattr(
        regret, "agnostic_bound", lambda e, loss, d: whole(e, loss, d) * flint.fmpq(int(factor * 100), 100)
    )
    assert one(check_bounds(run, ["T8"]), "T8").outcome == "violated"


def test_wrong_gated_rate_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stream_of(beta="random")
    run = osdn(stream, FAST)
    whole = regret.gated_rate
    monkeypatch.setattr(regret, "gated_rate", lambda e: whole(e) / 4)
    assert {c.outcome for c in check_bounds(run, ["T7"])} == {"violated"}


def test_wrong_residual_ratio_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    run = osdn(stream_of(beta="random"), FAST)
    step_type = contraction.LocalStep
    monkeypatch.setattr(step_type, "alignment", property(lambda s: sum(s.preconditioner)))
    assert {c.outcome for c in check_bounds(run, ["T3"])} == {"violated"}
    assert one(check_bounds(run, ["T16"]), "T16", "identity").outcome == "violated"


def test_wrong_forgetting_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from osdn_theory.bounds.statements import forgetting

    stream = stream_of("constant")
    rule = CalibrationRule(eta=0.5, forgetting=0.75, d_min=-np.inf, d_max=np.inf)
    run = osdn(stream, rule)
    assert one(check_bounds(run, ["T13"]), "T13", "Bias").outcome == "holds"

    def unanchored(e: BoundEvidence) -> Number:
        return e.field.of(1.0)

    monkeypatch.setattr(forgetting, "bias_limit", unanchored)
    assert one(check_bounds(run, ["T13"]), "T13", "Bias").outcome == "violated"
    monkeypatch.setattr(forgetting, "separation_sq", lambda first, second, token: first.field.of(100.0))
    assert one(check_bounds(run, ["T13"]), "T13", "Stability").outcome == "violated"


SWEPT = ("First gains", "Error after", "Super-geometric", "Certificate")


def swept_outcomes(keys: np.ndarray, rule: CalibrationRule, **start: np.ndarray) -> dict[str, str]:
    """Outcome of each bound of T29, by the beginning of its title."""
    checks = check_bounds(osdn(Stream(keys=keys, values=keys), rule, **start), ["T29"])  # type: ignore[arg-type]
    return {title: one(checks, "T29", title).outcome for title in SWEPT}


OPEN = CalibrationRule(eta=0.5, d_min=-100.0, d_max=100.0)
ONE_KEY = np.ones((12, 1))


def test_smaller_limits_of_t29_are_caught_where_they_are_attained(monkeypatch: pytest.MonkeyPatch) -> None:
    start = {"initial_preconditioner": np.full(1, 1.25)}
    assert set(swept_outcomes(ONE_KEY, OPEN, **start).values()) == {"holds"}
    for name, title in (
        ("swept_limit", "Error after"), ("binomial_limit", "Super-geometric"), ("certificate", "Certificate")
    ):  # fmt: skip
        whole = getattr(sweeps, name)
        with monkeypatch.context() as patch:
            patch.setattr(sweeps, name, lambda w, whole=whole: [a * flint.fmpq(99, 100) for a in whole(w)])
            assert swept_outcomes(ONE_KEY, OPEN, **start)[title] == "violated", name


def test_one_exact_gain_too_many_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "exact_gains", lambda count: count + 1)
    outcomes = swept_outcomes(ONE_KEY, OPEN, initial_preconditioner=np.full(1, 1.25))
    assert outcomes == {"First gains": "violated"} | dict.fromkeys(SWEPT[1:], "holds")


def test_a_certificate_without_the_inverse_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def increments_alone(window: Window) -> list[Number]:
        return window.spread(distances(window.sweeps[-1], window.sweeps[-2]))

    keys = np.random.default_rng(0).standard_normal((12, 2))
    start = {"initial_preconditioner": np.full(2, 1.25)}
    assert swept_outcomes(keys, OPEN, **start)["Certificate"] == "holds"
    monkeypatch.setattr(sweeps, "certificate", increments_alone)
    assert swept_outcomes(keys, OPEN, **start)["Certificate"] == "violated"


def test_the_factorial_rate_without_its_hypothesis_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    start = {"initial_preconditioner": np.full(1, 1.25)}
    assert swept_outcomes(2 * ONE_KEY, OPEN, **start)["Super-geometric"] == "not applicable"
    (rate,) = [b for b in BOUNDS if b.title == "Super-geometric sweeps"]
    blind = replace(rate, hypotheses=rate.hypotheses[:1])
    monkeypatch.setattr("osdn_theory.bounds.checking.BOUNDS", [blind])
    checks = check_bounds(osdn(Stream(keys=2 * ONE_KEY, values=ONE_KEY), OPEN, **start), ["T29"])  # type: ignore[arg-type]
    assert one(checks, "T29").outcome == "violated"


def test_features_with_their_signs_are_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write gates of both signs in beta-aware feedback: N takes the features without theirs."""
    rule = replace(OPEN, beta_aware=True)
    beta = np.where(np.arange(12) % 2, -1.0, 1.0)
    run = osdn(Stream(keys=ONE_KEY, values=ONE_KEY, beta=beta), rule, initial_preconditioner=np.full(1, 1.25))
    assert one(check_bounds(run, ["T29"]), "T29", "Error after").outcome == "holds"
    monkeypatch.setattr("osdn_theory.bounds.runs.window.abs", lambda value: value, raising=False)
    assert one(check_bounds(run, ["T29"]), "T29", "Error after").outcome == "violated"
