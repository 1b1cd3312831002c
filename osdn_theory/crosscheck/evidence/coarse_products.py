"""The chunk form as tensor cores compute it in float32: products of operands rounded to TF32."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from osdn_theory.base.layouts import transpose
from osdn_theory.base.validation import Array, as_float64
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.rounding import TF32, round_to


def tf32_outputs(case: Case, path: Array, size: int) -> Iterator[Array]:
    """Outputs of the chunk form (T12) on a path of d, with products of operands rounded to TF32, (B, H, T, V).

    Once with the triangular system solved, once with its inverse as a factor.
    """
    stream = case.stream
    beta = np.asarray(stream.beta)[..., None]
    for by_inverse in (False, True):
        state, outputs = transpose(case.initial_state), []
        for start in range(0, stream.length, size):
            rows = slice(start, start + size)
            q, k, v, b = (
                np.asarray(x)[..., rows, :] for x in (stream.queries, stream.keys, stream.values, beta)
            )
            written = transpose(path[..., rows, :] * k)
            triangle = np.eye(k.shape[-2]) + np.tril(b * _coarse(k, written), -1)
            x = _solved(triangle, b * (v - _coarse(k, state)), by_inverse)
            outputs.append(case.scale * (_coarse(q, state) + _coarse(np.tril(_coarse(q, written)), x)))
            state = state + _coarse(written, x)
        yield np.concatenate(outputs, axis=-2)


def _solved(triangle: Array, right: Array, by_inverse: bool) -> Array:
    solution: Any = np.linalg.inv(triangle) if by_inverse else np.linalg.solve(triangle, right)
    return _coarse(solution, right) if by_inverse else as_float64("solution", solution)


def _coarse(left: Array, right: Array) -> Array:
    return round_to(left, TF32) @ round_to(right, TF32)
