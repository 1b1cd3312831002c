"""When a fault is named, and when it would be seen: on questions whose answers are moved by known amounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from support.crosscheck.alternatives import adapter_of, keys_of
from support.crosscheck.exercises import exercise

from osdn_theory.crosscheck.alternatives import agreement as module
from osdn_theory.crosscheck.alternatives.agreement import BoundedRun, Shown
from osdn_theory.crosscheck.alternatives.fault import Alternative, switch
from osdn_theory.crosscheck.alternatives.naming import Explanation, explain
from osdn_theory.crosscheck.alternatives.power import Reach, power, summarise
from osdn_theory.crosscheck.alternatives.table import ALTERNATIVES, BY_KEY
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.evidence.limits import Limit, limits, models_of
from osdn_theory.crosscheck.examination.exercises.question import Answer, Question
from osdn_theory.crosscheck.kernel.calling import Returned, ask

ADAPTER = adapter_of("delta_net")


@cache
def posed() -> tuple[Case, BoundedRun]:
    case = exercise("from nothing", "delta_net")
    exact = case.exact()
    return case, (exact, limits(ADAPTER, case, exact, models_of(ADAPTER, "float32")))


def explained(returned: Returned, rows: Sequence[Alternative] = ALTERNATIVES) -> tuple[Explanation, ...]:
    case, known = posed()
    question = Question("one", "", frozenset(), (case,))
    return explain(ADAPTER, [question], [[Answer(case, returned)]], [[known]], rows)


def faulty(key: str) -> Returned:
    return ask(adapter_of("delta_net", key), posed()[0], "cpu")


def test_a_right_answer_has_no_explanation() -> None:
    assert explained(ask(ADAPTER, posed()[0], "cpu")) == ()


@pytest.mark.parametrize(("beyond", "agrees"), [(0.5, True), (200.0, False)])
def test_rounding_may_leave_a_few_bounds_and_no_more(beyond: float, agrees: bool) -> None:
    """Of a fault that is large; 200 bounds are still a small part of it."""
    found = faulty("beta ignored")
    _, (exact, bounds) = posed()
    assert found.outputs is not None
    moved = found.outputs.copy()
    moved[0, 1, 20, 3] += beyond * bounds.outputs.norm[0, 1, 20]
    assert beyond * bounds.outputs.norm[0, 1, 20] < 0.05 * np.abs(found.outputs - exact.outputs).max()
    told = explained(replace(found, outputs=moved))
    assert [each.agrees for each in told if each.faults[0].key == "beta ignored"] == [agrees]


def test_a_fault_that_leaves_most_of_the_error_explains_nothing() -> None:
    """Outputs a few bounds off at one token: a row that changes nothing there is as near as rounding, and no cause."""
    _, (exact, bounds) = posed()
    moved = exact.outputs.copy()
    moved[0, 1, 20, 3] += 2.0 * bounds.outputs.norm[0, 1, 20]
    told = explained(Returned(moved, exact.final_state))
    assert told
    assert not any(each.agrees for each in told)
    assert len(told) == 3


def test_of_two_that_agree_the_far_less_exact_one_is_left_out() -> None:
    near, far = (Alternative(name, "", name, {"": switch()}) for name in ("near", "far"))
    made = [
        Explanation((one.fault,), ("",), True, excess, 0.0)
        for one, excess in ((near, 0.1), (far, 0.25), (far, 0.35))
    ]
    from osdn_theory.crosscheck.alternatives.naming import _equals

    assert [each.excess for each in _equals(made)] == [0.1, 0.25]


def test_of_variants_the_one_that_fits_is_named() -> None:
    row = BY_KEY["clips once per chunk"]
    assert len(row.variants) > 1
    adapter, case = adapter_of("osdn", row.key), exercise("everything at once")
    exact = case.exact()
    known = (exact, limits(adapter, case, exact, models_of(adapter, "float32")))
    question = Question("one", "", frozenset(), (case,))
    found = explain(adapter, [question], [[Answer(case, ask(adapter, case, "cpu"))]], [[known]], [row])
    assert [each.agrees for each in found] == [True]
    assert "16" in found[0].labels[0]
    backwards = replace(row, variants=dict(reversed(list(row.variants.items()))))
    again = explain(adapter, [question], [[Answer(case, ask(adapter, case, "cpu"))]], [[known]], [backwards])
    assert again[0].labels == found[0].labels


def test_a_row_that_is_exact_is_not_excused_by_its_own_rounding() -> None:
    """A tenth of the error is left, far beyond rounding: the row comes near, and is not what happened."""
    _, (exact, _) = posed()
    found = faulty("beta ignored")
    assert found.outputs is not None
    assert found.state is not None
    pairs = ((exact.outputs, found.outputs), (exact.final_state, found.state))
    close = Returned(*(right + 0.9 * (wrong - right) for right, wrong in pairs))
    told = explained(close, [BY_KEY["beta ignored"]])
    assert [each.agrees for each in told] == [False]
    assert told[0].left == pytest.approx(1 / 9, rel=0.2)


# Agreement


def seen(found: Any, exact: Any, bound: float, relative: float = 0.0) -> module.Seen:
    """One quantity of one head, tokens of one entry."""
    values, right = (np.array(x, dtype=np.float64)[None, None, :, None] for x in (found, exact))
    limit = Limit(np.full(values.shape[:3], bound), None, "")
    outside = bool(np.any(np.abs(values - right) > bound))
    return module.Seen(Shown("o", right, limit), values, np.full((1, 1, 1), relative), outside)


def told(*values: float) -> np.ndarray:
    return np.array(values)[None, None, :, None]


def test_four_bounds_are_allowed_or_as_much_of_what_was_computed_so_far() -> None:
    assert seen([1.0], [0.0], 0.25).apart(told(0.0)).item() == pytest.approx(1.0)
    assert seen([1.0], [0.0], 0.5).apart(told(0.0)).item() == pytest.approx(0.5)
    # The largest so far is 10, of which a hundredth is allowed four times.
    found = seen([10.0, 1.0], [0.0, 0.0], 1e-9, relative=0.01)
    np.testing.assert_allclose(found.apart(told(10.0, 0.6))[0, 0], [0.0, 1.0])
    assert seen([0.0], [0.0], 0.0).apart(told(0.0)).item() == 0.0
    assert seen([1.0], [0.0], np.inf).apart(told(5.0)).item() == 0.0


def test_what_is_left_of_an_error_and_what_is_new() -> None:
    assert seen([1.0], [0.0], 0.1).left(told(0.75)) == pytest.approx(0.25)
    assert seen([1.0], [0.0], 0.1).left(told(-5.0)) == 1.0
    assert seen([0.0], [0.0], 0.1).left(told(0.39)) == 0.0
    assert seen([0.0], [0.0], 0.1).left(told(0.41)) == 1.0


def test_infinities_agree_with_infinities_alone() -> None:
    inf = np.inf
    assert seen([inf], [0.0], 0.1).apart(told(np.nan)).item() == 0.0
    assert seen([inf], [0.0], 0.1).apart(told(1.0)).item() == inf
    assert seen([1.0], [0.0], 0.1).apart(told(inf)).item() == inf


def test_something_is_allowed_where_the_right_result_needs_no_rounding() -> None:
    """A state handed through exactly: its bound is zero, and another recurrence rounds all the same."""
    case, (exact, bounds) = posed()
    free = replace(bounds, outputs=Limit(np.zeros_like(bounds.outputs.norm), None, ""))
    question = Question("one", "", frozenset(), (case,))
    answer = Answer(case, Returned(exact.outputs, exact.final_state))
    heard = module.hear(question, [answer], [(exact, free)])
    (one, *_) = heard.seen[0]
    np.testing.assert_array_equal(one.relative, np.full_like(one.relative, 1e-6))
    size = np.linalg.norm(exact.outputs, axis=-1)
    moved = exact.outputs * (1 + 3.9e-6)
    assert one.apart(moved)[size > 0].max() <= 1
    assert one.apart(exact.outputs * (1 + 5e-6))[0, 0, 0] > 1


@pytest.mark.parametrize(("part", "outside"), [(0.99, False), (1.01, True)])
def test_an_answer_beyond_its_bound_is_outside(part: float, outside: bool) -> None:
    case, (exact, bounds) = posed()
    moved = exact.outputs.copy()
    entries = bounds.outputs.entries
    assert entries is not None
    moved[0, 1, 20, 3] += part * min(entries[0, 1, 20, 3], bounds.outputs.norm[0, 1, 20])
    question = Question("one", "", frozenset(), (case,))
    heard = module.hear(question, [Answer(case, Returned(moved, exact.final_state))], [(exact, bounds)])
    assert heard.outside == outside


# Power


def test_more_than_two_bounds_are_visible() -> None:
    row = BY_KEY["beta ignored"]
    assert not Reach(row.fault, 2.0, "x").seen
    assert Reach(row.fault, 2.000001, "x").seen


def test_power_is_that_of_the_best_exercise_and_of_the_most_visible_variant() -> None:
    row = BY_KEY["beta ignored"]
    found = summarise(ADAPTER, {"a": {row.key: 3.0}, "b": {row.key: 7.0}, "c": {row.key: 1.0}}, [row])
    (reach,) = found.reaches
    assert (reach.excess, reach.exercise) == (7.0, "b")
    (nothing,) = summarise(ADAPTER, {"a": {row.key: 1e-9}}, [row]).reaches
    assert nothing.exercise == ""
    case, known = posed()
    question = Question("one", "", frozenset(), (case,))
    both = replace(row, variants={"nothing": switch(), **row.variants})
    assert power(ADAPTER, question, [known], ("o",), [both])[row.key] > 100


def test_a_fault_that_a_kernel_cannot_have_is_not_counted() -> None:
    bare = replace(ADAPTER, parameters=ADAPTER.parameters - {"initial_state"})
    found = summarise(bare, {})
    assert len(found.possible) < len(found.reaches)
    assert all(reach.obstacle is None for reach in found.possible)


def test_where_the_exact_value_overflows_nothing_can_be_told() -> None:
    case, (exact, bounds) = posed()
    outputs = exact.outputs.copy()
    outputs[0, 0, 5] = np.inf
    question = Question("one", "", frozenset(), (case,))
    row = Alternative("nothing", "", "", {"": switch()})
    assert (
        power(ADAPTER, question, [(replace(exact, outputs=outputs), bounds)], ("o",), [row])["nothing"] < 1e-6
    )


def test_names_are_keys() -> None:
    assert keys_of(explained(faulty("beta ignored"))) == ["beta ignored"]
