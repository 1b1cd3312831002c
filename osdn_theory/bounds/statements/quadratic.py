r"""T20, T21: regret against any comparator of the box, with forgetting towards any anchor, and the distance from it.

With g_t = 1 - <d_t, x_t> and h_t = 1 - <u, x_t>, non-expansiveness of the clip and convexity of the square give

    ||d_{t+1} - u||^2 <= gamma_t ||d_t - u||^2 + (1 - gamma_t) ||c - u||^2 - eta mu w_t g_t^2 + 2 eta w_t g_t h_t.

Summed, with Cauchy-Schwarz on sum w g h, it is a quadratic inequality in the root of sum w g^2; maximised over g_t it
is a recursion for the distance.
"""

from functools import reduce

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.ceilings import decay_ceiling, largest_roots, sum_ceiling
from osdn_theory.bounds.check import POS_INF, Sides
from osdn_theory.bounds.numbers import Number, distance_sq, log, norm_sq, sqrt, total, vector
from osdn_theory.bounds.registry import BoundEvidence, HypothesisVerdict, bound, less, unless
from osdn_theory.bounds.statements.regret import log_product


def comparators(e: BoundEvidence) -> list[Array]:
    """Points of the box to compare with: the best in hindsight, 1, and the stream's own where it does not move."""
    own = e.facts.comparator
    points = [
        e.facts.best_comparator,
        np.ones(e.problem.key_dim),
        *([] if own is None or own.ndim > 1 else [own]),
    ]
    inside = {tuple(np.clip(point, e.problem.lower, e.problem.upper)) for point in points}
    return [np.array(point) for point in sorted(inside)]


def curvature(e: BoundEvidence) -> Number:
    """mu = 2 - eta max_t w_t ||x_t||^2 / gamma_t."""
    return 2 - e.field.of(e.problem.eta) * _largest_step(e)


def _largest_step(e: BoundEvidence) -> Number:
    sizes = zip(e.run.weights, e.run.norms_sq, e.problem.gamma, strict=True)
    return reduce(e.field.maximum, [w * n / e.field.of(gamma) for w, n, gamma in sizes])


def comparator_loss(e: BoundEvidence, u: Array) -> list[Number]:
    """w_t (1 - <u, x_t>)^2, token by token."""
    return [w * gap * gap for w, gap in zip(e.run.weights, e.run.comparator_gaps(u), strict=True)]


def anchor_cost(e: BoundEvidence, u: Array) -> Number:
    """||c - u||^2."""
    return distance_sq(vector(e.field, e.problem.anchor), vector(e.field, u))


def quadratic_bound(e: BoundEvidence, loss: Number, distance: Number) -> Number:
    """X = ((B + sqrt(B^2 + mu D / eta)) / mu)^2 for B^2 = `loss` and D = `distance`; exact where either is zero."""
    mu = curvature(e)
    start = mu * distance / e.field.of(e.problem.eta)
    return (2 * loss + start + 2 * sqrt(loss * (loss + start))) / mu**2


def quadratic_limit(e: BoundEvidence, u: Array) -> Number:
    """X against `u`, with what forgetting towards the anchor costs."""
    forgotten = total(1 - e.field.of(gamma) for gamma in e.problem.gamma)
    distance = e.run.distance_sq(0, u) + forgotten * anchor_cost(e, u)
    return quadratic_bound(e, total(comparator_loss(e, u)), distance)


def small_step(e: BoundEvidence) -> HypothesisVerdict:
    if e.problem.eta <= 0:
        return h.positive_step(e)
    return less(2 - curvature(e), e.field.of(2.0), "needs eta w ||s_t||^2 < 2 gamma_t")


def forgets(e: BoundEvidence) -> HypothesisVerdict:
    return unless("gamma = 1 throughout: see T20" if np.all(e.problem.gamma == 1) else "")


_PLAIN = (h.has_tokens, h.no_forgetting, small_step)
_FORGETTING = (h.has_tokens, forgets, small_step)


