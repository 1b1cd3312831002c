"""Figure of the language models: loss far beyond the training context, and of passages that were read before."""

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
