"""The Coq library compiled from scratch and held against its register of statements."""

from collections.abc import Iterator
from pathlib import Path

from proofs_check.coq_prover.theorems import proofs_of
from proofs_check.exact.collection import LAWS, NOT_TIED
from proofs_check.proof import Proof

FOLDER = Path(__file__).resolve().parent.parent / "coq"


def proofs() -> Iterator[Proof]:
    """One for each theorem of the register as it is now."""
    return proofs_of(FOLDER, LAWS, NOT_TIED)
