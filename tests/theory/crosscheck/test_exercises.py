"""The exercises: what they use, and that nothing in them sits at a value that hides a fault."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from support.crosscheck import eager_faults

from osdn_theory.crosscheck.examination.exercises.draw import LARGE, SMALL
from osdn_theory.crosscheck.examination.exercises.question import Question, answer
from osdn_theory.crosscheck.examination.exercises.table import (
    EXERCISES,
    SHARED_KEYS,
    exercise_names,
    find_unexercised,
    questions,
)
from osdn_theory.crosscheck.kernel.adapters import Adapter, adapt
from osdn_theory.crosscheck.kernel.calling import arguments

SIZES = replace(SMALL, chunk=16)


def adapter(recurrence: str) -> Adapter:
    return adapt(eager_faults.kernel(recurrence), recurrence=recurrence)  # type: ignore[arg-type]


def posed(recurrence: str = "osdn", dtype: Any = "float32", seed: int = 0) -> dict[str, Question]:
    return posed_to(adapter(recurrence), dtype, seed)


def posed_to(kernel: Adapter, dtype: Any = "float32", seed: int = 0) -> dict[str, Question]:
    return {each.name: each for each in questions(kernel, dtype, SIZES, seed)}


def test_names_are_distinct_and_every_exercise_says_what_it_is_about() -> None:
    assert len(set(exercise_names())) == len(EXERCISES)
    assert all(exercise.about for exercise in EXERCISES)


@pytest.mark.parametrize("recurrence", ["osdn", "delta_net", "gated_delta_net", "kda"])
def test_together_they_use_all_that_the_signature_takes(recurrence: str) -> None:
    kernel = adapter(recurrence)
    asked = questions(kernel, "float32", SIZES)
    used = frozenset().union(*(question.uses for question in asked))
    always = {"output_final_state", "return_trajectory", "chunk_size"}
    others = {"g_atk", "beta_atk"}  # of another recurrence that the test's kernel knows
    assert kernel.parameters - always - others <= used
    assert not [
        line for line in find_unexercised(kernel, asked) if "does not take" in line and "norm" not in line
    ]


def test_what_a_kernel_does_not_take_is_said_not_to_be_exercised() -> None:
    kernel = adapter("osdn")
    bare = replace(kernel, parameters=kernel.parameters - {"cu_seqlens", "g", "anchor", "normalize_feedback"})
    asked = questions(bare, "float32", SIZES)
    left_out = set(find_unexercised(bare, asked))
    for name in ("anchor", "cu_seqlens", "g", "normalize_feedback"):
        assert f"{name} (the kernel does not take it)" in left_out
    assert {"packed sequences", "normalised feedback", "strong gates"}.isdisjoint(each.name for each in asked)


def test_heads_share_keys_where_that_is_asked_for() -> None:
    kernel = adapter("osdn")
    usual, asked = (questions(kernel, "float32", SIZES, 0, wanted) for wanted in ((), (SHARED_KEYS,)))
    assert {each.name for each in asked} - {each.name for each in usual} == {SHARED_KEYS}
    assert [SHARED_KEYS in " ".join(find_unexercised(kernel, each)) for each in (usual, asked)] == [
        True,
        False,
    ]
    (case,) = next(each for each in asked if each.name == SHARED_KEYS).cases
    assert case.group == 2
    for shared in (
        case.stream.keys,
        case.stream.queries,
        case.initial_preconditioner,
        case.anchor,
        case.log_gate,
    ):
        heads = np.asarray(shared)
        assert np.array_equal(heads[:, ::2], heads[:, 1::2])
        assert not np.array_equal(heads[:, 0], heads[:, 2])
    assert not np.array_equal(case.stream.values[:, 0], case.stream.values[:, 1])


@pytest.mark.parametrize(
    ("recurrence", "taken"), [("osgdn", True), ("oskda", False), ("kda", False), ("gated_delta_net", True)]
)
def test_heads_share_keys_but_not_gates_of_features_or_feedback_with_beta(
    recurrence: str, taken: bool
) -> None:
    kernel = adapter(recurrence)
    found = [
        each for each in questions(kernel, "float32", SIZES, 0, (SHARED_KEYS,)) if each.name == SHARED_KEYS
    ]
    assert bool(found) == taken
    assert not any(each.cases[0].rule.beta_aware for each in found)
    given = kernel.parameters - {"beta_aware"}
    fixed = replace(kernel, parameters=given, defaults={"beta_aware": True, **kernel.defaults})
    left = [each.name for each in questions(fixed, "float32", SIZES, 0, (SHARED_KEYS,))]
    assert (SHARED_KEYS in left) == (recurrence == "gated_delta_net")


def test_arguments_that_nothing_passes_are_said_to_be_left_alone() -> None:
    def kernel(q: Any, k: Any, v: Any, beta: Any, head_first: bool = False, **more: Any) -> Any:
        raise AssertionError

    read = adapt(kernel)
    assert "head_first (left at its default)" in list(find_unexercised(read, []))


def test_a_delta_net_is_not_asked_for_what_concerns_calibration_alone() -> None:
    kernel = replace(adapter("delta_net"), parameters=frozenset({"q", "k", "v", "beta"}))
    left_out = " ".join(find_unexercised(kernel, questions(kernel, "float32", SIZES)))
    assert "eta" not in left_out
    assert "initial_state (the kernel does not take it)" in left_out


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("seed", range(5))
def test_everything_at_once_is_everything(dtype: Any, seed: int) -> None:
    (case,) = posed(dtype=dtype, seed=seed)["everything at once"].cases
    stream, rule = case.stream, case.rule
    batch, heads = stream.lead
    assert batch >= 2
    assert heads >= 3
    assert stream.key_dim != stream.value_dim
    assert all(stream.length % size for size in (2, 16, 32, 64))
    beta = np.asarray(stream.beta)
    assert {0.0, 1.0} <= set(beta.ravel())
    assert np.any((beta > 0) & (beta < 1))
    for array in (stream.keys, stream.values, stream.queries, beta, case.initial_state, case.anchor):
        flat = np.asarray(array).reshape(batch * heads, -1)
        assert len({row.tobytes() for row in flat}) == batch * heads
    assert np.any(case.initial_state != 0)
    assert np.any(case.initial_preconditioner != 1)
    assert case.scale not in (1.0, stream.key_dim**-0.5)
    assert rule.eta not in (0.003, 1.0)
    path = case.exact().preconditioner
    for face in (float(rule.d_min), float(rule.d_max)):
        on = path == face
        # Reached, and left again.
        assert np.any(on)
        assert np.any(on[..., :-1, :] & ~on[..., 1:, :])


def test_beta_goes_above_one_where_eigenvalues_may_be_negative() -> None:
    beta = np.asarray(posed()["negative eigenvalues"].cases[0].stream.beta)
    assert beta.max() == 2.0
    assert beta.min() == 0.0


def test_lengths_and_pieces_meet_at_and_off_the_chunk_s_edges() -> None:
    found = posed()
    assert [case.stream.length for case in found["lengths"].cases] == [13, 17, 48]
    assert found["one token"].cases[0].stream.length == 1
    ends = np.cumsum([case.stream.length for case in found["continued"].cases])
    assert ends[0] % SIZES.chunk == 0
    assert all(end % SIZES.chunk for end in ends[1:])
    assert [case.stream.length for case in found["packed sequences"].cases] == [7, 19, 1, 0, 5]


@pytest.mark.parametrize("recurrence", ["gated_delta_net", "kda"])
def test_gates_are_mild_and_strong_and_some_are_one(recurrence: str) -> None:
    found = posed(recurrence)
    gates = found["everything at once"].cases[0].state_gate
    assert gates is not None
    assert gates.ndim == (4 if recurrence == "kda" else 3)
    assert np.any(gates == 1)
    strong = found["strong gates"].cases[0].state_gate
    assert strong is not None
    assert strong.min() < np.exp(-12)


@pytest.mark.parametrize("recurrence", ["osgdn", "oskda"])
def test_memories_that_are_promised_to_close_are_emptied(recurrence: str) -> None:
    (case,) = posed(recurrence)["strong gates"].cases
    assert case.state_gate is not None
    assert case.log_state_gate is not None
    assert np.any(case.state_gate == 0)
    assert np.isneginf(case.log_state_gate).any()


def test_states_are_given_together_alone_and_not_at_all() -> None:
    found = posed()
    for name, given in (("lengths", [(1, 1), (1, 0), (0, 1)]), ("packed from nothing", [(0, 0)] * 3),
                        ("packed from S_0 alone", [(1, 0)] * 3), ("packed from d_1 alone", [(0, 1)] * 3)):  # fmt: skip
        cases = found[name].cases
        assert [
            (bool(c.initial_state.any()), bool((c.initial_preconditioner != 1).any())) for c in cases
        ] == given


def test_zero_is_asked_as_a_number() -> None:
    found = posed()
    (wide,) = found["wide box"].cases
    assert (wide.rule.eta, wide.rule.d_min, wide.rule.d_max) == (1.0, 0.0, 1e9)
    path = wide.exact().preconditioner
    assert np.any(path == 0)
    assert [case.rule.eta for case in found["small and large numbers"].cases] == [0.9, 0.0]


def test_sizes_are_also_narrow_and_odd() -> None:
    found = posed()
    narrow, odd = (found[name].cases[0].stream for name in ("negative eigenvalues", "odd sizes"))
    assert narrow.key_dim > narrow.value_dim
    assert odd.key_dim % 4
    assert odd.value_dim % 4


def test_special_keys_are_zero_unit_and_repeated() -> None:
    keys = posed()["special keys"].cases[0].stream.keys
    assert np.any(~keys.any(axis=-1))
    assert np.any((np.abs(keys).max(axis=-1) == 1) & (np.count_nonzero(keys, axis=-1) == 1))
    assert np.array_equal(keys[..., 4, :], keys[..., 2, :])


def test_strided_inputs_have_gaps_that_a_kernel_must_not_read() -> None:
    question = posed()["strided inputs"]
    given = arguments(adapter("osdn"), question.cases[0], "cpu", form=question.form)
    dense = arguments(adapter("osdn"), question.cases[0], "cpu")
    for name in ("q", "k", "v", "beta", "g", "initial_state"):
        assert not given[name].is_contiguous()
        assert torch.equal(given[name], dense[name])
        storage = torch.as_strided(given[name], (given[name].untyped_storage().nbytes() // 4,), (1,), 0)
        assert storage.isnan().any()


def test_expanded_inputs_have_a_stride_of_zero_and_queries_may_be_the_keys() -> None:
    found = posed()
    expanded = arguments(adapter("osdn"), found["expanded inputs"].cases[0], "cpu", form="expanded")
    assert expanded["k"].stride(2) == 0
    assert expanded["beta"].stride(0) == 0
    aliased = arguments(adapter("osdn"), found["queries are keys"].cases[0], "cpu", form="aliased")
    assert aliased["q"] is aliased["k"]


def test_defaults_are_left_alone() -> None:
    question = posed()["defaults"]
    given = arguments(adapter("osdn"), question.cases[0], "cpu", form=question.form)
    assert set(given) == {"q", "k", "v", "beta", "output_final_state"} | (
        {"return_trajectory"} & adapter("osdn").parameters
    )


@pytest.mark.parametrize(
    "own", [{"eta": 1.0, "d_min": 0.0, "d_max": 1e9}, {"eta": 0.0}, {"scale": 1.0}, {"scale": 0.0}]
)
def test_defaults_are_the_numbers_of_the_signature(own: dict[str, float]) -> None:
    kernel = adapter("osdn")
    (case,) = posed_to(replace(kernel, defaults={**kernel.defaults, **own}))["defaults"].cases
    found = {name: getattr(case.rule, name) for name in ("eta", "d_min", "d_max")} | {"scale": case.scale}
    usual = {"eta": 0.003, "d_min": 2 / 3, "d_max": 1.5, "scale": case.stream.key_dim**-0.5}
    assert found == pytest.approx(usual | own, rel=1e-6)


def test_a_default_of_none_is_no_number_and_the_rule_is_passed() -> None:
    kernel = adapter("osdn")
    unsaid = dict.fromkeys(("eta", "d_min", "d_max"))
    silent = replace(kernel, defaults={**kernel.defaults, **unsaid})
    question = posed_to(silent)["defaults"]
    given = arguments(silent, question.cases[0], "cpu", form=question.form)
    assert {name: given[name] for name in unsaid} == pytest.approx(
        {"eta": 0.003, "d_min": 2 / 3, "d_max": 1.5}
    )
    assert "scale" not in given


def test_a_continued_question_starts_where_the_kernel_stopped() -> None:
    question = posed()["continued"]
    answers = answer(adapter("osdn"), question, "cpu")
    for before, after in pairwise(answers):
        assert before.returned.state is not None
        assert np.array_equal(after.case.initial_state, before.returned.state)
        assert before.returned.handed_on is not None
        assert np.array_equal(after.case.initial_preconditioner, before.returned.handed_on)


def test_a_packed_question_gives_every_sequence_its_own_results() -> None:
    question = posed()["packed sequences"]
    together = answer(adapter("osdn"), question, "cpu")
    alone = answer(adapter("osdn"), replace(question, put="apart"), "cpu")
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.returned.outputs, other.returned.outputs)  # type: ignore[arg-type]
        assert np.array_equal(one.returned.state, other.returned.state)  # type: ignore[arg-type]


def test_numbers_follow_from_the_seed_and_the_name_alone() -> None:
    first, again, other = posed(seed=3), posed(seed=3), posed(seed=4)
    bare = replace(adapter("osdn"), parameters=adapter("osdn").parameters - {"cu_seqlens"})
    fewer = {each.name: each for each in questions(bare, "float32", SIZES, 3)}
    keys = [found["special keys"].cases[0].stream.keys for found in (first, again, fewer, other)]
    assert np.array_equal(keys[0], keys[1])
    assert np.array_equal(keys[0], keys[2])
    assert not np.array_equal(keys[0], keys[3])


def test_a_gpu_gets_larger_ones() -> None:
    (case,) = next(iter(questions(adapter("osdn"), "bfloat16", LARGE))).cases
    assert case.stream.length == 2 * 64 + 5
    assert case.stream.key_dim == 64
