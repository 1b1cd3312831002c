"""The calibrate scan against the clipped recurrence in float64: values, clip certificate and gradients."""

import numpy as np
import pytest
import torch
import triton.language as tl
from osdn_kernels.boundary.rule import Rule
from osdn_kernels.scan import backward, chain
from osdn_kernels.scan.calls import ScanCall
from osdn_kernels.scan.forward import scan_forward
from osdn_kernels.selftest.runs import poisoned
from support.kernels.faults import break_kernel
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
FREE = Rule(0.5, -1e9, 1e9, False)
NORMALIZED = Rule(1.0, 0.97, 1.1, True)
TIGHT = Rule(2.0, 0.9, 1.1, False)
HISTORIC = Rule(1.0, 0.0, 1e9, False)
UNBOUNDED = Rule(1.0, float("-inf"), float("inf"), False)


def draw(
    rule, batch, length, heads, dim, *, gate=None, anchor=None, initial=True, bounds=None, norm=1.0, seed=0
):
    """A problem; `gate` scales log gates, `anchor` is "zero", "start" or None."""
    generator = torch.Generator().manual_seed(seed)
    sequences = batch if bounds is None else len(bounds) - 1
    low, high = max(rule.d_min, 0.9), min(rule.d_max, 1.1)
    start = low + (high - low) * torch.rand(sequences, heads, dim, generator=generator)
    return Problem(
        keys(generator, batch, length, heads, dim, norm=norm),
        rule,
        None if gate is None else -gate * torch.rand(batch, length, heads, generator=generator),
        {None: None, "zero": torch.zeros_like(start), "start": start.clone()}[anchor],
        start if initial else None,
        bounds,
    )


CASES = {
    "free": (draw(FREE, 1, 130, 2, 24), 64),
    "free, no initial, chunks of 16": (draw(FREE, 2, 50, 1, 16, initial=False, norm=1.3), 16),
    "tight": (draw(TIGHT, 1, 90, 1, 16), 32),
    "tight, eta 4": (draw(Rule(4.0, 0.5, 1.5, False), 1, 70, 1, 24), 64),
    "normalized": (draw(NORMALIZED, 1, 80, 1, 24), 16),
    "normalized, free": (draw(Rule(0.7, -9.0, 9.0, True), 1, 70, 1, 64, norm=2.0), 64),
    "historic": (draw(HISTORIC, 1, 70, 2, 16), 64),
    "unbounded": (draw(UNBOUNDED, 1, 40, 1, 24), 32),
    "no step": (draw(Rule(0.0, 0.0, 2.0, True), 1, 40, 1, 16), 16),
    "pinned": (draw(Rule(0.5, 1.0, 1.0, False), 1, 40, 1, 16), 32),
    "forgetting to nothing": (draw(Rule(1.0, -9.0, 9.0, False), 2, 70, 1, 24, gate=0.1), 64),
    "forgetting, anchored": (draw(Rule(1.0, 0.0, 2.0, True), 1, 70, 2, 64, gate=0.5, anchor="start"), 64),
    "strong forgetting, anchored": (draw(Rule(1.0, -9.0, 9.0, False), 1, 70, 1, 24, gate=40.0, anchor="start"), 64),
    "strong forgetting, clipped": (draw(Rule(2.0, 0.8, 1.2, False), 1, 70, 1, 16, gate=5.0, anchor="zero"), 32),
    "packed": (draw(FREE, 1, 75, 2, 24, bounds=(0, 0, 1, 34, 34, 75, 75)), 16),
    "packed, anchored, clipped": (
        draw(Rule(2.0, 0.9, 1.1, True), 1, 60, 2, 16, gate=0.05, anchor="start", bounds=(0, 1, 1, 38, 60)),
        32,
    ),
}  # fmt: skip

each_case = pytest.mark.parametrize(("problem", "size"), CASES.values(), ids=CASES)
each_path = pytest.mark.parametrize("sequential", [False, True], ids=["chunks", "tokens"])


@each_path
@each_case
def test_all_that_is_handed_on_is_written(problem, size, sequential):
    with poisoned():
        _, gains = run(problem, size, sequential=sequential)
    assert all(x.isfinite().all() for x in (gains.gain, gains.entries, gains.final))


@each_path
@each_case
def test_values(problem, size, sequential):
    """And by chunks those that clip are stepped, and no others, where the box is not a point."""
    wanted = exact(widened(problem))
    found, gains = run(problem, size, sequential=sequential)
    assert error(found, wanted.d) < TOLERANCE
    assert error(gains.final, wanted.final) < TOLERANCE
    assert error(gains.gain, wanted.gain) < TOLERANCE or problem.rule.eta == 0
    slot = 0
    for b, first, end in problem.spans():
        for start in range(first, end, size):
            assert error(gains.entry[slot], wanted.d[b, start]) < TOLERANCE
            slot += 1
    assert found.min() >= np.float32(problem.rule.d_min)
    assert found.max() <= np.float32(problem.rule.d_max)
    if not sequential and problem.rule.d_min < problem.rule.d_max:
        used = used_slots(problem, size)
        assert torch.equal(gains.clipped[:used], expected_clipped(problem, exact(problem), size)[:used])


