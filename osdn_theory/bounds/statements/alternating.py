r"""T28: two features that alternate, for which T6 is off by a constant factor a token.

With eta = 1/M each step projects d - u on the complement of the feature. Starting orthogonal to the other one, the
distance shrinks by the cosine of their angle a step, x = 1 - cos^2, so that (1 - a_t)^2 = C x (1 - x)^{t-1}.
"""

import flint

from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.check import Sides
from osdn_theory.bounds.numbers import Number, dot, log, norm_sq, total, vector
from osdn_theory.bounds.registry import BoundEvidence, HypothesisVerdict, bound, unless
from osdn_theory.bounds.runs.local_step import EXACT
from osdn_theory.bounds.statements.regret import INTERPOLATING, interpolating_constant


def _start(e: BoundEvidence) -> list[Number]:
    assert e.facts.comparator is not None
    return [
        d - u
        for d, u in zip(*(vector(EXACT, v) for v in (e.problem.initial, e.facts.comparator)), strict=True)
    ]


def alternating(e: BoundEvidence) -> HypothesisVerdict:
    """Tokens take turns between two features of squared norm M, and eta M = 1; exactly."""
    x = e.facts.exact_run.features
    if (
        len(x) < 2
        or any(x[token] != x[token % 2] for token in range(len(x)))
        or norm_sq(x[0]) != norm_sq(x[1])
    ):
        return unless("needs two features of one norm that alternate")
    step = EXACT.of(e.problem.eta) * norm_sq(x[0])
    return unless("" if step == 1 else f"needs eta M = 1, got {float(step):.6g}")


def starts_in_the_plane(e: BoundEvidence) -> HypothesisVerdict:
    """d_1 - u is orthogonal to the second feature, and in the plane of both; exactly."""
    start, (first, second) = _start(e), e.facts.exact_run.features[:2]
    along = dot(start, second)
    if along != 0:
        return HypothesisVerdict("fails", f"needs <d_1 - u, s_2> = 0, got {float(along):.4g}")
    outside = flint.fmpq_mat([first, second, start]).rank() > flint.fmpq_mat([first, second]).rank()
    return unless("needs d_1 - u in the plane of the two features" if outside else "")


def sine_sq(e: BoundEvidence) -> Number:
    """x, the squared sine of the angle between the two features; exact."""
    first, second = e.facts.exact_run.features[:2]
    return 1 - (dot(first, second) / norm_sq(first)) ** 2


def nearly_tight_angle(e: BoundEvidence) -> HypothesisVerdict:
    """1 - x = (1 - 1/(T+1))^2, exactly."""
    cosine = 1 - flint.fmpq(1, e.problem.length + 1)
    return unless("" if 1 - sine_sq(e) == cosine**2 else "needs features whose cosine is 1 - 1/(T+1)")


def tight_factor() -> Number:
    """2/e."""
    return 2 / flint.arb(1).exp()


_ALTERNATING = (*INTERPOLATING, h.full_writes, alternating, starts_in_the_plane, h.box_inactive)


@bound(
    "T28",
    "Decay of two alternating features",
    r"\prod_t q_t = (Cx)^T (1-x)^{T(T-1)/2}",
    hypotheses=_ALTERNATING,
)
def alternating_decay(e: BoundEvidence) -> list[Sides]:
    """Token by token, in exact rationals: (1 - a_t)^2 = C x (1 - x)^{t-1}."""
    run, x = e.facts.exact_run, sine_sq(e)
    ratio = norm_sq(_start(e)) / EXACT.of(e.problem.eta) * x
    return [
        Sides(gap * gap, ratio * (1 - x) ** token, identity=True, vacuous=ratio == 0, method=EXACT.label)
        for token, gap in enumerate(run.gaps)
    ]


@bound(
    "T28",
    "T6 within a constant factor a token",
    r"(2/e)^T (C/T)^T \le \prod_t q_t",
    hypotheses=(*_ALTERNATING, nearly_tight_angle),
)
def nearly_attained(e: BoundEvidence) -> list[Sides]:
    length = e.problem.length
    floor = length * log(tight_factor() * interpolating_constant(e) / length)
    found = total(log(gap * gap) for gap in e.facts.exact_run.gaps)
    return [Sides(floor, found, is_log=True)]
