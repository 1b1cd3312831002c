"""T3, T16, T17: what one write does, decided exactly at tokens of the actual trajectory."""

from dataclasses import replace

from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.check import POS_INF, Sides
from osdn_theory.bounds.numbers import Number, norm_sq, total
from osdn_theory.bounds.registry import BoundEvidence, bound
from osdn_theory.bounds.runs.local_step import EXACT, LocalStep


def _sides(step: LocalStep, lhs: Number, rhs: Number, *, vacuous: bool) -> Sides:
    """An identity about one write; vacuous where there is nothing to write."""
    scope = f"one write at each token of a small stream, else at samples; token {step.token + 1} shown"
    return Sides(lhs, rhs, identity=True, vacuous=vacuous, scope=scope, method=EXACT.label)


def _residual_identity(step: LocalStep) -> Sides:
    ratio, before = (1 - step.beta * step.alignment) ** 2, step.doubled_loss(step.decayed)
    return _sides(step, step.doubled_loss(step.after), ratio * before, vacuous=before == 0)


@bound(
    "T3",
    "Residual identity",
    r"f_t(S_t) = (1-\beta_t a_t)^2 f_t(S_{t-1})",
    hypotheses=(h.has_tokens, h.ungated),
)
def residual_identity(e: BoundEvidence) -> list[Sides]:
    return [_residual_identity(step) for step in e.facts.local_steps]


@bound(
    "T17",
    "Residual identity, gated state",
    r"f_t(S_t) = (1-\beta_t a_t)^2 f_t(\alpha_t S_{t-1})",
    hypotheses=(h.has_tokens, h.gated),
)
def gated_residual_identity(e: BoundEvidence) -> list[Sides]:
    return [_residual_identity(step) for step in e.facts.local_steps]


_LYAPUNOV = (h.has_tokens, h.ungated, h.positive_preconditioner, h.realisable)


@bound(
    "T16",
    "Lyapunov identity",
    r"V_t^{\mathrm{after}} = V_t^{\mathrm{before}} - \beta_t(2-\beta_t a_t)\|E_{t-1}k_t\|^2",
    hypotheses=_LYAPUNOV,
)
def lyapunov_identity(e: BoundEvidence) -> list[Sides]:
    pairs = []
    for step in e.facts.local_steps:
        missed = step.doubled_loss(step.decayed)
        drop = step.beta * (2 - step.beta * step.alignment) * missed
        before = metric(step.error(step.decayed), step.preconditioner)
        after = metric(step.error(step.after), step.preconditioner)
        pairs.append(_sides(step, after, before - drop, vacuous=step.beta * missed == 0))
    return pairs


@bound(
    "T16",
    "Cost of the moving metric",
    r"\|E_t D_{t+1}^{-1/2}\|_F^2 \le \max_i\tfrac{d_{t,i}}{d_{t+1,i}}\,\|E_t D_t^{-1/2}\|_F^2",
    hypotheses=_LYAPUNOV,
)
def metric_change(e: BoundEvidence) -> list[Sides]:
    pairs = []
    for step in e.facts.local_steps:
        if step.token + 1 == e.problem.length:
            continue
        following = [EXACT.of(d) for d in e.problem.preconditioner[step.token + 1]]
        factor = max(d / f for d, f in zip(step.preconditioner, following, strict=True))
        error = step.error(step.after)
        before = metric(error, step.preconditioner)
        moved = _sides(step, metric(error, following), factor * before, vacuous=False)
        # A metric that stays costs nothing, whatever the bound says.
        ceiling = before if following == step.preconditioner else POS_INF
        pairs.append(replace(moved, identity=False, ceiling=ceiling))
    return pairs or [Sides(EXACT.of(0.0), EXACT.of(0.0), scope="a single token: the metric never moves")]


def metric(error: list[list[Number]], d: list[Number]) -> Number:
    """||E Diag(d)^{-1/2}||_F^2."""
    columns = zip(*error, strict=True)
    return total(norm_sq(column) / di for column, di in zip(columns, d, strict=True))
