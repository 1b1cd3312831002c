"""The chunkwise operator against the float64 reference: outputs, states, trajectory and every gradient."""

from functools import cache

import pytest
import torch
from osdn_kernels import chunk_osdn, chunk_osgdn, osdn_preconditioner, osgdn_reference, sequential_scan
from osdn_kernels.chunk import state
from osdn_kernels.reference.tokenwise import osdn_reference, preconditioner_reference
from support.kernels.agreement import FLOAT32, OUTPUTS, assert_agrees, in_float32
from support.kernels.reference_cases import (
    GATES,
    Call,
    differentiated,
    draw,
    draw_gated,
    gradients,
    relative_error,
    results,
)  # fmt: skip

SHAPES = {
    "several chunks, the last partial": {"length": 200, "batch": 1, "heads": 1, "chunk_size": 64},
    "exact chunks": {"length": 64, "batch": 1, "heads": 1, "chunk_size": 32},
    "shorter than a chunk": {"length": 37, "chunk_size": 64},
    "one token": {"length": 1, "chunk_size": 16},
    "no tokens": {"length": 0, "chunk_size": 16},
    "wide values": {"length": 33, "key_dim": 16, "value_dim": 72, "batch": 1, "chunk_size": 32},
    "wide keys": {"length": 33, "key_dim": 72, "value_dim": 16, "batch": 1, "heads": 1, "chunk_size": 32},
    "odd sizes": {"length": 45, "key_dim": 19, "value_dim": 33, "heads": 3, "batch": 1, "chunk_size": 16},
    "one feature": {"length": 20, "key_dim": 1, "value_dim": 1, "chunk_size": 16},
    "packed": {"cu_seqlens": [0, 0, 17, 18, 60, 60, 97], "chunk_size": 32},
    "packed, one chunk each": {"cu_seqlens": [0, 16, 32, 48], "chunk_size": 16},
    "packed, no tokens": {"cu_seqlens": [0, 0, 0], "chunk_size": 16},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape(shape):
    assert_agrees(draw("some clip", "to anchor", **SHAPES[shape]))


@pytest.mark.parametrize("config", state.CHAIN[2:5:2], ids=str)
def test_every_way_to_lay_out_the_memory(config, monkeypatch):
    """Transposed, as all other tests here have it, or not; narrower than the values."""
    monkeypatch.setattr(state.memory_kernel, "configs", [config])
    shape = {"length": 40, "value_dim": 72, "chunk_size": 32, "batch": 1}
    assert_agrees(draw("some clip", "to anchor", **shape))
    assert_agrees(
        draw_gated("fast", state_gate="head", beta_aware=False, **shape), chunk_osgdn, osgdn_reference
    )


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize(
    "rule", ["bounded", "normalised", "most clip", "historic", "no box", "frozen", "one point"]
)
def test_every_rule(rule, gates):
    assert_agrees(draw(rule, gates, length=40, chunk_size=16, batch=1, heads=1))


@pytest.mark.parametrize("rule", ["fast", "some clip"])
def test_the_sequential_scan_gives_the_same(rule):
    def stepped(*args, **kwargs):
        with sequential_scan():
            return chunk_osdn(*args, **kwargs)

    call = draw(rule, "to anchor", length=50, chunk_size=32, batch=1, heads=1)
    assert_agrees(call, stepped)
    ours, theirs = results(in_float32(call), chunk_osdn), results(in_float32(call), stepped)
    assert relative_error(ours["path"], theirs["path"]) <= 2e-7


@pytest.mark.parametrize("start", [True, False])
def test_a_point_box_at_one_is_delta_net(start):
    call = in_float32(draw("one point", length=70, chunk_size=32, start=start))
    q, k, v, beta = (call.tensors[name].double() for name in ("q", "k", "v", "beta"))
    state = call.tensors.get("initial_state", torch.zeros(2, 2, 6, 5)).double()
    out = []
    for t in range(q.shape[1]):
        residual = v[:, t] - torch.einsum("bhkv,bhk->bhv", state, k[:, t])
        state = state + torch.einsum("bhk,bhv,bh->bhkv", k[:, t], residual, beta[:, t])
        out.append(torch.einsum("bhkv,bhk->bhv", state, q[:, t]) * q.shape[-1] ** -0.5)
    found = results(call, chunk_osdn)
    assert relative_error(found["o"], torch.stack(out, 1)) <= FLOAT32
    assert relative_error(found["state"], state) <= FLOAT32
    assert torch.equal(found["path"], torch.ones_like(found["path"]))


@pytest.mark.parametrize("start", [1.0, 0.9])
def test_a_point_box_lets_the_start_of_no_tokens_through(start):
    call = draw(
        "frozen", cu_seqlens=[0, 0, 5], heads=1, start=False, d_min=start, d_max=start, dtype=torch.float32
    )
    grads = []
    for operator in (chunk_osdn, osdn_reference):
        d = torch.full((2, 1, 6), start, requires_grad=True)
        o, state = call(operator, initial_preconditioner=d, output_final_state=True)
        (o.sum() + 3 * state.preconditioner.sum()).backward()
        grads.append(d.grad)
    assert (grads[0][0] == 3).all()
    assert torch.allclose(*grads, atol=1e-5)


@pytest.mark.parametrize("only", OUTPUTS)
def test_gradients_from_one_result_alone(only):
    call = in_float32(draw("some clip", "to anchor", length=40, chunk_size=16, batch=1, heads=1))
    wide = Call({name: x.double() for name, x in call.tensors.items()}, call.options)
    expected = gradients(wide, osdn_reference, (only,))
    for name, found in gradients(call, chunk_osdn, (only,)).items():
        assert relative_error(found, expected[name]) <= FLOAT32, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rule", ["bounded", "most clip"])
def test_sixteen_bits_cost_no_more_than_in_delta_net(rule, dtype):
    """Errors of outputs and gradients, next to those of the same kernels with d = 1."""
    ours, plain = sixteen_bit_errors(rule, dtype), sixteen_bit_errors("one point", dtype)
    floor = torch.finfo(dtype).eps
    for name, error in ours.items():
        assert error <= 1.5 * max(plain.get(name, floor), floor), name


@cache
def sixteen_bit_errors(rule: str, dtype: torch.dtype) -> dict[str, float]:
    call = in_float32(draw(rule, length=130, key_dim=32, value_dim=32, batch=1, heads=1, chunk_size=64))
    for name in ("q", "k", "v"):
        call.tensors[name] = call.tensors[name].to(dtype)
    wide = Call({name: x.double() for name, x in call.tensors.items()}, call.options)
    outputs = ("o", "state")
    expected, wanted = differentiated(wide, osdn_reference, outputs)
    found, slopes = differentiated(call, chunk_osdn, outputs)
    errors = {name: relative_error(found[name], expected[name]) for name in outputs}
    for name, slope in slopes.items():
        if name != "initial_preconditioner":  # constant in the comparison
            errors[f"gradient of {name}"] = relative_error(slope, wanted[name])
    return errors


def test_tensors_that_are_not_contiguous():
    call = in_float32(draw("some clip", "to anchor", length=20, chunk_size=16))
    strided = {name: x.transpose(0, -1).contiguous().transpose(0, -1) for name, x in call.tensors.items()}
    assert not strided["q"].is_contiguous()
    found = results(Call(strided, call.options), chunk_osdn)
    for name, expected in results(call, chunk_osdn).items():
        assert torch.equal(found[name], expected), name


def test_a_call_continues_where_another_stopped():
    call = in_float32(draw("some clip", "to zero", length=48, chunk_size=16, batch=1))
    whole, end = chunk_osdn(**call.tensors, **call.options, output_final_state=True)
    parts = [slice(0, 21), slice(21, 22), slice(22, 48)]
    state, found = None, []
    starts = {name: call.tensors[name] for name in ("initial_state", "initial_preconditioner")}
    for part in parts:
        tokens = {name: call.tensors[name][:, part] for name in ("q", "k", "v", "beta", "g")}
        given = starts if state is None else {"initial_state": state}
        o, state = chunk_osdn(**tokens, **given, **call.options, output_final_state=True)
        found.append(o)
    assert relative_error(torch.cat(found, 1), whole) <= FLOAT32
    assert relative_error(state.state, end.state) <= FLOAT32
    assert relative_error(state.preconditioner, end.preconditioner) <= FLOAT32


def test_normalised_inside_is_normalised_before():
    call = in_float32(draw("fast", length=20, chunk_size=16, batch=1))
    call.tensors["q"] = 3.0 * call.tensors["q"]
    wide = Call({name: x.double() for name, x in call.tensors.items()}, call.options)
    wide.options = call.options = {**call.options, "use_qk_l2norm_in_kernel": True}
    assert_agrees(call)
    plain = {**call.options, "use_qk_l2norm_in_kernel": False}
    before = results(Call(call.tensors, plain), chunk_osdn)["o"]
    assert relative_error(results(call, chunk_osdn)["o"], before) > 0.1


def test_the_final_state_is_returned_only_on_request():
    call = in_float32(draw("fast", length=20, chunk_size=16))
    assert len(call(chunk_osdn)) == 2
    assert call(chunk_osdn)[1] is None


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("gates", GATES)
def test_the_preconditioner_alone(gates, sequential):
    call = in_float32(draw("some clip", gates, length=70, chunk_size=32, batch=1))
    names = [name for name in ("k", "g", "anchor", "initial_preconditioner") if name in call.tensors]
    call = Call({name: call.tensors[name] for name in names}, call.options)
    wide = Call({name: x.double() for name, x in call.tensors.items()}, call.options)
    rng = torch.Generator().manual_seed(2)
    weights = torch.randn(call.tensors["k"].shape, generator=rng), torch.randn(1, 2, 6, generator=rng)
    found, expected = [], []
    for where, chosen, operator, more in (
        (found, call.leaves(), osdn_preconditioner, {"sequential": sequential}),
        (expected, wide.leaves(), preconditioner_reference, {}),
    ):
        values = chosen(operator, **more)
        loss = sum((x * w).sum() for x, w in zip(values, weights, strict=True))
        where += [*values, *torch.autograd.grad(loss, list(chosen.tensors.values()))]
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs) <= FLOAT32
