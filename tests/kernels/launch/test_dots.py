"""Products from parts: what three bfloat16 products leave out of a float32 one."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from osdn_kernels.boundary.numerics import BFLOAT16X3_PRODUCT
from osdn_kernels.launch import dots
from support.kernels.faults import break_kernel

MANTISSAS = np.float32(1) + np.arange(2**23, dtype=np.float32) * np.float32(2.0**-23)
"""All of [1, 2)."""

CHOPPED_PRODUCT = 4 * BFLOAT16X3_PRODUCT
"""In the interpreter, whose conversions drop bits."""


@triton.jit
def multiply(a, b, c, PRECISION: tl.constexpr):
    row = tl.arange(0, 16)
    tile = row[:, None] * 16 + row[None, :]
    tl.store(c + tile, dots.dot(tl.load(a + tile), tl.load(b + tile), PRECISION))


def product(a, b, precision: str = "bf16x3"):
    c = torch.empty(16, 16)
    multiply[(1,)](a, b, c, precision)
    return c


def lost(a, b) -> float:
    """The largest error of an entry beside the sum of its products' sizes."""
    exact, size = a.double() @ b.double(), a.double().abs() @ b.double().abs()
    return float(((product(a, b).double() - exact).abs() / size).max())


def drawn(seed: int):
    """Matrices of numbers of all sizes."""
    rng = np.random.default_rng(seed)
    sizes = 2.0 ** rng.integers(-30, 31, size=(2, 16, 16))
    return torch.tensor(rng.normal(size=(2, 16, 16)) * sizes, dtype=torch.float32)


def worst():
    """Numbers whose parts lose the most where bits are dropped: both parts are followed by ones."""
    return torch.full((16, 16), 1 + 2.0**-7 - 2.0**-23)


@pytest.mark.parametrize("seed", range(4))
def test_products_are_as_good_as_declared(seed):
    assert lost(*drawn(seed)) < CHOPPED_PRODUCT


def test_some_products_are_nearly_as_bad():
    assert CHOPPED_PRODUCT / 1.1 < lost(worst(), worst()) < CHOPPED_PRODUCT


@pytest.mark.parametrize(("left", "right"), [("a_high", "b_low"), ("a_low", "b_high")])
def test_each_of_the_small_products_is_needed(left, right, monkeypatch, tmp_path):
    whole, without = f"tl.dot({left}, {right}", f"tl.dot(0.0 * {left}, {right}"
    break_kernel(monkeypatch, tmp_path, dots, "dot_of_parts", whole, without)
    assert lost(worst(), worst()) > 10 * CHOPPED_PRODUCT


def test_what_is_not_finite_stays_so():
    a, b = drawn(0)
    a[5, 3] = torch.inf
    b[7, 2] = torch.nan
    with np.errstate(invalid="ignore"):
        c = product(a, b)
    assert not c[5].isfinite().any()
    assert c[:, 2].isnan().all()
    c[5] = c[:, 2] = 0.0
    assert c.isfinite().all()


def nearest(x):
    """Float32 numbers rounded to bfloat16, ties to even, as GPUs do."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


def test_the_declared_error_is_that_of_the_worst_numbers():
    """Left out of x y are h r' + r h' and the product of what both lose; of x x the most that any number can lose."""
    high = nearest(MANTISSAS)
    rest = MANTISSAS - high
    missed = np.abs(rest - nearest(rest))
    # The most of each alone bounds any pair: what two numbers lose grows with what each loses.
    of_high = np.max(high / MANTISSAS) * np.max(missed / MANTISSAS)
    bound = 2 * float(of_high) + float(np.max(np.abs(rest) / MANTISSAS)) ** 2
    wide, h, low = (x.astype(np.float64) for x in (MANTISSAS, high, nearest(rest)))
    found = np.max(np.abs(wide * wide - h * h - 2 * h * low) / wide**2)
    assert 0.99 * 2.0**-15 < found < bound < 2.0**-15 < BFLOAT16X3_PRODUCT


@triton.jit
def choose_rows(x, out, PRECISION: tl.constexpr):
    row = tl.arange(0, 16)
    tile = row[:, None] * 16 + row[None, :]
    earlier = (row[:, None] > row[None, :]).to(tl.float32)
    tl.store(out + tile, dots.choose(earlier, tl.load(x + tile), PRECISION))


def sums_off(precision: str) -> float:
    """Of the rows before each, beside the sum of sizes."""
    x, _ = drawn(0)
    out = torch.empty(16, 16)
    choose_rows[(1,)](x, out, precision)
    mask = torch.ones(16, 16).double().tril(-1)
    size = mask @ x.double().abs()
    return float(((out.double() - mask @ x.double()).abs() / size.clamp(min=1e-300)).max())


@pytest.mark.parametrize(("precision", "bound"), [("tf32", 2.0**-15), ("ieee", 2.0**-22)])
def test_rows_chosen_are_summed(precision, bound):
    assert sums_off(precision) < bound


def test_the_small_parts_of_chosen_rows_count(monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, dots, "choose", "tl.dot(mask, low)", "0.0 * tl.dot(mask, low)")
    assert sums_off("tf32") > 2.0**-10
