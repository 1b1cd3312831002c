"""The operator by its series beside its inverse in float64, and without one of its terms."""

import pytest
import torch
from osdn_kernels.boundary.rule import Rule
from osdn_kernels.launch.sequences import cut
from osdn_kernels.scan import series
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
    found = torch.full((1, 1, SIZE, SIZE), torch.inf)
    series.fill_small(k, None, None, Rule(eta, 0.0, 9.0, False), cut(1, LENGTH, SIZE, None), None, found)
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
