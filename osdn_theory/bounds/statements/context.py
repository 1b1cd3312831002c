r"""T10: the context-level run against the right-Newton comparator, in ball arithmetic.

With E = S - S*, one step is E' = E(I - G P), and rho_j(P) = tr(E'GE'^T)/tr(EGE^T) is a convex quadratic with
minimum 0 at P* = G^+, so <grad rho, P - P*> = 2 rho; being 2L^2-smooth it also has |grad rho|^2 <= 4L^2 rho.
Gradient steps of 1/(2L^2) then lose rho_j / L^2 of squared distance to P* each. Against any fixed diagonal U,
with a step eta < 1/(2L^2), the same two facts give the agnostic form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.bounds.ceilings import log_ceiling
from osdn_theory.bounds.check import BoundCheck, Outcome, Sides
from osdn_theory.bounds.numbers import Balls, Field, Number, Rationals, log, matrix, total
from osdn_theory.bounds.registry import HypothesisVerdict, conclude, unless
from osdn_theory.bounds.statements.regret import log_product
from osdn_theory.context.comparators import best_context_diagonal
from osdn_theory.streams.stream import Stream

Form = Literal["full", "diagonal", "agnostic"]

STEPS = 16
"""Context steps checked: enough for the bound to bite on small heads, and cheap on wide ones."""

_PRECISIONS = (128, 512, 2048, 8192, 32768)
# Super-geometric decay squares away digits: a one-dimensional context loses thousands of bits in sixteen steps.

_LARGEST_KEY_DIM = 256
# A context step costs some ten K^3 ball operations: five seconds in all at K = 128, a minute here.


_SOLVED = "S_1 = 0 is already S*"


def newton_constant(smoothness: Number, distance_sq: Number) -> Number:
    """L^2 ||P_1 - P*||_F^2, the bound on the sum of the ratios (T10)."""
    return smoothness**2 * distance_sq


@dataclass(frozen=True, eq=False)
class ContextProblem:
    """One context: keys (T, K), values (T, V), and L that is at least lambda_max(G).

    `smoothness` and `start` are those of keys over 2^`exponent`: their squares neither under- nor overflow.
    """

    keys: Array
    values: Array
    smoothness: float
    start: float
    exponent: int = 0

    @staticmethod
    def of(stream: Stream) -> ContextProblem:
        """L from float64 eigenvalues, pushed up past their error; certified before it is used."""
        exponent = int(np.frexp(np.max(np.abs(stream.keys)))[1])
        problem = ContextProblem(stream.keys, stream.values, 0.0, 0.0, exponent if abs(exponent) > 200 else 0)
        smoothness = float(np.linalg.eigvalsh(problem.float_gram)[-1]) * (1 + 1e-9)
        # P_1 = I / (2L), half a gradient step: P_1 = I / L is already optimal for a one-dimensional context.
        return replace(problem, smoothness=smoothness, start=0.5 / smoothness)

    @property
    def float_gram(self) -> Array:
        """G of the keys over 2^`exponent`, in float64."""
        scaled = np.ldexp(self.keys, -self.exponent)
        return scaled.T @ scaled

    @cached_property
    def spanning_keys(self) -> Array:
        """Independent keys that span all of them, (rank, K); exactly so."""
        keys = np.unique(self.keys, axis=0)
        reduced, rank = _rationals(keys.T).rref()
        pivots = [next(j for j in range(len(keys)) if reduced[row, j] != 0) for row in range(rank)]
        return keys[pivots]


@dataclass(frozen=True, eq=False)
class ContextRun:
    """Ratios of an exact context run and what its bound needs."""

    ratios: list[Number]
    comparator_ratios: list[Number]
    smoothness: Number
    start_distance_sq: Number
    step: Number


class ContextSolver:
    """The context recurrence in one field; every matrix is flint's.

    Must be used under ``field.working()``; what the forms share is computed once.
    """

    def __init__(self, problem: ContextProblem, field: Field) -> None:
        self.problem = problem
        self.field = field
        self._power = field.of(2.0) ** (2 * problem.exponent)
        self.smoothness = field.of(problem.smoothness) * self._power
        self.size = problem.keys.shape[1]

    @cached_property
    def _keys(self) -> Any:
        return matrix(self.field, self.problem.keys)

    @cached_property
    def gram(self) -> Any:
        return self._keys.transpose() * self._keys

    @cached_property
    def newton(self) -> Any:
        """P* = G^+, the pseudo-inverse: R^T (R G R^T)^{-1} R for any R whose rows span the keys."""
        if self.gram_nonsingular:
            return self.gram.inv()
        return self._spanning.transpose() * self._spanned.inv() * self._spanning

    @cached_property
    def _spanning(self) -> Any:
        return matrix(self.field, self.problem.spanning_keys)

    @cached_property
    def _spanned(self) -> Any:
        return self._spanning * self.gram * self._spanning.transpose()

    @property
    def range_certified(self) -> bool:
        """G is positive definite on the span of the keys."""
        return self.gram_nonsingular or (
            len(self.problem.spanning_keys) < self.size and positive_definite(self._spanned)
        )

    @cached_property
    def start_error(self) -> Any:
        """E_1 = -S*, the run starting at zero."""
        values = matrix(self.field, self.problem.values)
        return -1 * (values.transpose() * self._keys * self.newton)

    @cached_property
    def smoothness_certified(self) -> bool:
        """L I - G is positive definite."""
        return positive_definite(self._scaled_identity(self.smoothness) - self.gram)

    @cached_property
    def gram_nonsingular(self) -> bool:
        return positive_definite(self.gram)

    @cached_property
    def gram_diagonal(self) -> bool:
        """Exactly diagonal: every other entry is an exact zero."""
        pairs = ((i, j) for i in range(self.size) for j in range(self.size) if i != j)
        return all(self.gram[i, j] == 0 for i, j in pairs)

    def run(self, form: Form, steps: int, comparator: Array | None = None) -> ContextRun:
        """`steps` gradient steps on rho from P_1 = `start` I and S_1 = 0."""
        halving = 4 if form == "agnostic" else 2
        eta = 1 / (halving * self.smoothness**2)
        optimum = self._target(form, comparator)
        p = self._scaled_identity(self.field.of(self.problem.start) / self._power)
        distance = _frobenius_sq(p - optimum)
        error = self.start_error
        ratios: list[Number] = []
        comparator_ratios: list[Number] = []
        for _ in range(steps):
            gradient = error * self.gram
            scale = _inner(gradient, error)
            if scale == 0:
                break  # S_j = S*: every later ratio is 0/0 and the loss stays zero
            after = error - gradient * p
            ratios.append(self._weighted(after) / scale)
            if form == "agnostic":
                comparator_ratios.append(self._weighted(error - gradient * optimum) / scale)
            descent = (gradient.transpose() * after) * self.gram
            descent = descent if form == "full" else _diagonal_part(descent)
            p = p + descent * (2 * eta / scale)
            error = after
        return ContextRun(ratios, comparator_ratios, self.smoothness, distance, eta)

    def _target(self, form: Form, comparator: Array | None) -> Any:
        if form == "agnostic":
            assert comparator is not None
            return matrix(self.field, np.diag(comparator)) * (1 / self._power)
        return self.newton

    def _weighted(self, error: Any) -> Number:
        """tr(E G E^T)."""
        return _inner(error * self.gram, error)

    def _scaled_identity(self, value: Number) -> Any:
        zero = self.field.of(0.0)
        rows = [[value if i == j else zero for j in range(self.size)] for i in range(self.size)]
        return type(self.gram)(rows)


def _inner(first: Any, second: Any) -> Number:
    return total(a * b for a, b in zip(first.entries(), second.entries(), strict=True))


def _frobenius_sq(value: Any) -> Number:
    return _inner(value, value)


def _diagonal_part(value: Any) -> Any:
    size = value.nrows()
    rows = [[value[i, j] if i == j else 0 for j in range(size)] for i in range(size)]
    return type(value)(rows)


def positive_definite(value: Any) -> bool:
    """Whether Gaussian elimination proves it: every pivot certainly positive."""
    rows = value.tolist()
    for i, pivot_row in enumerate(rows):
        if not pivot_row[i] > 0:
            return False
        for row in rows[i + 1 :]:
            factor = row[i] / pivot_row[i]
            for j in range(i, len(rows)):
                row[j] = row[j] - factor * pivot_row[j]
    return True


def context_checks(stream: Stream, *, index: tuple[int, ...] = (), steps: int = STEPS) -> list[BoundCheck]:
    """T10 on one stream's tokens as a context: full P, diagonal P, and diagonal P agnostically."""
    forms: tuple[Form, ...] = ("full", "diagonal", "agnostic")
    blanks = {form: _blank_checks(stream, index, form) for form in forms}
    refused = _size_verdict(stream, steps)
    if refused.status != "met":
        outcome: Outcome = "not applicable" if refused.status == "fails" else "undecided"
        return [replace(b, outcome=outcome, reason=refused.reason) for form in forms for b in blanks[form]]
    problem = ContextProblem.of(stream)
    solvers = [ContextSolver(problem, Balls(bits)) for bits in _PRECISIONS]
    return [check for form in forms for check in _form_checks(blanks[form], solvers, form, steps)]


