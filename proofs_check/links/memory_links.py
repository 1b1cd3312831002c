"""T23 to T28: where d goes, what the memory holds, and how tight T6 is, in the code and in the laws."""

from __future__ import annotations

from typing import Any

import flint
import numpy as np
from flint import fmpq

from osdn_theory.bounds.numbers import Balls
from osdn_theory.bounds.runs.local_step import sampled_tokens
from osdn_theory.bounds.runs.window import Window
from osdn_theory.bounds.statements import memory
from osdn_theory.bounds.statements.contraction import metric
from osdn_theory.bounds.statements.gated import last_difference
from osdn_theory.bounds.statements.span import Pull
from osdn_theory.recurrence import solve as recurrence
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.exhibits import alternating
from proofs_check.exact import rules
from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.laws.rate import DriftInstance, RateInstance, indexed
from proofs_check.exact.laws.run.alternating import AlternatingInstance
from proofs_check.exact.laws.run.bias import BiasInstance, gram
from proofs_check.exact.laws.run.gated import TwoStates, gated_states
from proofs_check.exact.numbers import BITS, array, identity, inverse, is_invertible, product, solve, vector
from proofs_check.links.bound_links import conclusion, draw_realisable, local, logarithm, run_full, same_sides
from proofs_check.links.bridge import bound_sides, evidence, exact, floats, rule_of, stream_of
from proofs_check.links.link import Link, Pairs
from proofs_check.links.scan_links import full_rule, full_stream

FINE = Balls(BITS)


def draw_window(draw: Draw) -> BiasInstance:
    """Independent keys, a start, and the projection q of it; one window, in which nothing clips."""
    n = draw.integer(2, 4)
    x = BiasInstance(n=n, N=draw.integer(1, min(n, 3)), d1=draw.vector(n, fmpq(1, 2), 2))
    x.k = [draw.key(n) for _ in range(x.N)]
    x.s = [k * k for k in x.k]
    if not is_invertible(gram(x.s)):
        return draw_window(draw)
    rows, x.T, x.M = array(x.s), x.N, rules.largest(x.s)
    x.q = x.d1 + rows.T @ solve(gram(x.s), (1 - rows @ x.d1)[:, None])[:, 0]
    x.c, x.eta = 1 / np.trace(inverse(gram(x.s))), draw.step(2 / x.M)
    x.domains = {"nat": range(x.N), "z": []}
    return x.but(lo=x.d1 - 2**20, hi=x.d1 + 2**20)


def window_run(x: BiasInstance) -> Trajectory:
    return recurrence.osdn(stream_of(x), rule_of(x), initial_preconditioner=floats(x.d1))


def pull(x: BiasInstance) -> Pairs:
    """T23: the projection, mu, and both sides for kappa and sigma of the code."""
    e, found = bound_sides(window_run(x), "T23", "Pull towards the nearest interpolating preconditioner")
    at = Pull(Window(e.problem, 0))
    yield "the projection", at.comparator, list(x.q)
    yield "mu", at.curvature, 2 - x.eta * x.M
    yield from same_sides(found[0], "T23_pull", x.but(kappa=at.excitation, sigma=at.spread))


def span(x: BiasInstance) -> Pairs:
    """T23: how far d moved, as the combination of features that it is, and one rank with them and without."""
    e, found = bound_sides(window_run(x), "T23", "Moves within the span")
    moved = Window(e.problem, 0).preconditioners[x.N]
    run = x.but(w=[1] * x.N, gamma=[1] * x.N, c=0 * x.d1)
    yield "d_{N+1} - d_1", array([fmpq(d) for d in moved]) - x.d1, conclusion("T23_span", run).rhs
    for t, sides in enumerate(found[: x.N], start=1):
        yield "rank with the move", sides.lhs, flint.fmpq_mat([list(s) for s in x.s[:t]]).rank()
        yield "rank", sides.rhs, flint.fmpq_mat([list(s) for s in x.s[:t]]).rank()


def draw_overlapping(draw: Draw) -> Instance:
    """Keys with a common part and one feature each; a start that interpolates, a u that tells them apart."""
    count, p, epsilon = draw.integer(1, 3), draw.value_dim(), draw.choice(fmpq(1, 2), fmpq(1, 4))
    shared, share = draw.key(2), draw.positive()
    keys = [array([*shared, *(epsilon * int(i == j) for j in range(count))]) for i in range(count)]
    rest = (1 - share * (shared @ shared)) / epsilon**2
    x = Instance(n=count + 2, p=p, T=count, k=keys, s=[k * k for k in keys], v=draw.vectors(count, p))
    x.u = array([fmpq(0)] * 2 + [1 / epsilon**2] * count)
    x.d1, x.S0, x.beta, x.eta = (
        array([share] * 2 + [rest] * count),
        draw.matrix(p, x.n),
        [fmpq(1)] * count,
        fmpq(1),
    )
    return x.but(lo=x.d1 - 1, hi=x.d1 + 1, t=count, domains={"nat": range(count)})


