"""Figures: time against length for every size, a line for each provider; memory and decoding as bars."""

from collections import defaultdict
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import names
from .records import Record, Results

GIBI = 1024**3


def draw_all(results: Results) -> list[Path]:
    """One PNG for each measure that has a number."""
    matplotlib.use("Agg")
    grouped: dict[str, list[Record]] = defaultdict(list)
    for record in results.records:
        if record.measured:
            grouped[record.measure].append(record)
    return [_figure(measure, records, results) for measure, records in grouped.items()]


def _figure(measure: str, records: list[Record], results: Results) -> Path:
    decoding = measure in names.DECODE
    sizes: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        shape = record.shape
        size = f"H={shape.heads} K={shape.key_dim} V={shape.value_dim}"
        sizes[size if decoding else f"{shape.tokens} tokens, {size}"].append(record)
    figure = Figure(figsize=(5.2 * min(3, len(sizes)), 4.2 * -(-len(sizes) // 3)), layout="constrained")
    grid = figure.subplots(-(-len(sizes) // 3), min(3, len(sizes)), squeeze=False)
    for axes, (title, group) in zip(grid.flat, sizes.items(), strict=False):
        _lines(axes, group, by_batch=decoding)
        axes.set_title(title, fontsize=9)
    for axes in list(grid.flat)[len(sizes) :]:
        axes.set_visible(False)
    where = results.environment.get("gpu") or "CPU interpreter"
    figure.suptitle(f"{measure}, {where}\n{results.note}", fontsize=9)
    path = results.folder / f"{measure.replace('+', '_').replace(', ', '_').replace(' ', '_').lower()}.png"
    figure.savefig(path, dpi=120)
    return path


def _lines(axes: Axes, records: list[Record], *, by_batch: bool) -> None:
    memory = records[0].measure == names.MEMORY
    unit = GIBI if memory else 1.0
    providers: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        providers[record.provider].append(record)
    for provider, group in providers.items():
        group.sort(key=lambda r: r.shape.batch if by_batch else r.shape.length)
        x = [r.shape.batch if by_batch else r.shape.length for r in group]
        middle = [r.value / unit for r in group]
        below = [(r.value - r.low) / unit for r in group]
        above = [(r.high - r.value) / unit for r in group]
        axes.errorbar(x, middle, [below, above], marker="o", markersize=3, linewidth=1.2, label=provider)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("batch" if by_batch else "T (tokens per sequence)")
    axes.set_ylabel("peak memory beside the inputs (GiB)" if memory else "median time (ms)")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7)
