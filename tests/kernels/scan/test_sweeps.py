"""The scan by sweeps against the clipped recurrence in float64: values, gradients, and what the certificate is for."""

from contextlib import nullcontext
from functools import cache

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from osdn_kernels import chunk_osdn, ops
from osdn_kernels.boundary.numerics import LARGEST_SWEPT_STEP
from osdn_kernels.boundary.rule import Rule
from osdn_kernels.launch.sequences import cut
from osdn_kernels.scan import backward as scan_backward, chain, series
from osdn_kernels.scan.sweeps import backward as sweeps_backward, blocks, forward as sweeps, pattern, spread
from osdn_kernels.scan.sweeps.blocks import allowed_sweeps, most_sweeps
from osdn_kernels.scan.sweeps.forward import sweeps_pay
from support.kernels.faults import break_kernel
from support.kernels.reference_cases import draw as draw_call
from support.kernels.scan_cases import directions, keys
from support.kernels.scan_oracle import (
    Problem,
    error,
    exact,
    exact_gradients,
    expected_clipped,
    gradients,
    run,
    used_slots,
    widened,
)

TOLERANCE = 2e-6
SIZE = 16
"""Blocks of 64 tokens."""

STEP = 0.06
TIGHT = Rule(STEP, 0.94, 1.06, False)
BOUNDED = Rule(0.01, 2 / 3, 3 / 2, False)


def draw(
    rule, batch, length, dim=16, *, gate=None, anchor=None, bounds=None, heads=1, start=(0.94, 1.06), seed=0
):
    """A problem; `gate` is the log odds about which gates are drawn, `anchor` a number."""
    rng = torch.Generator().manual_seed(seed)
    sequences = batch if bounds is None else len(bounds) - 1
    shape = (sequences, heads, dim)
    g = None
    if gate is not None:
        g = torch.nn.functional.logsigmoid(gate + torch.randn(batch, length, heads, generator=rng))
    initial = start[0] + (start[1] - start[0]) * torch.rand(shape, generator=rng)
    c = None if anchor is None else torch.full(shape, float(anchor))
    return Problem(keys(rng, batch, length, heads, dim), rule, g, c, initial, bounds)


CASES = {
    "forgetting to 0": draw(BOUNDED, 1, 140, gate=3.0, start=(0.8, 1.2)),
    "forgetting to 0, several heads, odd features": draw(BOUNDED, 1, 75, 24, gate=2.0, heads=2),
    "anchored": draw(Rule(STEP, 0.5, 2.0, False), 1, 140, gate=3.0, anchor=1.0),
    "anchored beyond the box, normalized": draw(
        Rule(STEP, 0.94, 1.06, True), 1, 140, gate=2.0, anchor=1.3
    ),
    "strong forgetting": draw(TIGHT, 1, 75, gate=-3.0, anchor=0.9),
    "no gates, tight": draw(TIGHT, 1, 140),
    "no gates, normalized": draw(Rule(STEP, 0.94, 1.06, True), 1, 140, 24),
    "packed": draw(TIGHT, 1, 140, gate=4.0, anchor=0.8, bounds=(0, 0, 1, 38, 60, 140, 140), heads=2),
    "packed, no gates": draw(TIGHT, 1, 140, bounds=(0, 1, 1, 38, 60, 140), start=(0.9, 1.1)),
    "one token": draw(TIGHT, 2, 1, gate=1.0),
    "open box": draw(Rule(STEP, float("-inf"), float("inf"), False), 1, 75, gate=3.0),
    "start outside the box": draw(TIGHT, 1, 75, gate=3.0, start=(0.7, 1.3)),
}  # fmt: skip
each_case = pytest.mark.parametrize("problem", CASES.values(), ids=CASES)


def clipping(length=140):
    """Features hang on both faces, and keys move some of them off again: maps with every part in use."""
    problem = draw(Rule(0.03, 0.985, 1.015, False), 1, length, start=(0.9, 1.1), seed=3)
    problem.initial[:] = problem.initial.clamp(0.985, 1.015)
    problem.k[:, 0::2] *= 1.25
    problem.k[:, 1::2] *= 0.8
    return problem


def ulps(found, wanted):
    rounded = wanted.detach().float()
    return ((found - rounded).abs() / torch.from_numpy(np.spacing(rounded.numpy()))).max()


