"""The references: against plain loops over floats, finite differences, each other, DeltaNet, and T15."""

import itertools
import math
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings, strategies as st
from osdn_kernels.boundary.results import State
from osdn_kernels.reference import chunkwise as chunk_reference, tokenwise
from osdn_kernels.reference.chunkwise import chunk_osdn_reference
from osdn_kernels.reference.tokenwise import osdn_reference, preconditioner_reference
from support.kernels.reference_cases import GATES, RULES, Call, draw, gradients, relative_error, results
from torch import Tensor

REFERENCES = (osdn_reference, chunk_osdn_reference)
OUTPUTS = ("o", "state", "preconditioner", "path", "alignment", "residual_ratio")


def loops(call: Call) -> dict[str, list]:
    """shared/THEORY.md line by line on the first sequence and head; no tensor operation, no shared code."""
    t, options = call.tensors, call.options
    q, k, v, beta = (t[name][0, :, 0].tolist() for name in ("q", "k", "v", "beta"))
    g = t["g"][0, :, 0].tolist() if "g" in t else [0.0] * len(k)
    c = t["anchor"][0, 0].tolist() if "anchor" in t else [0.0] * len(k[0])
    H, d = t["initial_state"][0, 0].tolist(), t["initial_preconditioner"][0, 0].tolist()
    K, V, scale = range(len(k[0])), range(len(v[0])), len(k[0]) ** -0.5
    found: dict[str, list] = {"o": [], "path": [], "alignment": [], "residual_ratio": []}
    for q_t, k_t, v_t, b, g_t in zip(q, k, v, beta, g, strict=True):
        s = [x * x for x in k_t]
        a = math.fsum(d[i] * s[i] for i in K)
        x = [b * (v_t[j] - math.fsum(H[i][j] * k_t[i] for i in K)) for j in V]
        H = [[H[i][j] + d[i] * k_t[i] * x[j] for j in V] for i in K]
        found["o"].append([scale * math.fsum(H[i][j] * q_t[i] for i in K) for j in V])
        found["path"].append(d)
        found["alignment"].append(a)
        found["residual_ratio"].append((1 - b * a) ** 2)
        w = 1 / (math.fsum(s) + 1e-5) if options.get("normalize_feedback") else 1.0
        gamma, u = math.exp(g_t), options["eta"] * w * (1 - a)
        moved = [c[i] + gamma * (d[i] - c[i]) + u * s[i] for i in K]
        d = [min(max(x, options["d_min"]), options["d_max"]) for x in moved]
    return found | {"state": H, "preconditioner": d}


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("rule", RULES)
def test_the_reference_follows_the_formulas(rule, gates):
    call = draw(rule, gates, batch=1, heads=1, length=21)
    found, expected = results(call, osdn_reference), loops(call)
    for name in OUTPUTS:
        head = (
            found[name][0, :, 0]
            if name in ("o", "path", "alignment", "residual_ratio")
            else found[name][0, 0]
        )
        assert relative_error(head, torch.tensor(expected[name], dtype=torch.float64)) < 1e-14, name


def clipped_fraction(call: Call) -> float:
    path, box = results(call, osdn_reference)["path"], call.options
    return ((path == box["d_min"]) | (path == box["d_max"])).double().mean().item()


def test_the_cases_clip_as_their_names_say():
    assert clipped_fraction(draw("fast", "to zero", length=75)) == 0
    assert 0 < clipped_fraction(draw("some clip", length=75)) < 0.1
    assert clipped_fraction(draw("most clip", "to zero", length=75)) > 0.5


@pytest.mark.parametrize(
    ("rule", "expected"), [("fast", {0}), ("some clip", {1, 2, 3, 4}), ("most clip", {5})]
)
def test_only_chunks_that_clip_are_stepped(rule, expected, monkeypatch):
    stepped = []
    step = chunk_reference._stepped
    monkeypatch.setattr(chunk_reference, "_stepped", lambda *a: stepped.append(a) or step(*a))
    draw(rule, length=75, chunk_size=16)(chunk_osdn_reference)
    assert len(stepped) in expected


