"""A fault: what it does to inputs, mechanism and results, so that two compose; and a known one in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from osdn_theory.crosscheck.alternatives.engine.evolve import run
from osdn_theory.crosscheck.alternatives.engine.inputs import (
    RecurrenceInputs,
    RecurrenceOutcome,
    apart,
    cut,
    join,
    read_inputs,
    together,
)
from osdn_theory.crosscheck.alternatives.engine.mechanism import RIGHT, Mechanism
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.examination.exercises.question import Question
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.recurrences import (
    CALIBRATING,
    FEATURE_GATED,
    GATED,
    GATED_OSDN,
    OSDN,
    PRECONDITIONED,
    RECURRENCES,
    REMEMBERING,
)

Leak = Literal["nothing", "memory", "preconditioner", "both"]
"""What a packed sequence takes over from the one before it."""

Change = Callable[[RecurrenceInputs], RecurrenceInputs]
Result = Callable[[RecurrenceInputs, Mechanism, RecurrenceOutcome], RecurrenceOutcome]


@dataclass(frozen=True, eq=False)
class Fault:
    """One thing done wrongly; the defaults do nothing.

    - `results`, functions from (RecurrenceInputs, Mechanism, RecurrenceOutcome) to RecurrenceOutcome: With the inputs
      and the mechanism that gave the outcome.
    - `sequences`, functions from the packed sequences to others with as many tokens in all
    - `across`: Whether faults of inputs reach over the bounds of packed sequences: they see one row of tokens, and
      one row of states for each sequence.
    - `leaks_given`: Whether a sequence also takes over what the call gives it a state for.
    """

    inputs: tuple[Change, ...] = ()
    mechanism: Mapping[str, Any] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    sequences: tuple[Callable[[list[RecurrenceInputs]], list[RecurrenceInputs]], ...] = ()
    leak: Leak = "nothing"
    across: bool = False
    leaks_given: bool = True

    def __and__(self, other: Fault) -> Fault:
        """Both at once; where they change the same switch, the other's value."""
        return Fault(
            self.inputs + other.inputs,
            {**self.mechanism, **other.mechanism},
            self.results + other.results,
            self.sequences + other.sequences,
            other.leak if other.leak != "nothing" else self.leak,
            self.across or other.across,
            self.leaks_given and other.leaks_given,
        )


def switch(**switches: Any) -> Fault:
    """The fault of a mechanism; unknown switches raise."""
    Mechanism(**switches)
    return Fault(mechanism=switches)


def answer(fault: Fault, question: Question) -> list[RecurrenceOutcome]:
    """What a kernel with the fault says to a question: one outcome for each case."""
    return answer_cases(fault, question.cases, question.put)


def answer_cases(fault: Fault, cases: Sequence[Case], put: str) -> list[RecurrenceOutcome]:
    """The same of bare cases: "apart", "packed", or "continued" from the states of the answers themselves."""
    given = [read_inputs(case) for case in cases]
    # A faulty memory may blow up; NaN and infinity are then its answer.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if put == "packed":
            return _packed(fault, given)
        answers: list[RecurrenceOutcome] = []
        for inputs in given:
            started = inputs
            if put == "continued" and answers:
                started = replace(inputs, state=answers[-1].state, start=answers[-1].handed_on)
            answers.append(_one(fault, started))
        return answers


def _one(fault: Fault, inputs: RecurrenceInputs) -> RecurrenceOutcome:
    return _computed(fault, _changed(fault, inputs))


def _changed(fault: Fault, inputs: RecurrenceInputs) -> RecurrenceInputs:
    for change in fault.inputs:
        inputs = change(inputs)
    return inputs


def _computed(fault: Fault, inputs: RecurrenceInputs) -> RecurrenceOutcome:
    mechanism = replace(RIGHT, **fault.mechanism)
    outcome = run(inputs, mechanism)
    for change_result in fault.results:
        outcome = change_result(inputs, mechanism, outcome)
    return outcome


