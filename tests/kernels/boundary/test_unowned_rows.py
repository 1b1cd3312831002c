"""Rows of no packed sequence: zeros in outputs and in every gradient, whatever the bounds say, where none is read."""

import pytest
import torch
from osdn_kernels import (
    chunk_osdn,
    chunk_osdn_reference,
    fused_recurrent_osdn,
    osdn_preconditioner,
    osdn_reference,
    preconditioner_reference,
)
from osdn_kernels.launch import registration
from osdn_kernels.launch.sequences import clear_between
from osdn_kernels.selftest.runs import poisoned
from support.kernels.reference_cases import Call, draw

LENGTH = 24
SIZES = {"heads": 1, "key_dim": 4, "value_dim": 3, "dtype": torch.float32, "check_values": False}
OPERATORS = [chunk_osdn, fused_recurrent_osdn, osdn_reference, chunk_osdn_reference]
BOUNDS = {
    "tail": ([0, 7, 17], 0, 17),
    "head": ([5, 7, 17], 5, 17),
    "wild": ([-3, 7, 10**6], 0, 24),
    "falling": ([20, 7, 3], 20, 20),
}


def packed(bounds, *, dtype=torch.float32):
    call = draw("some clip", "to anchor", cu_seqlens=[0, 7, LENGTH], **SIZES | {"dtype": dtype})
    return Call(call.tensors, call.options | {"cu_seqlens": torch.tensor(bounds)})


def outcome(operator, call):
    """Outputs and gradients per token, of memory that holds NaN where nothing was written."""
    call = call.leaves()
    with poisoned():
        o, state, path = call(operator, output_final_state=True, return_trajectory=True)
        loss = o.sum() + state.state.sum() + state.preconditioner.sum()
        names = ("q", "k", "v", "beta", "g")
        grads = torch.autograd.grad(
            loss, [call.tensors[name] for name in names], allow_unused=True, materialize_grads=True
        )
    assert state.state.isfinite().all()
    return {"o": o, "d": path.preconditioner, **dict(zip(names, grads, strict=True))}


@pytest.mark.parametrize(
    "case", ["tail", "head", *(pytest.param(x, marks=pytest.mark.slow) for x in ("wild", "falling"))]
)
@pytest.mark.parametrize("operator", OPERATORS)
def test_rows_of_no_sequence_are_zero_and_others_as_they_would_be(operator, case):
    bounds, start, end = BOUNDS[case]
    found = outcome(operator, packed(bounds))
    expected = outcome(osdn_reference, packed(bounds, dtype=torch.float64))
    for name, x in found.items():
        assert (x[:, :start] == 0).all(), name
        assert (x[:, end:] == 0).all(), name
        assert torch.allclose(x, expected[name].float(), atol=1e-4), name
        assert x[:, start:end].abs().sum() > 0 or start == end


@pytest.mark.parametrize("scan", [osdn_preconditioner, preconditioner_reference])
def test_rows_of_no_sequence_of_the_scan(scan):
    call = packed([5, 7, 17])
    names = ("k", "g", "anchor", "initial_preconditioner")
    with poisoned():
        d, final = scan(**{name: call.tensors[name] for name in names}, **call.options)
    assert (d[:, :5] == 0).all()
    assert (d[:, 17:] == 0).all()
    assert (d[:, 5:17] > 0).all()
    assert (final > 0).all()


def test_that_nothing_clears_them_is_seen(monkeypatch):
    monkeypatch.setattr(registration, "clear_between", lambda *_: None)
    assert outcome(chunk_osdn, packed([0, 7, 17]))["o"].isnan().any()


def test_compiled_rows_of_no_sequence_are_zero():
    torch.compiler.reset()
    compiled = torch.compile(chunk_osdn, fullgraph=True, backend="aot_eager")
    call = packed([0, 7, 17])
    call = Call(call.tensors, call.options | {"check_values": True})
    found, expected = outcome(compiled, call), outcome(chunk_osdn, packed([0, 7, 17]))
    for name, x in found.items():
        assert (x[:, 17:] == 0).all(), name
        assert torch.allclose(x, expected[name], atol=1e-5), name


def test_rows_beyond_two_to_the_31_numbers():
    """Of memory that nothing else touches, and that costs nothing therefore."""
    far = torch.empty(1, 2**24 + 7, 128, dtype=torch.float16)
    far[:, -3:] = 1
    clear_between(torch.tensor([0, far.shape[1] - 2]), [far])
    assert (far[:, -2:] == 0).all()
    assert (far[:, -3] == 1).all()
