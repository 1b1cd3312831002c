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
}


def _styled(word: str) -> Text:
    return Text(word, style=STYLES[word])


def print_run(run: Run) -> None:
    """All proofs, then each claim's standing, then what needs attention."""
    print_table(
        "Proofs",
        ["claim", "method", "scope", "what", "instances", "seconds", "verdict", "detail"],
        [_proof_row(result) for result in run.results],
        left=["method", "scope", "what", "verdict", "detail"],
    )
    rows = summary_rows(run)
    header = [name for name in rows[0] if name != "missing"]
    print_table(
        "Claims",
        header,
        [[_styled(row[name]) if name == "standing" else row[name] for name in header] for row in rows],
        left=["title", "standing", "general proof", "proofs"],
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
    counts = run.counts
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
    if not run.complete:
        lines.append("only a part of the proofs was asked for")
    lines.append(
        f"{counts['passed']} proofs passed, {counts['failed']} failed, {counts['not run']} not run, "
        f"in {run.seconds:.0f} s"
    )
    return lines
