"""What makes a theorem of the Coq library count as proved; one proof for each theorem of its register."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path

from osdn_theory.proofs import Method
from proofs_check.coq_prover.library import Compiled, compile_library
from proofs_check.coq_prover.statements import differences, read_register
from proofs_check.exact.law import Law
from proofs_check.gallina.evaluate import Definitions
from proofs_check.gallina.tie import untied
from proofs_check.proof import Judgement, Proof, failed

REALS = frozenset(
    {
        "ClassicalDedekindReals.sig_forall_dec",
        "ClassicalDedekindReals.sig_not_dec",
        "FunctionalExtensionality.functional_extensionality_dep",
        "Classical_Prop.classic",
    }
)
"""Axioms of the real numbers in Coq's standard library, which Flocq is built on."""

ALLOWED = {"T18": REALS}
"""Claim -> axioms that its theorems may rest on; the others may rest on none."""

_CLOSED = "Closed under the global context"


class Session:
    """One compilation of a library, shared by the proofs of all its theorems."""

    def __init__(self, folder: Path, laws: Mapping[str, Law], not_tied: Mapping[str, str]) -> None:
        self._folder = folder
        self._laws = laws
        self.not_tied = not_tied
        self.register = read_register(folder)

    @cached_property
    def _outcome(self) -> Compiled | Exception:
        # An error is kept as well: the next theorem must not compile everything again to meet it.
        try:
            return compile_library(self._folder)
        except Exception as error:
            return error

    @property
    def compiled(self) -> Compiled:
        """The library after compilation, or the error that compiling it raised."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    @cached_property
    def _definitions(self) -> Definitions:
        printed = self.compiled.answers.definitions
        return Definitions({name: answer.full for name, answer in printed.items()})

    def differs_from_its_law(self, theorem: str) -> str:
        """How a statement that is to be tied differs from the law of its name, or ""."""
        if theorem not in self._laws:
            return "no law says what it must say"
        statement = self.compiled.answers.statements[theorem].full
        return untied(self._laws[theorem], statement, self._definitions)

    @cached_property
    def library_problems(self) -> list[str]:
        """What is wrong with the library as a whole, and so with every theorem of it."""
        sources = self.compiled.sources
        declared = [name for source in sources for name in source.theorems]
        unknown = sorted(set(declared) - set(self.register.statements))
        twice = sorted({name for name in declared if declared.count(name) > 1})
        return [
            *(problem for source in sources for problem in source.problems),
            *(f"{name} is not in the register" for name in unknown),
            *(f"{name} is proved twice" for name in twice),
        ]


def check(session: Session, theorem: str) -> Judgement:
    """Whether Coq proves a theorem of the register, as the register states it and without further assumptions."""
    compiled = session.compiled
    if session.library_problems:
        return failed("; ".join(session.library_problems))
    source = next((source for source in compiled.sources if theorem in source.theorems), None)
    if source is None:
        return failed(f"no file proves {theorem}")
    if source.name in compiled.errors:
        return failed(compiled.errors[source.name])
    assumptions = assumed(compiled.answers.assumptions[theorem])
    refused = assumptions - ALLOWED.get(claim_of(theorem), frozenset())
    found = [
        *(f"assumes {name}" for name in sorted(refused)),
        *differences(session.register, compiled, theorem),
    ]
    if not found and theorem not in session.not_tied:
        found = list(filter(None, [session.differs_from_its_law(theorem)]))
    if found:
        return failed("; ".join(found))
    reason = session.not_tied.get(theorem, "")
    detail = f"{source.name}.v; assumes {', '.join(sorted(assumptions)) or 'nothing'}"
    return Judgement(
        "passed",
        f"{detail}; {f'not tied: {reason}' if reason else 'tied to its law'}",
        instances=int(is_negative(theorem)),
        data={"assumptions": sorted(assumptions), "coq": compiled.version, "not_tied": reason},
        seconds=compiled.seconds[source.name],
        tied=not reason,
    )


def assumed(answer: str) -> set[str]:
    """The names in an answer of Print Assumptions; empty only where Coq says that there are none."""
    if answer.strip() == _CLOSED:
        return set()
    lines = [line for line in answer.splitlines() if line and not line[0].isspace() and line != "Axioms:"]
    return {re.split(r"[\s:]", line, maxsplit=1)[0] for line in lines} or {"something that Coq does not name"}


def claim_of(theorem: str) -> str:
    return theorem.split("_", 1)[0]


def is_negative(theorem: str) -> bool:
    """Whether it says that a claim is false without one of its hypotheses: ``T5_needs_...``."""
    return theorem.split("_")[1] == "needs"


def proofs_of(
    folder: Path, laws: Mapping[str, Law], not_tied: Mapping[str, str] | None = None
) -> Iterator[Proof]:
    """The proofs of a library: one for each theorem of its register. Compiles nothing yet.

    - `laws`: theorem -> what it must say on instances
    - `not_tied`: theorem -> why it is held against no law
    """
    session = Session(folder, laws, not_tied or {})
    for theorem, registered in session.register.statements.items():
        method: Method = "mutation" if is_negative(theorem) else "coq"
        checked = partial(check, session, theorem)
        yield Proof(claim_of(theorem), method, registered.text, checked, name=theorem, group="coq")
