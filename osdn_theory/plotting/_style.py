"""What all figures share: size, colours, line styles, and how they are written to disk."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osdn_theory.base.validation import Array, require

Mask = npt.NDArray[np.bool_]

BLACK, ORANGE, SKY, GREEN, BLUE, RED, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY = "#767676"

_COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK)
_LINES: tuple[Any, ...] = (
    "-",
    "--",
    "-.",
    (0, (1, 1.2)),
    (0, (6, 1.5, 1, 1.5, 1, 1.5)),
    (0, (8, 3)),
    (0, (3, 1)),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def curve_styles(count: int) -> list[dict[str, Any]]:
    """`count` line styles that differ in colour, dash pattern and marker, all at once."""
    triples = zip(_COLOURS, _LINES, _MARKERS, strict=True)
    return [
        {"color": colour, "linestyle": line, "marker": marker, "markersize": 4.5, "linewidth": 1.6}
        for colour, line, marker in islice(cycle(triples), count)
    ]


def sparse_markers(count: int, curve: int) -> tuple[int, int]:
    """Where to put markers on a curve of `count` points: about eight, shifted from curve to curve."""
    step = max(1, count // 8)
    return (min(count - 1, curve * step // 6), step)


def new_figure(
    columns: int = 1, *, rows: int = 1, width: float | None = None, height: float = 4.0
) -> tuple[Figure, list[Axes]]:
    """A figure with `columns` times `rows` plain axes, row by row: no top and right frame, a faint grid."""
    fig = Figure(figsize=(width or 6.4 * columns**0.7, height), layout="constrained")
    axes = [fig.add_subplot(rows, columns, place + 1) for place in range(rows * columns)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(True, color="#d8d8d8", linewidth=0.6)
        ax.set_axisbelow(True)
    return fig, axes


def legend_outside(ax: Axes, *, columns: int = 3, place: Literal["lower", "upper"] = "lower") -> None:
    """A legend for `ax` beyond the axes of its figure, where it covers no data."""
    fig = ax.get_figure(root=True)
    assert fig is not None, "axes made by new_figure belong to a figure"
    fig.legend(
        *ax.get_legend_handles_labels(),
        loc="outside lower center" if place == "lower" else "outside upper center",
        ncols=columns,
        frameon=False,
        fontsize="small",
        handlelength=3.6 if place == "lower" else 2.0,
    )


def pick_index(array: Array, index: tuple[int, ...], core_ndim: int) -> Array:
    """One entry of the leading axes; `index` may be left empty where they all have length 1."""
    lead = array.shape[: array.ndim - core_ndim]
    if not index:
        require(
            int(np.prod(lead, dtype=int)) == 1,
            f"index: the trajectory has leading axes {lead}; say which one to draw",
        )
        index = (0,) * len(lead)
    require(len(index) == len(lead), f"index: expected {len(lead)} integers for axes {lead}, got {index}")
    try:
        picked: Array = array[index]
    except IndexError:
        raise ValueError(f"index: {index} is outside the leading axes {lead}") from None
    return picked


def floor_values(values: Array, floor: float) -> tuple[Array, Mask]:
    """`values` with everything below `floor` (minus infinity too) put there, and where that happened."""
    low: Mask = values < floor
    return np.where(low, floor, values), low


def mark_floor(ax: Axes, x: npt.NDArray[Any], low: Mask, floor: float, colour: str) -> None:
    """A downward triangle where a curve first drops out of the axes."""
    if low.any():
        ax.plot(x[low][:1], [floor], marker="v", markersize=8, color=colour, linestyle="none", clip_on=False)


def save_figure(fig: Figure, path: str | Path, *, svg: bool = False) -> list[Path]:
    """Write a figure as PNG at 200 dots per inch and, if asked for, as SVG beside it.

    Parameters
    ----------
    fig : Figure
    path : path
        The file to write; its suffix becomes ``.png`` and ``.svg``. Its folder is made if missing.
    svg : bool

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    OSError
        If the folder cannot be made or written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_suffix(suffix) for suffix in ([".png", ".svg"] if svg else [".png"])]
    for file in files:
        fig.savefig(file, dpi=200, facecolor="white")
    return files
