"""Every faulty kernel is caught and its symptom named; correct ones get none."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.crosscheck.cases import ANCHORED, FAST, REFERENCE, TIGHT, gated, interpolating
from support.crosscheck.faulty_kernels import (
    FAULTS,
    Fault,
    chunk_with_tf32_dots,
    correct,
    delta_net,
    faulty,
    gated_delta_net,
    late_gated_delta_net,
    recurrent,
    silent,
    wrong_backward,
)

from osdn_theory.crosscheck import CrossCheck, crosscheck
from osdn_theory.recurrence.rules import BOUNDED, CalibrationRule
from osdn_theory.streams import synthetic


def check(kernel: Any, rule: Any = TIGHT, **options: Any) -> CrossCheck:
    stream = gated(56) if rule is ANCHORED else interpolating()
    return crosscheck(kernel, stream, rule, device="cpu", **options)


def names(found: CrossCheck) -> list[str]:
    return [symptom.name for symptom in found.symptoms]


ALIKE = {"never clips": ["box ignored", "never clips"]}
"""What the stream of these tests cannot tell apart: its d stays inside the default box."""


@pytest.mark.parametrize("symptom", FAULTS)
def test_a_fault_is_caught_and_named(symptom: str) -> None:
    found = check(faulty(symptom), ANCHORED if symptom == "g ignored" else TIGHT)
    assert found.exit_code == 1
    assert not found.within
    assert names(found) == ALIKE.get(symptom, [symptom])
    assert found.verdict("T18").outcome == "contradicted"


@pytest.mark.parametrize("rule", [TIGHT, FAST, BOUNDED, ANCHORED])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_correct_kernel_has_no_symptom(rule: Any, dtype: Any) -> None:
    found = check(correct, rule, dtype=dtype)
    assert found.within
    assert found.symptoms == ()
    assert found.exit_code in (0, 3)
    assert not [v for v in found.verdicts if v.outcome == "contradicted"]


def test_tf32_products_are_named_with_their_size() -> None:
    found = check(chunk_with_tf32_dots, FAST, chunk_size=16)
    assert names(found) == ["TF32 products"]
    assert found["d handed on"].within
    assert 1e-5 < found["o"].worst_error < 1e-2
    assert re.search(r"correlates by (0\.9|1\.0)", found.symptoms[0].evidence)


def test_a_kernel_wrong_only_backward_is_caught_by_its_gradients_alone() -> None:
    forward = check(wrong_backward, FAST)
    assert forward.within
    found = check(wrong_backward, FAST, gradients=True, reference=REFERENCE)
    assert found.exit_code == 1
    assert names(found) == ["backward only"]
    wrong = [item.name for item in found.comparisons if not item.within]
    assert wrong == ["grad k"]


def test_the_sentence_for_a_bfloat16_preconditioner_has_its_spacing() -> None:
    (symptom,) = check(faulty("stores d in bfloat16"), FAST).symptoms
    assert symptom.sentence == "d is off by multiples of 2^-8: stored in bfloat16?"
    assert "entries of d are bfloat16 numbers" in symptom.evidence


def test_the_bounded_rule_shows_a_bfloat16_preconditioner_too() -> None:
    """There every calibrate step is smaller than half a spacing, so d never moves at all."""
    found = check(faulty("stores d in bfloat16"), BOUNDED)
    assert names(found)[0] == "stores d in bfloat16"


def test_a_dropped_partial_chunk_is_told_by_outputs_and_states() -> None:
    (symptom,) = check(faulty("drops the last partial chunk")).symptoms
    assert "tokens beyond floor(T/C) C = 48, C = 16" in symptom.sentence
    assert "6 of 6 states after a prefix are those of its whole chunks of 16" in symptom.evidence


def test_clipping_per_chunk_is_told_from_not_clipping() -> None:
    """The chunk size is found, and the evidence has a number."""
    (symptom,) = check(faulty("clips once per chunk (C = 16)", clip_every=32)).symptoms
    assert symptom.name == "clips once per chunk (C = 32)"
    assert "leaves" in symptom.evidence


def test_a_fault_that_nobody_knows_is_reported_as_such() -> None:
    def odd(q: Any, k: Any, v: Any, beta: Any, scale: Any = None, eta: float = 0.0, **rest: Any) -> Any:
        o, final, trajectory = correct(
            q, k, v, beta, scale=scale, eta=eta, output_final_state=True, return_trajectory=True
        )
        return o + 0.01 * torch.sin(100 * o), final, trajectory

    found = check(odd, FAST)
    assert names(found) == ["unexplained"]
    assert "o from token 1 on" in found.symptoms[0].evidence


def test_two_faults_at_once_are_not_mistaken_for_one_of_them() -> None:
    both = recurrent(Fault(read_first=True, clips=False), "faulty_recurrent")
    assert names(check(both)) == ["reads before the write and never clips"]


def test_a_fault_in_one_head_is_placed_there() -> None:
    def kernel(q: Any, k: Any, v: Any, beta: Any, scale: Any = None, eta: float = 0.0, **rest: Any) -> Any:
        o, *others = correct(q, k, v, beta, scale=scale, eta=eta, output_final_state=True)
        o[:, 20:, 1] *= 1.01
        return o, *others

    found = check(kernel, FAST)
    assert found["o"].worst_head == (0, 1)
    assert found["o"].first_outside == 21


def test_gated_delta_net_is_checked_and_a_late_decay_named() -> None:
    right = crosscheck(gated_delta_net, gated(), device="cpu")
    assert right.within
    assert right.verdict("T17").outcome == "confirmed"
    assert right.statement["decay"] == "g decays the memory before the residual is formed"
    assert right.newton is None
    wrong = crosscheck(late_gated_delta_net, gated(), device="cpu")
    assert names(wrong) == ["decays after the residual"]


def test_delta_net_is_checked_without_a_trajectory() -> None:
    found = crosscheck(delta_net, interpolating(40), device="cpu")
    assert found.exit_code == 0
    assert {item.name for item in found.comparisons} == {"o", "S", "q", "beta a"}
    assert found.verdict("T3").outcome == "confirmed"


def test_a_kernel_that_returns_outputs_alone_is_still_read() -> None:
    found = crosscheck(silent, interpolating(40), FAST, device="cpu")
    assert found.exit_code == 0
    assert {item.name for item in found.comparisons} == {"o", "q", "beta a"}
    assert found.verdict("T6").outcome == "confirmed"
    assert found.verdict("T5").outcome == "confirmed"
    assert any("hands no state on" in note for note in found.notes)


def test_bounds_do_not_hide_a_fault_of_a_thousandth() -> None:
    """Where the bound is that wide, the verdict is that nothing can be observed."""
    found = check(recurrent(Fault(scale=1.001), "faulty_recurrent"), FAST)
    assert names(found) == ["another scale"]
    assert np.median(found["o"].bound) < 1e-3


def test_a_box_of_16_bit_numbers_does_not_hide_a_16_bit_preconditioner() -> None:
    """Most exact entries then lie on the box, which bfloat16 holds."""
    narrow = CalibrationRule(eta=1.0, d_min=0.96875, d_max=1.03125)
    assert names(check(faulty("stores d in bfloat16"), narrow)) == ["stores d in bfloat16"]


def test_a_memory_that_overflows_is_said_to() -> None:
    stream = interpolating()
    grown = replace(stream, keys=np.abs(stream.keys) * 8.0)
    found = crosscheck(correct, grown, TIGHT, device="cpu")
    assert "not finite" in names(found)
    assert "which overflows" in found.symptoms[0].evidence


def test_where_d_stands_still_a_note_says_what_cannot_show() -> None:
    """T15: unit keys and d_1 = 1. A kernel without a clip is then right."""
    stream = synthetic.isotropic(np.random.default_rng(0), length=24, key_dim=8, value_dim=6)
    found = crosscheck(faulty("never clips"), stream, FAST, device="cpu")
    assert found.within
    assert any("shows no fault of the calibrate step" in note for note in found.notes)
    assert not [note for note in check(correct, FAST).notes if "calibrate step" in note]
