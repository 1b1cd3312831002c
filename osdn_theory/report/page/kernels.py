"""What the page says of an examined kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from osdn_theory.crosscheck.alternatives.power import Power
from osdn_theory.crosscheck.examination.results import Examination, ExerciseResult
from osdn_theory.crosscheck.results import Comparison, CrossCheck, Verdict
from osdn_theory.plotting.tables import Table
from osdn_theory.report.reading import outcome
from osdn_theory.report.summary import MarkedCell


@dataclass(frozen=True)
class ExerciseLine:
    """The quantity of an exercise that comes nearest to its bound, or leaves it farthest behind.

    - `quantity`: "" where no bound is claimed for any.
    - `error`, `excess`: Its largest error, relative; and its largest error over its bound, beyond 1 outside.
    - `where`: Where it leaves its bound; "" where it does not.
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


SYMBOLS = {
    "o": "output o",
    "S": "state S",
    "d": "preconditioner d",
    "a": "alignment a",
    "q": "residual ratio q",
}
"""What the names of quantities stand for."""


def kernel_name(found: Examination) -> str:
    """Name and precision."""
    return f"{found.statement['kernel']}, {found.dtype}"


def run_name(check: CrossCheck) -> str:
    """Configuration, stream and rule of a run of a kernel."""
    return ", ".join(part for part in (check.configuration, check.stream, check.rule) if part)


def overview_table(found: Sequence[Examination]) -> Table:
    """A row for each kernel."""
    return Table(
        (
            "kernel",
            "device",
            "torch",
            "triton",
            "verdict",
            "exercises inside",
            "known faults seen",
            "streams",
        ),
        [
            (
                kernel_name(each),
                each.device,
                *(each.versions.get(library, "–") for library in ("torch", "triton")),
                MarkedCell(each.verdict),
                _of(sum(exercise.within for exercise in each.exercises), len(each.exercises)),
                _of(len(each.power.seen), len(each.power.possible)) if each.power else "–",
                len(each.streams),
            )
            for each in found
        ],
    )


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else "–"


def exercise_table(found: Sequence[Examination]) -> Table:
    """A row for each exercise, a column for each kernel: the largest error over its bound."""
    about = {exercise.name: exercise.about for each in found for exercise in each.exercises}
    asked = [{exercise.name: exercise for exercise in each.exercises} for each in found]
    rows = [
        (f"{name}: {text}", *(_exercised(exercises.get(name)) for exercises in asked))
        for name, text in about.items()
    ]
    return Table(("exercise", *map(kernel_name, found)), rows)


def _exercised(exercise: ExerciseResult | None) -> MarkedCell | str:
    if exercise is None:
        return "–"
    excess = exercise_line(exercise).excess
    state = "wrong" if not exercise.within else "cannot tell" if exercise.hidden else "inside the bound"
    return MarkedCell(state, "" if excess is None else f"{excess:.2g}")


def outside(found: Examination) -> list[str]:
    """Each exercise that leaves its bound, or hides something, in a line."""
    lines = []
    for exercise in found.exercises:
        line = exercise_line(exercise)
        if not exercise.within:
            lines.append(
                f"{exercise.name}: {line.quantity} at {line.excess:.2g} times its bound, {line.where}"
            )
        elif exercise.hidden:
            lines.append(f"{exercise.name}: {'; '.join(exercise.hidden)}")
    return lines


def invariance_table(found: Sequence[Examination]) -> Table:
    """A row for each invariance, a column for each kernel."""
    titles = {each.name: each.title for kernel in found for each in kernel.invariances}
    held = [{each.name: each.outcome for each in kernel.invariances} for kernel in found]
    rows = [
        (f"{name}: {title}", *(MarkedCell(outcomes[name]) if name in outcomes else "–" for outcomes in held))
        for name, title in titles.items()
    ]
    return Table(("invariance", *map(kernel_name, found)), rows)


def error_table(found: Examination) -> Table:
    """A row for each quantity, a column for each stream: the largest error, and how much its bound leaves."""
    titles = {each.name: each.title for run in found.streams for each in run.comparisons}
    compared = [{each.name: each for each in run.comparisons} for run in found.streams]
    rows = [
        (SYMBOLS.get(name, name), title, *(_error(quantities.get(name)) for quantities in compared))
        for name, title in titles.items()
    ]
    return Table(("quantity", "what it is", *map(run_name, found.streams)), rows)


def _error(found: Comparison | None) -> MarkedCell | str:
    if found is None:
        return "–"
    if found.bound is None:
        return f"{found.worst_error:.2g}, no bound claimed"
    if not found.within:
        return MarkedCell("wrong", f"{found.worst_error:.2g}, outside from token {found.first_outside}")
    room = "" if found.median_slack is None else f" ({found.median_slack:.2g})"
    return MarkedCell("inside the bound", f"{found.worst_error:.2g}{room}")


def verdict_table(found: Examination) -> Table:
    """A row for each theorem, a column for each stream: the verdict and its numbers."""
    titles = {each.theorem: each.title for run in found.streams for each in run.verdicts}
    told = [{each.theorem: each for each in run.verdicts} for run in found.streams]
    rows = [
        (f"{theorem} {title}", *(_verdict(verdicts.get(theorem)) for verdicts in told))
        for theorem, title in titles.items()
    ]
    return Table(("theorem", *map(run_name, found.streams)), rows)


def _verdict(found: Verdict | None) -> MarkedCell | str:
    return "–" if found is None else MarkedCell(found.outcome, verdict_numbers(found))


def verdict_numbers(found: Verdict) -> str:
    """Both sides of a bound, or how far off an identity is and what rounding allows; the reason where neither tells."""
    if found.outcome != "confirmed" or found.lhs is None:
        return found.reason
    if found.rhs:
        unit = "log10 " if found.reason.startswith("log10") else ""
        return f"{unit}{found.lhs:.3g} <= {found.rhs:.3g}"
    return f"off by {found.lhs:.2g}, rounding allows {found.allowance:.2g}"


def run_table(found: Examination) -> Table:
    """A row for each stream: its gravest verdict, its decay, and its size."""
    return Table(
        ("stream", "verdict", "decades of decay", *"THKV"),
        [
            (
                run_name(run),
                MarkedCell(outcome(run)),
                f"{run.curve.decades:.1f}" if run.curve else "–",
                *(run.shape.get(name, "–") for name in "THKV"),
            )
            for run in found.streams
        ],
    )


def obstacles(power: Power) -> Mapping[str, int]:
    """Why a kernel cannot have a fault, and how many faults each reason keeps from it."""
    return Counter(reach.obstacle for reach in power.reaches if reach.obstacle is not None)


def counted(outcomes: Iterable[str]) -> str:
    """How often each occurs, in words, the most frequent first."""
    return ", ".join(f"{number} {name}" for name, number in Counter(outcomes).most_common())
