"""Gradients that are off by a known part of what is allowed, and alternatives that explain a known part of an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.crosscheck.exercises import exercise

from osdn_theory.crosscheck.evidence.comparison import per_token
from osdn_theory.crosscheck.gradients.check import GradedGradients
from osdn_theory.crosscheck.gradients.explanations import (
    GradientAlternative,
    GradientExplanation,
    explain_gradients,
    gradient_power,
)

ALLOWED = {"float32": 5e-5, "float16": 1e-2, "bfloat16": 5e-2}
DECAYING = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""As stated in the documentation: not read from the code under test."""


def exact() -> np.ndarray:
    """Of one argument, (1, 1, T, K): its largest token has norm 2."""
    found = np.random.default_rng(0).uniform(0.5, 1.0, (1, 1, 5, 3))
    norms = per_token(found)
    found[0, 0, 2] *= 2.0 / norms[0, 0, 2]
    return found


def gradients(
    recurrence: str = "osdn", dtype: str = "float32", off: float = 0.0, **others: np.ndarray
) -> GradedGradients:
    """The gradient in k off by so much of what is allowed at its first token; others as given."""
    right = exact()
    allowed = (DECAYING if recurrence == "gated_delta_net" else ALLOWED)[dtype] * 2.0
    found = right.copy()
    found[0, 0, 0, 1] += off * allowed
    case = exercise("from nothing", recurrence, dtype)
    named = {name: exact() for name in others}
    return GradedGradients(case, {"k": found, **others}, {"k": right, **named}, ("o",))


@pytest.mark.parametrize("dtype", ALLOWED)
@pytest.mark.parametrize("recurrence", ["osdn", "gated_delta_net"])
def test_a_part_of_the_largest_token_is_allowed(recurrence: str, dtype: str) -> None:
    for off, within in ((0.95, True), (1.05, False)):
        (found,) = gradients(recurrence, dtype, off).compared()
        assert found.within == within
        assert found.worst_error == pytest.approx(
            off * (DECAYING if recurrence == "gated_delta_net" else ALLOWED)[dtype], rel=1e-6
        )


def other(name: str = "another", **moved: Any) -> GradientAlternative:
    return GradientAlternative(name, f"{name}?", {each: np.asarray(values) for each, values in moved.items()})


def told(found: GradedGradients, *alternatives: GradientAlternative) -> list[GradientExplanation]:
    return explain_gradients(found, alternatives)


def bumped(size: float, token: int = 0) -> np.ndarray:
    """Moved by so many times what is allowed."""
    found = exact()
    found[0, 0, token, 1] += size * 1e-4
    return found


def test_power_is_counted_in_what_is_allowed() -> None:
    found = gradients()
    assert gradient_power(found, [other(k=bumped(3.0))])["another"] == pytest.approx(3.0)


def test_what_is_inside_is_not_explained() -> None:
    assert told(gradients(off=0.9), other(k=bumped(0.9))) == []


@pytest.mark.parametrize(("near", "explains"), [(29.1, True), (28.9, False)])
def test_an_explanation_leaves_what_is_allowed_and_no_more(near: float, explains: bool) -> None:
    (found,) = told(gradients(off=30.0), other(k=bumped(near)))
    assert found.explains == explains


@pytest.mark.parametrize(("near", "count"), [(16.0, 1), (14.0, 0)])
def test_one_that_leaves_half_of_the_error_is_not_near(near: float, count: int) -> None:
    assert len(told(gradients(off=30.0), other(k=bumped(near)))) == count


def test_an_alternative_that_changes_what_is_right_is_none() -> None:
    found = gradients(off=30.0, v=exact())
    assert told(found, other(k=bumped(30.0), v=bumped(5.0))) == []
    # Unless it is as close as rounding to what was found.
    found = gradients(off=30.0, v=bumped(0.9))
    (explained,) = told(found, other(k=bumped(30.0), v=bumped(1.5)))
    assert explained.explains
    assert explained.inputs == ("k",)


@pytest.mark.parametrize(("off", "count"), [(0.9, 1), (1.5, 0)])
def test_a_factor_is_told_where_it_leaves_what_is_allowed(off: float, count: int) -> None:
    found = gradients()
    halved = 0.5 * exact()
    halved[0, 0, 0, 1] += off * 1e-4
    multiple = told(GradedGradients(found.case, {"k": halved}, {"k": exact()}, ("o",)))
    assert [each.name for each in multiple] == ["k: a multiple"] * count


def test_what_a_wider_explanation_covers_is_not_told_again() -> None:
    found = gradients(off=30.0, v=bumped(30.0))
    both, one = other("both", k=bumped(30.0), v=bumped(30.0)), other("one", k=bumped(30.0), v=exact())
    assert [each.name for each in told(found, one, both)] == ["both"]


def test_no_number_is_infinitely_far() -> None:
    spoilt = exact()
    spoilt[0, 0, 3, 0] = np.nan
    found = GradedGradients(gradients().case, {"k": spoilt}, {"k": exact()}, ("o",))
    assert [item.within for item in found.compared()] == [False]
    assert told(found, other(k=bumped(30.0))) == []
    assert gradient_power(found, [other(k=spoilt)])["another"] == np.inf
