"""Matrices of blocks: lists of rows of SymPy matrix expressions."""

from __future__ import annotations

from typing import Any

from sympy import HadamardProduct, MatAdd

Blocks = list[list[Any]]


def transposed(a: Blocks) -> Blocks:
    return [[block.T for block in column] for column in zip(*a, strict=True)]


def product(a: Blocks, b: Blocks) -> Blocks:
    columns = list(zip(*b, strict=True))
    return [[MatAdd(*(x * y for x, y in zip(row, column, strict=True))) for column in columns] for row in a]


def total(a: Blocks, b: Blocks) -> Blocks:
    return [[x + y for x, y in zip(row, other, strict=True)] for row, other in zip(a, b, strict=True)]


def difference(a: Blocks, b: Blocks) -> Blocks:
    return total(a, [[-1 * block for block in row] for row in b])


def entrywise(a: Blocks, b: Blocks) -> Blocks:
    return [
        [HadamardProduct(x, y) for x, y in zip(row, other, strict=True)]
        for row, other in zip(a, b, strict=True)
    ]
