"""Figures of convergence: full-context rates with T10's bound, and the token-local product with T6's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osdn_theory.base.validation import Array, require
from osdn_theory.objective import residual_ratio
from osdn_theory.plotting._style import (
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


class RateCurves(Protocol):
    """What :func:`convergence_rates` draws; :class:`osdn_theory.context.convergence.ConvergenceRates` is one.

    Attributes
    ----------
    log_suboptimality : mapping from rule name to (J+1,) array
        Natural logarithm of F(S_j) - F*, minus infinity where the minimum is reached exactly.
    log_bound : (J+1,) array or None
        Right side of T10 in the same units; None where T10 does not apply.
    bound_rules : tuple of str
        The rules that the bound speaks of, the one it was computed for first.
    vacuous_until : int or None
        The first step at which the bound is below its starting value; None if it never gets there.
    """

    @property
    def log_suboptimality(self) -> Mapping[str, Array]: ...
    @property
    def log_bound(self) -> Array | None: ...
    @property
    def bound_rules(self) -> tuple[str, ...]: ...
    @property
    def vacuous_until(self) -> int | None: ...


def convergence_rates(
    data: RateCurves, *, labels: Mapping[str, str] | None = None, title: str = "", floor: float = -40.0
) -> tuple[Figure, Axes]:
    r"""log10 of :math:`(F(S_j) - F^*) / (F(S_1) - F^*)` against steps for every rule, with T10's bound.

    The stretch on which the bound is vacuous is greyed and says until which step. A curve that falls below
    `floor` (reaching the minimum exactly included) stops at a triangle there.

    Parameters
    ----------
    data : RateCurves
    labels : mapping from rule name to legend text, optional
    title : str
    floor : float < 0
        Lowest value drawn.

    Raises
    ------
    ValueError
        If there is no curve, or `floor` is not negative.
    """
    curves = dict(data.log_suboptimality)
    require(len(curves) > 0, "data: expected at least one curve")
    require(floor < 0, f"floor: expected < 0, got {floor}")
    start = next(iter(curves.values()))[0] / np.log(10)
    fig, (ax,) = new_figure(width=7.2, height=4.8)
    bottom = -1.0
    for number, ((name, curve), style) in enumerate(
        zip(curves.items(), curve_styles(len(curves)), strict=True)
    ):
        y, low = floor_values(np.asarray(curve) / np.log(10) - start, floor)
        stop = int(np.argmax(low)) + 1 if low.any() else y.size
        steps = np.arange(stop)
        ax.plot(
            steps,
            y[:stop],
            label=(labels or {}).get(name, name),
            markevery=sparse_markers(stop, number),
            **style,
        )
        mark_floor(ax, steps, low[:stop], floor, style["color"])
        bottom = min(bottom, float(y[stop - 1]))
    if data.log_bound is not None:
        bound = np.asarray(data.log_bound) / np.log(10) - start
        name = data.bound_rules[0]
        _draw_bound(ax, bound, data.vacuous_until, bottom, (labels or {}).get(name, name))
    ax.set_ylim(max(1.05 * bottom, floor), -0.06 * bottom + 0.2)
    ax.set(xlabel="step $j$", ylabel=r"$\log_{10}\,(F(S_j) - F^*)/(F(S_1) - F^*)$")
    ax.set_title(title, fontsize="medium")
    legend_outside(ax)
    return fig, ax


def _draw_bound(ax: Axes, bound: Array, vacuous_until: int | None, bottom: float, rule: str) -> None:
    last = bound.size - 1
    end = last if vacuous_until is None else min(vacuous_until, last)
    note = (
        f"T10 vacuous until step {vacuous_until}" if vacuous_until is not None else "T10 vacuous throughout"
    )
    shade_vacuous(ax, 0, end, note)
    steps = np.arange(bound.size)
    said = (steps >= end) & (bound <= 0) & (bound >= bottom)
    ax.plot(
        steps[said], bound[said], color="black", linestyle=":", linewidth=2.2, label=f"T10 bound on {rule}"
    )


def super_geometric(
    trajectory: Trajectory, constant: float, *, index: tuple[int, ...] = ()
) -> tuple[Figure, Axes]:
    r"""The product of residual ratios so far against :math:`(C/t)^t`, both as base-10 logarithms (T6).

    Parameters
    ----------
    trajectory : Trajectory
        With at least one token.
    constant : float > 0
        :math:`C = \|d_1 - u\|^2 / (\eta(2 - \eta M))` of T5. The bound says nothing until token C, where it
        falls below 1; that stretch is greyed.
    index : tuple of int
        Which entry of the leading axes; may be left out if there is only one.

    Raises
    ------
    ValueError
        If there are no tokens, or `constant` is not positive and finite.
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
    narrow = stop - left < 0.4 * (right - left)
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
