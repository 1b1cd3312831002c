"""T3, T5-T8, T13-T17, T19: both sides of the bounds in `osdn_theory.bounds`, against those of the exact laws.

The code evaluates its bounds in exact rationals, and in balls where roots and logarithms come in; so the sides are
compared exactly, or as enclosures that agree to 2^-200.
"""

from collections.abc import Callable
from typing import Any

import flint
import numpy as np
from flint import fmpq

from osdn_theory.bounds.statements import forgetting
from osdn_theory.measures import calibration_times as calibration
from osdn_theory.recurrence import solve as recurrence
from osdn_theory.recurrence.trajectory import Trajectory
from proofs_check.exact import rules
from proofs_check.exact.collection import LAWS
from proofs_check.exact.draw import Draw, Instance, Kind
from proofs_check.exact.laws.mean import draw_sphere
from proofs_check.exact.laws.run.fixed_point import draw_unit_stream
from proofs_check.exact.laws.run.forgetting import TwoStarts, draw_constant_key
from proofs_check.exact.laws.run.regret import draw_agnostic, draw_aware, draw_interpolated, draw_tracking
from proofs_check.exact.laws.token import TokenInstance
from proofs_check.exact.numbers import BITS, array, identity as identity_matrix, solve, vector
from proofs_check.exact.propositions import Compares, true
from proofs_check.links.bridge import bound_sides, exact, floats, rule_of, sized, stream_of
from proofs_check.links.link import Link, Pairs, rational
from proofs_check.links.scan_links import draw_gated, draw_plain, draw_run, full_rule, full_stream, run_gated


def conclusion(law: str, x: Instance) -> Compares:
    """What a law compares on an instance."""
    with flint.ctx.workprec(BITS):
        found = LAWS[law].conclusion(x)
    if not isinstance(found, Compares):
        raise TypeError(f"{law} compares more than two numbers")
    return found


def logarithm(x: Any) -> Any:
    """The natural logarithm, enclosed."""
    with flint.ctx.workprec(BITS):
        return flint.arb.neg_inf() if x == 0 else flint.arb(x).log()


def same_sides(sides: Any, law: str, x: Instance, form: Callable[[Any], Any] = lambda side: side) -> Pairs:
    """Both sides of a bound against those of a law, in the form that the code states them in."""
    expected = conclusion(law, x)
    yield f"lhs of {law}", sides.lhs, form(expected.lhs)
    yield f"rhs of {law}", sides.rhs, form(expected.rhs)


def run_of(x: Instance, *, aware: bool = False, betas: Any = 1, comparator: Any = None) -> Trajectory:
    """The code's run of an instance without forgetting."""
    stream = stream_of(x, beta=floats(betas), comparator=None if comparator is None else floats(comparator))
    return recurrence.osdn(stream, rule_of(x, beta_aware=aware), initial_preconditioner=floats(x.d1))


Row = tuple[str, str, str] | tuple[str, str, str, Callable[[Any], Any]]
"""A theorem and the title of its bound, a law, and the form in which the code states it."""


def bounds_of(*rows: Row, gated: bool = False, aware: bool = False) -> Callable[[Instance], Pairs]:
    """Compare bounds of one run, with full writes or with the instance's gates, with the laws."""

    def compare(x: Instance) -> Pairs:
        made = run_of(x, aware=aware, betas=x.beta if gated or aware else 1, comparator=x.u)
        for theorem, title, law, *form in rows:
            _, (sides,) = bound_sides(made, theorem, title)
            yield from same_sides(sides, law, x, *form)

    return compare


def off_comparator(source: Callable[[Draw], Kind]) -> Callable[[Draw], Kind]:
    """d_1 away from u, so that C > 0 and its logarithm is a number."""

    def drawn(draw: Draw) -> Kind:
        x = source(draw)
        return drawn(draw) if all(x.d1 == x.u) else x

    return drawn


def agnostic(x: Instance) -> Pairs:
    """T8 against the comparator that the code finds: any in the box will do."""
    e, (sides,) = bound_sides(run_of(x), "T8", "Agnostic regret")
    found = x.but(u=exact(e.facts.best_comparator))
    inside = true(rules.in_box(x.lo, x.hi, found.u))
    yield "the comparator is in the box", int(inside), 1
    yield from same_sides(sides, "T8_agnostic_regret", found)


def draw_contracting(draw: Draw) -> Instance:
    """w = 1 and eta |s|^2 <= 2 gamma."""
    x = draw_plain(draw)
    return x.but(eta=draw.closed_step(x.longest_step()))


