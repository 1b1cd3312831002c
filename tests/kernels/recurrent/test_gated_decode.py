"""Decoding in place with a state gate and beta-aware feedback: as the operators, one by one, at once, from pools."""

import pytest
import torch
from osdn_kernels import decode_step_, fused_recurrent_osdn, fused_recurrent_osgdn, fused_recurrent_oskda
from osdn_kernels.boundary.results import State
from osdn_kernels.recurrent import decode
from support.kernels.faults import break_kernel
from support.kernels.reference_cases import Call, draw, draw_gated, relative_error
from torch import Tensor

OPERATORS = {"none": fused_recurrent_osdn, "head": fused_recurrent_osgdn, "feature": fused_recurrent_oskda}
TOKENS = 4


def call_of(state_gate: str, **more) -> Call:
    options = {
        "batch": 2,
        "length": TOKENS,
        "heads": 2,
        "key_dim": 8,
        "value_dim": 20,
        "dtype": torch.float32,
    }
    if state_gate == "none":
        return draw("some clip", "to anchor", **options, beta_aware=True, **more)
    return draw_gated("some clip", "to anchor", state_gate=state_gate, **options, **more)


def step(call: Call, state: State, tokens: slice, **more) -> Tensor:
    """One call of the step on some tokens, in the names of the step."""
    names = {"g": "state_gate", "g_d": "g"} if "g_d" in call.tensors else {}
    given = {
        names.get(name, name): x[:, tokens].contiguous()
        for name, x in call.tensors.items()
        if not name.startswith("initial") and name != "anchor"
    }
    return decode_step_(**given, state=state, anchor=call.tensors["anchor"], **(call.options | more))


def start_of(call: Call) -> State:
    return State(call.tensors["initial_state"].clone(), call.tensors["initial_preconditioner"].clone())


def step_errors(call: Call, state_gate: str, together: int) -> list[float]:
    """Of `together` tokens in each call, against the operator on all of them."""
    state = start_of(call)
    o = torch.cat([step(call, state, slice(t, t + together)) for t in range(0, TOKENS, together)], 1)
    expected, final = call(OPERATORS[state_gate], output_final_state=True)
    return [relative_error(x, y) for x, y in zip((o, *state), (expected, *final), strict=True)]


@pytest.mark.parametrize("together", [1, TOKENS])
@pytest.mark.parametrize("more", [{}, {"value_heads": 6}, {"normalize_feedback": True}])
@pytest.mark.parametrize("state_gate", OPERATORS)
def test_steps_are_those_of_the_operator(state_gate, more, together):
    assert max(step_errors(call_of(state_gate, **more), state_gate, together)) < 1e-6


@pytest.mark.parametrize("state_gate", ["head", "feature"])
def test_plain_feedback_has_to_be_asked_for_with_a_state_gate_as_in_the_operators(state_gate):
    call = call_of(state_gate, beta_aware=False)
    assert max(step_errors(call, state_gate, 1)) < 1e-6
    del call.options["beta_aware"]
    found, aware = start_of(call), start_of(call)
    step(call, found, slice(0, 1))
    step(call, aware, slice(0, 1), beta_aware=True)
    assert torch.equal(found.preconditioner, aware.preconditioner)


@pytest.mark.parametrize("state_gate", ["head", "feature"])
def test_drafted_tokens_leave_their_states_in_the_rows_of_a_pool(state_gate):
    call = call_of(state_gate, value_heads=4)
    start, plain = start_of(call), start_of(call)
    pool = State(*(torch.zeros(12, *x.shape[1:]) for x in start))
    for mine, other in zip(pool, start, strict=True):
        mine[:2] = other
    rows = torch.tensor([[n, *(2 + n * TOKENS + t for t in range(TOKENS))] for n in range(2)])
    o = step(call, pool, slice(0, TOKENS), state_indices=rows)
    for t in range(TOKENS):
        assert torch.equal(o[:, t : t + 1], step(call, plain, slice(t, t + 1)))
        for mine, other in zip(pool, plain, strict=True):
            assert torch.equal(mine[rows[:, t + 1]], other)


BROKEN = {
    "no gate": ("fade(memory, fading, STATE_GATE)", "memory"),
    "what reads the memory does not fade": ("q_t * tl.exp(fading)", "q_t"),
    "nor what erases": ("k_t * tl.exp(fading)", "k_t"),
    "the gate of the first head": ("load_gate(state_gate, place, key", "load_gate(state_gate, place * 0, key"),
    "the feedback of one head": ("beta_t, key_place, G, BETA_AWARE", "beta_t, key_place, 1, BETA_AWARE"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_step_is_seen(fault, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, decode, "decode_kernel", *BROKEN[fault])
    assert max(step_errors(call_of("feature", value_heads=4), "feature", 1)) > 1e-3


@pytest.mark.parametrize("shape", [(2, 1, 3), (2, 1, 2, 7), (2, 1)])
def test_a_gate_of_another_shape_is_named(shape):
    call = call_of("head")
    given = {name: call.tensors[name][:, :1] for name in ("q", "k", "v", "beta")}
    with pytest.raises(ValueError, match="state_gate: expected"):
        decode_step_(**given, state=start_of(call), state_gate=torch.zeros(shape))
