"""States along given preconditioners, in balls or rationals: what T22 and T24 to T27 say of the memory itself.

The writes are those of THEORY.md, apart from the float64 solvers; d may be any path of them.
"""

from collections.abc import Iterator, Sequence
from math import isqrt
from typing import Any

import flint
import numpy as np

from osdn_theory.bounds.numbers import Balls, Field, Number, matrix, vector
from osdn_theory.bounds.problem import CalibrationProblem

WHOLE = 2**33
"""T^2 K max(V, K) up to which states are enclosed along a whole stream: some seconds for each run."""


def covered(problem: CalibrationProblem) -> int:
    """Tokens from the start of a stream along which states are enclosed: a bit more for each, of so many numbers."""
    longest = isqrt(WHOLE // (problem.key_dim * max(problem.stream.value_dim, problem.key_dim)))
    return min(problem.length, max(1, longest))


def prefix(problem: CalibrationProblem, length: int) -> str:
    """What the first `length` tokens cover."""
    return "whole trajectory" if length == problem.length else f"tokens 1 to {length}"


def widened(field: Field, length: int) -> Field:
    """The field, balls finer by what so many writes cost: each about doubles a radius."""
    return Balls(field.bits + length) if isinstance(field, Balls) else field


def column(values: Sequence[Number]) -> Any:
    """A column of numbers as a matrix of flint, of balls or of rationals."""
    exact = all(isinstance(value, flint.fmpq) for value in values)
    return (flint.fmpq_mat if exact else flint.arb_mat)([[value] for value in values])


def states(
    problem: CalibrationProblem, field: Field, path: Sequence[Sequence[Number]]
) -> Iterator[tuple[Any, Any]]:
    """(S_t, r_t), the state after each write and the residual before it, for as many tokens as `path` has d_t.

    Without a state gate; (V, K) and (V, 1), flint's matrices.
    """
    stream = problem.stream
    state = initial_state(problem, field)
    for token, d in enumerate(path):
        key = vector(field, stream.keys[token])
        residual = column(vector(field, stream.values[token])) - state * column(key)
        write_key = column([a * k for a, k in zip(d, key, strict=True)])
        state = state + residual * write_key.transpose() * field.of(problem.beta[token])
        yield state, residual


def initial_state(problem: CalibrationProblem, field: Field) -> Any:
    """S_0, (V, K)."""
    return matrix(field, np.asarray(problem.trajectory.initial_state[problem.index]))


def final_state(problem: CalibrationProblem, field: Field, path: Sequence[Sequence[Number]]) -> Any:
    """The state after all writes of `path`; S_0 if there are none."""
    found = [initial_state(problem, field), *(state for state, _ in states(problem, field, path))]
    return found[-1]