def _form_checks(
    blanks: list[BoundCheck], solvers: Sequence[ContextSolver], form: Form, steps: int
) -> list[BoundCheck]:
    comparator = _comparator(solvers[0].problem) if form == "agnostic" else None
    checks = blanks
    for solver in solvers:
        with solver.field.working():
            checks = _at_precision(blanks, solver, form, steps, comparator)
        if all(check.outcome != "undecided" for check in checks):
            return checks
    return checks


def _comparator(problem: ContextProblem) -> Array:
    """Any diagonal is a valid comparator: a good one, or the plain step where none is found."""
    scale = 1 / problem.smoothness
    with np.errstate(all="ignore"):
        chosen = best_context_diagonal(problem.float_gram, 1e-3 * scale, 1e6 * scale)
    return np.where(np.isfinite(chosen), chosen, scale)


def _size_verdict(stream: Stream, steps: int) -> HypothesisVerdict:
    if not stream.length:
        return unless("the stream is empty")
    if stream.key_dim > _LARGEST_KEY_DIM:
        return HypothesisVerdict("undecided", f"not run for K > {_LARGEST_KEY_DIM}, got K = {stream.key_dim}")
    if not np.any(stream.values):
        return unless(f"{_SOLVED}: every value is zero")
    if not np.any(stream.keys):
        return unless(f"{_SOLVED}: every key is zero")
    return unless("" if steps > 0 else "needs at least one step")


