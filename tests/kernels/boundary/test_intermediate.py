"""States between chunks: on request, of what a call has computed, and a start from each of them bit for bit."""

from itertools import pairwise

import pytest
import torch
from osdn_kernels import (
    ExactState,
    State,
    chunk_osdn,
    chunk_osdn_reference,
    fused_recurrent_osdn,
    osdn_reference,
)
from osdn_kernels.launch.forced import forced
from support.kernels.reference_cases import Call, draw

SIZE = 16
BOUNDS = [0, 20, 20, 37]
FIRST = [0, 2, 2]
"""Row of each sequence's first chunk."""

PER_TOKEN = ("q", "k", "v", "beta", "g")


def some_call(rule="fast", gates="none", bounds=None, dtype=torch.float32, **more) -> Call:
    sizes = {"batch": 1, "heads": 1, "length": 37, "key_dim": 6, "value_dim": 5, "chunk_size": SIZE} | more
    return draw(rule, gates, cu_seqlens=bounds, dtype=dtype, **sizes)


def ask(call: Call, operator, **more):
    return call(operator, output_final_state=True, return_intermediate_states=True, **more)


def part(call: Call, sequence: int, begin: int, end: int, start) -> Call:
    """Tokens of one sequence, to go on from `start`."""
    tensors = {name: x[:, begin:end] for name, x in call.tensors.items() if name in PER_TOKEN}
    if "anchor" in call.tensors:
        tensors["anchor"] = call.tensors["anchor"][sequence : sequence + 1]
    options = {name: x for name, x in call.options.items() if name != "cu_seqlens"}
    return Call(tensors, options | {"initial_state": start})


def rows_of(state, row: int):
    return type(state)(*(x[row : row + 1] for x in state))


def starts(call: Call, between):
    """(sequence, first token, last token, state) of each chunk."""
    bounds = call.options.get("cu_seqlens", torch.tensor([0, 37])).tolist()
    for sequence, (begin, end) in enumerate(pairwise(bounds)):
        for row, first in enumerate(range(begin, end, SIZE), FIRST[sequence]):
            yield sequence, first, end, rows_of(between, row)


def differing(call: Call, operator, change=lambda state: state) -> int:
    """Chunks from which going on, after `change` of the state, gives other bits than going through."""
    o, final, between = ask(call, operator)
    count = 0
    for sequence, first, end, state in starts(call, between):
        found, handed_on = part(call, sequence, first, end, change(state))(operator, output_final_state=True)
        same = zip((found, *handed_on), (o[:, first:end], *rows_of(final, sequence)), strict=False)
        count += not all(torch.equal(x, y) for x, y in same)
    return count


@pytest.mark.parametrize(
    ("rule", "gates"),
    [("fast", "none"), ("some clip", "to anchor"), ("frozen", "none"), ("one point", "to zero")],
)
def test_each_is_a_start_bit_for_bit(rule, gates):
    assert differing(some_call(rule, gates, BOUNDS), chunk_osdn) == 0


@pytest.mark.slow
@pytest.mark.parametrize("gates", ["none", "to zero"])
@pytest.mark.parametrize(
    "more", [{"heads": 2, "value_heads": 4}, {"start": False}, {"dtype": torch.bfloat16}]
)
@pytest.mark.parametrize("rule", ["bounded", "some clip", "most clip"])
def test_so_of_other_calls(rule, more, gates):
    assert differing(some_call(rule, gates, **more), chunk_osdn) == 0


@pytest.mark.parametrize("operator", [chunk_osdn_reference, osdn_reference])
def test_so_of_the_references(operator):
    assert differing(some_call("some clip", "to zero", BOUNDS), operator) == 0


