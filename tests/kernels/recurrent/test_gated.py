"""Gated and beta-aware kernels token by token, in the interpreter: against the float64 references, and broken ones."""

import pytest
import torch
from osdn_kernels import chunk_osgdn, fused_recurrent_osdn, fused_recurrent_osgdn, fused_recurrent_oskda
from osdn_kernels.recurrent import backward, forward, gate_gradient, gates as gating
from osdn_kernels.reference.tokenwise import osdn_reference, osgdn_reference, oskda_reference
from support.kernels.faults import break_kernel
from support.kernels.reference_cases import Call, differentiated, draw, draw_gated, relative_error, results
from torch import Tensor

OPERATORS = {
    "none": (fused_recurrent_osdn, osdn_reference),
    "head": (fused_recurrent_osgdn, osgdn_reference),
    "feature": (fused_recurrent_oskda, oskda_reference),
}
GATED = ("head", "feature")
FOUND = ("o", "state", "preconditioner", "path")
SMALL = {"batch": 1, "length": 11, "heads": 1, "key_dim": 8, "value_dim": 5}

CASES = {
    "batch": {},
    "grouped": {"heads": 2, "value_heads": 4, "length": 7},
    "packed": {"cu_seqlens": [0, 0, 5, 6, 13], "heads": 1, "value_heads": 2},
    "one token": {"length": 1},
    "no token": {"length": 0},
    "no start": {"start": False},
}


def call_of(state_gate: str, rule: str = "some clip", gates: str = "to anchor", **more) -> Call:
    """float32, with beta-aware feedback unless told otherwise."""
    options = SMALL | {"dtype": torch.float32, "beta_aware": True} | more
    if state_gate == "none":
        return draw(rule, gates, **options)
    return draw_gated(rule, gates, state_gate=state_gate, **options)


def wide(call: Call) -> Call:
    return Call({name: x.double() for name, x in call.tensors.items()}, call.options)


def errors(call: Call, state_gate: str) -> dict[str, float]:
    """Of outputs and of the gradients of all that is differentiable, relative."""
    operator, reference = OPERATORS[state_gate]
    outputs = ("o", "state", "preconditioner")
    found, slopes = differentiated(call, operator, outputs)
    expected, wanted = differentiated(wide(call), reference, outputs)
    apart = {name: relative_error(found[name], expected[name]) for name in FOUND}
    return apart | {f"gradient of {name}": relative_error(slopes[name], x) for name, x in wanted.items()}


def assert_small(found: dict[str, float], bound: float = 2e-6) -> None:
    assert all(error <= bound for error in found.values()), found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("state_gate", OPERATORS)
def test_outputs_and_every_gradient(state_gate, case):
    assert_small(errors(call_of(state_gate, **CASES[case]), state_gate))


@pytest.mark.parametrize(
    ("rule", "gates"), [("normalised", "none"), ("most clip", "to zero"), ("one point", "none")]
)
@pytest.mark.parametrize("beta_aware", [True, False])
@pytest.mark.parametrize("state_gate", OPERATORS)
def test_rules(state_gate, rule, gates, beta_aware):
    assert_small(errors(call_of(state_gate, rule, gates, beta_aware=beta_aware), state_gate))


def after_a_reset(state_gate: str) -> float:
    """Error of gradients of gates after one of 0, which leaves nothing of a memory of large numbers."""
    call = call_of(state_gate, "bounded", start=False)
    call.tensors["v"][:, :5] *= 1e4
    call.tensors["g"][:, 5] = -torch.inf
    operator, reference = OPERATORS[state_gate]
    found = differentiated(call, operator, ("o",))[1]["g"]
    return relative_error(found[:, 5:], differentiated(wide(call), reference, ("o",))[1]["g"][:, 5:])


@pytest.mark.parametrize("state_gate", GATED)
def test_gradients_of_gates_begin_anew_where_nothing_is_left(state_gate, monkeypatch, tmp_path):
    """They are summed from token to token, and would keep the rounding of what was forgotten."""
    assert after_a_reset(state_gate) < 1e-5
    break_kernel(
        monkeypatch, tmp_path, gate_gradient, "gate_gradient_kernel", "tl.where(left == 0.0, 0.0, met)", "met"
    )
    assert after_a_reset(state_gate) > 1e-4


