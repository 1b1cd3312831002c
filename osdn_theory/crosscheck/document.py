"""``crosscheck.json``: an examination, as it is written and read."""

from collections.abc import Iterator, Mapping

import numpy as np

from osdn_theory.base.documents import DocumentKind
from osdn_theory.base.validation import require
from osdn_theory.crosscheck.alternatives.power import Power
from osdn_theory.crosscheck.alternatives.table import ALTERNATIVES
from osdn_theory.crosscheck.examination.results import Examination
from osdn_theory.crosscheck.invariance.result import TITLES, required
from osdn_theory.crosscheck.results import CrossCheck

SLACK = 1e-9
"""Relative; ratios of numbers that were divided by the size of the exact value are not rounded as theirs are."""


def check_examination(found: Examination) -> None:
    """Raise ValueError, with the place, where an examination says what cannot follow from its parts."""
    require(bool(found.exercises or found.streams), "exercises: expected an exercise or a stream")
    for place, check in _checks(found):
        _check_compared(place, check)
    right = all(exercise.within for exercise in found.exercises)
    require(not (found.explanations and right), "explanations: there is nothing to explain")
    known = {row.fault for row in ALTERNATIVES}
    for number, each in enumerate(found.explanations):
        require(known.issuperset(each.faults), f"explanations[{number}].faults: expected known faults")
    if found.power is not None:
        _check_power(found, found.power)
    for number, line in enumerate(found.unmet):
        name = line.split(":")[0]
        told = required(found.invariances, [name]) if name in TITLES else []
        require(told == [line], f"unmet[{number}]: it does not follow from the invariances")
    _check_statement("statement", found.statement)


def _check_compared(place: str, check: CrossCheck) -> None:
    """Something was compared, and no error uses up more of its bound than is said."""
    _check_statement(f"{place}.statement", check.statement)
    require(bool(check.comparisons), f"{place}.comparisons: nothing was compared")
    for number, each in enumerate(check.comparisons):
        if each.bound is None or each.excess is None:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            used = np.where(each.error > 0, each.error / each.bound, 0.0)
        # An infinite bound explains everything, one that is no number nothing.
        used = np.where(np.isinf(each.bound), 0.0, np.nan_to_num(used, nan=np.inf))
        within = bool(np.all(used <= each.excess * (1 + SLACK)))
        require(within, f"{place}.comparisons[{number}].excess: an error uses up more of its bound")


def _check_statement(place: str, statement: Mapping[str, str]) -> None:
    for name in ("kernel", "computes", "recurrence"):
        require(name in statement, f"{place}.{name}: is missing")


def _checks(found: Examination) -> Iterator[tuple[str, CrossCheck]]:
    for number, check in enumerate(found.streams):
        yield f"streams[{number}]", check
    for number, exercise in enumerate(found.exercises):
        for place, check in enumerate(exercise.checks):
            yield f"exercises[{number}].checks[{place}]", check


def _check_power(found: Examination, power: Power) -> None:
    """Every known fault of the recurrence, each once: one that is left out would hide that it goes unseen."""
    recurrence = found.statement["recurrence"]
    known = [row.fault for row in ALTERNATIVES if recurrence in row.recurrences]
    told = [reach.fault for reach in power.reaches]
    require(
        told == known, f"power.reaches: expected the {len(known)} known faults of {recurrence}, each once"
    )
    exercises = {"", *(exercise.name for exercise in found.exercises)}
    for number, reach in enumerate(power.reaches):
        require(
            reach.exercise in exercises, f"power.reaches[{number}].exercise: there is no {reach.exercise!r}"
        )


CROSSCHECK = DocumentKind(
    format="osdn-crosscheck/3",
    content=Examination,
    about="crosscheck.json: a kernel beside float64",
    remake="osdn-theory crosscheck --kernel NAME --out DIR",
    code=("osdn_theory.crosscheck", "osdn_kernels"),
    check=check_examination,
)
