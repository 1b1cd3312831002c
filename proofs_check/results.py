"""What a run of the proofs found: each proof's verdict, and each claim's standing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from osdn_theory.proofs import METHODS, ProofLine, ProofsRun, ProvedClaim, Standing
from proofs_check.proof import Claim, Judgement, Method, Proof, Verdict


@dataclass(frozen=True)
class ProofResult:
    """A proof after its run; `evidence.data` holds plain JSON values."""

    claim: str
    method: Method
    scope: str
    name: str
    statement: str
    general: bool
    evidence: Judgement
    seconds: float

    @property
    def verdict(self) -> Verdict:
        return self.evidence.verdict

    @property
    def line(self) -> ProofLine:
        """What ``proofs.json`` says of it."""
        found = self.evidence
        return ProofLine(
            claim=self.claim,
            method=self.method,
            scope=self.scope,
            general=self.general,
            name=self.name,
            statement=self.statement,
            verdict=found.verdict,
            detail=found.detail,
            instances=found.instances,
            seconds=self.seconds,
            tied=found.tied,
            data=found.data,
        )


def result_of(proof: Proof, evidence: Judgement, seconds: float) -> ProofResult:
    """The result of a proof; `seconds` is what the clock says, unless the evidence knows better."""
    own = seconds if evidence.seconds is None else evidence.seconds
    return ProofResult(
        proof.claim, proof.method, proof.scope, proof.name, proof.statement, proof.is_general, evidence, own
    )


@dataclass(frozen=True)
class ClaimResult:
    """A claim with the results of its proofs; `general_known` counts its general proofs, run or not."""

    claim: Claim
    results: Sequence[ProofResult]
    general_known: int

    @property
    def general(self) -> list[ProofResult]:
        """The general proofs that passed, strongest method first."""
        return [result for result in self.results if result.general and result.verdict == "passed"]

    @property
    def document(self) -> ProvedClaim:
        """What ``proofs.json`` says of it."""
        lines = tuple(result.line for result in self.results)
        return ProvedClaim(**vars(self.claim), general_known=self.general_known, proofs=lines)

    @property
    def standing(self) -> Standing:
        return self.document.standing

    @property
    def untied(self) -> dict[str, str]:
        return self.document.untied

    @property
    def killed(self) -> int:
        return self.document.killed


@dataclass(frozen=True)
class Run:
    """A run of the proofs.

    Attributes
    ----------
    claims : sequence of ClaimResult
    problems : list of str
        What is wrong with the collection of proofs itself; each counts as a failure.
    seconds : float
        Wall clock of the whole run.
    versions : program or library -> version
    complete : bool
        Whether everything in the collection was asked for.
    """

    claims: Sequence[ClaimResult]
    problems: Sequence[str]
    seconds: float
    versions: dict[str, str]
    complete: bool

    @property
    def results(self) -> list[ProofResult]:
        return [result for claim in self.claims for result in claim.results]

    @property
    def document(self) -> ProofsRun:
        """What ``proofs.json`` says of it."""
        return ProofsRun(
            complete=self.complete,
            seconds=self.seconds,
            versions=self.versions,
            problems=tuple(self.problems),
            claims=tuple(claim.document for claim in self.claims),
        )

    @property
    def counts(self) -> dict[Verdict, int]:
        return self.document.counts

    @property
    def headline(self) -> str:
        return self.document.headline

    @property
    def exit_code(self) -> int:
        return self.document.exit_code


def summary_rows(run: Run) -> list[dict[str, str]]:
    """One row for each claim, for a table or a report page: what is proved, how, and what is missing."""
    return [_summary_row(claim) for claim in run.claims]


def _summary_row(claim: ClaimResult) -> dict[str, str]:
    return {
        "claim": claim.claim.id,
        "title": claim.claim.title,
        "standing": claim.standing,
        "proved in all dimensions": _general_text(claim),
        "missing": claim.claim.missing,
    }


def _general_text(claim: ClaimResult) -> str:
    if not claim.general_known:
        return "no general proof"
    names = ", ".join(dict.fromkeys(METHODS[result.method] for result in claim.general))
    others = claim.general_known - len(claim.general)
    return (f"by {names}" if names else "none passed") + (
        f"; {others} not passed" if others and names else ""
    )