def _packed(fault: Fault, given: list[RecurrenceInputs]) -> list[RecurrenceOutcome]:
    sequences = given
    for change in fault.sequences:
        sequences = change(sequences)
    if fault.across:
        sequences = apart(_changed(fault, together(sequences)), sequences)
    else:
        sequences = [_changed(fault, inputs) for inputs in sequences]
    answers: list[RecurrenceOutcome] = []
    for inputs in sequences:
        answers.append(_computed(fault, _leaked(fault, inputs, answers[-1]) if answers else inputs))
    lengths = [inputs.length for inputs in given]
    return answers if lengths == [part.length for part in sequences] else _split(answers, lengths)


def _leaked(fault: Fault, inputs: RecurrenceInputs, before: RecurrenceOutcome) -> RecurrenceInputs:
    # A memory of zeros and a d_1 of ones are what is not passed.
    empty, ones = not np.any(inputs.state), bool(np.all(inputs.start == 1))
    if fault.leak in ("memory", "both") and (fault.leaks_given or empty):
        inputs = replace(inputs, state=before.state)
    if fault.leak in ("preconditioner", "both") and (fault.leaks_given or ones):
        inputs = replace(inputs, start=before.handed_on)
    return inputs


def _split(answers: list[RecurrenceOutcome], lengths: list[int]) -> list[RecurrenceOutcome]:
    """Tokens as they were packed, of sequences that were computed with other bounds."""
    edges = np.cumsum(lengths)[:-1]
    outputs = np.split(np.concatenate([one.outputs for one in answers], axis=2), edges, axis=2)
    paths = np.split(np.concatenate([one.preconditioner for one in answers], axis=2), edges, axis=2)
    return [
        replace(one, outputs=o, preconditioner=d) for one, o, d in zip(answers, outputs, paths, strict=True)
    ]


def boundary_late(sequences: list[RecurrenceInputs]) -> list[RecurrenceInputs]:
    """The last sequence starts one token late: its first goes to the one before."""
    if len(sequences) < 2 or sequences[-1].length == 0:
        return sequences
    *rest, before, last = sequences
    grown = join([before, cut(last, 0, 1)])
    return [*rest, grown, cut(last, 1, last.length)]


CHUNKS = (16, 32, 64, 128)
"""Chunk sizes that kernels use."""

ANY = frozenset(RECURRENCES)
FAMILIES = {
    "any": ANY,
    "reading": REMEMBERING,
    "calibrating": CALIBRATING,
    "decaying": GATED,
    "preconditioned": PRECONDITIONED,
    "osdn": OSDN,
    "gated-osdn": GATED_OSDN,
    "ungated-osdn": OSDN - GATED_OSDN,
    "featurewise": FEATURE_GATED,
}

NORM = "use_qk_l2norm_in_kernel"
"""Needed by faults of kernels that divide queries and keys by their norms."""


@dataclass(frozen=True)
class KnownFault:
    """What a document tells of an alternative: its short name, what the kernel would do in words, and as a formula."""

    key: str
    sentence: str
    formula: str


@dataclass(frozen=True, eq=False)
class Alternative:
    """A known fault, and how to make it.

    - `variants`, mapping from label to Fault: Ways to make it: chunk sizes, or what an off-by-one read finds before
      the first token. "" has no label.
    - `recurrences`: Where it makes sense.
    - `needs`: Arguments of the kernel without which it does not.
    - `approximate`: Whether a replay in float64 follows a kernel only nearly, because it rounds to few bits on the way.
    """

    key: str
    sentence: str
    formula: str
    variants: Mapping[str, Fault]
    recurrences: frozenset[str] = REMEMBERING
    needs: frozenset[str] = frozenset()
    approximate: bool = False

    @property
    def fault(self) -> KnownFault:
        return KnownFault(self.key, self.sentence, self.formula)

    def obstacle(self, adapter: Adapter) -> str | None:
        """Why the kernel cannot have this fault; None where it can."""
        if adapter.recurrence not in self.recurrences:
            return f"not a fault of {adapter.recurrence}"
        taken = adapter.parameters | ({NORM} if adapter.key_norm is not None else set())
        missing = sorted(self.needs - taken)
        return f"needs {', '.join(missing)}, which the kernel does not take" if missing else None


def applicable(adapter: Adapter, alternatives: Sequence[Alternative]) -> Iterator[Alternative]:
    """Those that the kernel can have."""
    return (each for each in alternatives if each.obstacle(adapter) is None)
