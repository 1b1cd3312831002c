"""The hypotheses of the bounds, each a function that says met, fails (and why) or undecided."""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from osdn_theory.bounds.facts import outside_box
from osdn_theory.bounds.numbers import Number, as_float, total
from osdn_theory.bounds.registry import BoundEvidence, Hypothesis, HypothesisVerdict, less, unless


def has_tokens(e: BoundEvidence) -> HypothesisVerdict:
    return unless("" if e.problem.length else "the stream is empty")


def no_forgetting(e: BoundEvidence) -> HypothesisVerdict:
    gamma = e.problem.gamma
    return unless("" if np.all(gamma == 1) else f"needs gamma = 1, got {float(gamma.min()):.6g}")


def constant_forgetting(e: BoundEvidence) -> HypothesisVerdict:
    gamma = e.problem.gamma
    constant = bool(np.all(gamma == gamma[:1]))
    return unless("" if constant else f"needs constant gamma, got {gamma.min():.4g} to {gamma.max():.4g}")


def full_feedback(e: BoundEvidence) -> HypothesisVerdict:
    return unless("needs w = 1, got normalised feedback" if e.problem.normalize_feedback else "")


def plain_feedback(e: BoundEvidence) -> HypothesisVerdict:
    return unless("needs feedback without beta, got beta-aware feedback" if e.problem.beta_aware else "")


def positive_step(e: BoundEvidence) -> HypothesisVerdict:
    return unless("" if e.problem.eta > 0 else "needs eta > 0, got 0")


def step_below(limit: int) -> Hypothesis:
    """0 < eta < limit / M."""

    def below(e: BoundEvidence) -> HypothesisVerdict:
        if e.problem.eta <= 0:
            return positive_step(e)
        step = e.field.of(e.problem.eta) * largest_norm_sq(e)
        return less(step, e.field.of(float(limit)), f"needs eta M < {limit}")

    return below


def contracting_step(e: BoundEvidence) -> HypothesisVerdict:
    """eta w_t ||x_t||^2 <= 2 gamma_t at every token."""
    eta = e.field.of(e.problem.eta)
    for token, (w, n) in enumerate(zip(e.run.weights, e.run.norms_sq, strict=True)):
        step, limit = eta * w * n, 2 * e.field.of(e.problem.gamma[token])
        if step > limit:
            return unless(f"needs eta w ||s_t||^2 <= 2 gamma_t, fails at token {token + 1}")
        if not step <= limit:
            return HypothesisVerdict("undecided", "eta w ||s_t||^2 <= 2 gamma_t is too close to call")
    return unless("")


def interpolating(e: BoundEvidence) -> HypothesisVerdict:
    return unless(e.facts.interpolation_failure)


def comparator_known(e: BoundEvidence) -> HypothesisVerdict:
    return unless("" if e.facts.comparator is not None else "no comparator came with the stream")


def comparator_fixed(e: BoundEvidence) -> HypothesisVerdict:
    moves = e.facts.comparator is not None and e.facts.comparator.ndim > 1
    return unless("the stream's comparator moves" if moves else "")


def comparator_in_box(e: BoundEvidence) -> HypothesisVerdict:
    assert e.facts.comparator is not None
    return unless(outside_box(e.facts.comparator, e.problem.lower, e.problem.upper))


def bounded_box(e: BoundEvidence) -> HypothesisVerdict:
    finite = bool(np.isfinite(e.problem.lower).all() and np.isfinite(e.problem.upper).all())
    return unless("" if finite else "needs a bounded box")


def nonnegative_beta(e: BoundEvidence) -> HypothesisVerdict:
    least = float(e.problem.beta.min(initial=0.0))
    return unless("" if least >= 0 else f"needs beta >= 0, got {least:.4g}")


def full_writes(e: BoundEvidence) -> HypothesisVerdict:
    """beta = 1; with beta-aware feedback the theorem needs no such thing."""
    beta = e.problem.beta
    if e.problem.beta_aware or bool(np.all(beta == 1)):
        return unless("")
    return unless(f"needs beta = 1, got {float(beta.min()):.4g} to {float(beta.max()):.4g}")


def unit_keys(e: BoundEvidence) -> HypothesisVerdict:
    return unless(e.facts.unit_norm_failure)


def starts_at_one(e: BoundEvidence) -> HypothesisVerdict:
    off = float(np.max(np.abs(e.problem.initial - 1)))
    return unless("" if off == 0 else f"needs d_1 = 1, off by {off:.4g}")


def box_contains_one(e: BoundEvidence) -> HypothesisVerdict:
    return unless(outside_box(np.ones(e.problem.key_dim), e.problem.lower, e.problem.upper))


def constant_key(e: BoundEvidence) -> HypothesisVerdict:
    return unless("" if e.facts.constant_key else "needs the same key at every token")


def pulled(e: BoundEvidence) -> HypothesisVerdict:
    """Forgetting or the first feature pulls at d, so that there is one alignment at which it rests."""
    key, beta = e.problem.stream.keys[0], e.problem.beta[0]
    still = e.problem.gamma[0] == 1 and not (key.any() and (beta or not e.problem.beta_aware))
    return unless("needs gamma < 1 or a feature other than zero" if still else "")


def realisable(e: BoundEvidence) -> HypothesisVerdict:
    return unless(e.facts.realisable_failure)


def ungated(e: BoundEvidence) -> HypothesisVerdict:
    return unless("the state is gated: see T17" if e.problem.gated else "")


def gated(e: BoundEvidence) -> HypothesisVerdict:
    return unless("" if e.problem.gated else "the recurrence has no state gate")


def positive_preconditioner(e: BoundEvidence) -> HypothesisVerdict:
    least = float(e.problem.preconditioner.min(initial=np.inf))
    return unless("" if least > 0 else f"needs d > 0, got {least:.4g}")


def box_inactive(e: BoundEvidence) -> HypothesisVerdict:
    """Every unprojected iterate of the exact trajectory is certainly inside the box."""
    for token, step in enumerate(e.run.unprojected):
        if leaves_box(e, step):
            return unless(f"needs the box inactive; it clips after token {token + 1}")
    return unless("")


def leaves_box(e: BoundEvidence, point: Sequence[Number]) -> bool:
    """Whether some coordinate is not certainly inside the box."""
    faces = zip(point, e.problem.lower, e.problem.upper, strict=True)
    return any(
        (np.isfinite(low) and not value >= e.field.of(low))
        or (np.isfinite(high) and not value <= e.field.of(high))
        for value, low, high in faces
    )


def windows_bounded_by_eta(e: BoundEvidence) -> HypothesisVerdict:
    """Entries of N are at most eta: keys, write gates that the feedback reads, and weights of size at most 1."""
    for window in e.facts.windows:
        gates = window.beta if e.problem.beta_aware else []
        sizes = {
            "||k_t||^2 <= 1": [total(key) for key in window.squared_keys],
            "w_t <= 1": window.weights,
            "|beta_t| <= 1": [abs(b) for b in gates],
        }
        for limit, values in sizes.items():
            for token, value in enumerate(values):
                if value > 1:
                    number = window.first + token + 1
                    return unless(f"needs {limit}, got {as_float(value):.6g} at token {number}")
    return unless("")


def largest_norm_sq(e: BoundEvidence) -> Number:
    """M = max_t ||x_t||^2."""
    return reduce(e.field.maximum, e.run.norms_sq)
