"""What all figures share: size, colours, line styles, and how they are written to disk."""

from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from osdn_theory.base.folders import write_atomically
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

DPI = 200
"""Dots per inch of every PNG."""

PAGE = 8.4
"""Inches: the width of the widest figures, at which their text is readable on a page and in print."""

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
    """`count` line styles that differ in colour, dash pattern and marker; in all three at once up to seven."""
    rounds = [(number, number // len(_COLOURS)) for number in range(count)]
    return [
        {
            "color": _COLOURS[number % len(_COLOURS)],
            "linestyle": _LINES[(number + again) % len(_LINES)],
            "marker": _MARKERS[(number + again) % len(_MARKERS)],
            "markersize": 4.5,
            "linewidth": 1.6,
        }
        for number, again in rounds
    ]


def sparse_markers(count: int, curve: int) -> tuple[int, int]:
    """Where to put markers on a curve of `count` points: about eight, shifted from curve to curve."""
    step = max(1, count // 8)
    return (min(count - 1, curve * step // 6), step)


def new_figure(
    columns: int = 1, *, rows: int = 1, width: float | None = None, height: float = 4.0
) -> tuple[Figure, list[Axes]]:
    """A figure with `columns` times `rows` plain axes, row by row: no top and right frame, a faint grid."""
    fig = Figure(figsize=(width or min(6.4 * columns**0.7, PAGE), height), layout="constrained")
    axes = [fig.add_subplot(rows, columns, place + 1) for place in range(rows * columns)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(True, color="#d8d8d8", linewidth=0.6)
        ax.set_axisbelow(True)
    return fig, axes


def legend_outside(*axes: Axes, columns: int = 3, place: Literal["lower", "upper"] = "lower") -> None:
    """A legend for `axes` beyond all axes of their figure, where it covers no data."""
    fig = axes[0].get_figure(root=True)
    assert fig is not None, "axes made by new_figure belong to a figure"
    known = [ax.get_legend_handles_labels() for ax in axes]
    fig.legend(
        [handle for handles, _ in known for handle in handles],
        [label for _, labels in known for label in labels],
        loc="outside lower center" if place == "lower" else "outside upper center",
        ncols=columns,
        frameon=False,
        fontsize="small",
        handlelength=3.6 if place == "lower" else 2.0,
    )


def scientific(value: float) -> str:
    """A number as a factor and a power of ten, for a label."""
    factor, _, power = f"{value:.1e}".partition("e")
    return rf"${factor} \times 10^{{{int(power)}}}$"


def percent(value: float, _: int) -> str:
    """A share of one as the text of a tick: as many digits as it has, never rounded to another number."""
    return f"{round(100 * value, 9):g}%".replace("-", "\N{MINUS SIGN}")


def power_ticks(edge: float) -> tuple[list[float], list[str]]:
    """0, 1, 10 and so on up to `edge`, with their texts, for an axis that is linear up to 1."""
    ticks = [0.0, *10.0 ** np.arange(0, np.log10(edge) + 0.5)]
    return ticks, [f"{tick:g}" if tick < 1e3 else f"$10^{{{np.log10(tick):.0f}}}$" for tick in ticks]


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

    - `path`: The file to write; its suffix becomes ``.png`` and ``.svg``. Its folder is made if missing.

    Returns the files written.

    Raises OSError: if the folder cannot be made, or the file, which is named, not be written; an old one is kept then.
    """
    path = Path(path)
    files = [path.with_suffix(suffix) for suffix in ([".png", ".svg"] if svg else [".png"])]
    for file in files:
        content = BytesIO()
        fig.savefig(content, format=file.suffix[1:], dpi=DPI, facecolor="white")
        write_atomically(file, content.getvalue())
    return files
