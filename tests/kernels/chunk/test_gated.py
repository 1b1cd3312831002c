"""The gated chunkwise operator against its float64 reference: outputs, states, trajectory and every gradient."""

import pytest
import torch
from osdn_kernels import chunk_osdn, chunk_osgdn, osgdn_reference
from support.kernels.agreement import FLOAT32, assert_agrees, in_float32
from support.kernels.reference_cases import GATES, Call, draw_gated, relative_error, results

SHAPES = {
    "several chunks, the last partial": {"length": 150, "batch": 1, "chunk_size": 64},
    "exact chunks": {"length": 64, "chunk_size": 32},
    "one token": {"length": 1, "chunk_size": 16},
    "no tokens": {"length": 0, "chunk_size": 16},
    "wide values": {"length": 33, "key_dim": 16, "value_dim": 72, "chunk_size": 32},
    "wide keys": {"length": 33, "key_dim": 72, "value_dim": 16, "chunk_size": 32},
    "odd sizes": {"length": 45, "key_dim": 19, "value_dim": 33, "heads": 3, "batch": 1, "chunk_size": 16},
    "packed": {"cu_seqlens": [0, 0, 17, 18, 60, 60, 97], "chunk_size": 32},
    "packed, no tokens": {"cu_seqlens": [0, 0, 0], "chunk_size": 16},
    "grouped": {"length": 40, "chunk_size": 16, "value_heads": 6, "batch": 1},
}


def gated(*args, **more) -> Call:
    return draw_gated(*args, state_gate="head", **({"beta_aware": False} | more))


def agrees(call: Call) -> None:
    assert_agrees(call, chunk_osgdn, osgdn_reference)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape(shape):
    agrees(gated("some clip", "to anchor", **SHAPES[shape]))


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("rule", ["published", "normalised", "most clip", "frozen", "one point"])
def test_every_rule(rule, gates):
    agrees(gated(rule, gates, length=40, chunk_size=16, batch=1))


@pytest.mark.parametrize("strength", [0.0, 1.0, 100.0, float("inf")])
def test_gates_of_any_strength(strength):
    """None, usual ones, some that leave nothing of the memory, and single tokens that empty it."""
    call = gated("fast", length=70, chunk_size=64, batch=1)
    gate = call.tensors["g"]
    call.tensors["g"] = (
        gate.masked_fill(gate < -0.45, -1000.0) if strength == float("inf") else strength * gate
    )
    assert (call.tensors["g"].sum() < -2000) == (strength > 1.0)
    agrees(call)


def test_without_gates_it_is_osdn():
    call = in_float32(gated("some clip", "to anchor", length=40, chunk_size=16, beta_aware=False))
    call.tensors["g"] = torch.zeros_like(call.tensors["g"])
    plain = {"g" if name == "g_d" else name: x for name, x in call.tensors.items() if name != "g"}
    expected = results(Call(plain, call.options), chunk_osdn)
    for name, found in results(call, chunk_osgdn).items():
        assert relative_error(found, expected[name]) <= FLOAT32, name


def test_a_point_box_at_one_is_gated_delta_net():
    call = in_float32(gated("one point", length=70, chunk_size=32))
    q, k, v, beta, g = (call.tensors[name].double() for name in ("q", "k", "v", "beta", "g"))
    state, out = call.tensors["initial_state"].double(), []
    for t in range(q.shape[1]):
        state = state * g[:, t].exp()[..., None, None]
        residual = v[:, t] - torch.einsum("bhkv,bhk->bhv", state, k[:, t])
        state = state + torch.einsum("bhk,bhv,bh->bhkv", k[:, t], residual, beta[:, t])
        out.append(torch.einsum("bhkv,bhk->bhv", state, q[:, t]) * q.shape[-1] ** -0.5)
    found = results(call, chunk_osgdn)
    assert relative_error(found["o"], torch.stack(out, 1)) <= FLOAT32
    assert relative_error(found["state"], state) <= FLOAT32
