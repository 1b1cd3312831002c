"""Fewer query and key heads than value heads: as if q, k, g, d and the anchor were repeated, gradients summed."""

import pytest
import torch
from osdn_kernels import (
    State,
    chunk_osdn,
    chunk_osdn_reference,
    decode_step_,
    fused_recurrent_osdn,
    osdn_reference,
)
from osdn_kernels.chunk import state, wy
from osdn_kernels.recurrent import decode
from support.kernels.faults import break_kernel
from support.kernels.reference_cases import Call, differentiated, draw, relative_error, results

OPERATORS = [chunk_osdn, fused_recurrent_osdn, chunk_osdn_reference, osdn_reference]
GROUP = 3
SHARED = ("q", "k", "g", "anchor", "initial_preconditioner")
SIZES = {"heads": 2, "key_dim": 4, "value_dim": 3, "chunk_size": 16}


def grouped(rule: str = "some clip", gates: str = "to anchor", **sizes) -> Call:
    """Two key heads for six value heads."""
    call = draw(rule, gates, **SIZES | sizes)
    wide = draw(rule, gates, **SIZES | sizes | {"heads": 2 * GROUP}, seed=1)
    return Call(
        call.tensors | {name: wide.tensors[name] for name in ("v", "beta", "initial_state")}, call.options
    )


def repeated(call: Call) -> Call:
    def repeat(name, x):
        return x.repeat_interleave(GROUP, 2 if name in ("q", "k", "g") else 1)

    return Call(
        {name: repeat(name, x) if name in SHARED else x for name, x in call.tensors.items()}, call.options
    )


def expected_of(call: Call) -> tuple[dict, dict]:
    """Results and gradients of the reference on repeated heads, one for each key head."""
    found, slopes = differentiated(repeated(call), osdn_reference, ("o", "state"))
    for name, axis in {"preconditioner": 1, "path": 2, "alignment": 2}.items():
        found[name] = found[name].unflatten(axis, (-1, GROUP)).select(axis + 1, 0)
    for name in slopes.keys() & {*SHARED}:
        axis = 2 if name in ("q", "k", "g") else 1
        slopes[name] = slopes[name].unflatten(axis, (-1, GROUP)).sum(axis + 1)
    return found, slopes


def assert_right(call: Call, operator, bound: float = 3e-6) -> None:
    wide = Call({name: x.double() for name, x in call.tensors.items()}, call.options)
    for found, expected in zip(
        differentiated(call, operator, ("o", "state")), expected_of(wide), strict=True
    ):
        for name, x in found.items():
            assert relative_error(x, expected[name]) <= bound, name


@pytest.mark.parametrize("operator", OPERATORS)
def test_one_key_head_serves_several_value_heads(operator):
    assert_right(grouped(batch=1, length=20, dtype=torch.float32), operator)


@pytest.mark.parametrize(
    ("rule", "gates"), [("one point", "none"), ("frozen", "none"), ("bounded", "to zero")]
)
def test_every_mode_of_the_chunk_form(rule, gates):
    assert_right(grouped(rule, gates, length=20, batch=1, dtype=torch.float32), chunk_osdn)


@pytest.mark.parametrize("operator", OPERATORS[:2])
def test_packed(operator):
    assert_right(grouped(cu_seqlens=[0, 3, 3, 22], dtype=torch.float32), operator)


@pytest.mark.parametrize("held", [decode.HELD, 16 * 16])
@pytest.mark.parametrize("pooled", [False, True])
def test_a_decoding_step(pooled, held, monkeypatch):
    monkeypatch.setattr(decode, "HELD", held)
    call = grouped(length=3, value_dim=40, dtype=torch.float32)
    t = call.tensors
    start = State(t["initial_state"], t["initial_preconditioner"])
    rows = torch.tensor([3, 0]) if pooled else None
    found = State(*(x.new_zeros(4, *x.shape[1:]) if pooled else x.clone() for x in start))
    if pooled:
        for x, y in zip(found, start, strict=True):
            x[rows] = y
    given = {name: t[name] for name in ("q", "k", "v", "beta", "g", "anchor")}
    rule = {name: call.options[name] for name in ("eta", "d_min", "d_max")}
    o = decode_step_(**given, state=found, state_indices=rows, **rule)
    expected = results(call, osdn_reference)
    for name, x in zip(("o", *State._fields), (o, *found), strict=True):
        x = x[rows] if pooled and name != "o" else x
        assert relative_error(x, expected[name]) < 2e-6, name


FAULTS = {
    "the write keys of another head": (
        state, "memory_kernel", "at, 0, write_key + key_token * K",
        "at, 0, write_key + (key_token - key_token % (H // G)) * K",
    ),
    "the preconditioner of another head": (
        wy, "solve_kernel", "key_item = slot * key_heads + key_head", "key_item = slot * key_heads",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_another_head_is_seen(fault, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, *FAULTS[fault])
    with pytest.raises(AssertionError):
        assert_right(grouped("fast", batch=1, length=20, dtype=torch.float32), chunk_osdn)


@pytest.mark.parametrize("operator", OPERATORS)
def test_heads_that_do_not_fit_are_named(operator):
    call = grouped(batch=1, length=2, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"^v: expected \[B, T, HV, V\] with HV a multiple of H = 2, got"):
        Call(call.tensors | {"v": call.tensors["v"][:, :, :5]}, call.options)(operator)
