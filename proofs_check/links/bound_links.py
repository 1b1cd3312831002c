"""T3, T5-T8, T13-T17, T19: both sides of the bounds in `osdn_theory.bounds`, against those of the exact laws.

The code evaluates its bounds in exact rationals, and in balls where roots and logarithms come in; so the sides are
compared exactly, or as enclosures that agree to 2^-200.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flint
import numpy as np
from flint import fmpq

from osdn_theory.bounds.statements import forgetting
from osdn_theory.measures import calibration_times as calibration
from osdn_theory.recurrence import solve as recurrence
from osdn_theory.recurrence.trajectory import Trajectory
from proofs_check.exact import rules
from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.law import Law
from proofs_check.exact.laws import mean, regret, scan, token
from proofs_check.exact.numbers import BITS, array, identity as identity_matrix, solve
from proofs_check.exact.propositions import Compares, true
from proofs_check.links.bridge import bound_sides, exact, floats, rule_of, sized, stream_of
from proofs_check.links.link import Agreement, Link, numbers, rational
from proofs_check.links.scan_links import draw_gated, draw_plain, draw_run, full_rule, full_stream, run_gated

Sides = Any


def conclusion(law: Law, x: Instance) -> Compares:
    """What a law compares on an instance."""
    with flint.ctx.workprec(BITS):
        found = law.conclusion(x)
    if not isinstance(found, Compares):
        raise TypeError(f"{law.name} compares more than two numbers")
    return found


def same_sides(sides: Sides, law: Law, x: Instance) -> Iterator[Agreement]:
    """Both sides of a bound against those of a law."""
    expected = conclusion(law, x)
    yield Agreement(f"lhs of {law.name}", sides.lhs, expected.lhs)
    yield Agreement(f"rhs of {law.name}", sides.rhs, expected.rhs)


def same_logarithms(sides: Sides, law: Law, x: Instance) -> Iterator[Agreement]:
    """The code states products as sums of logarithms."""
    expected = conclusion(law, x)
    yield Agreement(f"lhs of log {law.name}", sides.lhs, logarithm(expected.lhs))
    yield Agreement(f"rhs of log {law.name}", sides.rhs, logarithm(expected.rhs))


def logarithm(x: Any) -> Any:
    """The natural logarithm, enclosed."""
    with flint.ctx.workprec(BITS):
        return flint.arb.neg_inf() if x == 0 else flint.arb(x).log()


def run_of(x: Instance, *, aware: bool = False, betas: Any = None, comparator: Any = None) -> Trajectory:
    """The code's run of an instance without forgetting."""
    stream = stream_of(x, beta=1.0 if betas is None else floats(betas),
                       comparator=None if comparator is None else floats(comparator))  # fmt: skip
    return recurrence.osdn(stream, rule_of(x, beta_aware=aware), initial_preconditioner=floats(x.d1))


def interpolating(x: Instance) -> Iterator[Agreement]:
    """T5."""
    _, (sides,) = bound_sides(run_of(x, comparator=x.u), "T5", "Interpolating regret")
    yield from same_sides(sides, regret.T5_interpolating_regret, x)


def super_geometric(x: Instance) -> Iterator[Agreement]:
    """T6 with full writes."""
    _, (sides,) = bound_sides(run_of(x, comparator=x.u), "T6", "Super-geometric convergence")
    yield from same_logarithms(sides, regret.T6_super_geometric, x)


def off_comparator(draw: Draw) -> Instance:
    """d_1 away from u, so that C > 0 and its logarithm is a number."""
    x = regret.draw_interpolated(draw)
    while all(x.d1 == x.u):
        x = regret.draw_interpolated(draw)
    return x


def any_gate(x: Instance) -> Iterator[Agreement]:
    """T7, mean and product."""
    run = run_of(x, betas=x.beta, comparator=x.u)
    _, (sides,) = bound_sides(run, "T7", "Mean contraction, any gate")
    yield from same_sides(sides, regret.T7_mean_bound, x)
    _, (sides,) = bound_sides(run, "T7", "Product contraction, any gate")
    yield from same_logarithms(sides, regret.T7_product_bound, x)


