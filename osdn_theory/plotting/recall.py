"""Figures of the in-context recall experiment, from its summary as `osdn_theory.recall.data.load` returns it.

Every bar is a 95 % interval.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
)

from osdn_theory.base.validation import Array, require
from osdn_theory.plotting._style import GREY, curve_styles, legend_outside, new_figure, percent
from osdn_theory.recall.data import BASELINE, count_seeds, labels, measured, overall
from osdn_theory.recall.document import CellRow, DistanceRow, Mean, OverallRow, RecallSummary
from osdn_theory.recall.statistics import FEWEST
from osdn_theory.recall.tables import MEASURES, RATIOS

Row = TypeVar("Row", CellRow, DistanceRow)

_READ = {1: "read once", 2: "read twice"}
_DODGE = 0.008
"""How far the curves are moved apart, in parts of the width of the axes, so that their intervals can be told apart."""


def recall_accuracy(summary: RecallSummary) -> tuple[Figure, list[Axes]]:
    """Accuracy against the number of pairs, one curve a model; key statistics are columns, readings rows.

    Points of one number of pairs are moved apart a little.

    Raises ValueError: if it holds no accuracies.
    """
    rows = measured(summary.accuracy)
    require(len(rows) > 0, "summary: expected accuracies, got none")
    statistics, repeats = _different(rows, "statistic"), sorted(_different(rows, "repeats"))
    fig, axes = new_figure(
        len(statistics), rows=len(repeats), width=2.4 * len(statistics) + 1.2, height=2.5 * len(repeats) + 1.4
    )
    panels = [(read, statistic) for read in repeats for statistic in statistics]
    for ax, (read, statistic) in zip(axes, panels, strict=True):
        inside = [row for row in rows if (row.repeats, row.statistic) == (read, statistic)]
        _draw_curves(ax, summary, inside, lambda row: row.pairs)
        _label_ticks(ax, sorted(_different(inside, "pairs")))
        ax.set_title(f"{statistic}, {_reading(read)}", fontsize="medium")
    _finish_curves(fig, axes, len(statistics), summary, "pairs in the context")
    return fig, axes


def recall_distance(summary: RecallSummary) -> tuple[Figure, list[Axes]]:
    """Accuracy against the tokens between the last write of a pair and its query, one panel a reading.

    A point stands in the geometric middle of its range, between the grid lines that are its ends.

    Raises ValueError: if it holds no accuracies by distance.
    """
    rows = measured(summary.distance)
    require(len(rows) > 0, "summary: expected accuracies by distance, got none")
    repeats = sorted(_different(rows, "repeats"))
    fig, axes = new_figure(len(repeats), width=3.6 * len(repeats) + 1.2, height=4.0)
    for ax, read in zip(axes, repeats, strict=True):
        inside = [row for row in rows if row.repeats == read]
        _draw_curves(ax, summary, inside, lambda row: math.sqrt(max(row.nearest, 1) * max(row.farthest, 1)))
        edges = sorted({max(end, 1) for row in inside for end in (row.nearest, row.farthest)})
        _label_ticks(ax, edges)
        ax.set_xlim(edges[0], edges[-1])
        ax.set_title(_reading(read), fontsize="medium")
    _finish_curves(fig, axes, len(repeats), summary, "tokens from the last write to the query")
    return fig, axes


def residual_ratios(summary: RecallSummary) -> tuple[Figure, list[Axes]]:
    """Token residual ratio and missing share of every model (T3), beside that of DeltaNet as a dashed line.

    Raises ValueError: if it holds neither ratio.
    """
    measures = _measures(summary, RATIOS)
    require(len(measures) > 0, "summary: expected residual ratios, got none")
    names = list(labels(summary))
    fig, axes = _model_panels(summary, names, len(measures))
    for ax, measure in zip(axes, measures, strict=True):
        entries = _by_model(summary, measure)
        _draw_models(ax, summary, names, entries, filled=set(entries))
        if BASELINE in entries:
            ax.axvline(entries[BASELINE].value, color=GREY, linestyle="--", linewidth=1.2)
        _widen_scale(ax, entries)
        ax.set(xlabel=MEASURES[measure])
    fig.suptitle(
        f"Residual ratios, {_intervals(summary)}; dashed: DeltaNet; lower: more of the residual is gone",
        fontsize="medium",
    )
    return fig, axes


def recall_differences(summary: RecallSummary) -> tuple[Figure, list[Axes]]:
    """Accuracy minus DeltaNet's, paired by seed: over everything, by reading and by key statistic.

    Filled markers are significant at 5 % by the paired t test, Holm-adjusted over the models; open ones are not.

    Raises ValueError: if nothing was compared with DeltaNet.
    """
    measures = _accuracy_measures(summary)
    require(len(measures) > 0, "summary: expected differences from DeltaNet, got none")
    columns = min(3, len(measures))
    names = [name for name in labels(summary) if name != BASELINE]
    fig, axes = _model_panels(summary, names, columns, math.ceil(len(measures) / columns))
    for ax, measure in zip(axes, measures, strict=False):
        entries = {
            name: row.difference
            for name, row in _by_model(summary, measure).items()
            if row.difference and row.difference.mean is not None
        }
        significant = {name for name, difference in entries.items() if difference.significant}
        _draw_models(ax, summary, names, entries, filled=significant)
        ax.axvline(0, color=GREY, linewidth=1.2)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value, 0).rstrip("%")))
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set(xlabel="points of accuracy")
        ax.set_title(_accuracy_title(measure), fontsize="medium")
    for ax in axes[len(measures) :]:
        ax.remove()
    del axes[len(measures) :]
    ends = np.array([ax.dataLim.intervalx for ax in axes])
    margin = 0.06 * np.ptp(ends) or 0.01  # all the same, as after a few steps
    for ax in axes:
        ax.set_xlim(ends.min() - margin, ends.max() + margin)
    tested = "" if len(summary.seeds) < FEWEST else "; filled: significant at 5 % (Holm)"
    fig.suptitle(f"Accuracy minus DeltaNet's, {_intervals(summary)}{tested}", fontsize="medium")
    return fig, axes


FIGURES: Mapping[str, Callable[[RecallSummary], tuple[Figure, list[Axes]]]] = {
    "accuracy": recall_accuracy,
    "residual-ratios": residual_ratios,
    "differences": recall_differences,
    "distance": recall_distance,
}
"""Every figure by the name of its file."""


def recall_figures(summary: RecallSummary) -> dict[str, Figure]:
    """Every figure that the summary has numbers for, by the name of its file; of an incomplete one maybe none."""
    numbers: dict[str, Sequence[Any]] = {
        "accuracy": measured(summary.accuracy),
        "residual-ratios": _measures(summary, RATIOS),
        "differences": _accuracy_measures(summary),
        "distance": measured(summary.distance),
    }
    return {name: draw(summary)[0] for name, draw in FIGURES.items() if numbers[name]}


def _draw_curves(
    ax: Axes, summary: RecallSummary, rows: Sequence[Row], place: Callable[[Row], float]
) -> None:
    names = list(labels(summary))
    places = sorted({place(row) for row in rows})
    step = _DODGE * math.log(max(places, default=2) / min(places, default=1) or 2)
    for number, (name, style) in enumerate(zip(names, curve_styles(len(names)), strict=True)):
        mine = sorted((row for row in rows if row.model == name), key=place)
        if mine:
            shift = math.exp((number - (len(names) - 1) / 2) * step)
            x = shift * np.array([place(row) for row in mine])
            mean = np.array([row.value for row in mine])
            ax.errorbar(
                x,
                mean,
                yerr=_reach(mine),
                label=_mathematical(labels(summary)[name]),
                elinewidth=1.0,
                capsize=2,
                **style,
            )
    ax.set_xscale("log")


def _label_ticks(ax: Axes, places: Sequence[float]) -> None:
    ax.xaxis.set_major_locator(FixedLocator(_apart(places)))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_locator(NullLocator())


def _finish_curves(
    fig: Figure, axes: Sequence[Axes], columns: int, summary: RecallSummary, across: str
) -> None:
    low = min(ax.dataLim.y0 for ax in axes)
    high = max(ax.dataLim.y1 for ax in axes)
    # Too narrow above for another tick: no accuracy is over 100 %.
    margin = max(0.07 * (high - low), 0.004)
    for place, ax in enumerate(axes):
        ax.set_ylim(max(low - margin, -margin), min(high, 1.0) + margin)
        ax.yaxis.set_major_formatter(FuncFormatter(percent))
        if place >= len(axes) - columns:
            ax.set_xlabel(across)
        if place % columns == 0:
            ax.set_ylabel("accuracy")
    fig.suptitle(f"In-context recall, {_intervals(summary)}", fontsize="medium")
    fullest = max(axes, key=lambda ax: len(ax.get_legend_handles_labels()[1]))
    legend_outside(fullest, columns=max(2, columns))


def _model_panels(
    summary: RecallSummary, names: Sequence[str], columns: int, rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """Panels with a line for each of these models, the first on top; their names stand at the left only."""
    fig, axes = new_figure(
        columns, rows=rows, width=2.0 * columns + 2.4, height=rows * (0.36 * len(names) + 1.3)
    )
    for place, ax in enumerate(axes):
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_yticks(range(len(names)), [_mathematical(labels(summary)[name]) for name in names])
        ax.tick_params(axis="y", length=0, labelleft=place % columns == 0)
        ax.grid(visible=False, axis="y")
    return fig, axes


def _draw_models(
    ax: Axes, summary: RecallSummary, names: Sequence[str], entries: Mapping[str, Mean], filled: set[str]
) -> None:
    """A point and its interval for each entry, on the line of its model."""
    everyone = list(labels(summary))
    styles = dict(zip(everyone, curve_styles(len(everyone)), strict=True))
    for name, entry in entries.items():
        style = {**styles[name], "linestyle": "none", "markersize": 7}
        if name not in filled:
            style["markerfacecolor"] = "white"
        ax.errorbar([entry.value], [names.index(name)], xerr=_reach([entry]), capsize=3, **style)


def _widen_scale(ax: Axes, entries: Mapping[str, Mean]) -> None:
    """A logarithmic axis where the ratios differ by more than a factor of five."""
    means = [entry.value for entry in entries.values()]
    if min(means) > 0 and max(means) > 5 * min(means):
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(NullFormatter())


def _reach(rows: Iterable[Mean]) -> Array:
    """How far an interval reaches below and above its mean, (2, points); NaN, which is not drawn, without one."""
    none = (math.nan, math.nan)
    return np.array([np.abs(np.subtract(row.ends or none, row.value)) for row in rows]).T


def _apart(places: Sequence[float]) -> list[float]:
    """The places that can be labelled on a logarithmic axis without running into each other."""
    if len(places) < 2:
        return list(places)
    least = math.log(places[-1] / places[0]) / 10
    kept: list[float] = []
    for place in places:
        if not kept or math.log(place / kept[-1]) > least:
            kept.append(place)
    return kept


def _by_model(summary: RecallSummary, measure: str) -> dict[str, OverallRow]:
    found = {name: overall(summary, name, measure) for name in labels(summary)}
    return {name: entry for name, entry in found.items() if entry is not None}


def _measures(summary: RecallSummary, among: Iterable[str]) -> list[str]:
    return [name for name in among if _by_model(summary, name)]


def _accuracy_measures(summary: RecallSummary) -> list[str]:
    """The measures of accuracy in which some model was compared with DeltaNet: overall, readings, key statistics."""
    rows = [row for row in summary.overall if row.difference and row.difference.mean is not None]
    found = dict.fromkeys(row.measure for row in rows if row.measure.startswith("accuracy"))
    first = ("accuracy", "accuracy_once", "accuracy_twice")
    return sorted(found, key=lambda name: first.index(name) if name in first else len(first))


def _accuracy_title(measure: str) -> str:
    part = measure.removeprefix("accuracy").removeprefix("_")
    return {"": "everything", "once": "read once", "twice": "read twice"}.get(part, f"{part} keys")


def _different(rows: Sequence[Row], name: str) -> list[Any]:
    return list(dict.fromkeys(getattr(row, name) for row in rows))


def _intervals(summary: RecallSummary) -> str:
    return f"{count_seeds(summary)}, {'no' if len(summary.seeds) < 2 else '95 %'} intervals"


def _reading(repeats: int) -> str:
    return _READ.get(repeats, f"read {repeats} times")


def _mathematical(label: str) -> str:
    """``eta`` and ``d_1`` as mathematics, its subscript included where it is a character of its own."""
    plain = label.replace("$", r"\$")
    return re.sub(r"\bd(_1|₁)(?!\w)", "$d_1$", re.sub(r"\beta\b", r"$\\eta$", plain))
