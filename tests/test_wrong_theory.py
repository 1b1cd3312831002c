"""Wrong constants, ratios and limits: the bounds that use them must be seen to fail."""

from __future__ import annotations

import flint
import numpy as np
import pytest
from bound_cases import FAST, one, stream_of

from osdn_theory.bounds import (
    check_bounds,
    context as context_module,
    context_checks,
    contraction,
    regret,
)
from osdn_theory.bounds.numbers import Number
from osdn_theory.bounds.registry import Evidence
from osdn_theory.recurrence import osdn
from osdn_theory.rules import CalibrationRule
from osdn_theory.suite import SYNTHETIC
from osdn_theory.synthetic import (
    ill_conditioned,
)


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
    from osdn_theory.comparators import best_fixed_diagonal

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
    from osdn_theory.bounds import forgetting

    stream = stream_of("constant")
    rule = CalibrationRule(eta=0.5, forgetting=0.75, d_min=-np.inf, d_max=np.inf)
    run = osdn(stream, rule)
    assert one(check_bounds(run, ["T13"]), "T13", "Bias").outcome == "holds"

    def unanchored(e: Evidence) -> Number:
        return e.field.of(1.0)

    monkeypatch.setattr(forgetting, "bias_limit", unanchored)
    assert one(check_bounds(run, ["T13"]), "T13", "Bias").outcome == "violated"
    monkeypatch.setattr(forgetting, "separation_sq", lambda first, second, token: first.field.of(100.0))
    assert one(check_bounds(run, ["T13"]), "T13", "Stability").outcome == "violated"
