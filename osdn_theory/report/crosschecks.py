"""What ``crosscheck.json`` says: how a kernel was examined, what would have been seen, and the verdict on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osdn_theory.base.fields import Fields
from osdn_theory.crosscheck.alternatives.alternative import Alternative
from osdn_theory.crosscheck.alternatives.naming import Explanation
from osdn_theory.crosscheck.alternatives.power import Power, Reach
from osdn_theory.crosscheck.alternatives.table import ALTERNATIVES, BY_KEY
from osdn_theory.crosscheck.examination.results import BackwardResult, Examination, ExerciseResult
from osdn_theory.crosscheck.gradients.explanations import GradientExplanation
from osdn_theory.crosscheck.invariance.result import TITLES, Difference, Invariance, required
from osdn_theory.crosscheck.results import FORMAT
from osdn_theory.report.checks import read_check, read_comparison
from osdn_theory.report.documents import Document, StaleError, read_document

PATTERN = "crosscheck*.json"
"""Name of such documents, in the report folder and in folders inside it, one for each kernel."""

INVARIANCES = ("equal bit for bit", "inside the bound", "wrong", "not exercised")


@dataclass(frozen=True)
class CrossCheckRun:
    """One document: what one command found.

    Attributes
    ----------
    made_by, command : str
    examination : Examination
        As `report.checks` reads its checks. Its verdict in words is the document's own.
    """

    made_by: str
    command: str
    examination: Examination


def read_crosschecks(folder: Path) -> list[Document[CrossCheckRun]]:
    """The cross-check documents of a report folder, in the order of their names."""
    return [
        read_document(
            path,
            parse_crosscheck,
            name=str(path.relative_to(folder)),
            made_from=("osdn_theory", "osdn_kernels"),
        )
        for path in sorted(folder.rglob(PATTERN))
    ]


def parse_crosscheck(value: Any) -> CrossCheckRun:
    """The document as objects.

    Raises
    ------
    StaleError
        If it is of another format.
    ValueError
        If it is not what it should be, or concludes what does not follow from it.
    """
    document = Fields(value)
    if document.text("format") != FORMAT:
        raise StaleError(f"its format is {document.text('format')!r}, not {FORMAT!r}")
    examination = _examination(document)
    if not examination.exercises and not examination.streams:
        raise ValueError("document: expected an exercise or a stream")
    if examination.explanations and all(exercise.within for exercise in examination.exercises):
        raise ValueError("document.explanations: there is nothing to explain")
    concluded = {
        "verdict": document.text("verdict"),
        "exit_code": document.count("exit_code"),
        "sentence": document.text("sentence"),
    }
    follows = {
        "verdict": examination.word,
        "exit_code": examination.exit_code,
        "sentence": examination.sentence,
    }
    for name, found in concluded.items():
        if found != follows[name]:
            raise ValueError(f"document.{name}: {found!r} does not follow from the rest")
    return CrossCheckRun(document.text("osdn"), document.text("command"), examination)


def _examination(document: Fields) -> Examination:
    exercises = tuple(_exercise(each) for each in document.each("exercises"))
    invariances = tuple(_invariance(each) for each in document.each("invariances"))
    for name in ("kernel", "computes"):
        document.inside("statement").text(name)
    return Examination(
        statement=document.table("statement"),
        dtype=document.text("dtype"),
        device=document.text("device"),
        exercises=exercises,
        streams=tuple(read_check(each) for each in document.each("streams")),
        power=None if document.lacks("power") else _power(document, exercises),
        explanations=tuple(_explanation(each) for each in document.each("explanations")),
        backward=None if document.lacks("backward") else _backward(document.inside("backward")),
        invariances=invariances,
        unmet=_unmet(document, invariances),
        not_exercised=document.texts("not_exercised"),
    )


def _exercise(fields: Fields) -> ExerciseResult:
    found = ExerciseResult(
        name=fields.text("name"),
        about=fields.text("about"),
        uses=fields.texts("uses"),
        checks=tuple(read_check(each) for each in fields.each("checks")),
    )
    if not found.checks:
        raise ValueError(f"{fields.where}.checks: nothing was compared")
    if fields.flag("within") != found.within:
        raise ValueError(f"{fields.where}.within: it does not follow from the checks")
    return found


def _power(document: Fields, exercises: Sequence[ExerciseResult]) -> Power:
    """Every known fault of the recurrence, each once: one that is left out would hide that it goes unseen."""
    reaches = tuple(_reach(each) for each in document.each("power"))
    recurrence = document.inside("statement").text("recurrence")
    known = [row.key for row in ALTERNATIVES if recurrence in row.recurrences]
    if [reach.alternative.key for reach in reaches] != known:
        raise ValueError(f"document.power: expected the {len(known)} known faults of {recurrence}, each once")
    unknown = {reach.exercise for reach in reaches} - {exercise.name for exercise in exercises} - {""}
    if unknown:
        raise ValueError(f"document.power: there is no exercise {', '.join(map(repr, sorted(unknown)))}")
    return Power(reaches)


def _reach(fields: Fields) -> Reach:
    row, reason = _alternative(fields, "fault"), fields.text("reason")
    found = Reach(row, fields.extended("excess"), fields.text("exercise"))
    if reason != found.reason and not found.exercise and found.excess == 0:
        found = Reach(row, obstacle=reason)
    told = {"sentence": row.sentence, "formula": row.formula, "reason": found.reason}
    _expect(fields, told)
    if fields.flag("seen") != found.seen:
        raise ValueError(f"{fields.where}.seen: it does not follow from excess")
    return found


def _alternative(fields: Fields, name: str) -> Alternative:
    key = fields.text(name)
    if key not in BY_KEY:
        raise ValueError(f"{fields.where}.{name}: {key!r} is no known fault")
    return BY_KEY[key]


def _explanation(fields: Fields) -> Explanation:
    parts = _named(fields.text("name"))
    if not parts:
        raise ValueError(
            f"{fields.where}.name: {fields.text('name')!r} is no known fault and no pair of them"
        )
    rows, labels = zip(*parts, strict=True)
    found = Explanation(
        rows, labels, fields.flag("agrees"), fields.extended("excess"), fields.extended("left")
    )
    _expect(fields, {"sentence": found.sentence, "formula": found.formula})
    return found


def _named(name: str) -> tuple[tuple[Alternative, str], ...]:
    """The alternative of a name, or the two of a name with "and", each with the label of its variant."""
    known = {
        f"{row.key} ({label})" if label else row.key: (row, label)
        for row in ALTERNATIVES
        for label in row.variants
    }
    if name in known:
        return (known[name],)
    words = name.split(" and ")
    pairs = [(" and ".join(words[:place]), " and ".join(words[place:])) for place in range(1, len(words))]
    return next(
        ((known[first], known[second]) for first, second in pairs if {first, second} <= known.keys()), ()
    )


def _backward(fields: Fields) -> BackwardResult:
    power = fields.inside("power")
    return BackwardResult(
        exercise=fields.text("exercise"),
        comparisons=tuple(read_comparison(each) for each in fields.each("comparisons")),
        power={name: power.extended(name) for name in power.value},
        explanations=tuple(
            GradientExplanation(
                name=each.text("name"),
                sentence=each.text("sentence"),
                inputs=each.texts("inputs"),
                left=each.extended("left"),
                explains=each.flag("explains"),
            )
            for each in fields.each("explanations")
        ),
        notes=fields.texts("notes"),
    )


def _invariance(fields: Fields) -> Invariance:
    name = fields.text("name", tuple(TITLES))
    outcome: Any = fields.text("outcome", INVARIANCES)
    apart = None if fields.lacks("difference") else _difference(fields.inside("difference"))
    found = Invariance(name, outcome, apart, "" if apart else fields.text("detail"))
    _expect(fields, {"title": found.title, "detail": found.detail})
    if apart is not None and outcome != ("wrong" if apart.excess > 1 else "inside the bound"):
        raise ValueError(f"{fields.where}.outcome: {outcome!r} does not follow from the difference")
    if apart is None and (
        outcome == "inside the bound" or (found.detail == "") != (outcome == INVARIANCES[0])
    ):
        raise ValueError(f"{fields.where}.outcome: {outcome!r} without what shows it")
    return found


def _difference(fields: Fields) -> Difference:
    return Difference(
        how=fields.text("how"),
        quantity=fields.text("quantity"),
        size=fields.extended("size"),
        excess=fields.extended("excess"),
        batch=fields.count("batch"),
        head=fields.count("head"),
        token=fields.count("token"),
    )


def _unmet(document: Fields, invariances: Sequence[Invariance]) -> tuple[str, ...]:
    """Requirements that are not met: each must be about a check that is not equal bit for bit."""
    lines = document.texts("unmet")
    for place, line in enumerate(lines):
        name = line.split(":")[0]
        if name not in TITLES or required(invariances, [name]) != [line]:
            raise ValueError(f"document.unmet[{place}]: it does not follow from the invariances")
    return lines


def _expect(fields: Fields, told: dict[str, str]) -> None:
    for name, text in told.items():
        if fields.text(name) != text:
            raise ValueError(f"{fields.where}.{name}: expected {text!r}, got {fields.text(name)!r}")