def beta_aware(x: Instance) -> Iterator[Agreement]:
    """T5 and T6 with beta-aware feedback, which is what T7 says of it."""
    run = run_of(x, aware=True, betas=x.beta, comparator=x.u)
    _, (sides,) = bound_sides(run, "T5", "Interpolating regret")
    yield from same_sides(sides, regret.T7_beta_aware_regret, x)
    _, (sides,) = bound_sides(run, "T6", "Super-geometric convergence")
    yield from same_logarithms(sides, regret.T7_beta_aware_super_geometric, x)


def aware_off_comparator(draw: Draw) -> Instance:
    """d_1 away from u."""
    x = regret.draw_aware(draw)
    while all(x.d1 == x.u):
        x = regret.draw_aware(draw)
    return x


def agnostic(x: Instance) -> Iterator[Agreement]:
    """T8 against the comparator that the code finds: any in the box will do."""
    e, (sides,) = bound_sides(run_of(x), "T8", "Agnostic regret")
    found = Instance(**{**vars(x), "u": exact(e.facts.best_comparator)})
    inside = true(rules.in_box(x.lo, x.hi, found.u))
    yield Agreement("the comparator is in the box", int(inside), 1)
    yield from same_sides(sides, regret.T8_agnostic_regret, found)


def tracking(x: Instance) -> Iterator[Agreement]:
    """T14."""
    _, (sides,) = bound_sides(run_of(x, comparator=x.u), "T14", "Tracking a moving comparator")
    yield from same_sides(sides, regret.T14_tracking, x)


def draw_contracting(draw: Draw) -> Instance:
    """w = 1 and eta |s|^2 <= 2 gamma."""
    x = draw_plain(draw)
    x.eta = draw.closed_step(scan.step_limit(x, x.gamma, x.w))
    return x


def forgetting_run(x: Instance) -> Trajectory:
    """The code's run with forgetting per token."""
    rule, stream = (
        rule_of(x, forgetting="token", anchor=floats(x.c)),
        stream_of(x, forget_gate=floats(x.gamma)),
    )
    return recurrence.osdn(stream, rule, initial_preconditioner=floats(x.d1))


def stability(x: Instance) -> Iterator[Agreement]:
    """T13 between the run and the one that the code starts elsewhere, for every number of tokens."""
    e, pairs = bound_sides(forgetting_run(x), "T13", "Stability under forgetting")
    both = Instance(**{**vars(x), "d": x.d1, "e": exact(forgetting.other_start(e.problem))})
    for count, sides in enumerate(pairs, start=1):
        rows = {name: getattr(x, name)[:count] for name in ("s", "gamma", "w")}
        yield from same_sides(sides, scan.T13_forgetting, Instance(**{**vars(both), **rows, "T": count}))


def draw_repeated_key(draw: Draw) -> Instance:
    """A run in which one key comes again and again."""
    x = scan.draw_constant_key(draw)
    x.one, x.T = x.gamma, len(x.k)
    x.k, x.gamma = [x.k[0]] * x.T, [x.gamma] * x.T
    return x


def constant_key(x: Instance) -> Iterator[Agreement]:
    """T13: a_t - a_inf for one key, from the first token on."""
    _, pairs = bound_sides(forgetting_run(x), "T13", "Bias for a constant key")
    for t, sides in enumerate(pairs):
        at = Instance(**{**vars(x), "gamma": x.one, "t": t})
        yield from same_sides(sides, scan.T13_alignment_rate, at)


def identity(x: Instance) -> Iterator[Agreement]:
    """T15: |d_t - 1|^2 for every token."""
    run = recurrence.osdn(stream_of(x, beta=floats(x.beta)), rule_of(x))
    _, pairs = bound_sides(run, "T15", "Identity fixed point")
    for sides, d in zip(pairs, rules.path(x), strict=True):
        yield Agreement("|d_t - 1|^2", sides.lhs, rules.sq(d - 1))


