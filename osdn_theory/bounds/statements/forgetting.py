"""T13: two runs forget where they started, and what forgetting towards an anchor costs."""

from dataclasses import replace

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.check import Sides
from osdn_theory.bounds.numbers import Number, distance_sq, dot
from osdn_theory.bounds.problem import CalibrationProblem
from osdn_theory.bounds.registry import BoundEvidence, Run, bound
from osdn_theory.bounds.runs.enclosed import FloatRun
from osdn_theory.bounds.runs.exact import ExactRun
from osdn_theory.recurrence.calibrate import calibration_scan

_VISIBLE = 1e-9
# In float64 the distance of two runs is known to about 1e-15; below this bound on it there is nothing to decide.


@bound(
    "T13",
    "Stability under forgetting",
    r"\|d_t-d'_t\| \le \prod_{s<t}\gamma_s\,\|d_1-d'_1\|",
    hypotheses=(h.has_tokens, h.contracting_step),
)
def stability(e: BoundEvidence) -> list[Sides]:
    other = second_run(e)
    start_sq = bound_sq = separation_sq(e.run, other, 0)
    pairs: list[Sides] = []
    for token in range(1, e.problem.length + 1):
        bound_sq = bound_sq * e.field.of(e.problem.gamma[token - 1]) ** 2
        if isinstance(e.run, FloatRun) and pairs and bound_sq < _VISIBLE**2:
            break
        pairs.append(Sides(separation_sq(e.run, other, token), bound_sq, ceiling=start_sq))
    scope = f"d_2 to d_{len(pairs) + 1}"
    return [replace(sides, scope=scope) for sides in pairs]


def separation_sq(first: Run, second: Run, token: int) -> Number:
    """||d_t - d'_t||^2 between two runs of one kind."""
    if isinstance(first, ExactRun):
        assert isinstance(second, ExactRun)
        return distance_sq(first.preconditioners[token], second.preconditioners[token])
    assert isinstance(second, FloatRun)
    return first.run_distance_sq(second, token)


def second_run(e: BoundEvidence) -> Run:
    """The same problem, same anchor, started from another corner of the box."""
    start = other_start(e.problem)
    if isinstance(e.run, ExactRun):
        return ExactRun(e.problem, e.run.field, initial=start)
    return _float_run_from(e.problem, start)


def other_start(problem: CalibrationProblem) -> Array:
    """A d_1 away from the given one: the farther face of the box, or one unit away where it is open."""
    low = np.where(np.isfinite(problem.lower), problem.lower, problem.initial - 1)
    high = np.where(np.isfinite(problem.upper), problem.upper, problem.initial + 1)
    farther: Array = np.where(problem.initial - low >= high - problem.initial, low, high)
    # The historic box reaches to 1e9; a start that far away says nothing about either run.
    return np.clip(farther, problem.initial - 1, problem.initial + 1)


def _float_run_from(problem: CalibrationProblem, start: Array) -> FloatRun:
    path, final = calibration_scan(
        problem.stream.keys,
        problem.head_rule(),
        beta=problem.beta,
        gamma=problem.gamma,
        initial_preconditioner=start,
        anchor=problem.anchor,
        method="sequential",
    )
    return FloatRun(problem.starting_at(start), preconditioner=path, final=final)


@bound(
    "T13",
    "Bias for a constant key",
    r"a_t - a_\infty = (\gamma-\eta w\|s\|^2)^{t-1}(a_1-a_\infty)",
    hypotheses=(
        h.has_tokens,
        h.constant_key,
        h.constant_forgetting,
        h.positive_step,
        h.pulled,
        h.box_inactive,
    ),
)
def constant_key_bias(e: BoundEvidence) -> list[Sides]:
    """With a_inf = ((1 - gamma) <c, s> + eta w ||s||^2) / ((1 - gamma) + eta w ||s||^2)."""
    limit = bias_limit(e)
    strength = e.field.of(e.problem.eta) * e.run.weights[0] * e.run.norms_sq[0]
    rate = e.field.of(e.problem.gamma[0]) - strength
    start = (1 - e.run.gaps[0]) - limit
    pairs = []
    for token, gap in enumerate(e.run.gaps):
        vacuous = token == 0 or start == 0
        pairs.append(Sides((1 - gap) - limit, rate**token * start, identity=True, vacuous=vacuous))
    return pairs


def bias_limit(e: BoundEvidence) -> Number:
    """a_inf of T13 for the first key."""
    kept = 1 - e.field.of(e.problem.gamma[0])
    strength = e.field.of(e.problem.eta) * e.run.weights[0] * e.run.norms_sq[0]
    anchor = dot([e.field.of(c) for c in e.problem.anchor], e.run.first_feature)
    return (kept * anchor + strength) / (kept + strength)
