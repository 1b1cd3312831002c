"""Figures of time scales show the numbers they were given, and refuse what they cannot show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from numpy.testing import assert_allclose, assert_array_equal

from osdn_theory import plotting
from osdn_theory.measures.calibration_times import CalibrationTimes, calibration_times
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC
from osdn_theory.streams.synthetic import isotropic


def curve(ax: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    (line,) = [line for line in ax.lines if str(line.get_label()).startswith(label)]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def times(values: list[list[float]], length: int = 10) -> CalibrationTimes:
    array = np.array(values)
    return CalibrationTimes(eigenvalues=1 / array, rates=1 / array, times=array, length=length)


def test_spectrum_is_the_median_over_heads_fastest_first() -> None:
    _, ax = plotting.calibration_spectrum({"a": times([[40.0, 2.0], [20.0, 4.0], [30.0, 9.0]])})
    x, y = curve(ax, "a")
    assert_array_equal(x, [1, 2])
    assert_array_equal(y, [4.0, 30.0])
    assert "1 of 2 directions" in str(ax.lines[0].get_label())
    _, line = curve(ax, "context length, 10 tokens")
    assert_array_equal(line, [10, 10])
    assert ax.get_yscale() == "log"


def test_band_spans_all_heads() -> None:
    _, ax = plotting.calibration_spectrum({"a": times([[2.0, 40.0], [4.0, 20.0]])})
    (band,) = ax.collections
    (path,) = band.get_paths()
    assert {tuple(map(float, vertex)) for vertex in path.vertices} >= {(1, 2), (1, 4), (2, 20), (2, 40)}


def test_spectrum_leaves_out_directions_that_never_move() -> None:
    _, ax = plotting.calibration_spectrum({"a": times([[2.0, np.inf]])})
    assert_array_equal(curve(ax, "a")[1], [2.0, np.nan])


def test_spectrum_of_real_times_scales_with_the_step() -> None:
    stream = isotropic(np.random.default_rng(0), length=50, key_dim=6)
    _, ax = plotting.calibration_spectrum(
        {"slow": calibration_times(stream, BOUNDED), "fast": calibration_times(stream, HISTORIC)}
    )
    assert_allclose(curve(ax, "slow")[1], curve(ax, "fast")[1] / BOUNDED.eta)


def test_spectrum_refuses_nothing_and_mixed_lengths() -> None:
    with pytest.raises(ValueError, match="times: expected at least one"):
        plotting.calibration_spectrum({})
    with pytest.raises(ValueError, match=r"one context length, got \[3, 5\]"):
        plotting.calibration_spectrum({"a": times([[1.0]], 3), "b": times([[1.0]], 5)})


def test_alignment_is_averaged_over_whole_windows() -> None:
    _, ax = plotting.alignment_over_time({"a": np.arange(7.0)}, window=3, expected=0.5, title="seen")
    x, y = curve(ax, "a")
    assert_array_equal(x, [2, 5])
    assert_array_equal(y, [1, 4])
    assert_array_equal(curve(ax, "expected: 0.5")[1], [0.5, 0.5])
    assert "mean of 3" in ax.get_ylabel()
    assert ax.get_title() == "seen"


def test_alignment_without_a_window_is_token_by_token() -> None:
    _, ax = plotting.alignment_over_time({"a": np.array([0.2, 0.4]), "b": np.ones(2)})
    x, y = curve(ax, "a")
    assert_array_equal(x, [1, 2])
    assert_array_equal(y, [0.2, 0.4])
    assert "mean" not in ax.get_ylabel()


def test_calibration_loss_is_half_the_squared_gap_on_a_logarithmic_axis() -> None:
    _, ax = plotting.calibration_loss({"a": np.array([0.0, 2.0, 0.5, 0.5, 9.0])}, window=2, title="seen")
    x, y = curve(ax, "a")
    assert_array_equal(x, [1.5, 3.5])
    assert_array_equal(y, [0.5, 0.125])
    assert ax.get_yscale() == "log"
    assert "mean of 2" in ax.get_ylabel()
    assert ax.get_title() == "seen"


@pytest.mark.parametrize("draw", [plotting.alignment_over_time, plotting.calibration_loss])
@pytest.mark.parametrize(
    ("curves", "window", "message"),
    [
        ({}, 1, "at least one curve"),
        ({"a": np.ones(2), "b": np.ones(3)}, 1, "one length"),
        ({"a": np.ones((2, 2))}, 1, "one length"),
        ({"a": np.ones(2)}, 3, "window: expected 1 to 2"),
        ({"a": np.ones(2)}, 0, "window: expected 1 to 2"),
        ({"a": np.array([1.0, np.nan])}, 1, "alignments"),
    ],
)
def test_curves_over_time_are_refused(
    draw: Callable[..., object], curves: dict[str, np.ndarray], window: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        draw(curves, window=window)


def test_table_is_markdown_with_rounded_floats() -> None:
    table = plotting.Table(
        ["what", "n"], [["a|b", 1.23456789], [True, 7], [np.False_.item(), np.float64(2e-9)]]
    )
    assert table._repr_markdown_() == repr(table)
    assert repr(table).splitlines() == [
        "| what | n |",
        "| --- | --- |",
        r"| a\|b | 1.235 |",
        "| yes | 7 |",
        "| no | 2e-09 |",
    ]


def test_table_refuses_a_row_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="rows: expected 2 cells, got 1"):
        plotting.Table(["a", "b"], [["x"]])