def blind(x: Instance) -> Pairs:
    """T24: OSDN stays, and the static comparator recalls."""
    run = recurrence.osdn(
        stream_of(x, comparator=floats(x.u)), rule_of(x), initial_state=floats(x.S0),
        initial_preconditioner=floats(x.d1),
    )  # fmt: skip
    _, found = bound_sides(run, "T24", "Blind to overlap")
    stays = conclusion("T24_stays", x)
    static = rules.memories(x, [x.u] * x.T)[-1]
    left = [rules.sq(rules.residual(static, k, v)) for k, v in zip(x.k, x.v, strict=True)]
    yield "|d_t - d_1|^2", found[x.T - 1].lhs, rules.sq(stays.lhs - stays.rhs)
    yield "what u misses", [sides.lhs for sides in found[x.T :]], left


def drawn_rate(x: Instance, e: Any, i: int) -> RateInstance:
    """The tokens of a run, one of which is drawn, at the d and the state of one sampled write."""
    at, count = local(e, i), len(x.k)
    return indexed(RateInstance(n=x.n, p=x.p, d=at.d, keys=x.k, chances=[fmpq(1, count)] * count, gates=x.beta,
                                S0=at.S0, target=x.target, domains={"x": []}))  # fmt: skip


def mean_energy(x: Instance) -> Pairs:
    """T25 at the sampled writes."""
    e, found = bound_sides(run_full(x), "T25", "Mean energy after a write")
    for token, sides in zip(sampled_tokens(x.T), found, strict=True):
        yield from same_sides(sides, "T25_expected_contraction", drawn_rate(x, e, token))


def draw_short(draw: Draw) -> Instance:
    """A realisable run whose writes have beta |k|^2 < 2."""
    x = draw_realisable(draw)
    return x.but(beta=[abs(b) / 4 for b in x.beta], k=[k / 2 for k in x.k], v=[v / 2 for v in x.v])


def speed(x: Instance) -> Pairs:
    """T25: W_d, and the factor of the box."""
    e = evidence(run_full(x))
    at = drawn_rate(x, e, 0)
    sizes = [b * rules.sq(k) for b, k in zip(x.beta, x.k, strict=True)]
    at.lo, at.hi = min(x.lo), max(x.hi)
    at.r, at.y = max((2 - at.lo * n) / (2 - n) for n in sizes), vector(x.n, 1)
    with FINE.working():
        found = memory.rate_form(
            e.problem, e.problem.preconditioner[e.facts.local_steps[0].token], FINE
        ).tolist()
        plain, limited = at.ones.rates, conclusion("T25_speed_limit_gates", at).rhs
        yield "W_d", found, at.rates
        yield "h r y W_1 y", memory.speed_limit(e) * (at.y @ plain @ at.y), limited


def drift(x: Instance, e: Any) -> DriftInstance:
    """The run with the preconditioners that the code follows, the last of them once more for the metric at the end."""
    path = list(map(exact, e.problem.preconditioner))
    return DriftInstance(
        **{**vars(x), "d": [*path, path[-1]], "k": [*x.k, x.k[0]], "beta": [*x.beta, x.beta[0]]}
    )


def draw_contracting(draw: Draw) -> Instance:
    """0 <= beta_t |k_t|^2 <= 2 and 0 <= beta_t a_t <= 2, values of any kind."""
    x = draw_short(draw)
    return x.but(v=draw.vectors(x.T, x.p))


def squared(side: Any) -> Any:
    with FINE.working():
        return side * side


def near_delta_net(x: Instance) -> Pairs:
    """T26, squared."""
    e, (sides,) = bound_sides(run_full(x), "T26", "Near DeltaNet")
    yield from same_sides(sides, "T26_near_deltanet", drift(x, e), squared)


def growth(x: Instance) -> Pairs:
    """T27 over the whole run."""
    e, (sides,) = bound_sides(run_full(x), "T27", "Growth of the error")
    yield from same_sides(sides, "T27_product_bound", drift(x, e))


def draw_gated_run(draw: Draw) -> Instance:
    """Short keys, and a gate for every feature."""
    x = draw_contracting(draw)
    return x.but(alpha=draw.vectors(x.T, x.n, 0, 1))


def gated_growth(x: Instance) -> Pairs:
    """T27 with gates, from two memories that differ in the identity."""
    run = recurrence.kda(full_stream(x, state_gate=floats(x.alpha)), full_rule(x), initial_state=floats(x.S0),
                         initial_preconditioner=floats(x.d1))  # fmt: skip
    e, (sides,) = bound_sides(run, "T27", "Growth of a difference, gated state")
    y = drift(x, e)
    y.S0, y.S0_prime = identity(x.n), 0 * identity(x.n)
    y.v, y.alpha = [vector(x.n, 0)] * (x.T + 1), [*x.alpha, x.alpha[0]]
    y.a = [max(a**2 for a in alpha) for alpha in y.alpha]
    yield from same_sides(sides, "T27_gated_product", y)


