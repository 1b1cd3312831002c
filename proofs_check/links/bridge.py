"""From an exact instance to what the code takes: arrays, streams, rules; and from a bound of the code to its sides."""

from typing import Any

import numpy as np
from flint import fmpq

from osdn_theory.bounds.check import decide
from osdn_theory.bounds.facts import Facts
from osdn_theory.bounds.numbers import Rationals
from osdn_theory.bounds.problem import CalibrationProblem, problem
from osdn_theory.bounds.registry import BOUNDS, BoundEvidence
from osdn_theory.bounds.runs.exact import ExactRun
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream
from proofs_check.exact.draw import Instance
from proofs_check.exact.law import converted
from proofs_check.exact.numbers import array
from proofs_check.links.link import as_float, rational
from proofs_check.links.sized import Sized

Floats = np.ndarray[Any, Any]


def floats(x: Any) -> Any:
    """Exact numbers, in arrays or lists, as a float64 array; a number as a float."""
    if isinstance(x, list | np.ndarray):
        return np.array([floats(a) for a in x], dtype=np.float64)
    near = as_float(fmpq(x))
    if fmpq(*near.as_integer_ratio()) != x:
        raise ValueError(f"{x} is not a float64 number")
    return near


def exact(x: Any) -> Any:
    """An array or a float in exact numbers."""
    return array([exact(a) for a in x]) if isinstance(x, np.ndarray) and x.ndim else rational(float(x))


def sized(x: Any) -> Any:
    """An instance, or anything in it, with sized numbers."""
    return converted(x, Sized.of)


def rule_of(x: Instance, **options: Any) -> CalibrationRule:
    """eta and the box of an instance."""
    return CalibrationRule(eta=floats(x.eta), d_min=floats(x.lo), d_max=floats(x.hi), **options)


def stream_of(x: Instance, **options: Any) -> Stream:
    """The keys of an instance, with its values where it has some."""
    values = floats(x.v) if hasattr(x, "v") else np.zeros((len(x.k), 1))
    return Stream(keys=floats(x.k), values=values, **options)


def evidence(trajectory: Trajectory) -> BoundEvidence:
    """What a bound of the code looks at, with the calibrate trajectory in exact rationals."""
    case: CalibrationProblem = problem(trajectory, ())
    return BoundEvidence(case, Facts(case), ExactRun(case, Rationals()))


def bound_sides(trajectory: Trajectory, theorem: str, title: str) -> tuple[BoundEvidence, list[Any]]:
    """Both sides of one bound of the code."""
    (bound,) = [b for b in BOUNDS if b.theorem == theorem and b.title == title]
    e = evidence(trajectory)
    with e.field.working():
        for hypothesis in bound.hypotheses:
            verdict = hypothesis(e)
            if verdict.status != "met":
                raise ValueError(f"{theorem} {title}: {verdict.reason}")
        pairs = bound.sides(e)
        if any(decide(sides) == "violated" for sides in pairs):
            raise ValueError(f"{theorem} {title}: violated according to the code")
        return e, pairs


def by_condition(keys: Floats) -> Any:
    """1024 u cond(keys)^2: what is granted where the code goes through singular values.

    Not a proven bound, unlike `sized`: LAPACK's constants are not known. Relative to the size of the result.
    """
    return rational(float(1024 * 2.0**-53 * np.linalg.cond(keys) ** 2))
