"""At the edges of what the bounds take: no exception, no verdict left open, and what each edge says."""

from __future__ import annotations

import warnings
from dataclasses import replace

import flint
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from support.bound_cases import one
from support.edge_streams import DENORMAL, edge_runs

from osdn_theory.bounds import BoundCheck, check_bounds, context_checks
from osdn_theory.bounds.check import decide
from osdn_theory.bounds.numbers import Balls, ball
from osdn_theory.bounds.statements import regret
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.synthetic import ill_conditioned

SETTINGS = {"deadline": None, "suppress_health_check": [HealthCheck.filter_too_much, HealthCheck.too_slow]}


def settled(run: Trajectory) -> None:
    """Every bound that applies is proved to hold, and nothing is warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checks = check_bounds(run)
    open_ = [check for check in checks if check.outcome in ("undecided", "violated")]
    assert not open_, [(check.theorem, check.title, check.outcome, check.reason) for check in open_]


def run_of(
    keys: list[list[float]], rule: CalibrationRule, d1: float = 1.5, keys_of: int = 0, **fields: object
) -> Trajectory:
    """Values are twice the sum of the key, unless given; `keys_of` features where there is no key."""
    k = np.array(keys, dtype=float).reshape(len(keys), -1 if keys else keys_of)
    given_fields = {"values": 2 * k.sum(-1, keepdims=True), "comparator": np.ones(k.shape[1])} | fields
    stream = Stream(keys=k, **given_fields)  # type: ignore[arg-type]
    with np.errstate(over="ignore"):
        return osdn(stream, rule, initial_preconditioner=np.full(k.shape[1], d1))


def found(run: Trajectory, theorem: str, title: str = "") -> BoundCheck:
    return one(check_bounds(run, [theorem]), theorem, title)


WIDE = CalibrationRule(eta=1.0, d_min=0.0, d_max=3.0)
HOLDS_EMPTY = "holds, vacuously"
FACE = CalibrationRule(eta=0.5, d_min=0.5, d_max=1.5)

EDGES = {
    "no token": run_of([], WIDE, keys_of=1),
    "one token": run_of([[0.6, 0.8]], WIDE),
    "K = V = 1": run_of([[1.0], [0.5], [-1.0]], WIDE),
    "keys of zero": run_of([[0.0, 0.0]] * 3, WIDE),
    "denormal keys": run_of([[DENORMAL, 1e-160]] * 3, WIDE),
    "a constant key": run_of([[0.6, 0.8]] * 4, WIDE),
    "orthogonal values": run_of([[1.0], [1.0]], WIDE, values=np.array([[1.0], [-1.0]])),
    "a box of one point": run_of([[1.0, 0.5]] * 3, CalibrationRule(eta=0.5, d_min=1.0, d_max=1.0), d1=1.0),
    "a step at its limit": run_of([[1.0], [0.5]], CalibrationRule(eta=2.0, d_min=0.0, d_max=3.0)),
    "a step below its limit": run_of([[1.0], [1.0]], CalibrationRule(eta=2 - 2.0**-52, d_min=-9, d_max=9.0)),
    "d_1 on the upper face": run_of([[1.0, 0.5]] * 2, FACE),
    "d_1 on the lower face": run_of([[1.0, 0.5]] * 2, FACE, d1=0.5),
    "a denormal key at last": run_of(
        [[0.0], [DENORMAL]],
        replace(FACE, eta=0.0, forgetting=0.5, anchor=0.0),
        d1=1.0,
        beta=np.array([0.0, 1.0]),
        values=np.full((2, 2), DENORMAL),
    ),
    "sizes whose squares cancel in balls": run_of(
        [[0.5, 0.5, 0.0], [1e-30, 0.0, 1.0], [1e-108, 1e75, 1.0]], replace(FACE, eta=0.0)
    ),
    "a context of condition 1e1294": run_of(
        [[1.0, DENORMAL, DENORMAL, 1.0], [DENORMAL] * 4, [DENORMAL, 1.0, 1.0, 1.0]],
        WIDE,
        values=np.array([[1.0], [-1.0], [1.0]]),
    ),
    "huge": run_of([[1e75, 1e70]] * 2, CalibrationRule(eta=1e-300, d_min=0.0, d_max=3.0)),
    "beta = 0": run_of([[1.0], [0.5]], WIDE, beta=0.0),
    "beta = 2": run_of([[1.0], [0.5]], WIDE, beta=2.0),
}


@pytest.mark.parametrize("edge", EDGES)
def test_every_bound_is_decided_at_each_named_edge(edge: str) -> None:
    settled(EDGES[edge])


def test_a_key_of_zero_has_no_resting_point_unless_something_is_forgotten() -> None:
    still = found(run_of([[0.0]] * 3, WIDE), "T13", "Bias")
    assert still.reason == "needs gamma < 1 or a feature other than zero"
    aware = replace(WIDE, beta_aware=True)
    assert found(run_of([[1.0]] * 3, aware, beta=0.0), "T13", "Bias").reason == still.reason
    assert found(run_of([[0.0]] * 3, replace(WIDE, forgetting=0.5)), "T13", "Bias").outcome == HOLDS_EMPTY


def test_attained_products_are_decided_between_rationals(monkeypatch: pytest.MonkeyPatch) -> None:
    """q_1 = C = 1/4: no enclosure of logarithms can tell."""
    run = run_of([[1.0]], WIDE)
    assert [found(run, name, "").outcome for name in ("T6",)] == ["holds"]
    assert found(run, "T7", "Product").outcome == "holds"
    whole = regret.interpolating_constant
    monkeypatch.setattr(regret, "interpolating_constant", lambda e: whole(e) * (1 - e.field.of(2.0**-1000)))
    assert found(run, "T6").outcome == "violated"
    monkeypatch.setattr(regret, "interpolating_constant", lambda e: whole(e) * (1 + e.field.of(2.0**-1000)))
    assert found(run, "T6").outcome == "holds"


def test_regret_from_the_comparator_is_exact() -> None:
    """B^2 = 5 is all there is: X = 4 B^2 / mu^2 has no root to enclose."""
    run = run_of([[DENORMAL]] * 5, CalibrationRule(eta=1.0, d_min=0.0, d_max=4.0), comparator=None)
    assert found(run, "T20", "Quadratic").outcome == "holds, vacuously"


@pytest.mark.parametrize("power", [-600, -300, 300, 500])
def test_contexts_are_the_same_at_every_scale(power: int) -> None:
    stream = ill_conditioned(np.random.default_rng(3), length=6, key_dim=3, value_dim=2, condition=2.0)
    scaled = replace(stream, keys=np.ldexp(stream.keys, power), solution=None)
    for own, other in zip(context_checks(stream), context_checks(scaled), strict=True):
        assert own.outcome == other.outcome
        if own.lhs is not None and own.rhs is not None:
            assert other.lhs == pytest.approx(own.lhs, rel=1e-12)
            assert other.rhs == pytest.approx(own.rhs, rel=1e-6)


def test_a_context_with_nothing_to_learn_does_not_apply() -> None:
    twins = run_of([[1.0, 0.5], [1.0, 0.5], [0.0, 1.0]], WIDE, values=np.array([[1.0], [-1.0], [0.0]]))
    reasons = {check.reason for check in check_bounds(twins, ["T10"]) if "full" in check.rule}
    assert reasons == {"S_1 = 0 is already S*: the values are orthogonal to the keys"}
    zero = run_of([[0.0], [0.0]], WIDE, values=np.ones((2, 1)))
    assert {c.reason for c in check_bounds(zero, ["T10"])} == {"S_1 = 0 is already S*: every key is zero"}


def test_a_box_of_one_number_sets_no_other_speed() -> None:
    turning = np.eye(3)[np.arange(5) % 3].tolist()
    run = run_of(turning, CalibrationRule(eta=0.5, d_min=0.5, d_max=0.5), d1=0.5)
    check = found(run, "T25", "Speed")
    assert (check.outcome, check.log10_slack) == ("holds", 0.0)
    # Keys of twice the range: the eigenvalues are told apart all the same.
    far = run_of([[1e-150, 0.0], [0.0, 1.0]], CalibrationRule(eta=0.0, d_min=0.5, d_max=1.5))
    assert found(far, "T25", "Speed").outcome == "holds"


def test_keys_that_are_never_written_do_not_span() -> None:
    run = run_of([[1.0, 0.0], [0.0, 1.0]], WIDE, beta=np.array([1.0, 0.0]))
    assert found(run, "T25", "Speed").reason == "needs keys that span, got rank 1 of 2"


def test_numbers_beyond_float64_are_said_to_be_unknown() -> None:
    run = run_of([[1.0]], WIDE, values=np.array([[1e308]]))
    huge = replace(run, states=np.full((1, 1, 1), 1e308), residuals=np.full((1, 1), 1e308))
    huge = replace(huge, initial_state=np.array([[-1e308]]))
    told = [check for check in check_bounds(huge, ["float64"]) if check.title == "Residual of the solver"]
    assert [(check.outcome, check.reason) for check in told] == [
        ("holds, vacuously", "nothing was computed, or nothing is known of its rounding")
    ]


@pytest.mark.parametrize(("sign", "outcome"), [(-1, "holds"), (0, "holds"), (1, "violated")])
def test_products_too_near_for_their_logarithms_are_compared_themselves(sign: int, outcome: str) -> None:
    rate = flint.fmpq(1, 2)
    with Balls(128).working():
        factors = [rate * (1 + sign * flint.fmpq(1, 2**400)), rate]
        sides = regret.log_product(factors, 2 * ball(rate).log(), flint.arb(0), rate)
        assert decide(sides) == outcome


@settings(max_examples=100, derandomize=True, **SETTINGS)  # type: ignore[arg-type]
@given(edge_runs())
def test_every_bound_is_decided_at_every_edge(run: Trajectory) -> None:
    settled(run)


@pytest.mark.slow
@settings(max_examples=1000, derandomize=True, **SETTINGS)  # type: ignore[arg-type]
@given(edge_runs())
def test_every_bound_is_decided_at_many_more_edges(run: Trajectory) -> None:
    settled(run)
