"""Kernels with one known fault each, asked and explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from support.crosscheck.eager_faults import kernel, preconditioned, preconditioner

from osdn_theory.crosscheck.alternatives import agreement
from osdn_theory.crosscheck.alternatives.agreement import BoundedRun
from osdn_theory.crosscheck.alternatives.engine.inputs import RecurrenceOutcome
from osdn_theory.crosscheck.alternatives.fault import Fault, answer_cases
from osdn_theory.crosscheck.alternatives.naming import Explanation, explain
from osdn_theory.crosscheck.alternatives.table import ALTERNATIVES
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.evidence.limits import limits, models_of
from osdn_theory.crosscheck.examination.exercises.draw import SMALL
from osdn_theory.crosscheck.examination.exercises.question import Question, answer
from osdn_theory.crosscheck.examination.exercises.table import questions
from osdn_theory.crosscheck.kernel.adapters import Adapter, adapt

RECURRENCES = (
    "osdn", "delta_net", "gated_delta_net", "kda", "preconditioned_delta_net", "preconditioner", "osgdn", "oskda",
)  # fmt: skip


ASKED = frozenset(
    {
        "everything at once",
        "square",
        "defaults",
        "normalised feedback",
        "other feedback",
        "negative eigenvalues",
        "packed sequences",
    }
)
"""Exercises that together show almost every row in float32."""

BESIDE = {
    "initial_state ignored without d_1": "lengths",
    "d_1 ignored without S_0": "lengths",
    "eta of 0 is the default": "small and large numbers",
    "d_min of 0 is the default": "wide box",
    "normalize_feedback ignored beside beta_aware": "both feedbacks",
    "beta_aware ignored beside normalize_feedback": "both feedbacks",
    "g held above -5": "strong gates",
    "g_d held above -5": "strong gates",
    "g_d ignored without g": "without gates",
    "cu_seqlens ignored without S_0": "packed from nothing",
    "cu_seqlens ignored without d_1": "packed from nothing",
    "cu_seqlens ignored without states": "packed from nothing",
}
"""Rows that another one is for."""


SHOWN = {
    **dict.fromkeys(("osdn", "osgdn", "oskda"), ("o", "S", "d", "d handed on")),
    "preconditioner": ("d", "d handed on"),
}


SAME: dict[str, frozenset[str]] = {
    "clips at the end only": frozenset({"clips once per chunk"}),
    "final state is S_0": frozenset({"final state without the last partial chunk"}),
}
"""What no sequence shorter than a chunk tells apart."""


def adapter_of(recurrence: str, fault: str = "") -> Adapter:
    makers = {"preconditioner": preconditioner, "preconditioned_delta_net": preconditioned}
    made = makers[recurrence](fault) if recurrence in makers else kernel(recurrence, fault)
    found = replace(adapt(made, name="eager recurrent"), recurrence=recurrence)  # type: ignore[arg-type]
    return replace(found, gate_optional=found.gated and found.calibrates)


def truths_of(adapter: Adapter, cases: Sequence[Case], dtype: str = "float32") -> list[BoundedRun]:
    models = models_of(adapter, dtype)
    found = []
    for case in cases:
        exact = case.exact()
        found.append((exact, limits(adapter, case, exact, models)))
    return found


@cache
def asked(
    recurrence: str, dtype: Any = "float32", beside: frozenset[str] = frozenset()
) -> tuple[tuple[Question, ...], tuple[list[BoundedRun], ...]]:
    """Questions and their truths, once for all kernels of a recurrence."""
    adapter = adapter_of(recurrence)
    posed = tuple(each for each in questions(adapter, dtype, SMALL) if each.name in ASKED | beside)
    if recurrence == "preconditioned_delta_net":
        posed = tuple(with_gram_diagonal(each) for each in posed)
    return posed, tuple(truths_of(adapter, each.cases, dtype) for each in posed)


def with_gram_diagonal(question: Question) -> Question:
    """From an A_0 that is not zero: multiples of 1/1024, which all formats but bfloat16 hold."""
    rng = np.random.default_rng(0)
    cases = [
        replace(each, initial_preconditioner=rng.integers(1, 2048, each.anchor.shape) / 1024.0)
        for each in question.cases
    ]
    return replace(question, cases=tuple(cases))


OF_THE_TABLE = {id(fault) for row in ALTERNATIVES for fault in row.variants.values()}

_told: dict[tuple[Any, ...], tuple[list[RecurrenceOutcome], Sequence[Case]]] = {}
"""What each alternative answers to cases, which are kept, so that their ids stay theirs."""


def tell_once(fault: Fault, cases: Sequence[Case], put: str) -> list[RecurrenceOutcome]:
    """`answer_cases`, computed once for all kernels that are asked the same."""
    key = (id(fault), put, *map(id, cases))
    if key in _told:
        return _told[key][0]
    told = answer_cases(fault, cases, put)
    if id(fault) in OF_THE_TABLE:
        _told[key] = told, cases
    return told


def explained(
    adapter: Adapter, dtype: Any = "float32", beside: frozenset[str] = frozenset(), **options: Any
) -> tuple[Explanation, ...]:
    posed, truths = asked(adapter.recurrence, dtype, beside)
    answers = [answer(adapter, each, "cpu") for each in posed]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "answer_cases", tell_once)
        return explain(adapter, posed, answers, truths, **options)


def keys_of(found: Sequence[Explanation]) -> list[str]:
    return ["+".join(each.key for each in one.faults) for one in found]


def possible(recurrence: str) -> list[str]:
    adapter = adapter_of(recurrence)
    return [each.key for each in ALTERNATIVES if each.obstacle(adapter) is None]


def every_row() -> list[tuple[str, str]]:
    """Every row of the table once, in the first recurrence that can have it."""
    found: dict[str, str] = {}
    for recurrence in RECURRENCES:
        for key in possible(recurrence):
            found.setdefault(key, recurrence)
    return [(recurrence, key) for key, recurrence in found.items()]


EVERY_ROW = every_row()
