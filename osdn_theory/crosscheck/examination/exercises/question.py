"""One question to a kernel: cases that belong together, and how they are put."""

from dataclasses import dataclass, replace
from typing import Literal

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import Form, Returned, ask, ask_packed

Put = Literal["apart", "packed", "continued"]
"""Each case in a call of its own; all in one call as packed sequences; each from the state of the one before."""


@dataclass(frozen=True, eq=False)
class Question:
    """What one exercise puts to a kernel.

    - `about`: What only a right kernel answers rightly, in one sentence.
    - `uses`: Arguments and properties of inputs that it exercises, by canonical names.
    - `cases`: Leading axes (B, H); packed ones have one batch row each.
    - `final`: Whether the final state is asked for.
    - `refusable`: Whether a kernel that raises here may still be right.
    """

    name: str
    about: str
    uses: frozenset[str]
    cases: tuple[Case, ...]
    put: Put = "apart"
    form: Form = "contiguous"
    final: bool = True
    refusable: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of all cases."""
        return sum(case.stream.length for case in self.cases)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a kernel said to one case of a question; `case` starts from the state that it was in fact given."""

    case: Case
    returned: Returned


def answer(adapter: Adapter, question: Question, device: str) -> list[Answer]:
    """Put the question.

    Raises KernelError: naming the exercise.
    """
    what = f"exercise '{question.name}'"
    if question.put == "packed":
        found = ask_packed(adapter, question.cases, device, what=what)
        return [Answer(case, said) for case, said in zip(question.cases, found, strict=True)]
    answers: list[Answer] = []
    for case in question.cases:
        started = case
        if question.put == "continued" and answers:
            started = continuing(case, answers[-1].returned)
        answers.append(
            Answer(
                started, ask(adapter, started, device, final=question.final, form=question.form, what=what)
            )
        )
    return answers


def continuing(case: Case, before: Returned) -> Case:
    """The case from the state that a kernel handed on, which is a float32 number and so exact."""
    return restart(case, before.state, before.handed_on)


def restart(case: Case, state: Array | None, preconditioner: Array | None) -> Case:
    """The case from another state, and another d_1 where one is given."""
    if state is not None:
        case = replace(case, initial_state=state)
    return case if preconditioner is None else replace(case, initial_preconditioner=preconditioner)
