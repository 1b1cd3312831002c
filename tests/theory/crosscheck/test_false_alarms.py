"""Slow: right kernels over many seeds are never called wrong, and every known fault is, through the real exercises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from support.crosscheck.alternatives import EVERY_ROW, SAME, keys_of, possible
from support.crosscheck.eager_faults import kernel
from support.crosscheck.false_alarms import RIGHT, marks
from support.crosscheck.public_kernels import FLA, TRANSFORMERS, needs_fla

from osdn_theory.crosscheck.alternatives.naming import explain
from osdn_theory.crosscheck.cases.case import DTYPES, Case
from osdn_theory.crosscheck.check import Truth, truth
from osdn_theory.crosscheck.evidence.limits import models_of
from osdn_theory.crosscheck.examination import marking
from osdn_theory.crosscheck.examination.exercises.draw import SMALL
from osdn_theory.crosscheck.examination.exercises.question import Question
from osdn_theory.crosscheck.examination.exercises.table import questions
from osdn_theory.crosscheck.examination.marking import exercise_result, mark
from osdn_theory.crosscheck.examination.run import examine
from osdn_theory.crosscheck.kernel.adapters import Adapter, adapt
from osdn_theory.crosscheck.kernel.calling import KernelError
from osdn_theory.crosscheck.kernel.registry import resolve

pytestmark = pytest.mark.slow

SEEDS = 4
"""A few minutes; ``python tests/support/crosscheck/false_alarms.py`` goes through 50."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_kernel_is_never_called_wrong(name: str, dtype: Any) -> None:
    alarms = [(seed, one) for seed in range(SEEDS) for one in marks(name, dtype, seed) if not one.within]
    assert alarms == []


def sampled_rows() -> Iterator[tuple[str, str]]:
    """Every row of OSDN, and of the other recurrences of which there is a loop a third."""
    yield from (("osdn", key) for key in possible("osdn") if key in {row for _, row in EVERY_ROW})
    for at, recurrence in enumerate(("delta_net", "gated_delta_net", "kda")):
        yield from ((recurrence, key) for key in possible(recurrence)[at::3])


def eager(recurrence: str, fault: str = "") -> Adapter:
    return adapt(kernel(recurrence, fault), "an eager recurrent loop", recurrence=recurrence)  # type: ignore[arg-type]


@cache
def asked(recurrence: str) -> tuple[Question, ...]:
    return tuple(questions(eager(recurrence), "float32", replace(SMALL, chunk=16)))


@pytest.fixture
def truths_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers are held against is that of the exercise, whatever the fault."""

    def once(adapter: Adapter, case: Case, models: Any, **options: Any) -> Truth:
        if case not in TRUTHS:
            TRUTHS[case] = truth(adapter, case, models, **options)
        return TRUTHS[case]

    monkeypatch.setattr(marking, "truth", once)


TRUTHS: dict[Case, Truth] = {}

OVERFLOWING = {("osdn", "exp of g twice")}
"""Faults that end in numbers that are none, which are told as such."""

AMPLIFYING = {("kda", "q and k swapped")}
"""Faults that amplify their own roundings, on some processors beyond what is allowed: there they are the nearest."""


@pytest.mark.usefixtures("truths_once")
@pytest.mark.parametrize(("recurrence", "key"), list(sampled_rows()))
def test_a_known_fault_is_found_and_named_by_the_real_exercises(recurrence: str, key: str) -> None:
    adapter = eager(recurrence, key)
    models = models_of(adapter, "float32")
    if (recurrence, key) in OVERFLOWING:
        with pytest.raises(KernelError, match="NaN or infinite"):
            [mark(adapter, question, "cpu", models) for question in asked(recurrence)]
        return
    marked = [mark(adapter, question, "cpu", models) for question in asked(recurrence)]
    assert any(not exercise_result(adapter, item, "cpu").within for item in marked)
    truths = [[(one.exact, one.limits) for one in item.truths] for item in marked]
    found = explain(adapter, [item.question for item in marked], [item.answers for item in marked], truths)
    assert key in keys_of(found)
    if (recurrence, key) in AMPLIFYING:
        assert keys_of(found)[0] == key
        assert found[0].left < 1e-5
        return
    assert set(keys_of(found)) <= {key} | SAME.get(key, frozenset())
    assert all(each.agrees for each in found)


def sentence_of(name: str) -> str:
    """The verdict on a public function, by exercises of chunks of 16 where it has none of its own."""
    adapter = resolve(name)
    if "chunk_size" not in adapter.parameters:
        adapter = replace(adapter, defaults={**adapter.defaults, "chunk_size": 16})
    return examine(adapter, device="cpu", invariant=False).sentence


@needs_fla
@pytest.mark.filterwarnings("ignore:Triton is not supported")
@pytest.mark.parametrize("name", FLA)
def test_flash_linear_attentions_functions_are_right(name: str) -> None:
    assert sentence_of(name).startswith("right: ")


@pytest.mark.usefixtures("without_fla")
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_functions_are_right(name: str) -> None:
    assert sentence_of(name).startswith("right: ")


def test_every_row_of_a_loop_is_sampled() -> None:
    rows = list(sampled_rows())
    assert {key for recurrence, key in EVERY_ROW if recurrence == "osdn"} <= {key for _, key in rows}
    assert len(rows) == len(set(rows)) > 100
