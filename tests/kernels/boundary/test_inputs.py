"""Every bad argument is refused by name before anything runs; every good one comes out canonical."""

import gc
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from osdn_kernels.boundary import values as input_values
from osdn_kernels.boundary.inputs import ANYWHERE, KERNELS, Arguments, check_call, check_scan
from osdn_kernels.boundary.results import State
from osdn_kernels.launch import runtime
from osdn_kernels.reference.chunkwise import chunk_osdn_reference
from osdn_kernels.reference.tokenwise import osdn_reference, preconditioner_reference

B, T, H, K, V = 2, 5, 3, 8, 4
NAN, INF = math.nan, math.inf


def arguments(**changes: Any) -> dict[str, Any]:
    """A good call, with every optional tensor, and `changes` to it."""
    call = {
        "q": torch.ones(B, T, H, K),
        "k": torch.ones(B, T, H, K),
        "v": torch.ones(B, T, H, V),
        "beta": torch.ones(B, T, H),
        "g": -torch.ones(B, T, H),
        "scale": None,
        "eta": 0.003,
        "d_min": 2 / 3,
        "d_max": 3 / 2,
        "anchor": torch.ones(B, H, K),
        "normalize_feedback": False,
        "initial_state": torch.ones(B, H, K, V),
        "initial_preconditioner": torch.ones(B, H, K),
        "cu_seqlens": None,
        "chunk_size": 64,
        "check_values": True,
    }
    return call | changes


def packed(**changes: Any) -> dict[str, Any]:
    """A good call on two packed sequences."""
    call = arguments(cu_seqlens=torch.tensor([0, 2, T]))
    return call | {name: call[name][:1] for name in ("q", "k", "v", "beta", "g")} | changes


def of_preconditioner(call: dict[str, Any]) -> dict[str, Any]:
    absent = ("q", "v", "beta", "scale", "initial_state")
    return {name: value for name, value in call.items() if name not in absent}


def spoiled(tensor: torch.Tensor, value: float) -> torch.Tensor:
    """A copy whose last entry is `value`."""
    copy = tensor.clone()
    copy.view(-1)[-1] = value
    return copy


GATES, VECTORS = -torch.ones(B, T, H), torch.ones(B, H, K)
TENSORS = ("q", "k", "v", "beta", "g", "initial_state", "initial_preconditioner", "anchor")

