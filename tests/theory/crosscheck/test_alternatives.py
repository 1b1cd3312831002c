"""Alternatives: the engine is exact without a fault, every row of the table is seen and named, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.crosscheck.alternatives import (
    ASKED,
    BESIDE,
    EVERY_ROW,
    RECURRENCES,
    SAME,
    SHOWN,
    adapter_of,
    asked,
    explained,
    keys_of,
    possible,
    truths_of,
)
from support.crosscheck.eager_faults import kernel

from osdn_theory import crosscheck
from osdn_theory.base.source import sources
from osdn_theory.crosscheck.alternatives.agreement import BoundedRun
from osdn_theory.crosscheck.alternatives.engine.evolve import run
from osdn_theory.crosscheck.alternatives.engine.inputs import read_inputs
from osdn_theory.crosscheck.alternatives.engine.mechanism import RIGHT
from osdn_theory.crosscheck.alternatives.fault import Alternative, switch
from osdn_theory.crosscheck.alternatives.naming import explain
from osdn_theory.crosscheck.alternatives.power import Reach, power, summarise
from osdn_theory.crosscheck.alternatives.table import ALTERNATIVES, BY_KEY, COMMON, MADE
from osdn_theory.crosscheck.cases.case import Case, handed_on
from osdn_theory.crosscheck.examination.exercises.draw import SMALL
from osdn_theory.crosscheck.examination.exercises.question import answer, restart
from osdn_theory.crosscheck.examination.exercises.table import questions
from osdn_theory.crosscheck.kernel.adapters import adapt

NORMS = "norms left in"
"""A fault of kernels that normalise, which these do not; it has a test of its own."""


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_without_a_fault_the_engine_is_the_exact_recurrence(recurrence: str) -> None:
    norms: tuple[Any, ...] = ("exact", "floored") if recurrence == "preconditioned_delta_net" else ()
    adapters = [replace(adapter_of(recurrence), key_norm=norm) for norm in (None, *norms)]
    posed = [each for adapter in adapters for each in questions(adapter, "float32", SMALL)]
    for question in posed:
        for case in question.cases:
            exact, found = case.exact(), run(read_inputs(case), RIGHT)
            np.testing.assert_allclose(found.outputs, exact.outputs, rtol=1e-10, atol=1e-10)
            np.testing.assert_allclose(found.state, exact.final_state, rtol=1e-10, atol=1e-10)
            np.testing.assert_allclose(found.preconditioner, exact.preconditioner, rtol=1e-10, atol=1e-10)
            np.testing.assert_allclose(found.handed_on, handed_on(exact), rtol=1e-10, atol=1e-10)


def test_the_table_has_a_kernel_for_every_row() -> None:
    assert len(ALTERNATIVES) == len(BY_KEY) >= 60
    assert {key for _, key in EVERY_ROW} == set(BY_KEY) - {NORMS}
    assert set(COMMON) <= set(BY_KEY)
    assert set(MADE) <= set(BY_KEY)
    for row in ALTERNATIVES:
        assert row.sentence
        assert row.formula
        assert row.variants


def test_a_document_is_stale_once_a_table_is_another() -> None:
    tables = {path for name, path in sources("osdn_theory.crosscheck").items() if name.endswith(".toml")}
    folder = Path(crosscheck.__file__).parent
    assert {path.name for path in tables} >= {"faults.toml", "exercises.toml", "recurrences.toml"}
    assert tables >= set(folder.rglob("*.toml"))


@pytest.mark.parametrize(("recurrence", "key"), EVERY_ROW)
def test_a_kernel_with_one_fault_leaves_its_bound_and_the_fault_is_named(recurrence: str, key: str) -> None:
    beside = frozenset({BESIDE[key]} if key in BESIDE else ())
    found = explained(adapter_of(recurrence, key), beside=beside)
    assert found, "inside its bound"
    assert all(each.agrees for each in found), [each.sentence for each in found]
    assert key in keys_of(found)
    assert set(keys_of(found)) <= {key} | SAME.get(key, frozenset())
    assert BY_KEY[key].formula in found[keys_of(found).index(key)].sentence


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_right_kernel_gets_no_name(recurrence: str, dtype: str) -> None:
    assert explained(adapter_of(recurrence), dtype) == ()


def test_norms_that_are_left_in_are_named() -> None:
    adapter = replace(adapter_of("preconditioned_delta_net"), key_norm="exact")
    posed = [each for each in questions(adapter, "float32", SMALL) if each.name in ASKED]
    truths = [truths_of(adapter, each.cases) for each in posed]
    answers = [answer(adapter, each, "cpu") for each in posed]
    assert keys_of(explain(adapter, posed, answers, truths)) == [NORMS]


@pytest.mark.parametrize("recurrence", ["delta_net", "kda", "preconditioned_delta_net", "preconditioner"])
@pytest.mark.parametrize(
    "key", ["beta of the token before", "k normalised", "reads before the write", "step doubled"]
)
def test_faults_are_named_in_every_recurrence(recurrence: str, key: str) -> None:
    if key in possible(recurrence):
        assert keys_of(explained(adapter_of(recurrence, key))) == [key]


@pytest.mark.parametrize(
    "key", ["beta ignored", "k of head 0", "never clips", "erases with the write key as well"]
)
def test_in_bfloat16_large_faults_are_still_named(key: str) -> None:
    assert keys_of(explained(adapter_of("osdn", key), "bfloat16")) == [key]


def test_a_row_taken_out_of_the_table_is_not_named() -> None:
    rest = [each for each in ALTERNATIVES if each.key != "beta ignored"]
    found = explained(adapter_of("osdn", "beta ignored"), alternatives=rest)
    assert found
    assert not any(each.agrees for each in found)
    assert "nearest" in found[0].sentence


def test_two_faults_at_once_are_named_as_a_pair() -> None:
    def both(q: Any, k: Any, v: Any, beta: Any, scale: Any = None, output_final_state: bool = False,
             initial_state: Any = None, cu_seqlens: Any = None) -> Any:  # fmt: skip
        made = kernel("delta_net", "reads before the write")
        ones = torch.ones_like(beta)
        return made(q, k, v, ones, scale, initial_state, output_final_state, cu_seqlens)

    adapter = replace(adapt(both, name="eager recurrent"), recurrence="delta_net")
    found = explained(adapter)
    assert keys_of(found) == ["beta ignored+reads before the write"]
    assert found[0].agrees


def test_a_chunked_scan_that_clips_once_and_stores_d_in_16_bits_is_named_as_a_pair() -> None:
    """What the authors' scan by triangular systems was seen to do."""
    made = kernel("osdn", "clips what chunks hand on once")

    def both(**given: Any) -> Any:
        o, final, *_ = made(**{**given, "output_final_state": True})
        return o, final._replace(preconditioner=final.preconditioner.bfloat16().float())

    found = explained(replace(adapter_of("osdn", ""), call=both))
    assert keys_of(found) == ["clips what chunks hand on once+d handed on in bfloat16"]