def _at_precision(
    blanks: list[BoundCheck], solver: ContextSolver, form: Form, steps: int, comparator: Array | None
) -> list[BoundCheck]:
    verdict = _hypotheses(solver, form)
    labelled = [replace(b, method=solver.field.label) for b in blanks]
    if verdict.status == "fails":
        return [replace(b, outcome="not applicable", reason=verdict.reason, method="") for b in blanks]
    if verdict.status == "undecided":
        return [replace(b, outcome="undecided", reason=verdict.reason) for b in labelled]
    try:
        run = solver.run(form, steps, comparator)
    except ZeroDivisionError:  # flint's elimination takes other pivots than those that proved G definite
        return [
            replace(b, outcome="undecided", reason="G^+ is not enclosed at this precision") for b in labelled
        ]
    if not run.ratios:
        reason = f"{_SOLVED}: the values are orthogonal to the keys"
        return [replace(b, outcome="not applicable", reason=reason) for b in blanks]
    scope = f"{len(run.ratios)} context steps"
    return [
        conclude(check, [replace(sides, scope=scope)])
        for check, sides in zip(labelled, _sides(run, form), strict=True)
    ]


def _hypotheses(solver: ContextSolver, form: Form) -> HypothesisVerdict:
    if form == "diagonal" and not solver.gram_diagonal:
        return unless("needs a diagonal Gram matrix")
    if not solver.smoothness_certified:
        return HypothesisVerdict("undecided", "L >= lambda_max(G) is not certified")
    if solver.range_certified:
        return unless("")
    return HypothesisVerdict("undecided", "the rank of G is not certified at this precision")


def matrix_rank(keys: Array) -> int:
    """Exact rank of float64 keys, (T, K)."""
    return int(_rationals(keys).rank())


def _rationals(values: Array) -> Any:
    return matrix(Rationals(), values)


def _sides(run: ContextRun, form: Form) -> list[Sides]:
    regret, count = total(run.ratios), len(run.ratios)
    if form == "agnostic":
        slope = 1 - 2 * run.smoothness**2 * run.step
        spent = total(run.comparator_ratios) + run.start_distance_sq / (2 * run.step)
        return [Sides(regret, spent / slope, ceiling=count)]
    constant = newton_constant(run.smoothness, run.start_distance_sq)
    product = log_product(run.ratios, count * log(constant / count), log_ceiling(None))
    return [Sides(regret, constant, ceiling=count), product]


def _blank_checks(stream: Stream, index: tuple[int, ...], form: Form) -> list[BoundCheck]:
    sums = {
        "full": ("Regret of full P against right-Newton", r"\sum_j\rho_j \le L^2\|P_1-G^+\|_F^2"),
        "diagonal": ("Regret of diagonal P against right-Newton", r"\sum_j\rho_j \le L^2\|P_1-G^+\|_F^2"),
        "agnostic": (
            "Regret of diagonal P against the best fixed diagonal",
            r"\sum_j\rho_j(P_j) \le \frac{\sum_j\rho_j(U)+\|P_1-U\|_F^2/(2\eta)}{1-2L^2\eta}",
        ),
    }
    titles = [sums[form]]
    if form != "agnostic":
        product = r"\prod_j\rho_j \le (L^2\|P_1-G^+\|_F^2/J)^J"
        titles.append((f"Super-geometric decay, {form} P", product))
    return [
        BoundCheck(
            theorem="T10",
            title=title,
            statement=statement,
            stream=stream.name,
            rule=f"context, {form} P" if form != "agnostic" else "context, diagonal P",
            index=index,
            outcome="undecided",
        )
        for title, statement in titles
    ]