def forgetting_run(x: Instance) -> Trajectory:
    """The code's run with forgetting per token."""
    rule = rule_of(x, forgetting="token", anchor=floats(x.c))
    stream = stream_of(x, forget_gate=floats(x.gamma))
    return recurrence.osdn(stream, rule, initial_preconditioner=floats(x.d1))


def stability(x: Instance) -> Pairs:
    """T13 between the run and the one that the code starts elsewhere, for every number of tokens."""
    e, pairs = bound_sides(forgetting_run(x), "T13", "Stability under forgetting")
    both = TwoStarts(**vars(x)).but(d=x.d1, e=exact(forgetting.other_start(e.problem)))
    for count, sides in enumerate(pairs, start=1):
        yield from same_sides(sides, "T13_forgetting", both.tokens(0, count, "s", "gamma", "w").but(T=count))


def constant_key(x: Instance) -> Pairs:
    """T13: a_t - a_inf for one key that comes again and again, from the first token on."""
    count = len(x.k)
    run = forgetting_run(x.but(k=[x.k[0]] * count, gamma=[x.gamma] * count))
    _, pairs = bound_sides(run, "T13", "Bias for a constant key")
    for t, sides in enumerate(pairs):
        yield from same_sides(sides, "T13_alignment_rate", x.but(t=t))


def identity(x: Instance) -> Pairs:
    """T15: |d_t - 1|^2 for every token."""
    run = recurrence.osdn(stream_of(x, beta=floats(x.beta)), rule_of(x))
    _, pairs = bound_sides(run, "T15", "Identity fixed point")
    for sides, d in zip(pairs, rules.path(x), strict=True):
        yield "|d_t - 1|^2", sides.lhs, rules.sq(d - 1)


def draw_realisable(draw: Draw) -> Instance:
    """A run whose values come from one solution; the box keeps d positive."""
    x = draw_run(draw)
    x.target = draw.matrix(x.p, x.n)
    x.v = [x.target @ k for k in x.k]
    return x.but(lo=vector(x.n, fmpq(1, 4)), hi=vector(x.n, fmpq(3, 2)), d1=draw.vector(x.n, fmpq(1, 2), 1))


def local(e: Any, i: int) -> TokenInstance:
    """The exact token, state and preconditioner of one sampled write of the code's run."""
    step, problem = e.facts.local_steps[i], e.problem
    t = step.token
    return TokenInstance(
        token=t, k=exact(problem.stream.keys[t]), v=exact(problem.stream.values[t]),
        S0=exact(np.asarray(step.state_before)), d=exact(problem.preconditioner[t]),
        beta=rational(float(problem.beta[t])))  # fmt: skip


def run_full(x: Instance) -> Trajectory:
    """The code's run of `draw_run`."""
    stream = full_stream(x, solution=floats(x.target) if hasattr(x, "target") else None)
    return recurrence.osdn(stream, full_rule(x), initial_state=floats(x.S0), initial_preconditioner=floats(x.d1),
                           return_states=True)  # fmt: skip


def lyapunov(x: Instance) -> Pairs:
    """T16: the identity, and the cost of the moving metric."""
    run = run_full(x)
    e, pairs = bound_sides(run, "T16", "Lyapunov identity")
    for i, sides in enumerate(pairs):
        yield from same_sides(sides, "T16_lyapunov_identity", local(e, i).but(target=x.target))
    e, pairs = bound_sides(run, "T16", "Cost of the moving metric")
    for i, sides in enumerate(pairs if x.T > 1 else []):
        at = local(e, i)
        at.E, at.d_prime = at.written - x.target, exact(e.problem.preconditioner[at.token + 1])
        yield from same_sides(sides, "T16_metric_change_max", at)


def doubled(side: Any) -> Any:
    """The code leaves out the halves."""
    return 2 * side


def residuals(x: Instance) -> Pairs:
    """T3 at the sampled writes."""
    e, pairs = bound_sides(run_full(x), "T3", "Residual identity")
    for i, sides in enumerate(pairs):
        yield from same_sides(sides, "T3_loss_identity", local(e, i), doubled)


def gated_residuals(x: Instance) -> Pairs:
    """T17 at the sampled writes."""
    e, pairs = bound_sides(run_gated(x, return_states=True), "T17", "Residual identity, gated state")
    for i, sides in enumerate(pairs):
        at = local(e, i)
        yield from same_sides(sides, "T17_kda", at.but(alpha=x.alpha[at.token]), doubled)


def draw_mean(draw: Draw) -> Instance:
    """Keys that are equally likely, one token, forgetting towards an anchor or none."""
    x = draw_run(draw.plain())
    return x.but(
        one=draw.choice(fmpq(1), fmpq(7, 8), fmpq(1, 2)), lo=vector(x.n, -1000), hi=vector(x.n, 1000)
    )