def test_what_nobody_knows_has_near_ones_that_do_not_agree() -> None:
    def odd(q: Any, k: Any, v: Any, beta: Any, **rest: Any) -> Any:
        o, *others = kernel("delta_net")(q, k, v, beta, **rest)
        return o + 0.01 * torch.sin(100 * o), *others

    right = adapter_of("delta_net")
    found = explained(replace(right, call=odd))
    assert found
    assert not any(each.agrees for each in found)


def test_a_small_error_is_not_explained_by_what_makes_no_difference() -> None:
    """A fault of one head alone, thousandths in size: all rows that change nothing there leave all of it."""

    def off(q: Any, k: Any, v: Any, beta: Any, **rest: Any) -> Any:
        o, *others = kernel("delta_net")(q, k, v, beta, **rest)
        o[:, :, 1] *= 1.001
        return o, *others

    found = explained(replace(adapter_of("delta_net"), call=off))
    assert found
    assert not any(each.agrees for each in found)


def test_continued_questions_start_where_the_kernel_did() -> None:
    adapter = adapter_of("osdn", "hands on d_T")
    (posed,) = (each for each in questions(adapter, "float32", SMALL) if each.name == "continued")
    answers = answer(adapter, posed, "cpu")
    truths = truths_of(adapter, [each.case for each in answers])
    assert keys_of(explain(adapter, [posed], [answers], [truths])) == ["hands on d_T"]