def draw_realisable(draw: Draw) -> Instance:
    """A run whose values come from one solution; the box keeps d positive."""
    x = draw_run(draw)
    x.target = draw.matrix(x.p, x.n)
    x.v = [x.target @ k for k in x.k]
    x.lo, x.hi = array([fmpq(1, 4)] * x.n), array([fmpq(3, 2)] * x.n)
    x.d1 = draw.vector(x.n, fmpq(1, 2), 1)
    return x


def local(e: Any, i: int) -> Instance:
    """The exact token, state and preconditioner of one sampled write of the code's run."""
    step, problem = e.facts.local_steps[i], e.problem
    t = step.token
    return Instance(
        token=t, k=exact(problem.stream.keys[t]), v=exact(problem.stream.values[t]),
        S0=exact(np.asarray(step.state_before)), d=exact(problem.preconditioner[t]),
        beta=rational(float(problem.beta[t])))  # fmt: skip


def run_full(x: Instance) -> Trajectory:
    """The code's run of `draw_run`."""
    stream = full_stream(x, solution=floats(x.target) if hasattr(x, "target") else None)
    return recurrence.osdn(stream, full_rule(x), initial_state=floats(x.S0), initial_preconditioner=floats(x.d1),
                           return_states=True)  # fmt: skip


def lyapunov(x: Instance) -> Iterator[Agreement]:
    """T16: the identity, and the cost of the moving metric."""
    run = run_full(x)
    e, pairs = bound_sides(run, "T16", "Lyapunov identity")
    for i, sides in enumerate(pairs):
        at = Instance(**{**vars(local(e, i)), "target": x.target})
        yield from same_sides(sides, token.T16_lyapunov_identity, at)
    e, pairs = bound_sides(run, "T16", "Cost of the moving metric")
    for i, sides in enumerate(pairs if x.T > 1 else []):
        at = local(e, i)
        at.E = rules.write(at.S0, at.k, at.v, at.d, at.beta) - x.target
        setattr(at, "d'", exact(e.problem.preconditioner[at.token + 1]))
        yield from same_sides(sides, token.T16_metric_change_max, at)


def residuals(x: Instance) -> Iterator[Agreement]:
    """T3 at the sampled writes; the code leaves out the halves."""
    e, pairs = bound_sides(run_full(x), "T3", "Residual identity")
    for i, sides in enumerate(pairs):
        yield from doubled(sides, token.T3_loss_identity, local(e, i))


def doubled(sides: Sides, law: Law, x: Instance) -> Iterator[Agreement]:
    """The code's sides are twice those of a law."""
    expected = conclusion(law, x)
    yield Agreement("2 f(S_t)", sides.lhs, 2 * expected.lhs)
    yield Agreement("2 q f before", sides.rhs, 2 * expected.rhs)


def gated_residuals(x: Instance) -> Iterator[Agreement]:
    """T17 at the sampled writes."""
    e, pairs = bound_sides(run_gated(x, return_states=True), "T17", "Residual identity, gated state")
    for i, sides in enumerate(pairs):
        at = local(e, i)
        at.alpha = x.alpha[at.token]
        yield from doubled(sides, token.T17_kda, at)


def draw_mean(draw: Draw) -> Instance:
    """Keys that are equally likely, one token, forgetting towards an anchor or none."""
    x = draw_run(draw.plain())
    x.one = draw.choice(fmpq(1), fmpq(7, 8), fmpq(1, 2))
    x.lo, x.hi = array([fmpq(-1000)] * x.n), array([fmpq(1000)] * x.n)
    return x


def moments_of(x: Instance) -> Any:
    """E[s s^T]."""
    return sum(np.outer(s, s) for s in x.s) / len(x.s)