@each_case
def test_values(problem):
    wanted = exact(widened(problem))
    found, gains = run(problem, SIZE, sequential=False)
    assert gains.opened is not None
    assert error(found, wanted.d) < TOLERANCE
    assert error(gains.final, wanted.final) < TOLERANCE
    assert (gains.gain - wanted.gain).abs().max() < TOLERANCE * problem.rule.eta
    used = used_slots(problem, SIZE)
    slot = 0
    for b, first, end in problem.spans():
        for start in range(first, end, SIZE):
            assert error(gains.entry[slot], wanted.d[b, start]) < TOLERANCE
            slot += 1
    assert torch.equal(gains.clipped[:used], expected_clipped(problem, exact(problem), SIZE)[:used])
    assert ulps(found, wanted.d) <= 4


@each_case
def test_gradients(problem):
    given = directions(problem)
    scale_key = problem.g is None
    wanted = exact_gradients(problem, *given, scale_key=scale_key)
    found = gradients(problem, SIZE, *given, scale_key=scale_key, sequential=False)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.isfinite().all()
        assert theirs.norm() == 0 or error(ours, theirs) < TOLERANCE


def found_by(problem):
    """Most ulps off, sweeps that walked, whether sweeps left something open."""
    found, gains = run(problem, SIZE, sequential=False)
    opened = gains.opened.flatten(1)
    return ulps(found, exact(widened(problem)).d), int(opened.sum(0).max()), int(opened[-1].max())


def worst_gradient(problem):
    given = directions(problem)
    wanted = exact_gradients(problem, *given, scale_key=True)
    found = gradients(problem, SIZE, *given, scale_key=True, sequential=False)
    return max(error(ours, theirs) for ours, theirs in zip(found, wanted, strict=True))


def test_what_the_chain_loses_of_d_does_not_add_up():
    """128 chunks of which none clips: d alone, rounded once or twice a chunk, drifts from the exact one."""
    problem = draw(Rule(0.01, 0.5, 2.0, False), 1, 2048, 16, start=(0.8, 1.2))
    found, gains = run(problem, SIZE, sequential=False)
    assert not gains.clipped.any()
    assert ulps(found, exact(widened(problem)).d) <= 2


def test_a_stream_on_both_faces_settles_and_is_exact():
    problem = clipping()
    binds = exact(widened(problem)).binds
    assert 0.2 < binds.float().mean() < 0.9
    off, sweeps, left = found_by(problem)
    assert off <= 4
    assert 2 <= sweeps < most_sweeps(140, SIZE)
    assert not left
    assert worst_gradient(problem) < TOLERANCE


def test_what_does_not_settle_is_walked_to_its_end(monkeypatch):
    """With no tolerance nothing ever settles."""
    monkeypatch.setattr(sweeps, "TOLERANCE", tl.constexpr(-1.0))
    monkeypatch.setattr(sweeps_backward, "TOLERANCE", tl.constexpr(-1.0))
    for problem in (clipping(140), CASES["packed"]):
        off, _, left = found_by(problem)
        assert left
        assert off <= 4
        assert worst_gradient(problem) < TOLERANCE


def test_steps_that_stretch_distances_are_not_certified():
    """One long key per block: eta |s|^2 > 1, so that the entry of the next block could be off by more than it seems."""
    problem = draw(TIGHT, 1, 140, gate=3.0)
    problem.k[:, ::30] *= 2.5
    off, _, left = found_by(problem)
    assert off <= 4
    assert left


JOIN_FAULTS = {
    "maps that do not clip": ("y = tl.minimum(high, tl.maximum(low, passed)) + gap", "y = passed + gap"),
    "what the clip took is lost": ("eta)) + excess", "eta))"),
    "deviations are not handed on": (
        "passed = slope * (y + answer(y, common, own, eta))",
        "passed = 0.0 * y",
    ),
    "gains that do not answer": ("(y + answer(y, common, own, eta))", "y"),
    "gains that answer the wrong way": ("y + answer(", "y - answer("),
}


@cache
def joined(kind):
    """A problem of five blocks, that clip or pass most of a change on, and what right joins of them cost."""
    problem = clipping(300)
    if kind != "clipping":
        step = 0.002 if kind == "answering" else 0.03
        problem = draw(Rule(step, 0.9, 1.1, False), 1, 300, gate=7.0, anchor=1.1, start=(0.9, 1.1))
    if kind == "answering":
        problem.k[:] = problem.k[:, :1]
    off, *cost = found_by(problem)
    assert off <= 4
    assert not cost[1]
    return problem, cost


