"""Gates of -inf and below what float32 holds the exponential of: nothing of the memory is left, and nothing is NaN."""

import pytest
import torch
from osdn_kernels import (
    chunk_osgdn,
    chunk_oskda,
    fused_recurrent_osgdn,
    fused_recurrent_oskda,
    osgdn_reference,
    oskda_reference,
)
from osdn_kernels.chunk import decays
from support.kernels.agreement import assert_agrees
from support.kernels.faults import break_kernel
from support.kernels.reference_cases import Call, draw_gated

SIZES = {"length": 40, "chunk_size": 16, "batch": 1, "heads": 2}
CHUNKED = [("head", chunk_osgdn, osgdn_reference), ("feature", chunk_oskda, oskda_reference)]
RECURRENT = [
    ("head", fused_recurrent_osgdn, osgdn_reference),
    ("feature", fused_recurrent_oskda, oskda_reference),
]
EMPTIED = (5, 16, 17, 39)
"""Tokens, among them a chunk's first and the last of all."""


def emptied(state_gate: str, gate: float) -> Call:
    call = draw_gated("fast", state_gate=state_gate, **SIZES)
    call.tensors["g"][:, EMPTIED, :1] = gate
    if state_gate == "feature":
        call.tensors["g"][:, 20, :, 2] = gate
    return call


@pytest.mark.parametrize("gate", [-torch.inf, -1e30, -200.0])
@pytest.mark.parametrize(("state_gate", "operator", "reference"), CHUNKED + RECURRENT)
def test_nothing_is_left(state_gate, operator, reference, gate):
    """Results and the gradients of every input."""
    assert_agrees(emptied(state_gate, gate), operator, reference)


@pytest.mark.parametrize(("state_gate", "operator", "_"), CHUNKED)
def test_beside_16_bits_minus_infinity_is_what_minus_200_is(state_gate, operator, _):
    results = []
    for gate in (-torch.inf, -200.0):
        call = emptied(state_gate, gate)
        wide = {"g", "initial_state", "initial_preconditioner"}
        half = {name: x.float() if name in wide else x.half() for name, x in call.tensors.items()}
        results.append(Call(half, call.options)(operator)[0])
    assert results[0].isfinite().all()
    assert torch.equal(*results)


@pytest.mark.parametrize(("state_gate", "operator", "reference"), CHUNKED)
def test_gates_that_are_summed_as_they_are_are_seen(state_gate, operator, reference, monkeypatch, tmp_path):
    raised = "tl.where(gates < least, least, gates)"
    break_kernel(monkeypatch, tmp_path, decays, "sum_gates_kernel", raised, "gates")
    with pytest.raises(AssertionError):
        assert_agrees(emptied(state_gate, -torch.inf), operator, reference)
