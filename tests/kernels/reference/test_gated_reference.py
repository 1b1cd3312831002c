"""The gated references: against the float64 recurrences of the theory, finite differences, GDN, KDA and OSDN."""

import math

import numpy as np
import pytest
import torch
from osdn_kernels.boundary.gated import form_gate
from osdn_kernels.reference import tokenwise
from osdn_kernels.reference.chunkwise import chunk_osdn_reference
from osdn_kernels.reference.tokenwise import osdn_reference, osgdn_reference, oskda_reference
from support.kernels.reference_cases import GATES, RULES, Call, draw, draw_gated, relative_error, results
from torch import Tensor

from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import gated_delta_net, kda, osdn
from osdn_theory.streams.stream import Stream

OPERATORS = {"head": (osgdn_reference, gated_delta_net), "feature": (oskda_reference, kda)}
OUTPUTS = ("o", "state", "preconditioner", "path", "alignment", "residual_ratio")


def theory_rule(call: Call) -> CalibrationRule:
    options = call.options
    return CalibrationRule(
        eta=options["eta"], d_min=options["d_min"], d_max=options["d_max"], anchor=0.0,
        normalize_feedback=options.get("normalize_feedback", False), beta_aware=options.get("beta_aware", True),
        forgetting="token" if "g_d" in call.tensors else 1.0,
    )  # fmt: skip


def theory(call: Call, solve) -> dict[str, Tensor]:
    """The results of a call on a batch by the theory's float64 recurrence, whose heads lead."""
    t = {name: x.numpy() for name, x in call.tensors.items()}
    by_head = {
        name: np.moveaxis(x, 2, 1) for name, x in t.items() if x.ndim >= 3 and x.shape[1] == t["k"].shape[1]
    }
    gates = {"state_gate": np.exp(by_head["g"])} if "g" in by_head else {}
    if "g_d" in by_head:
        gates["forget_gate"] = np.exp(by_head["g_d"])
    stream = Stream(
        keys=by_head["k"], values=by_head["v"], queries=by_head["q"], beta=by_head["beta"], **gates
    )
    rule = theory_rule(call)
    if "anchor" in t:
        rule = CalibrationRule(**{**vars(rule), "anchor": t["anchor"]})
    run = solve(
        stream, rule, scale=t["k"].shape[3] ** -0.5, initial_state=np.swapaxes(t["initial_state"], -1, -2),
        initial_preconditioner=t["initial_preconditioner"],
    )  # fmt: skip
    found = {
        "o": np.moveaxis(run.outputs, 1, 2), "state": np.swapaxes(run.final_state, -1, -2),
        "preconditioner": run.final_preconditioner, "path": np.moveaxis(run.preconditioner, 1, 2),
    }  # fmt: skip
    return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in found.items()}


def theory_errors(call: Call, state_gate: str) -> dict[str, float]:
    operator, solve = OPERATORS[state_gate]
    found, expected = results(call, operator), theory(call, solve)
    return {name: relative_error(found[name], x) for name, x in expected.items()}


@pytest.mark.parametrize("beta_aware", [True, False])
@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("state_gate", OPERATORS)
def test_it_is_the_recurrence_of_the_theory(state_gate, rule, gates, beta_aware):
    call = draw_gated(rule, gates, state_gate=state_gate, beta_aware=beta_aware)
    assert max(theory_errors(call, state_gate).values()) < 1e-13


