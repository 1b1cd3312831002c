"""Figures of convergence: full-context rates with T10's bound, and the token-local product with T6's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osdn_theory.base.validation import Array, require
from osdn_theory.objective import residual_ratio
from osdn_theory.plotting._style import (
    BLACK,
    BLUE,
    RED,
    curve_styles,
    floor_values,
    legend_outside,
    mark_floor,
    new_figure,
    pick_index,
    sparse_markers,
)
from osdn_theory.recurrence.trajectory import Trajectory

if TYPE_CHECKING:
    from osdn_theory.context.convergence import ConvergenceData

LOWEST = -40.0
"""Where a figure of convergence ends at the latest, in decades below its start."""


def convergence_rates(
    data: ConvergenceData | Sequence[ConvergenceData],
    *,
    labels: Mapping[str, str] | None = None,
    title: str = "",
    floor: float | None = None,
) -> tuple[Figure, Axes]:
    r"""log10 of :math:`(F(S_j) - F^*) / (F(S_1) - F^*)` against steps for every rule, with T10's bound.

    The stretch on which the bound is vacuous is greyed and says until which step. A curve that falls below `floor`
    (reaching the minimum exactly included) stops at a triangle there.

    - `data`, or a sequence: Several, such as one per seed, are drawn as their median with a band from the lowest to
      the highest.
    - `labels`: mapping from rule name to legend text
    - `floor`, float < 0: Lowest value drawn. Default: where the lowest curve ends that does not reach the minimum
      exactly, -40 at most.

    Raises ValueError: if there is no curve, `floor` is not negative, or several data differ in rules or steps.
    """
    fig, (ax,) = new_figure(width=7.2, height=4.8)
    draw_rates(ax, data if isinstance(data, Sequence) else [data], labels or {}, floor)
    ax.set_title(title, fontsize="medium")
    legend_outside(ax)
    return fig, ax


def draw_rates(
    ax: Axes,
    data: Sequence[ConvergenceData],
    labels: Mapping[str, str],
    floor: float | None = None,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """The panel of :func:`convergence_rates`, without title and legend; `styles` by rule instead of by position."""
    curves = _relative_curves(data)
    require(floor is None or floor < 0, f"floor: expected < 0, got {floor}")
    if floor is None:
        ends = [y.min() for y in curves.values() if np.isfinite(y).all()]
        floor = max(1.02 * min(ends, default=LOWEST), LOWEST)
    for number, ((name, y), style) in enumerate(zip(curves.items(), curve_styles(len(curves)), strict=True)):
        own = (styles or {}).get(name, style)
        draw_band(ax, np.arange(y.shape[-1]), y, labels.get(name, name), own, floor=floor, number=number)
    bottom = min(-1.0, *(float(np.asarray(line.get_ydata())[-1]) for line in ax.lines))
    steps = max(int(np.asarray(line.get_xdata())[-1]) for line in ax.lines)
    ax.set_xlim(0, max(steps, 1))
    _draw_bound(ax, data, bottom, labels)
    ax.set_ylim(max(1.05 * bottom, floor), -0.07 * bottom)
    ax.set(xlabel="step $j$", ylabel=r"$\log_{10}\,(F(S_j) - F^*)/(F(S_1) - F^*)$")


def _relative_curves(data: Sequence[ConvergenceData]) -> dict[str, Array]:
    """Per rule the curves of all data from 0 down, (N, J+1), base-10 logarithms."""
    require(len(data) > 0 and len(data[0].log_suboptimality) > 0, "data: expected at least one curve")
    rules = list(data[0].log_suboptimality)
    shapes = {np.shape(curve) for each in data for curve in each.log_suboptimality.values()}
    same = len(shapes) == 1 and all(list(each.log_suboptimality) == rules for each in data)
    require(same, "data: expected the same rules and steps in all of them")
    stacked = {rule: np.stack([each.log_suboptimality[rule] for each in data]) for rule in rules}
    return {rule: (curves - curves[:, :1]) / np.log(10) for rule, curves in stacked.items()}


def _draw_bound(ax: Axes, data: Sequence[ConvergenceData], bottom: float, labels: Mapping[str, str]) -> None:
    """The weakest of the bounds of all data, from where each of them says something; grey before."""
    bounds = [np.asarray(each.log_bound) / np.log(10) for each in data if each.log_bound is not None]
    if len(bounds) < len(data):
        return
    bound = np.max([each - each[0] for each in bounds], axis=0)
    last = bound.size - 1
    starts = [last if each.vacuous_until is None else min(each.vacuous_until, last) for each in data]
    throughout = any(each.vacuous_until is None for each in data)
    shade_vacuous(
        ax, 0, max(starts), "T10 vacuous " + ("throughout" if throughout else f"until step {max(starts)}")
    )
    steps = np.arange(bound.size)
    said = (steps >= max(starts)) & (bound <= 0) & (bound >= bottom)
    if said.any():
        rule = data[0].bound_rules[0]
        label = f"T10 bound on {labels.get(rule, rule)}"
        ax.plot(steps[said], bound[said], color=BLACK, linestyle=":", linewidth=2.2, label=label)


def draw_band(
    ax: Axes,
    x: npt.NDArray[Any],
    curves: Array,
    label: str,
    style: Mapping[str, Any],
    *,
    floor: float,
    number: int = 0,
) -> None:
    """The median of `curves` (N, P), a band from the lowest to the highest, a triangle where it falls to `floor`."""
    middle, low = floor_values(np.median(curves, axis=0), floor)
    stop = int(np.argmax(low)) + 1 if low.any() else middle.size
    if len(curves) > 1:
        lowest, highest = (np.maximum(end(curves, axis=0), floor)[:stop] for end in (np.min, np.max))
        ax.fill_between(x[:stop], lowest, highest, color=style["color"], alpha=0.2, linewidth=0)
    ax.plot(x[:stop], middle[:stop], label=label, markevery=sparse_markers(stop, number), **style)
    mark_floor(ax, x[:stop], low[:stop], floor, style["color"])


def super_geometric(
    trajectory: Trajectory, constant: float, *, index: tuple[int, ...] = ()
) -> tuple[Figure, Axes]:
    r"""The product of residual ratios so far against :math:`(C/t)^t`, both as base-10 logarithms (T6).

    - `trajectory`: With at least one token.
    - `constant`, float > 0: :math:`C = \|d_1 - u\|^2 / (\eta(2 - \eta M))` of T5. The bound says nothing until token
      C, where it falls below 1; that stretch is greyed.
    - `index`: Which entry of the leading axes; may be left out if there is only one.

    Raises ValueError: if there are no tokens, or `constant` is not positive and finite.
    """
    require(
        bool(np.isfinite(constant)) and constant > 0, f"constant: expected finite and > 0, got {constant}"
    )
    alignment = pick_index(trajectory.alignment, index, 1)
    require(alignment.size > 0, "trajectory: expected at least one token to draw")
    beta = pick_index(np.asarray(trajectory.stream.beta), index, 1)
    tokens = np.arange(1, alignment.size + 1)
    product = cumulative_log10(residual_ratio(alignment, beta))
    bound = tokens * np.log10(constant / tokens)
    fig, (ax,) = new_figure(height=4.4)
    finite = np.concatenate([product[np.isfinite(product)], bound])
    floor = float(finite.min()) - 0.04 * max(1.0, float(np.ptp(finite)))
    shown, low = floor_values(product, floor)
    ax.plot(tokens, bound, color=RED, linestyle="--", label=r"bound $t \log_{10}(C/t)$ (T6)")
    ax.plot(tokens, shown, color=BLUE, linewidth=1.8, label=r"$\log_{10}\prod_{i \leq t} q_i$")
    mark_floor(ax, tokens, low, floor, BLUE)
    shade_vacuous(
        ax,
        float(tokens[0]),
        min(constant, float(tokens[-1])),
        f"vacuous until token {np.floor(constant) + 1:.0f}",
    )
    ax.set(xlabel="token $t$", ylabel=r"$\log_{10}$ of the product")
    zero = f"; exactly 0 from token {tokens[low][0]}" if low.any() else ""
    ax.set_title(f"{trajectory.stream.name}: C = {constant:.3g}{zero}", fontsize="medium")
    legend_outside(ax)
    return fig, ax


def cumulative_log10(ratio: Array) -> Array:
    """log10 of the running product of `ratio`, (T,); minus infinity from the first zero on."""
    with np.errstate(divide="ignore"):
        return np.cumsum(np.log10(ratio))


def shade_vacuous(ax: Axes, start: float, stop: float, note: str) -> None:
    """Grey the stretch where a bound is above its trivial value, and say so."""
    if stop <= start:
        return
    ax.axvspan(start, stop, color="#ececec", zorder=0)
    # A narrow band has no room for the note: it stands beside it instead.
    left, right = ax.get_xlim()
    narrow = stop - left < 0.6 * (right - left)
    ax.annotate(
        note,
        (stop, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(4 if narrow else -4, -4),
        textcoords="offset points",
        ha="left" if narrow else "right",
        va="top",
        fontsize="small",
        color="#555555",
    )
