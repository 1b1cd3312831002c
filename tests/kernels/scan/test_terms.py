"""What chains need of a chunk, found for all of them at once: by the series, and where that leaves a chunk."""

import pytest
import torch
from osdn_kernels.boundary.rule import Rule
from osdn_kernels.launch.sequences import cut
from osdn_kernels.scan import iterates, operator, series
from support.kernels.faults import break_kernel

LENGTH, HEADS, SIZE, DIM = 150, 2, 64, 8
SMALL, LARGE = 2.0**-12, 0.9
"""Steps with which the series takes every chunk, and with which it is not asked."""

KINDS = {
    "plain": {},
    "forgetting": {"gated": True},
    "to an anchor": {"gated": True, "anchored": True},
    "beta-aware": {"aware": True},
    "normalised": {"normalize": True},
    "all": {"gated": True, "anchored": True, "aware": True, "normalize": True},
}


def drawn(*, gated=False, anchored=False, aware=False, normalize=False, strong=False, alike=False):
    """Keys, log gates, anchor, terms of the feedback, and whether it is normalised."""
    rng = torch.Generator().manual_seed(0)
    tokens = (1, LENGTH, HEADS)
    k = torch.ones(*tokens, DIM) if alike else torch.randn(*tokens, DIM, generator=rng) / 3
    g = -torch.rand(tokens, generator=rng) * (200.0 if strong else 0.3) if gated else None
    anchor = torch.rand(1, HEADS, DIM, generator=rng) if anchored else None
    feedback = 0.2 + torch.rand(*tokens, 2, generator=rng) if aware else None
    return k, g, anchor, feedback, normalize


def found_of(eta, kind, *, back=False):
    """M [slots, H, C, C], and of each chunk b, or the decays up to each token [slots, H, C], those from it on, and the
    decay of all [slots, H]; None where there are no gates."""
    k, g, anchor, feedback, normalize = kind
    chunks = cut(1, LENGTH, SIZE, None)
    clipped = torch.zeros(3, HEADS, dtype=torch.int8) if back else None
    found = series.new_operators(k, chunks, has_terms=True)
    found.terms.fill_(torch.nan)
    rule = Rule(eta, 0.0, 9.0, normalize)
    series.find_operators(k, g, feedback, rule, chunks, found, clipped, anchor=anchor)
    rest, first, stays = found.terms.split([iterates.ROOM.value, SIZE, SIZE], -1)
    gates = (None, None) if g is None else (stays, rest[..., 0])
    return found.matrix, first, *gates


def by_chunk(x):
    """[1, T, H, ...] as [slots, H, C, ...], float64, zeros beyond the last token."""
    missing = -LENGTH % SIZE
    wide = torch.cat([x.double(), torch.zeros(1, missing, *x.shape[2:]).double()], 1)
    return wide.unflatten(1, (-1, SIZE))[0].transpose(1, 2)


def sums_of(g):
    """Sums of log gates before and after each token, and of each chunk."""
    gates = by_chunk(g)
    after = gates.cumsum(2)
    return after - gates, after, after[..., -1:]


def gains_of(k, g, anchor, feedback, normalize, eta, entry):
    """Of every chunk entered with `entry` [H, K], token by token [slots, H, C], float64."""
    s = by_chunk(k).square()
    gates = torch.zeros(s.shape[:3]).double() if g is None else by_chunk(g)
    terms = torch.ones(*s.shape[:3], 2).double() if feedback is None else by_chunk(feedback)
    weight = eta / (s.sum(-1) + 1e-5) if normalize else torch.full(s.shape[:3], eta).double()
    c = torch.zeros(HEADS, DIM).double() if anchor is None else anchor[0].double()
    d, gains = entry.double().expand(3, HEADS, DIM), []
    for t in range(SIZE):
        met = (d * s[:, :, t]).sum(-1)
        gains.append(weight[:, :, t] * (terms[:, :, t, 0] - terms[:, :, t, 1] * met))
        d = c + gates[:, :, t, None].exp() * (d - c) + gains[-1][..., None] * s[:, :, t]
    return torch.stack(gains, -1)


