"""What the page says of an examined kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from osdn_theory.crosscheck.examination.results import Examination, ExerciseResult
from osdn_theory.crosscheck.results import Comparison, CrossCheck


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


def numbered(examinations: Sequence[Examination]) -> list[tuple[Examination, list[tuple[int, CrossCheck]]]]:
    """Every examination with its streams, each stream with its place among those of all of them."""
    found: list[tuple[Examination, list[tuple[int, CrossCheck]]]] = []
    place = 0
    for each in examinations:
        found.append((each, list(enumerate(each.streams, place))))
        place += len(each.streams)
    return found
