"""Where each theorem stands with its proofs, by the ``proofs.json`` of a report folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from osdn_theory.proofs import FILE, METHODS, PROOFS, ProofsRun, ProvedClaim, Standing
from osdn_theory.report.reading.documents import Document, read_document

ShownStanding = Standing | Literal["not run here", "not usable"]


@dataclass(frozen=True)
class ProofStatus:
    """Where a theorem stands with its proofs, as the page shows it.

    Attributes
    ----------
    standing : str
        That of the document; "not run here" where there is none or it leaves the theorem out; "not usable" where
        the document is corrupt or stale.
    summary : str
        The best method and its scope.
    claim : ProvedClaim or None
    """

    standing: ShownStanding
    summary: str
    claim: ProvedClaim | None = None


def read_proofs(folder: Path) -> Document[ProofsRun]:
    """The proofs document of a report folder."""
    return read_document(folder / FILE, PROOFS, name=FILE)


def proof_status(document: Document[ProofsRun], theorem: str) -> ProofStatus:
    """Where one theorem stands; nothing but a document that was read can make it proved."""
    if document.content is None:
        absent = document.state == "absent"
        return ProofStatus("not run here" if absent else "not usable", document.notice)
    claim = document.content.claim(theorem)
    if claim is None:
        return ProofStatus("not run here", f"{document.file} holds no proof of it: only a part was asked for")
    return ProofStatus(claim.standing, _summary(claim), claim)


def _summary(claim: ProvedClaim) -> str:
    if claim.general:
        methods = [f"{METHODS[method]} ({count})" for method, count in claim.general.items()]
        return f"in all dimensions by {', '.join(methods)}"
    passed = [proof for proof in claim.proofs if proof.verdict == "passed"]
    if not passed:
        return "nothing passed"
    best = min(passed, key=lambda proof: list(METHODS).index(proof.method))
    scope = "" if best.scope == "instances" else f" in {best.scope}"
    return f"no general proof passed; the best that did: {best.method_name}{scope}"
