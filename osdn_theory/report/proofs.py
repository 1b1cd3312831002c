"""What ``proofs.json`` says: every proof with its verdict, and where each theorem stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from osdn_theory.base.fields import Fields
from osdn_theory.report.documents import Document, StaleError, read_document
from osdn_theory.theorems import THEOREMS

FILE = "proofs.json"
FORMAT = "osdn-proofs/1"

METHODS: Mapping[str, str] = {
    "coq": "Coq",
    "symbolic": "SymPy",
    "certificate": "certificates",
    "exact": "exact instances",
    "link": "links to the code",
    "mutation": "false variants",
}
"""Method in the document -> its name on the page, strongest first."""

STANDINGS = ("proved", "proved in part", "instances only", "failed", "not run")
VERDICTS = ("passed", "failed", "not run")

Standing = Literal[
    "proved", "proved in part", "instances only", "failed", "not run", "not run here", "not usable"
]


@dataclass(frozen=True)
class ProofLine:
    """One proof after its run."""

    method: str
    scope: str
    general: bool
    name: str
    statement: str
    verdict: str
    detail: str
    instances: int
    seconds: float

    @property
    def method_name(self) -> str:
        return METHODS[self.method]


@dataclass(frozen=True)
class ProvedClaim:
    """One theorem in the document; fields as in it."""

    id: str
    standing: str
    note: str
    missing: str
    killed: int
    proofs: tuple[ProofLine, ...]

    def count(self, verdict: str) -> int:
        return sum(proof.verdict == verdict for proof in self.proofs)

    @property
    def instances(self) -> int:
        """Exact instances on which the theorem, or the code's formula for it, was found true."""
        true = [
            proof for proof in self.proofs if proof.verdict == "passed" and proof.method in ("exact", "link")
        ]
        return sum(proof.instances for proof in true)

    @property
    def general(self) -> dict[str, int]:
        """Method -> proofs in all dimensions that passed, strongest method first."""
        found = Counter(proof.method for proof in self.proofs if proof.general and proof.verdict == "passed")
        return {method: found[method] for method in METHODS if found[method]}


@dataclass(frozen=True)
class ProofsRun:
    """The whole document."""

    claims: Mapping[str, ProvedClaim]
    complete: bool
    problems: tuple[str, ...]
    seconds: float
    versions: Mapping[str, str]

    @property
    def made_by(self) -> str:
        return self.versions.get("osdn", "")

    def count(self, verdict: str) -> int:
        return sum(claim.count(verdict) for claim in self.claims.values())

    @property
    def standings(self) -> dict[str, int]:
        """Standing -> number of theorems, none left out."""
        found = Counter(claim.standing for claim in self.claims.values())
        return {standing: found[standing] for standing in STANDINGS}


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

    standing: Standing
    summary: str
    claim: ProvedClaim | None = None


def read_proofs(folder: Path) -> Document[ProofsRun]:
    """The proofs document of a report folder."""
    return read_document(folder / FILE, parse_proofs, name=FILE, made_from=("osdn_theory", "proofs_check"))


def parse_proofs(value: Any) -> ProofsRun:
    """The document as objects.

    Raises
    ------
    StaleError
        If it is of another format, or proves another statement than the one of this version.
    ValueError
        If it is not what it should be, or contradicts itself.
    """
    document = Fields(value)
    if document.text("format") != FORMAT:
        raise StaleError(f"its format is {document.text('format')!r}, not {FORMAT!r}")
    claims = [_claim(fields) for fields in document.each("claims")]
    run = ProofsRun(
        claims={claim.id: claim for claim in claims},
        complete=document.flag("complete"),
        problems=document.texts("problems"),
        seconds=document.number("seconds"),
        versions=document.table("versions"),
    )
    _check_whole(document, claims, run)
    return run


def _claim(fields: Fields) -> ProvedClaim:
    name = fields.text("id")
    known = THEOREMS.get(name)
    if known is None or (known.title, known.latex) != (fields.text("title"), fields.text("latex")):
        raise StaleError(f"its {name} is not the statement {name} of this version")
    claim = ProvedClaim(
        id=name,
        standing=fields.text("standing", STANDINGS),
        note=fields.text("note"),
        missing=fields.text("missing"),
        killed=fields.count("mutants_killed"),
        proofs=tuple(_proof(proof) for proof in fields.each("proofs")),
    )
    _check_standing(fields.where, claim)
    return claim


def _proof(fields: Fields) -> ProofLine:
    return ProofLine(
        method=fields.text("method", tuple(METHODS)),
        scope=fields.text("scope"),
        general=fields.flag("general"),
        name=fields.text("name"),
        statement=fields.text("statement"),
        verdict=fields.text("verdict", VERDICTS),
        detail=fields.text("detail"),
        instances=fields.count("instances"),
        seconds=fields.number("seconds"),
    )


def _check_standing(where: str, claim: ProvedClaim) -> None:
    """A standing must follow from the verdicts: a document that says more than its proofs is not believed."""
    if (claim.standing == "failed") != bool(claim.count("failed")):
        raise ValueError(f"{where}: stands as {claim.standing!r}, but {claim.count('failed')} proofs failed")
    if claim.standing in ("proved", "proved in part") and not claim.general:
        raise ValueError(f"{where}: stands as {claim.standing!r} without a general proof that passed")
    if claim.standing == "proved" and (claim.missing or claim.count("not run")):
        raise ValueError(f"{where}: stands as 'proved', but something is missing or was not run")


def _check_whole(document: Fields, claims: Sequence[ProvedClaim], run: ProofsRun) -> None:
    if len(run.claims) != len(claims):
        raise ValueError("document.claims: a theorem appears twice")
    if run.complete and set(run.claims) != set(THEOREMS):
        raise ValueError(f"document.claims: called complete with {len(claims)} of {len(THEOREMS)} theorems")
    counts = document.inside("counts")
    for verdict in VERDICTS:
        if counts.count(verdict) != run.count(verdict):
            raise ValueError(
                f"document.counts: {counts.count(verdict)} {verdict}, but {run.count(verdict)} are"
            )
    bad = bool(run.problems) or bool(run.count("failed"))
    if (document.count("exit_code") == 1) != bad:
        raise ValueError(
            f"document.exit_code: {document.count('exit_code')} does not follow from the verdicts"
        )


def proof_status(document: Document[ProofsRun], theorem: str) -> ProofStatus:
    """Where one theorem stands; nothing but a document that was read can make it proved."""
    if document.content is None:
        absent = document.state == "absent"
        return ProofStatus("not run here" if absent else "not usable", document.notice)
    claim = document.content.claims.get(theorem)
    if claim is None:
        return ProofStatus("not run here", f"{document.file} holds no proof of it: only a part was asked for")
    standing: Any = claim.standing
    return ProofStatus(standing, _summary(claim), claim)


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
