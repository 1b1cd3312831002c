"""Shrinking: from a trial on which a kernel fails, by passes of simplifications, to a small one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.fuzz.trial import Trial, change_arrays, cut, parts
from osdn_theory.crosscheck.kernel.recurrences import CALIBRATING
from osdn_theory.recurrence.rules import BOUNDED

Pass = Callable[[Trial], Iterator[Trial]]

SINGLES = 64
"""Arrays up to this size are simplified entry by entry."""


def fewer_cases(trial: Trial) -> Iterator[Trial]:
    """One case alone, or one case less."""
    cases = trial.question.cases
    if trial.question.put != "apart" or len(cases) > 1:
        for case in cases:
            yield trial.asking([case], put="apart")
    if len(cases) > 1:
        for place in range(len(cases)):
            yield trial.asking([*cases[:place], *cases[place + 1 :]])


def plainer_form(trial: Trial) -> Iterator[Trial]:
    """Dense tensors, and float32, which holds what narrower formats hold."""
    if trial.question.form != "contiguous":
        yield trial.asking(trial.question.cases, form="contiguous")
    if trial.question.cases[0].dtype != "float32":
        yield _each(trial, lambda case: replace(case, dtype="float32"))


def fewer_tokens(trial: Trial) -> Iterator[Trial]:
    """A part of one case's tokens."""
    for place, case in enumerate(trial.question.cases):
        for kept in _parts_of(case.stream.length, none=len(trial.question.cases) > 1):
            yield _other(trial, place, cut(case, "T", kept))


def smaller(axis: str) -> Pass:
    """A part of an axis that all cases share."""

    def propose(trial: Trial) -> Iterator[Trial]:
        if axis == "B" and trial.question.put == "packed":
            return
        size = dict(zip("BHKV", _sizes(trial.question.cases[0]), strict=True))[axis]
        for kept in _parts_of(size):
            yield _each(trial, partial(_cut_shared, axis=axis, kept=kept))

    return propose


def fewer_options(trial: Trial) -> Iterator[Trial]:
    """Options, the rule and the state as they are where nobody sets them."""
    for name in trial.options:
        yield replace(trial, options={key: value for key, value in trial.options.items() if key != name})
    for change in _PLAIN:
        proposed = _each(trial, change)
        pairs = zip(trial.question.cases, proposed.question.cases, strict=True)
        if not all(_same(old, new) for old, new in pairs):
            yield proposed


def simpler_values(trial: Trial) -> Iterator[Trial]:
    """Zeros, ones and numbers of few digits in the place of drawn ones; small arrays entry by entry."""
    for place, case in enumerate(trial.question.cases):
        for name, value in parts(case).items():
            for other in _simpler(name, value):
                simpler = change_arrays(case, **{name: other})
                if _simplicity(other) < _simplicity(value) and _grows_no_more(simpler):
                    yield _other(trial, place, simpler)


PASSES: tuple[Pass, ...] = (
    fewer_cases,
    fewer_tokens,
    smaller("B"),
    smaller("H"),
    smaller("K"),
    smaller("V"),
    plainer_form,
    fewer_options,
    simpler_values,
)


