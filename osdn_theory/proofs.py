"""``proofs.json``: every proof with its verdict, and where each theorem stands."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from osdn_theory.base.documents import Count, DocumentKind, Positive
from osdn_theory.base.jsonable import stated
from osdn_theory.base.validation import require
from osdn_theory.theorems import THEOREMS

Method = Literal["coq", "symbolic", "exact", "link", "mutation"]
"""Strongest first."""

Verdict = Literal["passed", "failed", "not run"]
Standing = Literal["proved", "proved in part", "instances only", "not proved", "failed", "not run"]
"""Where a theorem stands after a run.

``proved``: all its general proofs passed, and nothing is named as missing. ``proved in part``: general proofs passed,
but others were not run, or something has none. ``instances only``: it has no general proof. ``not proved``: it has
no proof at all. ``failed``: one of its proofs failed. ``not run``: it has general proofs, and none of them was run.
"""

FILE = "proofs.json"
FAILED, NOT_RUN = 1, 3

METHODS: Mapping[Method, str] = {
    "coq": "Coq",
    "symbolic": "SymPy",
    "exact": "exact instances",
    "link": "links to the code",
    "mutation": "false variants",
}
"""Methods in words, strongest first."""


@dataclass(frozen=True)
class ProofLine:
    """One proof after its run.

    - `claim`: Id of the theorem.
    - `method`, `name`, `statement`: A Coq theorem or a function, and what it says.
    - `scope`: "all dimensions" or "instances".
    - `general`: Whether it holds in all dimensions.
    - `instances`: On how many exact instances it was evaluated.
    - `seconds`: Of this check; of its whole file for a Coq theorem.
    - `tied`: Whether it is a Coq theorem, of a law or of its need for a hypothesis, whose statement was held against
      the law of its name, on the law's instances.
    - `data`: Counterexamples, assumptions, versions; exact numbers as text.
    """

    claim: str
    method: Method
    scope: str
    general: bool
    name: str
    statement: str
    verdict: Verdict
    detail: str
    instances: Count
    seconds: Positive
    tied: bool
    data: Mapping[str, Any]

    def __post_init__(self) -> None:
        instance = self.method in ("exact", "link", "mutation")
        require(not (self.general and instance), f"general: no proof by {self.method} is")
        compiled = self.method in ("coq", "mutation") and self.verdict == "passed"
        require(compiled or not self.tied, f"tied: no proof by {self.method} that is {self.verdict} is")

    @property
    def method_name(self) -> str:
        return METHODS[self.method]

    @property
    def killed(self) -> int:
        """False variants refuted: a mutation proof is about one, unless its data counts them."""
        refuted = self.method == "mutation" and self.verdict == "passed"
        return int(self.data.get("killed", 1)) if refuted else 0


@dataclass(frozen=True)
class ProvedClaim:
    """One theorem with its proofs.

    - `id`, `title`, `latex`, `plain`, `hypotheses`: As in `osdn_theory.theorems`.
    - `note`: Where the theory page is loose, and what is proved instead.
    - `missing`: What has no general proof, and why.
    - `general_known`: Number of its general proofs, asked for or not.
    - `proofs`: Those that were asked for, strongest method first.
    """

    id: str
    title: str
    latex: str
    plain: str
    hypotheses: tuple[str, ...]
    note: str
    missing: str
    general_known: Count
    proofs: tuple[ProofLine, ...]

    def __post_init__(self) -> None:
        known = sum(proof.general for proof in self.proofs) <= self.general_known
        require(known, f"general_known: {self.general_known} are fewer than in proofs")

    def count(self, verdict: Verdict) -> int:
        return sum(proof.verdict == verdict for proof in self.proofs)

    @property
    @stated
    def standing(self) -> Standing:
        if self.count("failed"):
            return "failed"
        if not self.general_known:
            return "instances only" if self.proofs else "not proved"
        passed = sum(self.general.values())
        if not passed:
            return "not run"
        return "proved" if passed == self.general_known and not self.missing else "proved in part"

    @property
    @stated
    def general(self) -> dict[Method, int]:
        """Method -> proofs in all dimensions that passed, strongest method first."""
        found = Counter(proof.method for proof in self.proofs if proof.general and proof.verdict == "passed")
        return {method: found[method] for method in METHODS if found[method]}

    @property
    @stated
    def instances(self) -> int:
        """Exact instances on which the theorem, or the code's formula for it, was found true."""
        true = ("exact", "link")
        return sum(each.instances for each in self.proofs if each.verdict == "passed" and each.method in true)

    @property
    @stated
    def killed(self) -> int:
        """False variants refuted."""
        return sum(proof.killed for proof in self.proofs)

    @property
    @stated
    def untied(self) -> dict[str, str]:
        """Coq theorems that passed without being held against a law -> why."""
        passed = [each for each in self.proofs if each.verdict == "passed"]
        return {each.name: str(reason) for each in passed if (reason := each.data.get("not_tied"))}


