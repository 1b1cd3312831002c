"""The tables that the command prints."""

from __future__ import annotations

import typer
from rich.text import Text

from osdn_theory.commands.console import print_table
from proofs_check.results import ProofResult, Run, summary_rows

STYLES = {
    "passed": "green",
    "proved": "green",
    "proved in part": "yellow",
    "failed": "bold red",
    "not run": "bold yellow",
    "instances only": "yellow",
    "not proved": "bold yellow",
}


def _styled(word: str) -> Text:
    return Text(word, style=STYLES[word])


def print_run(run: Run) -> None:
    """Where each theorem stands, and what needs attention; every check too where only a part was asked for."""
    if not run.complete:
        print_table(
            "Checks",
            ["claim", "method", "scope", "what", "instances", "seconds", "verdict", "detail"],
            [_proof_row(result) for result in run.results],
            left=["method", "scope", "what", "verdict", "detail"],
        )
    rows = summary_rows(run)
    header = [name for name in rows[0] if name != "missing"]
    print_table(
        "Theorems",
        header,
        [[_styled(row[name]) if name == "standing" else row[name] for name in header] for row in rows],
        left=["title", "standing", "proved in all dimensions"],
    )
    for line in _closing_lines(run):
        typer.echo(line)


def _proof_row(result: ProofResult) -> list[str | Text]:
    evidence = result.evidence
    return [
        result.claim,
        result.method,
        result.scope,
        result.name,
        str(evidence.instances or ""),
        f"{result.seconds:.2f}",
        _styled(evidence.verdict),
        evidence.detail,
    ]


def _closing_lines(run: Run) -> list[str]:
    lines = [
        f"missing: {claim.claim.id}: {claim.claim.missing}" for claim in run.claims if claim.claim.missing
    ]
    lines += [
        f"failed: {result.claim} {result.name}: {result.evidence.detail}"
        for result in run.results
        if result.verdict == "failed"
    ]
    lines += sorted(
        {f"not run: {result.evidence.detail}" for result in run.results if result.verdict == "not run"}
    )
    lines += [f"problem: {problem}" for problem in run.problems]
    lines += _untied_lines(run)
    if not run.complete:
        lines.append("only a part of the proofs was asked for")
    return [*lines, f"{run.headline}, in {run.seconds:.0f} s"]


def _untied_lines(run: Run) -> list[str]:
    """Coq's statements that are held against no law, by the reason."""
    untied: dict[str, list[str]] = {}
    for claim in run.claims:
        for name, reason in claim.untied.items():
            untied.setdefault(reason, []).append(name)
    return [f"not tied to the code, {reason}: {', '.join(names)}" for reason, names in untied.items()]
