"""The results as tables: Markdown in a file, the same in the terminal."""

import math

from rich.console import Console
from rich.table import Table

from . import names
from .records import Record, Results
from .verdicts import Verdict, by_row, geometric_mean

GIBI = 1024**3
HEADER = ["measure", "shape", "provider", "value", "spread", "/ base", "/ floor", "TB/s", "TFLOP/s"]
GOAL_HEADER = ["goal", "limit", "geometric mean", "worst", "worst row", "rows", "verdict"]
MEAN_HEADER = ["measure", "provider", "base", "geometric mean of the ratio", "rows"]

Rows = list[list[str]]


def lines(results: Results) -> Rows:
    """One line for every record."""
    bases = {row: value for base in set(names.BASES.values()) for row, value in by_row(results.records, base).items()
             if names.BASES[row[0]] == base}  # fmt: skip
    return [_line(record, results, bases.get(record.row)) for record in results.records]


def goals(verdicts: list[Verdict]) -> Rows:
    """One line for every goal."""
    found = []
    for verdict in verdicts:
        worst = verdict.worst
        numbers = (
            ["", "", ""]
            if worst is None
            else [f"{verdict.mean:.3f}", f"{worst.value:.3f}", worst.shape.label]
        )
        name = f"{verdict.goal.name}: {verdict.goal.provider} / {verdict.goal.base}"
        found.append([name, f"{verdict.goal.limit:.2f}", *numbers, str(len(verdict.ratios)), verdict.outcome])
    return found


def means(records: list[Record]) -> Rows:
    """Geometric mean of every provider's ratio to its measure's base."""
    grouped: dict[tuple[str, str], list[float]] = {}
    for measure, base in names.BASES.items():
        theirs = by_row(records, base)
        for record in records:
            if (
                record.measure == measure
                and record.measured
                and record.provider != base
                and record.row in theirs
            ):
                grouped.setdefault((measure, record.provider), []).append(record.value / theirs[record.row])
    return [
        [measure, provider, names.BASES[measure], f"{geometric_mean(values):.3f}", str(len(values))]
        for (measure, provider), values in grouped.items()
    ]


def markdown(results: Results, verdicts: list[Verdict]) -> str:
    """table.md."""
    environment = ", ".join(
        f"{name} {value}" for name, value in results.environment.items() if value is not None
    )
    parts = [f"**{results.note}**", environment]
    if results.ceilings is not None:
        bandwidth, rate = results.ceilings.bandwidth / 1e12, results.ceilings.matrix_rate / 1e12
        parts.append(f"Measured ceilings: copy {bandwidth:.3g} TB/s, bfloat16 product {rate:.3g} TFLOP/s.")
    parts += [_grid(GOAL_HEADER, goals(verdicts)), _grid(MEAN_HEADER, means(results.records))]
    parts.append(_grid(HEADER, lines(results)))
    if results.not_run:
        parts.append(
            "Not run, the time was used up:\n\n" + "\n".join(f"- {label}" for label in results.not_run)
        )
    return "\n\n".join(parts) + "\n"


def show(console: Console, results: Results, verdicts: list[Verdict]) -> None:
    """The same in the terminal."""
    for header, rows in (
        (HEADER, lines(results)),
        (MEAN_HEADER, means(results.records)),
        (GOAL_HEADER, goals(verdicts)),
    ):
        table = Table(*header)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for label in results.not_run:
        console.print(f"not run, the time was used up: {label}", markup=False)
    console.print(results.note, markup=False, style="bold")


def _line(record: Record, results: Results, base: float | None) -> list[str]:
    start = [record.measure, record.shape.label, record.provider]
    if not record.measured:
        return [*start, record.status, *[""] * 5]
    fields = record.fields(results.ceilings)
    return [
        *start,
        _amount(record),
        f"{100 * (record.high - record.low) / record.value:.1f} %",
        "" if base is None else f"{record.value / base:.3f}",
        *[_scaled(fields[name], unit) for name, unit in FLOOR_COLUMNS],
    ]


FLOOR_COLUMNS = [("over_floor", 1.0), ("bytes_per_second", 1e12), ("operations_per_second", 1e12)]


def _scaled(value: float | None, unit: float) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value / unit:.3g}"


def _amount(record: Record) -> str:
    return f"{record.value / GIBI:.3f} GiB" if record.measure == names.MEMORY else f"{record.value:.4g} ms"


def _grid(header: list[str], rows: Rows) -> str:
    body = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in body)
