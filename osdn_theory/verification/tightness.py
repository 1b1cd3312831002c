"""How tight are the bounds? A search for the streams and comparators where the slack is smallest.

Random restarts, each followed by a local optimisation, over small streams. The formulas are those that `verify`
decides, evaluated in float64: the search looks for a number, not for a proof.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.validation import Array, require, require_generator
from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.check import Sides, log10_slack
from osdn_theory.bounds.facts import Facts
from osdn_theory.bounds.numbers import Balls, Field, Floats
from osdn_theory.bounds.problem import problem
from osdn_theory.bounds.registry import BOUNDS, Bound, BoundEvidence, Hypothesis
from osdn_theory.bounds.runs.exact import ExactRun
from osdn_theory.bounds.statements import memory
from osdn_theory.bounds.statements.context import newton_constant
from osdn_theory.context.newton import context_osdn
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.streams.stream import Stream

ATTAINED = 1e-6
"""A slack within this relative distance of 1 counts as attained."""

_REFUSED = 50.0
# Slack, in decades, given to a point where the bound does not apply, so that the optimiser turns back.


@show_briefly
@dataclass(frozen=True)
class TightenResult:
    """The smallest slack found for one bound.

    - `slack`: rhs / lhs at the best point; 1 is attained, below 1 would be a violation.
    - `attained`: Whether it is 1 up to `ATTAINED`.
    - `note`: What is known about equality.
    - `parameters`: Sizes and the step of the best point.
    """

    theorem: str
    title: str
    slack: float
    attained: bool
    note: str
    parameters: dict[str, float] = field(default_factory=dict)
    evaluations: int = 0


_FLOATS, _BALLS = Floats(), Balls(128)
# Balls for bounds on the memory, whose matrices are flint's.


@dataclass(frozen=True)
class _Search:
    """What varies for one bound: a stream of `length` tokens and `key_dim` features from a flat vector.

    `asked` are the hypotheses that a point of the search need not meet by itself: the bound is refused where one fails.
    """

    length: int
    key_dim: int
    step_limit: float
    interpolating: bool = True
    gate: bool = False
    bounded: bool = False
    gamma: float = 1.0
    asked: tuple[Hypothesis, ...] = ()
    field: Field = _FLOATS


_NOTES = {
    "T5": "attained when d_1 - u is along one constant feature and eta = 1/M",
    "T6": "attained when T orthogonal features of one norm share d_1 - u equally and eta = 1/M",
    "T7": "attained with beta = 1 where T6 is",
    "T8": "approached as eta tends to 0 with d_1 = u; at least 2 where u interpolates",
    "T14": "approached as eta tends to 0 with d_1 = u_1 and a comparator that does not move",
    "T13": "attained while the features are orthogonal to d_1 - d'_1",
    "T10": "attained for K = 1, where the first step lands on 1/G",
    "T16": "attained when d moves by one common factor, or not at all",
    "T20": "attained where T5 and T6 are; exact worst cases by --worst-cases",
    "T21": "approached as gamma tends to 1, see T20",
    "T25": "approached where nearly all keys share a direction: d is l on it and h elsewhere",
    "T26": "attained by one token, and on one feature while the residuals keep their sign",
    "T27": "approached where d moves by one common factor and no key reads the error",
}

_SEARCHES = {
    "T5": _Search(3, 2, 2.0),
    "T6": _Search(2, 2, 2.0),
    "T7": _Search(2, 2, 2.0, gate=True),
    "T8": _Search(3, 2, 1.0, interpolating=False),
    "T14": _Search(3, 2, 1.0, interpolating=False, bounded=True),
    "T13": _Search(3, 2, 2.0, interpolating=False, gamma=0.9),
    "T16": _Search(3, 2, 2.0, interpolating=False, asked=(h.positive_preconditioner,)),
    "T20": _Search(2, 2, 2.0, interpolating=False),
    "T21": _Search(3, 2, 1.8, interpolating=False, gamma=0.9),
    "T25": _Search(
        2, 2, 2.0, interpolating=False, bounded=True,
        asked=(memory.stable_writes, memory.spanning_keys),
    ),
    "T26": _Search(
        2, 2, 2.0, interpolating=False, gate=True, asked=(memory.contracting_writes,),
        field=_BALLS,
    ),
    "T27": _Search(
        3, 2, 2.0, interpolating=False, gate=True,
        asked=(h.positive_preconditioner, memory.stable_alignment), field=_BALLS,
    ),
}  # fmt: skip

TIGHTENABLE: tuple[str, ...] = tuple(sorted({*_SEARCHES, "T10"}, key=lambda name: int(name[1:])))
"""Theorems with an inequality that is searched."""

UNSEARCHED = {
    "T22": "equality, pair by pair; no better than DeltaNet exactly where no pair is read twice",
    "T23": "tends to 1 with the step; one token attains it at any step",
    "T24": "two equalities",
    "T28": "itself the sharpness of T6: one stream for each length, see --worst-cases",
}
"""Theorem from T20 on that no search would say more about -> why."""


def tighten(
    theorem: str, rng: np.random.Generator, *, restarts: int = 8, evaluations: int = 600
) -> list[TightenResult]:
    """Search for the smallest slack of each inequality of one theorem.

    - `theorem`: One of `TIGHTENABLE`.
    - `restarts`, int >= 1: Random starting points; the structured one, where equality is known, comes on top.
    - `evaluations`, int >= 1: Limit per local optimisation.

    Raises ValueError: for an identity or an unknown theorem, or counts below 1.
    """
    require_generator(rng)
    require(restarts >= 1 and evaluations >= 1, "restarts, evaluations: expected at least 1")
    why = UNSEARCHED.get(theorem, f"known: {', '.join(TIGHTENABLE)}")
    require(theorem in TIGHTENABLE, f"theorem: {theorem!r} has no inequality to tighten; {why}")
    if theorem == "T10":
        return [_tighten_context(rng, restarts, evaluations)]
    # The searched streams have no state gate.
    inequalities = [
        b for b in BOUNDS if b.theorem == theorem and not _is_identity(b) and h.gated not in b.hypotheses
    ]
    return [_tighten_bound(bound, rng, restarts, evaluations) for bound in inequalities]


def _is_identity(bound: Bound) -> bool:
    return r"\le" not in bound.statement


def _tighten_bound(bound: Bound, rng: np.random.Generator, restarts: int, evaluations: int) -> TightenResult:
    search = _SEARCHES[bound.theorem]

    def objective(point: Array) -> float:
        return _log_slack(bound, search, point)

    def parameters(point: Array) -> dict[str, float]:
        return {"T": search.length, "K": search.key_dim, "eta": _unpack(search, point)[1].eta}

    return _found(
        bound.theorem, bound.title, objective, _starts(search, rng, restarts), evaluations, parameters
    )


def _found(
    theorem: str,
    title: str,
    objective: Callable[[Array], float],
    starts: Sequence[Array],
    evaluations: int,
    parameters: Callable[[Array], dict[str, float]],
) -> TightenResult:
    best, used = _minimise(objective, starts, evaluations)
    slack = 10.0 ** objective(best)
    attained = bool(abs(slack - 1) < ATTAINED)
    return TightenResult(theorem, title, slack, attained, _NOTES[theorem], parameters(best), used)


def _minimise(
    objective: Callable[[Array], float], starts: Sequence[Array], evaluations: int
) -> tuple[Array, int]:
    best, lowest, used = starts[0], math.inf, 0
    for start in starts:
        found = minimize(
            objective,
            start,
            method="Nelder-Mead",
            options={"maxfev": evaluations, "xatol": 1e-10, "fatol": 1e-13},
        )
        used += int(found.nfev)
        if found.fun < lowest:
            best, lowest = np.asarray(found.x), float(found.fun)
    return best, used


def _starts(search: _Search, rng: np.random.Generator, restarts: int) -> list[Array]:
    size = search.length * search.key_dim + 3 * search.key_dim + search.length + 1
    points = [rng.standard_normal(size) for _ in range(restarts)]
    # Orthogonal features in turn, u = 1, d_1 off by one common amount, step 1/M: equality where it is known.
    turn = np.eye(search.key_dim)[np.arange(search.length) % search.key_dim]
    u, start, solution = (np.full(search.key_dim, value) for value in (0.0, 0.5, 1.0))  # u by its logarithm
    structured = np.concatenate([turn.ravel(), u, start, solution, np.full(search.length, 30.0), [0.0]])
    return [structured, *points]


def _unpack(search: _Search, point: Array) -> tuple[Stream, CalibrationRule]:
    length, size = search.length, search.key_dim
    cuts = np.cumsum([length * size, size, size, size, length])
    keys, log_u, start, solution, gate, step = np.split(point, cuts)
    keys = keys.reshape(length, size)
    u = np.exp(np.clip(log_u, -2, 2))
    if search.interpolating:
        # Scaled so that <u, s_t> = 1.
        keys = keys / np.sqrt(np.maximum(keys**2 @ u, 1e-12))[:, None]
    if search.bounded:
        u, start = np.clip(u, 0.5, 2.0), np.clip(start, -0.5, 1.0)
    largest = max(float(np.max(np.sum(keys**4, axis=-1))), 1e-12)
    eta = search.step_limit / largest / (1 + math.exp(-float(np.clip(step[0], -40, 40))))
    beta = 1 / (1 + np.exp(-gate)) if search.gate else np.ones(length)
    stream = Stream(
        keys=keys,
        values=keys @ solution[:, None],
        beta=beta,
        comparator=u,
        solution=solution[None],
        initial_preconditioner=u + start,
    )
    box = (0.5, 3.0) if search.bounded else (-np.inf, np.inf)
    return stream, CalibrationRule(eta=eta, d_min=box[0], d_max=box[1], forgetting=search.gamma)


class _GivenComparator(Facts):
    """The searched-for comparator stands in for the best one in hindsight."""

    @property
    def best_comparator(self) -> Array:
        assert self.comparator is not None
        return self.comparator


def _log_slack(bound: Bound, search: _Search, point: Array) -> float:
    stream, rule = _unpack(search, point)
    case = problem(osdn(stream, rule, check_finite=False), ())
    evidence = BoundEvidence(case, _GivenComparator(case), ExactRun(case, search.field))
    with search.field.working():
        if any(hypothesis(evidence).status != "met" for hypothesis in search.asked):
            return _REFUSED
        try:
            slacks = [_or_refused(log10_slack(sides)) for sides in bound.sides(evidence)]
        except ZeroDivisionError:
            return _REFUSED
    return min(slacks)


def _or_refused(slack: float | None) -> float:
    return _REFUSED if slack is None or not math.isfinite(slack) else slack


def _tighten_context(rng: np.random.Generator, restarts: int, evaluations: int) -> TightenResult:
    size, steps = 2, 4

    def unpack(point: Array) -> tuple[Array, Array, Array]:
        keys, values, start = np.split(point, [size * size, size * size + size])
        return keys.reshape(size, size), values[:, None], np.diag(start)

    def objective(point: Array) -> float:
        keys, values, start = unpack(point)
        largest = float(np.linalg.eigvalsh(keys.T @ keys)[-1])
        if np.linalg.cond(keys) > 1e4 or not np.any(values):
            return _REFUSED
        run = context_osdn(keys, values, steps=steps, form="full", initial_preconditioner=start / largest)
        ratios = run.ratios[np.isfinite(run.ratios)]
        optimum = np.linalg.inv(keys.T @ keys)
        distance = float(np.sum((start / largest - optimum) ** 2))
        constant = newton_constant(float(run.smoothness), distance)
        return _or_refused(log10_slack(Sides(float(np.sum(ratios)), float(constant))))

    starts = [rng.standard_normal(size * size + 2 * size) for _ in range(restarts)]
    # Two features, one of them at its optimum already: what is left is the one-dimensional case.
    starts.insert(0, np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.5, 1.0]))
    parameters = {"K": float(size), "steps": float(steps)}
    title = "Regret of full P against right-Newton"
    return _found("T10", title, objective, starts, evaluations, lambda _: parameters)
