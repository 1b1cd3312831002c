"""Sums over the rows of a tile: each row once, whatever warps it lies in."""

import pytest
import torch
import triton
import triton.language as tl
from osdn_kernels.launch import sums
from support.kernels.faults import break_kernel


@triton.jit
def sum_tile(x, out, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    tile = tl.load(x + row[:, None] * COLUMNS + column[None, :])
    tl.store(out + column, sums.sum_rows(tile, sums.WARPS))


def found(rows, columns):
    """Of integers, whose sums are exact in any order."""
    x = torch.arange(rows * columns, dtype=torch.float32).view(rows, columns) ** 2 % 4099
    out = torch.empty(columns)
    sum_tile[(1,)](x, out, rows, columns)
    return out, x.sum(0)


@pytest.mark.parametrize("rows", [8, 16, 64])
@pytest.mark.parametrize("columns", [16, 128])
def test_sums_are_those_of_columns(rows, columns):
    out, wanted = found(rows, columns)
    assert torch.equal(out, wanted)


@pytest.mark.parametrize(
    ("old", "new"),
    [("return first + second", "return first"), ("tl.split(first + second)", "tl.split(second)")],
)
def test_a_warp_left_out_is_seen(old, new, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, sums, "sum_rows", old, new)
    out, wanted = found(16, 16)
    assert not torch.equal(out, wanted)
