"""All claims with all their proofs, and what is wrong with the collection before anything runs."""

from collections.abc import Mapping, Sequence
from importlib import import_module

from proofs_check.proof import Claim, Proof

SOURCES = ("coq_prover", "exact.integrals", "exact.collection", "links")
"""Modules of proofs_check with a function `proofs`, strongest method first."""

MAY_LACK_A_GENERAL_PROOF = frozenset({"T18"})
"""Required as exact numeric checks only; every other claim has a general proof or says what is missing."""

Proofs = dict[str, list[Proof]]
"""Theorem id -> proofs."""


def collect() -> Proofs:
    """The proofs of all sources, by claim. Imports them all, SymPy among what they bring along."""
    together: Proofs = {}
    for source in SOURCES:
        for proof in import_module(f"proofs_check.{source}").proofs():
            together.setdefault(proof.claim, []).append(proof)
    return together


def problems(claims: Mapping[str, Claim], proofs: Mapping[str, Sequence[Proof]]) -> list[str]:
    """What is wrong with a collection: proofs of unknown claims, claims without proof, a gap that is not stated."""
    found = [
        f"{claim}: proofs of an unknown claim: {', '.join(proof.name for proof in proofs[claim])}"
        for claim in proofs
        if claim not in claims
    ]
    for claim, about in claims.items():
        group = proofs.get(claim, ())
        if not any(proof.method != "mutation" for proof in group) and (group or not about.missing):
            found.append(f"{claim}: no proof at all")
        general = any(proof.is_general for proof in group)
        if not general and not about.missing and claim not in MAY_LACK_A_GENERAL_PROOF:
            found.append(f"{claim}: no general proof, and the claim does not say what is missing")
    return found
