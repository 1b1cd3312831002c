"""Tables of what was measured on GPUs, read from the files in which the measuring commands left them."""

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import osdn_kernels

from generate.markdown import table
from osdn_theory.language.data import PACKAGED as LANGUAGE_PACKAGED, load as load_language
from osdn_theory.language.document import LanguageSummary
from osdn_theory.language.tables import claim_table, overview, tuning_table
from osdn_theory.recall.data import load, packaged_files
from osdn_theory.recall.document import RecallSummary
from osdn_theory.recall.tables import ablation_table, model_table, prediction_table

MEASURED = Path(osdn_kernels.__file__).parent / "benchmarks" / "measured"
LONGEST = 60
"""Rows up to which a file that no table is made for is shown whole."""

Rows = list[dict[str, str]]
Summary = RecallSummary | LanguageSummary


def pages() -> dict[str, str]:
    """A page of everything that was measured, and the tables that other pages show."""
    made = {"parts/recall.md": _recall()}
    made["parts/train.md"] = pages_of_training()
    made |= {f"parts/{path.stem}.md": made_of(path) + "\n" for path in sorted(MEASURED.glob("*.csv"))}
    return made | {"measured.md": _page()}


def _recall() -> str:
    """The in-context recall experiments that are delivered."""
    found = [
        _result(load(path), (model_table, ablation_table, prediction_table)) for path in packaged_files()
    ]
    return "\n".join(reversed(found))


def _result(summary: Summary, tables: Sequence[Callable[[Any], tuple[tuple[str, ...], Any]]]) -> str:
    """An experiment: how it was made, tables, and what the numbers say."""
    shown = [table(*each(summary)) for each in tables]
    return "\n\n".join([f"## Preset `{summary.preset}`", _made(summary), *shown, _said(summary)]) + "\n"


def _made(summary: Summary) -> str:
    """How a result was made."""
    machine = summary.environment
    return (
        f"`{summary.command}` on {machine['device']}, torch {machine['torch']}, "
        f"{machine['workers']} runs side by side; seeds {', '.join(map(str, summary.seeds))}; "
        f"{summary.seconds / 3600:.1f} hours of all runs, added up."
    )


def _said(summary: Summary) -> str:
    return "\n".join(f"- {sentence}" for sentence in summary.sentences)


def pages_of_training() -> str:
    """The language models that were trained, those of the largest preset first."""
    summaries = [load_language(path) for path in packaged_files(LANGUAGE_PACKAGED)]
    found = [_result(each, (overview, claim_table, tuning_table)) for each in summaries if each]
    return "\n".join(reversed(found)) or "No result is delivered yet: no preset has been run.\n"


def read(path: Path) -> Rows:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def made_of(path: Path) -> str:
    """The table of a file: one made for it, or all of it where it is short."""
    rows = read(path)
    if path.name in TABLES:
        return TABLES[path.name](rows)
    if len(rows) > LONGEST or not rows:
        return f"{len(rows):,} rows."
    return table(list(rows[0]), [list(row.values()) for row in rows])


def examinations(rows: Rows) -> str:
    """Verdicts of the cross-check, with the worst error of every quantity over all exercises."""
    worst: dict[tuple[str, str], float] = {}
    for row in read(MEASURED / "crosscheck.csv"):
        key = row["run"], row["quantity"]
        worst[key] = max(worst.get(key, 0.0), float(row["worst error"]))
    return table(
        ("kernel", "dtype", "verdict", "exercises", "known faults seen", "o", "S", "d"),
        [
            (
                f"`{row['run'].removesuffix('-' + row['dtype'])}`",
                row["dtype"],
                row["verdict"],
                row["exercises"],
                f"{row['faults seen']} of {row['faults possible']}",
                *(f"{worst[row['run'], name]:.1e}" if (row["run"], name) in worst else "" for name in "oSd"),
            )
            for row in rows
        ],
    )


def selftest(rows: Rows) -> str:
    """Findings of the self-test by kernel, with the largest error in units of what is allowed."""
    kernels = dict.fromkeys(row["kernel"] for row in rows)
    return table(
        ("kernel", "findings", "verdicts", "largest error over the allowed one"),
        [
            (
                f"`{kernel}`",
                len(own := [row for row in rows if row["kernel"] == kernel]),
                ", ".join(
                    f"{count} {verdict}" for verdict, count in Counter(row["verdict"] for row in own).items()
                ),
                f"{max((float(row['error']) / float(row['allowed']) for row in own if _is_error(row)), default=0):.2g}",
            )
            for kernel in kernels
        ],
    )


def _is_error(row: dict[str, str]) -> bool:
    try:
        return float(row["allowed"]) > 0 and float(row["error"]) >= 0
    except ValueError:
        return False


def tuning(rows: Rows) -> str:
    """The fastest configuration of each launch."""
    launches: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        key = row["card"], row["kernel"], row["tuned for"]
        if key not in launches or float(row["milliseconds"]) < float(launches[key]["milliseconds"]):
            launches[key] = row
    return table(
        ("card", "kernel", "tuned for", "fastest configuration", "milliseconds"),
        [
            (row["card"], f"`{row['kernel']}`", row["tuned for"], row["configuration"], row["milliseconds"])
            for row in launches.values()
        ],
    )


TABLES: dict[str, Callable[[Rows], str]] = {
    "examinations.csv": examinations,
    "selftest.csv": selftest,
    "tuning.csv": tuning,
}


def _page() -> str:
    """What the folder of measurements says of itself, then each file."""
    files = [path for path in sorted(MEASURED.iterdir()) if path.suffix in (".csv", ".json", ".txt")]
    parts = ["```{include} ../../kernels/benchmarks/measured/README.md\n```"]
    for path in files:
        parts.append(
            f"## {path.name}\n\n{{download}}`{path.name} <../../kernels/benchmarks/measured/{path.name}>`"
        )
        if path.suffix == ".csv":
            parts.append(f"```{{include}} parts/{path.stem}.md\n```")
        if path.suffix == ".txt":
            parts.append(
                f"```{{literalinclude}} ../../kernels/benchmarks/measured/{path.name}\n:language: text\n```"
            )
    return "\n\n".join(parts) + "\n"
