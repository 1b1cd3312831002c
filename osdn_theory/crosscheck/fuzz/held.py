"""What a kernel says to a trial, held against float64 inside the bounds."""

import re
import warnings
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.check import Truth, is_interpreted, truth
from osdn_theory.crosscheck.evidence.comparison import comparisons
from osdn_theory.crosscheck.evidence.limits import (
    RELATIVE_ALLOWANCE,
    RoundingLimits,
    is_proved,
    models_of,
    relative_limit,
)
from osdn_theory.crosscheck.evidence.observation import observe_answer
from osdn_theory.crosscheck.examination.exercises.question import Answer, answer
from osdn_theory.crosscheck.fuzz.trial import Trial
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import KernelError
from osdn_theory.crosscheck.results import Comparison
from osdn_theory.rounding import FORMATS

Kind = Literal["outside", "not finite", "raised"]

TELLING = 0.1
"""A case tells something if the bound on half of its tokens is at most this part of the token."""


@dataclass(frozen=True)
class TrialFault:
    """One way in which a kernel fails on a trial.

    - `what`: The quantity, by its name in a cross-check; or the type of the exception.
    - `detail`: In one line.
    - `case`: Place of the case in the question; -1: the call itself failed.
    """

    kind: Kind
    what: str
    detail: str
    case: int = -1

    @property
    def signature(self) -> str:
        """Failing in the same way is having the same one: for an exception also its words, less the numbers."""
        words = re.sub(r"[-+]?\d[\d.e+-]*", "#", self.detail) if self.kind == "raised" else ""
        return f"{self.kind} {self.what} {words}".strip()


@dataclass(frozen=True, eq=False)
class Held:
    """A kernel's answers to a trial, compared.

    - `answers`: None where the kernel raised.
    - `compared`: Of every case.
    - `refused`: What the kernel says that it does not do (NotImplementedError), instead of an answer.
    """

    answers: tuple[Answer, ...] = ()
    compared: tuple[tuple[Comparison, ...], ...] = ()
    faults: tuple[TrialFault, ...] = ()
    refused: str = ""

    @property
    def telling(self) -> bool:
        """Whether the bound on what the kernel is for is narrow enough to tell a wrong number from a right one."""
        return any(tells(compared[0]) for compared in self.compared if compared)

    def shows(self, fault: TrialFault) -> TrialFault | None:
        """The fault of the same signature, if there is one."""
        return next((item for item in self.faults if item.signature == fault.signature), None)


def tells(item: Comparison) -> bool:
    """Whether the bound, on the scale of the error, is below `TELLING` at half of the tokens."""
    return item.bound is not None and bool(np.median(item.bound) < TELLING)


def hold(adapter: Adapter, trial: Trial, device: str) -> Held:
    """Put the trial to the kernel and compare what it says."""
    kernel = trial.adapter(adapter)
    try:
        with warnings.catch_warnings():
            # Drawn numbers may overflow, of which Triton's interpreter, being NumPy, would speak for every product.
            warnings.simplefilter("ignore", RuntimeWarning)
            answers = answer(kernel, trial.question, device)
    except NotImplementedError as error:
        return Held(refused=_line(error))
    except KernelError as error:
        what = type(error.__cause__ or error).__name__
        return Held(
            faults=(TrialFault("raised", what, _line(error).replace(trial.question.name, "the case")),)
        )
    compared = tuple(compare_case(kernel, item, device) for item in answers)
    faults = [_fault(item, place) for place, row in enumerate(compared) for item in row if not item.within]
    return Held(tuple(answers), compared, tuple(faults))


def compare_case(adapter: Adapter, item: Answer, device: str) -> tuple[Comparison, ...]:
    """Everything that the kernel returned for one case, beside float64."""
    known = known_of(adapter, item.case, device)
    seen = observe_answer(item.returned, item.case.stream.length)
    return tuple(comparisons(item.case, known.exact, seen, known.limits, None))


def known_of(adapter: Adapter, case: Case, device: str) -> Truth:
    """The exact run, and what rounding explains; where no bound is proved, a part of what was summed."""
    models = models_of(adapter, case.dtype, interpreted=is_interpreted(device))
    known = truth(adapter, case, models, theorems=False)
    summed = adapter.gated and case.stream.length and not is_proved(case, models)
    return replace(known, limits=_of_summands(case, known)) if summed else known


def _of_summands(case: Case, known: Truth) -> RoundingLimits:
    """Drawn cases may cancel to nothing (a full write over an old state), which leaves the rounding of the summands."""
    exact, stream = known.exact, case.read_stream()
    assert exact.states is not None
    before = np.concatenate([case.initial_state[:, :, None], exact.states[:, :, :-1]], axis=2)
    state, keys = np.linalg.norm(before, axis=(-2, -1)), np.linalg.norm(stream.keys, axis=-1)
    written = np.asarray(stream.beta) * keys * (np.linalg.norm(stream.values, axis=-1) + state * keys)
    queries = abs(case.scale) * np.linalg.norm(np.asarray(stream.queries), axis=-1)
    relative = RELATIVE_ALLOWANCE[case.dtype]
    basis = f"allowance, {relative:g} of what is summed: no bound is proved here"
    summed = np.maximum.accumulate(state + written, axis=-1)
    outputs = relative_limit(relative, queries * summed, basis)
    # Results too small for their format are rounded to its least numbers.
    least = _least(case.dtype) * np.sqrt(stream.value_dim)
    return replace(
        known.limits,
        outputs=replace(outputs, norm=outputs.norm + least),
        states=relative_limit(relative, summed, basis),
    )


def _least(dtype: str) -> float:
    """Spacing of the numbers next to zero; formats with the range of float32 may have no subnormal ones."""
    fmt = FORMATS[dtype]
    return fmt.smallest_subnormal if dtype == "float16" else fmt.smallest_normal


def _fault(item: Comparison, place: int) -> TrialFault:
    worst = item.worst_excess
    assert worst is not None
    at = f"token {item.first_outside}"
    if not np.isfinite(item.error).all():
        return TrialFault(
            "not finite", item.name, f"{item.name} is not finite, first outside its bound at {at}", place
        )
    times = "its bound of 0" if np.isinf(worst) else f"{worst:.3g} times its bound"
    detail = f"{item.name} is {item.worst_error:.3g} off, {times}, first at {at} ({item.basis})"
    return TrialFault("outside", item.name, detail, place)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
