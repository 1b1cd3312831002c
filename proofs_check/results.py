"""What a run of the proofs found: each proof's verdict, and each claim's standing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from proofs_check.proof import Claim, Evidence, Method, Proof, Verdict

Standing = Literal["proved", "proved in part", "instances only", "failed", "not run"]
"""Where a claim stands after a run.

``proved``: all its general proofs passed, and the claim names nothing as missing. ``proved in part``: general proofs
passed, but others were not run, or the claim says what has none. ``instances only``: it has no general proof.
``failed``: one of its proofs failed. ``not run``: it has general proofs, and none of them was run.
"""

FAILED, NOT_RUN = 1, 3
FORMAT = "osdn-proofs/1"


@dataclass(frozen=True)
class ProofResult:
    """A proof after its run; `evidence.data` holds plain JSON values."""

    claim: str
    method: Method
    scope: str
    name: str
    statement: str
    general: bool
    evidence: Evidence
    seconds: float

    @property
    def verdict(self) -> Verdict:
        return self.evidence.verdict

    @property
    def killed(self) -> int:
        """False variants refuted: a mutation proof is about one, unless its data counts them."""
        if self.method != "mutation" or self.verdict != "passed":
            return 0
        return int(self.evidence.data.get("killed", 1))

    def as_dict(self) -> dict[str, Any]:
        evidence = self.evidence
        return {
            "claim": self.claim,
            "method": self.method,
            "scope": self.scope,
            "general": self.general,
            "name": self.name,
            "statement": self.statement,
            "verdict": evidence.verdict,
            "detail": evidence.detail,
            "instances": evidence.instances,
            "seconds": self.seconds,
            "data": dict(evidence.data),
        }


def result_of(proof: Proof, evidence: Evidence, seconds: float) -> ProofResult:
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
    def standing(self) -> Standing:
        if any(result.verdict == "failed" for result in self.results):
            return "failed"
        if not self.general_known:
            return "instances only"
        if not self.general:
            return "not run"
        complete = len(self.general) == self.general_known and not self.claim.missing
        return "proved" if complete else "proved in part"

    @property
    def killed(self) -> int:
        return sum(result.killed for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        claim = self.claim
        return {
            "id": claim.id,
            "title": claim.title,
            "latex": claim.latex,
            "plain": claim.plain,
            "hypotheses": list(claim.hypotheses),
            "note": claim.note,
            "missing": claim.missing,
            "standing": self.standing,
            "general_proofs": [{"method": result.method, "name": result.name} for result in self.general],
            "mutants_killed": self.killed,
            "proofs": [result.as_dict() for result in self.results],
        }


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
    def counts(self) -> dict[str, int]:
        """Verdict -> number of proofs."""
        counted = Counter(result.verdict for result in self.results)
        return {verdict: counted[verdict] for verdict in ("passed", "failed", "not run")}

    @property
    def exit_code(self) -> int:
        """1 if anything failed, else 3 if a proof was not run, else 0."""
        if self.problems or self.counts["failed"]:
            return FAILED
        return NOT_RUN if self.counts["not run"] else 0

    def as_dict(self) -> dict[str, Any]:
        """The document of ``proofs.json``, as ``schema.json`` describes it."""
        return {
            "format": FORMAT,
            "complete": self.complete,
            "exit_code": self.exit_code,
            "seconds": self.seconds,
            "versions": self.versions,
            "counts": self.counts,
            "problems": list(self.problems),
            "claims": [claim.as_dict() for claim in self.claims],
        }


def summary_rows(run: Run) -> list[dict[str, str]]:
    """One row for each claim, for a table or a report page: what is proved, how, and what is missing."""
    return [_summary_row(claim) for claim in run.claims]


def _summary_row(claim: ClaimResult) -> dict[str, str]:
    verdicts = Counter(result.verdict for result in claim.results)
    instances = sum(result.evidence.instances for result in claim.results if result.verdict == "passed")
    return {
        "claim": claim.claim.id,
        "title": claim.claim.title,
        "standing": claim.standing,
        "general proof": _general_text(claim),
        "instances": str(instances),
        "mutants killed": str(claim.killed),
        "proofs": f"{verdicts['passed']} passed, {verdicts['failed']} failed, {verdicts['not run']} not run",
        "missing": claim.claim.missing,
    }


def _general_text(claim: ClaimResult) -> str:
    if not claim.general_known:
        return "no general proof"
    by_method = Counter(result.method for result in claim.general)
    passed = ", ".join(f"{method} ({count})" for method, count in by_method.items()) or "none passed"
    others = claim.general_known - len(claim.general)
    return f"{passed}; {others} more not passed" if others and claim.general else passed
