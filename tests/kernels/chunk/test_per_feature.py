"""The chunkwise operator with a gate for each key feature against its float64 reference: results and every gradient."""

import math

import pytest
import torch
from osdn_kernels import chunk_osdn, chunk_osgdn, chunk_oskda, oskda_reference, sequential_scan
from osdn_kernels.chunk import gradients as of_chunks
from osdn_kernels.chunk.decays import new_sums, sum_gates
from osdn_kernels.launch.sequences import cut
from support.kernels.agreement import FLOAT32, assert_agrees, in_float32
from support.kernels.faults import break_kernel
from support.kernels.reference_cases import (
    GATES,
    RULES,
    Call,
    draw,
    draw_gated,
    gradients,
    relative_error,
    results,
)
from torch.utils.flop_counter import FlopCounterMode

SHAPES = {
    "packed, chunks of three blocks": {"cu_seqlens": [0, 0, 1, 36], "chunk_size": 64},
    "one token": {"length": 1, "chunk_size": 16},
    "no tokens": {"length": 0, "chunk_size": 16},
    "packed, no tokens": {"cu_seqlens": [0, 0, 0], "chunk_size": 16},
}
LARGER = {
    "packed chunks": {"cu_seqlens": [0, 0, 17, 18, 66], "chunk_size": 64},
    "grouped": {"length": 35, "chunk_size": 32, "value_heads": 2},
    "chunks of one block": {"length": 37, "chunk_size": 16, "batch": 2, "heads": 2},
    "whole chunks of 64": {"length": 128, "chunk_size": 64},
    "wide values": {"length": 33, "key_dim": 16, "value_dim": 72, "chunk_size": 32},
    "wide keys": {"length": 67, "key_dim": 72, "value_dim": 16, "chunk_size": 64},
    "odd sizes": {"length": 45, "key_dim": 19, "value_dim": 33, "heads": 3, "chunk_size": 16},
    "packed groups": {
        "cu_seqlens": [0, 0, 17, 18, 60, 60, 97],
        "heads": 2,
        "value_heads": 6,
        "chunk_size": 64,
    },
}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in LARGER]
FEW = {"length": 35, "chunk_size": 32}


def gated(*args, **more) -> Call:
    return draw_gated(*args, state_gate="feature", **({"batch": 1, "heads": 1} | more))


OWN_WRITE = "dot(before.to(tl.float32), ends, PRECISION)"


@pytest.mark.parametrize("summed", ["", "(tl.cumsum(ends, 0) - ends)"])
def test_gradients_of_strong_gates_do_not_cancel(summed, monkeypatch, tmp_path):
    """At -10 a token, where the state handed on is all that a chunk's last write meets; as a difference they do."""
    call = gated("fast", length=20, key_dim=8, value_dim=8, chunk_size=16)
    call = Call(call.tensors | {"g": torch.full_like(call.tensors["g"], -10.0)}, call.options)
    exact = gradients(call, oskda_reference, ("o", "state"))["g"]
    if summed:
        break_kernel(monkeypatch, tmp_path, of_chunks, "gradients_kernel", OWN_WRITE, summed)
    found = gradients(in_float32(call), chunk_oskda, ("o", "state"))["g"]
    assert (relative_error(found, exact) < 2e-6) == (not summed)


def agrees(call: Call) -> None:
    assert_agrees(call, chunk_oskda, oskda_reference)


@pytest.mark.parametrize("shape", [*SHAPES, *SLOW])
def test_every_shape(shape):
    agrees(gated("some clip", "to anchor", **(SHAPES | LARGER)[shape]))


@pytest.mark.parametrize(
    ("rule", "gates"),
    [
        ("one point", "none"),
        *(pytest.param(rule, gates, marks=pytest.mark.slow) for rule in RULES for gates in GATES),
    ],
)  # fmt: skip
def test_every_rule(rule, gates):
    agrees(gated(rule, gates, **FEW))


STRENGTHS = {
    "none": lambda g: 0.0 * g,
    "strong": lambda g: 1000.0 * g,
    "some empty their feature": lambda g: g.masked_fill(g < -0.4, -math.inf),
    "some empty it, others hardly fade": lambda g: (1e-4 * g).masked_fill(g < -0.25, -math.inf),
}


@pytest.mark.parametrize(
    "strength",
    ["strong", *(pytest.param(name, marks=pytest.mark.slow) for name in STRENGTHS if name != "strong")],
)
def test_gates_of_any_strength(strength):
    """Decays over a chunk from 1 down to e^-30000 and to nothing: no strength is too much."""
    call = gated("fast", length=50, chunk_size=64)
    call.tensors["g"] = STRENGTHS[strength](call.tensors["g"])
    assert call.tensors["g"].sum() < -40000 or strength == "none"
    agrees(call)


