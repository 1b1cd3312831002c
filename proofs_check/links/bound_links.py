"""T3, T5-T8, T13-T17, T19: both sides of the bounds in `osdn_theory.bounds`, against those of the exact laws.

The code evaluates its bounds in exact rationals, and in balls where roots and logarithms come in; so the sides are
compared exactly, or as enclosures of 2^-200.
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
from proofs_check.exact import (
    agnostic_laws,
    fixed_point_laws,
    forgetting_laws,
    linear as la,
    mean_laws,
    regret_laws,
    rules,
    write_laws,
)
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance, Relation
from proofs_check.exact.roots import RootSum
from proofs_check.links.bridge import bound_sides, exact, floats, rule_of, sized, stream_of
from proofs_check.links.link import Agreement, Link, ball, numbers, rational
from proofs_check.links.scan_links import draw_gated, draw_run, full_rule, full_stream

Sides = Any


def named(relations: Iterator[Relation], name: str) -> Relation:
    """The relation of that name; there must be one."""
    (found,) = [r for r in relations if r.name == name]
    return found


def same_sides(sides: Sides, relation: Relation) -> Iterator[Agreement]:
    """Both sides of a bound against those of a relation."""
    yield Agreement(f"lhs of {relation.name}", sides.lhs, relation.lhs)
    yield Agreement(f"rhs of {relation.name}", sides.rhs, relation.rhs)


def same_logarithms(sides: Sides, relation: Relation) -> Iterator[Agreement]:
    """The code states products as sums of logarithms."""
    yield Agreement(f"lhs of log {relation.name}", sides.lhs, logarithm(relation.lhs))
    yield Agreement(f"rhs of log {relation.name}", sides.rhs, logarithm(relation.rhs))


def logarithm(x: Any) -> Any:
    """The natural logarithm, enclosed."""
    with flint.ctx.workprec(512):
        return flint.arb.neg_inf() if x == 0 else ball(x).log()


def run_of(x: Instance, *, aware: bool = False, betas: Any = None, comparator: Any = None) -> Trajectory:
    """The code's run of an instance without forgetting."""
    stream = stream_of(x, beta=1.0 if betas is None else floats(betas),
                       comparator=None if comparator is None else floats(comparator))  # fmt: skip
    return recurrence.osdn(stream, rule_of(x, beta_aware=aware), initial_preconditioner=floats(x.d1))


def interpolating(x: Instance) -> Iterator[Agreement]:
    """T5."""
    _, (sides,) = bound_sides(run_of(x, comparator=x.u), "T5", "Interpolating regret")
    yield from same_sides(sides, next(regret_laws.regret(x)))


def super_geometric(x: Instance) -> Iterator[Agreement]:
    """T6 with full writes."""
    _, (sides,) = bound_sides(run_of(x, comparator=x.u), "T6", "Super-geometric convergence")
    yield from same_logarithms(sides, next(regret_laws.full_writes(x)))


def off_comparator(draw: Draw) -> Instance:
    """d_1 away from u, so that C > 0 and its logarithm is a number."""
    x = regret_laws.interpolated(draw)
    while x.d1 == x.u:
        x = regret_laws.interpolated(draw)
    return x


def any_gate(x: Instance) -> Iterator[Agreement]:
    """T7, mean and product."""
    run = run_of(x, betas=x.betas, comparator=x.u)
    _, (mean,) = bound_sides(run, "T7", "Mean contraction, any gate")
    yield from same_sides(mean, named(regret_laws.any_gate(x), "mean sqrt q_t"))
    _, (product,) = bound_sides(run, "T7", "Product contraction, any gate")
    yield from same_logarithms(product, named(regret_laws.any_gate(x), "prod sqrt q_t"))