@pytest.mark.parametrize("fault", JOIN_FAULTS)
def test_a_wrong_join_is_seen_by_the_certificate(fault, monkeypatch, tmp_path):
    """It costs sweeps, or leaves something to one warp, and changes nothing else."""
    kind = "answering" if "answer" in fault else "clipping" if "clip" in fault else "free"
    problem, before = joined(kind)
    break_kernel(monkeypatch, tmp_path, sweeps, "join_blocks", *JOIN_FAULTS[fault])
    off, *cost = found_by(problem)
    assert off <= 4
    assert cost > before


def test_a_sweep_too_few_is_noticed(monkeypatch, tmp_path):
    """Blocks that need walking again are not, and junctions that do not fit are looked at, or not either."""
    break_kernel(
        monkeypatch,
        tmp_path,
        sweeps,
        "sweep_item",
        "settled = (sweep > 0) & (moved <= allowed)",
        "settled = (sweep > 0) & (moved <= 1e9)",
    )
    off, _, left = found_by(clipping())
    assert off <= 4
    assert left
    monkeypatch.setattr(sweeps, "TOLERANCE", tl.constexpr(1e9))
    assert found_by(clipping())[0] > 100


def test_a_clip_that_nobody_is_told_of_is_noticed(monkeypatch, tmp_path):
    """Sweeps leave at once where the chain, or the mark backwards, has found nothing to walk."""
    with monkeypatch.context() as patch:
        break_kernel(
            patch,
            tmp_path,
            chain,
            "chain_kernel",
            "tl.store(busy, 1, mask=reached <",
            "tl.store(busy, 0, mask=reached <",
        )
        assert not found_by(clipping())[0] <= 4
    assert worst_gradient(clipping()) < TOLERANCE
    break_kernel(monkeypatch, tmp_path, pattern, "mark_kernel", "tl.store(busy, 1,", "tl.store(busy, 0,")
    assert not worst_gradient(clipping()) < 10 * TOLERANCE


