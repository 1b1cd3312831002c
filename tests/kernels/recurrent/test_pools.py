"""Decoding on a pool of states by index, several tokens in one call, rollback, and a memory in bfloat16."""

import pytest
import torch
from osdn_kernels import fused_recurrent_osdn
from osdn_kernels.boundary.results import ExactState, State
from osdn_kernels.recurrent import decode
from osdn_kernels.recurrent.decode import decode_step_
from support.kernels.faults import break_kernel
from support.kernels.reference_cases import draw, relative_error

RUNS = 40
SLOTS, RULE = 5, {"eta": 0.4, "d_min": 0.56, "d_max": 1.18}
NAMES = ("q", "k", "v", "beta", "g")


@pytest.fixture(params=["one program a head", "three"], autouse=True)
def programs(request, monkeypatch):
    if request.param == "three":
        monkeypatch.setattr(decode, "HELD", 16 * 16)


def problem(batch=3, length=4, dtype=torch.float32):
    call = draw(
        "some clip", "to anchor", batch=batch, length=length, key_dim=8, value_dim=40, dtype=torch.float32
    )
    tensors = {name: call.tensors[name].to(dtype) for name in NAMES}
    return tensors, call.tensors["anchor"]


def pool(dtype=torch.float32) -> State:
    rng = torch.Generator().manual_seed(5)
    d = 0.9 + 0.2 * torch.rand(SLOTS, 2, 8, generator=rng)
    return State(torch.randn(SLOTS, 2, 8, 40, generator=rng).to(dtype), d)


def copy(state: State, index=slice(None)) -> State:
    return State(*(x[index].clone() for x in state))


def token(tensors, t, stop=None):
    return {name: x[:, t : stop or t + 1].contiguous() for name, x in tensors.items()}


def assert_same(found: State, expected: State):
    assert torch.equal(found.state, expected.state)
    assert torch.equal(found.preconditioner, expected.preconditioner)


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_a_pool_is_read_and_written_at_its_rows_alone(kind):
    tensors, anchor = problem()
    found, before = pool(), pool()
    index = torch.tensor([3, -1, 0], dtype=kind)
    expected = copy(before, [3, 0])
    present = {name: x[[0, 2]] for name, x in tensors.items()}
    for t in range(4):
        o = decode_step_(**token(tensors, t), state=found, anchor=anchor, state_indices=index, **RULE)
        plain = decode_step_(**token(present, t), state=expected, anchor=anchor[[0, 2]], **RULE)
        assert torch.equal(o[[0, 2]], plain)
        assert (o[1] == 0).all()
    assert_same(copy(found, [3, 0]), expected)
    assert_same(copy(found, [1, 2, 4]), copy(before, [1, 2, 4]))
    assert not torch.equal(found.state[0], before.state[0])


@pytest.mark.parametrize("index", [[-1, -7, 5], [99, 2**31 - 1, -(2**31)]])
def test_rows_that_are_not_in_the_pool_touch_nothing(index):
    tensors, anchor = problem()
    found = pool()
    o = decode_step_(
        **token(tensors, 0), state=found, anchor=anchor, state_indices=torch.tensor(index), **RULE
    )
    assert (o == 0).all()
    assert_same(found, pool())


