"""Figures of the distance to exact Newton: of a kernel's states and exact ones, and of OSDN beside DeltaNet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osdn_theory.plotting._style import BLACK, BLUE, ORANGE, legend_outside, new_figure

if TYPE_CHECKING:
    from osdn_theory.crosscheck.results import NewtonDistances
    from osdn_theory.measures.newton_approach import NewtonApproach


def newton_distance(distances: NewtonDistances, *, title: str = "") -> tuple[Figure, Axes]:
    r"""Relative distance of the state from exact Newton, the ridge least squares of the same prefix, mean over heads.

    Exact arithmetic as a line, the kernel as open circles on it.
    """
    fig, (ax,) = new_figure(height=4.2)
    exact, kernel = (
        array.reshape(-1, array.shape[-1]).mean(axis=0) for array in (distances.exact, distances.kernel)
    )
    ax.plot(distances.tokens, exact, color=BLACK, linewidth=1.4, label="exact arithmetic")
    circles: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 7, "markerfacecolor": "none"}
    ax.plot(distances.tokens, kernel, color=BLUE, label="kernel", **circles)
    ax.set(xscale="log", xlabel="tokens read", ylabel=r"$\|S_t - S_t^{RLS}\| / \|S_t^{RLS}\|$")
    ax.set_ylim(bottom=0)
    ax.set_title(title, fontsize="medium")
    legend_outside(ax)
    return fig, ax


def newton_approach(curves: NewtonApproach) -> tuple[Figure, Axes]:
    """Relative distance of the state from exact Newton against tokens, OSDN on DeltaNet, a line per condition."""
    fig, (ax,) = new_figure(height=4.4)
    hollow: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 8, "markerfacecolor": "none"}
    for number, condition in enumerate(curves.conditions):
        plain, own = (curves.distances[name][number] for name in ("delta_net", "osdn"))
        ax.plot(curves.tokens, plain, color=ORANGE, label="DeltaNet" if number == 0 else None)
        ax.plot(curves.tokens, own, color=BLUE, label="OSDN, $\\eta$ = 1" if number == 0 else None, **hollow)
        ax.annotate(f"{condition:g}", (curves.tokens[0], plain[0]), xytext=(9, 4), textcoords="offset points")
    ax.set(xscale="log", yscale="log", xlabel="tokens read", ylabel=r"$\|S_t - S_t^{RLS}\| / \|S_t^{RLS}\|$")
    ax.set_title("at each line: condition number of the keys", fontsize="medium")
    legend_outside(ax)
    return fig, ax
