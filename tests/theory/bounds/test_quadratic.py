"""T20 and T21: where they are attained, beside T8, and that a wrong constant, index or missing hypothesis is caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import flint
import numpy as np
import pytest
from support.bound_cases import checked, one, outcome, stream_of, unguarded

from osdn_theory.bounds import check_bounds
from osdn_theory.bounds.statements import quadratic
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC, CalibrationRule
from osdn_theory.recurrence.solve import gated_delta_net, osdn
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.activations import load_activations
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import ill_conditioned
from osdn_theory.verification.suite import SYNTHETIC

TINY = 2.0**-30
OPEN = CalibrationRule(eta=1 / 16, d_min=-np.inf, d_max=np.inf)
TITLES = {"T20": "Quadratic regret", "T21": "Regret with forgetting"}


def plain(keys: np.ndarray, **parts: np.ndarray) -> Stream:
    return Stream(keys=keys, values=np.ones((len(keys), 1)), **parts)  # type: ignore[arg-type]


def attained() -> Trajectory:
    """No loss of the comparator: T5, with a step far from its limit."""
    stream = next(e for e in SYNTHETIC if e.name == "attained").build(np.random.default_rng(0))
    return osdn(stream, CalibrationRule(eta=2.0))


def lossy(tokens: int = 4) -> Trajectory:
    """d_1 = u = 1, a gap of 3/4 at every token along features of their own, a tiny step: attained as it tends to 0."""
    return osdn(plain(np.eye(tokens) / 2), CalibrationRule(eta=TINY, d_min=0.0, d_max=1.0))


def robust() -> Trajectory:
    """d_1 = u = 1 and eta M = 1 on features of their own: the distance is attained at every token."""
    return osdn(plain(2 * np.eye(4)), OPEN)


def forgetful(token: int, tokens: int = 4) -> Trajectory:
    """d_1 = u = 1 interpolates, and one token forgets, towards 0."""
    gate = np.where(np.arange(tokens) == token, 0.5, 1.0)
    rule = replace(OPEN, eta=0.5, forgetting="token", anchor=0.0)
    return osdn(plain(np.ones((tokens, 1)), forget_gate=gate), rule)


def scaled(patch: pytest.MonkeyPatch, name: str, factor: flint.fmpq) -> None:
    whole = getattr(quadratic, name)

    def smaller(*arguments: object) -> object:
        found = whole(*arguments)
        return [each * factor for each in found] if isinstance(found, list) else found * factor

    patch.setattr(quadratic, name, smaller)


@pytest.mark.parametrize(("run", "title"), [(attained, "Quadratic"), (lossy, "Quadratic"), (lossy, "Super")])
def test_a_right_side_of_t20_that_is_too_small_is_caught(
    run: Callable[[], Trajectory], title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outcome(run(), "T20", title) == "holds"
    scaled(monkeypatch, "quadratic_bound", flint.fmpq(99, 100))
    assert outcome(run(), "T20", title) == "violated"


def test_a_curvature_without_the_step_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quadratic, "curvature", lambda e: e.field.of(2.0))
    assert outcome(attained(), "T20", "Quadratic") == "violated"


def test_a_distance_that_is_too_small_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    found = one(check_bounds(robust(), ["T20"]), "T20", "Distance")
    assert found.outcome == "holds"
    assert found.log10_slack == pytest.approx(0, abs=1e-12)
    scaled(monkeypatch, "distance_limits", flint.fmpq(99, 100))
    assert outcome(robust(), "T20", "Distance") == "violated"


@pytest.mark.parametrize("token", range(4))
@pytest.mark.parametrize(("run", "title"), [(lossy, "Quadratic"), (robust, "Distance")])
def test_a_loss_that_leaves_out_a_token_is_caught(
    run: Callable[[], Trajectory], title: str, token: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = quadratic.comparator_loss
    monkeypatch.setattr(
        quadratic,
        "comparator_loss",
        lambda e, u: [loss * int(t != token) for t, loss in enumerate(whole(e, u))],
    )
    assert outcome(run(), "T20", title) == "violated"


@pytest.mark.parametrize("token", range(3))
def test_an_anchor_that_costs_nothing_is_caught_wherever_it_forgets(
    token: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outcome(forgetful(token), "T21", "Regret") == "holds"
    monkeypatch.setattr(quadratic, "anchor_cost", lambda e, u: e.field.of(0.0))
    run = forgetful(token)
    assert {outcome(run, "T21", title) for title in ("Regret", "Distance")} == {"violated"}


def test_the_last_forgetting_costs_nothing_yet() -> None:
    """Looser than it need be by (1 - gamma_T) |c - u|^2: what the last token forgets moves no gap."""
    found = one(check_bounds(forgetful(3), ["T21"]), "T21", "Regret")
    assert (found.outcome, found.lhs) == ("holds", 0.0)
    assert found.rhs == pytest.approx(0.5 / (0.5 * (2 - 0.5 / 0.5)))


def test_a_step_beyond_its_limit_is_told_and_without_the_hypothesis_violates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = np.where(np.arange(12)[:, None] < 11, 0.5, 1.0)
    late = osdn(plain(keys), replace(OPEN, eta=2.0))
    assert "2 against 2" in one(check_bounds(late, ["T20"]), "T20", "Quadratic").reason
    forgets = osdn(plain(keys), replace(OPEN, eta=1.0, forgetting=0.5))
    assert "2 against 2" in one(check_bounds(forgets, ["T21"]), "T21", "Regret").reason
    fast = osdn(
        plain(np.ones((8, 1)) * 1.25), replace(OPEN, eta=1.25), initial_preconditioner=np.full(1, 0.5)
    )
    assert outcome(fast, "T20", "Quadratic") == "not applicable"
    unguarded(monkeypatch, TITLES["T20"], "small_step")
    assert outcome(fast, "T20") == "violated"


@pytest.mark.parametrize("theorem", TITLES)
def test_a_comparator_outside_the_box_is_caught(theorem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """d stays at 2, and 1 would interpolate."""
    gate = np.full(40, 1.0 if theorem == "T20" else 1 - 2.0**-20)
    rule = CalibrationRule(eta=1.0, d_min=2.0, d_max=3.0, forgetting="token", anchor=1.0)
    run = osdn(plain(np.ones((40, 1)), forget_gate=gate), rule, initial_preconditioner=np.full(1, 2.0))
    assert outcome(run, theorem, "egret") in ("holds", "holds, vacuously")
    monkeypatch.setattr(quadratic, "comparators", lambda e: [np.ones(1)])
    assert outcome(run, theorem, "egret") == "violated"


def test_forgetting_asks_for_t21_and_its_absence_for_t20(monkeypatch: pytest.MonkeyPatch) -> None:
    run = forgetful(0)
    assert "needs gamma = 1, got 0.5" in one(check_bounds(run, ["T20"]), "T20", "Quadratic").reason
    assert "see T20" in one(check_bounds(robust(), ["T21"]), "T21", "Regret").reason
    unguarded(monkeypatch, TITLES["T20"], "no_forgetting")
    monkeypatch.setattr(quadratic, "anchor_cost", lambda e, u: e.field.of(0.0))
    assert outcome(run, "T20") == "violated"


def test_weights_count_in_the_curvature() -> None:
    """eta w M = 1.1, and eta M nearly 0: with mu = 2 the bound would be half of what one token loses."""
    key = np.full((1, 1), 0.125)
    rule = replace(OPEN, eta=70.0, normalize_feedback=True)
    assert outcome(osdn(plain(key, comparator=key[0] ** -2), rule), "T20", "Quadratic") == "holds"


def test_weights_of_the_feedback_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Normalised feedback weighs gaps, losses and steps: with weights of 1 on one side only the bound breaks."""
    rule = CalibrationRule(eta=TINY, d_min=0.0, d_max=1.0, normalize_feedback=True)
    run = osdn(plain(0.25 * np.eye(4)), rule)
    assert outcome(run, "T20", "Quadratic") == "holds"
    monkeypatch.setattr(
        quadratic, "comparator_loss", lambda e, u: [gap * gap for gap in e.run.comparator_gaps(u)]
    )
    assert outcome(run, "T20", "Quadratic") == "violated"