FAULTS = {
    "no rest": lambda state: State(*state[:2]),
    "another rest": lambda state: state._replace(rest=-state.rest),
    "a little more d": lambda state: state._replace(preconditioner=state.preconditioner * (1 + 2**-23)),
    "memory in bfloat16": lambda state: state._replace(state=state.state.bfloat16().float()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_another_start_is_seen(fault):
    assert differing(some_call(), chunk_osdn, FAULTS[fault]) > 0


@pytest.mark.parametrize("gates", ["none", "to zero"])
def test_they_are_what_the_reference_has_there(gates):
    call = some_call("some clip", gates, BOUNDS)
    between, expected = (ask(call, operator)[2] for operator in (chunk_osdn, osdn_reference))
    assert between.state.shape == expected.state.shape == (5, 1, 6, 5)
    torch.testing.assert_close(between[:2], expected[:2], rtol=0, atol=2e-5)
    assert not between.state[4:].any()  # left over
    for sequence in (0, 2):
        assert torch.equal(between.state[FIRST[sequence]], call.tensors["initial_state"][sequence])


@pytest.mark.parametrize(
    ("rule", "gates"), [("bounded", "none"), ("no box", "to zero"), ("most clip", "none")]
)
def test_asking_changes_results_by_rounding_alone(rule, gates):
    call = some_call(rule, gates)
    plain, final = call(chunk_osdn, output_final_state=True)
    o, asked, _ = ask(call, chunk_osdn)
    torch.testing.assert_close((o, *asked[:2]), (plain, *final[:2]), rtol=0, atol=2e-6)
    assert isinstance(final, State)
    assert isinstance(asked, ExactState) or rule == "one point"
    assert rule != "bounded" or torch.equal(o, plain)


def test_pieces_of_whole_chunks_are_one_call():
    call = some_call(length=32)
    o, final, between = ask(call, chunk_osdn)
    state = rows_of(between, 0)
    for begin in (0, 16):
        found, state = part(call, 0, begin, begin + 16, state)(chunk_osdn, output_final_state=True)
        assert torch.equal(found, o[:, begin : begin + 16])
    assert all(torch.equal(x, y) for x, y in zip(state, final, strict=True))


def test_gradients_are_those_of_a_call_that_does_not_ask():
    found = []
    for asking in (False, True):
        call = some_call("some clip", "to anchor", length=20).leaves()
        o, final, *between = call(chunk_osdn, output_final_state=True, return_intermediate_states=asking)
        assert not any(x.requires_grad for state in between for x in state)
        loss = o.square().sum() + final.state.sum() + final.preconditioner.square().sum()
        found.append(torch.autograd.grad(loss, list(call.tensors.values())))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_nothing_is_launched_for_it():
    """The same kernels: without forgetting and clipping, and fewer with."""
    launched = []
    for asking in (False, True):
        with forced({}) as launches:
            some_call("bounded")(chunk_osdn, return_intermediate_states=asking)
        launched.append(set(launches))
    assert launched[1] < launched[0]  # sweeps, which find nothing to do


@pytest.mark.parametrize("operator", [chunk_osdn, osdn_reference])
@pytest.mark.parametrize("bounds", [None, [0, 0, 0]])
def test_no_tokens_have_no_chunks(operator, bounds):
    call = some_call(length=0, bounds=bounds)
    torch.use_deterministic_algorithms(True)  # memory without values is NaN
    try:
        _, final, between = ask(call, operator)
    finally:
        torch.use_deterministic_algorithms(False)
    assert between.state.shape[0] == (0 if bounds is None else 1)
    assert all((x == 0).all() for x in between)
    rest = torch.full_like(final.preconditioner, 2.0**-26)
    start = ExactState(call.tensors.pop("initial_state"), call.tensors.pop("initial_preconditioner"), rest)
    _, final, _ = ask(call, operator, initial_state=start)
    assert torch.equal(final.state, start.state)
    assert operator is osdn_reference or torch.equal(final.rest, rest)


WRONG = {
    "recurrent": (fused_recurrent_osdn, "return_intermediate_states", lambda state: {"initial_state": state}),
    "shape of the rest": (
        chunk_osdn, "initial_state.rest", lambda state: {"initial_state": ExactState(*state, torch.ones(3))},
    ),
    "dtype of the rest": (
        chunk_osdn, "initial_state.rest", lambda state: {"initial_state": ExactState(*state, state[1].double())},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case):
    operator, name, change = WRONG[case]
    call = some_call()
    state = State(call.tensors.pop("initial_state"), call.tensors.pop("initial_preconditioner"))
    with pytest.raises(ValueError, match=f"^{name}: expected "):
        ask(call, operator, **change(state))
