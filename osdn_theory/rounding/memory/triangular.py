r"""Error of (I + A)^-1 computed by 16 x 16 blocks, in the order of operations of the chunk kernels (T11, T12, T18).

Diagonal blocks are inverted by doubling, [X_1 0; -(X_2 N) X_1  X_2] from X_1 and X_2, and the rest by substitution,
X_ij = -X_ii S_ij with S_ij = sum_{j<=m<i} A_im X_mj. `Enclosed` follows both. Its error, entry by entry, is of use for
magnitudes only: what a solution x = (I + A)^-1 b meets is a residual. With L = I + A,

- in a diagonal block, G = X^ L - I obeys G_21 = -(X_2 N) G_1 - e_1 (I + G_1) + e_2 L_1, e_1 and e_2 being the
  roundings of the two products, and the computed solution misses the exact one by G x;
- a block below the diagonal adds (X_ii e_ij + e'_ij) b_j, its own two roundings, and through its block row reaches
  later ones as every error in x does: by the exact transitions of the recurrence.
"""

from dataclasses import dataclass

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.enclosed import Enclosed, sum_of_products
from osdn_theory.rounding.errors.lemmas import Products

BLOCK = 16

Blocks = dict[tuple[int, int], Enclosed]


@dataclass(frozen=True, eq=False)
class Inverse:
    """The computed inverse, within slack + error of the exact one's value on the trajectory; bounds on G, and on
    X_ii e_ij + e'_ij in the blocks below, (..., C, C) both."""

    matrix: Enclosed
    of_solution: Array
    of_right_side: Array


def inverse(lower: Enclosed, products: Products, *, fused: bool = False) -> Inverse:
    """(I + A)^-1 of a strictly lower triangular A (..., C, C); `fused` as in `KernelModel`."""
    size = lower.value.shape[-1]
    blocks = _split(lower)
    count = -(-size // BLOCK)
    solved: Blocks = {}
    of_solution, of_right_side = {}, {}
    for i in range(count):
        solved[i, i], of_solution[i, i] = _doubled(blocks[i, i], products)
    for i in range(1, count):
        own = solved[i, i].settled()
        for j in range(i - 1, -1, -1):
            pairs = [(blocks[i, m], solved[m, j].settled()) for m in range(j, i)]
            behind = sum_of_products(pairs, [BLOCK] * (i - j), products, fused=fused)
            found = own.times(behind, BLOCK, products)
            solved[i, j] = Enclosed(-found.value, found.slack, found.error)
            of_right_side[i, j] = np.asarray(found.error)
    parts = {key: (x.value, np.asarray(x.slack), np.asarray(x.error)) for key, x in solved.items()}
    matrix = Enclosed(*(_joined({key: p[n] for key, p in parts.items()}, lower, size) for n in range(3)))
    return Inverse(matrix, _joined(of_solution, lower, size), _joined(of_right_side, lower, size))


def products_of(lower: Enclosed, found: Inverse) -> Array:
    """Bound on every sum that computing the inverse forms: of entries of A by those of the inverse's own blocks, and
    of the inverse's by these."""
    size = found.matrix.computed
    met: Array = np.maximum(lower.computed @ size, size @ lower.computed)
    return np.maximum(met, size @ (lower.computed @ size))


def _cell(i: int, j: int) -> tuple[object, ...]:
    return (..., slice(BLOCK * i, BLOCK * (i + 1)), slice(BLOCK * j, BLOCK * (j + 1)))


def _split(matrix: Enclosed) -> Blocks:
    size = matrix.value.shape[-1]
    pad = [(0, 0)] * (matrix.value.ndim - 2) + [(0, -size % BLOCK)] * 2
    whole = (matrix.value, matrix.slack, matrix.error)
    parts = [np.pad(np.broadcast_to(x, matrix.value.shape), pad) for x in whole]
    count = parts[0].shape[-1] // BLOCK
    return {
        (i, j): Enclosed(*(x[_cell(i, j)] for x in parts))  # type: ignore[index]
        for i in range(count)
        for j in range(i + 1)
    }


def _joined(blocks: dict[tuple[int, int], Array], like: Enclosed, size: int) -> Array:
    rows = size + -size % BLOCK
    result = np.zeros((*like.value.shape[:-2], rows, rows))
    for (i, j), block in blocks.items():
        result[_cell(i, j)] = block  # type: ignore[index]
    return result[..., :size, :size]


def _doubled(a: Enclosed, products: Products) -> tuple[Enclosed, Array]:
    """(I + a)^-1 of a strictly lower 16 x 16 block, and the bound on G.

    Entries of x and of x n x have disjoint places, so that their difference rounds nothing.
    """
    row, col = np.arange(BLOCK)[:, None], np.arange(BLOCK)[None, :]
    first = a.masked((row // 2 == col // 2) & (row > col))
    x = Enclosed(np.eye(BLOCK) - first.value, first.slack, first.error)
    residual = np.zeros_like(x.value)
    size = 2
    while size < BLOCK:
        couples = (row // (2 * size) == col // (2 * size)) & (row // size > col // size)
        given = x.settled()
        left = given.times(a.masked(couples), size, products)
        step = left.settled().times(given, size, products)
        within = np.eye(BLOCK) + a.masked(row // size == col // size).computed
        residual = (
            residual
            + left.computed @ residual
            + left.error @ (np.eye(BLOCK) + residual)
            + step.error @ within
        )
        x = Enclosed(x.value - step.value, given.slack + step.slack, step.error)
        size *= 2
    return x, residual
