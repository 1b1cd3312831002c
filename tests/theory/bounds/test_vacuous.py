"""Holding vacuously: every bound where it says something, and where it says no more than is known without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flint
import numpy as np
import pytest
from support.bound_cases import FAST, one, stream_of

from osdn_theory.bounds import BoundCheck, Sides, check_bounds, decide
from osdn_theory.bounds.registry import BOUNDS, conclude
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import gated_delta_net, osdn
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.exhibits import alternating
from osdn_theory.streams.stream import Stream

THEOREMS = {bound.title: bound.theorem for bound in BOUNDS} | {
    "Regret of full P against right-Newton": "T10",
    "Super-geometric decay, full P": "T10",
    "Calibrate step of the solver": "float64",
    "Alignment of the solver": "float64",
}
BALL, FRACTION, INF = flint.arb, flint.fmpq, flint.arb.pos_inf()


@pytest.mark.parametrize(
    ("sides", "outcome"),
    [
        (Sides(BALL(1), BALL(2), ceiling=BALL(3)), "holds"),
        (Sides(BALL(1), BALL(2), ceiling=BALL(2)), "holds, vacuously"),
        (Sides(BALL(1), BALL(4), ceiling=BALL(3)), "holds, vacuously"),
        # Not proved to say something: the enclosures of the right side and of what is known overlap.
        (Sides(BALL(1), BALL(2, 0.5), ceiling=BALL(2.5, 0.25)), "holds, vacuously"),
        (Sides(FRACTION(1, 3), FRACTION(1, 2), ceiling=FRACTION(2, 3)), "holds"),
        (Sides(FRACTION(1, 3), FRACTION(1, 2), ceiling=FRACTION(1, 2)), "holds, vacuously"),
        (Sides(BALL(0), BALL(0)), "holds, vacuously"),
        (Sides(BALL(0), BALL(1)), "holds"),
        (Sides(BALL(0), INF), "holds, vacuously"),
        (Sides(BALL(-3), BALL(0), is_log=True), "holds"),
        (Sides(BALL(-3), BALL(0), is_log=True, ceiling=BALL(0)), "holds, vacuously"),
        (Sides(-INF, -INF, is_log=True), "holds, vacuously"),
        (Sides(BALL(0), BALL(0), identity=True), "holds"),
        (Sides(BALL(0), BALL(0), identity=True, vacuous=True), "holds, vacuously"),
        # It never hides a violation or an open verdict.
        (Sides(BALL(3), BALL(2), ceiling=BALL(1)), "violated"),
        (Sides(BALL(1), BALL(1, 0.5), ceiling=BALL(1)), "undecided"),
        (Sides(BALL(1), BALL(2), identity=True, vacuous=True), "violated"),
    ],
)
def test_decide(sides: Sides, outcome: str) -> None:
    assert decide(sides) == outcome


def test_a_check_is_vacuous_only_where_every_pair_is() -> None:
    blank = BoundCheck("T0", "", "", "s", "r", (), "undecided")
    telling, empty = Sides(BALL(1), BALL(2), ceiling=BALL(9)), Sides(BALL(1), BALL(1.5), ceiling=BALL(1))
    both = conclude(blank, [empty, telling])
    assert (both.outcome, both.rhs) == ("holds", 2.0)
    none = conclude(blank, [empty, empty])
    assert (none.outcome, none.log10_slack, none.reason) == (
        "holds, vacuously",
        None,
        "known without it: at most 1",
    )
    assert conclude(blank, [Sides(BALL(0), BALL(0))]).reason == "nothing to tell apart"


@dataclass(frozen=True)
class Made:
    """A run on `keys` (T,) repeated over `width` features, told by what differs from the others."""

    keys: tuple[float, ...] = (1.0,)
    rule: dict[str, Any] = field(default_factory=dict)
    start: float = 1.5
    solution: float = 2.0
    beta: float = 1.0
    comparator: float | None = 1.0
    gate: float | None = None
    width: int = 1

    def check(self, title: str) -> BoundCheck:
        keys = np.repeat(np.array(self.keys)[:, None], self.width, axis=1)
        solution = np.full((1, self.width), self.solution)
        stream = Stream(
            keys=keys,
            values=keys @ solution.T,
            solution=solution,
            beta=self.beta,
            comparator=None if self.comparator is None else np.full(self.width, self.comparator),
            state_gate=None if self.gate is None else np.full(len(keys), self.gate),
        )
        rule = CalibrationRule(**({"eta": 1.0, "d_min": 0.0, "d_max": 3.0} | self.rule))
        solver = osdn if self.gate is None else gated_delta_net
        return check_of(solver(stream, rule, initial_preconditioner=np.full(self.width, self.start)), title)


@dataclass(frozen=True)
class Given:
    """A run on a stream that needs more than one number, from `start`."""

    stream: Stream
    start: Any
    rule: CalibrationRule

    def check(self, title: str) -> BoundCheck:
        return check_of(osdn(self.stream, self.rule, initial_preconditioner=np.array(self.start)), title)


def check_of(run: Trajectory, title: str) -> BoundCheck:
    return one(check_bounds(run, [THEOREMS[title]]), THEOREMS[title], title)


OPEN = {"d_min": -np.inf, "d_max": np.inf}
NARROW = {"d_min": 0.5, "d_max": 1.5}
POINT = {"d_min": 1.0, "d_max": 1.0}
HALF = {"eta": 0.5}
FADING = {"forgetting": 0.75, "anchor": 1.0, "eta": 0.5}
WRITTEN = Stream(keys=np.ones((1, 2)), values=np.ones((1, 1)), comparator=np.array([1.0, 0.0]))
FREE = CalibrationRule(eta=1.0, d_min=0.0, d_max=3.0)
TURNS = alternating()
WHOLE_STEP = CalibrationRule(eta=16.0, d_min=-np.inf, d_max=np.inf)

CASES = [
    # One key of 1, eta = 1 and u = 1: C = (d_1 - 1)^2, against T = 1 or what the box leaves of |1 - d|.
    ("Interpolating regret", Made(), [Made(start=2.25), Made(rule=NARROW), Made(start=1.0)]),
    ("Interpolating regret", Made(rule=OPEN), [Made(rule=OPEN, start=2.25), Made(rule=OPEN, start=2.0)]),
    ("Super-geometric convergence", Made(), [Made(start=2.25), Made(rule=NARROW), Made(start=1.0)]),
    ("Mean contraction, any gate", Made(beta=0.75), [Made(beta=0.0), Made(start=2.5), Made(rule=NARROW)]),
    ("Product contraction, any gate", Made(beta=0.75), [Made(beta=0.0), Made(start=2.5), Made(rule=NARROW)]),
    # At eta = 1/2 the right sides of T8 and T14 are 2 (d_1 - 1)^2, against 1/2.
    ("Agnostic regret", Made(rule=HALF, start=1.25), [Made(rule=HALF), Made(rule=HALF, start=1.0)]),
    ("Agnostic regret", Made(rule=HALF | OPEN, start=1.25), [Made(rule=HALF | OPEN)]),
    ("Tracking a moving comparator", Made(rule=HALF, start=1.25), [Made(rule=HALF)]),
    ("Stability under forgetting", Made(rule={"forgetting": 0.5}), [Made(), Made(rule=POINT, start=1.0)]),
    (
        "Bias for a constant key",
        Made((1.0, 1.0), rule=HALF),
        [Made(rule=HALF), Made((1.0, 1.0), rule=HALF, start=1.0)],
    ),
    (
        "Identity fixed point",
        Made(start=1.0),
        [Made(start=1.0, rule={"eta": 0.0}), Made(start=1.0, rule=POINT), Made((), start=1.0)],
    ),
    ("Residual identity", Made(), [Made(solution=0.0), Made((0.0,))]),
    ("Residual identity, gated state", Made(gate=0.5), [Made(gate=0.5, solution=0.0)]),
    ("Lyapunov identity", Made(), [Made(solution=0.0), Made(beta=0.0), Made((0.0,))]),
    (
        "Cost of the moving metric",
        Made((1.0, 1.0)),
        [Made(), Made((1.0, 1.0), start=1.0), Made((1.0, 1.0), solution=0.0)],
    ),
    ("Mean calibration step", Made(rule=HALF), [Made((0.0,), rule=HALF)]),
    ("Mean calibration step", Made((0.0,), rule={"eta": 0.5, "forgetting": 0.5}), []),
    ("First gains exact", Made(), [Made(start=1.0)]),
    ("Error after m sweeps", Made((0.5,) * 5), [Made((0.5,) * 5, start=4.0, rule=OPEN), Made()]),
    ("Super-geometric sweeps", Made((0.5,) * 5, rule=HALF), [Made((0.5,) * 8), Made()]),
    ("Certificate of a sweep", Made((0.5,) * 5), [Made((1.0,) * 5, rule=OPEN), Made()]),
    ("Regret of full P against right-Newton", Made(), []),
    ("Super-geometric decay, full P", Made(), []),
    # One feature of 1 with u = 1: X = C as above, and |d - 1|^2 <= 4 in the box.
    ("Quadratic regret", Made(), [Made(start=2.25), Made(rule=NARROW), Made(start=1.0)]),
    ("Super-geometric without interpolation", Made(), [Made(start=2.25), Made(rule=NARROW), Made(start=1.0)]),
    ("Distance from a comparator", Made(), [Made(rule=NARROW), Made(start=3.0), Made(start=1.0)]),
    (
        "Regret with forgetting",
        Made(rule=FADING),
        [Made(rule=FADING, start=2.75), Made(rule=FADING, start=1.0)],
    ),
    (
        "Super-geometric with forgetting",
        Made(rule=FADING),
        [Made(rule=FADING, start=2.75), Made(rule=FADING, start=1.0)],
    ),
    (
        "Distance from a comparator with forgetting",
        Made(rule=FADING),
        [Made(rule=FADING | POINT, start=1.0), Made(rule=FADING, start=1.0)],
    ),
    ("Recall of pairs that do not overlap", Made(), [Made(solution=0.0)]),
    ("At least DeltaNet's recall", Made((0.5,), start=1.0), [Made(start=1.0), Made(solution=0.0, start=1.0)]),
    ("Moves within the span", Made(rule=HALF | OPEN, width=2), [Made(rule=HALF), Made((0.0,), width=2)]),
    ("Pull towards the nearest interpolating preconditioner", Made(rule=HALF), [Made(start=1.0)]),
    ("Blind to overlap", Given(WRITTEN, [0.5, 0.5], FREE), [Given(WRITTEN, [1.0, 0.0], FREE)]),
    ("Mean energy after a write", Made(), [Made(solution=0.0)]),
    ("Speed limit of the box", Made(), [Made(rule={"d_max": 0.0}, start=0.0)]),
    ("Near DeltaNet", Made(), [Made(start=1.0), Made(beta=0.0)]),
    ("Growth of the error", Made((1.0, 1.0)), [Made((1.0, 1.0), solution=0.0)]),
    ("Growth of a difference, gated state", Made((1.0, 1.0), gate=0.5), [Made((1.0, 1.0), gate=0.0)]),
    ("Gates that contract the plain norm", Made(gate=0.5), []),
    (
        "Decay of two alternating features",
        Given(TURNS, TURNS.initial_preconditioner, WHOLE_STEP),
        [Given(TURNS, np.ones(17), WHOLE_STEP)],
    ),
    (
        "T6 within a constant factor a token",
        Given(TURNS, TURNS.initial_preconditioner, WHOLE_STEP),
        [Given(TURNS, np.ones(17), WHOLE_STEP)],
    ),
    ("Calibrate step of the solver", Made(), []),
    ("Alignment of the solver", Made(), [Made(())]),
]


@pytest.mark.parametrize(("title", "telling", "empty"), CASES, ids=[case[0] for case in CASES])
def test_each_bound_where_it_says_something_and_where_not(
    title: str, telling: Made | Given, empty: list[Made | Given]
) -> None:
    found = telling.check(title)
    assert found.outcome == "holds", found
    assert [(made, made.check(title).outcome) for made in empty] == [
        (made, "holds, vacuously") for made in empty
    ]
    assert all(made.check(title).reason for made in empty)


def test_every_registered_bound_is_in_the_table() -> None:
    assert {bound.title for bound in BOUNDS} <= {title for title, *_ in CASES}


def test_the_box_counts_for_the_first_token_as_well() -> None:
    # d_1 = 5 lies outside of a box that leaves nothing of |1 - d|: C = 16 is more than a ratio of 1 in the mean.
    far = Made((1.0,) * 32, start=5.0, rule=POINT)
    found = far.check("Interpolating regret")
    assert (found.outcome, found.lhs, found.rhs) == ("holds, vacuously", 16.0, 16.0)
    assert "at most 16" in found.reason


def test_contexts_of_a_bad_condition_say_nothing() -> None:
    checks = check_bounds(osdn(stream_of("isotropic"), FAST), ["T10"])
    full = one(checks, "T10", "decay, full P")
    assert (full.outcome, full.reason) == ("holds, vacuously", "known without it: at most 0")
    assert full.rhs is not None
    assert full.rhs > 0
