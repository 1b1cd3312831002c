"""Tiles by descriptors, which a GPU alone takes by itself: the same bits as by pointers, whatever the shape."""

import pytest
import torch
import triton
from osdn_kernels import chunk_osdn, chunk_osgdn
from osdn_kernels.chunk import state, state_backward
from osdn_kernels.launch import descriptors, plans
from osdn_kernels.launch.tuning import configurations
from support.kernels.compiler_process import outside_of_the_interpreter
from support.kernels.faults import break_kernel
from support.kernels.reference_cases import Call, draw, draw_gated, gradients, results

SHAPES = {
    "several chunks, the last partial": {"length": 40, "chunk_size": 32},
    "packed": {"cu_seqlens": [0, 0, 17, 18, 40], "chunk_size": 16},
    "narrow": {"length": 40, "key_dim": 24, "value_dim": 40, "chunk_size": 16},
    "one token": {"length": 1, "chunk_size": 16},
}


def halves(call):
    """With inputs in float16, whose products the interpreter takes as they are."""
    tensors = {
        name: x.half() if name in ("q", "k", "v", "beta") else x.float() for name, x in call.tensors.items()
    }
    return Call(tensors, call.options)


def case(form, shape):
    sizes = {"batch": 1, "heads": 2, "key_dim": 16, "value_dim": 16, **SHAPES[shape]}
    if form == "gated":
        return halves(draw_gated("fast", state_gate="head", beta_aware=False, **sizes)), chunk_osgdn
    call = draw("one point" if form == "as it is" else "some clip", **sizes)
    return halves(call), chunk_osdn


@pytest.fixture
def by_descriptors(monkeypatch):
    for module in (state, state_backward):
        monkeypatch.setattr(module, "copies_tiles", lambda *tensors: True)


def everything(call, operator):
    return results(call, operator) | gradients(call, operator, ("o", "state"))


@pytest.mark.parametrize("flip", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "form", ["gated", *(pytest.param(x, marks=pytest.mark.slow) for x in ("as it is", "learned"))]
)
def test_the_same_bits_as_by_pointers(form, shape, flip, monkeypatch, request):
    call, operator = case(form, shape)
    config = configurations([{"BV": 32, "FLIP": flip}])
    for module in (state.memory_kernel, state_backward.memory_backward_kernel):
        monkeypatch.setattr(module, "configs", config)
    wanted = everything(call, operator)
    request.getfixturevalue("by_descriptors")
    found = everything(call, operator)
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert torch.equal(found[name], wanted[name]), name


def test_rows_of_the_next_sequence_are_noticed(by_descriptors, monkeypatch, tmp_path):
    call, operator = case("gated", "several chunks, the last partial")
    wanted = everything(call, operator)
    break_kernel(
        monkeypatch, tmp_path, descriptors, "rows_of", "[tokens.to(tl.int32), WIDTH]",
        "[(tokens + 7).to(tl.int32), WIDTH]",
    )  # fmt: skip
    for module in (state, state_backward):
        monkeypatch.setattr(module, "rows_of", descriptors.rows_of)
    found = everything(call, operator)
    assert not all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_which_tensors_have_descriptors():
    """Rows of whole 16 bytes from a multiple of 16 on, of 16-bit numbers; on a GPU alone."""
    x = torch.zeros(3, 4, 24, dtype=torch.float16)
    assert descriptors.fits_descriptor(x)
    assert not descriptors.fits_descriptor(x.float())
    assert not descriptors.fits_descriptor(x[..., :20])
    assert not descriptors.fits_descriptor(x.flatten()[4:].unflatten(0, (-1, 4))[:, :8])
    assert not descriptors.copies_tiles(x)


def test_memory_is_given_where_descriptors_are_made(monkeypatch):
    """And for tensors that are there alone."""
    given = []
    monkeypatch.setattr(descriptors, "knows_descriptors", lambda device: True)
    monkeypatch.setattr(descriptors, "give_memory", lambda: given.append(1))
    x = torch.zeros(4, 24, dtype=torch.float16)
    assert not descriptors.copies_tiles(x, x.float())
    assert not given
    assert descriptors.copies_tiles(x, None, x)
    assert given


@pytest.mark.parametrize(("capability", "taken"), [((8, 0), False), ((9, 0), True), ((10, 0), True)])
def test_gpus_before_hopper_take_pointers(capability, taken, monkeypatch):
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert descriptors.knows_descriptors(gpu) is taken
    assert descriptors.is_hopper(gpu) is (capability == (9, 0))
    assert not descriptors.knows_descriptors(torch.device("cpu"))
    assert not descriptors.is_hopper(torch.device("cpu"))
    monkeypatch.delattr(descriptors.tl, "make_tensor_descriptor")
    assert not descriptors.knows_descriptors(gpu)


NOTED = """
import torch
from osdn_kernels.launch.descriptors import knows_descriptors
from osdn_kernels.machine_code.compiling import recording
from osdn_kernels.selftest.cases import SelfTestCase, draw, evaluate
for capability in (80, 90):
    with recording(capability) as launches:
        evaluate(draw(SelfTestCase("any", "chunk", torch.bfloat16, 32, 32, quick=False)), torch.device("cpu"))
    print({dict(x.constants)["BULK"] for x in launches if x.kernel == "memory_kernel"})
print(knows_descriptors(torch.device("cpu")))
"""


def test_machine_code_is_that_of_the_gpu_it_is_for():
    """Launches noted for a GPU that is not here are those that it would see."""
    assert outside_of_the_interpreter(NOTED).split() == ["{False}", "{True}", "False"]


def test_a_plan_lets_triton_take_memory_where_its_call_did(monkeypatch):
    """Triton asks the thread that a launch is made in."""
    given = []
    monkeypatch.setattr(triton, "set_allocator", given.append)
    x = torch.zeros(3)
    with plans.Recorder([x]) as recorder:
        descriptors.give_memory()
        found = x + 1
    assert len(given) == 1
    recorder.plan([found]).run([x])
    assert len(given) == 2