def distance_limits(e: BoundEvidence, u: Array) -> list[Number]:
    """Upper bounds on ||d_t - u||^2 for t = 2 ... T + 1."""
    strength, anchor = e.field.of(e.problem.eta) / curvature(e), anchor_cost(e, u)
    limits = [e.run.distance_sq(0, u)]
    for loss, factor in zip(comparator_loss(e, u), e.problem.gamma, strict=True):
        gamma = e.field.of(factor)
        limits.append(gamma * limits[-1] + (1 - gamma) * anchor + strength * loss)
    return limits[1:]


@bound(
    "T20",
    "Quadratic regret",
    r"\sum_t w_t (1-a_t)^2 \le X := ((B + \sqrt{B^2 + \mu\|d_1-u\|^2/\eta})/\mu)^2",
    hypotheses=_PLAIN,
)
def quadratic_regret(e: BoundEvidence) -> list[Sides]:
    roots, weights = largest_roots(e, [1] * e.problem.length), e.run.weights
    ratios = None if roots is None else [w * root * root for w, root in zip(weights, roots, strict=True)]
    ceiling = sum_ceiling(ratios, total(weights))
    lhs = total(w * gap * gap for w, gap in zip(weights, e.run.gaps, strict=True))
    return [Sides(lhs, quadratic_limit(e, u), ceiling=ceiling) for u in comparators(e)]


@bound(
    "T20", "Super-geometric without interpolation", r"\prod_t w_t (1-a_t)^2 \le (X/T)^T", hypotheses=_PLAIN
)
def quadratic_product(e: BoundEvidence) -> list[Sides]:
    weights, length = e.run.weights, e.problem.length
    ceiling = decay_ceiling(e) + total(log(w) for w in weights)
    ratios = [w * gap * gap for w, gap in zip(weights, e.run.gaps, strict=True)]
    rates = [quadratic_limit(e, u) / length for u in comparators(e)]
    return [log_product(ratios, length * log(rate), ceiling, rate) for rate in rates]


@bound(
    "T20",
    "Distance from a comparator",
    r"\|d_t-u\|^2 \le \|d_1-u\|^2 + \tfrac{\eta}{\mu}\sum_{i<t} w_i(1-\langle u,s_i\rangle)^2",
    hypotheses=_PLAIN,
)
def comparator_distance(e: BoundEvidence) -> list[Sides]:
    """From 1 clipped to the box: the robust form of T15."""
    u = np.clip(np.ones(e.problem.key_dim), e.problem.lower, e.problem.upper)
    reach = np.maximum(e.problem.upper - u, u - e.problem.lower)
    ceiling = norm_sq(vector(e.field, reach)) if np.isfinite(reach).all() else POS_INF
    limits = enumerate(distance_limits(e, u), start=1)
    return [Sides(e.run.distance_sq(token, u), limit, ceiling=ceiling) for token, limit in limits]


@bound(
    "T21",
    "Regret with forgetting",
    r"\sum_t w_t (1-a_t)^2 \le X := ((B + \sqrt{B^2 + \mu(\|d_1-u\|^2 + \sum_t(1-\gamma_t)\|c-u\|^2)/\eta})/\mu)^2",
    hypotheses=_FORGETTING,
)
def forgetting_regret(e: BoundEvidence) -> list[Sides]:
    return quadratic_regret(e)


@bound("T21", "Super-geometric with forgetting", r"\prod_t w_t (1-a_t)^2 \le (X/T)^T", hypotheses=_FORGETTING)
def forgetting_product(e: BoundEvidence) -> list[Sides]:
    return quadratic_product(e)


@bound(
    "T21",
    "Distance from a comparator with forgetting",
    r"\|d_{t+1}-u\|^2 \le R_{t+1} := \gamma_t R_t + (1-\gamma_t)\|c-u\|^2"
    r" + \tfrac{\eta}{\mu} w_t(1-\langle u,s_t\rangle)^2",
    hypotheses=_FORGETTING,
)
def forgetting_distance(e: BoundEvidence) -> list[Sides]:
    return comparator_distance(e)
