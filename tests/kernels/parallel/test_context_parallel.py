"""One sequence over several ranks gives what it gives on one: processes, and threads for what is broken on purpose."""

from contextlib import nullcontext
from functools import cache

import numpy as np
import pytest
import torch
from osdn_kernels.boundary.results import ExactState, State
from osdn_kernels.layers.gated import OnlineScaledGatedDeltaNet, OnlineScaledKDA
from osdn_kernels.parallel import context_parallel, local_cu_seqlens, operator
from osdn_kernels.reference.tokenwise import osdn_reference
from support.kernels.layer_cases import HIDDEN, VARIANTS, build
from support.kernels.ranks import (
    BASE,
    CASES,
    DTYPES,
    IN_PROCESSES,
    ON_KERNELS,
    PER_TOKEN,
    draw,
    layer_case,
    on_one,
    on_ranks,
    start,
)
from support.kernels.thread_ranks import on_threads
from torch import Tensor

from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.rounding import RECURRENT_FP32, error_bounds
from osdn_theory.streams.stream import Stream


@cache
def whole(name: str, dtype: torch.dtype, ranks: int) -> dict[str, Tensor]:
    return on_one(name, dtype, ranks)


def joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """What the ranks found, as one call would have."""
    found = {}
    for key in parts[0]:
        pieces = [part[key] for part in parts]
        if key == "o" or key.removeprefix("grad ") in PER_TOKEN:
            found[key] = torch.cat(pieces, 1)
        elif key.startswith("grad"):
            found[key] = sum(x for x in pieces if x is not None)
        else:
            assert all(torch.equal(piece, pieces[0]) for piece in pieces), f"{key} differs between ranks"
            found[key] = pieces[0]
    return found


