"""What a machine-checked proof is here: a claim, a method, and a function that does the checking."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from osdn_theory.proofs import Method, Verdict

ALL = "all dimensions"
INSTANCES = "instances"


@dataclass(frozen=True)
class Judgement:
    """What a check found.

    - `detail`: One line for the table: what was checked, or what went wrong, or what is missing.
    - `instances`: Instances evaluated; 0 where the method does not work by instances.
    - `data`: More, for the JSON document: counterexamples, assumptions, versions.
    - `seconds`: Time of this check alone, where the wall clock would not tell: work shared with other checks.
    - `tied`: Whether the statement was held, both sides of every comparison, against its law on instances.
    """

    verdict: Verdict
    detail: str = ""
    instances: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    tied: bool = False


def passed(detail: str = "", instances: int = 0, **data: Any) -> Judgement:
    return Judgement("passed", detail, instances, data)


def failed(detail: str, instances: int = 0, **data: Any) -> Judgement:
    return Judgement("failed", detail, instances, data)


class ProverMissingError(RuntimeError):
    """A program that a proof needs is not installed; the message says how to install it."""


@dataclass(frozen=True)
class Proof:
    """One check of one claim.

    - `claim`: Theorem id, such as "T5".
    - `method`: ``coq``: Coq's kernel. ``symbolic``: SymPy. ``exact``: rational instances. ``link``: the proven formula
      against the function of osdn_theory. ``mutation``: a false variant, refuted by a counterexample or by Coq.
    - `statement`: What exactly is checked, in one line.
    - `check`: It may raise: ProverMissingError counts as not run, anything else as failed.
    - `name`: Where the proof is to be found: a Coq theorem, a law, a function.
    - `group`: Proofs of one group share costly work, such as a compilation: they run one after the other in
      one process.
    """

    claim: str
    method: Method
    statement: str
    check: Callable[[], Judgement]
    name: str = ""
    group: str = ""

    @property
    def is_general(self) -> bool:
        """Whether it covers every dimension, length and stream: only Coq and SymPy do, no number of instances does.

        The others say nothing unless they evaluated something.
        """
        return self.method in ("coq", "symbolic")

    @property
    def scope(self) -> str:
        return ALL if self.is_general else INSTANCES


@dataclass(frozen=True)
class Claim:
    """A theorem of the theory page, as it is proved here.

    `note` says where the page is loose and what is proved instead; empty where it is taken as written.
    `missing` says what has no general proof, and why.
    """

    id: str
    title: str
    latex: str
    plain: str
    hypotheses: tuple[str, ...] = ()
    note: str = ""
    missing: str = ""
