"""What the command prints of cross-checks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import typer
from rich.text import Text

from osdn_theory._console import print_table
from osdn_theory.crosscheck.results import Comparison, CrossCheck, Curve, Outcome, Verdict

MARKS: dict[Outcome, Text] = {
    "confirmed": Text("✓", style="green"),
    "contradicted": Text("✗", style="bold red"),
    "not observable": Text("?", style="bold yellow"),
    "not applicable": Text("·", style="dim"),
}


def print_checks(checks: Sequence[CrossCheck]) -> None:
    """What was compared with what, how far off it is, what that says of the theorems, and what is wrong."""
    print_table(
        "What the kernel is taken to compute",
        ["", "statement"],
        checks[0].statement.items(),
        left=["statement"],
    )
    print_table(
        "Errors against float64 on the same inputs; a token's norm relative to the exact one",
        [
            "stream, rule", "quantity", "worst error", "median", "bound / error", "worst head", "ulps > 4",
            "leaves its bound at", "bound by",
        ],
        (row for check in checks for row in _comparison_rows(check)),
        left=["quantity", "bound by"],
    )  # fmt: skip
    for name, title in _titles(checks).items():
        typer.echo(f"  {name}: {title}")
    print_table(
        "Theorems, from the kernel's own numbers (✓ confirmed, ✗ contradicted, ? not observable, · not applicable)",
        ["stream, rule", *_theorems(checks)],
        (_verdict_row(check, _theorems(checks)) for check in checks),
    )
    print_table(
        "Product of residual ratios, log10, from the kernel's own reads (T6), and distance from exact Newton",
        [
            "stream, rule",
            "T",
            "kernel",
            "exact",
            "T log(C/T)",
            "certain",
            "rounding may end it",
            "off by 2x",
            "Newton",
            "exact Newton",
        ],
        (_curve_row(check) for check in checks),
    )
    for check in checks:
        for line in _lines(check):
            typer.echo(line)


def label(check: CrossCheck) -> str:
    """Stream and rule, and the configuration where there are several."""
    named = f"{check.stream}, {check.rule}"
    return f"{named} ({check.configuration})" if check.configuration else named


def _comparison_rows(check: CrossCheck) -> Iterator[list[str | Text]]:
    for found in check.comparisons:
        left = "" if found.first_outside is None else f"token {found.first_outside}"
        slack = found.median_slack
        yield [
            label(check),
            found.name,
            f"{found.worst_error:.1e}",
            f"{found.median_error:.1e}",
            "" if slack is None else f"{slack:.3g}",
            ",".join(map(str, found.worst_head)),
            _many_ulps(found),
            Text(left, style="bold red"),
            found.basis,
        ]


def _titles(checks: Sequence[CrossCheck]) -> dict[str, str]:
    """What the names of the quantities mean; of the gradients, once for all."""
    found = {item.name: item.title for check in checks for item in check.comparisons}
    plain = {name: title for name, title in found.items() if not name.startswith("grad ")}
    return plain | (
        {"grad": "gradients of a random linear form of all results"} if len(plain) < len(found) else {}
    )


def _many_ulps(found: Comparison) -> str:
    """Share of entries more than 4 ulps off."""
    small = sum(found.ulps[name] for name in ("0", "<= 1/2", "<= 1", "<= 2", "<= 4"))
    total = sum(found.ulps.values())
    return f"{1 - small / total:.0%}" if total else ""


def _theorems(checks: Sequence[CrossCheck]) -> list[str]:
    found = {verdict.theorem for check in checks for verdict in check.verdicts}
    return sorted(found, key=lambda name: int(name[1:]))


def _verdict_row(check: CrossCheck, theorems: Sequence[str]) -> list[str | Text]:
    known = {verdict.theorem: MARKS[verdict.outcome] for verdict in check.verdicts}
    return [label(check), *(known.get(theorem, Text("")) for theorem in theorems)]


def _curve_row(check: CrossCheck) -> list[str]:
    row = [label(check), str(check.shape["T"])]
    row += [""] * 6 if check.curve is None else _curve_cells(check.curve)
    if check.newton is None:
        return [*row, "", ""]
    last = check.newton.kernel[..., -1], check.newton.exact[..., -1]
    return [*row, *(f"{float(distance.max()):.3g}" for distance in last)]


def _curve_cells(curve: Curve) -> list[str]:
    return [
        _decades(float(curve.kernel[-1])),
        _decades(float(curve.exact[-1])),
        "does not apply" if curve.bound is None else _decades(float(curve.bound[-1])),
        f"-{curve.decades:.1f}",
        "never" if curve.ends is None else f"token {curve.ends}",
        "never" if curve.departs is None else f"token {curve.departs}",
    ]


def _decades(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else str(value)


def _lines(check: CrossCheck) -> Iterator[str]:
    where = label(check)
    for note in check.notes:
        yield f"note: {where}: {note}"
    for verdict in check.verdicts:
        if verdict.outcome in ("contradicted", "not observable"):
            yield f"{verdict.outcome}: {verdict.theorem} {verdict.title} on {where}: {_sides(verdict)}{verdict.reason}"
    for symptom in check.symptoms:
        yield f"symptom: {where}: {symptom.sentence} Evidence: {symptom.evidence}."


def _sides(verdict: Verdict) -> str:
    if verdict.lhs is None or verdict.rhs is None or verdict.allowance is None:
        return ""
    return f"{verdict.lhs:.4g} against {verdict.rhs:.4g}, rounding up to {verdict.allowance:.2g}; "