BACKWARD_FAULTS = {
    "the clip passes every gradient": (
        pattern, "replay", "word |= tl.where(passes, 1 << j, 0)", "word |= 1 << j",
    ),
    "a sweep too few": (
        sweeps_backward, "sweep_item_back", "settled = (sweep > 0) & (moved <= allowed)",
        "settled = (sweep > 0) & (moved <= 1e9)",
    ),
    "the spread forgets the clip": (
        spread, "spread_group", "tl.where((word & (1 << j)) != 0, adjoint, 0.0)", "adjoint",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BACKWARD_FAULTS)
def test_a_wrong_adjoint_is_noticed(fault, monkeypatch, tmp_path):
    if fault == "a sweep too few":
        # The certificate sees it, so that it has to go as well.
        monkeypatch.setattr(sweeps_backward, "TOLERANCE", tl.constexpr(1e9))
    break_kernel(monkeypatch, tmp_path, *BACKWARD_FAULTS[fault])
    assert worst_gradient(clipping()) > 10 * TOLERANCE


def test_a_wrong_join_of_adjoints_is_seen_by_the_certificate(monkeypatch, tmp_path):
    """Blocks that clip are taken to pass adjoints on: it costs sweeps and nothing else."""
    costs = []

    def counted(*given, **options):
        opened = sweep_back(*given, **options)
        costs.append([int(opened.sum()), int(opened[-1].max())])

    sweep_back = scan_backward.sweep_back
    monkeypatch.setattr(scan_backward, "sweep_back", counted)
    assert worst_gradient(clipping()) < TOLERANCE
    break_kernel(
        monkeypatch, tmp_path, sweeps_backward, "walk_back_block", "tl.where(opens == WHOLE, slope, 0.0)",
        "slope + 0.0 * opens",
    )  # fmt: skip
    assert worst_gradient(clipping()) < TOLERANCE
    assert costs[1] > costs[0]


def test_a_large_operator_is_not_taken_from_its_series(monkeypatch):
    """Equal keys at the largest step for which the series is tried."""
    problem = draw(Rule(LARGEST_SWEPT_STEP, 0.0, 3.0, False), 1, 70)
    problem.k[:] = 1.3 * problem.k[:, :1]
    wanted = exact(widened(problem))
    found, gains = run(problem, 64, sequential=False)
    assert error(found, wanted.d) < TOLERANCE
    assert gains.clipped.sum() == 0
    monkeypatch.setattr(series, "SMALL", tl.constexpr(1e9))
    found, _ = run(problem, 64, sequential=False)
    assert error(found, wanted.d) > 10 * TOLERANCE


def test_sequences_come_out_the_same_bits_alone_in_a_batch_and_packed():
    whole = draw(TIGHT, 3, 75, gate=4.0, anchor=0.9, heads=2)
    found, _ = run(whole, SIZE, sequential=False)
    for n in range(3):
        parts = (whole.k, whole.g, whole.anchor, whole.initial)
        k, g, c, d = (x[n : n + 1] for x in parts)
        alone, _ = run(Problem(k, TIGHT, g, c, d), SIZE, sequential=False)
        assert torch.equal(alone[0], found[n])
    flat = [x.flatten(0, 1)[None] for x in (whole.k, whole.g)]
    bounds = (0, 75, 150, 225)
    packed, _ = run(
        Problem(flat[0], TIGHT, flat[1], whole.anchor, whole.initial, bounds), SIZE, sequential=False
    )
    assert torch.equal(packed[0].unflatten(0, (3, 75)), found)


def test_a_nan_key_is_not_hidden():
    problem = draw(TIGHT, 1, 140, gate=3.0)
    problem.k[0, 80, 0, 3] = float("nan")
    found, gains = run(problem, SIZE, sequential=False)
    assert not found[0, :81].isnan().any()
    assert found[0, 81:, 0, 3].isnan().all()
    assert gains.final[0, 0, 3].isnan()


@triton.jit
def limits_kernel(out, COUNT: tl.constexpr):
    for count in range(1, COUNT):
        tl.store(out + count, allowed_sweeps(count))


def test_no_sequence_waits_for_sweeps_that_are_not_launched():
    """Each sequence has a limit of its own, by its own length: that of the launches where it is the longest."""
    limits = torch.zeros(1100, dtype=torch.int32)
    limits_kernel[(1,)](limits, COUNT=1100)
    assert limits[1:].tolist() == [2, *(most_sweeps(blocks * 4 * SIZE, SIZE) for blocks in range(2, 1100))]


def test_where_sweeps_are_tried():
    assert sweeps_pay(BOUNDED)
    assert not sweeps_pay(Rule(1.0, 0.0, 1e9, False))
    assert not sweeps_pay(Rule(0.003, 1.0, 1.0, False))
    problem = draw(Rule(1.0, 0.5, 1.5, False), 1, 40)
    _, gains = run(problem, SIZE, sequential=False)
    assert gains.opened is None


def test_the_trajectory_says_which_way_the_scan_went():
    call = draw_call("fast", "to zero", length=150, chunk_size=16, batch=1, dtype=torch.float32)
    for options, swept in (({"eta": 0.01, "d_min": 0.9, "d_max": 1.1}, True), ({"eta": 0.7}, False)):
        given = call.options | options | {"return_trajectory": True}
        tensors = {name: x for name, x in call.tensors.items() if name != "anchor"}
        if swept:
            tensors["initial_preconditioner"] = tensors["initial_preconditioner"].clamp(0.9, 1.1)
        _, _, trajectory = chunk_osdn(**tensors, **given)
        paths = trajectory.scan
        heads = tensors["k"].shape[2]
        assert paths.clipped.shape == (10, heads)
        assert paths.sweeps.shape == paths.unsettled.shape == (1, heads)
        assert bool(paths.sweeps.all()) == swept
        assert not paths.unsettled.any()
    assert ops.fused_recurrent_osdn(**tensors, **given)[2].scan is None


def test_cuts_of_blocks_hold_whole_chunks():
    chunks = cut(2, 150, SIZE, None)
    assert blocks.blocks_of(chunks).size == blocks.BLOCK * SIZE
    assert chain.BLOCK == blocks.BLOCK
    assert pattern.ROWS == SIZE


def test_what_was_swept_is_differentiated_by_sweeps_wherever_that_happens():
    """The gradient is asked for after the context has been left."""
    call = draw_call("fast", "to zero", length=75, chunk_size=16, batch=1, dtype=torch.float32)
    options = call.options | {"eta": 0.01, "d_min": 0.9, "d_max": 1.1}
    found = []
    for scan_of in (nullcontext, ops.sequential_scan):
        tensors = {name: x.detach().clone() for name, x in call.tensors.items() if name != "anchor"}
        tensors["initial_preconditioner"].clamp_(0.9, 1.1)
        leaves = [x.requires_grad_() for x in tensors.values() if x.is_floating_point()]
        with scan_of():
            o = chunk_osdn(**tensors, **options)[0]
        found.append(torch.autograd.grad(o.square().sum(), leaves, allow_unused=True))
    for ours, stepped in zip(*found, strict=True):
        assert (ours is None) == (stepped is None)
        if ours is not None:
            assert (ours - stepped).abs().max() <= 1e-5 * stepped.abs().max()
