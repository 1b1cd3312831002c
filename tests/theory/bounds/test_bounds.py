"""The bounds: where they apply, what they say, and that a wrong constant is caught."""

from __future__ import annotations

from dataclasses import replace

import flint
import numpy as np
import pytest
from support.bound_cases import FAST, checked, one, stream_of

from osdn_theory.bounds import (
    BoundCheck,
    Sides,
    bound_ids,
    check_bounds,
    decide,
)
from osdn_theory.bounds.check import log10_slack
from osdn_theory.bounds.facts import Facts
from osdn_theory.bounds.numbers import Balls
from osdn_theory.bounds.problem import problem
from osdn_theory.bounds.registry import SMALL, BoundEvidence, conclude
from osdn_theory.bounds.runs.window import SWEEPS
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC, CalibrationRule
from osdn_theory.recurrence.solve import gated_delta_net, kda, osdn
from osdn_theory.recurrence.sweeps import coupling, gain_driven, sweep_scan
from osdn_theory.streams.exhibits import alternating, disjoint, overlapping
from osdn_theory.streams.synthetic import (
    ill_conditioned,
    interpolating,
    isotropic,
    non_stationary,
    orthogonal,
)
from osdn_theory.streams.transforms import with_gates

HELD = {"holds", "holds, vacuously"}

# --- decisions -----------------------------------------------------------------------------------------------


def ball(middle: float, radius: float = 0.0) -> flint.arb:
    return flint.arb(middle, radius)


WIDE = ball(1.5, 0.5)


@pytest.mark.parametrize(
    ("sides", "outcome"),
    [
        (Sides(ball(1), ball(2)), "holds"),
        (Sides(ball(2), ball(1)), "violated"),
        (Sides(ball(1), ball(1)), "holds"),
        (Sides(ball(1, 0.5), ball(1.2, 0.5)), "undecided"),
        (Sides(ball(2), ball(1), lhs_is_upper_bound=True), "undecided"),
        (Sides(WIDE, WIDE.lower()), "undecided"),
        (Sides(WIDE.lower(), WIDE), "holds"),
        (Sides(flint.fmpq(1, 3), flint.fmpq(1, 3)), "holds"),
        (Sides(flint.fmpq(1, 3), flint.fmpq(1, 4)), "violated"),
        (Sides(flint.fmpq(1, 3), flint.fmpq(1, 3), identity=True), "holds"),
        (Sides(flint.fmpq(1, 3), flint.fmpq(1, 2), identity=True), "violated"),
        (Sides(ball(1), ball(1), identity=True), "holds"),
        (Sides(ball(1, 1e-9), ball(1), identity=True), "undecided"),
        (Sides(ball(1, 1e-9), ball(2), identity=True), "violated"),
        (Sides(flint.arb.neg_inf(), flint.arb.neg_inf(), is_log=True), "holds, vacuously"),
        (Sides(flint.arb.neg_inf(), ball(-3), is_log=True), "holds"),
        (Sides(ball(-3), flint.arb.neg_inf(), is_log=True), "violated"),
        (Sides(ball(1), flint.arb.nan()), "undecided"),
    ],
)
def test_decide(sides: Sides, outcome: str) -> None:
    assert decide(sides) == outcome


def test_slack_in_decades() -> None:
    assert log10_slack(Sides(ball(1), ball(100))) == pytest.approx(2)
    assert log10_slack(Sides(ball(-np.log(10)), ball(0), is_log=True)) == pytest.approx(1)
    assert log10_slack(Sides(ball(0), ball(1))) == np.inf
    assert log10_slack(Sides(ball(0), ball(0))) is None
    assert log10_slack(Sides(flint.arb.neg_inf(), flint.arb.neg_inf(), is_log=True)) is None
    assert log10_slack(Sides(ball(1), ball(1), identity=True)) is None
    assert log10_slack(Sides(flint.arb.nan(), ball(1))) is None


def test_conclude_reports_the_gravest_pair() -> None:
    blank = BoundCheck("T0", "", "", "s", "r", (), "undecided")
    good, bad, open_ = Sides(ball(1), ball(2)), Sides(ball(3), ball(2)), Sides(ball(1, 9), ball(2))
    assert conclude(blank, [good, good]).outcome == "holds"
    assert conclude(blank, [good, open_]).outcome == "undecided"
    closest = conclude(blank, [Sides(ball(1), ball(9)), good, Sides(ball(1), ball(5))])
    assert (closest.rhs, closest.log10_slack) == (2.0, pytest.approx(np.log10(2)))
    worst = conclude(blank, [good, open_, bad])
    assert (worst.outcome, worst.lhs, worst.rhs) == ("violated", 3.0, 2.0)


