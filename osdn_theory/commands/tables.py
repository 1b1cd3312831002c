"""The tables that the commands print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from osdn_theory.commands.console import MARKS, STYLES, print_table
from osdn_theory.verification.digest import Cell, Digest, digest, format_slack

if TYPE_CHECKING:
    from osdn_theory.bounds.check import BoundCheck
    from osdn_theory.measures.analysis import HeadAnalysis
    from osdn_theory.verification.run import Verification
    from osdn_theory.verification.tightness import TightenResult


def print_verification(verification: Verification, page: Path | None) -> None:
    """The verdict: theorems by streams, the counts of every statement, and every problem in full."""
    found = digest(verification.checks)
    _print_matrix(found)
    outcomes = list(found.counts)
    print_table(
        "Checks by statement; slack is log10(right side / left side)",
        ["statement", *outcomes, "smallest slack"],
        (
            [
                f"{theorem.name} {statement.title}",
                *(_count(outcome, statement.total) for outcome in outcomes),
                format_slack(statement.total.log10_slack),
            ]
            for theorem in found.theorems
            for statement in theorem.statements
        ),
    )
    for check in found.problems:
        where = f"{check.stream}[{','.join(map(str, check.index))}], {check.rule}"
        sides = f"{check.lhs} against {check.rhs}" if check.lhs is not None else ""
        line = f"{check.outcome}: {check.theorem} {check.title} on {where}: {sides} {check.reason}"
        typer.echo(" ".join(line.split()))
    typer.echo(", ".join(f"{count} {outcome}" for outcome, count in found.counts.items()))
    if page is not None:
        typer.echo(f"report: {page}")


def _print_matrix(found: Digest) -> None:
    names = [theorem.name for theorem in found.theorems]
    print_table(
        "Every theorem on every stream (✓ holds, ✗ violated, ? undecided, · not applicable)",
        ["stream", *names],
        ([stream, *(_mark(found.cells.get((name, stream))) for name in names)] for stream in found.streams),
    )


def _mark(cell: Cell | None) -> Text:
    return Text("") if cell is None else Text(MARKS[cell.outcome], style=STYLES[cell.outcome])


def _count(outcome: str, cell: Cell) -> Text:
    count = cell.counts.get(outcome, 0)
    return Text(str(count), style=STYLES[outcome] if count else "dim")


def print_analysis(heads: Sequence[HeadAnalysis], checks: Sequence[BoundCheck]) -> None:
    """One row per head; then, where they were checked, which bounds apply and hold."""
    print_table(
        "OSDN beside DeltaNet (DN); q is the geometric mean residual ratio, tau the calibration time in tokens",
        [
            "head",
            "q",
            "q DN",
            "recall",
            "recall DN",
            "d from",
            "d to",
            "|d-1|",
            "Newton",
            "cond G",
            "rank",
            "tau min",
            "T",
        ],
        (_analysis_row(head) for head in heads),
    )
    if checks:
        _print_matrix(digest(checks))


def _analysis_row(head: HeadAnalysis) -> list[str]:
    osdn, plain = head.measures["osdn"], head.measures["delta_net"]
    numbers = (
        osdn.residual_ratio,
        plain.residual_ratio,
        osdn.recall_ratio,
        plain.recall_ratio,
        osdn.preconditioner_min,
        osdn.preconditioner_max,
        osdn.drift_max,
        osdn.newton_distance,
        head.key_condition,
        head.effective_rank,
        head.fastest_calibration,
    )
    where = f"{head.stream}[{','.join(map(str, head.index))}]"
    return [where, *(f"{number:.3g}" for number in numbers), str(head.length)]


def print_convergence(document: Mapping[str, Any]) -> None:
    """First and last suboptimality of every rule, and where the bound on it begins to say something."""
    print_table(
        "log10(F - F*)",
        ["condition, rule", "first", "last", "bound (T10)"],
        (
            [f"{kappa} {rule}", _short(curve[0]), _short(curve[-1]), _bound(data, rule)]
            for kappa, data in document.items()
            for rule, curve in data["log10_suboptimality"].items()
        ),
        left=["bound (T10)"],
    )


def _bound(data: Mapping[str, Any], rule: str) -> str:
    if rule not in data["bound_rules"]:
        return "none"
    # The step is that of the first rule that has a bound; another one may become useful elsewhere.
    if rule != data["bound_rules"][0]:
        return f"vacuous until T > {data['vacuous_sum'][rule]:.4g}"
    until = data["vacuous_until"]
    return "vacuous throughout" if until is None else f"vacuous until step {until}"


def print_benchmarks(result: Mapping[str, Any]) -> None:
    """Every ratio beside its goal."""
    print_table(
        "Ratios within one run"
        + (" (quick: small sizes, the ratios say nothing)" if result["quick"] else ""),
        ["comparison", "ratio", "goal", "met"],
        (
            [f"{part}: {name}", _short(entry["ratio"]), entry["goal"], "yes" if entry["met"] else "no"]
            for part, name, entry in _comparisons(result)
        ),
    )


def _comparisons(result: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for part, entries in result.items():
        if isinstance(entries, dict):
            for name, entry in entries.items():
                if isinstance(entry, dict) and "met" in entry:
                    yield part, name, entry


def print_tightness(results: Sequence[TightenResult]) -> None:
    """The smallest slack found for every bound, and whether it is attained."""
    print_table(
        "Smallest slack (right side / left side) found by search",
        ["bound", "slack", "attained", "what is known"],
        (
            [
                f"{found.theorem} {found.title}",
                f"{found.slack:.8g}",
                "yes" if found.attained else "no",
                found.note,
            ]
            for found in results
        ),
        left=["what is known"],
    )


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
