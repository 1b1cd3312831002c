"""Inputs as a kernel is given them: every number one that its format holds, in the layouts that were asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.crosscheck.cases import ANCHORED, gated, interpolating
from support.crosscheck.eager_faults import kernel
from support.crosscheck.exercises import adapter, exercise

from osdn_theory.crosscheck.cases.case import Case, pack, pose
from osdn_theory.crosscheck.cases.problems import problems
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import KernelError, Returned, arguments, ask, ask_packed, read
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.rounding import BFLOAT16, FLOAT32, round_to


def held(values: Any, fmt: Any = FLOAT32) -> bool:
    found = np.asarray(values)
    return bool(np.all(round_to(found, fmt) == found))


@pytest.mark.parametrize("recurrence", ["osdn", "gated_delta_net", "preconditioned_delta_net"])
def test_a_case_has_no_number_that_its_formats_lack(recurrence: str) -> None:
    kind = replace(adapter("osdn"), recurrence=recurrence)  # type: ignore[arg-type]
    stream = replace(
        gated(20), initial_preconditioner=np.full(8, 1.0 + 1e-9), forget_gate=np.full((2, 20), 0.9)
    )
    case = pose(kind, stream, ANCHORED, "bfloat16", initial_state=np.full((6, 8), 0.1))
    for values in (case.stream.keys, case.stream.queries, case.stream.values, case.stream.beta):
        assert held(values, BFLOAT16)
    assert held(case.initial_state)
    assert held(case.initial_preconditioner)
    if case.log_gate is not None:
        assert held(case.log_gate)
        np.testing.assert_array_equal(case.stream.forget_gate, np.exp(case.log_gate))
    if case.log_state_gate is not None:
        assert held(case.log_state_gate)
        np.testing.assert_array_equal(case.stream.state_gate, np.exp(case.log_state_gate))
    if case.gram_weight is not None:
        assert held(case.gram_weight, BFLOAT16)
        assert held(case.log_gram_decay)


def test_the_anchor_is_a_float32_number_for_kernel_and_theory() -> None:
    rule = CalibrationRule(eta=0.1, d_min=0.7, d_max=1.3, forgetting=0.9, anchor=1.1)
    case = pose(adapter("osdn"), interpolating(8), rule, "float32")
    assert held(case.anchor)
    assert held(case.rule.anchor)


def test_next_keys_with_the_gates_of_features_are_numbers_of_the_dtype() -> None:
    case = exercise("everything at once", "kda", "bfloat16")
    assert held(case.next_keys(slice(1, None)), BFLOAT16)
    assert held(case.next_keys(0), BFLOAT16)


def test_a_gate_of_zero_is_passed_as_the_logarithm_that_it_has() -> None:
    stream = replace(gated(8), state_gate=np.zeros((2, 8)))
    case = pose(adapter("gated_delta_net"), stream, ANCHORED, "float32")
    assert case.log_state_gate is not None
    assert np.isneginf(case.log_state_gate).all()


def default_rules(recurrence: str, without: str = "") -> dict[str, str]:
    """Streams that a kernel is asked by default, with their rules."""
    kind = adapter(recurrence)
    kind = replace(kind, parameters=kind.parameters - {without})
    posed = problems(kind, None, None, seed=0, tokens=8, heads=1)
    return {stream.name: label for stream, label, _ in posed}


def test_trained_layers_are_asked_of_kernels_that_have_their_gates_and_starts() -> None:
    away = dict.fromkeys(("minilm/layer0", "deltanet/layer0"), "fast from 5/4")
    usual = {"interpolating": "fast", "noisy": "fast", **away}
    assert default_rules("osdn") == {**usual, "apf_historic/layer0": "token forgetting"}
    assert default_rules("osdn", "g") == {**usual, "apf_historic/layer0": "fast"}
    assert default_rules("osdn", "initial_preconditioner") == dict.fromkeys(usual, "fast")
    assert default_rules("delta_net") == dict.fromkeys([*usual, "apf_historic/layer0"], "fast")
    assert default_rules("osgdn") == {"gated": "fast", "gated_deltanet/layer0": "fast from 5/4"}
    assert list(default_rules("oskda")) == ["feature-gated"]


def test_pieces_and_packs_keep_every_input_of_their_own_tokens() -> None:
    case = exercise("everything at once")
    assert case.log_gate is not None
    later = case.piece(5, 9)
    np.testing.assert_array_equal(later.log_gate, case.log_gate[:, :, 5:9])
    np.testing.assert_array_equal(later.stream.keys, case.stream.keys[:, :, 5:9])
    rows = [replace(exercise_row(case, b), initial_state=case.initial_state[b : b + 1]) for b in range(2)]
    together = pack(rows)
    length = case.stream.length
    assert together.log_gate is not None
    for b in range(2):
        np.testing.assert_array_equal(
            together.log_gate[0, :, b * length : (b + 1) * length], case.log_gate[b]
        )
        np.testing.assert_array_equal(together.initial_state[b], case.initial_state[b])
        np.testing.assert_array_equal(together.anchor[b], case.anchor[b])


def exercise_row(case: Case, row: int) -> Case:
    from osdn_theory.crosscheck.invariance.watched import part

    return part(case, rows=slice(row, row + 1))


def test_filled_up_tokens_change_nothing() -> None:
    for recurrence in ("osdn", "gated_delta_net", "kda"):
        case = exercise("everything at once", recurrence)
        more = case.filled(64)
        assert more.stream.length == 64
        np.testing.assert_allclose(more.exact().final_state, case.exact().final_state, rtol=1e-12)
        for name in ("log_gate", "log_state_gate"):
            value = getattr(more, name)
            assert value is None or np.all(value[:, :, case.stream.length :] == 0)


def test_norms_have_the_floor_of_their_convention() -> None:
    case = exercise("everything at once", "delta_net")
    tiny = replace(case, stream=replace(case.stream, keys=1e-3 * case.stream.keys))
    for norm, floor in (("exact", 0.0), ("floored", 1e-6)):
        keys = replace(tiny, key_norm=norm).read_stream().keys  # type: ignore[arg-type]
        square = np.sum(tiny.stream.keys**2, axis=-1)
        np.testing.assert_allclose(np.sum(keys**2, axis=-1), square / (square + floor))


# Calls


def given_to(form: Any, kind: Adapter | None = None, case: Case | None = None) -> dict[str, Any]:
    kind = adapter("osdn") if kind is None else kind
    return arguments(kind, exercise("everything at once") if case is None else case, "cpu", form=form)


def test_strided_arguments_have_gaps_of_nan_and_permuted_axes() -> None:
    for name, value in given_to("strided").items():
        if not isinstance(value, torch.Tensor) or value.ndim < 3:
            continue
        assert torch.equal(value, given_to("contiguous")[name])
        strides = value.stride()
        assert strides[0] < strides[-1]
        assert min(strides) == 2
        memory = torch.as_strided(value, (2 * value.numel(),), (1,), 0)
        assert torch.isnan(memory[1 : 2 * value.shape[0] : 2]).all()


def test_what_repeats_is_expanded_and_nothing_else() -> None:
    case = exercise("expanded inputs")
    given = given_to("expanded", case=case)
    assert given["k"].stride(2) == 0
    assert given["beta"].stride(0) == 0
    assert 0 not in given["v"].stride()
    dense = given_to("contiguous", case=case)
    for name in ("q", "k", "v", "beta"):
        assert torch.equal(given[name], dense[name])
    # One head that repeats alone does not.
    keys = np.array(case.stream.keys)
    keys[:, 2] += 1.0
    other = given_to("expanded", case=replace(case, stream=replace(case.stream, keys=keys)))
    assert 0 not in other["k"].stride()


def test_aliased_queries_are_the_tensor_of_the_keys_and_defaults_are_left_out() -> None:
    case = exercise("queries are keys")
    given = given_to("aliased", case=case)
    assert given["q"] is given["k"]
    assert {"scale", "eta", "d_min", "d_max"}.isdisjoint(given_to("defaults"))
    assert {"scale", "eta", "d_min", "d_max"} <= set(given_to("contiguous"))


def test_gates_and_states_are_float32_and_everything_that_is_not_usual_is_passed() -> None:
    given = given_to("contiguous", case=exercise("everything at once", dtype="bfloat16"))
    assert {given[name].dtype for name in ("q", "k", "v", "beta")} == {torch.bfloat16}
    wide = ("g", "initial_state", "initial_preconditioner", "anchor")
    assert {given[name].dtype for name in wide} == {torch.float32}


def test_layouts_are_turned_on_the_way_in_and_out() -> None:
    seen: dict[str, Any] = {}

    def foreign(initial_state: Any = None, g: Any = None, **given: Any) -> Any:
        seen.update(given, initial_state=initial_state, g=g)
        turned = {name: given[name].transpose(1, 2) for name in ("q", "k", "v", "beta")}
        o, state, *_ = kernel("gated_delta_net")(
            **{**given, **turned}, g=g.log().transpose(1, 2), initial_state=initial_state.mT
        )
        return o.transpose(1, 2), state.mT

    plain = adapter("gated_delta_net")
    kind = replace(plain, call=foreign, layout="head first", state_layout="VK", gate_form="factor")
    case = exercise("everything at once", "gated_delta_net")
    found, right = ask(kind, case, "cpu"), ask(plain, case, "cpu")
    assert seen["k"].shape == (2, 3, 37, 8)
    assert seen["k"].is_contiguous()
    assert seen["initial_state"].shape == (2, 3, 12, 8)
    assert bool((seen["g"] > 0).all())
    for name in ("outputs", "state"):
        np.testing.assert_allclose(getattr(found, name), getattr(right, name), atol=1e-5)
    ask(kind, case, "cpu", form="strided")
    assert not seen["k"].is_contiguous()


def test_packed_results_are_cut_at_the_sequences_own_ends() -> None:
    kind = adapter("osdn")
    rows = [
        exercise_row(exercise("everything at once"), 0).piece(*cut)
        for cut in ((0, 5), (5, 6), (6, 6), (6, 20))
    ]
    together = ask_packed(kind, rows, "cpu")
    for one, case in zip(together, rows, strict=True):
        alone = ask(kind, case, "cpu") if case.stream.length else Returned(state=case.initial_state)
        if case.stream.length:
            np.testing.assert_array_equal(one.outputs, alone.outputs)
        np.testing.assert_array_equal(one.state, alone.state)


def test_filled_up_tokens_are_cut_off() -> None:
    kind, case = replace(adapter("osdn"), multiple=32), exercise("everything at once")
    found, right = ask(kind, case, "cpu"), ask(adapter("osdn"), case, "cpu")
    for name in ("outputs", "preconditioner", "alignment"):
        np.testing.assert_array_equal(getattr(found, name), getattr(right, name))


@pytest.mark.parametrize(("change", "message"), [
    (lambda o: o.transpose(2, 3), "returned o of shape"), (lambda o: None, "returned no output"),
])  # fmt: skip
def test_results_of_another_shape_are_refused(change: Any, message: str) -> None:
    kind, case = adapter("osdn"), exercise("everything at once")
    o = torch.zeros(2, 37, 3, 12)
    with pytest.raises((KernelError, ValueError), match=message):
        read(kind, case, (change(o), torch.zeros(2, 3, 8, 12), None), "the call")
