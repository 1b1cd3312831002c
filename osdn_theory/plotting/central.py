"""The central figure: OSDN beside DeltaNet and exact Newton, token by token and on a whole context, with the bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osdn_theory.base.validation import Array, require
from osdn_theory.plotting._style import BLACK, BLUE, GREEN, GREY, ORANGE, RED, SKY, new_figure, save_figure
from osdn_theory.plotting.convergence import draw_band, draw_rates

if TYPE_CHECKING:
    from osdn_theory.context.convergence import ConvergenceData
    from osdn_theory.measures.token_curves import TokenCurves

STYLES: Mapping[str, Mapping[str, Any]] = {
    name: {"color": colour, "linestyle": line, "marker": marker, "markersize": 5, "linewidth": 1.8}
    for name, colour, line, marker in (
        ("osdn", BLUE, "-", "o"),
        ("osdn_bounded", SKY, "--", "s"),
        ("delta_net", ORANGE, "-.", "^"),
        ("newton", BLACK, (0, (6, 1.5, 1, 1.5, 1, 1.5)), "D"),
        ("full", BLUE, "-", "o"),
        ("diagonal", GREEN, "--", "v"),
        ("gradient", RED, "-.", "P"),
    )
}
"""Of the recurrences and of the rules on a context; a bound of T6 has the colour of what it bounds."""

CONTEXT_FLOOR = -300.0
"""Of the panel with whole contexts, in decades: low enough for the bound to overtake gradient descent."""

PRODUCT = r"$\log_{10}\,\prod_{i\leq t} q_i$"
TITLES = (
    "Losses of single tokens (T6):\nOSDN is super-geometric",
    "Loss of the whole stream (no bound):\nOSDN is no faster than DeltaNet",
    "Steps on a whole context (T10):\nOSDN is super-geometric",
)
LOSS = r"$\log_{10}\,(F(S_t) - F^*)/(F(0) - F^*)$"


def token_by_token(
    curves: Mapping[str, TokenCurves], *, labels: Mapping[str, str] | None = None
) -> tuple[Figure, list[Axes]]:
    r"""OSDN, DeltaNet and exact online Newton token by token, one column per stream (T3, T6).

    Above, what T6 bounds: the product of the token residual ratios, with :math:`(C/t)^t`. Below, what no bound of ours
    speaks of: the loss of the whole stream. Lines are medians over seeds or heads, bands reach from the lowest to the
    highest. Where a bound is vacuous it is not drawn, and the panel says until which token.

    - `curves`: mapping from title to TokenCurves
    - `labels`: mapping from recurrence to legend text

    Raises ValueError: if there is nothing to draw.
    """
    require(len(curves) > 0, "curves: expected at least one stream")
    count = len(curves)
    fig, axes = new_figure(count, rows=2, width=4.2 * count, height=7.4)
    for column, (title, each) in enumerate(curves.items()):
        draw_products(axes[column], each, labels or {})
        draw_losses(axes[count + column], each, labels or {})
        axes[column].set_title(title, fontsize="medium")
    for row in (axes[:count], axes[count:]):
        for ax in row[1:]:
            ax.set_ylabel("")
    _share_legend(fig, axes, columns=3)
    return fig, axes


def central_figure(
    curves: TokenCurves,
    contexts: Sequence[ConvergenceData],
    *,
    labels: Mapping[str, str] | None = None,
    narrow: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Three panels: the token residual ratios and the loss of one stream, and the steps on whole contexts.

    - `contexts`: One per seed, see :func:`osdn_theory.plotting.convergence_rates`.
    - `labels`: mapping from recurrence or rule to legend text
    - `narrow`: One panel below the other, for a phone; else side by side.
    """
    named = labels or {}
    # Readable where a phone shows the narrow one 350 pixels wide, and a page the wide one 830.
    with mpl.rc_context({"font.size": 13.0}):
        if narrow:
            fig, axes = new_figure(rows=3, width=5.4, height=15.0)
        else:
            fig, axes = new_figure(3, width=12.4, height=5.6)
        draw_products(axes[0], curves, named)
        draw_losses(axes[1], curves, named)
        draw_rates(axes[2], contexts, named, CONTEXT_FLOOR, STYLES)
        for ax, title in zip(axes, TITLES, strict=True):
            ax.set_title(title, fontsize="medium")
        if narrow:
            # Each beside what it explains; the second panel has the curves of the first.
            for ax in (axes[0], axes[2]):
                ax.legend(
                    loc="upper center", bbox_to_anchor=(0.45, -0.17), fontsize="small", frameon=False,
                    handlelength=3.2,
                )  # fmt: skip
        else:
            _share_legend(fig, axes, columns=4)
    return fig, axes


def save_small(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as :func:`save_figure` does, then reduce it to 64 colours: a quarter of the bytes."""
    from PIL import Image

    (file,) = save_figure(figure, path)
    with Image.open(file) as image:
        small = image.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    small.save(file, optimize=True)
    return [file]


def draw_products(ax: Axes, curves: TokenCurves, labels: Mapping[str, str]) -> None:
    """Products of the token residual ratios with the bounds of T6, from the token on where they say something."""
    _draw_tokens(ax, curves.log10_product, labels)
    tokens = np.arange(1, curves.stream.length + 1)
    notes = []
    for name, bounds in curves.log10_bound.items():
        weakest = bounds.max(axis=0)
        said = weakest < 0
        title = f"T6 bound on {labels.get(name, name)}"
        if said.any():
            style = {"color": STYLES[name]["color"], "linestyle": ":", "linewidth": 2.4}
            ax.plot(tokens[said], weakest[said], label=title, **style)
        if not np.isnan(weakest).any() and not said[0]:
            until = f"until token {tokens[said][0]}" if said.any() else "throughout"
            notes.append(f"{title}:\nvacuous {until}")
    zero = [name for name, y in curves.log10_product.items() if np.isneginf(np.median(y[:, 0]))]
    notes.extend(f"{labels.get(name, name)}: exactly 0 from token 1" for name in zero)
    ax.text(0.03, 0.03, "\n".join(notes), transform=ax.transAxes, fontsize="small", color=GREY)
    ax.set_ylabel(PRODUCT)


def draw_losses(ax: Axes, curves: TokenCurves, labels: Mapping[str, str]) -> None:
    """Losses of the whole stream, for which there is no bound."""
    _draw_tokens(ax, curves.log10_suboptimality, labels)
    ax.set_ylabel(LOSS)


def _draw_tokens(ax: Axes, curves: Mapping[str, Array], labels: Mapping[str, str]) -> None:
    finite = np.concatenate([y[np.isfinite(y)] for y in curves.values()])
    floor = 1.04 * min(float(finite.min(initial=0.0)), -1.0)
    for number, (name, y) in enumerate(curves.items()):
        tokens = np.arange(1, y.shape[-1] + 1)
        draw_band(ax, tokens, y, labels.get(name, name), STYLES[name], floor=floor, number=number)
    ax.set_ylim(floor, max(float(finite.max(initial=0.0)), -0.02 * floor))
    ax.set_xlim(0, tokens[-1])
    ax.set_xlabel("token $t$")


def _share_legend(fig: Figure, axes: Sequence[Axes], *, columns: int) -> None:
    """One legend below for what the panels share."""
    entries = {
        label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    style: dict[str, Any] = {"fontsize": "small", "frameon": False, "handlelength": 2.6, "columnspacing": 1.4}
    fig.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns, **style)