def mean_step(x: Instance) -> Iterator[Agreement]:
    """T19: E[d_2 - u] = (gamma I - eta R)(d_1 - u), and u where the code has it."""
    rule = rule_of(x, forgetting=floats(x.one), anchor=floats(x.c))
    run = recurrence.osdn(stream_of(x), rule, initial_preconditioner=floats(x.d1))
    _, pairs = bound_sides(run, "T19", "Mean calibration step")
    decay = (1 - x.one) * identity_matrix(x.n)
    pull = (1 - x.one) * x.c + x.eta * sum(x.s) / len(x.s)
    u = solve(decay + x.eta * moments_of(x), pull[:, None])[:, 0]
    stepped = sum(rules.moved(x.eta, 1, x.one, x.c, x.d1, s) for s in x.s) / len(x.s) - u
    formula = (x.one * identity_matrix(x.n) - x.eta * moments_of(x)) @ (x.d1 - u)
    yield from numbers("E[d_2 - u]", [sides.lhs for sides in pairs[: x.n]], stepped)
    yield from numbers("(gamma I - eta R)(d_1 - u)", [sides.rhs for sides in pairs[: x.n]], formula)
    yield from numbers("u", [sides.rhs for sides in pairs[x.n :]], u)


def moments(x: Instance) -> Iterator[Agreement]:
    """calibration.moment_matrix against E[s s^T]."""
    expected = moments_of(sized(x))
    yield from numbers("moment_matrix", calibration.moment_matrix(floats(x.s)), expected, fmpq(4, 1 << 53))


def isotropic(x: Instance) -> Iterator[Agreement]:
    """calibration.isotropic_eigenvalues against eigenvectors of the moments of a finite sphere."""
    few, ones = fmpq(4, 1 << 53), 0 * x.d1 + 1
    along, across = calibration.isotropic_eigenvalues(x.n)
    rest = array([fmpq(1), fmpq(-1), *[fmpq(0)] * (x.n - 2)])
    yield from numbers("lambda along the ones", [along] * x.n, x.second_moment @ ones, few)
    yield from numbers("lambda across", [across, -across, *[0.0] * (x.n - 2)], x.second_moment @ rest, few)


LINKS = (
    Link("T3", "residual bound", "bounds.contraction.residual_identity", draw_run, residuals, 60),
    Link("T5", "interpolating regret", "bounds.regret.interpolating_regret", regret.draw_interpolated, interpolating),
    Link("T6", "super-geometric convergence", "bounds.regret.super_geometric", off_comparator, super_geometric),
    Link("T7", "any gate", "bounds.regret.mean_contraction, product_contraction", off_comparator, any_gate),
    Link("T7", "beta-aware regret", "bounds.regret with beta-aware feedback", aware_off_comparator, beta_aware),
    Link("T8", "agnostic regret", "bounds.regret.agnostic_regret", regret.draw_agnostic, agnostic),
    Link("T13", "stability", "bounds.forgetting.stability", draw_contracting, stability),
    Link("T13", "constant-key bias", "bounds.forgetting.constant_key_bias", draw_repeated_key, constant_key),
    Link("T14", "tracking", "bounds.regret.tracking", regret.draw_tracking, tracking),
    Link("T15", "identity bound", "bounds.fixed_point.identity_fixed_point", regret.draw_unit_stream, identity),
    Link("T16", "Lyapunov", "bounds.contraction.lyapunov_identity, metric_change", draw_realisable, lyapunov, 60),
    Link("T17", "gated residual bound", "bounds.contraction.gated_residual_identity", draw_gated, gated_residuals, 60),
    Link("T19", "mean step", "bounds.calibration_time.mean_step", draw_mean, mean_step),
    Link("T19", "moments", "calibration.moment_matrix", draw_run, moments),
    Link("T19", "isotropic rates", "calibration.isotropic_eigenvalues", mean.draw_sphere, isotropic, 30),
)  # fmt: skip