def mixed(**options):
    """A stream that clips in its middle alone: keys there are long, elsewhere d is near what they want."""
    problem = draw(Rule(0.5, 0.8, 1.2, False), 1, 90, 1, 16, **options)
    problem.k[:, 40:44] *= 1.5
    problem.k[:, 45:50, 1:] *= 0.3
    return problem


def test_mixed_stream():
    problem = mixed(seed=3)
    wanted = exact(widened(problem))
    found, gains = run(problem, 16, sequential=False)
    flags = expected_clipped(problem, wanted, 16)
    assert 0 < flags.sum() < flags.numel()
    assert torch.equal(gains.clipped, flags)
    assert error(found, wanted.d) < TOLERANCE


@pytest.mark.parametrize("eta", [1.7, 2.5, 4.0])
@each_path
def test_clip_heavy_stream_to_four_ulp(eta, sequential):
    problem = draw(Rule(eta, 0.25, 1.25, False), 1, 130, 2, 16, norm=1.2, seed=5)
    wanted = exact(widened(problem))
    assert wanted.binds.float().mean() > 0.25
    found, _ = run(problem, 64, sequential=sequential)
    rounded = wanted.d.detach().float()
    assert ((found - rounded).abs() <= 4 * torch.from_numpy(np.spacing(rounded.numpy()))).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keys(dtype):
    problem = draw(Rule(1.0, 0.9, 1.1, False), 1, 70, 1, 24)
    problem = Problem(problem.k.to(dtype), problem.rule, initial=problem.initial)
    wanted = exact(widened(problem))
    found, _ = run(problem, 32, sequential=False)
    assert error(found, wanted.d) < TOLERANCE


def test_rows_of_stepped_chunks_are_write_keys():
    problem, size = CASES["tight"]
    out = torch.full_like(problem.k, float("nan"))
    scan = ScanCall(problem.k, None, None, None, problem.rule, out, None, True)
    scan_forward(scan, problem.initial, problem.chunks(size), sequential=True)
    assert error(out, (exact(widened(problem)).d * problem.k).detach()) < TOLERANCE


def test_nothing_to_scan():
    problem = Problem(torch.zeros(2, 0, 3, 16), FREE, initial=torch.full((2, 3, 16), 1.5))
    for sequential in (False, True):
        found, gains = run(problem, 16, sequential=sequential)
        assert found.shape == problem.k.shape
        assert torch.equal(gains.final, problem.initial)
        grad = torch.ones(2, 3, 16)
        found = gradients(
            problem, 16, torch.zeros_like(problem.k), grad, None, scale_key=False, sequential=sequential
        )
        assert torch.equal(found[1], grad)


def test_a_nan_key_is_not_hidden():
    problem = draw(TIGHT, 1, 40, 1, 16)
    problem.k[0, 20, 0, 3] = float("nan")
    found, gains = run(problem, 16, sequential=False)
    assert not found[0, :21].isnan().any()
    assert found[0, 21:, 0, 3].isnan().all()
    assert gains.final[0, 0, 3].isnan()


def compare(problem, size, *, scale_key, sequential, given):
    wanted = exact_gradients(problem, *given, scale_key=scale_key)
    found = gradients(problem, size, *given, scale_key=scale_key, sequential=sequential)
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.shape == theirs.shape
        assert ours.isfinite().all()
    return [error(ours, theirs) for ours, theirs in zip(found, wanted, strict=True) if theirs.norm() > 0]


@each_path
@each_case
def test_gradients(problem, size, sequential):
    scale_key = sequential == problem.rule.normalize_feedback
    given = directions(problem)
    assert max(compare(problem, size, scale_key=scale_key, sequential=sequential, given=given)) < TOLERANCE


@pytest.mark.parametrize("scale_key", [False, True])
@pytest.mark.parametrize("options", [{}, {"gate": 0.02, "anchor": "start"}], ids=["plain", "anchored"])
def test_gradients_of_a_mixed_stream(scale_key, options):
    problem = mixed(seed=3, **options)
    flags = expected_clipped(problem, exact(problem), 16)
    assert 0 < flags.sum() < flags.numel()
    given = directions(problem, final=False, key=scale_key)
    assert max(compare(problem, 16, scale_key=scale_key, sequential=False, given=given)) < TOLERANCE