BAD_NUMBERS = [
    ("eta", NAN), ("eta", INF), ("eta", -0.1), ("eta", "fast"), ("d_min", 2.0), ("d_min", NAN), ("d_max", NAN),
    ("d_max", None), ("scale", INF), ("scale", NAN), ("anchor", NAN), ("anchor", "initial"),
    ("chunk_size", 0), ("chunk_size", 48), ("chunk_size", 128), ("chunk_size", None), ("chunk_size", 64.0),
    ("eta", 1e39), ("scale", 1e39), ("scale", -1e39), ("anchor", 1e39),
]  # fmt: skip
BAD_SHAPES = [
    *((name, torch.ones(2)) for name in TENSORS),
    *((name, torch.ones(1, 2, 3, 4, 5)) for name in TENSORS),
    ("k", torch.ones(B, T, H, K + 1)), ("k", torch.ones(B, T + 1, H, K)), ("v", torch.ones(B, T, H + 1, V)),
    ("v", torch.ones(B, T, H, 257)), ("v", torch.ones(B, T, H, 0)), ("q", torch.ones(B, T, H, 257)),
    ("q", torch.ones(B, T, H, 0)), ("q", torch.ones(0, T, H, K)), ("q", torch.ones(B, T, 0, K)),
    ("beta", torch.ones(B, H, T)), ("g", -torch.ones(B, H, T)), ("initial_state", torch.ones(B, H, V, K)),
    ("initial_state", torch.ones(B + 1, H, K, V)), ("initial_preconditioner", torch.ones(H, K)),
    ("initial_preconditioner", torch.ones(B + 1, H, K)), ("anchor", torch.ones(B, H, K + 1)),
    ("anchor", torch.ones(H, K)),
]  # fmt: skip
BAD_TYPES = [
    ("k", torch.ones(B, T, H, K, dtype=torch.float16)), ("v", torch.ones(B, T, H, V, dtype=torch.bfloat16)),
    ("q", torch.ones(B, T, H, K, dtype=torch.float64)), ("q", torch.ones(B, T, H, K, dtype=torch.int64)),
    ("beta", torch.ones(B, T, H, dtype=torch.int32)), ("beta", torch.ones(B, T, H, dtype=torch.float64)),
    ("g", torch.zeros(B, T, H, dtype=torch.bool)), ("initial_state", torch.ones(B, H, K, V, dtype=torch.complex64)),
    ("initial_preconditioner", torch.ones(B, H, K, dtype=torch.int64)),
    ("anchor", torch.ones(B, H, K, dtype=torch.int64)),
    *((name, arguments()[name].to("meta")) for name in TENSORS if name != "q"),
]  # fmt: skip
BAD_VALUES = [
    ("g", spoiled(GATES, 1e-6)), ("g", spoiled(GATES, NAN)), ("g", spoiled(GATES, INF)),
    *(("initial_preconditioner", spoiled(VECTORS, x)) for x in (0.66, 1.51, NAN, INF)),
    ("anchor", spoiled(VECTORS, INF)), ("anchor", spoiled(VECTORS, NAN)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD_NUMBERS + BAD_SHAPES + BAD_TYPES + BAD_VALUES)
def test_a_bad_argument_is_named_with_what_was_expected(name, value):
    call = arguments(**{name: value})
    with pytest.raises(ValueError, match=rf"^{name}: expected .+, got ."):
        check_call(KERNELS, **call)
    # q comes first, so the k alone that does not fit q may be right, and d_1 alone that fits k.
    if name not in ("q", "k", "v", "beta", "scale", "initial_state"):
        with pytest.raises(ValueError, match=rf"^{name}: expected .+, got ."):
            check_scan(KERNELS, **of_preconditioner(call))


@pytest.mark.parametrize(("interpreted", "wanted"), [(False, "a CUDA tensor"), (True, "a CPU tensor")])
def test_a_device_without_kernels_is_named_before_any_launch(interpreted, wanted, monkeypatch):
    monkeypatch.setattr(runtime, "can_launch", lambda device: False)
    monkeypatch.setattr(runtime, "INTERPRETED", interpreted)
    with pytest.raises(ValueError, match=rf"^q: expected {wanted}.*osdn_reference.*, got one on cpu"):
        check_call(KERNELS, **arguments())
    check_call(ANYWHERE, **arguments())


@pytest.mark.parametrize(
    "k",
    [
        torch.ones(2),
        torch.ones(B, T, H, 257),
        torch.ones(B, T, H, 0),
        torch.ones(B, T, H, K, dtype=torch.float64),
    ],
)
def test_bad_keys_of_the_preconditioner_alone(k):
    with pytest.raises(ValueError, match=r"^k: expected .+, got ."):
        check_scan(KERNELS, **of_preconditioner(arguments(k=k)))


@pytest.mark.parametrize("name", [*TENSORS, "cu_seqlens"])
@pytest.mark.parametrize("value", [[1.0, 2.0], "x"])
def test_what_must_be_a_tensor(name, value):
    kind = ValueError if name == "anchor" else TypeError
    with pytest.raises(kind, match=rf"^{name}: expected .+, got ."):
        check_call(KERNELS, **packed(**{name: value}))


@pytest.mark.parametrize(
    "bounds",
    [
        torch.tensor([0, 3, 2, T]),
        torch.tensor([1, 2, T]),
        torch.tensor([0, 2, T - 1]),
        torch.tensor([0, 2, T + 1]),
        torch.tensor([0.0, 2.0, T]),
        torch.tensor([[0, 2, T]]),
        torch.tensor([0]),
        torch.tensor([], dtype=torch.int64),
        torch.tensor([0, 2, T], dtype=torch.int16),
        torch.tensor([0, 2, T], device="meta"),
    ],
)
def test_bad_bounds(bounds):
    sequences = max(bounds.numel() - 1, 0)
    states = {"anchor": torch.ones(sequences, H, K), "initial_preconditioner": torch.ones(sequences, H, K)}
    call = packed(cu_seqlens=bounds, initial_state=None, **states)
    for check, bad in (check_call, call), (check_scan, of_preconditioner(call)):
        for _ in range(2):
            with pytest.raises(ValueError, match=r"^cu_seqlens: expected .+, got ."):
                check(KERNELS, **bad)


def test_packed_sequences_lie_in_one_row():
    with pytest.raises(ValueError, match=r"^cu_seqlens: expected B = 1, .+, got B = 2"):
        check_call(KERNELS, **arguments(cu_seqlens=torch.tensor([0, 2, T])))
    with pytest.raises(
        ValueError, match=r"^initial_state: expected \[N, H, K, V\] = \[2, 3, 8, 4\], got \[1"
    ):
        check_call(KERNELS, **packed(initial_state=torch.ones(1, H, K, V)))


def test_ones_outside_the_box_need_a_start():
    box = {"d_min": 1.25, "d_max": 1.5}
    with pytest.raises(
        ValueError, match=r"^initial_preconditioner: expected a tensor, .* \[1\.25, 1\.5\], got None"
    ):
        check_call(KERNELS, **arguments(initial_preconditioner=None, **box))
    check_call(KERNELS, **arguments(initial_preconditioner=torch.full((B, H, K), 1.25), **box))


def test_a_state_brings_its_own_preconditioner():
    state = State(torch.ones(B, H, K, V), torch.full((B, H, K), 1.2))
    with pytest.raises(ValueError, match=r"^initial_preconditioner: expected None"):
        check_call(KERNELS, **arguments(initial_state=state))
    found = check_call(KERNELS, **arguments(initial_state=state, initial_preconditioner=None))
    assert found.initial_state is state.state
    assert found.initial_preconditioner is state.preconditioner
    outside = State(state.state, 2 * state.preconditioner)
    with pytest.raises(
        ValueError, match=r"^initial_preconditioner: expected .* got 2\.4.* \(48 such values\)"
    ):
        check_call(KERNELS, **arguments(initial_state=outside, initial_preconditioner=None))


def test_values_are_not_read_where_told_so():
    wrong = packed(
        g=torch.full((1, T, H), NAN), initial_preconditioner=torch.full((B, H, K), 9.0), check_values=False
    )
    for bounds, settled in ([3, 1, 0], [3, 3, 3]), ([-9, 2, 3], [0, 2, 3]), ([0, 2**40, T], [0, T, T]):
        wrong["cu_seqlens"] = torch.tensor(bounds)
        assert check_call(KERNELS, **wrong).cu_seqlens.tolist() == settled
        assert check_scan(KERNELS, **of_preconditioner(wrong)).sequences == 2


@pytest.mark.parametrize("name", ["eta", "d_min", "d_max", "scale"])
@pytest.mark.parametrize("learns", [False, True])
def test_numbers_are_no_tensors(name, learns):
    """Of a tensor a gradient would be expected, and its value would have to be waited for."""
    with pytest.raises(TypeError, match=rf"^{name}: expected a number.*got a tensor"):
        check_call(KERNELS, **arguments(**{name: torch.tensor(1.0, requires_grad=learns)}))


def test_total_forgetting_is_a_gate_that_sums_and_differences_take():
    found = check_call(KERNELS, **arguments(g=spoiled(GATES, -INF)))
    assert found.g.isfinite().all()
    assert found.g.double().exp()[-1, -1, -1] == 0
    assert torch.equal(found.g.view(-1)[:-1], GATES.view(-1)[:-1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_canonical_values(dtype):
    changes = {name: arguments()[name].to(dtype) for name in TENSORS}
    found = check_call(ANYWHERE if dtype == torch.float64 else KERNELS, **arguments(**changes))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert found.scale == K**-0.5
    assert tuple(found.rule) == (0.003, 2 / 3, 3 / 2, False, False)
    assert found.sequences == B
    assert found.chunk_size == 64
    for name in ("q", "k", "v", "beta"):
        assert getattr(found, name) is changes[name]
    assert torch.equal(found.g, changes["g"])
    for name in ("anchor", "initial_state", "initial_preconditioner"):
        assert getattr(found, name).dtype == wide


def test_absent_arguments_stay_absent():
    absent = {"g": None, "anchor": None, "initial_state": None, "initial_preconditioner": None}
    found = check_call(KERNELS, **arguments(**absent))
    assert isinstance(found, Arguments)
    assert {name: getattr(found, name) for name in absent} == absent


def test_anchors_become_tensors_where_they_matter():
    assert torch.equal(check_call(KERNELS, **arguments(anchor=0.5)).anchor, torch.full((B, H, K), 0.5))
    assert check_call(KERNELS, **arguments(anchor=0)).anchor is None
    assert check_call(KERNELS, **arguments(anchor=0.5, g=None)).anchor is None
    assert check_call(KERNELS, **arguments(g=None)).anchor is None
    with pytest.raises(ValueError, match=r"^anchor: "):
        check_call(KERNELS, **arguments(g=None, anchor=torch.ones(H, K)))


def test_gradients_reach_what_is_converted():
    start = torch.ones(B, H, K, dtype=torch.bfloat16, requires_grad=True)
    check_call(KERNELS, **arguments(initial_preconditioner=start)).initial_preconditioner.sum().backward()
    assert torch.equal(start.grad, torch.ones_like(start))


def test_strided_inputs_and_no_tokens_are_fine():
    strided = torch.ones(B, H, T, K).transpose(1, 2)
    assert check_call(KERNELS, **arguments(q=strided, k=strided)).k is strided
    none = {name: arguments()[name][:, :0] for name in ("q", "k", "v", "beta", "g")}
    assert check_call(KERNELS, **arguments(**none)).q.shape[1] == 0


@settings(max_examples=60, deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.floats(0, 10))
def test_what_a_clip_hands_on_is_inside_the_box(value, width):
    """The bounds are float64 and d is float32: rounding a bound must not put the clipped d outside of it."""
    low, high = -width / 3, width / 7
    clipped = torch.full((B, H, K), value).clamp(low, high)
    found = check_call(KERNELS, **arguments(d_min=low, d_max=high, initial_preconditioner=clipped))
    assert found.initial_preconditioner is clipped


def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts, in the list it returns, the conditions of every reading to come."""
    counts = []
    require_all = input_values._require_all
    monkeypatch.setattr(input_values, "_require_all", lambda c: counts.append(len(c)) or require_all(c))
    return counts


def test_bounds_are_read_once_per_tensor_version_and_length(monkeypatch):
    counts = reads(monkeypatch)
    bounds = torch.tensor([0, 2, T])
    call = of_preconditioner(packed(cu_seqlens=bounds, g=None, anchor=None, initial_preconditioner=None))
    for _ in range(3):
        check_scan(KERNELS, **call)
    assert counts == [1, 0, 0]
    with pytest.raises(ValueError, match=r"^cu_seqlens: "):
        check_scan(KERNELS, **call | {"k": torch.ones(1, T + 1, H, K)})
    bounds[1] = 9
    with pytest.raises(ValueError, match=r"^cu_seqlens: "):
        check_scan(KERNELS, **call)
    bounds[1] = 3
    check_scan(KERNELS, **call)
    check_scan(KERNELS, **call | {"cu_seqlens": bounds.clone()})
    assert counts == [1, 0, 0, 1, 1, 1, 1]


def test_bounds_that_change_unheard_of_lead_out_of_no_tensor():
    bounds = torch.tensor([0, 2, T])
    call = of_preconditioner(packed(cu_seqlens=bounds, g=None, anchor=None, initial_preconditioner=None))
    check_scan(KERNELS, **call)
    bounds.numpy()[:] = [0, T + 1, 2]
    assert check_scan(KERNELS, **call).cu_seqlens.tolist() == [0, T, T]


def test_verdicts_go_with_their_tensors():
    before = len(input_values._ACCEPTED)
    for _ in range(5):
        check_call(KERNELS, **packed())
    gc.collect()
    assert len(input_values._ACCEPTED) <= before


def test_bounds_of_inference_mode_are_read_every_time(monkeypatch):
    counts = reads(monkeypatch)
    with torch.inference_mode():
        call = of_preconditioner(packed(g=None, anchor=None, initial_preconditioner=None))
        for _ in range(2):
            check_scan(KERNELS, **call)
    assert counts == [1, 1]


@pytest.mark.parametrize("dynamic", [False, True])
def test_checks_trace_without_a_graph_break(dynamic):
    def scaled(k: torch.Tensor, g: torch.Tensor, eta: float, state: State) -> torch.Tensor:
        call = arguments(q=k, k=k, v=k, beta=-g, g=g, eta=eta, anchor=0.5)
        found = check_call(KERNELS, **call | {"initial_state": state, "initial_preconditioner": None})
        return found.k * found.scale * found.rule.eta + found.anchor.sum() + found.initial_state.sum()

    compiled = torch.compile(scaled, fullgraph=True, backend="eager", dynamic=dynamic)
    state = State(torch.zeros(B, H, K, K), torch.ones(B, H, K))
    for length, eta in (5, 0.1), (7, 0.2), (9, 0.3):
        k, g = torch.ones(B, length, H, K), -torch.ones(B, length, H)
        assert torch.equal(compiled(k, g, eta, state), scaled(k, g, eta, state))


@pytest.mark.parametrize("operator", [osdn_reference, chunk_osdn_reference])
def test_the_references_check_their_inputs_and_take_any_size(operator):
    with pytest.raises(ValueError, match=r"^g: "):
        operator(**arguments(g=torch.ones(B, T, H)))
    wide = torch.ones(1, 1, 1, 300, dtype=torch.float64)
    assert operator(wide, wide, wide, wide[..., 0])[0].shape == wide.shape


def test_the_reference_of_the_preconditioner_checks_its_inputs():
    with pytest.raises(ValueError, match=r"^chunk_size: "):
        preconditioner_reference(torch.ones(B, T, H, K), chunk_size=7)
    with pytest.raises(ValueError, match=r"^initial_preconditioner: "):
        preconditioner_reference(torch.ones(B, T, H, K), d_min=2.0, d_max=3.0)