CUTS = {
    "batch": {"length": 75},
    "one token": {"length": 1},
    "whole chunks": {"length": 32},
    "packed": {"cu_seqlens": [0, 0, 21, 22, 22, 54, 75, 75]},
    "defaults": {"length": 40, "start": False},
}


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("rule", RULES)
def test_both_references_agree(rule, gates):
    for cut in CUTS.values():
        call = draw(rule, gates, chunk_size=16, **cut)
        found, expected = (results(call, operator) for operator in reversed(REFERENCES))
        for name in OUTPUTS:
            assert relative_error(found[name], expected[name]) < 1e-13, (cut, name)
        found, expected = (gradients(call, operator, OUTPUTS) for operator in reversed(REFERENCES))
        for name in expected:
            assert relative_error(found[name], expected[name]) < 1e-12, (cut, name)


@pytest.mark.parametrize("operator", REFERENCES)
@pytest.mark.parametrize(
    ("rule", "gates", "more"),
    [
        ("bounded", "none", {}),
        ("normalised", "to anchor", {}),
        ("some clip", "none", {"length": 30}),
        ("most clip", "to anchor", {}),
        ("most clip", "to zero", {}),
        ("fast", "to anchor", {"cu_seqlens": [0, 4, 4, 10], "use_qk_l2norm_in_kernel": True}),
        ("one point", "to zero", {"start": False}),
    ],
)
def test_gradients_are_those_of_finite_differences(operator, rule, gates, more):
    call = draw(
        rule, gates, **({"batch": 2, "length": 9, "heads": 1, "key_dim": 3, "value_dim": 2} | more)
    ).leaves()
    moving = tuple(name for name in OUTPUTS if rule != "one point" or name not in ("path", "preconditioner"))

    def outputs(*tensors: Tensor) -> tuple[Tensor, ...]:
        found = results(Call(dict(zip(call.tensors, tensors, strict=True)), call.options), operator)
        return tuple(found[name] for name in moving)

    assert torch.autograd.gradcheck(outputs, tuple(call.tensors.values()), fast_mode=True)


def test_every_entry_of_the_jacobian_through_an_active_clip():
    call = draw("most clip", "to anchor", batch=1, length=5, heads=1, key_dim=2, value_dim=1).leaves()
    assert 0 < clipped_fraction(call) < 1

    def outputs(*tensors: Tensor) -> tuple[Tensor, ...]:
        found = results(Call(dict(zip(call.tensors, tensors, strict=True)), call.options), osdn_reference)
        return tuple(found.values())

    assert torch.autograd.gradcheck(outputs, tuple(call.tensors.values()))


def delta_net(call: Call) -> Tensor:
    """o of DeltaNet by the transition matrix I - beta k k^T."""
    q, k, v, beta = (call.tensors[name] for name in ("q", "k", "v", "beta"))
    state, outputs = call.tensors["initial_state"], []
    for t in range(k.shape[1]):
        key, gate = k[:, t, :, :, None], beta[:, t, :, None, None]
        transition = torch.eye(k.shape[3], dtype=k.dtype) - gate * key @ key.mT
        state = transition @ state + gate * key @ v[:, t, :, None, :]
        outputs.append(k.shape[3] ** -0.5 * (q[:, t, :, None, :] @ state)[..., 0, :])
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("operator", REFERENCES)
@pytest.mark.parametrize("unit_keys", [False, True])
def test_a_box_of_one_point_is_delta_net_with_its_gradients(operator, unit_keys):
    call = draw("one point", length=33, chunk_size=16)
    if unit_keys:
        # Here 1 - a vanishes to rounding, and a clip that let gradients through at its bounds would show.
        corners = torch.eye(6, dtype=torch.float64)[torch.arange(33) % 6]
        call.tensors["k"] = corners[None, :, None].expand(2, -1, 2, -1)
    call = call.leaves()
    inputs = [call.tensors[name] for name in ("q", "k", "v", "beta", "initial_state")]
    o, expected = call(operator)[0], delta_net(call)
    assert relative_error(o, expected) < 1e-14
    found = torch.autograd.grad(o.cos().sum(), inputs)
    for mine, theirs in zip(found, torch.autograd.grad(expected.cos().sum(), inputs), strict=True):
        assert relative_error(mine, theirs) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unit_keys_leave_ones_alone(dtype):
    """T15."""
    call = draw("bounded", length=200, start=False, dtype=dtype)
    call.tensors["k"] = torch.nn.functional.normalize(call.tensors["k"].double(), dim=-1).to(dtype)
    path, final = preconditioner_reference(call.tensors["k"], **call.options)
    epsilon = torch.finfo(dtype).eps
    assert (path - 1).abs().max() < 10 * epsilon
    assert (final - 1).abs().max() < 10 * epsilon
    call.tensors["k"] = 1.1 * call.tensors["k"]
    assert (preconditioner_reference(call.tensors["k"], **call.options)[1] - 1).abs().max() > 1e-3