# --- every theorem on a stream made for it ----------------------------------------------------------------------


def test_every_bound_applies_and_holds_somewhere() -> None:
    rng = np.random.default_rng(0)
    base = stream_of()
    # K = 5, exactly diagonal Gram; gated streams; constant keys; unit keys.
    cases = [
        osdn(base, FAST),
        osdn(orthogonal(rng, length=24, key_dim=5, value_dim=3), BOUNDED),
        gated_delta_net(with_gates(base, rng, state="token"), FAST),
        gated_delta_net(replace(base, state_gate=np.full(base.length, 0.5)), BOUNDED),
        osdn(stream_of("constant"), CalibrationRule(eta=0.5, forgetting=0.75, d_min=-np.inf, d_max=np.inf)),
        osdn(stream_of("isotropic"), BOUNDED),
        osdn(disjoint(rng), BOUNDED),
        osdn(overlapping(rng), BOUNDED),
        osdn(alternating(), CalibrationRule(eta=16.0, d_min=-np.inf, d_max=np.inf)),
    ]
    checks = [c for case in cases for c in check_bounds(case)]
    assert {c.outcome for c in checks} <= HELD | {"not applicable"}
    held = {(c.theorem, c.title) for c in checks if c.outcome in HELD}
    assert held == {(c.theorem, c.title) for c in checks}
    assert {c.theorem for c in checks} >= set(bound_ids()) - {"float64"}
    assert all(c.reason for c in checks if c.outcome == "not applicable")
    assert all(c.method for c in checks if c.outcome == "holds")


def test_interpolating_regret_matches_its_float64_formula() -> None:
    stream = stream_of()
    run = osdn(stream, FAST)
    check = one(check_bounds(run, ["T5"]), "T5")
    m = float(np.max(np.sum(stream.keys**4, -1)))
    u = np.asarray(stream.comparator)
    assert check.lhs == pytest.approx(float(np.sum((1 - run.alignment) ** 2)), rel=1e-12)
    assert check.rhs == pytest.approx(float(np.sum((1 - u) ** 2)) / (0.5 * (2 - 0.5 * m)), rel=1e-12)
    assert check.log10_slack == pytest.approx(np.log10(check.rhs / check.lhs), rel=1e-9)


def test_product_bounds_do_not_underflow_on_long_streams() -> None:
    stream = stream_of(length=6000)
    run = osdn(stream, BOUNDED, initial_preconditioner=np.full(6, 1.25))
    checks = check_bounds(run, ["T6", "T7"])
    assert all(c.outcome == "holds" and c.method.startswith("float64") for c in checks)
    product = one(checks, "T6")
    assert product.is_log
    assert product.lhs == pytest.approx(float(np.sum(np.log((1 - run.alignment) ** 2))), rel=1e-6)
    assert product.lhs < -1000  # exp of it is zero in float64


def test_agnostic_regret_needs_no_interpolation() -> None:
    stream = ill_conditioned(np.random.default_rng(2), length=24, key_dim=5, value_dim=3, condition=100.0)
    m = float(np.max(np.sum(stream.keys**4, -1)))
    checks = checked(stream, CalibrationRule(eta=0.5 / m), "T5", "T8")
    assert one(checks, "T8").outcome in HELD
    assert "no comparator" in one(checks, "T5").reason


@pytest.mark.parametrize("mode", ["drift", "switch"])
def test_tracking_follows_a_moving_comparator(mode: str) -> None:
    stream = non_stationary(np.random.default_rng(4), length=24, key_dim=6, value_dim=2, mode=mode)  # type: ignore[arg-type]
    checks = checked(stream, FAST, "T5", "T14")
    assert one(checks, "T14").outcome in HELD
    assert "moves" in one(checks, "T5").reason


def test_gated_residual_identity_needs_the_gated_state() -> None:
    rng = np.random.default_rng(5)
    gated = with_gates(stream_of(), rng, state="feature")
    checks = check_bounds(kda(gated, FAST), ["T3", "T17"])
    assert one(checks, "T17").outcome == "holds"
    assert one(checks, "T3").outcome == "not applicable"


