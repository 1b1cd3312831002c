"""Documents that other commands leave in a report folder, made by their own classes, for the tests of the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from osdn_theory import __version__
from osdn_theory.base.documents import convert
from osdn_theory.proofs import PROOFS, ProofLine, ProofsRun, ProvedClaim
from proofs_check.claims import CLAIMS
from proofs_check.proof import ALL, INSTANCES, Judgement, failed, passed

NOT_RUN = Judgement("not run", "coqc is not installed")


def proof(claim: str, method: Any, found: Judgement) -> ProofLine:
    general = method in ("coq", "symbolic")
    what = {
        "claim": claim,
        "method": method,
        "scope": ALL if general else INSTANCES,
        "name": f"{claim}_{method}",
    }
    judged = {**vars(found), "seconds": 0.5}
    return ProofLine(**what, statement=f"what {claim} says", general=general, **judged)


def proofs_document(changed: Mapping[str, Judgement] | None = None, **fields: Any) -> dict[str, Any]:
    """proofs.json in which Coq proves every theorem, except where `changed` has other evidence for its Coq proof."""
    changed = changed or {}
    claims = tuple(
        ProvedClaim(
            **vars(claim),
            general_known=1,
            proofs=(
                proof(claim.id, "coq", changed.get(claim.id, passed("closed under the global context"))),
                proof(claim.id, "exact", passed("all equal", instances=7)),
                proof(claim.id, "mutation", passed("refuted", instances=3, killed=3)),
            ),
        )
        for claim in CLAIMS.values()
    )
    versions = {"python": "3.11", "coq": "8.16", "osdn": __version__}
    run = ProofsRun(complete=True, seconds=12.0, versions=versions, problems=(), claims=claims)
    return {**PROOFS.as_dict(run, "osdn-theory prove --out report"), **fields}


def restated(document: dict[str, Any]) -> dict[str, Any]:
    """proofs.json with all that follows from its fields stated anew."""
    return PROOFS.as_dict(convert(document, ProofsRun), document["command"])


def failed_proof() -> Judgement:
    return failed("axioms: a_made_up_axiom")


def leave(folder: Path, name: str, document: Any) -> Path:
    """Write a document into a folder, as text or as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path
