"""Data of the convergence figure: suboptimality against steps for every rule, with its bounds (T9, T10)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.jsonable import jsonable
from osdn_theory.base.validation import Array, as_float64, require, require_generator
from osdn_theory.context.comparators import best_context_diagonal, context_contraction
from osdn_theory.context.newton import (
    ContextTrajectory,
    context_osdn,
    fixed_diagonal,
    gradient_descent,
    right_newton,
)
from osdn_theory.context.newton_bounds import agnostic_bound, newton_bound, vacuous_until

Rule = Literal["gradient", "best_fixed_diagonal", "diagonal", "full", "newton"]
Start = Literal["inverse_smoothness", "zero"]
RULES: tuple[Rule, ...] = get_args(Rule)

LABELS: Mapping[str, str] = {
    "gradient": "gradient descent, 1/L",
    "best_fixed_diagonal": "best fixed diagonal",
    "diagonal": "OSDN, diagonal P",
    "full": "OSDN, full P",
    "newton": "right-Newton",
}
"""What each rule is called in a legend."""


@show_briefly
@dataclass(frozen=True, eq=False)
class ConvergenceData:
    """Curves of one context under several rules, float64, natural logarithms.

    - `log_suboptimality`, mapping from rule to (J+1,): log(F(S_j) - F*), minus infinity where the minimum
      is reached exactly.
    - `bounds`, mapping from name to (J+1,): The right sides, in the same units: ``"full"`` and, where G is exactly
      diagonal, ``"diagonal"`` against right-Newton (T10); ``"diagonal_agnostic"`` against the best fixed diagonal.
    - `vacuous_until`: The first step at which :attr:`log_bound` lies below its starting value; None if it
      is not reached.
    - `vacuous_sum`, mapping from rule to float: C = L^2 |P_1 - P*|^2, for the bounds against right-Newton:
      vacuous until T > C.
    - `parameters`: Condition number, dimensions, steps, eta, L, P_1, and the best fixed diagonal with its
      worst-case contraction per step.
    """

    log_suboptimality: Mapping[str, Array]
    bounds: Mapping[str, Array]
    vacuous_until: int | None
    vacuous_sum: Mapping[str, float]
    parameters: Mapping[str, Any]

    @property
    def bound_rules(self) -> tuple[str, ...]:
        """The rules that :attr:`log_bound` speaks of; it says nothing of any other curve."""
        return tuple(rule for rule in ("diagonal", "full") if rule in self.bounds)

    @property
    def log_bound(self) -> Array | None:
        """T10 as far as it applies: for the diagonal form if it can, else for the full one; else None."""
        return _main_bound(self.bounds)

    def log10_suboptimality(self, rule: str) -> Array:
        """log10(F(S_j) - F*) under a rule, (J+1,). Raises ``KeyError`` for a rule that was not run."""
        log10: Array = self.log_suboptimality[rule] / np.log(10.0)
        return log10

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready values, base-10 logarithms; infinities and NaN as strings."""
        document: dict[str, Any] = jsonable(
            {
                "log10_suboptimality": {
                    rule: self.log10_suboptimality(rule) for rule in self.log_suboptimality
                },
                "log10_bounds": {name: bound / np.log(10.0) for name, bound in self.bounds.items()},
                "bound_rules": self.bound_rules,
                "vacuous_until": self.vacuous_until,
                "vacuous_sum": self.vacuous_sum,
                "parameters": self.parameters,
            }
        )
        return document


def conditioned_keys(
    rng: np.random.Generator, *, condition: float, key_dim: int, rotate: bool = True, smoothness: float = 1.0
) -> Array:
    r"""K keys whose Gram spectrum is geometric from `smoothness` down to `smoothness` / `condition`.

    .. math:: G = Q\,\mathrm{Diag}(\lambda)\,Q^\top, \qquad \lambda_i = L \kappa^{-(i-1)/(K-1)}

    - `condition`, float >= 1: kappa.
    - `key_dim`, int >= 1: K.
    - `rotate`: Q uniform among the orthogonal matrices; otherwise the identity, and G exactly diagonal.
    - `smoothness`, float > 0: L.

    Returns (K, K) float64.

    Raises ValueError: for parameters out of range.
    """
    require_generator(rng)
    require(np.isfinite(condition) and condition >= 1, f"condition: expected >= 1, got {condition}")
    require(key_dim >= 1, f"key_dim: expected >= 1, got {key_dim}")
    require(np.isfinite(smoothness) and smoothness > 0, f"smoothness: expected > 0, got {smoothness}")
    scales = np.sqrt(smoothness * np.geomspace(1.0, 1.0 / condition, key_dim))
    if not rotate:
        return np.diag(scales)
    basis, triangle = np.linalg.qr(rng.normal(size=(key_dim, key_dim)))
    # The signs make the distribution uniform: QR alone prefers a sign.
    rotated: Array = scales[:, None] * (basis * np.sign(np.diagonal(triangle))).T
    return rotated


