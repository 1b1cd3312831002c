"""The chunkwise operator with a gate for each key feature against its float64 reference: results and every gradient."""

import math
from functools import partial

import pytest
import torch
from osdn_kernels import chunk_osdn, chunk_osgdn, chunk_oskda, oskda_reference, sequential_scan
from osdn_kernels.chunk.decays import sum_gates
from osdn_kernels.launch.sequences import cut
from osdn_kernels.selftest.runs import poisoned
from support.kernels.agreement import FLOAT32, assert_agrees, in_float32
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


def largest_error(gate, dtype, chunk_size=64):
    """Of decays between the tokens of a chunk, relative to the exact one, where that is not under 1e-30."""
    chunks = cut(1, gate.shape[1], chunk_size, None)
    sums, rests = sum_gates(gate, chunks, dtype)
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
    sums = sum_gates(gate, cut(1, 64, 64, None), torch.bfloat16).sums
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


def test_a_point_box_at_one_is_kimi_delta_attention():
    call = in_float32(gated("one point", heads=2, **FEW))
    q, k, v, beta, g = (call.tensors[name].double() for name in ("q", "k", "v", "beta", "g"))
    state, out = call.tensors["initial_state"].double(), []
    for t in range(q.shape[1]):
        state = g[:, t].exp()[..., None] * state
        residual = v[:, t] - torch.einsum("bhkv,bhk->bhv", state, k[:, t])
        state = state + torch.einsum("bhk,bhv,bh->bhkv", k[:, t], residual, beta[:, t])
        out.append(torch.einsum("bhkv,bhk->bhv", state, q[:, t]) * q.shape[-1] ** -0.5)
    found = results(call, chunk_oskda)
    assert relative_error(found["o"], torch.stack(out, 1)) <= FLOAT32
    assert relative_error(found["state"], state) <= FLOAT32


@pytest.mark.slow
@pytest.mark.parametrize("aware", [True, False])
def test_the_gate_of_the_memory_is_not_that_of_d(aware):
    call = gated("fast", beta_aware=aware, **FEW)
    with pytest.raises(AssertionError):
        assert_agrees(call, partial(chunk_oskda, g_d="state"), oskda_reference)
    call.options["g_d"] = "state"
    agrees(call)


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


@pytest.mark.slow
def test_rows_of_no_sequence_have_no_gradient():
    call = gated("some clip", "to zero", cu_seqlens=[0, 7, 24], check_values=False)
    call = Call(call.tensors, call.options | {"cu_seqlens": torch.tensor([3, 7, 20])})
    found = {}
    with poisoned():
        for operator, kind in ((chunk_oskda, in_float32(call)), (oskda_reference, call)):
            found[operator] = gradients(kind, operator, ("o", "state", "preconditioner"))
    for name in ("q", "k", "v", "beta", "g", "g_d"):
        ours = found[chunk_oskda][name]
        assert (ours[:, :3] == 0).all(), name
        assert (ours[:, 20:] == 0).all(), name
        assert relative_error(ours, found[oskda_reference][name]) <= FLOAT32, name


def test_shapes_without_values():
    call = in_float32(gated("some clip", "to anchor", **FEW))
    bare = Call({name: x.to("meta") for name, x in call.tensors.items()}, call.options)
    o, state, _ = bare(chunk_oskda, output_final_state=True, return_trajectory=True)
    assert o.shape == call.tensors["v"].shape
    assert state.state.shape == call.tensors["initial_state"].shape


def test_flops_are_those_of_osdn_but_for_overlaps_that_are_kept():
    """By hand: backward the read's products by token pairs are not formed again."""
    sizes = {"batch": 1, "heads": 1, "length": 32, "key_dim": 5, "value_dim": 7, "chunk_size": 16}
    counted = {}
    for operator, call in ((chunk_osdn, draw("fast", **sizes)), (chunk_oskda, gated("fast", **sizes))):
        with FlopCounterMode(display=False) as counter:
            in_float32(call).leaves()(operator)[0].sum().backward()
        counted[operator] = counter.get_total_flops()
    assert counted[chunk_osdn] - counted[chunk_oskda] == 32 * 2 * 16 * 5


@pytest.mark.slow
def test_it_compiles_to_one_graph():
    torch.compiler.reset()
    call = in_float32(gated("some clip", "to zero", **FEW))
    compiled = torch.compile(chunk_oskda, fullgraph=True, backend="aot_eager")
    for of in (results, partial(gradients, outputs=("o", "state"))):
        found, expected = of(call, compiled), of(call, chunk_oskda)
        for name in expected:
            assert relative_error(found[name], expected[name]) <= 1e-6, name


def test_a_sequence_goes_on_bit_for_bit_from_between_chunks():
    call = in_float32(gated("some clip", "none", length=48, chunk_size=16))
    with torch.no_grad():
        o, end, between = call(chunk_oskda, output_final_state=True, return_intermediate_states=True)
        expected = call(oskda_reference, output_final_state=True, return_intermediate_states=True)[-1]
        assert relative_error(between.state, expected.state) <= FLOAT32
        tokens = {name: call.tensors[name][:, 32:] for name in ("q", "k", "v", "beta", "g")}
        start = type(between)(*(x[2:3] for x in between))
        after, reached = chunk_oskda(**tokens, **call.options, initial_state=start, output_final_state=True)
    assert torch.equal(after, o[:, 32:])
    assert all(torch.equal(x, y) for x, y in zip(reached, end, strict=True))
