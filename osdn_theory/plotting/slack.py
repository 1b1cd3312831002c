"""Figures of bounds: cumulative regret against its bound, and how much room every bound leaves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osdn_theory.base.validation import Array, as_float64, require
from osdn_theory.plotting._style import BLUE, GREY, RED, legend_outside, new_figure, pick_index, power_ticks
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.verification.digest import theorem_order

if TYPE_CHECKING:
    from osdn_theory.bounds.check import BoundCheck


def regret(
    trajectory: Trajectory,
    bound: float | Array,
    *,
    theorem: Literal["T5", "T8", "T14"] = "T5",
    index: tuple[int, ...] = (),
) -> tuple[Figure, Axes]:
    r"""Cumulative surrogate loss of a trajectory against its bound.

    The curve is :math:`\sum_{i\le t} (1 - a_i)^2` for T5 and :math:`\sum_{i\le t} \ell_i(d_i)`, half of it,
    for T8 and T14; with β-aware feedback :math:`\beta_i a_i` takes the place of :math:`a_i` (T7).

    - `trajectory`: With at least one token.
    - `bound`, float or (T,) array: Right side of the theorem: one number for the whole stream, or one for every prefix.
    - `theorem`: "T5", "T8" or "T14"
    - `index`: Which entry of the leading axes; may be left out if there is only one.

    Raises ValueError: if there are no tokens, or `bound` is neither a number nor one number per token.
    """
    alignment = pick_index(trajectory.alignment, index, 1)
    if trajectory.rule is not None and trajectory.rule.beta_aware:
        alignment = alignment * pick_index(np.asarray(trajectory.stream.beta), index, 1)
    tokens = np.arange(1, alignment.size + 1)
    require(alignment.size > 0, "trajectory: expected at least one token to draw")
    right = as_float64("bound", bound)
    require(
        right.shape in ((), tokens.shape),
        f"bound: expected a number or shape {tokens.shape}, got {right.shape}",
    )
    scale, symbol = (1.0, r"(1 - a_i)^2") if theorem == "T5" else (0.5, r"\ell_i(d_i)")
    total = np.cumsum(scale * (1 - alignment) ** 2)
    fig, (ax,) = new_figure(height=4.2)
    ax.plot(
        tokens,
        np.broadcast_to(right, tokens.shape),
        color=RED,
        linestyle="--",
        linewidth=1.6,
        label=f"bound ({theorem})",
    )
    ax.plot(tokens, total, color=BLUE, linewidth=1.8, label=rf"$\sum_{{i \leq t}} {symbol}$")
    ax.set(xlabel="token $t$", ylabel="cumulative loss (dimensionless)")
    ax.set_ylim(bottom=0, top=1.08 * max(float(right.max()), float(total[-1])))
    ax.set_title(f"{trajectory.stream.name}: {_share(total[-1], right)}", fontsize="medium")
    legend_outside(ax)
    return fig, ax


def _share(total: float, right: Array) -> str:
    last = float(right) if right.ndim == 0 else float(right[-1])
    return f"{100 * total / last:.3g}% of the bound after the last token" if last > 0 else "the bound is 0"


def slack_per_bound(checks: Iterable[BoundCheck]) -> tuple[Figure, Axes]:
    r"""Slack :math:`\log_{10}(\mathrm{rhs}/\mathrm{lhs})` of every decided check, one row per statement.

    The axis is linear up to 1 (a factor of ten) and logarithmic beyond. Zero is a bound that is attained;
    left of it a bound is violated. Infinite slack (a left side of exactly 0) is drawn at the right edge. The
    outcomes are counted beside each row, since checks that do not apply or stay undecided have no slack.

    Raises ValueError: if there are no checks.
    """
    rows: dict[tuple[str, str], list[BoundCheck]] = {}
    for check in checks:
        rows.setdefault((check.theorem, check.title), []).append(check)
    require(bool(rows), "checks: expected at least one")
    names = sorted(rows, key=lambda name: theorem_order(name[0]))
    everything = [check for row in rows.values() for check in row]
    slacks = [check.log10_slack for check in everything if check.log10_slack is not None]
    edge = _edge([slack for slack in slacks if slack >= 0])
    fig, (ax,) = new_figure(width=7.6, height=1.5 + 0.32 * len(names))
    ax.set_yticks(range(len(names)), [" ".join(name) for name in reversed(names)], fontsize="small")
    ax.set_xscale("symlog", linthresh=1.0, linscale=1.0)
    ax.set_xticks(*power_ticks(edge))
    ax.minorticks_off()
    negative = [slack for slack in slacks if slack < 0]
    ax.set_xlim(-_edge(negative) if negative else -0.12, edge)
    ax.set_ylim(-0.6, len(names) - 0.4)
    for row, name in enumerate(reversed(names)):
        _slack_row(ax, row, rows[name])
    ax.axvline(0, color="black", linewidth=1)
    ax.set_xlabel(
        r"slack $\log_{10}(\mathrm{right\ side}/\mathrm{left\ side})$; 0 = attained, negative = violated"
    )
    _slack_legend(ax)
    return fig, ax


def _edge(slack: Sequence[float]) -> float:
    """The power of ten, 10 or more, that every finite slack stays inside of."""
    largest = max([1.0, *(abs(value) for value in slack if np.isfinite(value))])
    return float(max(10.0, 10 ** np.ceil(np.log10(1.2 * largest))))


def _slack_row(ax: Axes, y: int, checks: Sequence[BoundCheck]) -> None:
    left, edge = ax.get_xlim()
    decided = [check for check in checks if check.log10_slack is not None]
    slack = np.array([check.log10_slack for check in decided], dtype=float)
    violated = np.array([check.outcome == "violated" for check in decided], dtype=bool)
    # Spread the points of a row over its height, in the given order: the same picture every time.
    height = y + np.linspace(-0.26, 0.26, slack.size) if slack.size > 1 else np.full(slack.size, float(y))
    unbounded = np.isposinf(slack)
    plain = ~violated & ~unbounded
    ax.plot(slack[plain], height[plain], linestyle="none", marker="o", markersize=4, color=BLUE, alpha=0.55)
    # An empty line that is not clipped widens the picture.
    if unbounded.any():
        ax.plot(
            np.full(int(unbounded.sum()), edge),
            height[unbounded],
            linestyle="none",
            marker=">",
            color=BLUE,
            clip_on=False,
        )
    ax.plot(
        np.maximum(slack[violated], left),
        height[violated],
        linestyle="none",
        marker="X",
        markersize=8,
        color=RED,
    )
    if plain.any():
        smallest = float(slack[plain].min())
        ax.plot([smallest] * 2, [y - 0.34, y + 0.34], color="black", linewidth=2)
    ax.annotate(
        _counts(checks),
        (1.04, y),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize="small",
        color=GREY,
        annotation_clip=False,
    )


def _counts(checks: Sequence[BoundCheck]) -> str:
    """How many hold of all that were made, and every problem."""
    outcomes = [check.outcome for check in checks]
    problems = [name for name in ("holds, vacuously", "violated", "undecided") if name in outcomes]
    holds = f"holds {outcomes.count('holds')} of {len(outcomes)}"
    return ", ".join([holds, *(f"{outcomes.count(name)} {name}" for name in problems)])


def _slack_legend(ax: Axes) -> None:
    ax.plot([], [], linestyle="none", marker="o", markersize=4, color=BLUE, alpha=0.55, label="one check")
    ax.plot([], [], color="black", linewidth=2, label="smallest of the row")
    ax.plot([], [], linestyle="none", marker=">", color=BLUE, label="left side is 0")
    ax.plot([], [], linestyle="none", marker="X", markersize=8, color=RED, label="violated")
    legend_outside(ax, columns=4, place="upper")