def test_never_worse_than_t8_and_equal_to_t5_without_loss() -> None:
    rng = np.random.default_rng(2)
    for seed in range(6):
        stream = ill_conditioned(rng, length=24, key_dim=5, value_dim=1, condition=10.0)
        step = 0.9 * rng.random() / float(np.max(np.sum(stream.keys**4, -1)))
        checks = checked(stream, CalibrationRule(eta=step), "T8", "T20")
        quadratic_rhs, agnostic_rhs = one(checks, "T20", "Quadratic").rhs, one(checks, "T8").rhs
        assert quadratic_rhs is not None
        assert agnostic_rhs is not None
        assert quadratic_rhs <= 2 * agnostic_rhs, seed
    checks = check_bounds(attained(), ["T5", "T20"])
    assert one(checks, "T20", "Quadratic").rhs == pytest.approx(one(checks, "T5").rhs, rel=1e-12)


def test_the_formula_in_float64() -> None:
    stream = stream_of("isotropic")
    rule = CalibrationRule(eta=0.5, forgetting=0.875, anchor=0.75)
    run = osdn(stream, rule, initial_preconditioner=np.full(6, 1.25))
    found = one(check_bounds(run, ["T21"]), "T21", "Regret")
    mu = 2 - 0.5 * float(np.max(np.sum(stream.keys**4, -1))) / 0.875
    distance = 6 * 0.25**2 + 24 * 0.125 * 6 * 0.25**2
    assert found.lhs == pytest.approx(float(np.sum((1 - run.alignment) ** 2)), rel=1e-12)
    assert found.rhs == pytest.approx(distance / (0.5 * mu), rel=1e-9)