@settings(max_examples=25, deadline=None)
@given(
    rule=st.sampled_from(list(RULES)),
    gates=st.sampled_from(GATES),
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=4),
    key_dim=st.integers(1, 7),
    value_dim=st.integers(1, 7),
    operator=st.sampled_from(REFERENCES),
    seed=st.integers(0, 2**16),
)
def test_packed_sequences_are_the_sequences_alone(rule, gates, lengths, key_dim, value_dim, operator, seed):
    bounds = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    sizes = {"key_dim": key_dim, "value_dim": value_dim}
    call = draw(rule, gates, seed=seed, heads=1, cu_seqlens=bounds, chunk_size=16, **sizes)
    packed = results(call, operator)
    options = {name: value for name, value in call.options.items() if name != "cu_seqlens"}
    for n, (first, last) in enumerate(itertools.pairwise(bounds)):
        tensors = {
            name: x[n : n + 1]
            if name in ("anchor", "initial_state", "initial_preconditioner")
            else x[:, first:last]
            for name, x in call.tensors.items()
        }
        alone = results(Call(tensors, options), operator)
        for name in OUTPUTS:
            there = packed[name]
            mine = there[n : n + 1] if name in ("state", "preconditioner") else there[:, first:last]
            assert relative_error(mine, alone[name]) < 1e-13, name


@pytest.mark.parametrize("operator", REFERENCES)
@pytest.mark.parametrize("gates", GATES)
def test_a_cut_stream_continues_from_its_state(operator, gates):
    call = draw("some clip", gates, length=50, chunk_size=16)
    whole = results(call, operator)
    per_token = ("q", "k", "v", "beta", "g")
    parts = []
    for piece in (slice(0, 17), slice(17, 50)):
        tensors = {name: x[:, piece] if name in per_token else x for name, x in call.tensors.items()}
        if parts:
            del tensors["initial_preconditioner"]
            tensors["initial_state"] = parts[-1][1]
        parts.append(Call(tensors, call.options)(operator, output_final_state=True))
    assert relative_error(torch.cat([o for o, _ in parts], 1), whole["o"]) < 1e-13
    assert relative_error(parts[-1][1].state, whole["state"]) < 1e-13
    assert relative_error(parts[-1][1].preconditioner, whole["preconditioner"]) < 1e-13


@pytest.mark.parametrize("operator", REFERENCES)
def test_no_tokens_hand_on_what_came(operator):
    call = draw("fast", "to anchor", length=0).leaves()
    found = results(call, operator)
    assert found["o"].shape == (2, 0, 2, 5)
    assert torch.equal(found["state"], call.tensors["initial_state"])
    assert torch.equal(found["preconditioner"], call.tensors["initial_preconditioner"])
    assert found["path"].shape == (2, 0, 2, 6)
    assert found["alignment"].shape == found["residual_ratio"].shape == (2, 0, 2)
    start = gradients(call, operator, ("o", "state", "preconditioner"))["initial_state"]
    assert start.abs().min() > 0