def test_beta_aware_feedback_keeps_t5_and_t6_and_drops_t7() -> None:
    u = np.full(6, 1.25)
    base = stream_of("isotropic")
    # beta <u, s> = 1 with u = 5/4 and beta = 4/5 is not exact in float64; u = 2, beta = 1/2 is.
    stream = replace(base, beta=0.5, comparator=np.full(6, 2.0), initial_preconditioner=u)
    rule = CalibrationRule(eta=1.0, d_min=0.5, d_max=4.0, beta_aware=True)
    checks = checked(stream, rule, "T5", "T6", "T7")
    assert one(checks, "T5").outcome == "holds"
    assert one(checks, "T6").outcome == "holds"
    assert {c.outcome for c in checks if c.theorem == "T7"} == {"not applicable"}


@pytest.mark.parametrize(
    ("rule", "theorem", "reason"),
    [
        (CalibrationRule(eta=8.0, d_max=9.0), "T5", "needs eta M < 2"),
        (CalibrationRule(eta=0.0), "T8", "needs eta > 0"),
        (CalibrationRule(eta=0.5, forgetting=0.5), "T5", "needs gamma = 1, got 0.5"),
        (CalibrationRule(eta=0.5, normalize_feedback=True), "T8", "needs w = 1"),
        (CalibrationRule(eta=0.5, d_min=2.0, d_max=3.0), "T5", "leaves the box by"),
        (CalibrationRule(eta=0.5, d_max=np.inf), "T14", "bounded box"),
        (CalibrationRule(eta=0.5), "T15", "||k_t||^2 = 1 fails by"),
        (CalibrationRule(eta=0.5, d_min=0.0), "T17", "no state gate"),
        (CalibrationRule(eta=40.0, forgetting=0.5), "T13", "needs eta w ||s_t||^2 <= 2 gamma_t"),
        (CalibrationRule(eta=8.0, d_min=0.9), "T19", "needs the box inactive"),
        (CalibrationRule(eta=0.5), "T29", "needs ||k_t||^2 <= 1, got 1.17571 at token 3"),
    ],
)
def test_not_applicable_says_which_hypothesis_and_its_value(
    rule: CalibrationRule, theorem: str, reason: str
) -> None:
    found = [c for c in checked(stream_of(), rule, theorem) if c.outcome == "not applicable"]
    assert any(reason in c.reason for c in found), [c.reason for c in found]


def test_hypotheses_are_exact_not_approximate() -> None:
    stream = stream_of()
    keys = np.array(stream.keys)
    keys[7, 0] = np.nextafter(keys[7, 0], 2)
    nudged = replace(stream, keys=keys, queries=keys)
    check = one(checked(nudged, FAST, "T5"), "T5")
    assert check.outcome == "not applicable"
    assert "token 8" in check.reason
    unit = stream_of("isotropic")
    keys = np.array(unit.keys)
    keys[3, 1] = np.nextafter(keys[3, 1], 2)
    check = one(checked(replace(unit, keys=keys), BOUNDED, "T15"), "T15")
    assert "token 4" in check.reason
    values = np.array(stream.values)
    values[2, 0] = np.nextafter(values[2, 0], 9)
    check = one(checked(replace(stream, values=values), FAST, "T16"), "T16", "identity")
    assert "token 3" in check.reason


def test_gate_and_start_hypotheses() -> None:
    gated = stream_of(beta="random")
    assert "needs beta = 1" in one(checked(gated, FAST, "T6"), "T6").reason
    negative = replace(stream_of(), beta=-0.5)
    assert all("needs beta >= 0" in c.reason for c in checked(negative, FAST, "T7"))
    unit = stream_of("isotropic")
    moved = checked(unit, BOUNDED, "T15", initial_preconditioner=np.full(6, 1.25))
    assert "needs d_1 = 1, off by 0.25" in one(moved, "T15").reason
    above = checked(unit, CalibrationRule(d_min=1.1, d_max=2.0), "T15")
    assert "leaves the box" in one(above, "T15").reason
    constant = stream_of("constant")
    assert "same key" in one(checked(unit, FAST, "T13"), "T13", "Bias").reason
    assert (
        "box inactive"
        in one(checked(constant, CalibrationRule(eta=0.5, forgetting=0.5), "T13"), "T13", "Bias").reason
    )
    zero = CalibrationRule(eta=1.0, d_min=0.0, forgetting=0.25)
    flat = replace(stream_of(), initial_preconditioner=np.zeros(6))
    assert "needs d > 0" in one(checked(flat, zero, "T16"), "T16", "identity").reason