def beta_aware(x: Instance) -> Iterator[Agreement]:
    """T5 and T6 with beta-aware feedback, which is what T7 says of it."""
    run = run_of(x, aware=True, betas=x.betas, comparator=x.u)
    total, ratios = regret_laws.aware_regret(x)
    yield from same_sides(bound_sides(run, "T5", "Interpolating regret")[1][0], total)
    yield from same_logarithms(bound_sides(run, "T6", "Super-geometric convergence")[1][0], ratios)


def aware_off_comparator(draw: Draw) -> Instance:
    """d_1 away from u."""
    x = regret_laws.aware(draw)
    while x.d1 == x.u:
        x = regret_laws.aware(draw)
    return x


def agnostic(x: Instance) -> Iterator[Agreement]:
    """T8 against the comparator that the code finds: any in the box will do."""
    e, (sides,) = bound_sides(run_of(x), "T8", "Agnostic regret")
    found = Instance(**{**vars(x), "u": exact(e.facts.best_comparator)})
    yield Agreement("the comparator is in the box", int(la.inside(found.u, x.low, x.high)), 1)
    yield from same_sides(sides, next(agnostic_laws.agnostic(found)))


def tracking(x: Instance) -> Iterator[Agreement]:
    """T14."""
    _, (sides,) = bound_sides(run_of(x, comparator=x.path), "T14", "Tracking a moving comparator")
    relation = next(agnostic_laws.tracking(x))
    yield Agreement("lhs", sides.lhs, relation.lhs)
    yield Agreement("rhs", sides.rhs, RootSum.of(relation.rhs))


def draw_contracting(draw: Draw) -> Instance:
    """w = 1 and eta |s|^2 <= 2 gamma."""
    x = forgetting_laws.draw_plain(draw)
    x.eta = draw.closed_step(forgetting_laws.step_limit(x))
    return x


def forgetting_run(x: Instance) -> Trajectory:
    """The code's run with forgetting per token."""
    rule = rule_of(x, forgetting="token", anchor=floats(x.anchor))
    return recurrence.osdn(
        stream_of(x, forget_gate=floats(x.gammas)), rule, initial_preconditioner=floats(x.d1)
    )


def stability(x: Instance) -> Iterator[Agreement]:
    """T13 between the run and the one that the code starts elsewhere."""
    e, pairs = bound_sides(forgetting_run(x), "T13", "Stability under forgetting")
    both = Instance(**vars(x))
    both.other, both.other_anchor = exact(forgetting.other_start(e.problem)), x.anchor
    for sides, relation in zip(pairs, forgetting_laws.stability(both), strict=True):
        yield from same_sides(sides, relation)


def constant_key(x: Instance) -> Iterator[Agreement]:
    """T13: a_t - a_inf for one key."""
    _, pairs = bound_sides(forgetting_run(x), "T13", "Bias for a constant key")
    relations = [r for r in forgetting_laws.constant_key(x) if r.op == "==" and r.name.startswith("a_")]
    # The law compares a_2 ... a_{T+1}, the code a_1 ... a_T.
    for sides, relation in zip(pairs[1:], relations, strict=False):
        yield from same_sides(sides, relation)
    yield Agreement("a_1 - a_inf", pairs[0].lhs, la.dot(x.d1, x.features[0]) - forgetting_laws.settled(x))


def identity(x: Instance) -> Iterator[Agreement]:
    """T15: |d_t - 1|^2 for every token."""
    run = recurrence.osdn(stream_of(x, beta=floats(x.betas)), rule_of(x))
    _, pairs = bound_sides(run, "T15", "Identity fixed point")
    for sides, d in zip(pairs, rules.path(x), strict=True):
        yield Agreement("|d_t - 1|^2", sides.lhs, sum((a - 1) ** 2 for a in d))


def draw_realisable(draw: Draw) -> Instance:
    """A run whose values come from one solution; the box keeps d positive."""
    x = draw_run(draw)
    n = len(x.d1)
    x.solution = draw.matrix(len(x.values[0]), n)
    x.values = [la.apply(x.solution, k) for k in x.keys]
    x.low, x.high, x.d1 = [fmpq(1, 4)] * n, [fmpq(3, 2)] * n, draw.vector(n, fmpq(1, 2), 1)
    return x