@pytest.mark.parametrize("state_gate", GATED)
def test_gradients_of_gates_do_not_cross_sequences(state_gate):
    operator, _ = OPERATORS[state_gate]

    def of_second(first: float) -> Tensor:
        call = call_of(state_gate, "bounded", cu_seqlens=[0, 6, 13], start=False).leaves()
        v = torch.where(torch.arange(13)[:, None, None] < 6, first, call.tensors["v"])
        o, _ = operator(**call.tensors | {"v": v}, **call.options)
        return torch.autograd.grad(o[:, 6:].sum(), call.tensors["g"])[0][:, 6:]

    assert torch.equal(of_second(1e12), of_second(1.0))
    assert torch.equal(of_second(torch.nan), of_second(1.0))


@pytest.mark.parametrize("state_gate", GATED)
def test_strong_and_weak_gates(state_gate):
    call = call_of(state_gate, "fast", length=40)
    gate = call.tensors["g"]
    call.tensors["g"] = -(10.0 ** torch.linspace(-6, 3, gate.numel())).reshape(gate.shape)
    assert_small(errors(call, state_gate))


def drift(state_gate: str) -> float:
    """Of a memory that fades slowly for 400 tokens, which write nothing."""
    call = call_of(state_gate, "fast", "none", length=400, key_dim=4, value_dim=2)
    call.tensors["beta"].zero_()
    call.tensors["g"].fill_(-1.1e-3)
    operator, reference = OPERATORS[state_gate]
    return relative_error(results(call, operator)["state"], results(wide(call), reference)["state"])


@pytest.mark.parametrize("state_gate", GATED)
def test_slow_fading_does_not_drift(state_gate):
    assert drift(state_gate) < 1e-6


def test_slow_fading_by_a_rounded_factor_drifts(monkeypatch, tmp_path):
    weak = "gate > -0.5, 1.0, 0.0), tl.where(gate > -0.5"
    break_kernel(monkeypatch, tmp_path, gating, "fading_of", weak, weak.replace("-0.5", "0.5"))
    assert drift("head") > 3e-6


@pytest.mark.parametrize("state_gate", GATED)
def test_the_gate_of_the_state_serves_d(state_gate):
    call = call_of(state_gate, "fast", "none", heads=1, value_heads=2)
    call.options["g_d"] = "state"
    assert_small(errors(call, state_gate))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("state_gate", GATED)
def test_sixteen_bits_are_rounded_only_on_the_way_in_and_out(state_gate, dtype):
    call = call_of(state_gate)
    low = {name: call.tensors[name].to(dtype) for name in ("q", "k", "v", "beta", "g", "g_d")}
    call = Call(call.tensors | low, call.options)
    operator, reference = OPERATORS[state_gate]
    found, expected = results(call, operator), results(wide(call), reference)
    assert relative_error(found["state"], expected["state"]) < 2e-6
    # The interpreter cuts bfloat16 off where GPUs round to nearest.
    assert relative_error(found["o"], expected["o"]) < torch.finfo(dtype).eps


def gated_delta_rule(call: Call) -> Tensor:
    """o of Gated DeltaNet or KDA by transition matrices (I - beta k k^T) diag(alpha), in float64."""
    t = wide(call).tensors
    state, outputs = t["initial_state"], []
    for i in range(t["k"].shape[1]):
        key, beta = t["k"][:, i, :, :, None], t["beta"][:, i, :, None, None]
        alpha = t["g"][:, i].exp()[..., None]
        transition = torch.eye(key.shape[2], dtype=key.dtype) - beta * key @ key.mT
        faded = state * (alpha if alpha.dim() == 4 else alpha[..., None])
        state = transition @ faded + beta * key @ t["v"][:, i, :, None, :]
        outputs.append(key.shape[2] ** -0.5 * (t["q"][:, i, :, None, :] @ state)[..., 0, :])
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("state_gate", GATED)
def test_d_pinned_at_one_is_gated_delta_net_or_kda(state_gate):
    call = call_of(state_gate, "one point", "none")
    del call.tensors["initial_preconditioner"]
    o = call(OPERATORS[state_gate][0])[0]
    assert relative_error(o, gated_delta_rule(call)) < 1e-6