def convergence_rates(
    rng: np.random.Generator,
    *,
    condition: float = 100.0,
    key_dim: int = 8,
    value_dim: int = 8,
    steps: int = 1000,
    rotate: bool = True,
    rules: Sequence[Rule] = RULES,
    eta: float | None = None,
    start: Start = "inverse_smoothness",
) -> ConvergenceData:
    r"""Suboptimality against steps on a context with a given Gram spectrum (T9, T10).

    The keys are :func:`conditioned_keys` with L = 1; the values are normal, and S_1 = 0.

    - `condition`, float >= 1: kappa, of the Gram matrix.
    - `key_dim`, `value_dim`, int >= 1: K, V.
    - `steps`, int >= 0: J.
    - `rotate`, `rules`, `eta`, `start`: `rotate` as in :func:`conditioned_keys`, the others as in
      :func:`context_convergence`.

    Raises ValueError: for parameters out of range.
    """
    require(value_dim >= 1, f"value_dim: expected >= 1, got {value_dim}")
    keys = conditioned_keys(rng, condition=condition, key_dim=key_dim, rotate=rotate)
    values = rng.normal(size=(key_dim, value_dim))
    return context_convergence(keys, values, steps=steps, rules=rules, eta=eta, start=start)


def context_convergence(
    keys: Any,
    values: Any,
    *,
    steps: int,
    rules: Sequence[Rule] = RULES,
    eta: float | None = None,
    start: Start = "inverse_smoothness",
) -> ConvergenceData:
    r"""Suboptimality against steps on one given context, from S_1 = 0 (T9, T10).

    - `keys` (T, K), `values` (T, V)
    - `steps`: int >= 0
    - `rules`, names among "gradient", "best_fixed_diagonal", "diagonal", "full", "newton": In the order of the curves.
    - `eta`: Step of both OSDN rules; default 1/(2 L^2).
    - `start`, "inverse_smoothness" or "zero": P_1 of both OSDN rules. From I/L the first step is the gradient step,
      and :math:`C = \sum_i (L/\lambda_i - 1)^2`; from zero the first step stands still, and
      :math:`C = \sum_i (L/\lambda_i)^2`. Either way about :math:`\kappa^2`: the bound against right-Newton is vacuous
      for that many steps, and the data says so.

    Raises TypeError, ValueError: non-numeric or non-finite arrays, more than one context, unknown rules,
    parameters out of range.
    """
    require(len(rules) > 0 and set(rules) <= set(RULES), f"rules: expected some of {RULES}, got {rules}")
    require(start in get_args(Start), f"start: expected one of {get_args(Start)}, got {start!r}")
    k = as_float64("keys", keys, min_ndim=2)
    v = as_float64("values", values, min_ndim=2)
    require(k.ndim == 2 and v.ndim == 2, f"keys, values: expected one context, got {k.shape}, {v.shape}")
    reference = gradient_descent(k, v, steps=steps)
    best = best_context_diagonal(reference.gram)
    runs = {rule: _run(rule, k, v, steps, eta, start, best, reference) for rule in rules}
    bounds, budgets = _bounds(runs, best)
    return ConvergenceData(
        log_suboptimality={rule: run.log_suboptimality for rule, run in runs.items()},
        bounds=bounds,
        vacuous_until=_first_below(_main_bound(bounds)),
        vacuous_sum=budgets,
        parameters=_parameters(reference, best, eta, start),
    )


def _run(
    rule: Rule,
    keys: Array,
    values: Array,
    steps: int,
    eta: float | None,
    start: Start,
    best: Array,
    reference: ContextTrajectory,
) -> ContextTrajectory:
    if rule == "gradient":
        return reference
    if rule == "best_fixed_diagonal":
        return fixed_diagonal(keys, values, best, steps=steps)
    if rule == "newton":
        return right_newton(keys, values, steps=steps)
    key_dim = keys.shape[-1]
    zero = np.zeros(key_dim) if rule == "diagonal" else np.zeros((key_dim, key_dim))
    first = zero if start == "zero" else None
    return context_osdn(keys, values, steps=steps, form=rule, eta=eta, initial_preconditioner=first)


def _bounds(runs: Mapping[Rule, ContextTrajectory], best: Array) -> tuple[dict[str, Array], dict[str, float]]:
    bounds: dict[str, Array] = {}
    budgets: dict[str, float] = {}
    for rule in ("diagonal", "full"):
        if rule not in runs:
            continue
        budget = float(vacuous_until(runs[rule]))
        if np.isfinite(budget):
            bounds[rule], budgets[rule] = newton_bound(runs[rule]), budget
    if "diagonal" in runs:
        agnostic = agnostic_bound(runs["diagonal"], best)
        if np.isfinite(agnostic).all():
            bounds["diagonal_agnostic"] = agnostic
    return bounds, budgets


def _main_bound(bounds: Mapping[str, Array]) -> Array | None:
    return bounds.get("diagonal", bounds.get("full"))


def _first_below(bound: Array | None) -> int | None:
    if bound is None:
        return None
    below = bound < bound[0]
    return int(np.argmax(below)) if below.any() else None


def _parameters(reference: ContextTrajectory, best: Array, eta: float | None, start: Start) -> dict[str, Any]:
    eigenvalues = np.linalg.eigvalsh(reference.gram)
    smoothness = float(reference.smoothness)
    return {
        "length": reference.keys.shape[0],
        "key_dim": reference.keys.shape[1],
        "value_dim": reference.values.shape[1],
        "steps": reference.ratios.shape[-1],
        "eta": 0.5 / smoothness**2 if eta is None and smoothness > 0 else eta,
        "smoothness": smoothness,
        "condition": float(eigenvalues[-1] / eigenvalues[0]) if eigenvalues[0] > 0 else float("inf"),
        "diagonal_gram": bool(reference.diagonal_gram),
        "initial_preconditioner": start,
        "best_fixed_diagonal": best,
        "best_contraction": float(context_contraction(reference.gram, best)),
    }
