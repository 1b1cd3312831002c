"""Prefill on a pool of states by index: read and overwritten in place; rows that are not there go nowhere."""

import pytest
import torch
from osdn_kernels import State, chunk_osdn, chunk_osdn_reference, fused_recurrent_osdn, osdn_reference
from osdn_kernels.boundary import pools
from support.kernels.reference_cases import Call, draw

OPERATORS = [chunk_osdn, fused_recurrent_osdn, chunk_osdn_reference, osdn_reference]
BOUNDS = [0, 5, 5, 14, 20]
ROWS = [4, -1, 0, 99]
PRESENT = {0: 4, 2: 0}
"""Sequences of the call by the rows that they have."""


def call_and_pool(dtype=torch.float32):
    call = draw(
        "some clip",
        "to anchor",
        cu_seqlens=BOUNDS,
        key_dim=4,
        value_dim=3,
        dtype=torch.float32,
        chunk_size=16,
    )
    start = State(call.tensors.pop("initial_state"), call.tensors.pop("initial_preconditioner"))
    pool = State(
        torch.randn(5, *start.state.shape[1:]).to(dtype), 0.9 + 0.2 * torch.rand(5, *start[1].shape[1:])
    )
    return call, pool


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("operator", OPERATORS)
def test_a_call_on_a_pool_is_one_on_its_rows(operator, dtype):
    call, pool = call_and_pool(dtype)
    before = State(*(x.clone() for x in pool))
    taken = pools.take_state(before, torch.tensor(ROWS), 1.0)
    assert (taken.state[[1, 3]] == 0).all()
    assert (taken.preconditioner[[1, 3]] == 1).all()
    expected, final = call(
        operator, initial_state=State(taken.state.float(), taken[1]), output_final_state=True
    )
    o, returned = call(
        operator, initial_state=pool, state_indices=torch.tensor(ROWS), output_final_state=True
    )
    assert torch.equal(o, expected)
    assert returned is pool
    for sequence, row in PRESENT.items():
        assert torch.equal(pool.state[row], final.state[sequence].to(dtype))
        assert torch.equal(pool.preconditioner[row], final.preconditioner[sequence])
    assert torch.equal(pool.state[1:4], before.state[1:4])
    assert torch.equal(pool.preconditioner[1:4], before.preconditioner[1:4])


@pytest.mark.parametrize("rows", [[-1, -1], [7, -1], [2, -1], [-1, 0], [3, 1]])
def test_rows_are_put_where_they_belong(rows):
    pool, values = torch.arange(10.0).view(5, 2), -torch.ones(2, 2) * torch.tensor([[1.0], [2.0]])
    expected = pool.clone()
    for value, row in zip(values, rows, strict=True):
        if 0 <= row < 5:
            expected[row] = value
    pools.put_(pool, torch.tensor(rows, dtype=torch.int32), values)
    assert torch.equal(pool, expected)


def test_no_rows_and_no_pool():
    """As a step asks for in which no sequence ends."""
    pool, none = torch.arange(10.0).view(5, 2), torch.tensor([], dtype=torch.int64)
    pools.put_(pool, none, torch.empty(0, 2))
    assert torch.equal(pool, torch.arange(10.0).view(5, 2))
    assert pools.take(pool, none).shape == (0, 2)
    pools.put_(pool[:0], torch.tensor([-1]), torch.ones(1, 2))
    assert torch.equal(pools.take(pool[:0], torch.tensor([-1])), torch.zeros(1, 2))


def learning(x):
    return x.clone().requires_grad_()


