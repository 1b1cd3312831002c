"""Kernels held against themselves: what is broken is called wrong, and what is right never."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import pytest
import torch
from support.crosscheck.faulty_kernels import State, Trajectory, correct
from torch import Tensor

from osdn_theory.base.jsonable import jsonable
from osdn_theory.crosscheck import Adapter, adapt, pose
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.evidence.limits import Limit, limits, models_of
from osdn_theory.crosscheck.invariance import TITLES, Invariance, invariances, required
from osdn_theory.crosscheck.invariance.checks import allowances
from osdn_theory.crosscheck.invariance.result import difference, hold, total
from osdn_theory.crosscheck.kernel.calling import KernelError, Returned
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.streams.stream import Stream

CHUNK, TOKENS = 16, 24
EQUAL, INSIDE, WRONG, SILENT = "equal bit for bit", "inside the bound", "wrong", "not exercised"
RULE = CalibrationRule(eta=0.5, d_min=0.6, d_max=1.3, forgetting="token", anchor=0.9)
NOISE = torch.Generator().manual_seed(0)


def osdn(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None = None, scale: float | None = None,
    eta: float = 0.003, d_min: float = 2 / 3, d_max: float = 1.5, anchor: Tensor | None = None,
    initial_state: Tensor | None = None, initial_preconditioner: Tensor | None = None,
    output_final_state: bool = False, cu_seqlens: Tensor | None = None, return_trajectory: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """Right, token by token; packed sequences one after the other."""
    rule: dict[str, Any] = {"scale": scale, "eta": eta, "d_min": d_min, "d_max": d_max}
    more: dict[str, Any] = {"output_final_state": True, "return_trajectory": True}
    given = {
        "anchor": anchor,
        "initial_state": initial_state,
        "initial_preconditioner": initial_preconditioner,
    }
    if cu_seqlens is None:
        return correct(q, k, v, beta, g, **rule, **given, **more)
    found = []
    for n, (start, stop) in enumerate(zip(cu_seqlens[:-1].tolist(), cu_seqlens[1:].tolist(), strict=True)):
        tokens = [None if x is None else x[:, start:stop] for x in (q, k, v, beta, g)]
        own = {name: None if x is None else x[n : n + 1] for name, x in given.items()}
        found.append(correct(*tokens, **rule, **own, **more))
    outputs, finals, paths = zip(*found, strict=True)
    return (
        torch.cat(outputs, 1),
        State(*(torch.cat(x) for x in zip(*finals, strict=True))),
        Trajectory(*(torch.cat(x, 1) for x in zip(*(path[:3] for path in paths), strict=True))),
    )


Kernel = Callable[..., tuple[Any, ...]]


def broken(change: Callable[[Kernel, dict[str, Any]], tuple[Any, ...]], kernel: Kernel = osdn) -> Kernel:
    """The kernel with a change around its call, and its signature."""

    @wraps(kernel)
    def faulty(**given: Any) -> tuple[Any, ...]:
        return change(kernel, given)

    return faulty


def on_outputs(change: Callable[[Tensor], Tensor]) -> Kernel:
    def changed(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
        o, *rest = kernel(**given)
        return change(o), *rest

    return broken(changed)


def noisy(size: float) -> Kernel:
    return on_outputs(lambda o: o + size * torch.rand(o.shape, generator=NOISE))


def mixing_rows(size: float) -> Kernel:
    return on_outputs(lambda o: o + size * (o.sum(0) - o))


def by_place(axis: int, size: float) -> Kernel:
    """Rows or heads after the first one are scaled."""

    def scaled(o: Tensor) -> Tensor:
        factors = torch.ones(o.shape[axis])
        factors[1:] += size
        return o * factors.reshape([-1 if i == axis else 1 for i in range(4)])

    return on_outputs(scaled)


def leaking_pack(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
    """Of packed sequences, the second starts with a part of the first one's memory."""
    o, final, path = kernel(**given)
    if given.get("cu_seqlens") is None:
        return o, final, path
    start = torch.stack([torch.zeros_like(final.state[0]), *final.state[:-1]])
    return kernel(**{**given, "initial_state": given["initial_state"] + 0.01 * start})