@pytest.mark.parametrize("rule", [BOUNDED, HISTORIC, replace(BOUNDED, forgetting=0.999, anchor="initial")])
def test_captured_keys_as_they_are(rule: CalibrationRule) -> None:
    """Normalised in float64 alone, where T5 to T7 ask for equality: from d_1 = 5/4 the bounds say something."""
    (layer,) = load_activations(layers=[0])
    head = layer.at((0, 3)).tokens(0, 128)
    theorem = "T20" if rule.forgetting == 1 else "T21"
    checks = check_bounds(osdn(head, rule, initial_preconditioner=np.full(32, 1.25)), ["T5", theorem])
    assert one(checks, "T5").outcome == "not applicable"
    assert {c.outcome for c in checks if c.theorem == theorem} <= {"holds", "holds, vacuously"}
    if rule is HISTORIC:
        assert {c.outcome for c in checks if c.theorem == theorem} == {"holds"}


@pytest.mark.parametrize("gate", [1.0, 0.5])
def test_plain_feedback_leaves_what_beta_aware_feedback_does_not(gate: float) -> None:
    """T17: one feature, beta = 1/2. Whatever the state's gate, plain feedback keeps d at 1 and 1/4 of every loss."""
    ones = np.ones((6, 1))
    stream = Stream(keys=ones, values=ones, beta=0.5, state_gate=np.full(6, gate))
    plain, aware = (
        gated_delta_net(stream, CalibrationRule(eta=4.0, d_min=0.0, d_max=3.0, beta_aware=known))
        for known in (False, True)
    )
    left = [(1 - 0.5 * run.alignment) ** 2 for run in (plain, aware)]
    assert left[0].tolist() == [0.25] * 6
    assert left[1].tolist() == [0.25, *[0.0] * 5]
    for run in (plain, aware):
        assert one(check_bounds(run, ["T17"]), "T17").outcome == "holds"
    found = one(check_bounds(aware, ["T20"]), "T20", "Quadratic regret")
    assert (found.outcome, found.lhs) == ("holds", 0.25)
