r"""T5, T6, T7, T8, T14: what the preconditioner's own online problem guarantees.

Derivation of the step they share. With g_t = 1 - <d_t, x_t> and a comparator u in the box, non-expansiveness of
the projection gives ||d_{t+1} - u||^2 <= ||d_t - u||^2 + 2 eta g_t <x_t, d_t - u> + eta^2 g_t^2 ||x_t||^2. If
<u, x_t> = 1 the middle term is -2 eta g_t^2; otherwise convexity bounds it by 2 eta (l_t(u) - l_t(d_t)), and
||x_t||^2 g_t^2 = 2 ||x_t||^2 l_t(d_t) by self-bounding (T4). Summing telescopes.
"""

import math

import flint
import numpy as np

from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.ceilings import decay_ceiling, largest_roots, log_ceiling, regret_ceiling, sum_ceiling
from osdn_theory.bounds.check import Sides, upper
from osdn_theory.bounds.numbers import Number, ball, distance_sq, log, norm_sq, sqrt, total, vector
from osdn_theory.bounds.registry import BoundEvidence, bound

INTERPOLATING = (
    h.has_tokens,
    h.full_feedback,
    h.no_forgetting,
    h.comparator_known,
    h.comparator_fixed,
    h.interpolating,
    h.comparator_in_box,
    h.step_below(2),
)


def interpolating_constant(e: BoundEvidence) -> Number:
    """C = ||d_1 - u||^2 / (eta (2 - eta M))  (T5)."""
    assert e.facts.comparator is not None
    eta = e.field.of(e.problem.eta)
    return e.run.distance_sq(0, e.facts.comparator) / (eta * (2 - eta * h.largest_norm_sq(e)))


def agnostic_bound(e: BoundEvidence, comparator_loss: Number, distance: Number) -> Number:
    """(sum l_t(u) + distance / (2 eta)) / (1 - eta M), the right side of T8 and T14."""
    eta = e.field.of(e.problem.eta)
    return (comparator_loss + distance / (2 * eta)) / (1 - eta * h.largest_norm_sq(e))


@bound(
    "T5",
    "Interpolating regret",
    r"\sum_t (1-a_t)^2 \le \frac{\|d_1-u\|^2}{\eta(2-\eta M)}",
    hypotheses=INTERPOLATING,
)
def interpolating_regret(e: BoundEvidence) -> list[Sides]:
    return [Sides(norm_sq(e.run.gaps), interpolating_constant(e), ceiling=regret_ceiling(e))]


@bound(
    "T6",
    "Super-geometric convergence",
    r"\prod_t q_t \le (C/T)^T",
    hypotheses=(*INTERPOLATING, h.full_writes),
)
def super_geometric(e: BoundEvidence) -> list[Sides]:
    length = e.problem.length
    rate = interpolating_constant(e) / length
    squares = [gap * gap for gap in e.run.gaps]
    return [log_product(squares, length * log(rate), decay_ceiling(e), rate)]


@bound(
    "T7",
    "Mean contraction, any gate",
    r"\tfrac1T\sum_t\sqrt{q_t} \le \overline{|1-\beta|} + \bar\beta_2\sqrt{C/T}",
    hypotheses=(*INTERPOLATING, h.plain_feedback, h.nonnegative_beta),
)
def mean_contraction(e: BoundEvidence) -> list[Sides]:
    length = e.problem.length
    ceiling = sum_ceiling(largest_roots(e, e.run.beta), length) / length
    return [Sides(total(_roots(e)) / length, gated_rate(e), ceiling=ceiling)]


@bound(
    "T7",
    "Product contraction, any gate",
    r"\prod_t\sqrt{q_t} \le (\overline{|1-\beta|} + \bar\beta_2\sqrt{C/T})^T",
    hypotheses=(*INTERPOLATING, h.plain_feedback, h.nonnegative_beta),
)
def product_contraction(e: BoundEvidence) -> list[Sides]:
    ceiling = log_ceiling(largest_roots(e, e.run.beta))
    rate = gated_rate(e)
    return [log_product(_roots(e), e.problem.length * log(rate), ceiling, rate)]