def test_gradients_of_half_precision_keys():
    problem = draw(FREE, 1, 70, 1, 24)
    problem = Problem(problem.k.bfloat16(), problem.rule, initial=problem.initial)
    grad, grad_final, grad_key = directions(problem)
    given = (grad.bfloat16(), grad_final, grad_key.bfloat16())
    grad_k, grad_initial = compare(problem, 64, scale_key=True, sequential=False, given=given)
    assert grad_k < 2**-8
    assert grad_initial < TOLERANCE


def test_a_dropped_clip_is_noticed():
    problem, size = CASES["tight"]
    found, _ = run(problem, size, sequential=False)
    assert error(found, exact(widened(problem), clips=False).d) > 1e-3


def test_a_dropped_decay_is_noticed():
    problem, size = CASES["forgetting, anchored"]
    found, _ = run(problem, size, sequential=False)
    assert error(found, exact(widened(problem), forgets=False).d) > 1e-3


def test_a_wrong_certificate_is_noticed():
    """Were no chunk to be stepped, the stream that clips in its middle would come out wrong."""
    problem = mixed(seed=3)
    free = Problem(problem.k, Rule(problem.rule.eta, -1e9, 1e9, False), initial=problem.initial)
    unclipped, gains = run(free, 16, sequential=False)
    assert gains.clipped.sum() == 0
    assert error(unclipped, exact(widened(problem)).d) > 1e-4


SEGMENTED = (draw(Rule(0.05, 0.0, 9.0, False), 1, 130, 2, 24), 16)


def segments(monkeypatch, size):
    monkeypatch.setattr(chain, "SEGMENT", tl.constexpr(size))
    return run(*SEGMENTED, in_order=True)


def test_segments_change_no_bit(monkeypatch):
    """Whether a chunk is gone through as if nothing clipped, or asked whether it does."""
    (d, gains), found = run(*SEGMENTED, in_order=True), [segments(monkeypatch, size) for size in (1, 3)]
    assert not gains.clipped.any()
    for other, left in found:
        assert torch.equal(d, other)
        assert all(
            torch.equal(getattr(gains, name), getattr(left, name)) for name in ("gain", "entries", "final")
        )


def test_chunks_that_are_asked_have_the_same_bits(monkeypatch, tmp_path):
    d, gains = run(*SEGMENTED, in_order=True)
    break_kernel(monkeypatch, tmp_path, chain, "chain_kernel", "asks = chunks < 0", "asks = chunks > 0")
    other, left = run(*SEGMENTED, in_order=True)
    assert torch.equal(d, other)
    assert torch.equal(gains.gain, left.gain)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("asks = asks | (tl.max(outside, 0) != 0)", "asks = asks & (tl.max(outside, 0) != 0)"),
        ("outside |= leaves(", "outside = leaves("),
        ("d, rest = tl.where(asks, first_d, d), tl.where(asks, first_rest, rest)", "d, rest = d, rest"),
    ],
)
def test_a_segment_that_does_not_ask_is_seen(old, new, monkeypatch, tmp_path):
    """Clips at its first token alone, and is back in the box soon if that is missed."""
    problem = draw(Rule(1.5, 0.0, 1.02, False), 1, 130, 1, 16)
    problem.k[:] = torch.eye(16)[0]
    problem.initial[..., 0] = 0.95
    assert error(run(problem, 16, in_order=True)[0], exact(widened(problem)).d) < TOLERANCE
    break_kernel(monkeypatch, tmp_path, chain, "chain_kernel", old, new)
    assert not error(run(problem, 16, in_order=True)[0], exact(widened(problem)).d) < TOLERANCE


def measured(kernel, blocks):
    """A launch as tuning makes it: with every configuration, and at last with the first."""

    def run(*args, **options):
        given = {**dict(zip(kernel.arg_names, args, strict=False)), **options}
        for block in blocks:
            kernel.pre_hook(given)
            kernel.fn.run(*args, **options, BK=block)
            kernel.post_hook(given, None)
        kernel.fn.run(*args, **options, BK=blocks[0])

    return run


def test_tuning_leaves_no_part_of_a_sum_behind(monkeypatch):
    """Configurations write different parts of what is summed, and measuring launches them on the real tensors."""
    k = torch.randn(1, 16, 1, 64, generator=torch.Generator().manual_seed(0)).bfloat16() / 8
    problem = Problem(k, FREE, g=torch.full((1, 16, 1), -0.1))
    kernel = backward.spread_kernel
    monkeypatch.setattr(backward, "sweeps_pay", lambda rule: False)

    def of_gates(*blocks: int) -> torch.Tensor:
        monkeypatch.setattr(kernel, "run", measured(kernel, blocks))
        return gradients(problem, 16, torch.ones(k.shape), None, None, scale_key=False, sequential=False)[1]

    expected = of_gates(64)
    assert torch.equal(of_gates(64, 32), expected)
    monkeypatch.setattr(kernel, "post_hook", lambda given, exception: None)
    assert not torch.allclose(of_gates(64, 32), expected, atol=1e-2)
