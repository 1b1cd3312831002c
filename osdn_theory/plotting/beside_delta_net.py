"""Figures of OSDN beside DeltaNet: feedback of gated forms, recall, blindness, difference and growth (T17 to T27)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osdn_theory.base.validation import Array
from osdn_theory.plotting._style import BLUE, GREY, ORANGE, curve_styles, legend_outside, new_figure

if TYPE_CHECKING:
    from osdn_theory.measures.gated_feedback import FeedbackShares

LABELS = {"delta_net": "DeltaNet", "osdn": "OSDN", "static": "static $u$"}
MISSING = "missing share after the context"


def recall_by_reads(shares: Mapping[str, Array], reads: Sequence[int]) -> tuple[Figure, Axes]:
    """Missing share of pairs that do not overlap against how often each is read (T22).

    - `shares`: mapping from recurrence to (len(reads),) float64
    """
    fig, (ax,) = new_figure(height=3.8)
    for (name, share), style in zip(shares.items(), curve_styles(len(shares)), strict=True):
        ax.plot(reads, share, label=LABELS[name], **style)
    ax.set(yscale="log", xlabel="times that each pair is read", ylabel=MISSING, xticks=list(reads))
    legend_outside(ax)
    return fig, ax


def blindness(shares: Mapping[str, float]) -> tuple[Figure, Axes]:
    """Missing share of each way to write keys that overlap (T24).

    - `shares`: mapping from recurrence to float
    """
    fig, (ax,) = new_figure(height=2.6)
    names = [LABELS[name] for name in shares]
    bars = ax.barh(names, list(shares.values()), color=[ORANGE, BLUE, GREY][: len(names)])
    ax.bar_label(bars, fmt="%.3g", padding=4)
    ax.set(xlabel=MISSING)
    ax.margins(x=0.15)
    ax.invert_yaxis()
    return fig, ax


def difference_from_delta_net(pairs: Mapping[str, tuple[Array, Array]]) -> tuple[Figure, Axes]:
    """Relative difference of the states against the bound of T26 on it, a point for each head.

    - `pairs`: mapping from setting to (differences, bounds)
    """
    fig, (ax,) = new_figure(height=4.2)
    for (label, (apart, limit)), style in zip(pairs.items(), curve_styles(len(pairs)), strict=True):
        ax.plot(limit, apart, label=label, **{**style, "linestyle": "none"})
    ends = np.array(
        [min(limit.min() for _, limit in pairs.values()), max(limit.max() for _, limit in pairs.values())]
    )
    ax.plot(ends, ends, color=GREY, linestyle="--", linewidth=1.2, label="bound attained")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="bound of T26",
        ylabel=r"$\|S_T - S_T^{DeltaNet}\| / \|S_T^{DeltaNet}\|$",
    )
    legend_outside(ax)
    return fig, ax


def error_growth(log10_error: Array) -> tuple[Figure, Axes]:
    """The relative error of the state, token by token, where every write contracts its own metric (T27).

    - `log10_error` (T,) float64
    """
    fig, (ax,) = new_figure(height=3.6)
    ax.plot(np.arange(1, len(log10_error) + 1), log10_error, color=BLUE, linewidth=1.6)
    ax.set(xlabel="token $t$", ylabel=r"$\log_{10} \|S_t - S^*\| / \|S^*\|$")
    return fig, ax


FEEDBACKS = {"plain": "plain feedback", "aware": "beta-aware feedback"}


def gated_feedback(shares: FeedbackShares) -> tuple[Figure, list[Axes]]:
    r"""What writes leave of losses against the gated memory, and against the memory before its gate (T17).

    Left the product over the tokens, for every gate, with :math:`(1 - \beta)^{2t}`; right token by token, for two sets
    of values of the same keys.
    """
    fig, (ours, theirs) = new_figure(2, height=3.8)
    tokens = np.arange(1, shares.ungated.shape[1] + 1)
    for (name, curves), colour in zip(shares.gated.items(), (ORANGE, BLUE), strict=True):
        for gate, curve, mark in zip(shares.gates, curves, "osv", strict=False):
            place = (0, 8) if mark == "o" else (3, 8) if mark == "s" else (6, 8)
            label = f"{FEEDBACKS[name]}, gate {gate:g}"
            ours.plot(tokens, curve, color=colour, marker=mark, markevery=place, markersize=4, label=label)
    kept = 2 * np.log10(1 - shares.beta) * tokens
    ours.plot(tokens, kept, color=GREY, linestyle="--", linewidth=1.2, label=r"$(1 - \beta)^{2t}$")
    ours.set(xlabel="token $t$", ylabel=r"$\log_{10} \prod f_t(S_t) / f_t(\alpha S_{t-1})$")
    for curve, label, colour in zip(
        shares.ungated, ("values of one solution", "drawn values"), (BLUE, ORANGE), strict=True
    ):
        theirs.plot(tokens, curve, color=colour, linewidth=1.6, label=label)
    theirs.set(xlabel="token $t$", ylabel=r"$\log_{10} f_t(S_t) / f_t(S_{t-1})$")
    legend_outside(ours, theirs)
    return fig, [ours, theirs]
