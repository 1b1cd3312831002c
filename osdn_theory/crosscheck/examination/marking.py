"""Marking: a question put to a kernel, its answers beside float64, and what known faults would have answered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osdn_theory.crosscheck.alternatives.agreement import QUANTITIES, quantities
from osdn_theory.crosscheck.alternatives.naming import Explanation, explain
from osdn_theory.crosscheck.alternatives.power import Power, power, summarise
from osdn_theory.crosscheck.cases.case import bounds_of, pack
from osdn_theory.crosscheck.check import Truth, judge, truth
from osdn_theory.crosscheck.evidence.observation import observe_answer
from osdn_theory.crosscheck.examination.exercises.question import Answer, Question, answer, restart
from osdn_theory.crosscheck.examination.results import BackwardResult, ExerciseResult
from osdn_theory.crosscheck.gradients.check import GradedGradients, kernel_gradients
from osdn_theory.crosscheck.gradients.explanations import (
    GradientExplanation,
    explain_gradients,
    gradient_alternatives,
    gradient_power,
)
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import KernelError
from osdn_theory.rounding import KernelModel

AS_GOOD = ("clip open",)
"""Backward passes that differ from the reference's where the derivative is a matter of choice."""

BESIDE = (
    "from nothing", "normalised feedback", "other feedback", "both feedbacks", "without gates", "lengths",
    "packed sequences", "packed from nothing",
)  # fmt: skip
"""Exercises whose gradients are compared as well: where the arguments of the first one are switched or left out."""


@dataclass(frozen=True, eq=False)
class Marked:
    """A question with the kernel's answers and what they are held against, case by case."""

    question: Question
    answers: tuple[Answer, ...]
    truths: tuple[Truth, ...]

    @property
    def shown(self) -> frozenset[str]:
        """Quantities that the kernel says."""
        said = [set(quantities(one.returned)) for one in self.answers]
        return frozenset(QUANTITIES).intersection(*said)


def mark(adapter: Adapter, question: Question, device: str, models: Sequence[KernelModel]) -> Marked:
    """Put a question, and work out what its answers are held against."""
    answers = answer(adapter, question, device)
    truths = tuple(truth(adapter, said.case, models, theorems=False) for said in answers)
    for said, known in zip(answers, truths, strict=True):
        _refuse_not_finite(said, known)
    return Marked(question, tuple(answers), truths)


def _refuse_not_finite(said: Answer, known: Truth) -> None:
    """NaN or infinity where the exact value is finite and no overflow explains it."""
    pairs = {
        "o": (said.returned.outputs, known.limits.outputs.norm),
        "the final state": (said.returned.state, known.limits.states.norm[..., -1:]),
        "d": (said.returned.preconditioner, known.limits.preconditioner.norm),
        "the d handed on": (said.returned.handed_on, known.limits.handed_on.norm[..., -1:]),
    }
    for name, (found, bound) in pairs.items():
        if found is None or found.size == 0 or not np.isfinite(bound).all():
            continue
        bad = np.argwhere(~np.isfinite(found))
        if bad.size:
            batch, head, *rest = (int(i) for i in bad[0])
            token = f", token {rest[0] + 1}" if name in ("o", "d") else ""
            where = f"first in batch row {batch}, head {head}{token}; expected finite numbers"
            raise KernelError(
                f"kernel: in exercise '{said.case.stream.name}' {len(bad)} of {found.size} entries of {name} are NaN "
                f"or infinite, {where}"
            )


def exercise_result(adapter: Adapter, item: Marked, device: str) -> ExerciseResult:
    """Every case of a question beside float64."""
    checks = tuple(
        judge(adapter, known, observe_answer(said.returned, said.case.stream.length), device=device)
        for said, known in zip(item.answers, item.truths, strict=True)
    )
    return ExerciseResult(
        name=item.question.name,
        about=item.question.about,
        uses=tuple(sorted(item.question.uses)),
        checks=checks,
    )


def power_of(adapter: Adapter, marked: Sequence[Marked], models: Sequence[KernelModel]) -> Power:
    """What the questions would have seen of every known fault."""
    found = {}
    for item in marked:
        known = item.truths
        if item.question.put == "continued":
            known = _chained(adapter, item.question, models)
        pairs = [(one.exact, one.limits) for one in known]
        found[item.question.name] = power(adapter, item.question, pairs, item.shown)
    return summarise(adapter, found)


def explain_answers(adapter: Adapter, marked: Sequence[Marked]) -> tuple[Explanation, ...]:
    """Known faults that explain all answers together."""
    questions = [item.question for item in marked]
    answers = [item.answers for item in marked]
    truths = [[(one.exact, one.limits) for one in item.truths] for item in marked]
    return explain(adapter, questions, answers, truths)


def grade_gradients(adapter: Adapter, question: Question, device: str, reference: Adapter) -> BackwardResult:
    """Gradients of a question's first case, and the known faults that they would show or that explain them."""
    found = kernel_gradients(adapter, question.cases[0], device, reference=reference)
    known = (
        [each for each in gradient_alternatives(adapter, found) if each.name not in AS_GOOD]
        if found.found
        else []
    )
    return BackwardResult(
        exercise=question.name,
        comparisons=tuple(found.compared()),
        power=gradient_power(found, known),
        explanations=tuple(explain_gradients(found, known)),
        notes=found.notes,
    )


def grade_beside(
    adapter: Adapter, questions: Sequence[Question], device: str, reference: Adapter
) -> tuple[BackwardResult, ...]:
    """Gradients where other arguments are passed or left out (`BESIDE`); faults are looked for where they are off."""
    found = []
    for question in questions:
        if question.name not in BESIDE or (question.put == "packed" and not adapter.reads):
            continue
        # Of several lengths the one that has a memory to start from and no d_1.
        case = question.cases[min(1, len(question.cases) - 1)]
        bounds: tuple[int, ...] = ()
        if question.put == "packed":
            case = pack(question.cases)
            bounds = bounds_of(question.cases)
        graded = kernel_gradients(
            adapter, case, device, reference=reference, final=question.final, bounds=bounds
        )
        compared = tuple(graded.compared())
        # What faults would do to packed sequences is not known.
        named = () if bounds or all(each.within for each in compared) else _explained(adapter, graded)
        found.append(BackwardResult(question.name, compared, {}, named, graded.notes))
    return tuple(found)


def _explained(adapter: Adapter, graded: GradedGradients) -> tuple[GradientExplanation, ...]:
    return tuple(explain_gradients(graded, gradient_alternatives(adapter, graded)))


def _chained(adapter: Adapter, question: Question, models: Sequence[KernelModel]) -> tuple[Truth, ...]:
    """The truths of a question whose every case starts from the exact state of the one before."""
    found: list[Truth] = []
    for case in question.cases:
        if found:
            before = found[-1].exact
            case = restart(case, before.final_state, before.final_preconditioner)
        found.append(truth(adapter, case, models, theorems=False))
    return tuple(found)
