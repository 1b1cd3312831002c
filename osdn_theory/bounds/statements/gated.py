r"""T27 with gates: what two memories of the same tokens differ in, in the metric of d and in the plain norm.

It follows :math:`\Delta_t = \Delta_{t-1} Diag(\alpha_t)(I - \beta_t k_t (d_t \odot k_t)^T)`, whatever the values are. A
write contracts the metric of d_t (T16), a gate scales it by max_i alpha_i^2 at most, and moving it costs as in T27.
Metric and plain norm differ by max_i d_{t,i} / min_i d_{t,i} at most: gates that take this away contract the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.check import Sides
from osdn_theory.bounds.numbers import Field, Number, as_float, matrix, total, vector
from osdn_theory.bounds.problem import CalibrationProblem
from osdn_theory.bounds.registry import BoundEvidence, HypothesisVerdict, bound, unless
from osdn_theory.bounds.runs.local_step import EXACT
from osdn_theory.bounds.runs.states import column, covered, prefix, widened
from osdn_theory.bounds.statements.contraction import metric
from osdn_theory.bounds.statements.memory import metric_growth, stable_alignment


def gates(problem: CalibrationProblem, field: Field, length: int) -> list[list[Number]]:
    """alpha_t of the first tokens, one for each feature."""
    given = np.asarray(problem.state_gate)[:length].reshape(length, -1)
    return [vector(field, row) for row in np.broadcast_to(given, (length, problem.key_dim))]


def last_difference(problem: CalibrationProblem, field: Field, path: Sequence[Sequence[Number]]) -> Any:
    """Delta_T from Delta_0 = I, (K, K)."""
    state, alphas = matrix(field, np.eye(problem.key_dim)), gates(problem, field, len(path))
    for token, (d, alpha) in enumerate(zip(path, alphas, strict=True)):
        key, rows = vector(field, problem.stream.keys[token]), state.tolist()
        state = type(state)([[a * s for a, s in zip(alpha, row, strict=True)] for row in rows])
        write_key = column([a * k for a, k in zip(d, key, strict=True)])
        state = state - state * column(key) * write_key.transpose() * field.of(problem.beta[token])
    return state


def gate_growth(field: Field, alphas: Sequence[Sequence[Number]]) -> Number:
    """prod_t max_i alpha_{t,i}^2."""
    growth = field.of(1.0)
    for alpha in alphas:
        growth = growth * reduce(field.maximum, [a * a for a in alpha])
    return growth


@bound(
    "T27",
    "Growth of a difference, gated state",
    r"\|\Delta_TD_T^{-1/2}\|_F^2 \le \prod_{t\le T}\max_i\alpha_{t,i}^2"
    r"\prod_{t<T}\max_i\tfrac{d_{t,i}}{d_{t+1,i}}\,\|D_1^{-1/2}\|_F^2,\quad\Delta_0=I",
    hypotheses=(h.has_tokens, h.gated, h.positive_preconditioner, stable_alignment),
)
def gated_growth(e: BoundEvidence) -> list[Sides]:
    problem, length = e.problem, covered(e.problem)
    field = widened(e.field, length)
    with field.working():
        path = [vector(field, d) for d in problem.preconditioner[:length]]
        before = metric(np.eye(problem.key_dim, dtype=int).tolist(), path[0])
        after = metric(last_difference(problem, field, path).tolist(), path[-1])
        limit = gate_growth(field, gates(problem, field, length)) * metric_growth(field, path) * before
        return [Sides(after, limit, scope=prefix(problem, length), method=field.label)]


def gates_within_metric(e: BoundEvidence) -> HypothesisVerdict:
    """alpha_{t,i}^2 max_j d_{t,j} <= min_j d_{t,j}, exactly."""
    length = covered(e.problem)
    rows = zip(e.problem.preconditioner, gates(e.problem, EXACT, length), strict=False)
    for token, (d, alpha) in enumerate(rows):
        ratio, largest = EXACT.of(d.min()) / EXACT.of(d.max()), max(a * a for a in alpha)
        if largest > ratio:
            told = f"{as_float(largest):.6g} > {as_float(ratio):.6g} at token {token + 1}"
            return unless(f"needs alpha^2 <= min d / max d, got {told}")
    return unless("")


@bound(
    "T27",
    "Gates that contract the plain norm",
    r"\|\Delta_T\|_F \le \|\Delta_0\|_F,\quad\Delta_0=I",
    hypotheses=(h.has_tokens, h.gated, h.positive_preconditioner, stable_alignment, gates_within_metric),
)
def gated_norm(e: BoundEvidence) -> list[Sides]:
    problem, length, width = e.problem, covered(e.problem), e.problem.key_dim
    field = widened(e.field, length)
    with field.working():
        path = [vector(field, d) for d in problem.preconditioner[:length]]
        after = total(x * x for row in last_difference(problem, field, path).tolist() for x in row)
        return [Sides(after, field.of(float(width)), scope=prefix(problem, length), method=field.label)]