def local(e: Any, i: int) -> Instance:
    """The exact token, state and preconditioner of one sampled write of the code's run."""
    step, problem = e.facts.local_steps[i], e.problem
    t = step.token
    x = Instance(key=exact(problem.stream.keys[t]), value=exact(problem.stream.values[t]),
                 state=exact(np.asarray(step.state_before)), d=exact(problem.preconditioner[t]),
                 beta=rational(float(problem.beta[t])))  # fmt: skip
    if t + 1 < problem.length:
        x.after = exact(problem.preconditioner[t + 1])
    return x


def run_full(x: Instance, **options: Any) -> Trajectory:
    """The code's run of `draw_run`."""
    stream = full_stream(x, solution=floats(x.solution) if hasattr(x, "solution") else None)
    return recurrence.osdn(stream, full_rule(x), initial_state=floats(x.state), initial_preconditioner=floats(x.d1),
                           **options)  # fmt: skip


def lyapunov(x: Instance) -> Iterator[Agreement]:
    """T16: the identity, and the cost of the moving metric."""
    run = run_full(x, return_states=True)
    e, pairs = bound_sides(run, "T16", "Lyapunov identity")
    for i, sides in enumerate(pairs):
        token = local(e, i)
        token.solution = x.solution
        (relation,) = write_laws.lyapunov(token)
        yield from same_sides(sides, relation)
    e, pairs = bound_sides(run, "T16", "Cost of the moving metric")
    for i, sides in enumerate(pairs if len(x.keys) > 1 else []):
        token = local(e, i)
        token.solution = x.solution
        token.state = rules.write(token.state, token.key, token.value, token.d, token.beta)
        (relation,) = write_laws.metric_change(token)
        yield from same_sides(sides, relation)


def residuals(x: Instance) -> Iterator[Agreement]:
    """T3 at the sampled writes; the code leaves out the halves."""
    e, pairs = bound_sides(run_full(x, return_states=True), "T3", "Residual identity")
    for i, sides in enumerate(pairs):
        token = local(e, i)
        loss = rules.token_loss(token.state, token.key, token.value)
        after = rules.write(token.state, token.key, token.value, token.d, token.beta)
        ratio = (1 - token.beta * rules.alignment(token.d, token.key)) ** 2
        yield Agreement("2 f(S_t)", sides.lhs, 2 * rules.token_loss(after, token.key, token.value))
        yield Agreement("2 q f(S_{t-1})", sides.rhs, 2 * ratio * loss)


def gated_residuals(x: Instance) -> Iterator[Agreement]:
    """T17 at the sampled writes."""
    gate = floats(x.alphas if x.per_feature else [row[0] for row in x.alphas])
    solver = recurrence.kda if x.per_feature else recurrence.gated_delta_net
    run = solver(full_stream(x, state_gate=gate), full_rule(x), initial_state=floats(x.state),
                 initial_preconditioner=floats(x.d1), return_states=True)  # fmt: skip
    e, pairs = bound_sides(run, "T17", "Residual identity, gated state")
    for i, sides in enumerate(pairs):
        token = local(e, i)
        token.alpha = x.alphas[e.facts.local_steps[i].token]
        relation = named(write_laws.gated_residual(token), "f(S_t)")
        yield Agreement("2 f(S_t)", sides.lhs, 2 * relation.lhs)
        yield Agreement("2 q f(alpha S_{t-1})", sides.rhs, 2 * relation.rhs)


def draw_mean(draw: Draw) -> Instance:
    """Keys that are equally likely, forgetting towards an anchor or none."""
    x = draw_run(Draw(draw.rng, "random", draw.dyadic))
    count, n = len(x.keys), len(x.d1)
    x.chances, x.tokens = [fmpq(1, count)] * count, 1
    x.gamma = draw.choice(fmpq(1), fmpq(7, 8), fmpq(1, 2))
    x.low, x.high = [fmpq(-1000)] * n, [fmpq(1000)] * n
    return x