WRONG = {
    "no State": (TypeError, "initial_state", lambda pool: {"initial_state": pool.state}),
    "no pool": (TypeError, "initial_state", lambda pool: {"initial_state": None}),
    "other heads": (ValueError, "initial_state.state", lambda pool: {"initial_state": State(pool[0][:, :1], pool[1])}),
    "float16": (ValueError, "initial_state.state", lambda pool: {"initial_state": State(pool[0].half(), pool[1])}),
    "other rows": (ValueError, "state_indices", lambda pool: {"state_indices": torch.tensor([1, 2])}),
    "floats": (ValueError, "state_indices", lambda pool: {"state_indices": torch.ones(4)}),
    "both": (ValueError, "initial_preconditioner", lambda pool: {"initial_preconditioner": pool[1][:4]}),
    "a row twice": (ValueError, "state_indices", lambda pool: {"state_indices": torch.tensor([4, -1, 4, 99])}),
    "another device": (ValueError, "state_indices", lambda pool: {"state_indices": torch.tensor(ROWS, device="meta")}),
    "a pool elsewhere": (
        ValueError, "initial_state.state", lambda pool: {"initial_state": State(pool[0].to("meta"), pool[1])},
    ),
    "rows that overlap": (
        ValueError, "initial_state", lambda pool: {"initial_state": State(pool[0][:1].expand_as(pool[0]), pool[1])},
    ),
    "a gradient": (ValueError, "state_indices", lambda pool: {"initial_state": State(*map(learning, pool))}),
    "no rows": (ValueError, "initial_state.state", lambda pool: {"initial_state": State(pool[0][:0], pool[1][:0])}),
}  # fmt: skip


@pytest.mark.parametrize("name", ["k", "beta", "g", "anchor"])
def test_a_gradient_of_one_argument_alone_is_refused_too(name):
    call, pool = call_and_pool()
    call.tensors[name].requires_grad_()
    with pytest.raises(ValueError, match=r"^state_indices: expected None where a gradient is wanted"):
        call(osdn_reference, initial_state=pool, state_indices=torch.tensor(ROWS))


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_pool_is_named(case):
    error, name, change = WRONG[case]
    call, pool = call_and_pool()
    with pytest.raises(error, match=f"^{name}: expected "):
        call(osdn_reference, **{"initial_state": pool, "state_indices": torch.tensor(ROWS)} | change(pool))


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_prompt_in_pieces_goes_on_from_a_copy_bit_for_bit(operator):
    call = draw(
        "some clip",
        "to zero",
        batch=1,
        heads=1,
        length=24,
        key_dim=4,
        value_dim=3,
        dtype=torch.float32,
        chunk_size=16,
    )
    start = State(call.tensors.pop("initial_state"), call.tensors.pop("initial_preconditioner"))

    def read(state, begin, end):
        piece = Call({name: x[:, begin:end] for name, x in call.tensors.items()}, call.options)
        return piece(operator, initial_state=state, output_final_state=True)

    whole, states = [], [start]
    for begin in range(0, 24, 8):
        o, state = read(states[-1], begin, begin + 8)
        whole.append(o)
        states.append(State(*(x.clone() for x in state)))
    state = states[1]
    for i in 1, 2:
        o, state = read(state, 8 * i, 8 * i + 8)
        assert torch.equal(o, whole[i])
    assert torch.equal(state.state, states[-1].state)
    assert torch.equal(state.preconditioner, states[-1].preconditioner)
    expected, _ = call(operator, initial_state=start)
    assert torch.allclose(torch.cat(whole, 1), expected, atol=1e-5)


@pytest.mark.parametrize("operator", OPERATORS)
def test_no_tokens_leave_a_pool_as_it_is(operator):
    call = draw("fast", batch=2, length=0, dtype=torch.float32, start=False, chunk_size=16)
    pool = State(torch.randn(5, 2, 6, 5), torch.ones(5, 2, 6))
    before = State(*(x.clone() for x in pool))
    o, _ = call(operator, initial_state=pool, state_indices=torch.tensor([3, -1]))
    assert o.shape == (2, 0, 2, 5)
    assert all(map(torch.equal, pool, before))


def test_padding_may_name_no_row_many_times():
    call, pool = call_and_pool()
    call(osdn_reference, initial_state=pool, state_indices=torch.tensor([-1, -1, 99, 99]))
