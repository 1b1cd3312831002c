"""T19: in the mean over independent keys, the distance to u shrinks by I - eta R per token."""

from collections.abc import Sequence

import flint
import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.check import Sides
from osdn_theory.bounds.numbers import Number, Rationals, vector
from osdn_theory.bounds.problem import CalibrationProblem
from osdn_theory.bounds.registry import BoundEvidence, HypothesisVerdict, bound, unless
from osdn_theory.bounds.runs.exact import ExactRun

TOKENS = 16
"""Tokens of the stream that make up the distribution that the independent key is drawn from."""

_SOLVABLE = 48
# Solving for u exactly costs about K^4 digit operations; wider heads compare two starting points instead.


def drawn_tokens(problem: CalibrationProblem) -> list[int]:
    """Up to TOKENS tokens of the stream, first and last among them."""
    return sorted({int(t) for t in np.linspace(0, problem.length - 1, min(TOKENS, problem.length))})


def steps_stay_inside(e: BoundEvidence) -> HypothesisVerdict:
    """No step from d_1 with any of the drawn keys leaves the box."""
    run = ExactRun(e.problem, Rationals())
    d = run.preconditioners_start
    for token in drawn_tokens(e.problem):
        if h.leaves_box(e, run.unprojected_step(d, token)):
            return unless(f"needs the box inactive; the step with token {token + 1} clips")
    return unless("")


@bound(
    "T19",
    "Mean calibration step",
    r"\mathbb E[d_{t+1}-u] = (\gamma I-\eta R)\,\mathbb E[d_t-u]",
    hypotheses=(h.has_tokens, h.full_feedback, h.constant_forgetting, h.positive_step, steps_stay_inside),
)
def mean_step(e: BoundEvidence) -> list[Sides]:
    """The expectation over one key drawn uniformly from tokens of the stream is a finite sum: exact.

    u solves ((1 - gamma) I + eta R) u = (1 - gamma) c + eta E[x]; with gamma = 1 this is E[(1 - <u, x>) x] = 0.
    """
    run = ExactRun(e.problem, Rationals())
    tokens = drawn_tokens(e.problem)
    features = [run.features[t] for t in tokens]
    start = run.preconditioners_start
    reference = _stationary(e.problem, features) if e.problem.key_dim <= _SOLVABLE else _elsewhere(e.problem)
    moved = _mean([run.unprojected_step(start, t) for t in tokens])
    reference_moved = _mean([run.unprojected_step(reference, t) for t in tokens])
    lhs = [a - b for a, b in zip(moved, reference_moved, strict=True)]
    gap = [a - b for a, b in zip(start, reference, strict=True)]
    rhs = _linear_part(e.problem, features, gap)
    scope = f"one draw from {len(tokens)} tokens, every coordinate"
    # A coordinate that no key has is moved by forgetting alone, and not at all without it.
    idle = [e.problem.gamma[0] == 1 and not any(column) for column in zip(*features, strict=True)]
    pairs = [*zip(lhs, rhs, [still or not any(gap) for still in idle], strict=True)]
    if e.problem.key_dim <= _SOLVABLE:
        pairs += zip(reference_moved, reference, idle, strict=True)
    return [
        Sides(a, b, identity=True, vacuous=vacuous, scope=scope, method=Rationals().label)
        for a, b, vacuous in pairs
    ]


def _mean(points: Sequence[Sequence[Number]]) -> list[Number]:
    return [sum(column) / len(points) for column in zip(*points, strict=True)]


def _linear_part(
    problem: CalibrationProblem, features: Sequence[Sequence[Number]], gap: Sequence[Number]
) -> list[Number]:
    """(gamma I - eta R) gap, with R = mean of x x^T."""
    field = Rationals()
    gamma, eta = field.of(problem.gamma[0]), field.of(problem.eta)
    x = flint.fmpq_mat([list(row) for row in features])
    pulled = x.transpose() * (x * flint.fmpq_mat([[g] for g in gap]))
    return [gamma * g - eta * pulled[i, 0] / len(features) for i, g in enumerate(gap)]


def _stationary(problem: CalibrationProblem, features: Sequence[Sequence[Number]]) -> list[Number]:
    """A solution u of the mean fixed-point equation; one always exists, E[x] being in the range of R."""
    field = Rationals()
    size = len(features[0])
    kept, eta = 1 - field.of(problem.gamma[0]), field.of(problem.eta)
    x = flint.fmpq_mat([list(row) for row in features])
    moments = x.transpose() * x
    count = len(features)
    mean = _mean(features)
    anchor = vector(field, problem.anchor)
    rows = []
    for i in range(size):
        row = [eta * moments[i, j] / count + (kept if i == j else 0) for j in range(size)]
        rows.append([*row, kept * anchor[i] + eta * mean[i]])
    return _particular_solution(flint.fmpq_mat(rows), size)


def _particular_solution(augmented: flint.fmpq_mat, size: int) -> list[Number]:
    reduced, rank = augmented.rref()
    solution = [flint.fmpq(0)] * size
    for row in range(rank):
        pivot = next(j for j in range(size) if reduced[row, j] != 0)
        solution[pivot] = reduced[row, size]
    return solution


def _elsewhere(problem: CalibrationProblem) -> list[Number]:
    other: Array = problem.initial + 0.125
    return vector(Rationals(), other)
