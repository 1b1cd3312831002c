"""T20 to T22: regret against any comparator and recall at the end of a context, in the code and in the laws."""

import flint
import numpy as np
from flint import fmpq

from osdn_theory.bounds.statements.quadratic import comparators
from osdn_theory.recurrence import solve as recurrence
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream
from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.laws.recall import RecallInstance, draw_recall
from proofs_check.exact.laws.run.gated import draw_aware as draw_gated_aware, left_by_half
from proofs_check.exact.laws.run.quadratic import QuadraticInstance, draw_plain, forgetful
from proofs_check.exact.numbers import BITS
from proofs_check.exact.rules import sq
from proofs_check.links.bound_links import conclusion, forgetting_run, logarithm, run_of, same_sides
from proofs_check.links.bridge import bound_sides, exact, floats, rule_of, stream_of
from proofs_check.links.link import Link, Pairs


def draw_forgetting(draw: Draw) -> QuadraticInstance:
    """Forgetting at the first token at least, without weights."""
    x = forgetful(draw, draw_plain(draw))
    x.w, x.gamma = [fmpq(1)] * x.T, [fmpq(1, 2), *x.gamma[1:]]
    x.M = max(sq(s) / g for s, g in zip(x.s, x.gamma, strict=True))
    return x.but(eta=draw.step(2 / x.M))


def regret(x: QuadraticInstance) -> Pairs:
    """T20 against every comparator that the code tries."""
    e, found = bound_sides(run_of(x), "T20", "Quadratic regret")
    for u, sides in zip(comparators(e), found, strict=True):
        yield from same_sides(sides, "T20_quadratic_regret", x.but(u=exact(u)))


def draw_aware(draw: Draw) -> QuadraticInstance:
    """Write gates of their own; M is that of beta_t s_t."""
    x = draw_plain(draw)
    x.beta = draw.numbers(x.T, fmpq(1, 4), 2)
    x.s = [b * s for b, s in zip(x.beta, x.s, strict=True)]
    x.M = max(map(sq, x.s))
    return x.but(eta=draw.step(2 / x.M))


def aware_regret(x: QuadraticInstance) -> Pairs:
    """T20 in beta_t s_t."""
    e, found = bound_sides(run_of(x, aware=True, betas=x.beta), "T20", "Quadratic regret")
    for u, sides in zip(comparators(e), found, strict=True):
        yield from same_sides(sides, "T20_quadratic_regret", x.but(u=exact(u)))


def aware_run(x: QuadraticInstance, **feedback: bool) -> Trajectory:
    """The code's run with gates of the state, per feature."""
    stream = stream_of(x, beta=floats(x.beta), state_gate=floats(x.alpha))
    return recurrence.kda(stream, rule_of(x, **feedback), initial_state=floats(x.S0),
                          initial_preconditioner=floats(x.d1))  # fmt: skip


def aware_losses(x: QuadraticInstance) -> Pairs:
    """T17 with beta-aware feedback: the losses against the gated state, and the bound on their product."""
    e, found = bound_sides(aware_run(x, beta_aware=True), "T20", "Super-geometric without interpolation")
    for u, sides in zip(comparators(e), found, strict=True):
        at = x.but(u=exact(u))
        law = conclusion("T17_beta_aware_token_losses", at)
        with flint.ctx.workprec(BITS):
            rate = (at.X / at.T) ** at.T
            left = law.lhs * rate / law.rhs
        yield "product of what writes leave", sides.lhs, logarithm(left)
        yield "its bound", sides.rhs, logarithm(rate)


def draw_half(draw: Draw) -> Instance:
    """Gates of the state and values of any kind: feedback sees neither."""
    count = draw.integer(1, 5)
    return Instance(T=count, alpha=draw.numbers(count, 0, 1), v=draw.vectors(count, 2))


def plain_feedback(x: Instance) -> Pairs:
    """T17's counterexample: what writes leave by plain feedback and by the other, against the gated state."""
    ones = np.ones((x.T, 1))
    stream = Stream(keys=ones, values=floats(x.v), beta=0.5, state_gate=floats(x.alpha))
    for known, feature in ((False, fmpq(1)), (True, fmpq(1, 2))):
        rule = CalibrationRule(eta=4.0, d_min=0.0, d_max=3.0, beta_aware=known)
        alignment = recurrence.gated_delta_net(stream, rule).alignment
        left = [left_by_half(feature, t) for t in range(x.T)]
        yield f"left, beta-aware {known}", ((1 - 0.5 * alignment) ** 2).tolist(), left


def forgetting_regret(x: QuadraticInstance) -> Pairs:
    """T21, and how far d stays from 1."""
    run = forgetting_run(x)
    e, found = bound_sides(run, "T21", "Regret with forgetting")
    for u, sides in zip(comparators(e), found, strict=True):
        yield from same_sides(sides, "T21_forgetting_regret", x.but(u=exact(u)))
    _, found = bound_sides(run, "T21", "Distance from a comparator with forgetting")
    near = x.but(u=exact(np.clip(np.ones(x.n), floats(x.lo), floats(x.hi))))
    for sides, limit in zip(found, near.limits[1:], strict=True):
        yield "how far d may be from 1", sides.rhs, limit


def recall(x: RecallInstance) -> Pairs:
    """T22: what is left of every pair that is read."""
    y = x.stream
    run = recurrence.osdn(
        stream_of(y), rule_of(y), initial_state=floats(x.S0), initial_preconditioner=floats(x.d1)
    )
    _, found = bound_sides(run, "T22", "Recall of pairs that do not overlap")
    for i, sides in zip(dict.fromkeys(x.read), found, strict=True):
        (first, later), m = x.factors(i), x.reads[i]
        yield "|v - S k|^2", sides.lhs, sq(x.value[i] - x.recalled @ x.key[i])
        yield "its formula", sides.rhs, sq(x.first[i]) * first ** (2 * m) * later ** (m * (m - 1))


def draw_plain_recall(draw: Draw) -> RecallInstance:
    """Without weights, in a wide box, every key different and none zero."""
    x = draw_recall(draw)
    x.w, x.lo, x.hi = [fmpq(1)] * x.N, x.d1 - 2**20, x.d1 + 2**20
    return draw_plain_recall(draw) if any(not any(k) for k in x.key) else x


LINKS = (
    Link("T20", "quadratic regret", "bounds.quadratic.quadratic_regret", draw_plain, regret, 60),
    Link("T20", "beta-aware regret", "bounds.quadratic.quadratic_regret with beta-aware feedback", draw_aware,
         aware_regret, 60),
    Link("T17", "beta-aware losses", "recurrence.kda and bounds.quadratic.quadratic_product with beta-aware feedback",
         draw_gated_aware, aware_losses, 60),
    Link("T17", "plain feedback", "recurrence.gated_delta_net by either feedback", draw_half, plain_feedback),
    Link("T21", "forgetting regret", "bounds.quadratic.forgetting_regret, forgetting_distance", draw_forgetting,
         forgetting_regret, 60),
    Link("T22", "recall", "bounds.recall.disjoint_recall", draw_plain_recall, recall, 60),
)  # fmt: skip
