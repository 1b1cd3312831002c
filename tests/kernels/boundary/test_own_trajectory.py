"""The d that an operator returns is its own: of the run that made its output, and of no other kernel."""

import pytest
import torch
from osdn_kernels import chunk_osdn, fused_recurrent_osdn, ops
from osdn_kernels.boundary.rule import Rule
from osdn_kernels.chunk import wy
from osdn_kernels.chunk.registration import chunk_forward
from osdn_kernels.chunk.stages import ChunkOptions
from osdn_kernels.chunk.write_keys import LEARNED
from osdn_kernels.launch.recurrence import Inputs
from osdn_kernels.recurrent import forward as recurrent
from osdn_kernels.reference import tokenwise as reference
from osdn_kernels.reference.tokenwise import Memory, remember_tokens
from osdn_kernels.scan import chain
from support.kernels.faults import break_kernel
from support.kernels.reference_cases import Call, draw, gradients, relative_error, results
from torch._subclasses.fake_tensor import FakeTensorMode

OPERATORS = [chunk_osdn, fused_recurrent_osdn]
PACKED = [0, 0, 9, 10, 10, 27]

FAULTS = {
    "the recurrent calibrate step": (
        fused_recurrent_osdn, recurrent, "unclipped", "step = gain * s + rest", "step = 2.0 * gain * s + rest",
    ),
    "the iterates of the chunks": (
        chunk_osdn, wy, "block_keys", "* offset + dot(to_later", "* offset + 2.0 * dot(to_later",
    ),
    "what the scan hands on": (
        chunk_osdn, chain, "advance", "handed_on = c + kept + moved", "handed_on = c + kept + 2.0 * moved",
    ),
    "the tokens that the scan steps": (
        chunk_osdn, chain, "step_tokens", "+ u[:, None] * s", "+ 2.0 * u[:, None] * s",
    ),
}  # fmt: skip


def call_of(rule: str = "some clip", gates: str = "to anchor", **options) -> Call:
    given = {"length": 40, "chunk_size": 16, "batch": 1, "heads": 1, "dtype": torch.float32} | options
    return draw(rule, gates, **given)


def trajectory(call: Call, operator, **options):
    return call(operator, output_final_state=True, return_trajectory=True, **options)[2]


def flat(found) -> list[torch.Tensor]:
    """All tensors of a trajectory."""
    return [*found[:3], *(found.scan or ())]


def both(call: Call) -> dict:
    return {operator: trajectory(call, operator) for operator in OPERATORS}


