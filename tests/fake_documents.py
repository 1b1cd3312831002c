"""Documents that other commands leave in a report folder, made by their own classes, for the tests of the page."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from osdn_theory import __version__
from osdn_theory.crosscheck.results import Comparison, CrossCheck, Curve, Symptom, Verdict
from osdn_theory.jsonable import jsonable
from proofs_check.claims import CLAIMS
from proofs_check.proof import ALL, INSTANCES, Evidence, failed, passed
from proofs_check.results import ClaimResult, ProofResult, Run

NOT_RUN = Evidence("not run", "coqc is not installed")


def proof(claim: str, method: Any, evidence: Evidence) -> ProofResult:
    general = method in ("coq", "symbolic")
    scope = ALL if general else INSTANCES
    return ProofResult(
        claim, method, scope, f"{claim}_{method}", f"what {claim} says", general, evidence, seconds=0.5
    )


def proofs_document(changed: Mapping[str, Evidence] | None = None, **fields: Any) -> dict[str, Any]:
    """proofs.json in which Coq proves every theorem, except where `changed` has other evidence for its Coq proof."""
    changed = changed or {}
    claims = [
        ClaimResult(
            claim,
            [
                proof(claim.id, "coq", changed.get(claim.id, passed("closed under the global context"))),
                proof(claim.id, "exact", passed("all equal", instances=7)),
                proof(claim.id, "mutation", passed("refuted", instances=3, killed=3)),
            ],
            general_known=1,
        )
        for claim in CLAIMS.values()
    ]
    run = Run(claims, [], 12.0, {"python": "3.11", "coq": "8.16", "osdn": __version__}, complete=True)
    document: dict[str, Any] = {**jsonable(run.as_dict()), **fields}
    return document


def failed_proof() -> Evidence:
    return failed("axioms: a_made_up_axiom")


def crosscheck_document(excess: float = 0.5, verdict: Any = "confirmed") -> dict[str, Any]:
    """crosscheck.json with one run: outputs that use up `excess` of their bound, and a verdict on T6."""
    tokens = np.arange(1, 9)
    error = np.full((1, 2, 8), 1e-7)
    outputs = Comparison(
        "o", "outputs", tokens, error * excess, error, np.full((1, 2, 8), excess), {"0": 16}, "float32", "T18"
    )
    gradient = Comparison(
        "grad k", "gradient", tokens, error, None, None, {"0": 16}, "float32", "no bound is claimed"
    )
    sums = -np.arange(1.0, 9.0)
    curve = Curve(
        index=(0, 1),
        kernel=sums,
        exact=sums,
        guaranteed=sums / 2,
        least=sums * 2,
        bound=sums / 3,
        constant=2.0,
        ratio=sums,
        exact_ratio=sums,
        floor=sums - 20,
        ends=7,
        departs=None,
    )
    run = CrossCheck(
        statement={"kernel": "chunk_osdn", "computes": "S_t = ..."},
        stream="interpolating",
        rule="fast",
        dtype="float32",
        device="cpu",
        shape={"B": 1, "H": 2, "T": 8, "K": 4, "V": 4},
        comparisons=(outputs, gradient),
        verdicts=(Verdict("T6", "Super-geometric convergence", verdict, "first 8 of 8 tokens"),),
        symptoms=(Symptom("bfloat16 d", "d is stored in bfloat16", "spacing 2^-8"),) if excess > 1 else (),
        curve=curve,
        notes=("nothing else was looked at",),
    )
    command = "osdn-theory crosscheck --kernel chunk_osdn --out report"
    return {"format": "osdn-crosscheck/1", "osdn": __version__, "command": command, "checks": [run.as_dict()]}


def leave(folder: Path, name: str, document: Any) -> Path:
    """Write a document into a folder, as text or as JSON, with a date after that of every source file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    date(path, days=1)
    return path


def date(path: Path, days: float) -> None:
    """Set the date of a file to so many days from now: sources may change while the tests run."""
    moment = time.time() + 86400 * days
    os.utime(path, (moment, moment))
