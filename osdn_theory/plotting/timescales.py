"""Figures of time: how long calibration takes in every direction, and how much each write removes as it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osdn_theory.base.validation import Array, as_float64, require
from osdn_theory.plotting._style import GREY, curve_styles, legend_outside, new_figure, sparse_markers

if TYPE_CHECKING:
    from osdn_theory.measures.calibration_times import CalibrationTimes


def calibration_spectrum(times: Mapping[str, CalibrationTimes]) -> tuple[Figure, Axes]:
    r"""Time constant of every direction of the preconditioner against the context length (T19).

    Directions are sorted, fastest first. A curve is the median over the leading axes (heads), the band behind it
    their whole range. The dashed line is the context length: what lies above it does not calibrate. Directions that
    never move have no point.

    - `times`, mapping from label to CalibrationTimes: All of one context length.

    Raises ValueError: if there is nothing to draw, or the lengths differ.
    """
    require(len(times) > 0, "times: expected at least one entry")
    lengths = {entry.length for entry in times.values()}
    require(len(lengths) == 1, f"times: expected one context length, got {sorted(lengths)}")
    (length,) = lengths
    fig, (ax,) = new_figure(width=7.2, height=4.6)
    for (label, entry), style in zip(times.items(), curve_styles(len(times)), strict=True):
        sorted_times = np.sort(entry.times, axis=-1).reshape(-1, entry.times.shape[-1])
        sorted_times = np.where(np.isfinite(sorted_times), sorted_times, np.nan)
        middle = np.median(sorted_times, axis=0)
        direction = np.arange(1, middle.size + 1)
        within = float(np.mean(entry.calibrated_directions))
        ax.fill_between(
            direction, sorted_times.min(axis=0), sorted_times.max(axis=0), color=style["color"], alpha=0.18
        )
        name = f"{label}: {within:.3g} of {middle.size} directions within the context"
        ax.plot(direction, middle, label=name, **style)
    ax.axhline(length, color=GREY, linestyle="--", linewidth=1.4, label=f"context length, {length} tokens")
    ax.set(yscale="log", xlabel="direction of $d$, fastest first", ylabel="time constant (tokens)")
    ax.set_title("How long calibration takes", fontsize="medium")
    legend_outside(ax, columns=1)
    return fig, ax


def alignment_over_time(
    alignments: Mapping[str, Array], *, window: int = 1, expected: float | None = None, title: str = ""
) -> tuple[Figure, Axes]:
    r"""The alignment :math:`a_t`, the fraction of the residual that a full write removes, token by token (T3, T13).

    - `alignments`, mapping from label to (T,) array: All of one length.
    - `window`, int >= 1: Each point is the mean over this many tokens; a last, incomplete window is left out.
    - `expected`: A value to hold the curves against, drawn as a dashed line.

    Raises ValueError: if there is nothing to draw, the lengths differ, or the window does not fit.
    """
    fig, ax = _windowed_curves(_checked(alignments), window, title)
    if expected is not None:
        ax.axhline(expected, color=GREY, linestyle="--", linewidth=1.4, label=f"expected: {expected:.3g}")
    ax.set_ylabel(rf"alignment $\langle d_t, s_t\rangle${_averaged(window)}")
    legend_outside(ax, columns=2)
    return fig, ax


def calibration_loss(
    alignments: Mapping[str, Array], *, window: int = 1, title: str = ""
) -> tuple[Figure, Axes]:
    r"""The surrogate :math:`\ell_t(d_t) = \tfrac12(1 - a_t)^2` on a logarithmic axis, token by token (T4, T18).

    Where the curve of a kernel that rounds levels off, rounding has ended its calibration. A loss of exactly zero has
    no point.

    - `alignments`, mapping from label to (T,) array: All of one length.
    - `window`, int >= 1: Each point is the mean loss over this many tokens; a last, incomplete window is left out.

    Raises ValueError: if there is nothing to draw, the lengths differ, or the window does not fit.
    """
    losses = {label: 0.5 * (1 - curve) ** 2 for label, curve in _checked(alignments).items()}
    fig, ax = _windowed_curves(losses, window, title)
    ax.set(yscale="log", ylabel=rf"calibration loss $\ell_t(d_t)${_averaged(window)}")
    legend_outside(ax, columns=2)
    return fig, ax


def _checked(alignments: Mapping[str, Array]) -> dict[str, Array]:
    require(len(alignments) > 0, "alignments: expected at least one curve")
    curves = {
        label: as_float64(f"alignments[{label!r}]", curve, min_ndim=1) for label, curve in alignments.items()
    }
    shapes = sorted({curve.shape for curve in curves.values()})
    require(len(shapes) == 1 and len(shapes[0]) == 1, f"alignments: expected one length, got {shapes}")
    return curves


def _windowed_curves(curves: Mapping[str, Array], window: int, title: str) -> tuple[Figure, Axes]:
    length = next(iter(curves.values())).size
    require(1 <= window <= length, f"window: expected 1 to {length}, got {window}")
    fig, (ax,) = new_figure(width=7.2, height=4.4)
    count = length // window
    tokens = window * np.arange(count) + (window + 1) / 2
    for number, ((label, curve), style) in enumerate(
        zip(curves.items(), curve_styles(len(curves)), strict=True)
    ):
        means = curve[: count * window].reshape(count, window).mean(axis=-1)
        ax.plot(tokens, means, label=label, markevery=sparse_markers(count, number), **style)
    ax.set_xlabel("token $t$")
    ax.set_title(title, fontsize="medium")
    return fig, ax


def _averaged(window: int) -> str:
    return f", mean of {window}" if window > 1 else ""
