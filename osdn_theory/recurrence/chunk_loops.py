"""Compiled loop over the chunks of one leading entry without gates (T12); see `chunkwise`.

Imported when a chunk run starts. Matrix products go to the BLAS that SciPy brings; everything between two of them
is one pass.
"""

# Typing stops at the compiler, which infers the types of these functions itself.
# mypy: allow-untyped-defs

import numpy as np

from osdn_theory.base.compiled import compiled

BLOCK = 16
"""Rows of the triangular system that are substituted one by one; what is left of them is a matrix product."""


@compiled
def run_chunks(size, keys, queries, values, beta, path, scale, state, outputs, residuals, alignment):
    """Tokens of one leading entry, a multiple of `size`, in chunks of it; `state`, the transpose (K, V), is
    advanced in place."""
    length, key_dim = keys.shape
    value_dim = values.shape[1]
    writes, seen, coupling = np.empty((size, key_dim)), np.empty((size, size)), np.empty((size, size))
    read, gated = np.empty((size, value_dim)), np.empty((size, value_dim))
    gained = np.empty((key_dim, value_dim))
    for first in range(0, length, size):
        stop = first + size
        key, query = keys[first:stop], queries[first:stop]
        output, residual = outputs[first:stop], residuals[first:stop]
        write_keys(keys, path, first, writes, alignment)
        np.dot(key, writes.T, coupling)
        np.dot(query, writes.T, seen)
        np.dot(key, state, read)
        np.dot(query, state, output)
        for i in range(size):
            for j in range(value_dim):
                residual[i, j] = values[first + i, j] - read[i, j]
            for j in range(i + 1, size):
                seen[i, j] = 0.0
        solve_unit_lower(coupling, beta[first:stop], residual, gated)
        np.dot(seen, gated, read)
        for i in range(size):
            for j in range(value_dim):
                output[i, j] = scale * (output[i, j] + read[i, j])
        np.dot(writes.T, gated, gained)
        for i in range(key_dim):
            for j in range(value_dim):
                state[i, j] += gained[i, j]


@compiled
def write_keys(keys, path, first, writes, alignment):
    """Write keys D k of the chunk that starts at token `first`, and their products with the keys."""
    size, key_dim = writes.shape
    for i in range(size):
        total = 0.0
        for j in range(key_dim):
            w = path[first + i, j] * keys[first + i, j]
            writes[i, j] = w
            total += w * keys[first + i, j]
        alignment[first + i] = total


@compiled
def solve_unit_lower(matrix, beta, right, gated):
    """(I + tril(matrix, -1) diag(beta)) R = right, R over `right` in place and diag(beta) R to `gated`.

    `matrix` (n, n), `beta` (n,), `right` and `gated` (n, m); the diagonal of `matrix` and what is above it are not
    read.
    """
    rows, columns = right.shape
    done = np.empty((BLOCK, columns))
    for first in range(0, rows, BLOCK):
        stop = min(first + BLOCK, rows)
        if first > 0:
            left = np.ascontiguousarray(matrix[first:stop, :first])
            np.dot(left, gated[:first], done[: stop - first])
            for i in range(first, stop):
                for j in range(columns):
                    right[i, j] -= done[i - first, j]
        for i in range(first, stop):
            substitute(matrix, right, gated, first, i)
            for j in range(columns):
                gated[i, j] = beta[i] * right[i, j]


@compiled
def substitute(matrix, right, gated, first, i):
    """Take rows ``first:i`` of `gated` out of row `i`, two in a pass."""
    odd = first + (i - first) % 2
    if odd > first:
        a = matrix[i, first]
        for j in range(right.shape[1]):
            right[i, j] -= a * gated[first, j]
    for m in range(odd, i, 2):
        a, b = matrix[i, m], matrix[i, m + 1]
        for j in range(right.shape[1]):
            right[i, j] -= a * gated[m, j] + b * gated[m + 1, j]
