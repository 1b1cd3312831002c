"""Figures of the language models: loss far beyond the training context, of passages read before, and their layers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osdn_theory.language.document import LanguageRow, LanguageSummary
from osdn_theory.plotting._style import GREY, curve_styles, legend_outside, new_figure


def language_figure(summary: LanguageSummary) -> Figure:
    """Loss by position and of passages by how often they were read, means over seeds with 95 % intervals.

    The passages are the longest of those tested. Models without results are left out.
    """
    fig, (positions, passages) = new_figure(2, height=4.4)
    rows = [row for row in summary.rows if row.mean is not None]
    at = [row for row in rows if row.measure == "loss at"]
    read = [row for row in rows if row.measure == "passage loss"]
    longest = max((int(row.place.split()[0]) for row in read), default=0)
    read = [row for row in read if row.place.startswith(f"{longest} tokens")]
    names = [model for model in summary.models if any(row.model == model.name for row in at)]
    for model, style in zip(names, curve_styles(len(names)), strict=True):
        _draw(positions, [row for row in at if row.model == model.name], _middle, model.label, style)
        _draw(passages, [row for row in read if row.model == model.name], _reading, model.label, style)
    positions.axvline(summary.sizes["context"], color=GREY, linewidth=1)
    positions.annotate(
        "training context", (summary.sizes["context"], 1), xycoords=("data", "axes fraction"), fontsize="small",
        color=GREY, xytext=(3, -10), textcoords="offset points",
    )  # fmt: skip
    positions.set(xlabel="position in the document, tokens", ylabel="loss, nats per token")
    passages.set(xlabel=f"times that {longest} tokens were read before", ylabel="loss, nats per token")
    passages.set_xticks(sorted({_reading(row) for row in read}))
    if names:
        legend_outside(positions)
    return fig


LAYERS = {
    "token residual ratio": "q, geometric mean, passage read twice",
    "alignment far out": "mean of a from 3 to 4 contexts",
    "growth of the state": "log10 of growth of |S|, 1 to 4 contexts",
}
"""Of the measures that there are of each layer, those that are drawn."""


def language_layers(summary: LanguageSummary) -> Figure:
    """What the layers do, from the first to the last: what writes leave (T3), forgetting (T13), growth (T27)."""
    fig, panels = new_figure(len(LAYERS), height=4.4)
    rows = [row for row in summary.rows if row.mean is not None and row.place.startswith("layer")]
    names = [model for model in summary.models if any(row.model == model.name for row in rows)]
    for ax, (measure, label) in zip(panels, LAYERS.items(), strict=True):
        for model, style in zip(names, curve_styles(len(names)), strict=True):
            own = [row for row in rows if (row.model, row.measure) == (model.name, measure)]
            _draw(ax, sorted(own, key=_layer), _layer, model.label, style)
        ax.set(xlabel="layer", ylabel=label)
        ax.set_xticks(sorted({_layer(row) for row in rows if row.measure == measure}))
    if names:
        legend_outside(panels[0])
    return fig


def _layer(row: LanguageRow) -> int:
    return int(row.place.removeprefix("layer"))


def _draw(
    ax: Axes,
    rows: Sequence[LanguageRow],
    place: Callable[[LanguageRow], float],
    label: str,
    style: dict[str, Any],
) -> None:
    x = [place(row) for row in rows]
    means = np.array([row.value for row in rows])
    ends = np.array([row.ends or (row.value, row.value) for row in rows]).reshape(-1, 2)
    errors = np.abs(ends.T - means)
    ax.errorbar(x, means, yerr=errors, label=label, capsize=2, elinewidth=0.8, **style)


def _middle(row: LanguageRow) -> float:
    low, _, high = row.place.split()
    return (int(low) + int(high) + 1) / 2


def _reading(row: LanguageRow) -> int:
    return int(row.place.split()[3])
