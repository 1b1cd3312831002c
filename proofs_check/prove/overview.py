"""``python -m proofs_check.prove.overview``: README's map from each theorem to its proofs, from the collection."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from proofs_check.claims import CLAIMS
from proofs_check.proof import Claim, Proof
from proofs_check.prove.collection import Proofs, collect

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- map: begin -->\n", "<!-- map: end -->\n"
_HEADER = (
    "| theorem | proved by Coq, in all dimensions | false, by Coq, without a hypothesis | missing |\n"
    "|---|---|---|---|\n"
)


def markdown_map(proofs: Proofs) -> str:
    """A Markdown table with one row for each claim."""
    return _HEADER + "".join(f"{_row(claim, proofs.get(claim.id, ()))}\n" for claim in CLAIMS.values())


def _row(claim: Claim, proofs: Sequence[Proof]) -> str:
    general = _names(claim, (proof for proof in proofs if proof.method == "coq"))
    by_sympy = _names(claim, (proof for proof in proofs if proof.method == "symbolic"))
    false = _names(claim, (proof for proof in proofs if proof.group == "coq" and proof.method == "mutation"))
    also = f"; by SymPy: {by_sympy}" if by_sympy else ""
    return f"| {claim.id} {claim.title} | {general}{also} | {false or '–'} | {claim.missing or '–'} |"


def _names(claim: Claim, proofs: Iterable[Proof]) -> str:
    """Their names, without the id that the row starts with."""
    return ", ".join(proof.name.removeprefix(f"{claim.id}_") for proof in proofs)


def with_map(readme: str, table: str) -> str:
    """The README with `table` in the place of the one that it has."""
    before, _, rest = readme.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError("README: the marks around the map are missing")
    return f"{before}{BEGIN}{table}{END}{after}"


if __name__ == "__main__":
    README.write_text(with_map(README.read_text(), markdown_map(collect())))
