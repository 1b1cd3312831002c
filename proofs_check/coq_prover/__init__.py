"""The Coq library compiled from scratch and held against its register of statements."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from proofs_check.coq_prover.theorems import proofs_of
from proofs_check.exact.collection import LAWS, NOT_TIED
from proofs_check.proof import Proof

FOLDER = Path(__file__).resolve().parent.parent / "coq"

PROOFS: dict[str, list[Proof]]
"""Theorem id -> proofs, read from the register when first asked for: the command that writes it imports this too."""


@cache
def _proofs() -> dict[str, list[Proof]]:
    return proofs_of(FOLDER, LAWS, NOT_TIED)


def __getattr__(name: str) -> Any:
    if name == "PROOFS":
        return _proofs()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
