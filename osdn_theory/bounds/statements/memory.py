r"""T25, T26, T27: the memory itself: how fast a static d recalls, how near DeltaNet OSDN is, how far errors can grow.

T25 draws one token of the stream at random. E k loses beta (2 - beta a) |E k|^2 of energy (T16), so the mean loses
tr(E C_d E^T), C_d the mean of beta (2 - beta a) k k^T; in the metric of d the form is W_d = D^{1/2} C_d D^{1/2}.
T26 and T27 follow the states along the float64 d: both hold for any path of preconditioners.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import reduce
from itertools import pairwise
from typing import Any

import flint
import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.check import Sides, decide
from osdn_theory.bounds.numbers import (
    Balls,
    Field,
    Number,
    as_float,
    dot,
    matrix,
    norm_sq,
    sqrt,
    total,
    vector,
)
from osdn_theory.bounds.problem import CalibrationProblem
from osdn_theory.bounds.registry import BoundEvidence, HypothesisVerdict, bound, unless
from osdn_theory.bounds.runs.local_step import EXACT, LocalStep, sampled_tokens
from osdn_theory.bounds.runs.states import (
    column,
    covered,
    final_state,
    initial_state,
    prefix,
    states,
    widened,
)
from osdn_theory.bounds.statements.calibration_time import drawn_tokens
from osdn_theory.bounds.statements.context import matrix_rank, positive_definite
from osdn_theory.bounds.statements.contraction import metric

_FIELDS = (Balls(256), Balls(4096))
# Of the matrices of T25: the second for keys whose lengths are many orders of magnitude apart.

_ROOM = 2.0**-40
# Relative room between the quotient of an eigenvector and what is certified of its eigenvalue.

_ITERATIONS = 4

_WIDEST = 256
# Certifying an eigenvalue takes about K^3 ball operations: twelve seconds here, a minute at twice the width.


_LEAST_WRITE = 2.0**-32


def _rank_one(step: LocalStep, token: int) -> tuple[list[Number], Number, Number]:
    """k_i, beta_i and a_i of another token, with the d of this step."""
    problem = step.problem
    key = vector(EXACT, problem.stream.keys[token])
    return key, EXACT.of(problem.beta[token]), dot(step.preconditioner, [k * k for k in key])


def mean_loss(step: LocalStep, tokens: list[int]) -> Number:
    """tr(E C_d E^T), C_d the mean over the tokens of beta (2 - beta a) k k^T."""
    width = range(step.problem.key_dim)
    drawn = [_rank_one(step, token) for token in tokens]
    weights = [beta * (2 - beta * a) / len(tokens) for _, beta, a in drawn]
    keys = flint.fmpq_mat([key for key, _, _ in drawn])
    scaled = flint.fmpq_mat(
        [[w * key[i] for i in width] for w, (key, _, _) in zip(weights, drawn, strict=True)]
    )
    form = keys.transpose() * scaled
    error = flint.fmpq_mat(step.error(step.decayed))
    return total(a * b for a, b in zip((error * form).entries(), error.entries(), strict=True))


def _written_error(step: LocalStep, token: int) -> list[list[Number]]:
    """E - beta (E k)(d * k)^T: the error after a realisable write of another token."""
    key, beta, _ = _rank_one(step, token)
    write_key = [d * k for d, k in zip(step.preconditioner, key, strict=True)]
    return [
        [e - beta * dot(row, key) * k for e, k in zip(row, write_key, strict=True)]
        for row in step.error(step.decayed)
    ]


@bound(
    "T25",
    "Mean energy after a write",
    r"\mathbb E[V^+] = V - \operatorname{tr}(\hat E W_d\hat E^\top)",
    hypotheses=(h.has_tokens, h.ungated, h.positive_preconditioner, h.realisable),
)
def mean_energy(e: BoundEvidence) -> list[Sides]:
    """The expectation over a token drawn from the stream is a finite sum: exact."""
    tokens = drawn_tokens(e.problem)
    pairs = []
    chosen = sampled_tokens(e.problem.length)
    for step in (step for step in e.facts.local_steps if step.token in chosen):
        energies = [metric(_written_error(step, token), step.preconditioner) for token in tokens]
        before, lost = metric(step.error(step.decayed), step.preconditioner), mean_loss(step, tokens)
        scope = f"one of {len(tokens)} tokens, state and d of sampled tokens, token {step.token + 1} shown"
        pairs.append(
            Sides(
                total(energies) / len(tokens), before - lost, identity=True, vacuous=before == 0, scope=scope,
                method=EXACT.label,
            )
        )  # fmt: skip
    return pairs


def spanning_keys(e: BoundEvidence) -> HypothesisVerdict:
    """Of the keys that are written: float64 may tell that they span, that they do not is told exactly."""
    keys, width = e.problem.stream.keys[e.problem.beta != 0], e.problem.key_dim
    if width > _WIDEST:
        return HypothesisVerdict("fails", f"takes too long for K > {_WIDEST}, got K = {width}")
    spans = len(keys) >= width and np.linalg.matrix_rank(keys) == width
    rank = width if spans else matrix_rank(keys) if len(keys) else 0
    return unless("" if rank == width else f"needs keys that span, got rank {rank} of {width}")


def write_sizes(e: BoundEvidence) -> list[Number]:
    """beta_i |k_i|^2, exactly."""
    pairs = zip(e.problem.beta, e.problem.stream.keys, strict=True)
    return [EXACT.of(beta) * norm_sq(vector(EXACT, key)) for beta, key in pairs]


def writes_within(e: BoundEvidence, asked: str, holds: Callable[[Number], bool]) -> HypothesisVerdict:
    for token, size in enumerate(write_sizes(e)):
        if not holds(size):
            return unless(f"needs {asked}, got {as_float(size):.6g} at token {token + 1}")
    return unless("")


def stable_writes(e: BoundEvidence) -> HypothesisVerdict:
    """0 <= beta_i |k_i|^2 < 2."""
    return writes_within(e, "0 <= beta ||k||^2 < 2", lambda size: 0 <= size < 2)


def nonnegative_box(e: BoundEvidence) -> HypothesisVerdict:
    least = float(e.problem.lower.min())
    return unless("" if least >= 0 else f"needs d_min >= 0, got {least:.4g}")


def noticeable_writes(e: BoundEvidence) -> HypothesisVerdict:
    """Some beta_i |k_i|^2 (h - l) of 2^-32: the sides may else lie nearer than enclosures of eigenvalues can tell."""
    width = EXACT.of(e.problem.upper.max()) - EXACT.of(e.problem.lower.min())
    if width == 0:
        return unless("")
    largest = max(write_sizes(e), default=EXACT.of(0.0)) * width
    return unless(
        "" if largest >= EXACT.of(_LEAST_WRITE) else "needs some beta ||k||^2 (h - l) of 2^-32 or more"
    )


def rate_form(problem: CalibrationProblem, d: Array, field: Balls) -> Any:
    """W_d, the mean over all tokens of beta (2 - beta a) D^{1/2} k k^T D^{1/2}, enclosed."""
    root = [sqrt(value) for value in vector(field, d)]
    scaled = [[r * k for r, k in zip(root, vector(field, key), strict=True)] for key in problem.stream.keys]
    rows = []
    for beta, key in zip(vector(field, problem.beta), scaled, strict=True):
        weight = beta * (2 - beta * norm_sq(key)) / problem.length
        rows.append([weight * k for k in key])
    return flint.arb_mat(scaled).transpose() * flint.arb_mat(rows)


def least_eigenvalue(symmetric: Any) -> tuple[Number, bool]:
    """Above, by the quotient of a vector; enclosed from below as well where elimination certifies that, and whether.

    The vector is float64's eigenvector, or that after some steps of inverse iteration.
    """
    size = symmetric.nrows()
    largest = max(abs(symmetric[i, i].mid()) for i in range(size))
    scale = 1 / largest if largest > 0 else largest
    middle = np.array([[float(symmetric[i, j] * scale) for j in range(size)] for i in range(size)])
    x = column([flint.arb(value) for value in np.linalg.eigh((middle + middle.T) / 2)[1][:, 0]])
    quotients = [_quotient(symmetric, x)]
    with suppress(ZeroDivisionError):
        for _ in range(_ITERATIONS):
            solved = symmetric.solve(x).entries()
            length = sqrt(norm_sq(solved))
            x = column([(value / length).mid() for value in solved])
        quotients.append(_quotient(symmetric, x))
    quotient = min(quotients, key=lambda each: each.mid())
    candidate = quotient.mid() - _ROOM * abs(quotient.mid())
    shifted = [[symmetric[i, j] - (candidate if i == j else 0) for j in range(size)] for i in range(size)]
    certified = positive_definite(flint.arb_mat(shifted))
    return (quotient.union(candidate) if certified else quotient), certified


def _quotient(symmetric: Any, x: Any) -> Number:
    return (x.transpose() * symmetric * x)[0, 0] / norm_sq(x.entries())


def speed_limit(e: BoundEvidence) -> Number:
    """h max_i (2 - beta_i l n_i) / (2 - beta_i n_i) for the box [l, h]."""
    low, high = EXACT.of(e.problem.lower.min()), EXACT.of(e.problem.upper.max())
    return high * max((2 - low * n) / (2 - n) for n in write_sizes(e))


@bound(
    "T25",
    "Speed limit of the box",
    r"\lambda_{\min}(W_d) \le h\,\max_i\frac{2-\beta_i l n_i}{2-\beta_i n_i}\,\lambda_{\min}(W_1)",
    hypotheses=(
        h.has_tokens,
        h.ungated,
        h.bounded_box,
        nonnegative_box,
        stable_writes,
        noticeable_writes,
        spanning_keys,
    ),
)
def box_speed_limit(e: BoundEvidence) -> list[Sides]:
    """For the d of the last token, held still."""
    d, scope = np.clip(e.problem.preconditioner[-1], e.problem.lower, e.problem.upper), "d of the last token"
    low, high = e.problem.lower.min(), e.problem.upper.max()
    if low == high:
        # Write by write: no enclosure could tell that eigenvalues are equal.
        run, d_exact, limit = e.facts.exact_run, EXACT.of(low), speed_limit(e)
        sizes = [b * total(s) for b, s in zip(run.beta, run.squared_keys, strict=True)]
        return [
            Sides(
                d_exact * (2 - d_exact * n), limit * (2 - n), scope="a box of one number", method=EXACT.label
            )
            for n in sizes
        ]
    for field in _FIELDS:
        with field.working():
            rate, enclosed = least_eigenvalue(rate_form(e.problem, d, field))
            plain, known = least_eigenvalue(rate_form(e.problem, np.ones_like(d), field))
            limit = speed_limit(e) * plain if known else flint.arb.nan()
            sides = Sides(rate, limit, lhs_is_upper_bound=not enclosed, scope=scope, method=field.label)
            if decide(sides) != "undecided":
                break
    return [sides]


def contracting_writes(e: BoundEvidence) -> HypothesisVerdict:
    """0 <= beta_t ||k_t||^2 <= 2."""
    return writes_within(e, "0 <= beta ||k||^2 <= 2", lambda size: 0 <= size <= 2)


def difference_limit(squares: Sequence[Number]) -> Number:
    """(sum_t beta_t ||r_t|| ||(d_t - 1) * k_t||)^2 from the squares of its terms; exact where all are equal."""
    largest = reduce(lambda first, second: second if second > first else first, squares)
    scale = largest if largest > 0 else 1
    return scale * total(sqrt(square / scale) for square in squares) ** 2


@bound(
    "T26",
    "Near DeltaNet",
    r"\|S_T-S_T^{\mathrm{DeltaNet}}\|_F^2 \le (\sum_t \beta_t\|r_t\|\,\|(d_t-1)\odot k_t\|)^2",
    hypotheses=(h.has_tokens, h.ungated, contracting_writes),
)
def near_delta_net(e: BoundEvidence) -> list[Sides]:
    problem, length = e.problem, covered(e.problem)
    field = widened(e.field, length)
    with field.working():
        path = [vector(field, d) for d in problem.preconditioner[:length]]
        keys = (vector(field, key) for key in problem.stream.keys[:length])
        moved = [
            norm_sq((a - 1) * k for a, k in zip(d, key, strict=True))
            for d, key in zip(path, keys, strict=True)
        ]
        # Where no d ever leaves 1 the two runs are one; their balls would not cancel.
        apart, squares = field.of(0.0), moved
        if any(square != 0 for square in moved):
            ones = [[field.of(1.0)] * problem.key_dim] * length
            found = list(states(problem, field, path))
            apart = norm_sq((found[-1][0] - final_state(problem, field, ones)).entries())
            squares = [
                field.of(beta) ** 2 * norm_sq(residual.entries()) * square
                for beta, (_, residual), square in zip(problem.beta, found, moved, strict=False)
            ]
        return [Sides(apart, difference_limit(squares), scope=prefix(problem, length), method=field.label)]


def stable_alignment(e: BoundEvidence) -> HypothesisVerdict:
    """0 <= beta_t a_t <= 2 with the float64 d_t, exactly."""
    for token, d in enumerate(e.problem.preconditioner[: covered(e.problem)]):
        key = vector(EXACT, e.problem.stream.keys[token])
        size = EXACT.of(e.problem.beta[token]) * dot(vector(EXACT, d), [k * k for k in key])
        if not 0 <= size <= 2:
            reason = f"needs 0 <= beta a <= 2, got {float(size):.6g} at token {token + 1}"
            return HypothesisVerdict("fails", reason)
    return unless("")


def metric_growth(field: Field, path: list[list[Number]]) -> Number:
    """prod_t max_i d_{t,i} / d_{t+1,i} along the path."""
    growth = field.of(1.0)
    for d, following in pairwise(path):
        growth = growth * reduce(field.maximum, [a / b for a, b in zip(d, following, strict=True)])
    return growth


@bound(
    "T27",
    "Growth of the error",
    r"\|E_TD_T^{-1/2}\|_F^2 \le \prod_{t<T}\max_i\tfrac{d_{t,i}}{d_{t+1,i}}\,\|E_0D_1^{-1/2}\|_F^2",
    hypotheses=(h.has_tokens, h.ungated, h.positive_preconditioner, h.realisable, stable_alignment),
)
def error_growth(e: BoundEvidence) -> list[Sides]:
    problem, length = e.problem, covered(e.problem)
    field = widened(e.field, length)
    with field.working():
        path = [vector(field, d) for d in problem.preconditioner[:length]]
        solution = matrix(field, np.asarray(problem.stream.solution))
        before, after = (
            metric((state - solution).tolist(), d)
            for state, d in (
                (initial_state(problem, field), path[0]),
                (final_state(problem, field, path), path[-1]),
            )
        )
        limit = metric_growth(field, path) * before
        return [Sides(after, limit, scope=prefix(problem, length), method=field.label)]
