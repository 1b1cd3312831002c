"""Intervals, paired tests and Holm's adjustment against SciPy and by hand, and what has no answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from osdn_theory.recall.comparisons import compared
from osdn_theory.recall.document import Compared, PairedDifference
from osdn_theory.recall.statistics import holm_adjusted, paired_test, t_interval

X = np.array([0.61, 0.58, 0.66, 0.60, 0.63])
Y = np.array([0.60, 0.55, 0.61, 0.61, 0.58])


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_intervals_are_scipys(level: float) -> None:
    got = t_interval(X, level=level)
    low, high = stats.t.interval(1 - level, df=4, loc=X.mean(), scale=stats.sem(X))
    np.testing.assert_allclose([got.mean, got.low, got.high], [X.mean(), low, high], rtol=1e-12)


def test_a_paired_test_is_scipys() -> None:
    got, expected = paired_test(X, Y), stats.ttest_rel(X, Y)
    assert got.p == pytest.approx(expected.pvalue, rel=1e-10)
    low, high = expected.confidence_interval(0.95)
    np.testing.assert_allclose(
        [got.difference.mean, got.difference.low, got.difference.high], [(X - Y).mean(), low, high]
    )


def test_pairing_matters() -> None:
    assert paired_test(X, Y[::-1]).p != pytest.approx(paired_test(X, Y).p)
    assert paired_test(X, Y[::-1]).difference.mean == pytest.approx(paired_test(X, Y).difference.mean)


def test_one_value_has_a_mean_and_nothing_more() -> None:
    assert vars(t_interval([0.5])) == {"mean": 0.5, "low": None, "high": None}
    alone = paired_test([0.75], [0.5])
    assert (alone.difference.mean, alone.difference.low, alone.p) == (0.25, None, None)


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_differences_without_spread_have_no_p(shift: float) -> None:
    # 0.1 is not exact: the five differences differ in their last bits, which would make p about 1e-60.
    got = paired_test(Y + shift, Y)
    assert got.p is None
    assert got.difference.mean == got.difference.low == got.difference.high == pytest.approx(shift)
    assert paired_test(Y + shift + 1e-12 * np.arange(5), Y).p is not None


@pytest.mark.parametrize("values", [[0.1, np.nan], [0.1, np.inf], [], [[0.1, 0.2]]])
def test_what_is_not_a_sample_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"^values: expected"):
        t_interval(values)


def test_samples_of_unequal_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^reference: expected 5 numbers"):
        paired_test(X, Y[:4])


def test_holm_by_hand() -> None:
    # 3 * 0.01; then 2 * 0.02 = 0.04; then 0.03, raised to the one before.
    assert holm_adjusted([0.02, None, 0.01, 0.03]) == pytest.approx([0.04, None, 0.03, 0.04], nan_ok=False)
    assert holm_adjusted([0.6, 0.7]) == [1.0, 1.0]
    assert holm_adjusted([]) == []


@pytest.mark.parametrize("p", [np.nan, -0.1, 1.5])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"^p_values"):
        holm_adjusted([0.5, p])


def difference(row: Compared) -> PairedDifference:
    assert row.difference is not None
    return row.difference


def test_differences_are_of_the_seeds_that_both_have() -> None:
    values = {0: 0.6, 1: 0.7, 2: 0.9, 7: 0.1}
    reference = {2: 0.8, 1: 0.65, 0: 0.5, 9: 0.9}
    row = compared({"a": values}, {"a": reference})["a"]
    expected = stats.ttest_rel([0.6, 0.7, 0.9], [0.5, 0.65, 0.8])
    assert difference(row).p == pytest.approx(expected.pvalue)
    assert row.mean == pytest.approx(np.mean([0.6, 0.7, 0.9, 0.1]))


def test_all_differences_given_together_are_one_family() -> None:
    reference = dict(enumerate(Y))
    series = {"a": dict(enumerate(X)), "b": dict(enumerate(X[::-1])), "c": reference}
    rows = compared(series, {"a": reference, "b": reference})
    p = [difference(rows[name]).p for name in "ab"]
    assert [difference(rows[name]).p_adjusted for name in "ab"] == holm_adjusted(p)
    assert rows["c"].difference is None


def test_a_number_that_is_not_finite_is_nobodys_mean() -> None:
    row = compared({"a": {0: np.nan, 1: 0.5}}, {"a": {0: 0.5, 1: 0.5}})["a"]
    assert row.mean is None
    assert difference(row).p is None
    assert not difference(row).significant
