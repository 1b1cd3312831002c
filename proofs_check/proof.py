"""What a machine-checked proof is here: a claim, a method, a scope, and a function that does the checking."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from osdn_theory.proofs import Method, Verdict

ALL = "all dimensions"
INSTANCES = "instances"

_NEVER_GENERAL: tuple[Method, ...] = ("exact", "link", "mutation")
"""Methods that evaluate instances: no number of them proves a theorem."""


@dataclass(frozen=True)
class Judgement:
    """What a check found.

    Attributes
    ----------
    verdict : "passed", "failed" or "not run"
    detail : str
        One line for the table: what was checked, or what went wrong, or what is missing.
    instances : int
        Instances evaluated; 0 where the method does not work by instances.
    data : mapping
        More, for the JSON document: counterexamples, assumptions, versions.
    seconds : float, optional
        Time of this check alone, where the wall clock would not tell: work shared with other checks.
    tied : bool
        Whether the statement was held, both sides of every comparison, against its law on instances.
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

    Parameters
    ----------
    claim : str
        Theorem id, such as "T5".
    method : Method
        ``coq``: Coq's kernel. ``symbolic``: SymPy. ``exact``: rational instances. ``link``: the proven formula against
        the function of osdn_theory. ``mutation``: a false variant, refuted by a counterexample or by Coq.
    scope : "all dimensions" or "instances"
    statement : str
        What exactly is checked, in one line.
    check : function without arguments that returns a Judgement
        It may raise: ProverMissingError counts as not run, anything else as failed.
    name : str
        Where the proof is to be found: a Coq theorem, a law, a function.
    group : str
        Proofs of one group share costly work, such as a compilation: they run one after the other in one process.

    Raises
    ------
    ValueError
        For an unknown method or scope, and for a general scope claimed by a method that covers instances only.
    """

    claim: str
    method: Method
    scope: str
    statement: str
    check: Callable[[], Judgement]
    name: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"T[1-9]\d*", self.claim):
            raise ValueError(f"claim: expected a theorem id such as T5, got {self.claim!r}")
        if self.method not in get_args(Method):
            raise ValueError(f"method: expected one of {get_args(Method)}, got {self.method!r}")
        if self.scope not in (ALL, INSTANCES):
            raise ValueError(f"scope: expected a known scope, got {self.scope!r}")
        if self.is_general and self.needs_instances:
            raise ValueError(f"scope: the method {self.method!r} covers instances only, never all dimensions")

    @property
    def is_general(self) -> bool:
        """Whether it covers every dimension, length and stream."""
        return self.scope == ALL

    @property
    def needs_instances(self) -> bool:
        """Whether it says nothing unless it evaluated something."""
        return self.method in _NEVER_GENERAL


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