def handing_on_whole_blocks(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
    """The state after the last whole block of 8, wherever the sequence ends."""
    o, final, path = kernel(**given)
    whole = o.shape[1] // 8 * 8
    if whole == 0 or given.get("cu_seqlens") is not None:
        return o, final, path
    per_token = {name: given[name][:, :whole] for name in ("q", "k", "v", "beta", "g")}
    return o, kernel(**{**given, **per_token})[1], path


def forgetting_chunks(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
    """Sequences of exactly one chunk hand on a state that is too small."""
    o, final, path = kernel(**given)
    return o, final._replace(state=(0.99 if o.shape[1] == CHUNK else 1.0) * final.state), path


def dense(x: Any) -> Any:
    if not isinstance(x, Tensor):
        return x
    strides = torch.empty(x.shape).stride()
    return torch.as_strided(x, x.shape, strides)


def assuming_dense(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
    return kernel(**{name: dense(x) if name == "k" else x for name, x in given.items()})


def wrong_step(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
    """A single token does not forget."""
    single = given["k"].shape[1] == 1
    return kernel(**{name: 0.0 * x if single and name == "g" else x for name, x in given.items()})


def overwriting_state(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
    o, final, path = kernel(**given)
    given["initial_state"].copy_(final.state)
    return o, final, path


def with_one_buffer() -> Kernel:
    """Outputs of one shape share memory."""
    buffers: dict[Any, Tensor] = {}

    def buffered(o: Tensor) -> Tensor:
        return buffers.setdefault(o.shape, torch.empty_like(o)).copy_(o)

    return on_outputs(buffered)


def with_a_memory_of_calls() -> Kernel:
    """The first output of a shape leaks into the next ones."""
    before: dict[Any, Tensor] = {}

    def leaking(o: Tensor) -> Tensor:
        found = o + 0.01 * before.get(o.shape, torch.zeros_like(o))
        before.setdefault(o.shape, o)
        return found

    return on_outputs(leaking)


def draw(
    adapter: Adapter, *, dtype: Any = "float32", batch: int = 2, heads: int = 3, tokens: int = TOKENS
) -> Case:
    rng = np.random.default_rng(7)
    lead = (batch, heads)
    keys = rng.standard_normal((*lead, tokens, 8))
    per_feature = adapter.recurrence == "kda"
    stream = Stream(
        keys=keys / np.linalg.norm(keys, axis=-1, keepdims=True),
        values=rng.standard_normal((*lead, tokens, 12)),
        queries=rng.standard_normal(keys.shape),
        beta=rng.uniform(0, 1, keys.shape[:-1]),
        forget_gate=rng.uniform(0.7, 1, keys.shape[:-1]),
        state_gate=rng.uniform(0.7, 1, keys.shape if per_feature else keys.shape[:-1]),
        initial_preconditioner=rng.uniform(0.7, 1.2, (*lead, 8)),
    )
    state = rng.standard_normal((*lead, 12, 8)) if "initial_state" in adapter.parameters else None
    return pose(adapter, stream, RULE, dtype, scale=0.5, initial_state=state)


def run(
    kernel: Any, *, order: Any = "recurrent", gradients: bool = False, **drawn: Any
) -> dict[str, Invariance]:
    adapter = replace(kernel if isinstance(kernel, Adapter) else adapt(kernel), order=order)
    case = draw(adapter, **drawn)
    models = models_of(adapter, case.dtype)
    found = invariances(adapter, case, "cpu", models, chunk_size=CHUNK, gradients=gradients)
    return {one.name: one for one in found}


def named(found: dict[str, Invariance], outcome: str) -> set[str]:
    return {name for name, one in found.items() if one.outcome == outcome}


FORWARD = set(TITLES) - {"deterministic-gradients"}


def test_the_right_kernel_is_exercised_in_every_way() -> None:
    found = run(osdn)
    assert set(found) == FORWARD
    assert not named(found, WRONG) | named(found, SILENT)
    exactly = {"deterministic", "packed-invariant", "piecewise-invariant", "step-invariant", "results-kept"}
    assert exactly <= named(found, EQUAL)
    assert found["deterministic"].detail == ""


CALLS = {
    "at random": (noisy(1e-2), FORWARD - {"inputs-unchanged", "results-kept"}),
    "rows mixed": (mixing_rows(1e-2), {"batch-invariant", "packed-invariant"}),
    "by row": (by_place(0, 1e-2), {"batch-invariant", "packed-invariant"}),
    "by head": (by_place(2, 1e-2), {"head-invariant"}),
    "packs leak": (broken(leaking_pack), {"packed-invariant"}),
    "whole blocks handed on": (
        broken(handing_on_whole_blocks), {"off-edge-piecewise-invariant", "step-invariant"},
    ),
    "chunks forgotten": (broken(forgetting_chunks), {"piecewise-invariant"}),
    "taken as dense": (broken(assuming_dense), {"stride-invariant"}),
    "steps": (broken(wrong_step), {"step-invariant"}),
    "in place": (broken(overwriting_state), {"inputs-unchanged"}),
}  # fmt: skip


@pytest.mark.parametrize("fault", CALLS)
def test_a_fault_is_wrong_where_it_shows_and_nowhere_else(fault: str) -> None:
    kernel, wrong = CALLS[fault]
    found = run(kernel)
    assert named(found, WRONG) == wrong
    assert all(found[name].detail for name in wrong)


def test_results_that_a_later_call_changes() -> None:
    found = run(with_one_buffer())
    assert named(found, WRONG) == {"results-kept"}
    assert found["results-kept"].detail == "a later call changes returned tensors of shape [2, 24, 3, 12]"


def test_results_that_a_call_with_one_row_changes() -> None:
    last: list[Tensor] = []

    def clobbering(o: Tensor) -> Tensor:
        if last:
            last[0].zero_()
        last.append(o)
        return o

    assert run(on_outputs(clobbering), batch=1)["results-kept"].outcome == WRONG


def test_what_an_earlier_call_leaves_behind() -> None:
    assert "deterministic" in named(run(with_a_memory_of_calls()), WRONG)


def test_an_input_that_a_call_changes_is_named() -> None:
    found = run(broken(overwriting_state))
    assert found["inputs-unchanged"].detail == "a call changes its input initial_state"


@pytest.mark.parametrize(
    ("kernel", "names"),
    [
        (noisy(1e-6), FORWARD - {"inputs-unchanged", "results-kept"}),
        (mixing_rows(1e-7), {"batch-invariant", "packed-invariant"}),
        (by_place(2, 2e-7), {"head-invariant"}),
    ],
)
def test_what_rounding_explains_is_inside_the_bound(kernel: Kernel, names: set[str]) -> None:
    found = run(kernel)
    assert not named(found, WRONG)
    assert names <= named(found, INSIDE)
    for name in names:
        difference = found[name].difference
        assert difference is not None
        assert difference.quantity == "o"
        assert 0 < difference.excess <= 1


def test_the_largest_difference_and_its_place() -> None:
    def poked(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
        o, *rest = kernel(**given)
        if given["k"].shape[2] == 1:
            o[1, 19, 0, 5] += poke.pop(0)
        return o, *rest

    poke = [0.5, 0.25, 0.0]

    found = run(broken(poked))["head-invariant"]
    assert found.outcome == WRONG
    assert found.difference is not None
    assert found.difference.size == pytest.approx(0.5, rel=1e-5)
    assert (found.difference.batch, found.difference.head, found.difference.token) == (1, 0, 20)
    assert found.detail.startswith("o with each head alone: 0.5 apart at batch row 1, head 0, token 20, ")
    document = jsonable(found)
    assert document["outcome"] == WRONG
    assert document["difference"]["token"] == 20


@pytest.mark.parametrize("part", ["state", "preconditioner"])
def test_what_is_handed_on_is_held_as_well(part: str) -> None:
    def changed(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
        o, final, path = kernel(**given)
        if given["k"].shape[0] == 1 and given.get("cu_seqlens") is None:
            final = final._replace(**{part: 1.01 * getattr(final, part)})
        return o, final, path

    found = run(broken(changed))
    assert named(found, WRONG) == {"batch-invariant"}
    assert found["batch-invariant"].difference is not None
    assert found["batch-invariant"].difference.quantity == {"state": "final state"}.get(part, "d handed on")


def linear(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None = None, scale: float | None = None,
    initial_state: Tensor | None = None, output_final_state: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """DeltaNet, whose memory decays with g per token or per feature."""
    dtype = v.dtype
    q, k, v, beta = (x.float() for x in (q, k, v, beta))
    h = k.new_zeros(*k[:, 0].shape, v.shape[-1]) if initial_state is None else initial_state
    outputs = []
    for t in range(k.shape[1]):
        if g is not None:
            h = h * (g[:, t].exp()[..., None] if g.ndim == 4 else g[:, t].exp()[..., None, None])
        residual = v[:, t] - torch.einsum("bhkv,bhk->bhv", h, k[:, t])
        h = h + torch.einsum("bhk,bhv->bhkv", k[:, t], beta[:, t, :, None] * residual)
        outputs.append(
            (k.shape[-1] ** -0.5 if scale is None else scale) * torch.einsum("bhkv,bhk->bhv", h, q[:, t])
        )
    return torch.stack(outputs, 1).to(dtype), h


def head_first(**given: Any) -> tuple[Tensor, Tensor]:
    """The same with tensors [B, H, T, ...] and states [V, K]."""
    turned = {name: x.transpose(1, 2) for name, x in given.items() if name in ("q", "k", "v", "beta", "g")}
    if given.get("initial_state") is not None:
        turned["initial_state"] = given["initial_state"].mT
    o, h = linear(**{**given, **turned})
    return o.transpose(1, 2), h.mT


def scan(
    k: Tensor, g: Tensor | None = None, eta: float = 0.003, d_min: float = 2 / 3, d_max: float = 1.5,
    anchor: Tensor | None = None, initial_preconditioner: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The preconditioner alone."""
    rule: dict[str, Any] = {"eta": eta, "d_min": d_min, "d_max": d_max, "anchor": anchor}
    _, final, path = correct(
        k, k, k, k[..., 0], g, initial_preconditioner=initial_preconditioner, output_final_state=True,
        return_trajectory=True, **rule,
    )  # fmt: skip
    return path.preconditioner, final.preconditioner


def adapted(name: str) -> Adapter:
    if name in ("osdn", "scan"):
        return adapt(osdn if name == "osdn" else scan, "naive")
    known = adapt(linear, "naive")
    if name.startswith("head first"):
        known = replace(known, call=head_first, layout="head first", state_layout="VK")
    kind: Any = name.removeprefix("head first ")
    without = {"g"} if kind == "delta_net" else set()
    return replace(known, recurrence=kind, parameters=known.parameters - without)


NAMES = ["osdn", "scan"] + [
    f"{layout}{kind}" for layout in ("", "head first ") for kind in ("delta_net", "gated_delta_net", "kda")
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_right_kernels_are_never_wrong(name: str, dtype: str) -> None:
    found = run(adapted(name), dtype=dtype)
    assert not named(found, WRONG)
    assert named(found, SILENT) == (set() if name == "osdn" else {"packed-invariant"})


@pytest.mark.parametrize("name", ["delta_net", "head first gated_delta_net", "kda"])
def test_other_recurrences_and_layouts_taken_as_dense(name: str) -> None:
    known = adapted(name)
    found = run(replace(known, call=lambda **given: assuming_dense(known.call, given)))
    assert named(found, WRONG) == {"stride-invariant"}


@pytest.mark.parametrize("name", ["gated_delta_net", "kda"])
def test_other_recurrences_that_forget_nothing_in_a_step(name: str) -> None:
    known = adapted(name)
    found = run(replace(known, call=lambda **given: wrong_step(known.call, given)))
    assert named(found, WRONG) == {"step-invariant"}


def without(*names: str) -> Adapter:
    known = adapt(osdn, "naive")
    return replace(known, parameters=known.parameters - set(names))


ROWS = {"batch-invariant", "packed-invariant", "results-kept"}
CONTINUED = {"piecewise-invariant", "off-edge-piecewise-invariant", "step-invariant"}


@pytest.mark.parametrize(
    ("kernel", "drawn", "names", "reason"),
    [
        (without("cu_seqlens"), {}, {"packed-invariant"}, "the kernel takes no cu_seqlens"),
        (without("initial_state"), {}, CONTINUED, "the kernel takes no initial_state"),
        (without("initial_preconditioner"), {}, CONTINUED, "the kernel takes no initial_preconditioner"),
        (osdn, {"batch": 1}, ROWS, "the case has one batch row"),
        (osdn, {"heads": 1}, {"head-invariant"}, "the case has one head"),
        (osdn, {"tokens": CHUNK}, {"piecewise-invariant"}, "the case has 16 tokens, and a chunk 16"),
        (osdn, {"tokens": 2}, CONTINUED, "the case has 2 tokens"),
    ],
)
def test_what_is_not_exercised_says_why(kernel: Any, drawn: Any, names: set[str], reason: str) -> None:
    found = run(kernel, **drawn)
    assert named(found, SILENT) == names
    assert not named(found, WRONG)
    assert all(found[name].detail.startswith(reason) for name in names)
    (first, *_) = sorted(names)
    (failure,) = required(found.values(), [first])
    assert failure.startswith(f"{first}: not exercised: {reason}")


def test_kernels_that_hand_nothing_on() -> None:
    without_state = replace(adapt(osdn, "naive"), results={"o": 0})
    found = run(without_state)
    assert {found[name].detail for name in CONTINUED} == {"the kernel hands no state on"}

    def bare(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
        o, final, path = kernel(**given)
        return o, final.state, path

    found = run(broken(bare))
    assert {found[name].detail for name in CONTINUED} == {"the kernel hands no preconditioner on"}


def test_what_a_kernel_does_not_implement_is_not_exercised_and_an_error_is_one() -> None:
    def refusing(error: type[Exception]) -> Kernel:
        def refuse(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
            if given.get("cu_seqlens") is not None:
                raise error("no packed sequences yet")
            return kernel(**given)

        return broken(refuse)

    found = run(refusing(NotImplementedError))
    assert named(found, SILENT) == {"packed-invariant"}
    assert found["packed-invariant"].detail == "the kernel says: no packed sequences yet"
    with pytest.raises(KernelError, match="in the call on packed batch rows"):
        run(refusing(RuntimeError))


class _Jittering(torch.autograd.Function):
    """The identity, whose backward adds noise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: float) -> Tensor:
        ctx.size = size
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad + ctx.size * torch.rand(grad.shape, generator=NOISE), None


@pytest.mark.parametrize(("size", "outcome"), [(0.0, EQUAL), (1e-6, INSIDE), (1e-2, WRONG)])
def test_gradients_are_run_twice(size: float, outcome: str) -> None:
    def jittering(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
        return kernel(**{**given, "v": _Jittering.apply(given["v"], size)})

    found = run(broken(jittering), gradients=True)
    assert set(found) == set(TITLES)
    graded = found.pop("deterministic-gradients")
    assert graded.outcome == outcome
    assert not named(found, WRONG)
    assert (graded.difference is not None) == (size > 0)
    if graded.difference is not None:
        assert graded.difference.quantity == "grad v"


def test_a_kernel_without_a_backward_pass() -> None:
    def refusing(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
        if given["v"].requires_grad:
            raise NotImplementedError("forward only")
        return kernel(**given)

    graded = run(broken(refusing), gradients=True)["deterministic-gradients"]
    assert graded.outcome == SILENT
    assert "no backward pass: forward only" in graded.detail


def test_required_checks() -> None:
    found = tuple(run(noisy(1e-6)).values())
    assert required(found, []) == []
    assert required(found, ["inputs-unchanged", "results-kept"]) == []
    (failure,) = required(found, ["inputs-unchanged", "deterministic"])
    assert failure.startswith("deterministic: inside the bound: o with the same inputs: ")
    (failure,) = required(found, ["deterministic-gradients"])
    assert failure == "deterministic-gradients: not exercised: it was not asked for"
    with pytest.raises(ValueError, match="unknown 'reproducible'; known: deterministic, inputs-unchanged"):
        required(found, ["deterministic", "reproducible"])


@pytest.mark.parametrize("size", [0, -1])
def test_a_chunk_has_tokens(size: int) -> None:
    adapter = adapt(osdn)
    case = draw(adapter)
    with pytest.raises(ValueError, match=f"chunk_size: expected >= 1, got {size}"):
        invariances(adapter, case, "cpu", models_of(adapter, "float32"), chunk_size=size)


@pytest.mark.parametrize(
    ("order", "chunk", "tokens", "cuts"),
    [
        ("chunk", 16, 24, (16, 22)),
        ("chunk", 16, 40, (16, 38)),
        ("chunk", 8, 35, (16, 33)),
        ("recurrent", 16, 24, (12, 22)),
        ("unknown", 16, 24, (12, 22)),
    ],
)
def test_where_pieces_meet(order: Any, chunk: int, tokens: int, cuts: tuple[int, int]) -> None:
    def chunked(kernel: Kernel, given: dict[str, Any]) -> tuple[Any, ...]:
        lengths.append(given["k"].shape[1])
        return kernel(**given)

    lengths: list[int] = []
    adapter = replace(adapt(broken(chunked)), order=order, defaults={"chunk_size": chunk})
    case = draw(adapter, tokens=tokens)
    invariances(adapter, case, "cpu", models_of(adapter, "float32"))
    edge, late = cuts
    steps = [1] * (tokens - late)
    assert lengths[10:] == [edge, tokens - edge, late, tokens - late, *steps]


def test_answers_may_differ_by_both_bounds_and_no_more() -> None:
    adapter = adapt(osdn, "naive")
    case = draw(adapter)
    models = models_of(adapter, "float32")
    one = limits(adapter, case, case.exact(), models)
    twice, regrouped = allowances(adapter, case, models)
    assert one.outputs.entries is not None
    right = Returned(outputs=np.zeros(one.outputs.entries.shape), state=np.zeros((2, 3, 12, 8)))
    place = (1, 2, 20, 5)

    def outcome(factor: float, allowed: Any) -> str:
        assert right.outputs is not None
        assert one.outputs.entries is not None
        moved = right.outputs.copy()
        moved[place] = factor * one.outputs.entries[place]
        return hold("deterministic", right, {"a nudge": replace(right, outputs=moved)}, allowed).outcome

    assert outcome(0.0, twice) == EQUAL
    assert outcome(1.99, twice) == INSIDE
    assert outcome(2.01, twice) == WRONG
    assert outcome(2.5, regrouped) == INSIDE
    assert outcome(3.5, regrouped) == WRONG

    def handed(factor: float) -> str:
        state = np.zeros((2, 3, 12, 8))
        state[1, 2, 3, 4] = factor * one.states.norm[1, 2, -1]
        return hold("deterministic", right, {"a nudge": replace(right, state=state)}, twice).outcome

    assert (handed(1.99), handed(2.01)) == (INSIDE, WRONG)


def test_a_run_in_pieces_may_miss_by_what_single_steps_do_as_well() -> None:
    adapter = replace(adapt(osdn, "chunk_osdn"), defaults={"chunk_size": CHUNK})
    case, models = draw(adapter), models_of(adapter, "float32")
    twice, regrouped = allowances(adapter, case, models)
    single = replace(adapter, defaults={"chunk_size": 1})
    steps, chunks = (limits(one, case, case.exact(), models) for one in (single, adapter))
    assert not np.allclose(steps.outputs.norm, chunks.outputs.norm, rtol=0.01)
    np.testing.assert_allclose(twice["outputs"].norm, 2 * chunks.outputs.norm)
    np.testing.assert_allclose(regrouped["outputs"].norm, 2 * chunks.outputs.norm + steps.outputs.norm)


def bits(first: list[float], second: list[float], bound: float = 1.0) -> Any:
    one, other = (np.array(x, dtype=np.float64)[None, None, :, None] for x in (first, second))
    tokens = np.arange(1, len(first) + 1)
    limit = Limit(np.full((1, 1, len(first)), bound), None, "")
    return difference("so", "o", one, other, tokens, limit)


def test_bits_of_zeros_and_of_no_numbers() -> None:
    inf, nan = np.inf, np.nan
    assert bits([1.0, nan, inf, -inf], [1.0, nan, inf, -inf]) is None
    assert bits([nan], [-nan]) is None
    signs = bits([1.0, 0.0], [1.0, -0.0])
    assert (signs.size, signs.excess, signs.token) == (0.0, 0.0, 2)
    assert str(signs) == "o with so: signs of zeros alone differ, at batch row 0, head 0, token 2"
    assert bits([1.0, 2.0], [1.0, nan]).excess == inf
    assert bits([1.0, nan], [1.0, 2.0]).excess == inf
    assert bits([inf], [-inf]).excess == inf
    # A bound that is infinite allows anything.
    assert bits([1.0], [nan], bound=inf).excess == 0.0


def test_limits_add_up() -> None:
    norm = np.ones((1, 1, 2))
    known, unknown = Limit(norm, np.full((1, 1, 2, 3), 0.5), "T18"), Limit(3 * norm, None, "allowance")
    both = total(known, known)
    assert both.entries is not None
    assert (both.norm[0, 0, 0], both.entries[0, 0, 0, 0], both.basis) == (2.0, 1.0, "T18")
    mixed = total(known, unknown)
    assert mixed.entries is None
    assert (mixed.norm[0, 0, 0], mixed.basis) == (4.0, "T18 and allowance")
