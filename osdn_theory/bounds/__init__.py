"""The bounds of THEORY.md as objects: hypotheses, both sides, and a verdict that is proved or left open."""

from osdn_theory.bounds.check import BoundCheck, Outcome, Sides, decide
from osdn_theory.bounds.checking import bound_ids, check_bounds
from osdn_theory.bounds.problem import CalibrationProblem, problem
from osdn_theory.bounds.registry import BOUNDS, Bound
from osdn_theory.bounds.statements import (
    alternating,
    calibration_time,
    contraction,
    fixed_point,
    forgetting,
    gated,
    memory,
    quadratic,
    recall,
    regret,
    span,
    sweeps,
)
from osdn_theory.bounds.statements.context import context_checks

__all__ = [
    "BOUNDS",
    "Bound",
    "BoundCheck",
    "CalibrationProblem",
    "Outcome",
    "Sides",
    "alternating",
    "bound_ids",
    "calibration_time",
    "check_bounds",
    "context_checks",
    "contraction",
    "decide",
    "fixed_point",
    "forgetting",
    "gated",
    "memory",
    "problem",
    "quadratic",
    "recall",
    "regret",
    "span",
    "sweeps",
]