def test_per_token_forgetting_is_not_constant() -> None:
    stream = with_gates(stream_of(), np.random.default_rng(6), forget="random")
    rule = CalibrationRule(eta=0.5, forgetting="token", anchor="initial")
    checks = checked(stream, rule, "T13", "T19")
    assert one(checks, "T13", "Stability").outcome == "holds"
    assert "constant gamma" in one(checks, "T19").reason


def test_empty_stream_is_not_applicable_everywhere() -> None:
    checks = checked(stream_of(length=0), FAST)
    assert {c.outcome for c in checks if c.theorem != "float64" and c.theorem != "T15"} == {"not applicable"}


def test_one_token() -> None:
    checks = checked(stream_of(length=1), FAST)
    assert {c.outcome for c in checks} <= HELD | {"not applicable"}
    assert one(checks, "T16", "metric").scope == "a single token: the metric never moves"


def test_leading_axes_give_one_verdict_each() -> None:
    stream = interpolating(np.random.default_rng(0), lead=(2, 3), length=8, key_dim=5, value_dim=2)
    checks = checked(stream, FAST, "T5")
    assert [c.index for c in checks] == [(i, j) for i in range(2) for j in range(3)]
    assert {c.outcome for c in checks} == {"holds"}


def test_unknown_bound_is_named() -> None:
    with pytest.raises(ValueError, match="unknown T99"):
        checked(stream_of(), FAST, "T99")


