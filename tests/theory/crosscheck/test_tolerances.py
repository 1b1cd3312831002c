"""Every tolerance from both sides: what is just inside it passes, and what is just outside it does not."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.crosscheck.exercises import adapter, exercise

from osdn_theory.crosscheck.cases.case import Case, following
from osdn_theory.crosscheck.evidence import limits as module
from osdn_theory.crosscheck.evidence.limits import (
    Limit,
    RoundingLimits,
    limits,
    models_of,
    of_late,
    relative_limit,
)
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.rounding import CHUNK_ANY_ORDER, CHUNK_FP32, FORMATS, Overflow, error_bounds, spacing

ALLOWED = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""What is allowed where no bound is proved, as stated in the documentation: not read from the code under test."""


# Allowances


def brute_of_late(sizes: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """max over s <= t of size_s decay_{s+1} ... decay_t, written out."""
    found = np.zeros_like(sizes)
    for t in range(sizes.shape[-1]):
        for s in range(t + 1):
            kept = np.prod(decay[..., s + 1 : t + 1], axis=-1)
            found[..., t] = np.maximum(found[..., t], sizes[..., s] * kept)
    return found


def test_what_was_there_of_late_decays_and_is_not_forgotten_before() -> None:
    rng = np.random.default_rng(0)
    sizes, decay = rng.uniform(0, 1, (2, 3, 9)), rng.uniform(0.5, 1, (2, 3, 9))
    np.testing.assert_allclose(of_late(sizes, decay), brute_of_late(sizes, decay))


@pytest.mark.parametrize("dtype", ALLOWED)
@pytest.mark.parametrize(("recurrence", "normed", "why"), [
    ("gated_delta_net", "exact", "the kernel normalises keys"), ("kda", None, "chunks decay by feature"),
])  # fmt: skip
def test_allowances_are_these_parts_of_what_was_there(
    recurrence: str, normed: Any, why: str, dtype: Any
) -> None:
    case, kind = exercise("everything at once", recurrence, dtype), adapter(recurrence, "chunk")
    if normed:
        case = replace(case, key_norm=normed, stream=replace(case, key_norm=normed).read_stream())
    exact = case.exact()
    found = limits(kind, case, exact, models_of(kind, dtype))
    gate = np.asarray(case.state_gate)
    decay = gate if recurrence == "gated_delta_net" else gate.max(axis=-1)
    assert exact.states is not None
    state = np.sqrt(np.sum(exact.states**2, axis=(-2, -1)))
    queries, keys, values = (
        np.linalg.norm(np.asarray(x), axis=-1)
        for x in (case.stream.queries, case.stream.keys, case.stream.values)
    )
    read = np.maximum(np.linalg.norm(exact.outputs, axis=-1), 0.7 * state * queries / np.sqrt(8))
    own = np.maximum(values, state * keys)
    stored = np.linalg.norm(spacing(exact.outputs, FORMATS[dtype]), axis=-1)
    wanted = {
        "outputs": ALLOWED[dtype] * brute_of_late(read, decay) + stored,
        "states": ALLOWED[dtype] * brute_of_late(state, decay),
        "reads_after": ALLOWED[dtype] * brute_of_late(own, decay),
        "reads_before": ALLOWED[dtype] * brute_of_late(own, decay),
    }
    for name, allowed in wanted.items():
        limit = getattr(found, name)
        np.testing.assert_allclose(limit.norm, allowed, err_msg=name)
        assert limit.entries is None
        assert limit.basis.startswith(f"allowance, {ALLOWED[dtype]:g} of what was there of late")
        assert limit.basis.endswith("no bound is proved where " + why)
    # Reads that cancel, keys that read a large memory, and the other way round: every term decides somewhere.
    assert np.any(read > np.linalg.norm(exact.outputs, axis=-1))
    assert 0 < np.mean(own > values) < 1


def test_a_part_of_the_largest_token_of_each_head() -> None:
    norms = np.array([[[1.0, 4.0], [0.5, 0.25]]])
    np.testing.assert_allclose(relative_limit(0.1, norms, "").norm, [[[0.4, 0.4], [0.05, 0.05]]])
    assert relative_limit(0.1, np.zeros((1, 2, 0)), "").norm.shape == (1, 2, 0)


@pytest.mark.parametrize(("name", "recurrence", "proved"), [
    ("everything at once", "osdn", True), ("everything at once", "delta_net", True),
    ("everything at once", "gated_delta_net", True), ("without gates", "gated_delta_net", True),
    ("everything at once", "kda chunk", False), ("everything at once", "kda", True),
    ("everything at once", "osgdn", True),
])  # fmt: skip
def test_where_a_bound_is_proved_it_is_taken(name: str, recurrence: str, proved: bool) -> None:
    recurrence, *order = recurrence.split()
    case, kind = exercise(name, recurrence), adapter(recurrence, *order)
    found = limits(kind, case, case.exact(), models_of(kind, "float32"))
    assert found.outputs.basis.startswith("T18" if proved else "allowance")


def test_chunks_that_decay_by_feature_are_bounded_where_all_that_they_may_be_says_how() -> None:
    case, kind = exercise("everything at once", "oskda"), adapter("oskda", "chunk")
    for models, proved in (((CHUNK_FP32,), True), ((CHUNK_FP32, CHUNK_ANY_ORDER), False)):
        found = limits(kind, case, case.exact(), models)
        assert found.outputs.basis.startswith("T18" if proved else "allowance")


def test_a_kernel_that_normalises_keys_is_held_to_an_allowance() -> None:
    case, kind = exercise("from nothing", "delta_net"), adapter("delta_net")
    normed = replace(case, key_norm="exact")
    found = limits(kind, normed, normed.exact(), models_of(kind, "float32"))
    assert "the kernel normalises keys" in found.outputs.basis


# Bounds of T18


def bounds_of(case: Case, model: Any, **given: Any) -> Any:
    return error_bounds(
        case.stream, case.rule, model, chunk_size=16, scale=case.scale, initial_state=case.initial_state,
        initial_preconditioner=case.initial_preconditioner, **given,
    )  # fmt: skip


@pytest.fixture(scope="module")
def chunked() -> tuple[Case, Adapter, Any, RoundingLimits]:
    kind = replace(adapter("osdn", "chunk"), defaults={"chunk_size": 16})
    case = exercise("everything at once")
    (model,) = models_of(kind, "float32")
    return case, kind, model, limits(kind, case, case.exact(), (model,), prefixes=(7, 16, 25, 37))


def test_bounds_are_those_of_the_model(chunked: Any) -> None:
    case, _, model, found = chunked
    whole = bounds_of(case, model)
    np.testing.assert_allclose(found.outputs.norm, whole.outputs_norm)
    np.testing.assert_allclose(found.outputs.entries, whole.outputs)
    np.testing.assert_allclose(found.preconditioner.norm, whole.preconditioner_norm)
    np.testing.assert_allclose(found.preconditioner.entries, whole.preconditioner)
    np.testing.assert_allclose(found.alignment.norm, whole.alignment)


def test_a_chunk_is_summed_up_where_a_call_ends(chunked: Any) -> None:
    case, _, model, found = chunked
    for length in (7, 16, 25, 37):
        expected = bounds_of(case.first(length), model).final_state
        np.testing.assert_allclose(found.states.norm[..., length - 1], expected)
    assert not np.allclose(found.states.norm[..., 24], bounds_of(case, model).state[..., 24])
    assert not np.allclose(found.states.norm[..., -1], bounds_of(case, model).state[..., -1])


def test_the_read_before_a_token_is_an_output_of_the_one_before(chunked: Any) -> None:
    case, _, model, found = chunked
    for asked, limit, shift in (
        (case.asking(case.stream.keys), found.reads_after, 0),
        (case.asking_ahead(), found.reads_before, 1),
    ):
        read = bounds_of(asked, model)
        length = case.stream.length
        np.testing.assert_allclose(limit.norm[..., shift:], read.outputs_norm[..., : length - shift] / 0.7)
        np.testing.assert_allclose(
            limit.entries[..., shift:, :], read.outputs[..., : length - shift, :] / 0.7
        )
    assert np.all(found.reads_before.norm[..., 0] == 0)


def test_d_handed_on_is_the_next_one_stored_once_more(chunked: Any) -> None:
    case, _, model, found = chunked
    whole, exact = bounds_of(case, model), case.exact()
    values = following(exact)
    error = np.concatenate(
        [whole.preconditioner[..., 1:, :], whole.final_preconditioner[..., None, :]], axis=-2
    )
    norm = np.concatenate(
        [whole.preconditioner_norm[..., 1:], whole.final_preconditioner_norm[..., None]], axis=-1
    )
    unit = 2.0**-24
    stored = unit * (np.abs(values) + error)
    # Entry by entry half a spacing of what is stored; the exact d and the model's are as close as the bound says.
    np.testing.assert_allclose(found.handed_on.entries, error + stored, rtol=1e-6)
    np.testing.assert_allclose(found.handed_on.norm, norm + np.linalg.norm(stored, axis=-1), rtol=1e-6)


def test_a_stranger_is_held_to_the_widest_of_all_orders() -> None:
    case, kind = exercise("everything at once"), adapter("osdn", "unknown")
    models = models_of(kind, "float32")
    assert {model.order for model in models} == {"chunk", "recurrent"}
    one, other = (limits(kind, case, case.exact(), (model,)) for model in models)
    both = limits(kind, case, case.exact(), models)
    for name in (
        "outputs",
        "states",
        "preconditioner",
        "handed_on",
        "reads_after",
        "reads_before",
        "alignment",
    ):
        first, second, widest = (getattr(each, name) for each in (one, other, both))
        np.testing.assert_array_equal(widest.norm, np.maximum(first.norm, second.norm))
        if first.entries is not None:
            np.testing.assert_array_equal(widest.entries, np.maximum(first.entries, second.entries))
    assert np.any(one.outputs.norm > other.outputs.norm) or np.any(one.states.norm > other.states.norm)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_of_a_stranger_neither_sums_nor_steps_are_taken_to_be_wide(dtype: Any) -> None:
    for order in ("chunk", "recurrent"):
        (model,) = models_of(adapter("osdn", order), dtype)
        assert model.inputs.name == dtype
        assert (model.wide_steps, model.compensated, model.swept) == (False, False, 0.0)
        assert (model.residuals, model.wide_gates) == (False, False)
    (rounds,) = models_of(adapter("osdn", "chunk"), dtype)
    (drops,) = models_of(adapter("osdn", "chunk"), dtype, interpreted=True)
    assert rounds != drops


@pytest.mark.parametrize("tokens", [(9, 4), (4, 9), (None, 4), (4, None)])
def test_the_first_overflow_of_all_models_is_the_one_that_counts(
    tokens: tuple[int | None, int | None], monkeypatch: pytest.MonkeyPatch, chunked: Any
) -> None:
    case, kind, model, found = chunked
    each = iter(
        replace(
            found, overflow=None if at is None else Overflow(at, "o", FORMATS["float16"], 1e9, 1e9, (0, 0))
        )
        for at in tokens
    )
    monkeypatch.setattr(module, "_limits", lambda *_: next(each))
    together = limits(kind, case, case.exact(), (model, model)).overflow
    assert together is not None
    assert together.token == 4


def test_a_limit_at_some_tokens_is_theirs() -> None:
    norm = np.array([[[1.0, 2.0, 3.0]]])
    found = Limit(norm, norm[..., None], "").at(np.array([1, 3]))
    assert found.norm.tolist() == [[[1.0, 3.0]]]
    assert found.entries is not None
    assert found.entries.tolist() == [[[[1.0], [3.0]]]]


@pytest.mark.parametrize(("precision", "allowed"), [("highest", False), ("high", True), ("medium", True)])
def test_tf32_is_allowed_where_torch_allows_it(precision: str, allowed: bool) -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert module.tf32_allowed() == allowed
    finally:
        torch.set_float32_matmul_precision(before)


def test_without_torch_nothing_is_rounded_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    assert not module.tf32_allowed()