def gated_rate(e: BoundEvidence) -> Number:
    """mean |1 - beta_t| + beta_2 sqrt(C / T)  (T7)."""
    length = e.problem.length
    missed = total(abs(1 - b) for b in e.run.beta) / length
    mean_square = norm_sq(e.run.beta) / length
    return missed + sqrt(mean_square * interpolating_constant(e) / length)


def _roots(e: BoundEvidence) -> list[Number]:
    # sqrt(q_t) = |1 - beta_t a_t|, with 1 - beta a = (1 - beta) + beta (1 - a).
    pairs = zip(e.run.beta, e.run.alignment_gaps, strict=True)
    return [abs((1 - b) + b * gap) for b, gap in pairs]


_AGNOSTIC = (h.has_tokens, h.full_feedback, h.no_forgetting, h.step_below(1))


@bound(
    "T8",
    "Agnostic regret",
    r"\sum_t \ell_t(d_t) \le \frac{\sum_t\ell_t(u) + \|d_1-u\|^2/(2\eta)}{1-\eta M}",
    hypotheses=_AGNOSTIC,
)
def agnostic_regret(e: BoundEvidence) -> list[Sides]:
    best = e.facts.best_comparator
    comparator_loss = norm_sq(e.run.comparator_gaps(best)) / 2
    rhs = agnostic_bound(e, comparator_loss, e.run.distance_sq(0, best))
    return [Sides(norm_sq(e.run.gaps) / 2, rhs, ceiling=regret_ceiling(e) / 2)]


@bound(
    "T14",
    "Tracking a moving comparator",
    r"\sum_t \ell_t(d_t) \le \frac{\sum_t\ell_t(u_t) + (\|d_1-u_1\|^2 + 2RP_T)/(2\eta)}{1-\eta M}",
    hypotheses=(*_AGNOSTIC, h.bounded_box, h.comparator_known, h.comparator_in_box),
)
def tracking(e: BoundEvidence) -> list[Sides]:
    assert e.facts.comparator is not None
    path = np.broadcast_to(e.facts.comparator, e.problem.stream.keys.shape)
    comparator_loss = norm_sq(e.run.comparator_gaps(path)) / 2
    distance = e.run.distance_sq(0, path[0]) + 2 * box_diameter(e) * path_length(e)
    rhs = agnostic_bound(e, comparator_loss, distance)
    return [Sides(norm_sq(e.run.gaps) / 2, rhs, ceiling=regret_ceiling(e) / 2)]


def path_length(e: BoundEvidence) -> Number:
    """P_T = sum_t ||u_{t+1} - u_t||, zero for a fixed comparator."""
    u = e.facts.comparator
    assert u is not None
    if u.ndim == 1:
        return e.field.of(0.0)
    moves = np.flatnonzero(np.any(u[1:] != u[:-1], axis=-1))
    steps = (distance_sq(vector(e.field, u[t + 1]), vector(e.field, u[t])) for t in moves)
    return total(sqrt(step) for step in steps)


def box_diameter(e: BoundEvidence) -> Number:
    """R = ||d_max - d_min||."""
    return sqrt(distance_sq(vector(e.field, e.problem.upper), vector(e.field, e.problem.lower)))


def log_product(factors: list[Number], rhs: Number, ceiling: Number, rate: Number | None = None) -> Sides:
    """Sides of prod(factors) <= exp(rhs) as sums of logarithms, so that nothing underflows.

    With exp(rhs) = rate^n for n factors, rationals are compared themselves, however close their logarithms are.
    """
    if any(factor == 0 for factor in factors):
        return Sides(flint.arb.neg_inf(), rhs, is_log=True, ceiling=ceiling)
    enclosed = [ball(factor) for factor in factors]
    unresolved = [factor.contains(0) for factor in enclosed]
    # A factor that may be zero has no lower bound on its logarithm, but it has an upper one.
    logs = [
        (upper(factor) if open_below else factor).log()
        for factor, open_below in zip(enclosed, unresolved, strict=True)
    ]
    lhs = total(logs)
    if isinstance(rate, flint.fmpq) and lhs.overlaps(rhs):
        over = math.prod(factors) > rate ** len(factors)
        lhs, rhs = (lhs.upper().max(rhs.upper()), rhs.lower()) if over else (rhs.upper(), rhs.upper())
    return Sides(lhs, rhs, is_log=True, lhs_is_upper_bound=any(unresolved), ceiling=ceiling)
