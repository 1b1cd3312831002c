"""Gradients by walks along sequences: those of the kernels that take a chunk each, and right in float32."""

import pytest
import torch
from osdn_kernels import chunk_osdn
from osdn_kernels.chunk import stretches, walk
from osdn_kernels.chunk.walk import walks
from osdn_kernels.chunk.write_keys import FIXED, IDENTITY, LEARNED
from osdn_kernels.launch.tuning import TUNED
from support.kernels.agreement import assert_agrees
from support.kernels.faults import WALK_FAULTS, break_kernel
from support.kernels.reference_cases import Call, differentiated, draw, relative_error

SIZES = {"length": 40, "batch": 2, "heads": 1, "key_dim": 6, "value_dim": 5, "chunk_size": 16}
WIDE = {"key_dim": 70, "value_dim": 20, "batch": 1}


def without_start(call: Call) -> Call:
    """Without a d_1: under d = 1 one whose gradient is wanted needs the kernels that take a chunk each."""
    return Call(
        {name: x for name, x in call.tensors.items() if name != "initial_preconditioner"}, call.options
    )


CALLS = {
    "calibrated": draw("some clip", "to anchor", **SIZES),
    "from nothing": draw("fast", **SIZES, start=False),
    "d = 1": without_start(draw("one point", **SIZES)),
    "d = 1, from nothing": draw("one point", **SIZES, start=False),
    "two blocks of keys": draw("fast", **SIZES | WIDE),
    "two blocks of keys, d = 1": without_start(draw("one point", **SIZES | WIDE)),
    "shared keys": draw("fast", **SIZES, value_heads=2),
    "one token": draw("fast", **SIZES | {"length": 1}),
}
RESULTS = ("o", "state", "preconditioner")


@pytest.fixture
def walking(monkeypatch):
    """Calls whose gradients are found by walks, however few their sequences; counts them."""
    walked = []
    both_ways = stretches.walk_both_ways
    monkeypatch.setattr(stretches, "walks", lambda *given, **options: given[3] != FIXED)
    monkeypatch.setattr(stretches, "walk_both_ways", lambda *given: walked.append(1) or both_ways(*given))
    return walked


@pytest.mark.parametrize("kind", CALLS)
def test_walks_find_what_chunks_find(kind, request):
    """On a GPU to the bit; the interpreter's products add up in an order of their own."""
    call = Call({name: x.bfloat16() for name, x in CALLS[kind].tensors.items()}, CALLS[kind].options)
    _, expected = differentiated(call, chunk_osdn, RESULTS)
    walked = request.getfixturevalue("walking")
    _, found = differentiated(call, chunk_osdn, RESULTS)
    assert walked == [1]
    for name, x in expected.items():
        assert (x != found[name]).double().mean() < 0.01, name
        assert relative_error(found[name], x) < 0.1 * torch.finfo(torch.bfloat16).eps, name


@pytest.mark.parametrize("kind", CALLS)
def test_walks_agree_with_float64(kind, walking):
    assert_agrees(CALLS[kind])
    assert walking == [1]


@pytest.mark.parametrize("rule", ["fast", "one point"])
@pytest.mark.parametrize(
    "sizes", [{"key_dim": 72, "value_dim": 24}, {"key_dim": 16, "value_dim": 16, "value_heads": 2}]
)
def test_descriptors_find_the_same_bits(sizes, rule, walking, monkeypatch):
    """But for the sum that the GPU forms in its cache, which the interpreter has not."""
    call = draw(rule, **SIZES | {"batch": 1, "start": rule == "fast"} | sizes, dtype=torch.bfloat16)
    _, expected = differentiated(call, chunk_osdn, RESULTS)
    monkeypatch.setattr(walk, "copies_on_hopper", lambda *tensors: True)
    _, found = differentiated(call, chunk_osdn, RESULTS)
    assert walking == [1, 1]
    assert [name for name, x in expected.items() if not torch.equal(x, found[name])] == []


@pytest.mark.parametrize("fault", WALK_FAULTS)
def test_a_broken_walk_is_caught(fault, walking, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, *WALK_FAULTS[fault])
    d_is_1 = fault == "what keys are written with is lost"
    with pytest.raises(AssertionError) as caught:
        assert_agrees(CALLS["two blocks of keys, d = 1" if d_is_1 else "two blocks of keys"])
    assert "is not there" not in str(caught.value)


def test_tuning_leaves_what_a_walk_adds_to_as_it_was():
    """Measuring launches a kernel many times over; the interpreter makes no such launch."""
    kernel = TUNED["walk_kernel"]
    grad_k = torch.ones(3)
    kernel.pre_hook({"grad_k": grad_k})
    grad_k += 1
    kernel.post_hook({"grad_k": grad_k}, None)
    assert grad_k.tolist() == [1, 1, 1]
    kernel.pre_hook({"grad_k": None})
    kernel.post_hook({"grad_k": None}, None)


def test_walks_want_many_equal_sequences():
    def asked(sequences, mode=LEARNED, heads=16, key_dim=128, value_dim=128, dtype=torch.bfloat16, **kind):
        k = torch.empty(0, 0, heads, key_dim, dtype=dtype)
        v = torch.empty(0, 0, heads, value_dim, dtype=dtype)
        return walks(k, v, sequences, mode, **{"packed": False, "gated": False} | kind)

    assert asked(16)
    assert asked(16, IDENTITY)
    assert asked(16, key_dim=64, value_dim=96)
    assert not asked(10)
    assert not asked(16, FIXED)
    assert not asked(16, packed=True)
    assert not asked(16, gated=True)
    assert not asked(16, value_dim=256)
    assert not asked(16, key_dim=256)
    assert not asked(16, dtype=torch.float32)
    assert not asked(16, dtype=torch.float16)