@pytest.mark.parametrize("operator", REFERENCES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_of_the_results(operator, dtype):
    call = draw("fast", dtype=dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    found = results(call, operator)
    assert found.pop("o").dtype == dtype
    assert {x.dtype for x in found.values()} == {wide}
    o, state = call(operator)
    assert o.dtype == dtype
    assert state is None


@pytest.mark.parametrize("operator", REFERENCES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_normalised_inside_is_normalised_outside(operator, dtype):
    call = draw("fast", "to zero", dtype=dtype)
    inside = call(operator, use_qk_l2norm_in_kernel=True)[0]
    for name in ("q", "k"):
        x = call.tensors[name].float()
        call.tensors[name] = (x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)).to(dtype)
    assert torch.equal(inside, call(operator)[0])


def test_the_gradient_of_the_normalisation_ignores_its_rounding():
    rounded = draw("fast", "to zero", dtype=torch.bfloat16, use_qk_l2norm_in_kernel=True)
    found = gradients(rounded, osdn_reference, ("o",))
    exact = gradients(
        Call({name: x.float() for name, x in rounded.tensors.items()}, rounded.options),
        osdn_reference,
        ("o",),
    )
    for name in ("q", "k"):
        assert relative_error(found[name], exact[name]) < 2e-2


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("more", [{"length": 30}, {"cu_seqlens": [0, 11, 11, 30]}])
def test_the_preconditioner_alone_is_that_of_the_operator(gates, more):
    call = draw("some clip", gates, **more)
    expected = results(call, osdn_reference)
    names = ("k", "g", "anchor", "initial_preconditioner")
    arguments = {name: call.tensors[name] for name in names if name in call.tensors}
    path, final = preconditioner_reference(**arguments, **call.options)
    assert torch.equal(path, expected["path"])
    assert torch.equal(final, expected["preconditioner"])


@pytest.mark.parametrize("operator", REFERENCES)
def test_an_anchor_is_a_number_or_a_tensor_and_none_is_zero(operator):
    call = draw("fast", "to anchor")
    del call.tensors["anchor"]
    assert torch.equal(call(operator)[0], call(operator, anchor=0.0)[0])
    filled = torch.full((2, 2, 6), 0.75, dtype=torch.float64)
    assert torch.equal(call(operator, anchor=0.75)[0], call(operator, anchor=filled)[0])
    assert not torch.equal(call(operator)[0], call(operator, anchor=0.75)[0])
    del call.tensors["g"]
    assert torch.equal(call(operator)[0], call(operator, anchor=0.75)[0])


@pytest.mark.parametrize("operator", REFERENCES)
def test_an_unchecked_start_outside_the_box_is_clipped_from_the_second_token_on(operator):
    call = draw("frozen", start=False, length=20)
    start = torch.full((2, 2, 6), 5.0, dtype=torch.float64)
    found = results(call, lambda **a: operator(**a, initial_preconditioner=start, check_values=False))
    assert (found["path"][:, 0] == 5).all()
    assert (found["path"][:, 1:] == 4).all()


def test_strong_forgetting_keeps_its_digits_in_float32():
    """Log gates of very different size in one chunk: sums from the chunk's start would lose the small ones."""
    call = draw("fast", "to anchor", length=32, dtype=torch.float32, chunk_size=32)
    call.tensors["g"][:, 3] = -1e6
    exact = Call({name: x.double() for name, x in call.tensors.items()}, call.options)
    found, expected = results(call, chunk_osdn_reference), results(exact, osdn_reference)
    assert relative_error(found["path"], expected["path"]) < 5e-7


def test_a_state_is_a_state():
    call = draw("fast")
    tensors = dict(call.tensors)
    state = State(tensors.pop("initial_state"), tensors.pop("initial_preconditioner"))
    both = call(osdn_reference)[0]
    assert torch.equal(osdn_reference(**tensors, initial_state=state, **call.options)[0], both)


@pytest.mark.parametrize("operator", REFERENCES)
def test_autocast_rounds_nothing_inside(operator, monkeypatch):
    call = draw("fast", "to anchor", dtype=torch.float32)
    expected = results(call, operator)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(call, operator)
        assert all(torch.equal(x, found[name]) for name, x in expected.items())
        monkeypatch.setattr(tokenwise, "suspend_autocast", lambda _: nullcontext())
        assert relative_error(results(call, operator)["state"], expected["state"]) > 1e-4