def measured(recurrence: str, change: Callable[[Case], Case] | None = None) -> dict[str, dict[str, float]]:
    adapter = adapter_of(recurrence)
    posed, truths = asked(recurrence, beside=frozenset(BESIDE.values()))
    found = {}
    for question, truth in zip(posed, truths, strict=True):
        if change is not None:
            question = replace(question, cases=tuple(change(case) for case in question.cases))
            truth = truths_of(adapter, question.cases)
        found[question.name] = power(adapter, question, truth, SHOWN.get(recurrence, ("o", "S")))
    return found


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_every_alternative_would_be_seen_in_float32(recurrence: str) -> None:
    found = summarise(adapter_of(recurrence), measured(recurrence))
    assert [reach.reason for reach in found.unseen] == []
    assert len(found.seen) == len(found.possible) > 0


def test_beta_of_one_hides_that_beta_is_ignored() -> None:
    def with_ones(case: Case) -> Case:
        return replace(case, stream=replace(case.stream, beta=np.ones_like(case.stream.beta)))

    found = summarise(adapter_of("delta_net"), measured("delta_net", with_ones))
    hidden = {reach.fault.key for reach in found.unseen}
    assert {"beta ignored", "beta squared", "beta on the erase only", "beta of head 0"} <= hidden
    assert "reads before the write" not in hidden
    assert len(found.seen) == len(found.possible) - len(hidden)


def test_what_is_not_shown_has_no_power() -> None:
    adapter = adapter_of("osdn")
    posed, truths = asked("osdn")
    rows = [BY_KEY["hands on d_1"], BY_KEY["final state is S_0"]]
    assert max(power(adapter, posed[0], truths[0], ("o",), rows).values()) < 1e-6
    assert min(power(adapter, posed[0], truths[0], SHOWN["osdn"], rows).values()) > 100


def test_a_kernel_without_an_argument_cannot_have_its_faults() -> None:
    adapter = adapter_of("osdn")
    bare = replace(adapter, parameters=adapter.parameters - {"g", "cu_seqlens"})
    found = summarise(bare, {})
    reasons = {reach.fault.key: reach.reason for reach in found.reaches}
    assert reasons["g ignored"] == "needs g, which the kernel does not take"
    assert reasons["cu_seqlens ignored"] == "needs cu_seqlens, which the kernel does not take"
    assert reasons["beta ignored"] == "makes no difference in any exercise"
    assert "g ignored" not in {reach.fault.key for reach in found.possible}


def test_an_alternative_that_overflows_is_seen() -> None:
    wild = Alternative("wild", "d runs away", "-", {"": switch(gain=-1e200)})
    adapter = replace(adapter_of("osdn"), recurrence="osdn")
    posed, truths = asked("osdn")
    boundless = replace(wild, variants={"": switch(gain=-1e200) & BY_KEY["never clips"].variants[""]})
    assert power(adapter, posed[0], truths[0], ("o",), [boundless])["wild"] == np.inf


def test_the_reach_needed_is_more_than_one_bound() -> None:
    row = BY_KEY["beta ignored"]
    assert not Reach(row.fault, 1.9, "x").seen
    assert Reach(row.fault, 2.1, "x").seen
    assert Reach(row.fault, 1.9, "x").reason == "at most 1.9 bounds away, in 'x'"


def test_the_chain_of_a_continued_question_is_the_alternative_s_own() -> None:
    adapter = adapter_of("osdn")
    (posed,) = (each for each in questions(adapter, "float32", SMALL) if each.name == "continued")
    chained: list[Case] = []
    truths: list[BoundedRun] = []
    for case in posed.cases:
        if truths:
            case = restart(case, truths[-1][0].final_state, truths[-1][0].final_preconditioner)
        chained.append(case)
        truths += truths_of(adapter, [case])
    # The outputs alone show it, though it touches nothing but what is handed on.
    assert power(adapter, posed, truths, ("o",), [BY_KEY["hands on d_1"]])["hands on d_1"] > 2


def test_an_unknown_switch_is_refused() -> None:
    with pytest.raises(TypeError, match="wrong"):
        switch(wrong=1)