BROKEN = {
    "gate after the residual": ("fade", lambda state, alpha: state),
    "feedback without beta": (
        "feedback_terms",
        lambda beta, heads: torch.ones(*beta.shape, 2, dtype=beta.dtype),
    ),
    "first power of beta": ("feedback_terms", lambda beta, heads: torch.stack([beta, beta], -1)),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("state_gate", OPERATORS)
def test_a_broken_recurrence_is_told_apart(state_gate, fault, monkeypatch):
    monkeypatch.setattr(tokenwise, *BROKEN[fault])
    assert theory_errors(draw_gated("fast", state_gate=state_gate), state_gate)["o"] > 1e-3


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("rule", RULES)
def test_beta_aware_feedback_without_a_state_gate_is_that_of_the_theory(rule, gates):
    call = draw(rule, gates, beta_aware=True)
    renamed = Call({"g_d" if name == "g" else name: x for name, x in call.tensors.items()}, call.options)
    expected = theory(renamed, osdn)
    for operator in (osdn_reference, chunk_osdn_reference):
        found = results(call, operator)
        assert max(relative_error(found[name], x) for name, x in expected.items()) < 1e-12


@pytest.mark.parametrize("more", [{"value_heads": 4}, {"cu_seqlens": [0, 4, 4, 9], "value_heads": 2}, {}])
@pytest.mark.parametrize(("rule", "gates"), [("normalised", "to anchor"), ("most clip", "none")])
@pytest.mark.parametrize("state_gate", OPERATORS)
def test_gradients_are_those_of_finite_differences(state_gate, rule, gates, more):
    small = {"batch": 1, "length": 9, "heads": 1, "key_dim": 3, "value_dim": 2}
    call = draw_gated(rule, gates, state_gate=state_gate, **(small | more)).leaves()
    operator, _ = OPERATORS[state_gate]

    def outputs(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            results(Call(dict(zip(call.tensors, tensors, strict=True)), call.options), operator).values()
        )

    assert torch.autograd.gradcheck(outputs, tuple(call.tensors.values()), fast_mode=True)


@pytest.mark.parametrize("beta_aware", [True, False])
def test_heads_of_a_group_share_d_by_the_mean_of_their_feedback(beta_aware):
    call = draw_gated("fast", "to zero", state_gate="head", heads=2, value_heads=6, beta_aware=beta_aware)
    t, path = call.tensors, results(call, osgdn_reference)["path"]
    s = t["k"].square()
    by_head = t["beta"].unflatten(2, (2, 3)) if beta_aware else torch.ones(2, 37, 2, 3, dtype=torch.float64)
    met = (path * s).sum(-1, keepdim=True)
    feedback = (by_head * (1 - by_head * met)).mean(3)
    moved = t["g_d"].exp()[..., None] * path + call.options["eta"] * feedback[..., None] * s
    assert relative_error(path[:, 1:], moved[:, :-1].clamp(0.0, 4.0)) < 1e-14


@pytest.mark.parametrize("state_gate", OPERATORS)
def test_heads_of_a_group_with_the_same_inputs_are_one_head(state_gate):
    operator, _ = OPERATORS[state_gate]
    call = draw_gated("fast", "to zero", state_gate=state_gate)
    doubled = dict(call.tensors)
    for name in ("v", "beta", "g", "initial_state"):
        axis = 1 if name == "initial_state" else 2
        doubled[name] = call.tensors[name].repeat_interleave(2, axis)
    found, expected = results(Call(doubled, call.options), operator), results(call, operator)
    assert relative_error(found["path"], expected["path"]) < 1e-14
    assert relative_error(found["o"], expected["o"].repeat_interleave(2, 2)) < 1e-14


@pytest.mark.parametrize("state_gate", OPERATORS)
def test_the_gate_of_the_state_serves_d_by_its_mean(state_gate):
    operator, _ = OPERATORS[state_gate]
    call = draw_gated("fast", state_gate=state_gate, heads=2, value_heads=4)
    mean = call.tensors["g"].unflatten(2, (2, 2)).flatten(3).mean(-1)
    reused = call(operator, g_d="state")[0]
    assert relative_error(reused, call(operator, g_d=mean)[0]) < 1e-14
    assert relative_error(reused, call(operator)[0]) > 1e-3


@pytest.mark.parametrize("state_gate", OPERATORS)
def test_no_fading_is_osdn(state_gate):
    operator, _ = OPERATORS[state_gate]
    call = draw_gated("fast", "to anchor", state_gate=state_gate)
    call.tensors["g"].zero_()
    plain = {"g" if name == "g_d" else name: x for name, x in call.tensors.items() if name != "g"}
    assert torch.equal(call(operator)[0], osdn_reference(**plain, **call.options, beta_aware=True)[0])


@pytest.mark.parametrize("state_gate", OPERATORS)
def test_equal_gates_for_all_features_are_one_gate(state_gate):
    call = draw_gated("fast", state_gate="head")
    spread = call.tensors["g"][..., None].expand(*call.tensors["g"].shape, 6)
    by_feature = Call(call.tensors | {"g": spread}, call.options)
    assert torch.equal(by_feature(oskda_reference)[0], call(osgdn_reference)[0])


@pytest.mark.parametrize("state_gate", OPERATORS)
def test_packed_sequences_are_the_sequences_alone(state_gate):
    operator, _ = OPERATORS[state_gate]
    call = draw_gated("fast", "to anchor", state_gate=state_gate, cu_seqlens=[0, 11, 11, 30], value_heads=4)
    packed, states = results(call, operator), ("anchor", "initial_state", "initial_preconditioner")
    options = {name: x for name, x in call.options.items() if name != "cu_seqlens"}
    for n, (first, last) in enumerate([(0, 11), (11, 11), (11, 30)]):
        tensors = {
            name: x[n : n + 1] if name in states else x[:, first:last] for name, x in call.tensors.items()
        }
        alone = results(Call(tensors, options), operator)
        assert relative_error(packed["o"][:, first:last], alone["o"]) < 1e-14
        assert relative_error(packed["state"][n : n + 1], alone["state"]) < 1e-14


@pytest.mark.parametrize("lower_bound", [None, -5.0])
@pytest.mark.parametrize("shape", [(3,), (3, 4)])
def test_gates_are_formed_inside_as_outside(shape, lower_bound):
    rng = torch.Generator().manual_seed(3)
    x, bias = (torch.randn(*lead, *shape, generator=rng, dtype=torch.float64) for lead in ((1, 5), ()))
    slope = torch.rand(3, generator=rng, dtype=torch.float64)
    found = form_gate(x, slope, bias.flatten(), lower_bound)
    for place in np.ndindex(1, 5, *shape):
        inner, factor = (x[place] + bias[place[2:]]).item(), math.exp(slope[place[2]])
        softplus = math.log1p(math.exp(inner))
        expected = (
            -factor * softplus if lower_bound is None else lower_bound / (1 + math.exp(-factor * inner))
        )
        assert math.isclose(found[place].item(), expected, rel_tol=1e-12)
    call = draw_gated(
        "fast", state_gate="head" if len(shape) == 1 else "feature", batch=1, length=5, heads=3, key_dim=4
    )
    operator, _ = OPERATORS["head" if len(shape) == 1 else "feature"]
    given = {
        "use_gate_in_kernel": True,
        "A_log": slope,
        "dt_bias": bias.flatten(),
        "lower_bound": lower_bound,
    }
    if len(shape) == 1 and lower_bound is None:
        given["dt_bias"] = None
    inside = Call(call.tensors | {"g": x}, call.options)(operator, **given)[0]
    outside = Call(call.tensors | {"g": form_gate(x, slope, given["dt_bias"], lower_bound)}, call.options)
    assert torch.equal(inside, outside(operator)[0])


@pytest.mark.parametrize("shape", [(3,), (3, 4)])
def test_parameters_of_gates_have_any_shape_with_their_elements(shape):
    """Gradients come in the shape that was given, strided ones too."""
    rng = torch.Generator().manual_seed(4)
    x, bias = (torch.randn(*lead, *shape, generator=rng, dtype=torch.float64) for lead in ((1, 5), ()))
    slope = torch.rand(3, generator=rng, dtype=torch.float64)

    def found(*given):
        leaves = [each.requires_grad_() for each in given]
        gate = form_gate(x, *leaves)
        return gate, torch.autograd.grad(gate.square().sum(), leaves)

    expected, wanted = found(slope.clone(), bias.flatten())
    strided = bias[None].movedim(-1, 0).contiguous().movedim(0, -1)
    gate, gradients = found(slope.view(1, 1, 3, 1), strided)
    assert torch.equal(gate, expected)
    assert [each.shape for each in gradients] == [(1, 1, 3, 1), strided.shape]
    assert all(torch.equal(a.flatten(), b) for a, b in zip(gradients, wanted, strict=True))


@pytest.mark.parametrize("state_gate", OPERATORS)
def test_what_forms_gates_is_not_read_where_they_are_given(state_gate):
    """A lower bound is a promise then; flash-linear-attention ignores all three likewise."""
    call = draw_gated("fast", state_gate=state_gate)
    reference, _ = OPERATORS[state_gate]
    ignored = {"A_log": torch.zeros(2), "dt_bias": torch.ones(1), "lower_bound": -5.0}
    assert torch.equal(call(reference, **ignored)[0], call(reference)[0])
    raw = ignored | {"use_gate_in_kernel": True, "dt_bias": None}
    assert not torch.allclose(call(reference, **raw)[0], call(reference)[0], rtol=0.1)


def test_gates_of_no_token_are_formed():
    assert form_gate(torch.zeros(1, 0, 3), torch.zeros(3), torch.zeros(3)).shape == (1, 0, 3)


def test_write_gates_are_formed_inside_as_outside():
    call = draw_gated("fast", state_gate="head")
    logits = torch.logit(call.tensors["beta"])
    raw = Call(call.tensors | {"beta": logits}, call.options)
    formed = raw(osgdn_reference, use_beta_sigmoid_in_kernel=True)[0]
    assert relative_error(formed, call(osgdn_reference)[0]) < 1e-13
    twice = Call(call.tensors | {"beta": 2 * call.tensors["beta"]}, call.options)
    formed = raw(osgdn_reference, use_beta_sigmoid_in_kernel=True, allow_neg_eigval=True)[0]
    assert relative_error(formed, twice(osgdn_reference)[0]) < 1e-13


WRONG = {
    "g": {"g": torch.zeros(2, 37, 2, 6)},
    "g: expected log gates": {"g": torch.full((2, 37, 2), 0.1)},
    "g_d: expected log gates": {"g_d": torch.full((2, 37, 2), 0.1)},
    "g_d": {"g_d": torch.zeros(2, 37, 3)},
    'g_d: expected a tensor, None or "state"': {"g_d": "stat"},
    "beta": {"beta": torch.zeros(2, 37, 4)},
    "A_log": {"use_gate_in_kernel": True},
    r"A_log: expected \[HV\] = \[2\], .*, got \[1, 3\]": {
        "use_gate_in_kernel": True,
        "A_log": torch.zeros(1, 3),
    },
    "A_log: expected .*, got torch.int64": {
        "use_gate_in_kernel": True,
        "A_log": torch.zeros(2, dtype=torch.int64),
    },
    r"dt_bias: expected \[HV\] = \[2\], .*, got \[3\]": {
        "use_gate_in_kernel": True,
        "A_log": torch.zeros(2),
        "dt_bias": torch.zeros(3),
    },
    "dt_bias: expected a tensor": {
        "use_gate_in_kernel": True,
        "A_log": torch.zeros(2),
        "dt_bias": [1.0, 2.0],
    },
    "lower_bound: expected a log gate <= 0": {"use_gate_in_kernel": True, "lower_bound": 5.0},
    "lower_bound: expected a log gate <= 0, got 0.5": {
        "use_gate_in_kernel": True,
        "A_log": torch.zeros(2),
        "lower_bound": 0.5,
    },
    "q: expected no empty axis": {"q": torch.zeros(2, 37, 0, 6)},
    "allow_neg_eigval": {"allow_neg_eigval": True},
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_are_named(message):
    call = draw_gated("fast", state_gate="head")
    with pytest.raises((ValueError, TypeError), match=message):
        osgdn_reference(**{**call.tensors, **call.options, **WRONG[message]})