def _parts_of(size: int, *, none: bool = False) -> Iterator[list[int]]:
    """Places to keep: none if that is allowed, one, half, all but a quarter, all but one."""
    every = list(range(size))
    if none and size > 0:
        yield []
    if size < 2:
        return
    seen = set()
    for dropped in (size - 1, size // 2, size // 4, 1):
        for start in dict.fromkeys((size - dropped, 0, *(range(size) if dropped == 1 else ()))):
            kept = tuple(every[:start] + every[start + dropped :])
            if 0 < len(kept) < size and kept not in seen:
                seen.add(kept)
                yield list(kept)


def _sizes(case: Case) -> tuple[int, int, int, int]:
    return (*case.stream.lead, case.stream.key_dim, case.stream.value_dim)  # type: ignore[return-value]


def _cut_shared(case: Case, axis: str, kept: list[int]) -> Case:
    """A scale that was K ** -0.5 stays so: it is the default."""
    smaller = cut(case, axis, kept)
    usual = case.scale == case.stream.key_dim**-0.5
    return replace(smaller, scale=smaller.stream.key_dim**-0.5) if usual else smaller


def _each(trial: Trial, change: Callable[[Case], Case]) -> Trial:
    return trial.asking([change(case) for case in trial.question.cases])


def _other(trial: Trial, place: int, case: Case) -> Trial:
    cases = list(trial.question.cases)
    cases[place] = case
    return trial.asking(cases)


def _calibrates(case: Case) -> bool:
    return case.recurrence in CALIBRATING


def _ruled(**changes: Any) -> Callable[[Case], Case]:
    """Another rule, where d_1 stays in its box."""

    def change(case: Case) -> Case:
        if not _calibrates(case):
            return case
        rule = replace(case.rule, **changes)
        start = case.initial_preconditioner
        inside = bool(np.all((start >= rule.d_min) & (start <= rule.d_max)))
        return replace(case, rule=rule) if inside else case

    return change


def _started_plainly(case: Case) -> Case:
    ones = np.ones_like(case.initial_preconditioner)
    inside = _calibrates(case) and case.rule.d_min <= 1 <= case.rule.d_max
    return change_arrays(case, initial_preconditioner=ones) if inside else case


def _forgetting_nothing(case: Case) -> Case:
    if case.log_gate is None:
        return case
    return change_arrays(case, log_gate=None, anchor=np.zeros_like(case.anchor))


_PLAIN: tuple[Callable[[Case], Case], ...] = (
    lambda case: change_arrays(case, initial_state=np.zeros_like(case.initial_state)),
    _started_plainly,
    _forgetting_nothing,
    lambda case: change_arrays(case, anchor=np.zeros_like(case.anchor)),
    _ruled(normalize_feedback=False),
    _ruled(eta=0.0),
    _ruled(d_min=BOUNDED.d_min, d_max=BOUNDED.d_max),
    _ruled(eta=BOUNDED.eta),
    lambda case: replace(case, scale=case.stream.key_dim**-0.5) if case.scale != 1 else case,
    lambda case: change_arrays(case, queries=case.stream.keys),
)


def _same(old: Case, new: Case) -> bool:
    """Whether two cases ask the same; a rule that is already `bounded` does not become simpler by a step of 0."""
    mine, other = parts(old), parts(new)
    if mine.keys() != other.keys() or any(not np.array_equal(mine[name], other[name]) for name in mine):
        return False
    numbers = ("eta", "d_min", "d_max", "normalize_feedback", "beta_aware")
    kept = all(getattr(old.rule, name) == getattr(new.rule, name) for name in numbers)
    back = old.rule.eta == 0 and new.rule.eta == BOUNDED.eta
    return (kept or back) and old.scale == new.scale


def _grows_no_more(case: Case) -> bool:
    """Of a memory that decays, that no write enlarges it: the allowance says nothing of one that does."""
    if case.state_gate is None:
        return True
    removed = case.exact().alignment if _calibrates(case) else np.sum(case.stream.squared_keys, axis=-1)
    return bool(np.all(np.asarray(case.stream.beta) * removed <= 2.05))


def _simpler(name: str, value: Array) -> Iterator[Array]:
    if name == "initial_preconditioner":
        # It belongs into the box.
        return
    yield np.zeros_like(value)
    if name in ("log_gate", "log_state_gate", "log_gram_decay"):
        # They are not above zero.
        return
    yield np.ones_like(value)
    yield np.round(value)
    yield _one_bit(value)
    if value.size <= SINGLES:
        for index in np.ndindex(value.shape):
            for plain in (0.0, 1.0):
                other = np.array(value)
                other[index] = plain
                yield other


def _one_bit(value: Array) -> Array:
    """The powers of two next to the numbers."""
    with np.errstate(divide="ignore"):
        power = np.exp2(np.round(np.log2(np.abs(value))))
    return np.sign(value) * np.where(value == 0, 0.0, power)


def _simplicity(value: Array) -> tuple[int, ...]:
    """What counts as simpler: fewer numbers that are not integers, no powers of two, not zero, neither zero nor one."""
    entries = np.unique(value)
    return (
        int(np.sum(value != np.round(value))),
        int(np.sum(_one_bit(value) != value)) + (entries.size > 1),
        int(np.count_nonzero(value)),
        int(np.sum((value != 0) & (value != 1))),
    )


CALLS = 300
"""Trials put to the kernel for one failure, at most."""


def shrink(
    trial: Trial,
    fails: Callable[[Trial], bool],
    *,
    calls: int = CALLS,
    goes_on: Callable[[], bool] = lambda: True,
) -> Iterator[Trial]:
    """Ever simpler trials that still fail; the last one is the result, none if nothing simpler fails.

    Every pass proposes simplifications of one kind; the first that still fails is taken, and the pass begins anew from
    there. It ends when no pass gets any further, after `calls` trials, or when `goes_on` says no.
    """
    left, moved = calls, True
    while moved:
        moved = False
        for propose in PASSES:
            taken: Trial | None = trial
            while taken is not None:
                taken = None
                for simpler in propose(trial):
                    if left == 0 or not goes_on():
                        return
                    left -= 1
                    if fails(simpler):
                        taken = trial = simpler
                        moved = True
                        yield simpler
                        break