def farthest(eta, **kind):
    """Of a chunk's gains by its terms from those token by token, relative to the largest, from two entries."""
    given = drawn(**kind)
    k, g, anchor, _, _ = given
    matrix, resting, _, _ = found_of(eta, given)
    rng = torch.Generator().manual_seed(1)
    worst = 0.0
    for entry in (torch.ones(HEADS, DIM), torch.rand(HEADS, DIM, generator=rng)):
        away = entry if g is None or anchor is None else entry - anchor[0]
        met = (by_chunk(k).square() * away[:, None].double()).sum(-1)
        blocks = torch.arange(SIZE) // 16
        answer = torch.where(blocks[:, None] >= blocks, matrix, 0.0).double()
        inside = by_chunk(torch.ones(1, LENGTH, HEADS))
        gains = (resting.double() - (answer @ met[..., None])[..., 0]) * inside
        exact = gains_of(*given, eta, entry) * inside
        worst = max(worst, ((gains - exact).abs().max() / exact.abs().max()).nan_to_num(torch.inf).item())
    return worst


BOUND = 2e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eta", [SMALL, LARGE])
def test_gains_of_a_chunk(eta, kind):
    assert farthest(eta, **KINDS[kind]) < BOUND


def test_gains_of_chunks_that_the_series_leaves():
    """Its step is small, its keys are all alike."""
    assert farthest(0.05, gated=True, anchored=True, alike=True) < BOUND


def is_exact(eta, *, back=False, strong=False):
    """Whether decays are, within the roundings of a logarithm and of its exponential."""
    given = drawn(gated=True, strong=strong)
    _, first, stays, whole = found_of(eta, given, back=back)
    before, after, total = sums_of(given[1])
    pairs = [(stays, total - after), (whole[..., None], total)]
    if back:
        pairs.append((first, before))
    bounds = [(x - y.exp()).abs() <= 2.0**-24 * (4 + y.abs()) * y.exp() + 2.0**-126 for x, y in pairs]
    return all(bool(within.all()) for within in bounds)


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("strong", [False, True])
@pytest.mark.parametrize("eta", [SMALL, LARGE])
def test_decays_of_a_chunk(eta, strong, back):
    assert is_exact(eta, strong=strong, back=back)


def broken(monkeypatch, folder, home, name, old, new):
    break_kernel(monkeypatch, folder, home, name, old, new)
    for module in (series, operator):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, getattr(home, name))


DECAYS = {
    "from a token on": (iterates, "store_terms", "decay(total - after)", "decay(total - after + 0.1)"),
    "of the chunk": (
        iterates,
        "store_terms",
        "decay(total)",
        "0.99 * decay(total)",
    ),
    "up to a token": (operator, "decay", "sums.to(tl.float32)", "(sums - 0.1).to(tl.float32)"),
}


@pytest.mark.parametrize("eta", [SMALL, LARGE])
@pytest.mark.parametrize("what", DECAYS)
def test_each_decay_counts(what, eta, monkeypatch, tmp_path):
    broken(monkeypatch, tmp_path, *DECAYS[what])
    assert not is_exact(eta, back=True)


def test_a_block_without_the_gates_before_it_is_seen(monkeypatch, tmp_path):
    broken(monkeypatch, tmp_path, operator, "operator_kernel", "e3 + (t0 + t1 + t2)", "e3 + (t0 + t1)")
    assert not is_exact(LARGE)


PARTS = {
    "decays of what is met": (SMALL, series, "series_kernel", "(step * entered)", "(step + 0.0 * entered)"),
    "the anchor": (SMALL, series, "series_kernel", "force -= step * tl.sum", "force -= 0.0 * step * tl.sum"),
    "the feedback's first term": (SMALL, series, "series_kernel", "force *= fixed", "force *= 1.0"),
    "the feedback's second term": (SMALL, series, "series_kernel", "step *= slope", "step *= fixed"),
    "a block's decays": (LARGE, operator, "operator_kernel", "w0 * d0, w1 * d1", "w0 * d0, w1"),
    "a block's columns": (LARGE, operator, "operator_kernel", "x32 * w2", "x32 * w1"),
    "a block's rest": (LARGE, operator, "operator_kernel", "+ applied(x31, f1)", ""),
    "its anchor": (LARGE, operator, "operator_kernel", "m2 += tl.sum(s2 * c, 1)", "m2 += 0.0"),
    "its slope": (LARGE, operator, "weighted", "fixed - slope * met", "fixed - met"),
    "its second term": (LARGE, operator, "weighted", ", weight * slope", ", weight * fixed"),
}  # fmt: skip


@pytest.mark.parametrize("what", PARTS)
def test_each_part_counts(what, monkeypatch, tmp_path):
    eta, *fault = PARTS[what]
    broken(monkeypatch, tmp_path, *fault)
    assert farthest(eta, **KINDS["all"]) > BOUND
