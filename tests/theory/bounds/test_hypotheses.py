"""Every hypothesis at its last token, last coordinate, last value row, and on each face of what it allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.ceilings import largest_roots
from osdn_theory.bounds.facts import Facts, outside_box
from osdn_theory.bounds.numbers import Rationals
from osdn_theory.bounds.problem import problem
from osdn_theory.bounds.registry import BoundEvidence, Hypothesis
from osdn_theory.bounds.runs.exact import ExactRun
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream

ONES = np.ones((3, 2)) / 2


def evidence(
    keys: Any = ONES,
    *,
    d1: Any = 1.0,
    change: Callable[[Trajectory], Trajectory] = lambda run: run,
    rule: dict[str, Any] | None = None,
    **fields: Any,
) -> BoundEvidence:
    """Three keys (1/2, 1/2), values V = 2 by S* = ((1, 2), (3, 4)), in the box [0, 4] at eta = 1/2."""
    k, solution = np.asarray(keys, dtype=float), np.array([[1.0, 2.0], [3.0, 4.0]])[:, : np.shape(keys)[1]]
    stream = Stream(**({"keys": k, "values": k @ solution.T, "solution": solution} | fields))
    given = CalibrationRule(**({"eta": 0.5, "d_min": 0.0, "d_max": 4.0} | (rule or {})))
    run = change(osdn(stream, given, initial_preconditioner=np.broadcast_to(d1, k.shape[1:]).astype(float)))
    case = problem(run, ())
    return BoundEvidence(case, Facts(case), ExactRun(case, Rationals()))


def gates(*gamma: float) -> dict[str, Any]:
    return {"forget_gate": np.array(gamma), "rule": {"forgetting": "token"}}


def with_preconditioner(*index: int, value: float) -> dict[str, Any]:
    def change(run: Trajectory) -> Trajectory:
        d = np.array(run.preconditioner)
        d[index] = value
        return replace(run, preconditioner=d)

    return {"change": change}


def values_off(token: int, row: int) -> np.ndarray:
    values = ONES @ np.array([[1.0, 2.0], [3.0, 4.0]]).T
    values[token, row] = np.nextafter(values[token, row], 9)
    return values


EYE = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
ONE = np.ones((3, 1))
LONGER_LAST = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.5]]

MET: list[tuple[Hypothesis, dict[str, Any]]] = [
    (h.no_forgetting, gates(1, 1, 1)),
    (h.constant_forgetting, gates(0.5, 0.5, 0.5)),
    (h.step_below(2), {"keys": EYE, "rule": {"eta": 2 - 2.0**-52}}),
    (h.contracting_step, {"keys": EYE, "rule": {"eta": 2.0}}),
    (h.contracting_step, {"keys": EYE, "rule": {"eta": 1.0, "forgetting": 0.5}}),
    (h.comparator_fixed, {"comparator": np.ones(2)}),
    (h.comparator_in_box, {"comparator": np.array([0.0, 4.0])}),
    (h.bounded_box, {}),
    (h.nonnegative_beta, {"beta": np.array([1.0, 0.0, 0.0])}),
    (h.full_writes, {"beta": 1.0}),
    (h.starts_at_one, {}),
    (h.positive_preconditioner, {}),
    # d stays at 1, and 1 is a face of the box.
    (h.box_inactive, {"keys": EYE, "rule": {"d_min": 1.0}}),
    (h.box_inactive, {"keys": EYE, "rule": {"d_max": 1.0}}),
    (h.windows_bounded_by_eta, {"keys": EYE}),
    (h.pulled, {}),
    (h.pulled, {"keys": 0 * ONE, "rule": {"forgetting": 0.5}}),
    (h.unit_keys, {"keys": EYE}),
    (h.interpolating, {"keys": EYE, "comparator": np.ones(2)}),
    (h.interpolating, {"keys": [[1.0], [0.5], [2.0]], "comparator": np.array([[1.0], [4.0], [0.25]])}),
    (h.realisable, {}),
    (h.constant_key, {"beta": np.array([1.0, 1.0, 0.5])}),
]

FAILS: list[tuple[Hypothesis, dict[str, Any], str]] = [
    (h.no_forgetting, gates(1, 1, 0.5), "got 0.5"),
    (h.constant_forgetting, gates(0.5, 0.5, 0.25), "got 0.25 to 0.5"),
    (h.positive_step, {"rule": {"eta": 0.0}}, "needs eta > 0"),
    (h.step_below(2), {"rule": {"eta": 0.0}}, "needs eta > 0"),
    (h.step_below(2), {"keys": EYE, "rule": {"eta": 2.0}}, "2 against 2"),
    # 1.5^4 = 5.0625: M is that of the last token.
    (h.step_below(2), {"keys": LONGER_LAST, "rule": {"eta": 0.5}}, "2.531 against 2"),
    (h.contracting_step, {"keys": LONGER_LAST, "rule": {"eta": 0.5}}, "fails at token 3"),
    (h.contracting_step, {"keys": EYE} | gates(1, 1, 0.125), "fails at token 3"),
    (h.comparator_fixed, {"comparator": np.ones((3, 2))}, "moves"),
    (h.comparator_in_box, {"comparator": np.array([1.0, 4.5])}, "by 0.5"),
    (h.comparator_in_box, {"comparator": np.array([1.0, -0.25])}, "by 0.25"),
    (h.bounded_box, {"rule": {"d_min": -np.inf}}, "bounded box"),
    (h.bounded_box, {"rule": {"d_max": np.array([4.0, np.inf])}}, "bounded box"),
    (h.nonnegative_beta, {"beta": np.array([1.0, 1.0, -1.0])}, "got -1"),
    (h.full_writes, {"beta": np.array([1.0, 1.0, 0.5])}, "got 0.5 to 1"),
    (h.starts_at_one, {"d1": [1.0, 1.25]}, "off by 0.25"),
    (h.positive_preconditioner, with_preconditioner(0, 0, value=0.0), "got 0"),
    (h.positive_preconditioner, with_preconditioner(2, 0, value=-1.0), "got -1"),
    (h.positive_preconditioner, with_preconditioner(0, 1, value=-1.0), "got -1"),
    # From 1/2 with one feature of 1, d rises to 3/4, then to 7/8, then to 15/16; from 3/2 it falls.
    (h.box_inactive, {"keys": ONE, "d1": 0.5, "rule": {"d_max": 0.9}}, "clips after token 3"),
    (h.box_inactive, {"keys": ONE, "d1": 1.5, "rule": {"d_min": 1.1}}, "clips after token 3"),
    (h.pulled, {"keys": 0 * ONE}, "needs gamma < 1"),
    (h.pulled, {"beta": 0.0, "rule": {"beta_aware": True}}, "needs gamma < 1"),
    (h.unit_keys, {"keys": [[1.0], [1.0], [1 + 2.0**-52]]}, "at token 3"),
    (h.interpolating, {"keys": [[1.0], [1.0], [1 + 2.0**-52]], "comparator": np.ones(1)}, "at token 3"),
    (h.realisable, {"values": values_off(2, 0)}, "token 3, feature 1"),
    (h.realisable, {"values": values_off(0, 1)}, "token 1, feature 2"),
    (h.constant_key, {"keys": [[1.0, 0.0], [1.0, 0.0], [1.5, 0.0]]}, "same key"),
    (h.constant_key, {"keys": [[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]]}, "same key"),
    (
        h.constant_key,
        {"beta": np.array([1.0, 1.0, 0.5]), "rule": {"beta_aware": True}},
        "same key",
    ),
]


def ids(cases: list[Any]) -> list[str]:
    return [f"{case[0].__name__} {number}" for number, case in enumerate(cases)]


@pytest.mark.parametrize(("hypothesis", "case"), MET, ids=ids(MET))
def test_met_up_to_its_limit(hypothesis: Hypothesis, case: dict[str, Any]) -> None:
    assert hypothesis(evidence(**case)).status == "met"


@pytest.mark.parametrize(("hypothesis", "case", "reason"), FAILS, ids=ids(FAILS))
def test_fails_at_the_last_token_coordinate_or_row(
    hypothesis: Hypothesis, case: dict[str, Any], reason: str
) -> None:
    verdict = hypothesis(evidence(**case))
    assert verdict.status == "fails"
    assert reason in verdict.reason


@pytest.mark.parametrize("keys", [[[2.0], [1.0], [1.0]], [[1.0], [2.0], [1.0]], [[1.0], [1.0], [2.0]]])
def test_the_longest_feature_counts_wherever_it_stands(keys: list[list[float]]) -> None:
    assert h.largest_norm_sq(evidence(keys)) == 16


def test_a_box_ends_at_its_faces() -> None:
    low, high = np.array([0.0, 1.0]), np.array([1.0, 2.0])
    assert outside_box(low, low, high) == outside_box(high, low, high) == ""
    assert "by 0.5" in outside_box(np.array([0.0, 2.5]), low, high)
    assert "by 0.5" in outside_box(np.array([0.0, 0.5]), low, high)


def test_corners_of_the_first_token_reach_to_d_1() -> None:
    """Keys of 1 in the box [1, 2]: 1 - d is 0 to -1, but for d_1 = 1/2 or 3."""
    box = {"d_min": 1.0, "d_max": 2.0}
    for d1, first in ((0.5, [0.5, -1.0]), (3.0, [0.0, -2.0]), (1.5, [0.0, -1.0])):
        corners = evidence(ONE, d1=d1, rule=box).facts.corner_gaps
        assert corners is not None
        assert np.array(corners, dtype=float) == pytest.approx(np.array([first, [0, -1], [0, -1]]), abs=1e-12)
    assert evidence(ONE, rule={"d_max": np.inf}).facts.corner_gaps is None


def test_what_the_box_leaves_of_a_gated_write() -> None:
    e = evidence(ONE, rule={"d_min": 0.5, "d_max": 1.5})
    roots = largest_roots(e, [0.5, 1.0, 0.0])
    assert roots is not None
    assert [float(root) for root in roots] == pytest.approx([0.75, 0.5, 1.0], abs=1e-12)


def test_a_problem_has_the_rule_of_its_run() -> None:
    case = evidence(rule={"d_min": np.array([0.25, 0.5]), "anchor": 2.0, "forgetting": 0.5}).problem
    assert [each.tolist() for each in (case.lower, case.upper, case.anchor, case.initial)] == [
        [0.25, 0.5],
        [4.0, 4.0],
        [2.0, 2.0],
        [1.0, 1.0],
    ]