def moments_of(x: Instance) -> Any:
    """E[s s^T]."""
    return sum(np.outer(s, s) for s in x.s) / len(x.s)


def mean_step(x: Instance) -> Pairs:
    """T19: E[d_2 - u] = (gamma I - eta R)(d_1 - u), and u where the code has it."""
    rule = rule_of(x, forgetting=floats(x.one), anchor=floats(x.c))
    run = recurrence.osdn(stream_of(x), rule, initial_preconditioner=floats(x.d1))
    _, pairs = bound_sides(run, "T19", "Mean calibration step")
    decay = (1 - x.one) * identity_matrix(x.n)
    pull = (1 - x.one) * x.c + x.eta * sum(x.s) / len(x.s)
    u = solve(decay + x.eta * moments_of(x), pull[:, None])[:, 0]
    stepped = sum(rules.moved(x.eta, 1, x.one, x.c, x.d1, s) for s in x.s) / len(x.s) - u
    formula = (x.one * identity_matrix(x.n) - x.eta * moments_of(x)) @ (x.d1 - u)
    yield "E[d_2 - u]", [sides.lhs for sides in pairs[: x.n]], stepped
    yield "(gamma I - eta R)(d_1 - u)", [sides.rhs for sides in pairs[: x.n]], formula
    yield "u", [sides.rhs for sides in pairs[x.n :]], u


FEW = fmpq(4, 1 << 53)
"""Four roundings."""


def moments(x: Instance) -> Pairs:
    """calibration.moment_matrix against E[s s^T]."""
    yield "moment_matrix", calibration.moment_matrix(floats(x.s)), moments_of(sized(x)), FEW


def isotropic(x: Instance) -> Pairs:
    """calibration.isotropic_eigenvalues against eigenvectors of the moments of a finite sphere."""
    along, across = calibration.isotropic_eigenvalues(x.n)
    rest = array([fmpq(1), fmpq(-1), *[fmpq(0)] * (x.n - 2)])
    yield "lambda along the ones", [along] * x.n, x.second_moment @ vector(x.n, 1), FEW
    yield "lambda across", [across, -across, *[0.0] * (x.n - 2)], x.second_moment @ rest, FEW


INTERPOLATING, SUPER_GEOMETRIC = ("T5", "Interpolating regret"), ("T6", "Super-geometric convergence")

LINKS = (
    Link("T3", "residual bound", "bounds.contraction.residual_identity", draw_run, residuals, 60),
    Link("T5", "interpolating regret", "bounds.regret.interpolating_regret", draw_interpolated,
         bounds_of((*INTERPOLATING, "T5_interpolating_regret"))),
    Link("T6", "super-geometric convergence", "bounds.regret.super_geometric", off_comparator(draw_interpolated),
         bounds_of((*SUPER_GEOMETRIC, "T6_super_geometric", logarithm))),
    Link("T7", "any gate", "bounds.regret.mean_contraction, product_contraction", off_comparator(draw_interpolated),
         bounds_of(("T7", "Mean contraction, any gate", "T7_mean_bound"),
                   ("T7", "Product contraction, any gate", "T7_product_bound", logarithm), gated=True)),
    Link("T7", "beta-aware regret", "bounds.regret with beta-aware feedback", off_comparator(draw_aware),
         bounds_of((*INTERPOLATING, "T7_beta_aware_regret"),
                   (*SUPER_GEOMETRIC, "T7_beta_aware_super_geometric", logarithm), aware=True)),
    Link("T8", "agnostic regret", "bounds.regret.agnostic_regret", draw_agnostic, agnostic),
    Link("T13", "stability", "bounds.forgetting.stability", draw_contracting, stability),
    Link("T13", "constant-key bias", "bounds.forgetting.constant_key_bias", draw_constant_key, constant_key),
    Link("T14", "tracking", "bounds.regret.tracking", draw_tracking,
         bounds_of(("T14", "Tracking a moving comparator", "T14_tracking"))),
    Link("T15", "identity bound", "bounds.fixed_point.identity_fixed_point", draw_unit_stream, identity),
    Link("T16", "Lyapunov", "bounds.contraction.lyapunov_identity, metric_change", draw_realisable, lyapunov, 60),
    Link("T17", "gated residual bound", "bounds.contraction.gated_residual_identity", draw_gated, gated_residuals, 60),
    Link("T19", "mean step", "bounds.calibration_time.mean_step", draw_mean, mean_step),
    Link("T19", "moments", "calibration.moment_matrix", draw_run, moments),
    Link("T19", "isotropic rates", "calibration.isotropic_eigenvalues", draw_sphere, isotropic, 30),
)  # fmt: skip
