"""Values at the edge: total forgetting, NaN, overflow of float16, small updates of large numbers in bfloat16."""

import numpy as np
import pytest
import torch
from osdn_kernels import (
    State,
    chunk_osdn,
    chunk_osdn_reference,
    decode_step_,
    fused_recurrent_osdn,
    osdn_reference,
)
from osdn_kernels.boundary import inputs
from support.kernels.reference_cases import Call, differentiated, draw, relative_error, results

from osdn_theory.crosscheck import crosscheck
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.streams.stream import Stream

OPERATORS = [chunk_osdn, fused_recurrent_osdn, chunk_osdn_reference, osdn_reference]
SIZES = {"batch": 1, "heads": 1, "length": 40, "key_dim": 4, "value_dim": 3, "chunk_size": 16}
RESET = 21


def with_reset(rule: str, gates: str, gate: float = -torch.inf) -> Call:
    call = draw(rule, gates, **SIZES)
    call.tensors["g"][:, RESET - 1] = gate
    return call


@pytest.mark.parametrize("rule", [pytest.param("fast", marks=pytest.mark.slow), "some clip", "bounded"])
@pytest.mark.parametrize("gates", ["to zero", "to anchor"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_total_forgetting_starts_again_at_the_anchor(operator, gates, rule):
    call = with_reset(rule, gates)
    narrow = Call({name: x.float() for name, x in call.tensors.items()}, call.options)
    outputs = ("o", "preconditioner")
    found, slopes = differentiated(narrow, operator, outputs)
    expected, wanted = differentiated(call, osdn_reference, outputs)
    for name in found:
        assert relative_error(found[name], expected[name]) <= 3e-6, name
    for name in slopes:
        assert relative_error(slopes[name], wanted[name]) <= 1e-5, name
    # What follows is that of a sequence that begins a token earlier with d at the anchor: its first step alone adds.
    anchor = call.tensors.get("anchor", torch.zeros(1, 1, 4)).double()
    before = expected_path(call)[:, RESET - 1]
    s = call.tensors["k"][:, RESET - 1].square()
    gain = call.options["eta"] * (1 - (before * s).sum(-1, keepdim=True))
    start = (anchor + gain * s).clamp(call.options["d_min"], call.options["d_max"])
    assert torch.allclose(found["path"][:, RESET].double(), start, atol=1e-6)


def expected_path(call: Call) -> torch.Tensor:
    return results(call, osdn_reference)["path"]


def test_a_floor_that_is_too_high_is_seen(monkeypatch):
    monkeypatch.setattr(inputs, "FORGOTTEN", -3.0)
    with pytest.raises(AssertionError):
        test_total_forgetting_starts_again_at_the_anchor(chunk_osdn, "to zero", "fast")


def test_a_decoding_step_forgets_everything():
    call = with_reset("fast", "to anchor").tensors
    token = {name: call[name][:, RESET - 1 : RESET].float() for name in ("q", "k", "v", "beta", "g")}
    start = call["initial_preconditioner"].float()
    state = State(call["initial_state"].float().clone(), start.clone())
    decode_step_(**token, state=state, anchor=call["anchor"].float(), eta=0.4, d_min=0.0, d_max=4.0)
    s = token["k"][:, 0].square()
    assert torch.allclose(state.preconditioner, call["anchor"].float() + 0.4 * (1 - (start * s).sum(-1)) * s)


NAMES = ("q", "k", "v", "beta", "g")
SPARED = [
    *((fused_recurrent_osdn, 21, "some clip", name) for name in NAMES),
    *((osdn_reference, 21, "some clip", name) for name in NAMES),
    *((chunk_osdn, 16, "bounded", name) for name in ("k", "g")),
    *(
        pytest.param(chunk_osdn, 16, rule, name, marks=pytest.mark.slow)
        for rule in ("some clip", "bounded")
        for name in NAMES
    ),
]
"""Operator, tokens before token 21 that it spares, rule, and the input that is NaN there."""


@pytest.mark.parametrize(("operator", "spared", "rule", "name"), SPARED)
def test_nan_reaches_no_earlier_token_or_chunk_and_no_other_head(operator, spared, rule, name):
    call = draw(rule, "to anchor", **SIZES | {"heads": 2, "batch": 2}, dtype=torch.float32)
    whole, _ = call(operator, check_values=False)
    call.tensors[name][1, 21, 1] = torch.nan
    o, _ = call(operator, check_values=False)
    assert o[1, 21:, 1].isnan().any()
    assert torch.equal(o[1, :spared, 1], whole[1, :spared, 1])
    assert torch.equal(o[0], whole[0])
    assert torch.equal(o[1, :, 0], whole[1, :, 0])


def test_a_state_that_float16_does_not_hold_is_named():
    call = draw("bounded", **SIZES | {"length": 5}, dtype=torch.float16)
    call.tensors["initial_state"] = torch.full((1, 1, 4, 3), 7e4)
    call.tensors["q"][..., :] = 0
    with pytest.raises(
        ValueError, match=r"^initial_state: expected magnitudes up to 65504 beside float16, got 7"
    ):
        call(chunk_osdn)
    assert call(fused_recurrent_osdn)[0].isfinite().all()
    for x in "qkv":
        call.tensors[x] = call.tensors[x].bfloat16()
    assert call(chunk_osdn)[0].isfinite().all()


def test_bfloat16_loses_small_updates_of_large_numbers_and_the_cross_check_says_how_much():
    """4098 is overwritten by 4096; beside bfloat16's spacing of 16 nothing is left of the difference."""
    ones = np.ones((1, 1, 1, 1))
    stream = Stream(keys=ones, values=4096 * ones, beta=ones[..., 0])
    lost = 2 / 4096
    for operator, error in (chunk_osdn, lost), (fused_recurrent_osdn, 0.0):
        found = crosscheck(
            operator, stream, CalibrationRule(eta=0.0), dtype="bfloat16", initial_state=4098 * ones
        )
        memory = next(each for each in found.comparisons if each.name == "S")
        assert memory.worst_error == pytest.approx(error)
        assert memory.within_bound
        assert (memory.bound.max() > lost) == (error > 0)