def replayed(call: Call, path: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs and the final state in float64 for write keys d_t * k_t with the d_t given."""
    t = {name: x.double() for name, x in call.tensors.items()}
    memory = Memory(t["q"], t["k"], t["v"], t["beta"], t["initial_state"])
    return remember_tokens(memory, path.double(), t["k"].shape[-1] ** -0.5, 16)[:2]


def stepped(call: Call, path: torch.Tensor) -> torch.Tensor:
    """The d handed on, by one exact step from the last d_t."""
    t, o = {name: x.double() for name, x in call.tensors.items()}, call.options
    rule = Rule(o["eta"], o["d_min"], o["d_max"], o.get("normalize_feedback", False))
    gamma = t["g"][:, -1].exp() if "g" in t else None
    return reference.calibrate(path[:, -1].double(), t["k"][:, -1], gamma, t.get("anchor"), rule)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_calibration_moves_its_own_d_alone(fault, monkeypatch, tmp_path):
    broken, module, *change = FAULTS[fault]
    call = call_of("most clip" if "steps" in fault else "fast")
    before = both(call)
    break_kernel(monkeypatch, tmp_path, module, *change)
    after = both(call)
    for operator in OPERATORS:
        same = torch.equal(before[operator].preconditioner, after[operator].preconditioner)
        assert same == (operator is not broken)
    moved = (after[broken].preconditioner - before[broken].preconditioner).abs()
    assert moved.max() > 1e-3
    assert not torch.equal(before[broken].residual_ratio, after[broken].residual_ratio)


@pytest.mark.parametrize("rule", ["bounded", "some clip", "most clip", "normalised"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_output_is_that_of_the_d_returned(operator, rule):
    call = call_of(rule)
    found = results(call, operator)
    o, state = replayed(call, found["path"])
    assert relative_error(found["o"], o) < 1e-6
    assert relative_error(found["state"], state) < 1e-6
    assert torch.equal(found["path"][:, 0], call.tensors["initial_preconditioner"])
    # A few roundings of numbers near 1.
    assert (found["preconditioner"] - stepped(call, found["path"])).abs().max() < 3e-7


@pytest.mark.parametrize("rule", ["bounded", "some clip", "most clip"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_write_keys_are_the_products_with_the_d_returned(rule, dtype):
    """Bit for bit, in chunks that clip and in chunks that do not; whole chunks and packed sequences."""
    for bounds in (None, PACKED):
        t = call_of(rule, dtype=dtype, cu_seqlens=bounds).tensors
        start, anchor, state = (
            t[name].float() for name in ("initial_preconditioner", "anchor", "initial_state")
        )
        given = call_of(rule, cu_seqlens=bounds).options
        for sequential in (False, True):
            constants = Rule(given["eta"], given["d_min"], given["d_max"], False)
            inputs = Inputs(
                t["q"], t["k"], t["v"], t["beta"], t["g"], anchor, state, start,
                cu_seqlens=given.get("cu_seqlens"),
            )  # fmt: skip
            found = chunk_forward(inputs, ChunkOptions(0.4, constants, 16, LEARNED, sequential, keep=True))
            assert torch.equal(found.write_key, (found.path * t["k"].float()).to(dtype))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("learns", [False, True])
def test_asking_for_d_is_one_launch_and_changes_nothing(operator, learns, monkeypatch):
    calls = []
    name = "chunk_forward" if operator is chunk_osdn else "recurrent"
    run = getattr(ops, name)
    monkeypatch.setattr(ops, name, lambda *args: calls.append(args) or run(*args))
    monkeypatch.setattr(ops, "preconditioner", None)
    call = call_of()
    call = call.leaves() if learns else call
    plain = call(operator, output_final_state=True)
    asked = call(operator, output_final_state=True, return_trajectory=True)
    assert len(calls) == 2
    assert torch.equal(plain[0], asked[0])
    assert all(map(torch.equal, plain[1], asked[1]))
    assert asked[0].requires_grad == learns
    assert not any(x.requires_grad for x in flat(asked[2]))


@pytest.mark.parametrize("operator", OPERATORS)
def test_gradients_are_those_of_a_call_without(operator):
    call = call_of()
    asked = gradients(call, operator, ("o", "state", "preconditioner"))
    leaves = call.leaves()
    o, final = leaves(operator, output_final_state=True)
    rng = torch.Generator().manual_seed(1)
    loss = sum((x * torch.randn(x.shape, generator=rng, dtype=torch.float64)).sum() for x in (o, *final))
    plain = torch.autograd.grad(loss, list(leaves.tensors.values()))
    for (name, found), expected in zip(asked.items(), plain, strict=True):
        assert torch.equal(found, expected), name


@pytest.mark.parametrize("bounds", [None, [0, 0]])
@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("operator", OPERATORS)
def test_no_tokens(operator, learns, bounds):
    call = call_of(length=0, cu_seqlens=bounds)
    call = call.leaves() if learns else call
    found = trajectory(call, operator)
    assert found.preconditioner.shape == call.tensors["k"].shape
    assert found.alignment.shape == found.residual_ratio.shape == call.tensors["beta"].shape
    assert all(x.dtype == torch.float32 for x in found[:3])


@pytest.mark.parametrize("rule", ["frozen", "one point", "some clip"])
@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("operator", OPERATORS)
def test_packed_sequences_and_a_d_that_stays(operator, start, rule):
    """Also with the scan left out, and with d given per sequence."""
    for gates in ("none", "to zero"):
        call = call_of(rule, gates, cu_seqlens=PACKED, start=start)
        found, expected = results(call, operator), results(widened_call(call), reference.osdn_reference)
        for name in ("path", "alignment", "residual_ratio", "preconditioner"):
            assert (found[name].double() - expected[name]).abs().max() < 2e-6, name


def widened_call(call: Call) -> Call:
    return Call({name: x.double() for name, x in call.tensors.items()}, call.options)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_compiled_operator_returns_the_same_d(operator):
    torch.compiler.reset()
    call = call_of(length=20)
    compiled = torch.compile(operator, fullgraph=True, backend="aot_eager")
    for given in (call, call.leaves()):
        pair = (flat(trajectory(given, function)) for function in (compiled, operator))
        for found, expected in zip(*pair, strict=True):
            assert torch.equal(found, expected)
            assert not found.requires_grad


@pytest.mark.parametrize("length", [0, 20])
@pytest.mark.parametrize("operator", OPERATORS)
def test_fake_tensors_have_the_shapes_of_real_ones(operator, length):
    call = call_of(length=length)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fakes = Call({name: mode.from_tensor(x) for name, x in call.tensors.items()}, call.options)
        shapes = [(x.shape, x.dtype) for x in flat(trajectory(fakes, operator, check_values=False))]
    assert shapes == [(x.shape, x.dtype) for x in flat(trajectory(call, operator))]


def test_the_two_operators_have_different_d():
    """Each with its own roundings: were they equal, one would be the other's."""
    found = both(call_of(length=40))
    apart = (found[chunk_osdn].preconditioner - found[fused_recurrent_osdn].preconditioner).abs()
    assert 0 < apart.max() < 1e-6
