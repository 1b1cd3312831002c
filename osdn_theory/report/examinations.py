"""What the page and its JSON twin say of an examined kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from osdn_theory.crosscheck.alternatives.power import Power
from osdn_theory.crosscheck.examination.results import BackwardResult, Examination, ExerciseResult
from osdn_theory.crosscheck.results import Comparison, CrossCheck
from osdn_theory.report.checks import outcome


@dataclass(frozen=True)
class ExerciseLine:
    """The quantity of an exercise that comes nearest to its bound, or leaves it farthest behind.

    Attributes
    ----------
    quantity : str
        "" where no bound is claimed for any.
    error, excess : float or None
        Its largest error, relative; and its largest error over its bound, beyond 1 outside.
    where : str
        Where it leaves its bound; "" where it does not.
    """

    quantity: str = ""
    error: float | None = None
    excess: float | None = None
    where: str = ""


def exercise_line(exercise: ExerciseResult) -> ExerciseLine:
    """One line for one exercise, whatever the number of its cases."""
    if exercise.worst is None:
        return ExerciseLine()
    check, worst = exercise.worst
    case = f"{check.stream}, " if check.stream != exercise.name else ""
    return ExerciseLine(worst.name, worst.worst_error, worst.worst_excess, _where(worst, case))


def _where(found: Comparison, case: str) -> str:
    if found.within:
        return ""
    batch, head = found.worst_head
    return f"{case}from token {found.first_outside} on, worst in batch row {batch}, head {head}"


def counted(outcomes: Sequence[str]) -> str:
    """How often each occurs, in words, the most frequent first."""
    return ", ".join(f"{number} {name}" for name, number in Counter(outcomes).most_common())


def numbered(examinations: Sequence[Examination]) -> list[tuple[Examination, list[tuple[int, CrossCheck]]]]:
    """Every examination with its streams, each stream with its place among those of all of them."""
    found: list[tuple[Examination, list[tuple[int, CrossCheck]]]] = []
    place = 0
    for each in examinations:
        found.append((each, list(enumerate(each.streams, place))))
        place += len(each.streams)
    return found


def examination_data(found: Examination) -> dict[str, Any]:
    """An examination but for its streams, as ``schema.json`` describes it under "kernel"."""
    return {
        "kernel": found.statement["kernel"],
        "statement": found.statement,
        "dtype": found.dtype,
        "device": found.device,
        "verdict": found.word,
        "sentence": found.sentence,
        "exercises": [_exercise(each) for each in found.exercises],
        "streams": len(found.streams),
        "power": None if found.power is None else _power(found.power),
        "explanations": [
            {
                name: getattr(each, name)
                for name in ("name", "sentence", "formula", "agrees", "excess", "left")
            }
            for each in found.explanations
        ],
        "backward": None if found.backward is None else _backward(found.backward),
        "invariances": [
            {name: getattr(each, name) for name in ("name", "title", "outcome", "detail")}
            for each in found.invariances
        ],
        "unmet": found.unmet,
        "not_exercised": found.not_exercised,
    }


def _exercise(found: ExerciseResult) -> dict[str, Any]:
    named = {name: getattr(found, name) for name in ("name", "about", "uses", "within", "hidden")}
    return {**named, "cases": len(found.checks), "worst": exercise_line(found)}


def _power(found: Power) -> dict[str, Any]:
    return {
        "seen": len(found.seen),
        "possible": len(found.possible),
        "unseen": [
            {"fault": reach.alternative.key, "sentence": reach.alternative.sentence, "reason": reach.reason}
            for reach in found.unseen
        ],
        "impossible": [
            {"fault": reach.alternative.key, "reason": reach.reason}
            for reach in found.reaches
            if reach.obstacle is not None
        ],
    }


def _backward(found: BackwardResult) -> dict[str, Any]:
    return {
        "exercise": found.exercise,
        "comparisons": [_comparison(each) for each in found.comparisons],
        "seen": found.seen,
        "possible": len(found.power),
        "unseen": [name for name, excess in found.power.items() if excess <= 1],
        "explanations": [
            {name: getattr(each, name) for name in ("name", "sentence", "explains", "left")}
            for each in found.explanations
        ],
        "notes": found.notes,
    }


def stream_data(check: CrossCheck) -> dict[str, Any]:
    """A kernel on one stream, as ``schema.json`` describes it under "kernelRun"."""
    names = ("stream", "rule", "dtype", "device", "configuration", "shape", "symptoms", "notes")
    return {
        "kernel": check.statement["kernel"],
        "computes": check.statement["computes"],
        **{name: getattr(check, name) for name in names},
        "outcome": outcome(check),
        "verdicts": [
            {name: getattr(verdict, name) for name in ("theorem", "title", "outcome", "reason")}
            for verdict in check.verdicts
        ],
        "comparisons": [_comparison(each) for each in check.comparisons],
        "decades": check.curve.decades if check.curve else None,
    }


def _comparison(found: Comparison) -> dict[str, Any]:
    names = ("name", "title", "dtype", "basis", "worst_error", "first_outside", "median_slack")
    within = found.within if found.bound is not None else None
    excess = found.worst_excess if found.bound is not None else None
    named = {name: getattr(found, name) for name in names}
    return {**named, "worst_excess": excess, "within_bound": within}
