"""The two figures that sum up a verification: what the theory promises, and how much room its bounds leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osdn_theory.base.validation import Array, require
from osdn_theory.plotting._style import BLUE, GREY, RED, curve_styles, new_figure, power_ticks

if TYPE_CHECKING:
    from osdn_theory.verification.digest import Digest

WIDTH = 4.8
"""Inches: the figures stand beside a table, and fill a phone."""


def contraction(products: Mapping[str, Array], bound: Array) -> tuple[Figure, Axes]:
    r"""log10 of the product of residual ratios over tokens, one curve each, with T6's bound :math:`t\log_{10}(C/t)`.

    - `products`: mapping from label to (T,) array
    - `bound` (T,) array

    Raises ValueError: if there is nothing to draw.
    """
    require(len(products) > 0, "products: expected at least one curve")
    tokens = np.arange(1, bound.size + 1)
    fig, (ax,) = new_figure(width=WIDTH, height=2.7)
    for (label, curve), style in zip(products.items(), curve_styles(len(products)), strict=True):
        ax.plot(tokens, curve, label=label, **{**style, "marker": ""})
    ax.plot(tokens, bound, color="black", linestyle=":", linewidth=2, label="bound of T6")
    ax.set(xlabel="token $t$", ylabel=r"$\log_{10}$ of the product")
    ax.legend(frameon=False, loc="lower left")
    return fig, ax


def smallest_slack(found: Digest) -> tuple[Figure, Axes]:
    r"""The smallest slack :math:`\log_{10}(\mathrm{right}/\mathrm{left})` of every theorem on every stream.

    A left side of 0, whose slack is infinite, is drawn at the right edge; below 0 a bound is violated.

    Raises ValueError: if no check has a slack.
    """
    slacks = {
        theorem.name: [
            cell.log10_slack
            for (name, _), cell in found.cells.items()
            if name == theorem.name and cell.log10_slack is not None
        ]
        for theorem in found.theorems
    }
    rows = {name: np.array(values) for name, values in slacks.items() if values}
    require(len(rows) > 0, "found: expected a check with a slack")
    everything = np.concatenate(list(rows.values()))
    edge = 10.0 ** np.ceil(
        np.log10(max(10.0, float(np.max(everything, where=np.isfinite(everything), initial=0))))
    )
    fig, (ax,) = new_figure(width=WIDTH, height=0.9 + 0.23 * len(rows))
    for row, values in enumerate(rows.values()):
        shown = np.minimum(values, edge)
        style: dict[str, Any] = {"linestyle": "none", "clip_on": False, "color": BLUE, "markersize": 5}
        ax.plot(shown, np.full(shown.size, row), marker="o", alpha=0.5, **style)
        ax.plot(
            shown.min(), row, marker="|", markeredgewidth=2.5, **{**style, "color": "black", "markersize": 12}
        )
        below = shown[shown < 0]
        # An empty line that is not clipped widens the picture.
        if below.size:
            ax.plot(below, np.full(below.size, row), marker="X", **{**style, "color": RED, "markersize": 9})
    ax.set_xscale("symlog", linthresh=1.0)
    ax.set_xlim(min(-0.1, 1.1 * float(everything.min())), edge)
    ax.set_xticks(*power_ticks(edge))
    ax.minorticks_off()
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_xlabel(r"slack, $\log_{10}$(right side / left side)")
    return fig, ax