def sums_of(gate, dtype, chunk_size=64):
    sums = new_sums(gate, dtype)
    sum_gates(gate, gate[..., 0], sums, cut(1, gate.shape[1], chunk_size, None))
    return sums


def largest_error(gate, dtype, chunk_size=64):
    """Of decays between the tokens of a chunk, relative to the exact one, where that is not under 1e-30."""
    sums, rests, _ = sums_of(gate, dtype, chunk_size)
    exact = gate[0, :, 0].double().cumsum(0)
    exact = (exact[:, None] - exact[None, :]).exp()
    found = sums[0, :, 0].double() + (0.0 if rests is None else rests[0, :, 0].double())
    # The kernels' order: what stands in float32 is subtracted in it.
    found = (found[:, None] - found[None, :]).float().clamp(max=0.0).exp()
    seen = (exact <= 1) & (exact > 1e-30)
    return ((found - exact).abs() / exact)[seen].max().item()


def test_the_largest_decay_that_is_right():
    """Every one, to float32 beside its inputs, and to 5e-4 beside 16 bits, whatever the gates before were."""
    rng = torch.Generator().manual_seed(0)
    gate = -0.5 * torch.rand(1, 64, 1, 8, generator=rng)
    gate[:, ::2] = -1000.0
    assert largest_error(gate, torch.float32) < 3e-6
    assert largest_error(gate, torch.bfloat16) < 5e-4
    sums = sums_of(gate, torch.bfloat16).sums
    assert sums.min() > -104.0 * 32 - 64
    # What is beyond: sums of the gates as they are, in float32 alone.
    alone = gate[0, :, 0].cumsum(0)
    wrong = (alone[-1] - alone[-2]) / gate[0, -1, 0] - 1
    assert wrong.abs().max() > 5e-4


def test_a_head_whose_features_fade_alike_is_that_of_os_gdn():
    call = in_float32(gated("some clip", "to anchor", **FEW))
    per_head = call.tensors["g"][..., 0]
    alike = Call(call.tensors | {"g": per_head[..., None].expand(-1, -1, -1, 6)}, call.options)
    expected = results(Call(call.tensors | {"g": per_head}, call.options), chunk_osgdn)
    for name, found in results(alike, chunk_oskda).items():
        assert relative_error(found, expected[name]) <= FLOAT32, name
    assert relative_error(results(call, chunk_oskda)["o"], expected["o"]) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {"use_qk_l2norm_in_kernel": True}, {"beta_aware": False}, {"scale": 0.5}, {"start": False},
        {"eta": 0.05}, {"eta": 0.05, "length": 90},
    ],
)  # fmt: skip
def test_every_option(more):
    """With neither start nor memory; by sweeps, which write all write keys themselves."""
    agrees(gated("fast" if "eta" not in more else "most clip", **(FEW | more)))


@pytest.mark.slow
def test_token_by_token():
    def stepped(*args, **kwargs):
        with sequential_scan():
            return chunk_oskda(*args, **kwargs)

    assert_agrees(gated("some clip", "to anchor", **FEW), stepped, oskda_reference)


def test_gates_formed_in_the_call():
    call = in_float32(gated("fast", **FEW))
    raw = {"A_log": torch.tensor([0.3]), "dt_bias": torch.linspace(-1.0, 1.0, 6)}
    options = raw | {"use_gate_in_kernel": True, "use_beta_sigmoid_in_kernel": True, "allow_neg_eigval": True}
    with torch.no_grad():
        found, _ = call(chunk_oskda, **options)
        expected, _ = call(oskda_reference, **options)
        assert relative_error(found, expected) <= FLOAT32
        assert relative_error(found, call(chunk_oskda)[0]) > 0.1


def test_flops_are_those_of_osdn_but_for_overlaps_that_are_kept():
    """By hand: backward the read's products by token pairs are not formed again."""
    sizes = {"batch": 1, "heads": 1, "length": 32, "key_dim": 5, "value_dim": 7, "chunk_size": 16}
    counted = {}
    for operator, call in ((chunk_osdn, draw("fast", **sizes)), (chunk_oskda, gated("fast", **sizes))):
        with FlopCounterMode(display=False) as counter:
            in_float32(call).leaves()(operator)[0].sum().backward()
        counted[operator] = counter.get_total_flops()
    assert counted[chunk_osdn] - counted[chunk_oskda] == 32 * 2 * 16 * 5
