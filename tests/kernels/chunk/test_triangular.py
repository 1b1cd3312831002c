"""The block inverse, and the iterates of a block of tokens, in kernels of their own."""

import pytest
import torch
import triton
import triton.language as tl
from osdn_kernels.chunk.triangular import inverse_64
from osdn_kernels.scan.iterates import iterate_tile, next_entry


@triton.jit
def block_of(a, ROW: tl.constexpr, COL: tl.constexpr):
    row = tl.arange(0, 16)
    return a + (16 * ROW + row[:, None]) * 64 + 16 * COL + row[None, :]


@triton.jit
def invert(a, x, PRECISION: tl.constexpr):
    x00, x10, x11, x20, x21, x22, x30, x31, x32, x33 = inverse_64(
        tl.load(block_of(a, 0, 0)), tl.load(block_of(a, 1, 0)), tl.load(block_of(a, 1, 1)), tl.load(block_of(a, 2, 0)),
        tl.load(block_of(a, 2, 1)), tl.load(block_of(a, 2, 2)), tl.load(block_of(a, 3, 0)), tl.load(block_of(a, 3, 1)),
        tl.load(block_of(a, 3, 2)), tl.load(block_of(a, 3, 3)), PRECISION,
    )  # fmt: skip
    tl.store(block_of(x, 0, 0), x00)
    tl.store(block_of(x, 1, 0), x10)
    tl.store(block_of(x, 1, 1), x11)
    tl.store(block_of(x, 2, 0), x20)
    tl.store(block_of(x, 2, 1), x21)
    tl.store(block_of(x, 2, 2), x22)
    tl.store(block_of(x, 3, 0), x30)
    tl.store(block_of(x, 3, 1), x31)
    tl.store(block_of(x, 3, 2), x32)
    tl.store(block_of(x, 3, 3), x33)


def largest_error(kind: str, precision: str) -> float:
    """Beside float64, over the norm of the inverse."""
    a = {
        "random": torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) * 0.3,
        "ones": torch.ones(64, 64),
        "last row": torch.zeros(64, 64).index_fill_(0, torch.tensor([63]), 2.0),
        "zero": torch.zeros(64, 64),
    }[kind].tril(-1)
    x = torch.zeros(64, 64)
    invert[(1,)](a, x, precision)
    wanted = torch.linalg.inv(torch.eye(64, dtype=torch.float64) + a.double())
    return float((x.double() - wanted).norm() / wanted.norm())


KINDS = ["random", "ones", "last row", "zero"]


@pytest.mark.parametrize("kind", KINDS)
def test_inverse(kind):
    assert largest_error(kind, "ieee") < 2e-6


@pytest.mark.parametrize("kind", KINDS)
def test_an_inverse_from_parts_is_good_beside_its_storage(kind):
    """Of bfloat16 even in the interpreter, whose parts are four times as coarse."""
    assert largest_error(kind, "bf16x3") < 2.0**-9 / 4


def test_parts_show_where_the_inverse_is_ill_conditioned():
    assert largest_error("random", "bf16x3") > 4 * largest_error("random", "ieee")


@triton.jit
def iterate(
    s, gain, gate, entry, anchor, met, handed_on, C: tl.constexpr, K: tl.constexpr, HAS_GATE: tl.constexpr
):
    row = tl.arange(0, C)
    column = tl.arange(0, K)
    tile = row[:, None] * K + column[None, :]
    x, u, g = tl.load(s + tile), tl.load(gain + row), tl.load(gate + row)
    d, c = tl.load(entry + column), tl.load(anchor + column)
    tl.store(met + tile, iterate_tile(x, u, g, d, c, C, HAS_GATE, "ieee"))
    tl.store(handed_on + column, next_entry(x, u, g, d, c, HAS_GATE))


@pytest.mark.parametrize("strength", [None, 0.1, 30.0])
@pytest.mark.parametrize("size", [16, 64])
def test_iterates(size, strength):
    generator = torch.Generator().manual_seed(size)
    s, gain = torch.rand(size, 32, generator=generator), torch.randn(size, generator=generator)
    gate = -(strength or 0.0) * torch.rand(size, generator=generator)
    d, c = torch.rand(32, generator=generator), torch.rand(32, generator=generator)
    met, handed_on = torch.empty_like(s), torch.empty_like(d)
    iterate[(1,)](s, gain, gate, d, c, met, handed_on, size, 32, strength is not None)
    x, wanted = d.double(), []
    for t in range(size):
        wanted.append(x)
        x = c.double() + gate[t].double().exp() * (x - c.double()) + gain[t].double() * s[t].double()
    wanted = torch.stack(wanted)
    assert (met.double() - wanted).norm() / wanted.norm() < 1e-6
    assert (handed_on.double() - x).norm() / x.norm() < 1e-6