@dataclass(frozen=True)
class ProofsRun:
    """A run of the proofs.

    - `complete`: Whether every proof of the collection was asked for.
    - `problems`: What is wrong with the collection of proofs itself; each counts as a failure.
    """

    complete: bool
    seconds: Positive
    versions: Mapping[str, str]
    problems: tuple[str, ...]
    claims: tuple[ProvedClaim, ...]

    def count(self, verdict: Verdict) -> int:
        return sum(claim.count(verdict) for claim in self.claims)

    def claim(self, theorem: str) -> ProvedClaim | None:
        return next((claim for claim in self.claims if claim.id == theorem), None)

    @property
    @stated
    def counts(self) -> dict[Verdict, int]:
        return {verdict: self.count(verdict) for verdict in ("passed", "failed", "not run")}

    @property
    @stated
    def standings(self) -> dict[Standing, int]:
        """Standing -> number of theorems, none left out."""
        return {standing: len(names) for standing, names in self._by_standing().items()}

    @property
    @stated
    def headline(self) -> str:
        """How many theorems there are, and where they stand; those that are not proved by name."""
        parts = [
            f"{len(ids)} {standing}" + (f" ({', '.join(ids)})" if standing != "proved" else "")
            for standing, ids in self._by_standing().items()
            if ids
        ]
        count = len(self.claims)
        return f"{count} theorem{'s' * (count != 1)}: {', '.join(parts)}"

    @property
    @stated
    def exit_code(self) -> int:
        """1 if anything failed, else 3 if a proof was not run, else 0."""
        if self.problems or self.count("failed"):
            return FAILED
        return NOT_RUN if self.count("not run") else 0

    def _by_standing(self) -> dict[Standing, list[str]]:
        found: dict[Standing, list[str]] = {each: [] for each in get_args(Standing)}
        for claim in self.claims:
            found[claim.standing].append(claim.id)
        return found


def check_proofs(run: ProofsRun) -> None:
    """Raise ValueError, with the place, where a run is not about the theorems of this version, each once."""
    for number, claim in enumerate(run.claims):
        known = THEOREMS.get(claim.id)
        same = known is not None and (known.title, known.latex) == (claim.title, claim.latex)
        require(same, f"claims[{number}]: it is not the statement {claim.id} of this version")
    ids = [claim.id for claim in run.claims]
    require(len(set(ids)) == len(ids), "claims: a theorem appears twice")
    complete = not run.complete or set(ids) == set(THEOREMS)
    require(complete, f"claims: called complete with {len(ids)} of {len(THEOREMS)} theorems")


PROOFS = DocumentKind(
    format="osdn-proofs/3",
    content=ProofsRun,
    about="proofs.json: a run of the machine-checked proofs of OSDN",
    remake="osdn-theory prove --out DIR",
    code=("proofs_check",),
    check=check_proofs,
)
