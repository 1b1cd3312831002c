"""Proofs by SymPy, on the objects that `osdn_theory.symbolic` derives.

Both sides of an identity are matrix expressions with symbolic sizes; their difference is brought to a normal form
(`terms`) and must vanish, so an identity holds in every dimension. Each is also evaluated exactly, without the normal
form, on random rational matrices (`evaluate`), and every false variant must be refuted by both.
"""

from __future__ import annotations

from proofs_check.proof import Proof
from proofs_check.symbolic import (
    calibration_theorems,
    chunk_theorems,
    context_theorems,
    gated_theorems,
    isotropic_theorems,
    token_theorems,
)
from proofs_check.symbolic.theorem import Mutant, Theorem

THEOREMS: tuple[Theorem, ...] = (
    *token_theorems.THEOREMS,
    *context_theorems.THEOREMS,
    *calibration_theorems.THEOREMS,
    *chunk_theorems.THEOREMS,
    *gated_theorems.THEOREMS,
    *isotropic_theorems.THEOREMS,
)

PROOFS: dict[str, list[Proof]] = {}
"""Theorem id -> proofs."""

MUTANTS: dict[str, list[Mutant]] = {}
"""Theorem id -> false variants, each with its `kind`, its `change`, and `accepted()` by the same checker."""

for _theorem in THEOREMS:
    PROOFS.setdefault(_theorem.claim, []).extend(_theorem.proofs())
    MUTANTS.setdefault(_theorem.claim, []).extend(_theorem.mutants)
