"""The operator by its series beside its inverse in float64, and without one of its terms."""

import pytest
import torch
from osdn_kernels.boundary.rule import Rule
from osdn_kernels.launch.sequences import cut
from osdn_kernels.scan import backward, series
from support.kernels.faults import break_kernel

BOUND = 2.0**-23
"""Absolute, of entries of which the largest is 1."""

LENGTH, SIZE, DIM = 32, 32, 64


def draw(scale: float) -> tuple[torch.Tensor, float]:
    """Keys that each meet the one before alone, so that powers of L are as large as its rows allow, and the step."""
    k = torch.zeros(1, LENGTH, 1, DIM)
    token = torch.arange(LENGTH)
    sizes = 1 + 0.05 * torch.rand(2, LENGTH, generator=torch.Generator().manual_seed(0))
    k[0, token, 0, token], k[0, token, 0, token + 1] = sizes.bfloat16().float()
    return k, scale / couplings(k).sum(-1).max().item()


def couplings(k: torch.Tensor) -> torch.Tensor:
    """Products of squared keys with those before, [T, T] float64."""
    s = k[0, :, 0].double().square()
    return (s @ s.T).tril(-1)


def farthest(scale: float) -> float:
    """Of the operator's entries from those of the inverse; infinite where it was not taken from the series."""
    k, eta = draw(scale)
    chunks, rule = cut(1, LENGTH, SIZE, None), Rule(eta, 0.0, 9.0, False)
    operators = series.new_operators(k, chunks, has_terms=True)
    operators.matrix.fill_(torch.inf)
    series.fill_small(k, None, None, None, rule, chunks, None, operators)
    found = operators.matrix / eta
    exact = torch.linalg.inv(torch.eye(SIZE).double() + eta * couplings(k))
    blocks = torch.arange(SIZE) // 16
    written = blocks[:, None] >= blocks[None, :]
    return (found[0, 0].double() - exact)[written].abs().max().item()


@pytest.mark.parametrize("scale", [2.0**-7 * 0.99, 2.0**-8, 2.0**-12, 2.0**-20])
def test_the_series_is_the_inverse(scale):
    assert farthest(scale) < BOUND


def test_a_larger_operator_is_left_out():
    assert farthest(2.0**-7 * 1.01) == torch.inf


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("series_kernel", '- dot(half, square.to(tl.float16), "tf32")', ""),
        ("series_kernel", "found = square - lower", "found = 0.99 * square - lower"),
        ("series_kernel", "half = lower.to(tl.float16)", "half = lower.to(tl.float8e5).to(tl.float16)"),
        ("gram_of", "(across + tl.trans(across))", "across"),
    ],
)
def test_each_term_counts(name, old, new, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, series, name, old, new)
    assert farthest(2.0**-7 * 0.99) > BOUND


FORCED_BOUND = 2.0**-14
"""Beside the sum of sizes; of parts that the interpreter chops."""


def forced_by(alone: bool, *, gated: bool) -> dict[str, float]:
    """How far what presses on the adjoints lies from its float64 value, found beside the operator or `alone`."""
    rng = torch.Generator().manual_seed(0)
    k, grad = torch.randn(2, 1, LENGTH, 1, DIM, generator=rng).half() / 8
    g = -0.3 * torch.rand(1, LENGTH, 1, generator=rng) if gated else None
    chunks, clipped = cut(1, LENGTH, SIZE, None), torch.zeros(1, 1, dtype=torch.int8)
    inner, forcing = torch.empty(1, LENGTH, 1), torch.empty(1, 1, DIM)
    if alone:
        backward.forcing_kernel[(1,)](
            k, g, clipped, grad, inner, forcing, None, None, None, LENGTH, 1, H=1, K=DIM, C=SIZE, HAS_GATE=gated,
            SCALE_KEY=True, PACKED=False, PRECISION="tf32",
        )  # fmt: skip
    else:
        operator = series.new_operators(k, chunks, has_terms=gated)
        rule, pressed = Rule(2.0**-12, 0.0, 9.0, False), series.Forced(grad, inner, forcing, True)
        series.fill_small(k, g, None, None, rule, chunks, clipped, operator, pressed)
    s, p = k[0, :, 0].double().square(), (grad * k.double())[0, :, 0]
    sums = torch.zeros(LENGTH + 1).double()
    if g is not None:
        sums[1:] = g[0, :, 0].cumsum(0)
    weights = (sums[None, :-1] - sums[1:, None]).exp().triu(1)
    wanted = {"inner": (weights * (s @ p.T)).sum(1), "forcing": (sums[:-1].exp()[:, None] * p).sum(0)}
    size = {"inner": (weights * (s @ p.abs().T)).sum(1), "forcing": p.abs().sum(0)}
    given = {"inner": inner[0, :, 0], "forcing": forcing[0, 0]}
    return {
        name: float(((given[name].double() - x).abs() / size[name].clamp(min=1e-9)).max())
        for name, x in wanted.items()
    }


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_what_presses_on_the_adjoints(alone, gated):
    assert max(forced_by(alone, gated=gated).values()) < FORCED_BOUND


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("dot_across", "+ small", ""),
        ("series_kernel", "p *= key", "p *= 1.0"),
        ("series_kernel", "met *= decays(-after, -before)", "met *= 1.0"),
        ("series_kernel", "p *= tl.exp(before.to(tl.float32))[:, None]", "p *= 1.0"),
        (
            "series_kernel",
            "row[:, None] < row[None, :], dot_across",
            "row[:, None] <= row[None, :], dot_across",
        ),
    ],
)
def test_each_part_of_it_counts(name, old, new, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, series, name, old, new)
    assert max(forced_by(alone=False, gated=True).values()) > FORCED_BOUND
