"""The gated chunkwise operator against its float64 reference: outputs, states, trajectory and every gradient."""

import math

import pytest
import torch
from osdn_kernels import chunk_osdn, chunk_osgdn, osgdn_reference, sequential_scan
from support.kernels.agreement import FLOAT32, assert_agrees, in_float32
from support.kernels.reference_cases import (
    GATES,
    RULES,
    Call,
    draw,
    draw_gated,
    relative_error,
    results,
)
from torch.utils.flop_counter import FlopCounterMode

SHAPES = {
    "several chunks, the last partial": {"length": 70, "batch": 1, "heads": 1, "chunk_size": 32},
    "one token": {"length": 1, "chunk_size": 16},
    "no tokens": {"length": 0, "chunk_size": 16},
    "packed": {"cu_seqlens": [0, 0, 17, 18, 50], "heads": 1, "chunk_size": 32},
    "packed, no tokens": {"cu_seqlens": [0, 0, 0], "chunk_size": 16},
    "grouped": {"length": 20, "chunk_size": 16, "heads": 1, "value_heads": 2, "batch": 1},
}
LARGER = {
    "whole chunks of 64": {"length": 128, "batch": 1, "chunk_size": 64},
    "wide values": {"length": 33, "key_dim": 16, "value_dim": 72, "batch": 1, "chunk_size": 32},
    "wide keys": {"length": 33, "key_dim": 72, "value_dim": 16, "batch": 1, "chunk_size": 32},
    "odd sizes": {"length": 45, "key_dim": 19, "value_dim": 33, "heads": 3, "batch": 1, "chunk_size": 16},
    "packed groups": {"cu_seqlens": [0, 0, 17, 18, 60, 60, 97], "value_heads": 6, "chunk_size": 32},
}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in LARGER]
FEW = {"length": 40, "chunk_size": 16, "batch": 1, "heads": 1}


def gated(*args, **more) -> Call:
    return draw_gated(*args, state_gate="head", **more)


def agrees(call: Call) -> None:
    assert_agrees(call, chunk_osgdn, osgdn_reference)


@pytest.mark.parametrize("shape", [*SHAPES, *SLOW])
def test_every_shape(shape):
    agrees(gated("some clip", "to anchor", **(SHAPES | LARGER)[shape]))


@pytest.mark.parametrize(
    ("rule", "gates"),
    [
        ("bounded", "none"), ("normalised", "to zero"), ("most clip", "to anchor"), ("one point", "none"),
        *(pytest.param(rule, gates, marks=pytest.mark.slow) for rule in RULES for gates in GATES),
    ],
)  # fmt: skip
def test_every_rule(rule, gates):
    agrees(gated(rule, gates, **FEW))


@pytest.mark.parametrize("strength", ["none", "strong", "empties"])
def test_gates_of_any_strength(strength):
    """No gate at all, gates that leave nothing of the memory, and single tokens that empty it."""
    call = gated("fast", length=35, chunk_size=32, batch=1, heads=1)
    gate = call.tensors["g"]
    call.tensors["g"] = {
        "none": 0.0 * gate, "strong": 100.0 * gate, "empties": gate.masked_fill(gate < -0.4, -1000.0),
    }[strength]  # fmt: skip
    assert call.tensors["g"].sum() < -500 or strength == "none"
    agrees(call)


@pytest.mark.slow
def test_weak_gates_add_up_over_many_chunks():
    """Nothing is written, and the memory fades by a product that float32 misses by half an ulp in every chunk."""
    chunks, total = 100, math.log1p(-1.5 * 2.0**-24 - 2.0**-14)
    rounded = float(torch.tensor(total, dtype=torch.float64).exp().float())
    assert abs(chunks * (math.log(rounded) - total)) > FLOAT32
    x = torch.ones(1, 16 * chunks, 1, 4)
    beta, start = torch.zeros(1, 16 * chunks, 1), torch.ones(1, 1, 4, 4)
    _, state = chunk_osgdn(
        x, x, x, torch.full_like(beta, total / 16), beta, initial_state=start, chunk_size=16, output_final_state=True,
        d_min=1.0, d_max=1.0,
    )  # fmt: skip
    expected = math.exp(chunks * 16 * float(torch.tensor(total / 16)))
    assert abs(state.state.double() / expected - 1).max() < 0.3 * FLOAT32


@pytest.mark.parametrize("more", [{"use_qk_l2norm_in_kernel": True}, {"beta_aware": False}, {"scale": 0.5}])
def test_every_option(more):
    agrees(gated("fast", **FEW, **more))


@pytest.mark.parametrize(
    ("rule", "gates", "more"),
    [
        ("some clip", "none", {"value_heads": 2}),
        ("most clip", "to anchor", {"eta": 0.05}),
        ("historic", "to zero", {}),
        pytest.param("bounded", "none", {"length": 70, "eta": 0.05}, marks=pytest.mark.slow),
        pytest.param(
            "most clip", "none", {"length": 90, "eta": 0.05, "normalize_feedback": True}, marks=pytest.mark.slow
        ),
    ],
)  # fmt: skip
def test_beta_aware_feedback_without_a_gate(rule, gates, more):
    assert_agrees(draw(rule, gates, beta_aware=True, **(FEW | more)))


def test_beta_aware_feedback_token_by_token():
    def stepped(*args, **kwargs):
        with sequential_scan():
            return chunk_osdn(*args, **kwargs)

    assert_agrees(draw("some clip", "to anchor", beta_aware=True, **FEW), stepped)


def test_without_gates_it_is_osdn():
    call = in_float32(gated("some clip", "to anchor", beta_aware=False, **FEW))
    call.tensors["g"] = torch.zeros_like(call.tensors["g"])
    plain = {"g" if name == "g_d" else name: x for name, x in call.tensors.items() if name != "g"}
    expected = results(Call(plain, call.options), chunk_osdn)
    for name, found in results(call, chunk_osgdn).items():
        assert relative_error(found, expected[name]) <= FLOAT32, name


def test_flops_are_those_of_osdn_and_of_the_gradient_of_the_gate():
    """By hand: token by token products of q and k~, of k and k~, and one sum over spans."""
    sizes = {"batch": 1, "heads": 2, "length": 32, "key_dim": 5, "value_dim": 7, "chunk_size": 16}
    counted = {}
    for operator, call in ((chunk_osdn, draw("fast", **sizes)), (chunk_osgdn, gated("fast", **sizes))):
        with FlopCounterMode(display=False) as counter:
            in_float32(call).leaves()(operator)[0].sum().backward()
        counted[operator] = counter.get_total_flops()
    assert counted[chunk_osgdn] - counted[chunk_osdn] == 2 * 32 * (4 * 16 * 5 + 2 * 16**2)
