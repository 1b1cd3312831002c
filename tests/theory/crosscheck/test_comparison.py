"""The numbers of a comparison, the copies of a grid, and the walk through configurations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from support.crosscheck.cases import FAST, REFERENCE, interpolating
from support.crosscheck.faulty_kernels import correct, faulty

from osdn_theory.crosscheck import crosscheck, crosscheck_configurations
from osdn_theory.crosscheck.evidence.comparison import ULP_LABELS, compare, ulp_histogram
from osdn_theory.crosscheck.evidence.limits import Limit
from osdn_theory.crosscheck.evidence.observation import farthest_copy

ONES = np.ones((1, 2, 3, 4))


def compared(found: np.ndarray, bound: float, entries: float | None = None) -> Any:
    limit = Limit(
        np.full((1, 2, 3), bound), None if entries is None else np.full(ONES.shape, entries), "test"
    )
    return compare("o", "test", found, ONES, tokens=np.arange(1, 4), dtype="float32", limit=limit)


def test_errors_are_placed() -> None:
    found = ONES.copy()
    found[0, 1, 2, 0] += 0.25
    result = compared(found, bound=0.1)
    assert result.worst_error == pytest.approx(0.125)
    assert result.worst_head == (0, 1)
    assert result.first_outside == 3
    assert not result.within
    assert compared(found, bound=0.3).within
    assert compared(found, bound=0.3, entries=0.2).first_outside == 3


def test_nan_is_infinitely_wrong_and_no_bound_allows_it() -> None:
    found = ONES.copy()
    found[0, 0, 1, 1] = np.nan
    result = compared(found, bound=1e6)
    assert result.worst_error == np.inf
    assert result.first_outside == 2
    assert result.ulps["not finite"] == 1


def test_a_bound_that_is_no_number_allows_nothing() -> None:
    assert not compared(ONES * (1 + 1e-9), bound=np.nan).within
    assert compared(ONES, bound=np.nan).within


def test_ulps_are_those_of_the_exact_value() -> None:
    exact = np.array([1.0, 2.0, 1.0, 0.0, 1.0, 1.0])
    ulp = 2.0**-23
    apart = np.array([0.0, 2 * ulp, 0.5 * ulp, 2.0**-149, 3 * ulp, np.inf])
    counts = ulp_histogram(apart, exact, "float32")
    assert list(counts) == list(ULP_LABELS)
    assert counts == {
        **dict.fromkeys(ULP_LABELS, 0),
        "0": 1,
        "<= 1/2": 1,
        "<= 1": 2,
        "<= 4": 1,
        "not finite": 1,
    }
    assert ulp_histogram(np.array([2.0**-7]), np.array([1.0]), "bfloat16")["<= 1"] == 1


def test_of_copies_the_farthest_is_taken_number_by_number() -> None:
    first = np.zeros((2, 3))
    second, third = first.copy(), first.copy()
    second[0, 1] = 1.0
    third[0, 1], third[1, 2] = -2.0, np.nan
    picked = farthest_copy(np.concatenate([first, second, third]), 3)
    expected = np.zeros((2, 3))
    expected[0, 1], expected[1, 2] = -2.0, np.nan
    np.testing.assert_array_equal(picked, expected)


def only_large_grids(
    q: Any, k: Any, v: Any, beta: Any, scale: Any = None, eta: float = 0.0, **rest: Any
) -> Any:
    """A kernel that is wrong in its second copy of the batch alone."""
    o, *others = correct(q, k, v, beta, scale=scale, eta=eta, output_final_state=True)
    if o.shape[0] > 1:
        o[1] *= 1.01
    return o, *others


def test_a_fault_on_a_large_grid_is_seen() -> None:
    stream = interpolating(24)
    assert crosscheck(only_large_grids, stream, FAST, device="cpu").within
    assert not crosscheck(only_large_grids, stream, FAST, device="cpu", copies=3).within
    with pytest.raises(ValueError, match="copies"):
        crosscheck(correct, stream, FAST, device="cpu", copies=0)


CONFIGURATION = {"warps": 1}


def configured(q: Any, k: Any, v: Any, beta: Any, scale: Any = None, eta: float = 0.0, **rest: Any) -> Any:
    """A kernel whose second configuration is miscompiled, as real ones were."""
    kernel = correct if CONFIGURATION["warps"] != 2 else faulty("calibrates too early")
    return kernel(q, k, v, beta, scale=scale, eta=eta, output_final_state=True)


def walk(look: Callable[[], Any]) -> Iterator[tuple[str, Any]]:
    for warps in (1, 2, 4):
        CONFIGURATION["warps"] = warps
        yield f"{warps} warps", look()
    CONFIGURATION["warps"] = 1


def test_every_configuration_is_checked_and_the_wrong_one_named() -> None:
    stream = interpolating(24)
    results = list(
        crosscheck_configurations(
            configured, stream, FAST, device="cpu", hook=walk, copies=(1, 2), reference=REFERENCE
        )
    )
    assert [result.configuration for result in results] == [
        f"{warps} warps; batch x {count}" for count in (1, 2) for warps in (1, 2, 4)
    ]
    wrong = [result.configuration for result in results if result.exit_code == 1]
    assert wrong == ["2 warps; batch x 1", "2 warps; batch x 2"]
    assert {symptom.name for result in results for symptom in result.symptoms} == {"calibrates too early"}
    assert any(item.name == "grad k" for item in results[0].comparisons)


def test_a_package_without_a_hook_is_refused() -> None:
    with pytest.raises(ValueError, match="registers no"):
        next(crosscheck_configurations(configured, interpolating(8), FAST, device="cpu"))
