"""Exact facts about one problem that hypotheses ask for, each found once, whatever the precision of the bound."""

from functools import cached_property

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.bounds.numbers import Balls, Number, as_float, dot, norm_sq, vector
from osdn_theory.bounds.problem import CalibrationProblem
from osdn_theory.bounds.runs.enclosed import FloatRun
from osdn_theory.bounds.runs.exact import ExactRun
from osdn_theory.bounds.runs.local_step import EXACT, LocalStep, local_steps
from osdn_theory.bounds.runs.window import Window, windows
from osdn_theory.context.comparators import best_fixed_diagonal

_EXACT = Balls(1024)
# Sums of products of a few float64 are dyadic; at 1024 bits they carry no radius unless their exponents span
# more than that, and then they cannot cancel either.


class Facts:
    """What does not depend on the precision: keys, gates, comparators, box, and exact writes."""

    def __init__(self, problem: CalibrationProblem) -> None:
        self.problem = problem

    @property
    def comparator(self) -> Array | None:
        """The comparator that came with the stream, (K,) or a path (T, K)."""
        return self.problem.stream.comparator

    @cached_property
    def best_comparator(self) -> Array:
        """The best fixed diagonal in hindsight, (K,), inside the box; any point of the box is a valid u.

        That next to d_1 where float64 finds no better.
        """
        p = self.problem
        s = p.stream.squared_keys
        features = p.beta[:, None] * s if p.beta_aware else s
        try:
            with np.errstate(all="ignore"):
                fitted = best_fixed_diagonal(features, p.lower, p.upper)
        except (ArithmeticError, ValueError):  # not optimal, or beyond the largest float64
            fitted = p.initial
        return np.clip(fitted, p.lower, p.upper)

    @cached_property
    def corner_gaps(self) -> list[tuple[Number, Number]] | None:
        """1 - <d, x_t> in the two corners between which it lies for every d in the box; None where it is open.

        At the first token for d_1 as well, which may lie outside.
        """
        p = self.problem
        low, high = (np.tile(face, (p.length, 1)) for face in (p.lower, p.upper))
        low[:1], high[:1] = np.minimum(low[:1], p.initial), np.maximum(high[:1], p.initial)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            return None
        run = FloatRun(p)
        with np.errstate(all="ignore"):
            corners = list(zip(run.comparator_gaps(low), run.comparator_gaps(high), strict=True))
        return corners if all(a.is_finite() and b.is_finite() for a, b in corners) else None

    @cached_property
    def interpolation_failure(self) -> str:
        """Where <u_t, x_t> = 1 fails, exactly; empty if it holds for every token."""
        if self.comparator is None:
            return "no comparator with <u, s_t> = 1 for all t is known"
        p = self.problem
        path = np.broadcast_to(self.comparator, p.stream.keys.shape)
        with _EXACT.working():
            for token in range(p.length):
                squares = [k * k for k in vector(_EXACT, p.stream.keys[token])]
                inner = dot(vector(_EXACT, path[token]), squares)
                gap = 1 - (_EXACT.of(p.beta[token]) * inner if p.beta_aware else inner)
                if not gap.is_zero():
                    name = "beta_t <u, s_t>" if p.beta_aware else "<u, s_t>"
                    return f"{name} = 1 fails by {as_float(gap):.3g} at token {token + 1}"
        return ""

    @cached_property
    def unit_norm_failure(self) -> str:
        """Where ||k_t||_2 = 1 fails, exactly; empty if every key is exactly normalised."""
        with _EXACT.working():
            for token, key in enumerate(self.problem.stream.keys):
                excess = norm_sq(vector(_EXACT, key)) - 1
                if not excess.is_zero():
                    return f"||k_t||^2 = 1 fails by {as_float(excess):.3g} at token {token + 1}"
        return ""

    @cached_property
    def realisable_failure(self) -> str:
        """Where v_t = S* k_t fails, exactly; empty if it holds for every token."""
        solution = self.problem.stream.solution
        if solution is None:
            return "no S* with v_t = S* k_t is known"
        rows = [vector(_EXACT, row) for row in solution]
        with _EXACT.working():
            for token in range(self.problem.length):
                key = vector(_EXACT, self.problem.stream.keys[token])
                value = vector(_EXACT, self.problem.stream.values[token])
                for i, row in enumerate(rows):
                    error = value[i] - dot(row, key)
                    if not error.is_zero():
                        return f"v_t = S* k_t fails by {as_float(error):.3g} at token {token + 1}, feature {i + 1}"
        return ""

    @cached_property
    def local_steps(self) -> list[LocalStep]:
        """Tokens, each with the solver's state before it; every one of a small stream."""
        return local_steps(self.problem)

    @cached_property
    def exact_run(self) -> ExactRun:
        """The whole calibration in exact rationals, for what only equality can decide."""
        return ExactRun(self.problem, EXACT)

    @cached_property
    def windows(self) -> list[Window]:
        """The windows at sampled tokens, each from the solver's preconditioner there."""
        return windows(self.problem)

    @cached_property
    def constant_key(self) -> bool:
        """The same key and (if beta-aware) the same beta at every token."""
        keys, beta = self.problem.stream.keys, self.problem.beta
        same_beta = not self.problem.beta_aware or bool(np.all(beta == beta[:1]))
        return bool(np.all(keys == keys[:1])) and same_beta


def outside_box(point: Array, lower: Array, upper: Array) -> str:
    """Reason text if any coordinate of `point` (..., K) is outside [lower, upper]; empty otherwise."""
    below, above = point < lower, point > upper
    if not (below | above).any():
        return ""
    worst = float(max(np.max(lower - point), np.max(point - upper)))
    return f"the comparator leaves the box by {worst:.3g}"
