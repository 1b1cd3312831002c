"""Figures of a cross-check: a kernel's errors beside their bounds, and its super-geometric curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osdn_theory.base.brief import describe_index
from osdn_theory.base.validation import Array, require
from osdn_theory.plotting._style import (
    BLUE,
    GREEN,
    GREY,
    RED,
    floor_values,
    legend_outside,
    mark_floor,
    new_figure,
)
from osdn_theory.plotting.convergence import shade_vacuous

if TYPE_CHECKING:
    from osdn_theory.crosscheck.results import Comparison, CrossCheck, Curve

_SHOWN = {"o": "output $o$", "S": "state $S$", "d": "preconditioner $d$", "a": "alignment $a$"}
_TINY = 1e-20


def crosscheck_errors(check: CrossCheck) -> tuple[Figure, list[Axes]]:
    r"""Relative error of every quantity over t, the largest over heads, beside its bound; one panel each.

    The first token outside the bound is marked. Exact zeros are drawn at the bottom.

    Raises ValueError: if nothing was compared token by token.
    """
    found = [item for item in check.comparisons if item.name in _SHOWN]
    require(len(found) > 0, "check: nothing was compared token by token")
    columns, rows = min(2, len(found)), (len(found) + 1) // 2
    fig, axes = new_figure(columns, rows=rows, width=3.8 * columns + 0.6, height=2.5 * rows + 1.0)
    for ax in axes[len(found) :]:
        ax.remove()
    del axes[len(found) :]
    for ax, item in zip(axes, found, strict=True):
        _draw_errors(ax, item)
    fig.supylabel("relative error of a token's norm", fontsize="medium")
    fig.suptitle(
        f"{check.statement['kernel']} on {check.stream}, {check.rule}, {check.dtype}", fontsize="medium"
    )
    legend_outside(axes[0])
    return fig, axes


def _draw_errors(ax: Axes, found: Comparison) -> None:
    error = _over_heads(np.where(np.isinf(found.error), np.nan, found.error))
    points: dict[str, Any] = {"marker": "o", "markersize": 4} if found.tokens.size < 12 else {}
    ax.plot(found.tokens, np.maximum(error, _TINY), color=BLUE, label="kernel", **points)
    if found.bound is not None:
        bound = np.where(np.isfinite(found.bound), found.bound, np.nan)
        ax.plot(found.tokens, _over_heads(bound), color=RED, linestyle="--", label="bound (rounding)")
    if found.first_outside is not None:
        ax.axvline(found.first_outside, color=GREY, linestyle=":")
        late = 2 * found.first_outside > found.tokens[-1]
        ax.annotate(
            f" leaves it at token {found.first_outside} ",
            (found.first_outside, 0.02),
            xycoords=("data", "axes fraction"),
            ha="right" if late else "left",
            fontsize="small",
            color=GREY,
        )
    ax.set(yscale="log", xlabel="token $t$")
    ax.set_title(_SHOWN[found.name], fontsize="medium")
    low = np.min(error[error > 0], initial=1e-8)
    ax.set_ylim(bottom=low / 10)


def _over_heads(values: Array) -> Array:
    """The largest over (B, H), (P,); NaN where there is none."""
    flat = values.reshape(-1, values.shape[-1])
    largest = np.max(np.where(np.isnan(flat), -np.inf, flat), axis=0)
    return np.where(np.isneginf(largest), np.nan, largest)


def crosscheck_curve(check: CrossCheck) -> tuple[Figure, list[Axes]]:
    r"""The product of residual ratios of a kernel beside the exact one and T6's bound, and the ratios one by one.

    Left: :math:`\log_{10}\prod_{i\le t} q_i` from the kernel's own reads and in exact arithmetic, what is certain of
    it in spite of rounding, and :math:`t\log_{10}(C/t)`. Right: each :math:`\log_{10} q_t`, with the floor under
    which rounding hides it.

    Raises ValueError: if the kernel has no memory to read, so that there is no curve.
    """
    curve = check.curve
    require(curve is not None, "check: the kernel has no memory, so there is no curve")
    assert curve is not None
    fig, (left, right) = new_figure(2, height=4.2)
    _draw_products(left, curve)
    _draw_ratios(right, curve)
    where = f"{check.stream}, {check.rule}, {check.dtype}, {describe_index(curve.index)}"
    fig.suptitle(f"{check.statement['kernel']} on {where}", fontsize="medium")
    legend_outside(left, right)
    return fig, [left, right]


def _draw_products(ax: Axes, curve: Curve) -> None:
    tokens = np.arange(1, curve.exact.size + 1)
    curves = [
        ("exact product", curve.exact, GREEN, "-", 5.0),
        ("of the kernel's own reads", curve.kernel, BLUE, "--", 2.4),
        ("certain in spite of rounding", curve.guaranteed, "black", ":", 1.6),
    ]
    bounded = [] if curve.bound is None else [(r"T6: $t \log_{10}(C/t)$", curve.bound, RED, "-.", 1.8)]
    finite = np.concatenate([values[np.isfinite(values)] for _, values, *_ in (*curves, *bounded)])
    floor = float(np.min(finite, initial=0.0)) * 1.04 - 0.5
    # The curves mostly lie on each other: the lower ones are wider.
    for name, values, colour, line, width in (*curves, *bounded):
        shown, low = floor_values(np.where(np.isposinf(values), np.nan, values), floor)
        ax.plot(tokens, shown, color=colour, linestyle=line, linewidth=width, label=name)
        mark_floor(ax, tokens, low, floor, colour)
    if curve.ends is not None:
        ax.axvline(curve.ends, color=GREY, linewidth=0.8)
        early = 2 * curve.ends < tokens.size
        ax.annotate(
            f" rounding may hide the rest from token {curve.ends} ",
            (curve.ends, 0.95),
            xycoords=("data", "axes fraction"),
            ha="left" if early else "right",
            fontsize="small",
            color=GREY,
        )
    if curve.constant is not None:
        stop = min(curve.constant, float(tokens[-1]))
        shade_vacuous(ax, float(tokens[0]), stop, f"vacuous until token {np.floor(curve.constant) + 1:.0f}")
    ax.set(xlabel="token $t$", ylabel=r"$\log_{10}$ of the product of $q_i$")
    ax.set_title(f"certain: {curve.decades:.0f} decades", fontsize="medium")


def _draw_ratios(ax: Axes, curve: Curve) -> None:
    tokens = np.arange(1, curve.exact.size + 1)
    finite = [values[np.isfinite(values)] for values in (curve.ratio, curve.exact_ratio, curve.floor)]
    bottom = float(np.min(np.concatenate(finite), initial=0.0)) - 1
    points = (
        ("exact ratio", curve.exact_ratio, GREEN, "o", 6),
        ("kernel's ratio", curve.ratio, BLUE, "x", 5),
    )
    for name, values, colour, marker, size in points:
        shown, low = floor_values(values, bottom)
        style: dict[str, Any] = {
            "marker": marker,
            "markersize": size,
            "linestyle": "none",
            "fillstyle": "none",
        }
        ax.plot(tokens, shown, color=colour, label=name, **style)
        mark_floor(ax, tokens, low, bottom, colour)
    ax.plot(tokens, curve.floor, color=RED, linewidth=1.0, label="rounding may leave this much")
    ax.set(xlabel="token $t$", ylabel=r"$\log_{10} q_t$")
    ax.set_title("ratio by ratio", fontsize="medium")
