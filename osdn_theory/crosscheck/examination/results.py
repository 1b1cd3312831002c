"""What an examination returns, and its verdict in words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.documents import Number
from osdn_theory.base.jsonable import stated
from osdn_theory.base.validation import require
from osdn_theory.crosscheck.alternatives.naming import Explanation
from osdn_theory.crosscheck.alternatives.power import Power
from osdn_theory.crosscheck.gradients.explanations import GradientExplanation
from osdn_theory.crosscheck.invariance import Invariance
from osdn_theory.crosscheck.results import (
    EXIT_CONFIRMED,
    EXIT_CONTRADICTED,
    EXIT_UNOBSERVED,
    Comparison,
    CrossCheck,
)

Word = Literal["right", "wrong", "cannot tell"]

EXIT_CODES: Mapping[Word, int] = {
    "right": EXIT_CONFIRMED,
    "wrong": EXIT_CONTRADICTED,
    "cannot tell": EXIT_UNOBSERVED,
}


@show_briefly
@dataclass(frozen=True, eq=False)
class ExerciseResult:
    """One exercise: what it asked, and every case of it beside float64.

    - `uses`: Arguments and properties of inputs that it exercised.
    - `checks`: One for each of its cases.
    """

    name: str
    about: str
    uses: tuple[str, ...]
    checks: tuple[CrossCheck, ...]

    def __post_init__(self) -> None:
        require(bool(self.checks), "checks: nothing was compared")

    @property
    @stated
    def within(self) -> bool:
        return all(check.within for check in self.checks)

    @property
    def worst(self) -> tuple[CrossCheck, Comparison] | None:
        """The case and quantity that comes nearest to its bound, or leaves it farthest behind."""
        found = [
            (check, each) for check in self.checks for each in check.comparisons if each.excess is not None
        ]
        return max(found, key=lambda pair: pair[1].worst_excess or 0.0, default=None)

    @property
    @stated
    def hidden(self) -> tuple[str, ...]:
        """Why nothing can be said of a case: an overflow that the format explains."""
        return tuple(
            f"{check.stream}: {verdict.reason}"
            for check in self.checks
            for verdict in check.verdicts
            if verdict.theorem == "T18" and verdict.outcome in ("not applicable", "not observable")
        )


@show_briefly
@dataclass(frozen=True, eq=False)
class BackwardResult:
    """Gradients of one exercise beside float64.

    - `power`, mapping from fault to float: How far each known fault of a backward pass lies from the right gradients,
      in units of what is allowed.
    """

    exercise: str
    comparisons: tuple[Comparison, ...]
    power: Mapping[str, Number]
    explanations: tuple[GradientExplanation, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def seen(self) -> int:
        """Number of known faults that these gradients would show."""
        return sum(excess > 1 for excess in self.power.values())

    @property
    def wrong(self) -> tuple[Comparison, ...]:
        return tuple(item for item in self.comparisons if not item.within)


@show_briefly
@dataclass(frozen=True, eq=False)
class Examination:
    """All that was asked of a kernel, what would have been seen, and what was.

    - `statement`: What the kernel is taken to compute, and how it is called.
    - `streams`: On streams that the theorems speak of.
    - `power`: For every known fault how far it would have stood out, and where; None where no exercise was put.
    - `explanations`: Faults that explain what is off; none if nothing is.
    - `backward`: Gradients, where they were compared.
    - `backward_beside`: The same of exercises that switch or leave out arguments of the first one.
    - `unmet`: Requirements that are not met, in words.
    - `not_exercised`: What no exercise used, with the reason.
    - `probe`: Why no reading of the kernel agreed with float64 where it was recognised; "" where one did.
    - `versions`, mapping from library to version: What the kernel ran with; empty where that is not known.
    """

    statement: Mapping[str, str]
    dtype: str
    device: str
    exercises: tuple[ExerciseResult, ...] = ()
    streams: tuple[CrossCheck, ...] = ()
    power: Power | None = None
    explanations: tuple[Explanation, ...] = ()
    backward: BackwardResult | None = None
    backward_beside: tuple[BackwardResult, ...] = ()
    invariances: tuple[Invariance, ...] = ()
    unmet: tuple[str, ...] = ()
    not_exercised: tuple[str, ...] = ()
    probe: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    @stated
    def verdict(self) -> Word:
        """The verdict: wrong where anything is; right where all that was asked had power."""
        if any(True for _ in self.faults()):
            return "wrong"
        unobserved = any(check.exit_code == EXIT_UNOBSERVED for check in self.streams)
        asked = bool(self.exercises or self.streams)
        powerless = self.power is not None and not self.power.seen
        # A call that is off and that no exercise explains is a fault that none of them asks for.
        unclear = unobserved or powerless or not asked or bool(self.probe)
        return "cannot tell" if unclear else "right"

    @property
    @stated
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    @property
    def graded(self) -> tuple[BackwardResult, ...]:
        """Gradients of all exercises of which they were compared."""
        return (*(() if self.backward is None else (self.backward,)), *self.backward_beside)

    def faults(self) -> Iterator[str]:
        """What is wrong, and where."""
        for exercise in self.exercises:
            if not exercise.within:
                yield f"exercise '{exercise.name}': {_departure(exercise.checks)}"
        for check in self.streams:
            if check.exit_code == EXIT_CONTRADICTED:
                contradicted = [v.theorem for v in check.verdicts if v.outcome == "contradicted"]
                what = _departure((check,)) if not check.within else f"contradicts {', '.join(contradicted)}"
                yield f"stream {check.stream}: {what}"
        for graded in self.graded:
            for found in graded.wrong:
                times = f"{found.worst_excess:.3g} times its bound"
                yield f"exercise '{graded.exercise}': {found.name} is off ({times})"
        for item in self.invariances:
            if item.outcome == "wrong":
                yield f"{item.name}: {item.detail}"
        yield from self.unmet

    @property
    @stated
    def sentence(self) -> str:
        """The last line of the command: the verdict in words."""
        return f"{self.verdict}: {'; '.join(self._clauses())}"

    def _clauses(self) -> Iterator[str]:
        if self.verdict == "wrong":
            faults = list(self.faults())
            more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
            yield faults[0] + more
            yield from self._named()
        elif self.exercises:
            count = len(self.exercises)
            yield f"{count} exercises inside their bounds" if count > 1 else "1 exercise inside its bound"
        if self.probe and self.verdict != "wrong":
            yield self.probe
        if self.streams and self.verdict != "wrong":
            yield from self._theorems()
        if self.power is not None:
            yield _would_have_seen(self.power)
            hidden = [reason for exercise in self.exercises for reason in exercise.hidden]
            if hidden:
                yield f"nothing can be said of {hidden[0]}" + (
                    f" and {len(hidden) - 1} more" if hidden[1:] else ""
                )
        if self.backward is not None and self.backward.power:
            seen = f"{self.backward.seen} of {len(self.backward.power)}"
            yield f"gradients would have shown {seen} known faults of a backward pass"
        yield "not exercised: " + (", ".join(self.not_exercised) or "nothing that the kernel takes")

    def _named(self) -> Iterator[str]:
        """What explains what is off, forward and backward."""
        gradients = [each for graded in self.graded for each in graded.explanations]
        if self.explanations:
            first, *others = self.explanations
            names = ", ".join(item.name for item in others)
            same = f" (or, not to be told apart here: {names})" if others and first.agrees else ""
            yield (first.sentence if first.agrees else f"no known fault explains it; {first.sentence}") + same
        elif gradients:
            right = "the forward results given here are inside their bounds" if self._forward_right else ""
            yield "; ".join(filter(None, [gradients[0].sentence, right]))
        else:
            yield "no known fault explains it"

    @property
    def _forward_right(self) -> bool:
        exercises = all(item.within for item in self.exercises)
        return exercises and all(item.within for item in self.streams)

    def _theorems(self) -> Iterator[str]:
        outcomes = {"confirmed": set[str](), "not observable": set[str]()}
        for check in self.streams:
            for verdict in check.verdicts:
                if verdict.outcome in outcomes:
                    outcomes[verdict.outcome].add(verdict.theorem)
        hidden = outcomes["not observable"]
        shown = outcomes["confirmed"] - hidden
        if shown:
            yield f"confirms {_list(shown)}"
        if hidden:
            yield f"{_list(hidden)} cannot be observed at this precision"


def examined_alone(checks: Sequence[CrossCheck]) -> Examination:
    """Checks of runs that were not posed here: nothing is known of what they would have seen."""
    first = checks[0]
    return Examination(
        statement=first.statement,
        dtype=first.dtype,
        device=first.device,
        streams=tuple(checks),
        not_exercised=("anything beyond these runs",),
    )


def _would_have_seen(power: Power) -> str:
    names = [reach.fault.key for reach in power.unseen]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
    counted = f"would have seen {len(power.seen)} of {len(power.possible)} known faults"
    return f"{counted} (not: {shown})" if names else counted


def _list(theorems: set[str]) -> str:
    return ", ".join(sorted(theorems, key=lambda name: int(name[1:])))


def _departure(checks: tuple[CrossCheck, ...]) -> str:
    """The first quantity outside its bound, in words."""
    for check in checks:
        for found in check.comparisons:
            if not found.within:
                batch, head = found.worst_head
                times = f"{found.worst_excess:.3g} times its bound"
                return (
                    f"{found.name} leaves its bound from token {found.first_outside} on ({times}; worst in batch row "
                    f"{batch}, head {head})"
                )
    return "something is off"
