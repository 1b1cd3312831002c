"""The results as tables: Markdown in a file, the same in the terminal."""

import math
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from .. import names
from .records import Record, Results
from .verdicts import GoalOutcome, Ratio, by_row, geometric_mean

GIBI = 1024**3
HEADER = ["measure", "shape", "provider", "value", "spread", "/ base", "/ floor", "TB/s", "TFLOP/s"]
MEAN_HEADER = ["measure", "provider", "base", "geometric mean of the ratio", "rows"]

Rows = list[list[str]]


def lines(results: Results) -> Rows:
    """One line for every record."""
    bases = {row: value for base in set(names.BASES.values()) for row, value in by_row(results.records, base).items()
             if names.BASES[row[0]] == base}  # fmt: skip
    return [_line(record, results, bases.get(record.row)) for record in results.records]


def goals(verdicts: list[GoalOutcome]) -> Iterator[Rows]:
    """The goals of whole sequences, then those of decoding, each where there are any."""
    decoding = [v for v in verdicts if v.goal.measure in names.DECODE]
    for group in ([v for v in verdicts if v not in decoding], decoding):
        if group:
            yield goal_lines(group)


def goal_lines(verdicts: list[GoalOutcome]) -> Rows:
    """A line for every goal: its limit and its ratio for every shape, bold where the goal is missed."""
    shapes = list(dict.fromkeys(ratio.shape for verdict in verdicts for ratio in verdict.ratios))
    lines = [["goal", "ratio", *[shape.label for shape in shapes], "outcome"]]
    for verdict in verdicts:
        goal = verdict.goal
        found = {ratio.shape: ratio for ratio in verdict.ratios}
        cells = [_judged(found[shape]) if shape in found else "" for shape in shapes]
        bases = " or ".join(goal.bases)
        lines.append([goal.name, f"{goal.provider} / {bases}", *cells, verdict.outcome])
    return lines


def _judged(ratio: Ratio) -> str:
    text = f"{ratio.value:.2f} (<= {ratio.limit:.2f})"
    return text if ratio.met else f"**{text}**"


def times(records: list[Record], measure: str) -> Rows:
    """Milliseconds of every provider for every shape of a measure."""
    chosen = [record for record in records if record.measure == measure]
    shapes = list(dict.fromkeys(record.shape for record in chosen))
    found = {(record.provider, record.shape): record for record in chosen}
    lines = [[f"{measure}, {_unit(measure)}", *[shape.label for shape in shapes]]]
    for provider in dict.fromkeys(record.provider for record in chosen):
        cells = [found.get((provider, shape)) for shape in shapes]
        lines.append([provider, *["" if x is None else _brief(x) for x in cells]])
    return lines


def _brief(record: Record) -> str:
    return _amount(record) if record.measured else record.status.split(":")[0]


def _unit(measure: str) -> str:
    return "GiB" if measure == names.MEMORY else "ms"


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


def markdown(results: Results, verdicts: list[GoalOutcome]) -> str:
    """table.md."""
    environment = ", ".join(
        f"{name} {value}" for name, value in results.environment.items() if value is not None
    )
    parts = [f"**{results.note}**", environment]
    if results.ceilings is not None:
        bandwidth, rate = results.ceilings.bandwidth / 1e12, results.ceilings.matrix_rate / 1e12
        parts.append(f"Measured ceilings: copy {bandwidth:.3g} TB/s, bfloat16 product {rate:.3g} TFLOP/s.")
    parts += [_grid(*lines) for lines in goals(verdicts)]
    measures = dict.fromkeys(record.measure for record in results.records)
    parts += [_grid(*times(results.records, measure)) for measure in measures]
    parts += [_grid(MEAN_HEADER, *means(results.records)), _grid(HEADER, *lines(results))]
    if results.not_run:
        parts.append(
            "Not run, the time was used up:\n\n" + "\n".join(f"- {label}" for label in results.not_run)
        )
    return "\n\n".join(parts) + "\n"


def show(console: Console, results: Results, verdicts: list[GoalOutcome]) -> None:
    """The same in the terminal."""
    measures = dict.fromkeys(record.measure for record in results.records)
    for header, *rows in (*[times(results.records, measure) for measure in measures], *goals(verdicts)):
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
        f"{_amount(record)} {_unit(record.measure)}",
        f"{100 * (record.high - record.low) / record.value:.1f} %",
        "" if base is None else f"{record.value / base:.3f}",
        *[_scaled(fields[name], unit) for name, unit in FLOOR_COLUMNS],
    ]


FLOOR_COLUMNS = [("over_floor", 1.0), ("bytes_per_second", 1e12), ("operations_per_second", 1e12)]


def _scaled(value: float | None, unit: float) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value / unit:.3g}"


def _amount(record: Record) -> str:
    return f"{record.value / GIBI:.3f}" if record.measure == names.MEMORY else f"{record.value:.4g}"


def _grid(header: list[str], *rows: list[str]) -> str:
    body = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in body)
