"""Check bounds on a trajectory: every leading index, every bound asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from osdn_theory.bounds.check import BoundCheck
from osdn_theory.bounds.facts import Facts
from osdn_theory.bounds.problem import problem
from osdn_theory.bounds.registry import BOUNDS, evaluate, runs_for
from osdn_theory.bounds.statements.context import context_checks
from osdn_theory.bounds.statements.solver import solver_checks
from osdn_theory.recurrence.trajectory import Trajectory

CONTEXT = "T10"
SOLVER = "float64"


def bound_ids() -> tuple[str, ...]:
    """Ids that `check_bounds` knows, in the order of THEORY.md; "float64" is the solver's own rounding."""
    theorems = {bound.theorem for bound in BOUNDS} | {CONTEXT}
    return (*sorted(theorems, key=lambda name: int(name[1:])), SOLVER)


def check_bounds(
    trajectory: Trajectory, bounds: Sequence[str] | None = None, *, rule_label: str = ""
) -> list[BoundCheck]:
    """Every bound on every leading index of a trajectory.

    - `trajectory`: Of a recurrence with the calibrate step. Small ones (T K <= 20,000) are enclosed whole in ball
      arithmetic, larger ones by the float64 trajectory and its rounding error, and in balls where that leaves a bound
      open; each verdict says which.
    - `bounds`: Theorem ids, see `bound_ids`. Default: all.
    - `rule_label`: Name of the rule in the result.

    Raises ValueError: for an unknown id, or a trajectory without a calibrate step.
    """
    wanted = bound_ids() if bounds is None else tuple(bounds)
    unknown = [name for name in wanted if name not in bound_ids()]
    if unknown:
        raise ValueError(f"bounds: unknown {', '.join(unknown)}; known: {', '.join(bound_ids())}")
    checks: list[BoundCheck] = []
    for index in np.ndindex(*trajectory.stream.lead):
        checks.extend(_check_one(trajectory, index, wanted, rule_label))
    return checks


def _check_one(
    trajectory: Trajectory, index: tuple[int, ...], wanted: Sequence[str], rule_label: str
) -> Iterator[BoundCheck]:
    case = problem(trajectory, index, rule_label=rule_label)
    facts, runs = Facts(case), runs_for(case)
    for bound in BOUNDS:
        if bound.theorem in wanted:
            yield evaluate(bound, case, facts, runs)
    if CONTEXT in wanted:
        yield from context_checks(replace(case.stream, name=trajectory.stream.name), index=index)
    if SOLVER in wanted:
        yield from solver_checks(case)
