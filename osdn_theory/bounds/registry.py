"""What a bound is: hypotheses, two sides, and the search for a precision that decides it."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from osdn_theory.bounds.check import BoundCheck, Outcome, Sides, decide, log10_slack
from osdn_theory.bounds.facts import Facts
from osdn_theory.bounds.numbers import Balls, Field, Number, Rationals, as_float, ball
from osdn_theory.bounds.problem import CalibrationProblem
from osdn_theory.bounds.runs.enclosed import FloatRun
from osdn_theory.bounds.runs.exact import ExactRun

Run = ExactRun | FloatRun

SMALL = 20_000
"""Up to this many numbers T * K the whole trajectory is enclosed in balls; beyond, float64 with its error first."""

_LARGE = 1_000_000
# Up to here balls are the last resort where float64 leaves a bound open: a second or two and some 200 MB.

_RATIONAL = 200_000
# Digits grow linearly with the token, so exact rationals cost about T^2 K.

PRECISIONS = (128, 512, 2048)


@dataclass(frozen=True)
class BoundEvidence:
    """Everything a bound may look at: the problem, exact facts, and the enclosed trajectory."""

    problem: CalibrationProblem
    facts: Facts
    run: Run

    @property
    def field(self) -> Field:
        return self.run.field


@dataclass(frozen=True)
class HypothesisVerdict:
    """Of a hypothesis: met, fails (with the reason and the value) or undecided at this precision."""

    status: Literal["met", "fails", "undecided"]
    reason: str = ""


MET = HypothesisVerdict("met")

Hypothesis = Callable[[BoundEvidence], HypothesisVerdict]


SidesOf = Callable[[BoundEvidence], list[Sides]]
"""Both sides of a bound; several pairs where it is stated once per token."""


@dataclass(frozen=True)
class Bound:
    """One inequality or identity of THEORY.md about the calibrate trajectory; `key` is the name of its function."""

    key: str
    theorem: str
    title: str
    statement: str
    hypotheses: tuple[Hypothesis, ...]
    sides: SidesOf


BOUNDS: list[Bound] = []


def bound(
    theorem: str, title: str, statement: str, *, hypotheses: Iterable[Hypothesis]
) -> Callable[[SidesOf], SidesOf]:
    """Register a function that returns both sides of a bound under its theorem id."""

    def register(sides: SidesOf) -> SidesOf:
        BOUNDS.append(Bound(sides.__name__, theorem, title, statement, tuple(hypotheses), sides))
        return sides

    return register


def less(first: Number, second: Number, reason: str) -> HypothesisVerdict:
    """The hypothesis ``first < second``; `reason` says what it means when it fails."""
    if first < second:
        return MET
    if first >= second:
        return HypothesisVerdict("fails", f"{reason}: {as_float(first):.4g} against {as_float(second):.4g}")
    return HypothesisVerdict("undecided", f"{reason}: too close to call at this precision")


def unless(reason: str) -> HypothesisVerdict:
    """Met if there is no `reason` against it."""
    return HypothesisVerdict("fails", reason) if reason else MET


def evaluate(bound: Bound, problem: CalibrationProblem, facts: Facts, runs: Sequence[Run]) -> BoundCheck:
    """Try the runs in the order given, cheapest first, until one decides."""
    check = None
    for run in runs:
        check = _evaluate_once(bound, BoundEvidence(problem, facts, run))
        if check.outcome != "undecided":
            return check
    assert check is not None
    return check


def _evaluate_once(bound: Bound, evidence: BoundEvidence) -> BoundCheck:
    with evidence.field.working():
        for hypothesis in bound.hypotheses:
            verdict = hypothesis(evidence)
            if verdict.status != "met":
                outcome: Outcome = "not applicable" if verdict.status == "fails" else "undecided"
                return _blank(bound, evidence, outcome, verdict.reason)
        return conclude(_blank(bound, evidence, "undecided"), bound.sides(evidence))


def conclude(check: BoundCheck, pairs: Sequence[Sides]) -> BoundCheck:
    """`check` with the verdict over all `pairs` and the tightest of them for display."""
    verdicts = [decide(sides) for sides in pairs]
    outcome = next(name for name in _GRAVITY if name in verdicts)
    deciding = [sides for sides, verdict in zip(pairs, verdicts, strict=True) if verdict == outcome]
    tightest = min(deciding, key=lambda sides: _order(log10_slack(sides)))
    return replace(
        check,
        outcome=outcome,
        lhs=as_float(tightest.lhs),
        rhs=as_float(tightest.rhs),
        is_log=tightest.is_log,
        log10_slack=None if outcome == "holds, vacuously" else log10_slack(tightest),
        scope=tightest.scope,
        method=tightest.method or check.method,
        reason=_reason(outcome, tightest),
    )


_GRAVITY: tuple[Outcome, ...] = ("violated", "undecided", "holds", "holds, vacuously")


def _reason(outcome: Outcome, sides: Sides) -> str:
    if outcome == "holds, vacuously":
        known = not sides.identity and ball(sides.ceiling).is_finite()
        return (
            f"known without it: at most {as_float(sides.ceiling):.4g}" if known else "nothing to tell apart"
        )
    return "the enclosures of both sides overlap" if outcome == "undecided" else ""


def _order(slack: float | None) -> float:
    return math.inf if slack is None else slack


def _blank(bound: Bound, evidence: BoundEvidence, outcome: Outcome, reason: str = "") -> BoundCheck:
    problem = evidence.problem
    return BoundCheck(
        theorem=bound.theorem,
        title=bound.title,
        statement=bound.statement,
        stream=problem.trajectory.stream.name,
        rule=problem.rule_label,
        index=problem.index,
        outcome=outcome,
        reason=reason,
        method="" if outcome == "not applicable" else evidence.run.label,
        key=bound.key,
    )


def runs_for(problem: CalibrationProblem) -> list[Run]:
    """Enclosures of the trajectory, cheapest first; none is computed before a bound asks for it.

    Small ones: balls of rising precision, then rationals. Larger ones: float64 with its rounding error, then balls.
    """
    size = problem.length * problem.key_dim
    if size > SMALL:
        balls = PRECISIONS[:2] if size <= _LARGE else ()
        return [FloatRun(problem), *(ExactRun(problem, Balls(bits)) for bits in balls)]
    runs: list[Run] = [ExactRun(problem, Balls(bits)) for bits in PRECISIONS]
    if problem.length * size <= _RATIONAL:
        runs.append(ExactRun(problem, Rationals()))
    return runs
