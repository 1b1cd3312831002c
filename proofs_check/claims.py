"""The claims T1 to T29: the theorems of `osdn_theory`, where they are loose, and what has no general proof."""

from collections.abc import Mapping

from osdn_theory.base.tables import read_table
from osdn_theory.theorems import THEOREMS
from proofs_check.proof import Claim

_TABLE = read_table(__file__)

NOTES: Mapping[str, str] = _TABLE["notes"]
"""Where a theorem is proved otherwise than the theory page has it."""

MISSING: Mapping[str, str] = _TABLE["missing"]
"""What has no general proof, and why."""

CLAIMS: dict[str, Claim] = {
    name: Claim(
        name,
        theorem.title,
        theorem.latex,
        theorem.plain,
        theorem.hypotheses,
        note=NOTES.get(name, ""),
        missing=MISSING.get(name, ""),
    )
    for name, theorem in THEOREMS.items()
}
"""Theorem id -> claim, in the order of the theory page."""
