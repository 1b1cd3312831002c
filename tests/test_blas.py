"""The triangular solve called without the interpreter lock."""

import numpy as np
import pytest

from osdn_theory._blas import solve_unit_lower


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (7, 1), (33, 20), (64, 128)])
def test_solves_strided_views_and_ignores_the_upper_part(rows, columns):
    rng = np.random.default_rng(0)
    wide = np.full((rows, 2 * rows + 3), np.nan)
    wide[:, :rows] = rng.normal(size=(rows, rows)) * 0.3
    matrix = wide[:, :rows]
    lower = np.tril(matrix, -1) + np.eye(rows)
    matrix[np.triu_indices(rows)] = np.nan
    solution = rng.normal(size=(rows, columns))
    right = np.full((rows, columns + 2), 7.0)
    right[:, :columns] = lower @ solution
    solve_unit_lower(matrix, right[:, :columns])
    np.testing.assert_allclose(right[:, :columns], solution, rtol=1e-9, atol=1e-9)
    assert np.all(right[:, columns:] == 7.0)


def test_empty_right_sides():
    solve_unit_lower(np.eye(3), np.empty((3, 0)))


@pytest.mark.parametrize(
    ("matrix", "right"),
    [
        (np.eye(3), np.ones((4, 2))),
        (np.eye(3, dtype=np.float32), np.ones((3, 2))),
        (np.eye(3), np.asfortranarray(np.ones((3, 2)))),
        (np.eye(3), np.broadcast_to(np.ones(2), (3, 2))),
    ],
)
def test_layouts_that_would_corrupt_memory_are_refused(matrix, right):
    with pytest.raises(AssertionError):
        solve_unit_lower(matrix, right)
