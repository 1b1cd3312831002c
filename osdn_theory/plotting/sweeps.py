"""The figure of the scan by sweeps: how many it takes, by step, forgetting and kind of key (T29)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osdn_theory.base.validation import require
from osdn_theory.plotting._style import GREY, curve_styles, legend_outside, new_figure

if TYPE_CHECKING:
    from osdn_theory.measures.sweep_counts import SweepCount


def sweep_counts(counts: Sequence[SweepCount], *, most: int, title: str = "") -> tuple[Figure, list[Axes]]:
    """Sweeps against the step eta, one panel for each forgetting, one curve for each kind of key (T29).

    Scans that did not settle are drawn on the dashed line of the sweeps tried, without a connecting line.

    - `counts`: Of one box.
    - `most`: Sweeps tried.

    Raises ValueError: if there is nothing to draw, or the boxes differ.
    """
    require(len(counts) > 0, "counts: expected at least one")
    boxes = sorted({count.box for count in counts})
    require(len(boxes) == 1, f"counts: expected one box, got {', '.join(boxes)}")
    paces = list(dict.fromkeys(count.forgetting for count in counts))
    kinds = list(dict.fromkeys(count.keys for count in counts))
    fig, axes = new_figure(len(paces), height=3.9)
    for ax, pace in zip(axes, paces, strict=True):
        for kind, style in zip(kinds, curve_styles(len(kinds)), strict=True):
            points = sorted(
                (count.eta, np.nan if count.sweeps is None else count.sweeps)
                for count in counts
                if (count.keys, count.forgetting) == (kind, pace)
            )
            etas, sweeps = np.array(points).T
            ax.plot(etas, sweeps, label=kind, **style)
            unsettled = etas[np.isnan(sweeps)]
            ax.plot(unsettled, np.full(unsettled.size, most), **{**style, "linestyle": "none"})
        ax.axhline(most, color=GREY, linestyle="--", linewidth=1.2, label=f"not settled in {most}")
        ax.set(xscale="log", xlabel=r"step $\eta$", ylim=(0, most * 1.05))
        ax.set_title(f"forgetting: {pace}", fontsize="medium")
    axes[0].set_ylabel("sweeps")
    if title:
        fig.suptitle(title, fontsize="medium")
    legend_outside(axes[0], columns=3)
    return fig, axes
