"""How well an alternative agrees with what a kernel showed, over all questions together."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.alternatives.engine.inputs import RecurrenceOutcome
from osdn_theory.crosscheck.alternatives.fault import Fault, answer_cases
from osdn_theory.crosscheck.cases.case import Case, handed_on
from osdn_theory.crosscheck.evidence.comparison import excess, per_token
from osdn_theory.crosscheck.evidence.limits import RELATIVE_ALLOWANCE, Limit, RoundingLimits
from osdn_theory.crosscheck.examination.exercises.question import Answer, Question
from osdn_theory.crosscheck.kernel.calling import Returned
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.rounding import FLOAT32

BoundedRun = tuple[Trajectory, RoundingLimits]
"""The exact run of a case and the bounds on what a kernel makes of it."""

OUTPUT, STATE, PATH, HANDED_ON = "o", "S", "d", "d handed on"
QUANTITIES = (OUTPUT, STATE, PATH, HANDED_ON)


@dataclass(frozen=True, eq=False)
class Shown:
    """One quantity of one case: exact, and the bound; (B, H, P, ...)."""

    name: str
    exact: Array
    limit: Limit


def quantities(told: RecurrenceOutcome | Returned) -> dict[str, Array]:
    """What is said, by name, with an axis for tokens; states have one entry there."""
    found: Mapping[str, Array | None] = {
        OUTPUT: told.outputs,
        STATE: _at_end(told.state),
        PATH: told.preconditioner,
        HANDED_ON: _at_end(told.handed_on),
    }
    return {name: array for name, array in found.items() if array is not None}


def select_shown(truth: BoundedRun, names: Collection[str]) -> Iterator[Shown]:
    """Those quantities that a kernel shows."""
    exact, limits = truth
    right = quantities(
        RecurrenceOutcome(exact.outputs, exact.final_state, exact.preconditioner, handed_on(exact))
    )
    bounds = {
        OUTPUT: limits.outputs,
        STATE: _last(limits.states, right[STATE]),
        PATH: limits.preconditioner,
        HANDED_ON: _last(limits.handed_on, right[HANDED_ON]),
    }
    for name in QUANTITIES:
        if name in names:
            yield Shown(name, right[name], bounds[name])


def _at_end(array: Array | None) -> Array | None:
    return None if array is None else array[:, :, None]


def _last(limit: Limit, exact: Array) -> Limit:
    """At the last token; without tokens nothing is computed, and nothing rounds."""
    if limit.norm.shape[-1] == 0:
        return Limit(np.zeros(exact.shape[:3]), None, limit.basis)
    return limit.at(np.array([limit.norm.shape[-1]], dtype=np.int64))


SLACK = 4.0
"""Bounds that a kernel with a fault may lie from the fault replayed: they are those of the right recurrence."""

LEAST = 1e-6
"""Least relative error that is allowed: some roundings to float32, where the right result needs none."""


@dataclass(frozen=True, eq=False)
class Seen:
    """One quantity of one case as a kernel returned it.

    `relative` is the bound over the exact values, (B, H, 1): what rounding leaves of a number of another size.
    """

    wanted: Shown
    found: Array
    relative: Array
    outside: bool

    def apart(self, told: Array) -> Array:
        """||found - told|| of every token in units of what rounding allows, (B, H, P)."""
        error = per_token(_difference(self.found, told))
        # Rounding is relative to what was computed up to here, however large the right values are.
        grown = np.maximum.accumulate(_finite(per_token(told)), axis=-1)
        allowed = SLACK * np.maximum(self.wanted.limit.norm, self.relative * grown)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(error == 0, 0.0, error / allowed)
        return np.where(np.isinf(allowed), 0.0, ratio)

    def left(self, told: Array) -> float:
        """What is left of the error, from 0 to 1; of a right quantity, 1 where the alternative would be wrong."""
        if not self.outside:
            return float(np.max(self.apart(told), initial=0.0) > 1)
        error = _size(_difference(self.found, self.wanted.exact))
        rest = _size(_difference(self.found, told))
        return min(1.0, rest / error) if error > 0 and np.isfinite(error) else float(rest > 0)


@dataclass(frozen=True, eq=False)
class Heard:
    """All that a kernel answered to one question."""

    cases: tuple[Case, ...]
    put: str
    seen: tuple[tuple[Seen, ...], ...]

    @property
    def outside(self) -> bool:
        return any(each.outside for case in self.seen for each in case)


@dataclass(frozen=True)
class Agreement:
    """`excess`: largest distance over what rounding allows; `left`: mean share of the errors that is left."""

    excess: float
    left: float


def hear(question: Question, answers: Sequence[Answer], truths: Sequence[BoundedRun]) -> Heard:
    """Answers beside the truth; each answer's case starts where the kernel in fact started."""
    seen = tuple(tuple(_seen(*pair)) for pair in zip(answers, truths, strict=True))
    put = "packed" if question.put == "packed" else "apart"
    return Heard(tuple(each.case for each in answers), put, seen)


def _seen(given: Answer, truth: BoundedRun) -> list[Seen]:
    found = quantities(given.returned)
    return [_one(given.case, found[wanted.name], wanted) for wanted in select_shown(truth, found)]


def _one(case: Case, found: Array, wanted: Shown) -> Seen:
    largest = np.max(per_token(wanted.exact), axis=-1, keepdims=True, initial=0.0)
    bound = np.max(_finite(wanted.limit.norm), axis=-1, keepdims=True, initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(largest > 0, bound / largest, RELATIVE_ALLOWANCE[case.dtype])
    outside = bool(np.any(excess(found, wanted.exact, wanted.limit) > 1))
    return Seen(wanted, found, np.maximum(relative, LEAST), outside)


def agreement(fault: Fault, heard: Sequence[Heard], *, give_up: bool = False) -> Agreement:
    """How a fault fits; with `give_up` only whether it does, the first disagreement ending it."""
    farthest, parts = 0.0, []
    for each in heard:
        for told, seen in zip(answer_cases(fault, each.cases, each.put), each.seen, strict=True):
            said = quantities(told)
            for one in seen:
                apart = float(np.max(one.apart(said[one.wanted.name]), initial=0.0))
                farthest = max(farthest, apart)
                if give_up and farthest > 1:
                    return Agreement(farthest, 1.0)
                if one.outside or apart > 1:
                    parts.append(one.left(said[one.wanted.name]))
    return Agreement(farthest, float(np.mean(parts)) if parts else 0.0)


def _difference(found: Array, told: Array) -> Array:
    """|found - told|; infinite where one of them alone is finite in float32, zero where neither is."""
    lost, gone = (~(np.abs(values) <= FLOAT32.largest) for values in (found, told))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(found - told)
    return np.where(lost & gone, 0.0, np.where(lost | gone, np.inf, apart))


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, 0.0)


def _size(values: Array) -> float:
    return float(np.linalg.norm(values)) if np.isfinite(values).all() else np.inf
