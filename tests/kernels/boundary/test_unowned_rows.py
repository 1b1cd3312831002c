"""Rows of no packed sequence: zeros in outputs and in every gradient, whatever the bounds say, where none is read."""

import pytest
import torch
from osdn_kernels import (
    chunk_osdn,
    chunk_osdn_reference,
    chunk_osgdn,
    chunk_oskda,
    fused_recurrent_osdn,
    fused_recurrent_osgdn,
    fused_recurrent_oskda,
    osdn_preconditioner,
    osdn_reference,
    osgdn_reference,
    oskda_reference,
    preconditioner_reference,
)
from osdn_kernels.launch import registration
from osdn_kernels.launch.sequences import clear_between
from osdn_kernels.selftest.runs import poisoned
from support.kernels.reference_cases import Call, draw, draw_gated

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


GATED = {
    "head": [chunk_osgdn, fused_recurrent_osgdn, osgdn_reference],
    "feature": [chunk_oskda, fused_recurrent_oskda, oskda_reference],
}


def gated_outcome(operator, kind, spoiled, bounds=(5, 7, 17), dtype=torch.float32):
    """Of raw gates and parameters that all heads share, with NaN in rows of no sequence where `spoiled`."""
    call = draw_gated("bounded", cu_seqlens=[0, 7, LENGTH], state_gate=kind, **SIZES | {"dtype": dtype})
    given = {name: call.tensors[name].clone() for name in ("q", "k", "v", "g", "beta")}
    given |= {"A_log": torch.zeros(1, dtype=dtype), "dt_bias": torch.zeros(given["g"].shape[2:], dtype=dtype)}
    if spoiled:
        for name in ("q", "k", "v", "beta", "g"):
            given[name][:, : bounds[0]] = torch.nan
            given[name][:, bounds[-1] :] = torch.nan
    leaves = {name: x.requires_grad_() for name, x in given.items()}
    switches = {
        "use_gate_in_kernel": True,
        "use_qk_l2norm_in_kernel": True,
        "use_beta_sigmoid_in_kernel": True,
    }
    with poisoned():
        o, _ = operator(**leaves, **switches, cu_seqlens=torch.tensor(bounds), check_values=False)
        return dict(zip(leaves, torch.autograd.grad(o.square().sum(), leaves.values()), strict=True))


@pytest.mark.parametrize(("kind", "operator"), [(kind, x) for kind in GATED for x in GATED[kind]])
def test_what_such_rows_hold_reaches_no_gradient(kind, operator):
    expected = gated_outcome(GATED[kind][-1], kind, False, dtype=torch.float64)
    found = gated_outcome(operator, kind, True)
    for name, x in found.items():
        assert torch.allclose(x, expected[name].float(), atol=1e-4), name


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
