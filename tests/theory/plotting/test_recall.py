"""Figures of the recall experiment show every model with the intervals of the summary, and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from numpy.testing import assert_allclose
from support.report.recall_summaries import MODELS, PAIRS, STATISTICS, recall_summary

from osdn_theory import plotting
from osdn_theory.base.documents import convert
from osdn_theory.plotting.recall import FIGURES
from osdn_theory.recall.document import RecallSummary
from osdn_theory.recall.tables import MEASURES, RATIOS


def read(summary: dict[str, Any]) -> RecallSummary:
    return convert(summary, RecallSummary)


def bars(ax: Axes) -> list[ErrorbarContainer]:
    return [each for each in ax.containers if isinstance(each, ErrorbarContainer)]


def ends(bar: ErrorbarContainer, along: int) -> np.ndarray:
    """Lower and upper ends of the intervals of a curve, (points, 2)."""
    (lines,) = bar.lines[2]
    return np.array([sorted(segment[:, along]) for segment in lines.get_segments()])


def intervals(bar: ErrorbarContainer) -> int:
    """How many intervals of a curve are drawn."""
    (lines,) = bar.lines[2]
    return sum(segment.size > 0 and bool(np.isfinite(segment).all()) for segment in lines.get_segments())


def rows(summary: dict[str, Any], part: str, **where: Any) -> list[dict[str, Any]]:
    return [row for row in summary[part] if all(row[name] == value for name, value in where.items())]


def legend(ax: Axes) -> list[str]:
    fig = ax.get_figure(root=True)
    assert fig is not None
    (found,) = fig.legends
    return [text.get_text() for text in found.get_texts()]


def title(ax: Axes) -> str:
    fig = ax.get_figure(root=True)
    assert fig is not None
    return fig.get_suptitle()


def test_accuracy_has_a_panel_for_each_statistic_and_reading_and_a_curve_for_each_model() -> None:
    summary = recall_summary()
    _, axes = plotting.recall_accuracy(read(summary))
    wanted = [f"{name}, read {times}" for times in ("once", "twice") for name in STATISTICS]
    assert [ax.get_title() for ax in axes] == wanted
    assert all(len(bars(ax)) == len(MODELS) for ax in axes)
    assert all(intervals(bar) == len(PAIRS) for ax in axes for bar in bars(ax))
    assert len(legend(axes[0])) == len(MODELS)
    assert r"OSDN ($\eta$ 1, learned $d_1$)" in legend(axes[0])
    assert [ax.get_xlabel() for ax in axes] == [""] * 3 + ["pairs in the context"] * 3
    assert [ax.get_ylabel() for ax in axes] == ["accuracy", "", ""] * 2
    assert title(axes[0]) == "In-context recall, 5 seeds, 95 % intervals"


def test_accuracy_draws_the_means_and_the_ends_of_the_summary() -> None:
    summary = recall_summary()
    _, axes = plotting.recall_accuracy(read(summary))
    for number, model in enumerate(MODELS):
        wanted = rows(summary, "accuracy", model=model, statistic="anisotropic", repeats=2)
        bar = bars(axes[4])[number]
        assert_allclose(bar.lines[0].get_ydata(), [row["mean"] for row in wanted])
        assert_allclose(ends(bar, 1), [[row["low"], row["high"]] for row in wanted])
        assert_allclose(bar.lines[0].get_xdata(), PAIRS, rtol=0.08)


def test_an_interval_that_grows_is_drawn_longer() -> None:
    summary = recall_summary()
    cell = rows(summary, "accuracy", model="osdn", statistic="isotropic", repeats=1)[0]
    cell.update(low=0.1, high=0.99)
    _, axes = plotting.recall_accuracy(read(summary))
    assert_allclose(ends(bars(axes[0])[1], 1)[0], [0.1, 0.99])
    assert axes[0].get_ylim()[0] < 0.1


def test_no_tick_stands_over_a_hundred_percent() -> None:
    summary = recall_summary()
    for row in (*rows(summary, "accuracy"), *rows(summary, "distance")):
        row.update({name: 1 - (1 - row[name]) / 8 for name in ("mean", "low", "high")})
    for draw in (plotting.recall_accuracy, plotting.recall_distance):
        fig, axes = draw(read(summary))
        fig.draw_without_rendering()
        for ax in axes:
            low, high = ax.get_ylim()
            assert max(tick for tick in ax.get_yticks() if low <= tick <= high) <= 1


def test_models_differ_in_colour_in_dash_and_in_marker() -> None:
    _, axes = plotting.recall_accuracy(read(recall_summary()))
    lines = [bar.lines[0] for bar in bars(axes[0])]
    assert len({to_hex(line.get_color()) for line in lines}) == len(MODELS)
    assert len({line.get_marker() for line in lines}) == len(MODELS)
    assert len({str(line._dash_pattern) for line in lines}) == len(MODELS)


def test_a_model_looks_the_same_in_every_figure() -> None:
    summary = recall_summary()
    curves = [bar.lines[0] for bar in bars(plotting.recall_accuracy(read(summary))[1][0])]
    points = [bar.lines[0] for bar in bars(plotting.recall_differences(read(summary))[1][0])]
    for curve, point in zip(curves[1:], points, strict=True):
        assert (curve.get_color(), curve.get_marker()) == (point.get_color(), point.get_marker())


def test_residual_ratios_stand_on_the_line_of_their_model_beside_deltanet() -> None:
    summary = recall_summary()
    _, axes = plotting.residual_ratios(read(summary))
    assert [ax.get_xlabel() for ax in axes] == [MEASURES[name] for name in RATIOS]
    for ax, measure in zip(axes, RATIOS, strict=True):
        for place, model in enumerate(MODELS):
            (row,) = rows(summary, "overall", model=model, measure=measure)
            point = bars(ax)[place].lines[0]
            assert_allclose((point.get_xdata()[0], point.get_ydata()[0]), (row["mean"], place))
            assert_allclose(ends(bars(ax)[place], 0), [[row["low"], row["high"]]])
        (base,) = rows(summary, "overall", model="deltanet", measure=measure)
        assert any(list(line.get_xdata()) == [base["mean"]] * 2 for line in ax.lines)
    assert axes[0].get_yticklabels()[0].get_text() == "DeltaNet (d = 1)"
    assert axes[0].get_ylim()[0] > axes[0].get_ylim()[1]


def test_ratios_of_different_sizes_get_a_logarithmic_axis() -> None:
    summary = recall_summary()
    assert plotting.residual_ratios(read(summary))[1][0].get_xscale() == "linear"
    rows(summary, "overall", model="osdn", measure="token_residual_ratio")[0].update(
        mean=1e-4, low=5e-5, high=2e-4
    )
    assert plotting.residual_ratios(read(summary))[1][0].get_xscale() == "log"


def test_differences_show_the_significant_filled_beside_zero_on_one_scale() -> None:
    summary = recall_summary()
    _, axes = plotting.recall_differences(read(summary))
    titles = ["everything", "read once", "read twice", *(f"{name} keys" for name in STATISTICS)]
    assert [ax.get_title() for ax in axes] == titles
    assert len({ax.get_xlim() for ax in axes}) == 1
    others = [model for model in MODELS if model != "deltanet"]
    for place, model in enumerate(others):
        (row,) = rows(summary, "overall", model=model, measure="accuracy")
        bar = bars(axes[0])[place]
        difference = row["difference"]
        assert_allclose(ends(bar, 0), [[difference["low"], difference["high"]]])
        assert (bar.lines[0].get_markerfacecolor() == "white") is not difference["significant"]
    assert any(list(line.get_xdata()) == [0, 0] for line in axes[0].lines)
    assert title(axes[0]).endswith("filled: significant at 5 % (Holm)")


def test_two_seeds_are_not_said_to_be_tested_and_no_difference_at_all_has_a_scale() -> None:
    summary = recall_summary(seeds=2)
    for row in rows(summary, "overall"):
        if row["difference"]:
            row["difference"].update(mean=0.0, low=0.0, high=0.0, p=None, p_adjusted=None)
    with warnings.catch_warnings(action="error"):
        _, axes = plotting.recall_differences(read(summary))
    assert "filled" not in title(axes[0])
    assert np.ptp(axes[0].get_xlim()) > 0


def test_distance_has_a_point_in_each_range() -> None:
    summary = recall_summary()
    _, axes = plotting.recall_distance(read(summary))
    assert [ax.get_title() for ax in axes] == ["read once", "read twice"]
    wanted = rows(summary, "distance", model="osdn", repeats=1)
    bar = bars(axes[0])[1]
    assert_allclose(ends(bar, 1), [[row["low"], row["high"]] for row in wanted])
    for row, x in zip(wanted, bar.lines[0].get_xdata(), strict=True):
        assert row["nearest"] < x < row["farthest"]


def test_one_seed_has_points_and_no_intervals() -> None:
    summary = recall_summary(seeds=1)
    for name, draw in FIGURES.items():
        _, axes = draw(read(summary))
        assert all(intervals(bar) == 0 for ax in axes for bar in bars(ax)), name
        assert "1 seed, no intervals" in title(axes[0])
    for bar in bars(plotting.recall_differences(read(summary))[1][0]):
        assert bar.lines[0].get_markerfacecolor() == "white"


def test_an_incomplete_summary_shows_what_there_is() -> None:
    nothing = {"mean": None, "low": None, "high": None, "difference": None}
    summary = recall_summary(models=("deltanet", "osdn"), distance=[])
    for row in (*rows(summary, "overall", model="osdn"), *rows(summary, "accuracy", model="osdn")):
        row.update(nothing)
    assert list(plotting.recall_figures(read(summary))) == ["accuracy", "residual-ratios"]
    _, axes = plotting.recall_accuracy(read(summary))
    assert legend(axes[0]) == ["DeltaNet (d = 1)"]
    empty = recall_summary(accuracy=[], overall=[], distance=[])
    assert plotting.recall_figures(read(empty)) == {}
    assert list(plotting.recall_figures(read(recall_summary()))) == list(FIGURES)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (plotting.recall_accuracy, "expected accuracies, got none"),
        (plotting.recall_distance, "expected accuracies by distance, got none"),
        (plotting.residual_ratios, "expected residual ratios, got none"),
        (plotting.recall_differences, "expected differences from DeltaNet, got none"),
    ],
)
def test_nothing_to_draw_is_refused(draw: Callable[..., Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        draw(read(recall_summary(accuracy=[], overall=[], distance=[])))


def test_a_dollar_in_a_label_is_text() -> None:
    summary = recall_summary()
    summary["models"][0]["label"] = "costs $5 or $6"
    fig, _ = plotting.recall_accuracy(read(summary))
    fig.draw_without_rendering()
