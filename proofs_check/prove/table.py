"""The tables that the command prints."""

import typer
from rich.text import Text

from osdn_theory.commands.console import print_table
from osdn_theory.proofs import METHODS, ProofLine, ProofsRun, ProvedClaim

STYLES = {
    "passed": "green",
    "proved": "green",
    "proved in part": "yellow",
    "failed": "bold red",
    "not run": "bold yellow",
    "instances only": "yellow",
    "not proved": "bold yellow",
}


def print_run(run: ProofsRun) -> None:
    """Where each theorem stands, and what needs attention; every check too where only a part was asked for."""
    proofs = [proof for claim in run.claims for proof in claim.proofs]
    if not run.complete:
        print_table(
            "Checks",
            ["claim", "method", "scope", "what", "instances", "seconds", "verdict", "detail"],
            [_proof_row(proof) for proof in proofs],
            left=["method", "scope", "what", "verdict", "detail"],
        )
    print_table(
        "Theorems",
        ["claim", "title", "standing", "proved in all dimensions"],
        [[c.id, c.title, _styled(c.standing), general_text(c)] for c in run.claims],
        left=["title", "standing", "proved in all dimensions"],
    )
    for line in _closing_lines(run, proofs):
        typer.echo(line)


def _styled(word: str) -> Text:
    return Text(word, style=STYLES[word])


def _proof_row(proof: ProofLine) -> list[str | Text]:
    instances, verdict = str(proof.instances or ""), _styled(proof.verdict)
    what = [proof.claim, proof.method, proof.scope, proof.name]
    return [*what, instances, f"{proof.seconds:.2f}", verdict, proof.detail]


def general_text(claim: ProvedClaim) -> str:
    """By what a theorem is proved in all dimensions."""
    if not claim.general_known:
        return "no general proof"
    names = ", ".join(METHODS[method] for method in claim.general)
    others = claim.general_known - sum(claim.general.values())
    return (f"by {names}" if names else "none passed") + (
        f"; {others} not passed" if others and names else ""
    )


def _closing_lines(run: ProofsRun, proofs: list[ProofLine]) -> list[str]:
    untied: dict[str, list[str]] = {}
    for claim in run.claims:
        for name, reason in claim.untied.items():
            untied.setdefault(reason, []).append(name)
    return [
        *(f"missing: {claim.id}: {claim.missing}" for claim in run.claims if claim.missing),
        *(
            f"failed: {proof.claim} {proof.name}: {proof.detail}"
            for proof in proofs
            if proof.verdict == "failed"
        ),
        *sorted({f"not run: {proof.detail}" for proof in proofs if proof.verdict == "not run"}),
        *(f"problem: {problem}" for problem in run.problems),
        *(f"not tied to the code, {reason}: {', '.join(names)}" for reason, names in untied.items()),
        *([] if run.complete else ["only a part of the proofs was asked for"]),
        f"{run.headline}, in {run.seconds:.0f} s",
    ]