def draw_fading(draw: Draw) -> Instance:
    """The same in a box of ratio 6, with gates whose squares are below 1/6."""
    x = draw_gated_run(draw)
    return x.but(alpha=[alpha / 4 for alpha in x.alpha])


def gated_norm(x: Instance) -> Pairs:
    """T27 with gates in the plain norm: the first write from the identity, and the last to where the run ends."""
    run = recurrence.kda(
        full_stream(x, state_gate=floats(x.alpha)), full_rule(x), initial_preconditioner=floats(x.d1)
    )
    e, (sides,) = bound_sides(run, "T27", "Gates that contract the plain norm")
    y = drift(x, e)
    y.v, y.alpha = [vector(x.n, 0)] * (x.T + 1), [*x.alpha, x.alpha[0]]
    states = gated_states(y, identity(x.n), y.d)

    def write_of(t: int) -> TwoStates:
        d, gate = y.d[t], y.alpha[t]
        return TwoStates(n=x.n, p=x.n, k=y.k[t], v=y.v[t], d=d, lo=min(d), hi=max(d), b=y.beta[t], al=gate,
                         a=max(a**2 for a in gate), S0=states[t], S_prime=0 * identity(x.n))  # fmt: skip

    first, last = write_of(0), write_of(x.T - 1)
    yield "what the identity has", sides.rhs, conclusion("T27_gated_norm", first).rhs
    yield "|Delta_T|^2", sides.lhs, conclusion("T27_gated_norm", last).lhs
    metric_after = conclusion("T27_gated_contraction", last).lhs
    with FINE.working():
        path = [FINE.of(float(d)) for d in e.problem.preconditioner[x.T - 1]]
        found = metric(last_difference(e.problem, FINE, list(e.problem.preconditioner[: x.T])).tolist(), path)
    yield "its metric", found, metric_after


def draw_turns(draw: Draw) -> AlternatingInstance:
    """The exhibit's keys in turn, from starts along its own."""
    stream = alternating(width=draw.rng.choice((2, 4)))
    s1, s2 = (exact(np.square(key)) for key in stream.keys[:2])
    x = AlternatingInstance(n=len(s1), T=stream.length, s1=s1, s2=s2, M=s1 @ s1, u=exact(np.ones(len(s1))))
    x.a = draw.choice(-1, 1) * draw.positive()
    x.b, x.k = -x.a * x.cosine, [exact(key) for key in stream.keys]
    x.d1 = x.u + x.a * s1 + x.b * s2
    return x.but(eta=1 / x.M, lo=x.d1 - 2**20, hi=x.d1 + 2**20, domains={"nat": []})


def decay(x: AlternatingInstance) -> Pairs:
    """T28: the product of the ratios, and the floor under it."""
    run = recurrence.osdn(
        stream_of(x, comparator=floats(x.u)), rule_of(x), initial_preconditioner=floats(x.d1)
    )
    _, found = bound_sides(run, "T28", "Decay of two alternating features")
    attained = conclusion("T28_alternating_product", x)
    yield "product of ratios", product(sides.lhs for sides in found), attained.lhs
    yield "its formula", product(sides.rhs for sides in found), attained.rhs
    _, (sides,) = bound_sides(run, "T28", "T6 within a constant factor a token")
    with FINE.working():
        euler = flint.arb(1).exp()
    floor = conclusion("T28_tight", x.but(e=euler))
    yield "(2/e)^T (C/T)^T", sides.lhs, logarithm(floor.lhs)
    yield "product of ratios", sides.rhs, logarithm(floor.rhs)


LINKS = (
    Link("T23", "pull", "bounds.span.implicit_bias", draw_window, pull, 60),
    Link("T23", "span", "bounds.span.span_kept", draw_window, span, 60),
    Link("T24", "blindness", "bounds.recall.blind_to_overlap", draw_overlapping, blind, 60),
    Link("T25", "mean energy", "bounds.memory.mean_energy", draw_realisable, mean_energy, 40),
    Link("T25", "speed limit", "bounds.memory.rate_form, speed_limit", draw_short, speed, 40),
    Link("T26", "near DeltaNet", "bounds.memory.near_delta_net", draw_contracting, near_delta_net, 40),
    Link("T27", "growth of the error", "bounds.memory.error_growth", draw_short, growth, 40),
    Link("T27", "growth with gates", "bounds.gated.gated_growth", draw_gated_run, gated_growth, 40),
    Link(
        "T27",
        "plain norm with gates",
        "bounds.gated.gated_norm, last_difference",
        draw_fading,
        gated_norm,
        40,
    ),
    Link("T28", "alternating features", "bounds.alternating", draw_turns, decay, 12),
)
