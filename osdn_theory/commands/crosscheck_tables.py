"""What the command prints of cross-checks, in tables of 80 columns."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from textwrap import wrap

import typer
from rich.text import Text

from osdn_theory.commands.console import print_table
from osdn_theory.crosscheck.examination.results import Examination
from osdn_theory.crosscheck.results import Comparison, CrossCheck, Curve, Outcome, Verdict

WIDTH = 80
print_narrow = partial(print_table, width=WIDTH)

MARKS: dict[Outcome, Text] = {
    "confirmed": Text("✓", style="green"),
    "contradicted": Text("✗", style="bold red"),
    "not observable": Text("?", style="bold yellow"),
    "not applicable": Text("·", style="dim"),
}
RIGHT, WRONG = Text("✓", style="green"), Text("✗", style="bold red")


def print_examination(found: Examination) -> None:
    """What was asked, what came back, what would have been seen, and what is wrong; the verdict comes last."""
    print_statement(found.statement)
    if found.exercises:
        _print_exercises(found)
        _print_power(found)
    if found.invariances:
        _print_invariances(found)
    if found.streams:
        print_streams(found.streams)
    for item in found.explanations:
        say(f"explained by {item.name}: {item.sentence}")
    for line in found.unmet:
        say(f"required, and not met: {line}")
    say(found.sentence)


def print_statement(statement: Mapping[str, str]) -> None:
    """What the kernel is taken to compute, and how it is called."""
    rows = list(statement.items())
    print_narrow("What the kernel is taken to compute", ["", "statement"], rows, left=["statement"])


def print_streams(checks: Sequence[CrossCheck]) -> None:
    """Streams that the theorems speak of: errors, verdicts, and the curve of residual ratios."""
    names = [label(check) for check in checks]
    for number, name in enumerate(names, 1):
        say(f"stream {number}: {name}, {checks[number - 1].dtype}")
    _print_comparisons(checks)
    theorems = _theorems(checks)
    if theorems:
        print_narrow(
            "Theorems, from the kernel's own numbers\n"
            "(✓ confirmed, ✗ contradicted, ? not observable, · not applicable)",
            ["stream", *theorems],
            (_verdict_row(number, check, theorems) for number, check in enumerate(checks, 1)),
        )
    _print_curves(checks)
    _print_newton(checks)
    for check in checks:
        for line in _lines(check):
            say(line)


def say(line: str) -> None:
    """A line of text, wrapped."""
    typer.echo("\n".join(wrap(line, WIDTH, subsequent_indent="  ", break_long_words=False)) or line)


def label(check: CrossCheck) -> str:
    """Stream and rule, and the configuration where there are several."""
    named = f"{check.stream}, {check.rule}"
    return f"{named} ({check.configuration})" if check.configuration else named


def _print_exercises(found: Examination) -> None:
    rows: list[list[str | Text]] = []
    for exercise in found.exercises:
        worst = exercise.worst
        cells = ("", "", "")
        if worst is not None:
            _, item = worst
            cells = (item.name, f"{item.worst_error:.1e}", f"{item.worst_excess:.2g}")
        rows.append([exercise.name, *cells, RIGHT if exercise.within else WRONG])
    print_narrow(
        "Exercises: the quantity nearest to its bound in each, or farthest outside it",
        ["exercise", "quantity", "error", "error / bound", ""],
        rows,
        left=["quantity"],
    )
    for basis in _bases(check for exercise in found.exercises for check in exercise.checks):
        say(f"bound: {basis}")


def _bases(checks: Iterable[CrossCheck]) -> list[str]:
    """Where bounds come from, each once, without those that need no rounding."""
    found = dict.fromkeys(item.basis for check in checks for item in check.comparisons)
    return [basis for basis in found if "no tokens" not in basis]


def _print_power(found: Examination) -> None:
    assert found.power is not None
    for reach in found.power.unseen:
        say(f"would not have seen: {reach.fault.sentence} ({reach.reason})")


def _print_invariances(found: Examination) -> None:
    rows = [[item.name, item.title, item.outcome] for item in found.invariances]
    print_narrow("The kernel held against itself", ["", "what", "outcome"], rows, left=["what", "outcome"])
    for item in found.invariances:
        if item.detail and item.outcome != "equal bit for bit":
            say(f"{item.name}: {item.detail}")


def _print_comparisons(checks: Sequence[CrossCheck]) -> None:
    print_narrow(
        "Errors against float64 on the same inputs;\na token's norm relative to the exact one",
        ["stream", "quantity", "worst error", "median", "bound / error", "worst head", "outside from"],
        (
            _comparison_row(number, item)
            for number, check in enumerate(checks, 1)
            for item in check.comparisons
        ),
        left=["quantity"],
    )
    for name, title in _titles(checks).items():
        say(f"{name}: {title}")
    for basis in _bases(checks):
        say(f"bound: {basis}")


def _comparison_row(number: int, found: Comparison) -> list[str | Text]:
    left = "" if found.first_outside is None else f"token {found.first_outside}"
    slack = found.median_slack
    return [
        str(number),
        found.name,
        f"{found.worst_error:.1e}",
        f"{found.median_error:.1e}",
        "" if slack is None else f"{slack:.3g}",
        ",".join(map(str, found.worst_head)),
        Text(left, style="bold red"),
    ]


def _titles(checks: Sequence[CrossCheck]) -> dict[str, str]:
    """What the names of the quantities mean; of the gradients, once for all."""
    found = {item.name: item.title for check in checks for item in check.comparisons}
    plain = {name: title for name, title in found.items() if not name.startswith("grad ")}
    return plain | (
        {"grad": "gradients of a random linear form of all results"} if len(plain) < len(found) else {}
    )


def _theorems(checks: Sequence[CrossCheck]) -> list[str]:
    found = {verdict.theorem for check in checks for verdict in check.verdicts}
    return sorted(found, key=lambda name: int(name[1:]))


def _verdict_row(number: int, check: CrossCheck, theorems: Sequence[str]) -> list[str | Text]:
    known = {verdict.theorem: MARKS[verdict.outcome] for verdict in check.verdicts}
    return [str(number), *(known.get(theorem, Text("")) for theorem in theorems)]


def _print_curves(checks: Sequence[CrossCheck]) -> None:
    curves = [(number, check.curve) for number, check in enumerate(checks, 1) if check.curve is not None]
    if curves:
        print_narrow(
            "Product of residual ratios, log10, from the kernel's own reads (T6)",
            ["stream", "kernel", "exact", "T log(C/T)", "certain", "hidden", "2x off"],
            ([str(number), *_curve_cells(curve)] for number, curve in curves),
        )
        say(
            "certain: in spite of rounding; hidden, 2x off: from which token on rounding may hide it, and it is off"
        )


def _curve_cells(curve: Curve) -> list[str]:
    return [
        _decades(float(curve.kernel[-1])),
        _decades(float(curve.exact[-1])),
        "no C" if curve.bound is None else _decades(float(curve.bound[-1])),
        f"-{curve.decades:.1f}",
        "never" if curve.ends is None else str(curve.ends),
        "never" if curve.departs is None else str(curve.departs),
    ]


def _print_newton(checks: Sequence[CrossCheck]) -> None:
    rows = [
        [
            str(number),
            *(f"{float(side[..., -1].max()):.3g}" for side in (check.newton.kernel, check.newton.exact)),
        ]
        for number, check in enumerate(checks, 1)
        if check.newton is not None
    ]
    if rows:
        print_narrow("Distance of the final state from exact Newton", ["stream", "kernel", "exact"], rows)


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
