"""The operators as PyTorch's dispatcher and compiler see them."""

import pytest
import torch
from osdn_kernels import chunk_osdn, fused_recurrent_osdn
from osdn_kernels.chunk.write_keys import FIXED, IDENTITY, LEARNED
from support.kernels.reference_cases import Call, draw, gradients, relative_error, results
from torch.library import opcheck

ALL_PASS = {
    f"test_{name}": "SUCCESS"
    for name in ("schema", "autograd_registration", "faketensor", "aot_dispatch_dynamic")
}
NAMES = ("q", "k", "v", "beta", "g", "anchor", "initial_state", "initial_preconditioner")


def leaves(cu_seqlens: list[int] | None = None) -> list[torch.Tensor]:
    call = draw("some clip", "to anchor", length=20, cu_seqlens=cu_seqlens, dtype=torch.float32)
    return [call.tensors[name].requires_grad_() for name in NAMES]


@pytest.mark.parametrize("bounds", [None, pytest.param([0, 7, 7, 20], marks=pytest.mark.slow)])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("mode", [IDENTITY, FIXED, LEARNED])
def test_opcheck_of_the_chunkwise_operator(mode, bounds, keep):
    given = leaves(bounds)
    if mode != LEARNED:
        given[4] = given[5] = None
    bounds = None if bounds is None else torch.tensor(bounds)
    numbers = (0.25, 0.3, 0.56, 1.18, False, 16, mode, False, keep)
    assert opcheck(torch.ops.osdn.chunk_forward.default, (*given, bounds, *numbers)) == ALL_PASS


@pytest.mark.parametrize("bounds", [None, [0, 7, 7, 20]])
def test_opcheck_of_the_recurrent_operator(bounds):
    given = leaves(bounds)
    bounds = None if bounds is None else torch.tensor(bounds)
    numbers = (0.25, 0.3, 0.56, 1.18, False, True)
    assert opcheck(torch.ops.osdn.recurrent_forward.default, (*given, bounds, *numbers)) == ALL_PASS


def test_opcheck_of_the_preconditioner_and_the_norm():
    q, k, _, _, g, anchor, _, start = leaves()
    given = (k, g, anchor, start, None, 0.3, 0.56, 1.18, False, 16, False)
    assert opcheck(torch.ops.osdn.preconditioner_forward.default, given) == ALL_PASS
    assert opcheck(torch.ops.osdn.l2norm.default, (q,)) == ALL_PASS


@pytest.mark.parametrize("operator", [chunk_osdn, fused_recurrent_osdn])
def test_compiles_to_one_graph(operator):
    torch.compiler.reset()
    call = draw("some clip", "to anchor", length=20, dtype=torch.float32, use_qk_l2norm_in_kernel=True)
    compiled = torch.compile(operator, fullgraph=True, backend="aot_eager")
    found, expected = results(call, compiled), results(call, operator)
    for name in expected:
        assert relative_error(found[name], expected[name]) <= 1e-6, name
    found, expected = (gradients(call, chosen, ("o", "state")) for chosen in (compiled, operator))
    for name in expected:
        assert relative_error(found[name], expected[name]) <= 1e-6, name


def test_no_gradient_is_formed_for_inputs_that_want_none():
    call = draw("fast", length=20, dtype=torch.float32)
    call.tensors["v"].requires_grad_()
    o, _ = call(chunk_osdn)
    (found,) = torch.autograd.grad(o.sum(), [call.tensors["v"]])
    whole = gradients(Call(call.tensors, call.options), chunk_osdn, ("o",))
    assert found.shape == whole["v"].shape
    assert found.abs().sum() > 0