def mean_step(x: Instance) -> Iterator[Agreement]:
    """T19: E[d_2 - u] = (gamma I - eta R)(d_1 - u), and u where the code has it."""
    rule = rule_of(x, forgetting=floats(x.gamma), anchor=floats(x.anchor))
    run = recurrence.osdn(stream_of(x), rule, initial_preconditioner=floats(x.d1))
    _, pairs = bound_sides(run, "T19", "Mean calibration step")
    n, own = len(x.d1), Instance(**vars(x))
    del own.weights
    own.u = mean_laws.stationary(own)
    for sides, relation in zip(pairs[:n], mean_laws.mean_step(own), strict=True):
        yield from same_sides(sides, relation)
    for sides, u in zip(pairs[n:], own.u, strict=True):
        yield Agreement("u", sides.rhs, u)


def moments(x: Instance) -> Iterator[Agreement]:
    """calibration.moment_matrix against E[s s^T]."""
    y, few = sized(x), fmpq(4, 1 << 53)
    r = la.matmul(la.transpose(y.features), y.features)
    found = calibration.moment_matrix(floats(x.features))
    yield from numbers("moment_matrix", found, [[a / len(x.features) for a in row] for row in r], few)
    yield from numbers("R", [[a.value / len(x.features) for a in row] for row in r], mean_laws.moments(x))


def isotropic(x: Instance) -> Iterator[Agreement]:
    """calibration.isotropic_eigenvalues against eigenvectors of the moments of a finite sphere."""
    n, r, few = len(x.d1), mean_laws.moments(x), fmpq(4, 1 << 53)
    along, across = calibration.isotropic_eigenvalues(n)
    ones, rest = [fmpq(1)] * n, [fmpq(1), fmpq(-1), *[fmpq(0)] * (n - 2)]
    yield from numbers("lambda along the ones", [along] * n, la.apply(r, ones), few)
    yield from numbers("lambda across", [across, -across, *[0.0] * (n - 2)], la.apply(r, rest), few)


LINKS = (
    Link("T3", "residual bound", "bounds.contraction.residual_identity", draw_run, residuals, 60),
    Link("T5", "interpolating regret", "bounds.regret.interpolating_regret", regret_laws.interpolated, interpolating),
    Link("T6", "super-geometric convergence", "bounds.regret.super_geometric", off_comparator, super_geometric),
    Link("T7", "any gate", "bounds.regret.mean_contraction, product_contraction", off_comparator, any_gate),
    Link("T7", "beta-aware regret", "bounds.regret with beta-aware feedback", aware_off_comparator, beta_aware),
    Link("T8", "agnostic regret", "bounds.regret.agnostic_regret", agnostic_laws.draw_agnostic, agnostic),
    Link("T13", "stability", "bounds.forgetting.stability", draw_contracting, stability),
    Link("T13", "constant-key bias", "bounds.forgetting.constant_key_bias", forgetting_laws.draw_constant_key,
         constant_key),
    Link("T14", "tracking", "bounds.regret.tracking", agnostic_laws.draw_tracking, tracking),
    Link("T15", "identity bound", "bounds.fixed_point.identity_fixed_point", fixed_point_laws.draw_unit_stream,
         identity),
    Link("T16", "Lyapunov", "bounds.contraction.lyapunov_identity, metric_change", draw_realisable, lyapunov, 60),
    Link("T17", "gated residual bound", "bounds.contraction.gated_residual_identity", draw_gated, gated_residuals, 60),
    Link("T19", "mean step", "bounds.calibration_time.mean_step", draw_mean, mean_step),
    Link("T19", "moments", "calibration.moment_matrix", draw_mean, moments, 60),
    Link("T19", "isotropic rates", "calibration.isotropic_eigenvalues", mean_laws.draw_sphere, isotropic, 30),
)  # fmt: skip