def test_large_streams_use_float64_and_say_so() -> None:
    stream = interpolating(np.random.default_rng(0), length=SMALL // 8 + 1, key_dim=8, value_dim=2)
    checks = checked(stream, FAST, "T5", "T8", "T13", "T14", "T15")
    applied = [c for c in checks if c.outcome != "not applicable"]
    assert {c.outcome for c in applied} <= HELD
    assert {c.method for c in applied} == {"float64 with rounding enclosure"}


def test_balls_decide_what_float64_leaves_open_on_a_large_stream() -> None:
    # Keys normalised in float64 and d_1 = 1: both sides of T8 are far below the float64 error.
    stream = isotropic(np.random.default_rng(0), length=300, key_dim=80, value_dim=2, exact=False)
    assert stream.length * stream.key_dim > SMALL
    check = one(checked(stream, BOUNDED, "T8"), "T8")
    assert (check.outcome, check.method) == ("holds", "ball arithmetic, 128 bits")


def test_large_identity_fixed_point_is_decided_to_the_bit() -> None:
    stream = isotropic(np.random.default_rng(0), length=SMALL // 8 + 1, key_dim=8, value_dim=2)
    run = osdn(stream, BOUNDED)
    check = one(check_bounds(run, ["T15"]), "T15")
    assert (check.outcome, check.method) == ("holds", "float64, bit for bit")
    drifted = replace(run, preconditioner=run.preconditioner + 2.0**-52)
    assert one(check_bounds(drifted, ["T15"]), "T15").outcome == "violated"


def test_wide_heads_compare_two_starts_in_t19() -> None:
    stream = isotropic(np.random.default_rng(0), length=20, key_dim=49, value_dim=2)
    assert one(checked(stream, FAST, "T19"), "T19").outcome == "holds"


def test_historic_setting_is_covered() -> None:
    checks = checked(stream_of(), HISTORIC)
    assert {c.outcome for c in checks} <= HELD | {"not applicable"}


def test_local_identities_without_stored_states_agree_with_stored_ones() -> None:
    stream = stream_of()
    with_states = checked(stream, FAST, "T3", "T16", return_states=True)
    without = checked(stream, FAST, "T3", "T16")
    assert [c.lhs for c in with_states] == [c.lhs for c in without]


def test_large_forgetting_stops_where_float64_sees_nothing() -> None:
    stream = interpolating(np.random.default_rng(0), length=SMALL // 8 + 1, key_dim=8, value_dim=2)
    check = one(checked(stream, CalibrationRule(eta=0.5, forgetting=0.5), "T13"), "T13", "Stability")
    assert check.outcome == "holds"
    last = int(check.scope.removeprefix("d_2 to d_"))
    assert 20 < last < 60
    abrupt = one(checked(stream, CalibrationRule(eta=1e-12, forgetting=1e-11), "T13"), "T13", "Stability")
    assert abrupt.scope == "d_2 to d_2"
    assert abrupt.outcome in ("holds", "undecided")


def test_a_step_near_its_limit_is_undecided_in_few_bits() -> None:
    from osdn_theory.bounds import hypotheses
    from osdn_theory.bounds.runs.exact import ExactRun

    stream = stream_of()
    largest = float(np.max(np.sum(stream.keys**4, -1)))
    case = problem(osdn(stream, CalibrationRule(eta=1.99 / largest)), ())
    run = ExactRun(case, Balls(4))
    with run.field.working():
        verdict = hypotheses.contracting_step(BoundEvidence(case, Facts(case), run))
    assert verdict.status == "undecided"
    assert "too close to call" in verdict.reason


def test_sweeps_need_short_keys_and_small_write_gates_for_the_factorial_rate() -> None:
    title = "Super-geometric"
    long = replace(stream_of("isotropic"), keys=2 * np.asarray(stream_of("isotropic").keys))
    assert "needs ||k_t||^2 <= 1, got 4 at token 1" in one(checked(long, FAST, "T29"), "T29", title).reason
    aware = CalibrationRule(eta=0.5, beta_aware=True)
    gated = replace(stream_of("isotropic"), beta=-1.5)
    assert "needs |beta_t| <= 1, got 1.5" in one(checked(gated, aware, "T29"), "T29", title).reason
    short = replace(stream_of("isotropic"), keys=np.asarray(stream_of("isotropic").keys) / 2)
    normalised = CalibrationRule(eta=0.5, normalize_feedback=True, epsilon=0.25)
    assert "needs w_t <= 1, got 2 at token 1" in one(checked(short, normalised, "T29"), "T29", title).reason
    # Without the feedback reading them, write gates of any size do; and nothing else asks for them.
    assert {c.outcome for c in checked(gated, FAST, "T29")} <= HELD
    others = [c for c in checked(gated, aware, "T29") if title not in c.title]
    assert {c.outcome for c in others} <= HELD


def test_windows_start_from_the_trajectory_and_clip_where_it_does() -> None:
    stream = stream_of(length=60)
    run = osdn(stream, CalibrationRule(eta=1.0, forgetting=0.5, d_min=2 / 3, d_max=0.7))
    case = Facts(problem(run, ()))
    assert [window.first for window in case.windows] == [0, 11, 23, 35, 47, 59]
    assert [window.length for window in case.windows] == [8, 8, 8, 8, 8, 1]
    for window in case.windows:
        path = run.preconditioner[window.first : window.first + window.length]
        assert np.allclose(np.array(window.preconditioners[:-1], dtype=float), path, rtol=0, atol=1e-12)
    assert np.isin(run.preconditioner[5:], [2 / 3, 0.7]).mean() > 0.5
    assert {c.outcome for c in check_bounds(run, ["T29"])} <= HELD | {"not applicable"}


@pytest.mark.parametrize(
    "rule",
    [FAST, CalibrationRule(eta=0.5, forgetting="token"), CalibrationRule(eta=0.5, normalize_feedback=True)],
)
def test_a_sweep_of_a_window_is_that_of_the_scan_by_sweeps(rule: CalibrationRule) -> None:
    stream = with_gates(stream_of(length=8), np.random.default_rng(7), forget="random")
    run = osdn(stream, rule)
    window = Facts(problem(run, ())).windows[0]
    found = sweep_scan(gain_driven(stream, rule), most=SWEEPS + 1)
    assert found.sweeps == SWEEPS + 1
    assert np.array(window.sweeps[-1], dtype=float) == pytest.approx(found.gains, abs=1e-13)
    scan = gain_driven(stream, rule)
    inverse = np.linalg.inv(np.eye(8) - coupling(scan))
    errors = [window.field.of(float(i + 1)) for i in range(8)]
    assert np.array(window.spread(errors), dtype=float) == pytest.approx(coupling(scan) @ np.arange(1, 9))
    assert np.array(window.amplified(errors), dtype=float) == pytest.approx(inverse @ np.arange(1, 9))
