r"""T27 with gates: what two memories of the same tokens differ in.

It follows :math:`\Delta_t = \Delta_{t-1} Diag(\alpha_t)(I - \beta_t k_t (d_t \odot k_t)^T)`, whatever the values are. A
write contracts the metric of d_t (T16), a gate scales it by max_i alpha_i^2 at most, and moving it costs as in T27.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.check import Sides
from osdn_theory.bounds.numbers import Field, Number, matrix, vector
from osdn_theory.bounds.problem import CalibrationProblem
from osdn_theory.bounds.registry import BoundEvidence, bound
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