BROKEN = {
    "gate after the residual": (
        forward, "recurrent_kernel", "        memory = fade(memory, fading, STATE_GATE)\n", "", "o",
    ),
    "strong gates by what they take away": (
        gating, "fading_of", "gate > -0.5, 1.0, 0.0", "gate > -0.5, 1.0, 1.0", "state",
    ),
    "first power of beta": (
        forward, "feedback", "fixed - slope * met", "fixed - fixed * met", "preconditioner",
    ),
    "no gate backward": (
        backward, "write_gradient_kernel",
        "        grad = fade(grad, load_gate(state_gate, place, key, True, K, STATE_GATE), STATE_GATE)\n", "",
        "gradient of v",
    ),
    "no gate where reads are differentiated": (
        backward, "read_gradient_kernel",
        "        memory = fade(memory, load_gate(state_gate, place, key, True, K, STATE_GATE), STATE_GATE)\n", "",
        "gradient of q",
    ),
    "slope of the feedback not in d's gradient": (
        backward, "calibration_gradient_kernel", "            step *= slope\n", "", "gradient of k",
    ),
    "no alignment in the gradient of beta": (
        backward, "calibration_gradient_kernel", "-step * tl.sum(d * s, 0)", "-step", "gradient of beta",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_kernel_is_seen(fault, monkeypatch, tmp_path):
    module, name, old, new, where = BROKEN[fault]
    call = call_of("feature", "fast")
    gate = call.tensors["g"]
    call.tensors["g"] = torch.where(torch.arange(gate.numel()).view_as(gate) % 3 == 0, -2.0, gate)
    break_kernel(monkeypatch, tmp_path, module, name, old, new)
    assert errors(call, "feature")[where] > 1e-3


MIXED = {"q": torch.float32, "k": torch.bfloat16, "v": torch.float16}
"""flash-linear-attention's token by token gated forms take any; outputs have the dtype of v."""


def mixed(call: Call, dtypes: dict[str, torch.dtype]) -> Call:
    return Call(
        call.tensors | {name: call.tensors[name].to(dtype) for name, dtype in dtypes.items()}, call.options
    )


# Normalised keys are rounded to bfloat16, for which the interpreter drops bits.
@pytest.mark.parametrize(("normed", "bound"), [(False, 2e-6), (True, 2.0**-7)])
@pytest.mark.parametrize("state_gate", GATED)
def test_queries_keys_and_values_of_three_dtypes(state_gate, normed, bound):
    """States are as good as in float32; outputs and gradients have the dtypes given."""
    operator, reference = OPERATORS[state_gate]
    call = mixed(call_of(state_gate, use_qk_l2norm_in_kernel=normed), MIXED)
    outputs = ("o", "state", "preconditioner")
    found, slopes = differentiated(call, operator, outputs)
    expected, wanted = differentiated(call, reference, outputs)
    assert found["o"].dtype == expected["o"].dtype == torch.float16
    assert {name: slopes[name].dtype for name in MIXED} == MIXED
    for name in ("state", "preconditioner", "path"):
        assert relative_error(found[name], expected[name]) <= bound, name
    assert relative_error(found["o"], expected["o"]) <= max(bound, 2.0**-10)
    for name, x in wanted.items():
        assert relative_error(slopes[name], x) <= 2.0**-6, name


@pytest.mark.parametrize("state_gate", GATED)
def test_values_alone_in_16_bits_change_what_is_returned_alone(state_gate):
    """Numbers are those of the same values in float32, rounded once."""
    operator, _ = OPERATORS[state_gate]
    call = mixed(call_of(state_gate), {"v": torch.float16})
    found, exact = (results(x, operator) for x in (call, mixed(call, {"v": torch.float32})))
    assert torch.equal(found["o"], exact["o"].half())
    assert torch.equal(found["state"], exact["state"])


@pytest.mark.parametrize(
    ("operator", "dtypes"),
    [
        (fused_recurrent_osdn, {"v": torch.float16}),
        (chunk_osgdn, {"v": torch.float16}),
        (osgdn_reference, {"v": torch.float64}),
        (fused_recurrent_osgdn, {"v": torch.float64}),
    ],
)
def test_what_is_not_mixed(operator, dtypes):
    """Products of tiles want one dtype, of theirs as of ours, and float64 goes with itself alone."""
    call = call_of("none" if operator is fused_recurrent_osdn else "head", gates="none")
    with pytest.raises(ValueError, match=r"^v: expected .*float32, got torch\.float"):
        mixed(call, dtypes)(operator)