@pytest.mark.parametrize("count", [2, 0, -1, 3, 99])
def test_sequences_beyond_the_number_of_tokens_are_skipped(count):
    """More than there are: none is."""
    tensors, anchor = problem()
    found, expected, index = pool(), pool(), torch.tensor([2, 4, 1])
    present = torch.where(torch.arange(3) < count, index, -1)
    out = torch.full((3, 1, 2, 40), torch.nan)
    given = token(tensors, 0) | {"anchor": anchor} | RULE
    decode_step_(**given, state=found, state_indices=index, num_tokens=torch.tensor([count]), out=out)
    o = decode_step_(**given, state=expected, state_indices=present)
    assert torch.equal(out, o)
    assert_same(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_several_tokens_in_one_call_are_as_many_calls(dtype):
    tensors, anchor = problem(dtype=dtype)
    found, expected = copy(pool(dtype), slice(3)), copy(pool(dtype), slice(3))
    o = decode_step_(**tensors, state=found, anchor=anchor, **RULE)
    steps = [decode_step_(**token(tensors, t), state=expected, anchor=anchor, **RULE) for t in range(4)]
    assert torch.equal(o, torch.cat(steps, 1))
    assert_same(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rejected_draft_leaves_no_trace(dtype):
    """Three drafted tokens, of which one sequence keeps two and another none; then one more, from where that ended."""
    tensors, anchor = problem(batch=1)
    for accepted in 0, 2, 3:
        plain, drafted = pool(dtype), pool(dtype)
        for t in range(accepted):
            decode_step_(
                **token(tensors, t), state=plain, anchor=anchor, state_indices=torch.tensor([0]), **RULE
            )
        index = torch.tensor([[0, 1, 4, 2]])
        decode_step_(**token(tensors, 0, 3), state=drafted, anchor=anchor, state_indices=index, **RULE)
        assert_same(copy(drafted, [0]), copy(pool(dtype), [0]))
        start = index[:, accepted]
        last = token(tensors, 3) | {"anchor": anchor} | RULE
        o = decode_step_(**last, state=drafted, state_indices=start)
        assert torch.equal(o, decode_step_(**last, state=plain, state_indices=torch.tensor([0])))
        assert_same(copy(drafted, start), copy(plain, [0]))


def test_states_that_nobody_keeps_are_not_written():
    tensors, anchor = problem(batch=1, length=2)
    found, expected = pool(), pool()
    given = tensors | {"anchor": anchor} | RULE
    o = decode_step_(**given, state=found, state_indices=torch.tensor([[3, -1, 3]]))
    assert torch.equal(o, decode_step_(**given, state=expected, state_indices=torch.tensor([3])))
    assert_same(found, expected)


def test_a_memory_in_bfloat16_is_the_float32_one_but_for_its_roundings():
    tensors, anchor = problem(length=8)
    narrow, wide = copy(pool(torch.bfloat16), slice(3)), copy(pool(torch.bfloat16), slice(3))
    wide = State(wide.state.float(), wide.preconditioner)
    outputs = [decode_step_(**tensors, state=state, anchor=anchor, **RULE) for state in (narrow, wide)]
    assert narrow.state.dtype == torch.bfloat16
    assert torch.equal(narrow.preconditioner, wide.preconditioner)
    assert 0 < relative_error(narrow.state.float(), wide.state) < 8 * 2**-8
    assert 0 < relative_error(*outputs) < 8 * 2**-8


def seeded(seed: int) -> State:
    tensors, anchor = problem(batch=1, length=2)
    state = copy(pool(torch.bfloat16), [0])
    decode_step_(**tensors, state=state, anchor=anchor, seed=torch.tensor([seed]), **RULE)
    return state


@pytest.mark.parametrize("programs", ["one program a head"], indirect=True)
def test_random_rounding_is_right_in_expectation_and_the_same_for_the_same_seed():
    tensors, anchor = problem(batch=1, length=1)
    exact = copy(pool(torch.bfloat16), [0])
    exact = State(exact.state.float(), exact.preconditioner)
    decode_step_(**tensors, state=exact, anchor=anchor, **RULE)
    mean = torch.zeros_like(exact.state)
    for seed in range(RUNS):
        state = copy(pool(torch.bfloat16), [0])
        decode_step_(**tensors, state=state, anchor=anchor, seed=torch.tensor([seed]), **RULE)
        mean += state.state.float() / RUNS
        digit = 2.0 ** (exact.state.abs().log2().floor() - 7)
        assert ((state.state.float() - exact.state).abs() < digit).all()
    # Each error has a standard deviation of at most half a digit.
    assert ((mean - exact.state) / digit).abs().max() < 5 * 0.5 / RUNS**0.5
    cut = ((exact.state.bfloat16().float() - exact.state) / digit).abs()
    assert cut.max() > 0.3, "rounding to nearest is off by more"
    assert_same(seeded(7), seeded(7))
    assert not torch.equal(seeded(7).state, seeded(8).state)


def test_random_rounding_keeps_a_nan():
    """All bits of it set, as GPUs make it, one more would be minus zero."""
    tensors, anchor = problem(batch=1, length=1)
    tensors["v"][..., 3] = torch.tensor(0x7FFFFFFF, dtype=torch.int32).view(torch.float32)
    state = copy(pool(torch.bfloat16), [0])
    decode_step_(**tensors, state=state, anchor=anchor, seed=torch.tensor([5]), **RULE)
    assert torch.equal(state.state.isnan(), (torch.arange(state.state.shape[3]) == 3).expand_as(state.state))


def test_a_seed_goes_on_from_token_to_token():
    tensors, anchor = problem(batch=1, length=2)
    state = copy(pool(torch.bfloat16), [0])
    for t in range(2):
        decode_step_(**token(tensors, t), state=state, anchor=anchor, seed=torch.tensor([7 + t]), **RULE)
    assert_same(state, seeded(7))


FAULTS = {
    "none is the first row": (
        "tl.load(indices + program // H * WIDTH).to", "tl.maximum(tl.load(indices + program // H * WIDTH), 0).to",
    ),
    "the count is not asked": ("program // H < tl.load(count)", "program // H < 9"),
    "the row is that of the batch": (
        "row, key_row = slot * H + program % H, slot * (H // G) + program % H // G\n    start",
        "row, key_row = program, program // G\n    start",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_row_is_seen(fault, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, decode, "decode_kernel", *FAULTS[fault])
    counted = "count" in fault
    with pytest.raises(AssertionError):
        test_sequences_beyond_the_number_of_tokens_are_skipped(2) if counted else (
            test_a_pool_is_read_and_written_at_its_rows_alone(torch.int64)
        )


WRONG = {
    "state as a tuple": (TypeError, "state", {"state": tuple(pool())}),
    "float64": (ValueError, "q", {name: x.double() for name, x in problem(5, 1)[0].items()}),
    "no token": (ValueError, "q", {name: x[:, :0] for name, x in problem(5, 1)[0].items()}),
    "a step that is none in float32": (ValueError, "eta", {"eta": 1e39}),
    "a tensor as scale": (TypeError, "scale", {"scale": torch.tensor(1.0)}),
    "indices of two tokens": (ValueError, "state_indices", {"state_indices": torch.zeros(5, 3, dtype=torch.int64)}),
    "indices of another batch": (ValueError, "state_indices", {"state_indices": torch.zeros(4, dtype=torch.int64)}),
    "indices in float32": (ValueError, "state_indices", {"state_indices": torch.zeros(5)}),
    "a count without a pool": (ValueError, "num_tokens", {"num_tokens": torch.tensor([2])}),
    "a seed for float32": (ValueError, "seed", {"seed": torch.tensor([1])}),
    "a memory in float16": (ValueError, "state.state", {"state": pool(torch.float16)}),
    "indices elsewhere": (
        ValueError, "state_indices", {"state_indices": torch.zeros(5, dtype=torch.int64, device="meta")},
    ),
    "a count elsewhere": (
        ValueError, "num_tokens", {
            "state_indices": torch.arange(5), "num_tokens": torch.zeros(1, dtype=torch.int64, device="meta"),
        },
    ),
    "a count for each sequence": (
        ValueError, "num_tokens", {"state_indices": torch.arange(5), "num_tokens": torch.tensor([1] * 5)},
    ),
    "rows that overlap": (
        ValueError, "state.state", {"state": State(pool().state[:1].expand(5, -1, -1, -1), pool().preconditioner)},
    ),
    "a state with a rest": (TypeError, "state", {"state": ExactState(*pool(), torch.zeros_like(pool()[1]))}),
    **{
        f"{name} no tensor": (TypeError, name, {name: value})
        for name, value in {
            "q": [1.0], "k": None, "beta": 0.5, "g": -0.1, "state_gate": -0.1, "out": [], "state_indices": [0] * 5,
            "num_tokens": 2, "seed": 7,
        }.items()
    },
    "a state without tensors": (TypeError, "state.state", {"state": State(None, None)}),
    "an anchor beyond float32": (ValueError, "anchor", {"anchor": 1e39}),
    "d in bfloat16": (ValueError, "state.preconditioner", {"state": State(pool().state, pool().preconditioner.half())}),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case):
    error, name, change = WRONG[case]
    good = token(problem(5, 1)[0], 0) | {"state": pool()}
    decode_step_(**good)
    with pytest.raises(error, match=f"^{name}: expected "):
        decode_step_(**good | change)


def test_torch_func_is_refused():
    tensors, _ = problem(5, 1)
    state = pool()
    with pytest.raises(NotImplementedError, match="decode_step_"):
        torch.func.vmap(lambda q: decode_step_(**tensors | {"q": q}, state=state))(tensors["q"][None])


def test_autograd_hears_that_what_it_saved_was_overwritten():
    tensors, state = token(problem(5, 1)[0], 0), pool()
    o, _ = fused_recurrent_osdn(**tensors | {"q": tensors["q"].requires_grad_()}, initial_state=state)
    with torch.no_grad():
        decode_step_(**tensors, state=state)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        o.sum().backward()


def test_shapes_without_values():
    tensors = {name: x.to("meta") for name, x in token(problem(5, 1)[0], 0).items()}
    assert decode_step_(**tensors, state=State(*(x.to("meta") for x in pool()))).shape == (5, 1, 2, 40)