def farthest(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference, in units of the largest entry or 1."""
    assert found.keys() == expected.keys()
    sizes = {key: 1.0 if x is None else max(1.0, x.abs().max().item()) for key, x in expected.items()}
    gaps = [(found[key] - (0 if x is None else x)) / sizes[key] for key, x in expected.items()]
    return max(gap.abs().max().item() if isinstance(gap, Tensor) else abs(gap) for gap in gaps)


def in_threads(
    name: str, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    return joined(on_threads(3, lambda group: on_ranks(name, dtype, group), monkeypatch))


def check(found: dict[str, Tensor], name: str, dtype: torch.dtype, ranks: int) -> None:
    expected = whole(name, dtype, ranks)
    assert farthest(found, expected) < (1e-13 if dtype == torch.float64 else 5e-6)
    # Chunks begin elsewhere, and kernels carry along a rest of d that does not cross ranks.
    if CASES[name].get("operator", "osdn").startswith("os"):
        assert torch.equal(found["d"], expected["d"]), "d is that of one rank to the bit"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in CASES if name not in ON_KERNELS])
def test_ranks_find_what_one_does(name, dtype, monkeypatch):
    check(in_threads(name, monkeypatch, dtype), name, dtype, 3)


@pytest.mark.usefixtures("on_references")
def test_processes_find_what_one_does(tmp_path):
    """All in one start of processes, which takes longer than what they then do."""
    found = start(3, tmp_path, IN_PROCESSES)
    for ranks in (2, 3):
        for name in IN_PROCESSES:
            check(joined([each[ranks, name] for each in found[:ranks]]), name, torch.float32, ranks)
    layers = same_tokens([each[3, "layer"] for each in found])
    assert farthest(layers, layer_case(build("everything"))) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_KERNELS)
def test_processes_find_it_on_kernels(name, tmp_path):
    found = joined([each[3, name] for each in start(3, tmp_path, [name])])
    check(found, name, torch.float32, 3)


def test_the_cases_clip_and_do_not():
    def clipped(name: str) -> float:
        rule = {"d_min": 2 / 3, "d_max": 3 / 2, **CASES[name].get("rule", {})}
        d = whole(name, torch.float64, 3)["d"]
        return ((d <= rule["d_min"]) | (d >= rule["d_max"])).double().mean().item()

    shares = {name: clipped(name) for name in ("plain", "some clip", "all clips", "pinned")}
    assert shares["plain"] == 0 < shares["some clip"] < shares["all clips"] <= shares["pinned"] == 1, shares


def bounded(found: dict[str, Tensor], name: str) -> tuple[bool, bool]:
    """Whether o and the final state are within T18's bound of one run in float32, token by token."""
    given = {key: x.numpy().astype(np.float64) for key, x in draw(name, torch.float32).items()}
    heads_first = {key: np.moveaxis(x, 1, 2) for key, x in given.items() if key in PER_TOKEN}
    stream = Stream(heads_first["k"], heads_first["v"], heads_first["q"], heads_first["beta"])
    rule = CalibrationRule(**CASES[name].get("rule", {"eta": 0.3}))
    memory, d = given["initial_state"].swapaxes(-1, -2), given["initial_preconditioner"]
    bounds = error_bounds(
        stream,
        rule,
        RECURRENT_FP32,
        scale=given["k"].shape[-1] ** -0.5,
        initial_state=memory,
        initial_preconditioner=d,
    )
    outputs = found["o"].movedim(1, 2).numpy() - bounds.trajectory.outputs
    state = found["state"].mT.numpy() - bounds.trajectory.final_state
    within = np.linalg.norm(state, axis=(-2, -1)) <= bounds.state[..., -1]
    return bool((np.abs(outputs) <= bounds.outputs).all()), bool(within.all())


@pytest.mark.parametrize("name", ["plain", "some clip", "all clips", "a rank without tokens"])
def test_rounding_stays_within_the_bound_of_one_run(name, monkeypatch):
    assert bounded(in_threads(name, monkeypatch, torch.float32), name) == (True, True)


def test_maps_in_16_bits_would_leave_the_bound(monkeypatch):
    mapped = operator._Part.map_memory
    monkeypatch.setattr(operator._Part, "map_memory", lambda *a: [x.bfloat16().float() for x in mapped(*a)])
    assert bounded(in_threads("plain", monkeypatch, torch.float32), "plain") == (False, False)


def unsettled(run, first, group, project, *, backwards=False):
    run(first)
    return first, first


def scaled(*factors: float):
    """Maps of the memory that are too large, or not there."""
    right = operator._Part.map_memory
    return lambda *given: [factor * x for factor, x in zip(factors, right(*given), strict=True)]


BROKEN = {
    "d does not move on": (operator, "settle", unsettled),
    "what a rank is given is not kept": (operator._Part, "map_memory", scaled(0, 1)),
    "what a rank writes is lost": (operator._Part, "map_memory", scaled(1, 0)),
    "gradients of the end are not summed": (operator, "sum_ranks", lambda x: x[0]),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_broken_is_seen(fault, monkeypatch):
    expected = whole("some clip", torch.float64, 3)
    assert farthest(in_threads("some clip", monkeypatch), expected) < 1e-13
    monkeypatch.setattr(*BROKEN[fault])
    assert farthest(in_threads("some clip", monkeypatch), expected) > 1e-3


@pytest.mark.usefixtures("on_references")
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_layer_over_ranks(variant, monkeypatch):
    layer = build(variant)
    parts = on_threads(3, lambda group: layer_case(layer, group), monkeypatch)
    assert farthest(same_tokens(parts), layer_case(layer)) < 1e-12


@pytest.mark.usefixtures("on_references")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("lengths", [(3, 1, 9), (0, 5, 8), (5, 0, 8), (5, 8, 0)])
def test_the_layer_over_ranks_where_nothing_is_handed_on(lengths, variant, monkeypatch):
    """What only some ranks read is exchanged by all, backwards too, or none of them would come back."""
    layer = build(variant)
    parts = on_threads(3, lambda group: layer_case(layer, group, lengths, cached=False), monkeypatch)
    assert farthest(same_tokens(parts), layer_case(layer, cached=False)) < 1e-12


@pytest.mark.usefixtures("on_references")
@pytest.mark.parametrize("layer", [OnlineScaledGatedDeltaNet, OnlineScaledKDA])
@pytest.mark.parametrize("forgetting", ["learned", "state"])
def test_gated_layers_over_ranks(layer, forgetting, monkeypatch):
    torch.manual_seed(0)
    layer = layer(HIDDEN, 1.0, 8, 2, num_v_heads=4, eta=0.5, forgetting=forgetting)
    parts = on_threads(3, lambda group: layer_case(layer, group), monkeypatch)
    assert farthest(same_tokens(parts), layer_case(layer)) < 1e-12


def same_tokens(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """As `joined`, of outputs that lie in a batch of two stretches."""
    o = torch.cat([part.pop("o") for part in parts], 2)
    return {"o": o, **joined(parts)}


def test_a_start_in_one_piece(monkeypatch):
    given = {key: x for key, x in draw("plain", torch.float64).items() if not key.startswith("initial")}
    memory, d = (draw("plain", torch.float64)[name] for name in ("initial_state", "initial_preconditioner"))

    def call(group):
        mine = {key: x[:, 5 * group.rank() : 5 * group.rank() + 5] for key, x in given.items()}
        over = context_parallel(osdn_reference, group)
        starts = State(memory, d), ExactState(memory, d, torch.zeros_like(d, dtype=torch.float32))
        found = [over(**mine, initial_state=start) for start in starts]
        assert found[0][1] is None
        return [o for o, _ in found]

    expected, _ = osdn_reference(**given, initial_state=State(memory, d))
    for found in zip(*on_threads(3, call, monkeypatch), strict=True):
        torch.testing.assert_close(torch.cat(found, 1), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("learns", [False, True])
def test_no_graph_is_kept_where_no_gradient_is_wanted(learns, monkeypatch):
    graphs = []
    calibrate = operator._Part.calibrate

    def watched(*given):
        graphs.append(torch.is_grad_enabled())
        return calibrate(*given)

    monkeypatch.setattr(operator._Part, "calibrate", watched)

    def call(group):
        given = {key: x.requires_grad_() for key, x in draw("plain", torch.float32).items()}
        with torch.set_grad_enabled(learns):
            return context_parallel(osdn_reference, group)(**given)[0].requires_grad

    assert on_threads(2, call, monkeypatch) == [learns, learns]
    assert any(graphs) == learns


def test_sizes_that_differ_are_named_on_every_rank(monkeypatch):
    def call(group):
        heads = 1 + (group.rank() == 1)
        q, k, v = torch.randn(3, 1, 4, heads, 6)
        with pytest.raises(
            ValueError, match=r"^k.shape\[2\]: expected the same on every rank of cp_group, got \[1, 2, 1\]"
        ):
            context_parallel(osdn_reference, group)(q, k, v, torch.rand(1, 4, heads))
        return True

    assert all(on_threads(3, call, monkeypatch))


def test_what_is_for_one_rank_alone_is_refused(monkeypatch):
    def call(group):
        q, k, v = torch.randn(3, 1, 4, 1, 6)
        over, beta = context_parallel(osdn_reference, group), torch.rand(1, 4, 1)
        alone = {"state_indices": torch.zeros(1, dtype=torch.int32), "return_trajectory": True}
        for name, value in {**alone, "return_intermediate_states": True}.items():
            with pytest.raises(ValueError, match=f"^{name}: expected .* beside cp_group"):
                over(q, k, v, beta, **{name: value})
        start = torch.full((1, 1, 6), 9.0)
        with pytest.raises(ValueError, match=r"^initial_preconditioner: expected finite values in the box"):
            over(q, k, v, beta, initial_preconditioner=start)
        with pytest.raises(
            ValueError, match=r"^cu_seqlens: expected bounds that end at 6, the tokens of all"
        ):
            local_cu_seqlens(torch.tensor([0, 2, 5]), 3, group)
        return local_cu_seqlens(torch.tensor([0, 2, 2, 5, 6]), 3, group).tolist()

    assert on_threads(2, call, monkeypatch) == [[0, 2, 2, 3, 3], [0, 0, 0, 2, 3]]


def test_autocast_does_not_round_maps(monkeypatch):
    call = {name: x.float() for name, x in draw("plain", torch.float32).items()}
    lengths = BASE["lengths"]

    def run(group, autocast=True):
        start = sum(lengths[: group.rank()])
        own = {name: call[name][:, start : start + lengths[group.rank()]] for name in ("q", "k", "v", "beta")}
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return context_parallel(osdn_reference, group)(**own, output_final_state=True)[1].state

    expected = on_threads(3, lambda group: run(group, autocast=False), monkeypatch)
    assert all(map(torch.equal, on_threads(3, run, monkeypatch), expected))
    monkeypatch.setattr(operator, "suspend_autocast", lambda _: nullcontext())
    assert not all(map(torch.equal, on_threads(3, run, monkeypatch), expected))


def test_what_is_no_group_is_named():
    for call in (
        lambda: context_parallel(osdn_reference, 3),
        lambda: build()(torch.ones(1, 4, HIDDEN), cp_group=3),
    ):
        with pytest.raises(TypeError, match=r"^cp_group: expected a ProcessGroup, got int"):
            call()
