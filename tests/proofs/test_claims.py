"""The claims: complete, in order, and in words that can be read."""

from __future__ import annotations

import pytest
from matplotlib.mathtext import MathTextParser

from proofs_check.claims import CLAIMS
from proofs_check.proof import Claim
from proofs_check.prove.collection import MAY_LACK_A_GENERAL_PROOF


def test_every_theorem_is_a_claim_in_order() -> None:
    assert list(CLAIMS) == [f"T{number}" for number in range(1, 30)]
    assert all(claim.id == name for name, claim in CLAIMS.items())


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_every_claim_is_stated_twice(claim: Claim) -> None:
    assert claim.title
    assert claim.plain.endswith(".")
    for text in (claim.plain, claim.note, claim.missing):
        assert text == " ".join(text.split())
        assert not text or text.endswith(".")


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=list(CLAIMS))
def test_the_latex_can_be_drawn(claim: Claim) -> None:
    MathTextParser("path").parse(f"${claim.latex}$")


def test_titles_differ() -> None:
    assert len({claim.title for claim in CLAIMS.values()}) == len(CLAIMS)


@pytest.mark.parametrize(
    ("claim", "caveat"),
    [
        ("T10", "smaller than 1/(2 L^2)"),
        ("T13", "different anchors"),
        ("T15", "persistent excitation"),
        ("T16", "d > 0 is a hypothesis"),
        ("T29", "without their signs"),
        ("T29", "|beta_t| <= 1"),
    ],
)
def test_what_the_checks_found_is_noted(claim: str, caveat: str) -> None:
    assert caveat in CLAIMS[claim].note


def test_what_may_lack_a_general_proof_says_why() -> None:
    for name in MAY_LACK_A_GENERAL_PROOF:
        assert CLAIMS[name].missing
