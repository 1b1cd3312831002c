"""What the chunkwise operators with a gate for each head and for each key feature share."""

from functools import partial

import pytest
import torch
from osdn_kernels import chunk_osgdn, chunk_oskda, osgdn_reference, oskda_reference
from osdn_kernels.selftest.runs import poisoned
from support.kernels.agreement import FLOAT32, assert_agrees, in_float32
from support.kernels.reference_cases import Call, draw_gated, gradients, relative_error, results

OPERATORS = {"head": (chunk_osgdn, osgdn_reference), "feature": (chunk_oskda, oskda_reference)}
FEW = {"length": 35, "chunk_size": 32, "batch": 1, "heads": 1}

each = pytest.mark.parametrize("kind", OPERATORS)
in_everyday_by_head = pytest.mark.parametrize(
    "kind", ["head", pytest.param("feature", marks=pytest.mark.slow)]
)


def gated(kind, *args, **more) -> Call:
    return draw_gated(*args, state_gate=kind, **(FEW | more))


@in_everyday_by_head
@pytest.mark.parametrize("aware", [True, False])
def test_the_gate_of_the_memory_is_not_that_of_d(kind, aware):
    operator, reference = OPERATORS[kind]
    call = gated(kind, "fast", beta_aware=aware)
    with pytest.raises(AssertionError):
        assert_agrees(call, partial(operator, g_d="state"), reference)
    call.options["g_d"] = "state"
    assert_agrees(call, operator, reference)


@each
def test_a_point_box_at_one_is_gated_or_kimi_delta_attention(kind):
    operator, _ = OPERATORS[kind]
    call = in_float32(gated(kind, "one point", heads=2))
    q, k, v, beta, g = (call.tensors[name].double() for name in ("q", "k", "v", "beta", "g"))
    decay = (g if kind == "feature" else g[..., None]).exp()
    state, out = call.tensors["initial_state"].double(), []
    for t in range(q.shape[1]):
        state = decay[:, t, ..., None] * state
        residual = v[:, t] - torch.einsum("bhkv,bhk->bhv", state, k[:, t])
        state = state + torch.einsum("bhk,bhv,bh->bhkv", k[:, t], residual, beta[:, t])
        out.append(torch.einsum("bhkv,bhk->bhv", state, q[:, t]) * q.shape[-1] ** -0.5)
    found = results(call, operator)
    assert relative_error(found["o"], torch.stack(out, 1)) <= FLOAT32
    assert relative_error(found["state"], state) <= FLOAT32


@in_everyday_by_head
def test_rows_of_no_sequence_have_no_gradient(kind):
    """Of memory that holds NaN where nothing was written: more tensors per token than are cleared at once."""
    operator, reference = OPERATORS[kind]
    call = gated(kind, "some clip", "to zero", cu_seqlens=[0, 7, 24], check_values=False)
    call = Call(call.tensors, call.options | {"cu_seqlens": torch.tensor([3, 7, 20])})
    with poisoned():
        found, expected = (
            gradients(given, of, ("o", "state", "preconditioner"))
            for of, given in ((operator, in_float32(call)), (reference, call))
        )
    for name in ("q", "k", "v", "beta", "g", "g_d"):
        assert (found[name][:, :3] == 0).all(), name
        assert (found[name][:, 20:] == 0).all(), name
        assert relative_error(found[name], expected[name]) <= FLOAT32, name


@each
def test_shapes_without_values(kind):
    call = in_float32(gated(kind, "some clip", "to anchor"))
    bare = Call({name: x.to("meta") for name, x in call.tensors.items()}, call.options)
    o, state, _ = bare(OPERATORS[kind][0], output_final_state=True, return_trajectory=True)
    assert o.shape == call.tensors["v"].shape
    assert state.state.shape == call.tensors["initial_state"].shape


@pytest.mark.slow
@each
def test_it_compiles_to_one_graph(kind):
    torch.compiler.reset()
    operator, _ = OPERATORS[kind]
    call = in_float32(gated(kind, "some clip", "to zero"))
    compiled = torch.compile(operator, fullgraph=True, backend="aot_eager")
    for of in (results, partial(gradients, outputs=("o", "state"))):
        found, expected = of(call, compiled), of(call, operator)
        for name in expected:
            assert relative_error(found[name], expected[name]) <= 1e-6, name


@each
def test_a_sequence_goes_on_bit_for_bit_from_between_chunks(kind):
    operator, reference = OPERATORS[kind]
    call = in_float32(gated(kind, "some clip", "none", length=48, chunk_size=16))
    with torch.no_grad():
        o, end, between = call(operator, output_final_state=True, return_intermediate_states=True)
        expected = call(reference, output_final_state=True, return_intermediate_states=True)[-1]
        assert relative_error(between.state, expected.state) <= FLOAT32
        tokens = {name: call.tensors[name][:, 32:] for name in ("q", "k", "v", "beta", "g")}
        start = type(between)(*(x[2:3] for x in between))
        after, reached = operator(**tokens, **call.options, initial_state=start, output_final_state=True)
    assert torch.equal(after, o[:, 32:])
    assert all(torch.equal(x, y) for x, y in zip(reached, end, strict=True))
