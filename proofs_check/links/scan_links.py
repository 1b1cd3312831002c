"""T3, T11, T12, T13, T15, T17: scans and trajectories of `osdn_theory`, both methods, against the exact rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from flint import fmpq

from osdn_theory import symbolic
from osdn_theory.measures import calibration_times as calibration
from osdn_theory.recurrence import calibrate as preconditioner, solve as recurrence
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream
from proofs_check.exact import chunk_laws, fixed_point_laws, forgetting_laws, linear as la, mean_laws, rules
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance
from proofs_check.exact.scan_laws import draw_scan, wy_chunk
from proofs_check.links.bridge import floats, rule_of, sized, stream_of, symbolic_value
from proofs_check.links.link import Agreement, Link, numbers, rational
from proofs_check.links.sized import Sized, reciprocal
from proofs_check.links.token_links import NAMES

EPSILON = 2.0**-10
"""Of the normalised feedback, so that its exact value is short."""


def draw_run(draw: Draw) -> Instance:
    """A stream under a rule: forgetting per token or none, normalised or beta-aware feedback or neither, any chunk."""
    x = draw_scan(draw)
    count, n, v = len(x.keys), len(x.d1), draw.value_dim()
    # Short keys and gates up to one keep the products in `sized`, and so what rounding is granted, small.
    x.keys = [la.scale(fmpq(1, 2), k) for k in x.keys]
    x.features, x.weights = [la.sq(k) for k in x.keys], [fmpq(1)] * count
    x.values, x.queries = draw.matrix(count, v, -1, 1), [draw.key(n) for _ in x.keys]
    x.betas, x.state, x.scale = draw.vector(count, 0, 1), draw.matrix(v, n, -1, 1), draw.positive()
    x.forgets, x.normalized, x.aware = (int(draw.rng.random() < 0.5) for _ in range(3))
    if not x.forgets:
        x.gammas = [fmpq(1)] * count
    if draw.kind == "boxed":
        x.low, x.high = [fmpq(7, 8)] * n, [fmpq(9, 8)] * n
    return x


def with_feedback(x: Instance) -> Instance:
    """Features and weights as the rule of the instance makes them from its keys."""
    y = Instance(**vars(x))
    squares = [la.sq(k) for k in y.keys]
    y.features = [la.scale(b, s) for b, s in zip(y.betas, squares, strict=True)] if x.aware else squares
    sums = [sum(s) + rational(EPSILON) for s in squares]
    y.weights = [inverse(a) for a in sums] if x.normalized else [1] * len(squares)
    return y


def inverse(a: Any) -> Any:
    """1/a, with its rounding where it is tracked."""
    return reciprocal(a) if isinstance(a, Sized) else 1 / a


def full_rule(x: Instance) -> CalibrationRule:
    """The rule of `draw_run`."""
    return rule_of(x, forgetting="token" if x.forgets else 1.0, anchor=floats(x.anchor), epsilon=EPSILON,
                   normalize_feedback=bool(x.normalized), beta_aware=bool(x.aware))  # fmt: skip


def full_stream(x: Instance, **options: Any) -> Stream:
    """The stream of `draw_run`."""
    return stream_of(
        x, queries=floats(x.queries), beta=floats(x.betas), forget_gate=floats(x.gammas), **options
    )


def sized_path(x: Instance) -> list[la.Vector]:
    """d_1 ... d_{T+1} with the rounding of either method: what the sequential and the WY form may each be off."""
    y = with_feedback(sized(x))
    path = rules.path(y)
    y.size = len(y.keys)
    return [[Sized(a.value, a.size + b.size, a.roundings + b.roundings) for a, b in zip(d, e, strict=True)]
            for d, e in zip(path, wy_chunk(y, 0, y.d1), strict=True)]  # fmt: skip


def scan(x: Instance) -> Iterator[Agreement]:
    """Every preconditioner of the scan, by both methods, in chunks of any size."""
    expected, rule = sized_path(x), full_rule(x)
    gamma = floats(x.gammas) if x.forgets else None
    for method in ("wy", "sequential"):
        path, final = preconditioner.calibration_scan(
            floats(x.keys), rule, beta=floats(x.betas), gamma=gamma, initial_preconditioner=floats(x.d1),
            method=method, chunk_size=x.size)  # fmt: skip
        yield from numbers(f"{method} d", [*path, final], expected)


DELTA_RULE = symbolic.delta_rule_step(
    NAMES.d, NAMES.s, NAMES.c, NAMES.eta, gamma=NAMES.gamma, weight=NAMES.weight
)


def delta_rule(x: Instance) -> Iterator[Agreement]:
    """The SymPy delta rule against the exact calibrate step, and the code's step against the same."""
    y = sized(x)
    s, w, gamma = x.features[0], x.weights[0], x.gammas[0]
    e = la.sub(x.d1, x.anchor)
    found = symbolic_value(DELTA_RULE, {"K": len(e)}, d=e, s=s, c=x.anchor, eta=x.eta, gamma=gamma, w=w)
    moved = la.sub(rules.unprojected_step(x.d1, s, x.eta, gamma, w, x.anchor), x.anchor)
    yield from numbers("symbolic delta_rule_step", found, moved)
    open_rule = CalibrationRule(eta=floats(x.eta), d_min=-np.inf, d_max=np.inf)
    code = preconditioner.calibrate_step(floats(x.d1), floats(s), np.float64(floats(w)), np.float64(floats(gamma)),
                                         floats(x.anchor), open_rule)  # fmt: skip
    own = la.sub(y.d1, y.anchor)
    pull, goal = y.eta * y.weights[0] * la.dot(y.features[0], own), y.eta * y.weights[0]
    goal = goal * (1 - la.dot(y.anchor, y.features[0]))
    stepped = [y.gammas[0] * a - pull * b + goal * b + c
               for a, b, c in zip(own, y.features[0], y.anchor, strict=True)]  # fmt: skip
    yield from numbers("calibrate_step as a delta rule", code, stepped)


def recurrent_states(
    y: Instance, ds: list[la.Vector], alphas: Any = None
) -> tuple[la.Matrix, list[la.Matrix]]:
    """Outputs and S_1 ... S_T of an instance of sized numbers; `alphas` decay the state before each write."""
    state, outputs, states = y.state, [], []
    for t, (k, q, v, beta) in enumerate(zip(y.keys, y.queries, y.values, y.betas, strict=True)):
        if alphas is not None:
            state = la.right_diagonal(state, alphas[t])
        state = rules.write(state, k, v, ds[t], beta)
        outputs.append(la.scale(y.scale, la.apply(state, q)))
        states.append(state)
    return outputs, states


def run_osdn(x: Instance, method: Literal["recurrent", "chunk"], **options: Any) -> Trajectory:
    """The code's run of `draw_run`."""
    return recurrence.osdn(
        full_stream(x), full_rule(x), scale=floats(x.scale), initial_state=floats(x.state),
        initial_preconditioner=floats(x.d1), method=method, chunk_size=x.size, **options)  # fmt: skip


def trajectory(x: Instance) -> Iterator[Agreement]:
    """Token by token: d_t, a_t, residuals, states, outputs, and the residual identity along them."""
    y, path = sized(x), sized_path(x)
    outputs, states = recurrent_states(y, path)
    run = run_osdn(x, "recurrent", return_states=True)
    yield from numbers("d", [*run.preconditioner, run.final_preconditioner], path)
    squares = [la.sq(k) for k in y.keys]
    alignment = [la.dot(d, s) for d, s in zip(path, squares, strict=False)]
    yield from numbers("a", run.alignment, alignment)
    before = [y.state, *states[:-1]]
    residuals = [la.sub(v, la.apply(s, k)) for v, s, k in zip(y.values, before, y.keys, strict=True)]
    yield from numbers("residual", run.residuals, residuals)
    assert run.states is not None
    yield from numbers("S", run.states, states)
    yield from numbers("o", run.outputs, outputs)
    ratios = [(1 - b * a) ** 2 for b, a in zip(y.betas, alignment, strict=True)]
    for t, (found, expected) in enumerate(zip(run.residual_ratio, ratios, strict=True)):
        if any(r.value != 0 for r in residuals[t]):
            yield from numbers(f"q_{t + 1}", found, expected)


def chunkwise(x: Instance) -> Iterator[Agreement]:
    """The chunk form, the last chunk shorter, against the proven chunk form; and that against the recurrence."""
    y, path = sized(x), sized_path(x)
    y.ds = path[:-1]
    state, outputs = la.transpose(y.state), []
    for begin in range(0, len(y.keys), x.size):
        part, state = chunk_laws.one_chunk(y, slice(begin, begin + x.size), state)
        outputs += part
    run = run_osdn(x, "chunk")
    yield from numbers("o", run.outputs, outputs)
    yield from numbers("H", run.final_state.T, state)
    exact = Instance(**vars(x))
    exact.ds = [[a.value for a in d] for d in path[:-1]]
    reads, final = chunk_laws.token_by_token(exact)
    yield from numbers("chunk form = recurrence", [[a.value for a in row] for row in outputs], reads)
    yield from numbers("its state", [[a.value for a in row] for row in state], la.transpose(final))


def draw_gated(draw: Draw) -> Instance:
    """A run with state gates, one number per token or one per feature."""
    x = draw_run(draw)
    n = len(x.d1)
    x.per_feature = draw.rng.choice((0, 1))
    x.alphas = [draw.vector(n, 0, 1) if x.per_feature else [draw.number(0, 1)] * n for _ in x.keys]
    return x


def gated(x: Instance) -> Iterator[Agreement]:
    """Gated DeltaNet and KDA with the calibrate step, token by token and in chunks."""
    y, path = sized(x), sized_path(x)
    outputs, states = recurrent_states(y, path, y.alphas)
    gate = floats(x.alphas if x.per_feature else [row[0] for row in x.alphas])
    solver = recurrence.kda if x.per_feature else recurrence.gated_delta_net
    for method in ("recurrent", "chunk"):
        run = solver(full_stream(x, state_gate=gate), full_rule(x), scale=floats(x.scale),
                     initial_state=floats(x.state), initial_preconditioner=floats(x.d1), method=method,
                     chunk_size=x.size)  # fmt: skip
        yield from numbers(f"{method} o", run.outputs, outputs)
        yield from numbers(f"{method} S", run.final_state, states[-1])


def regularised(x: Instance) -> Iterator[Agreement]:
    """The APF step of the code against projected descent on l(d) + (lambda/2)|d - c|^2."""
    path, y = rules.path(x), sized(x)
    code, final = preconditioner.calibration_scan(
        floats(x.keys), rule_of(x, forgetting="token", anchor=floats(x.anchor)), gamma=floats(x.gammas),
        initial_preconditioner=floats(x.d1), method="sequential")  # fmt: skip
    for relation in forgetting_laws.regularised_step(x):
        yield Agreement(relation.name, relation.lhs, relation.rhs)
    yield from numbers("d", [*code, final], rules.path(y))
    yield from numbers("exact d", path, [[a.value for a in d] for d in rules.path(y)])


def settled(x: Instance) -> Iterator[Agreement]:
    """calibration.constant_key_alignment against a_inf."""
    y = sized(x)
    s, decay = y.features[0], 1 - y.gamma
    drive = y.eta * la.norm_sq(s)
    expected = (decay * la.dot(y.anchor, s) + drive) * reciprocal(positive(decay + drive))
    found = calibration.constant_key_alignment(
        floats(x.features[0]), floats(x.anchor), eta=floats(x.eta), gamma=floats(x.gamma))  # fmt: skip
    yield from numbers("constant_key_alignment", found, expected)
    yield from numbers("a_inf", forgetting_laws.settled(x), expected.value)


def positive(a: Sized) -> Sized:
    """1 - gamma is exact for a gamma of few bits, so that its sum with the drive has no cancellation."""
    return Sized(a.value, a.value, a.roundings)


def isotropic(x: Instance) -> Iterator[Agreement]:
    """calibration.isotropic_alignment against the level that the exact mean settles at."""
    n, few = len(x.d1), fmpq(16, 1 << 53)
    found = calibration.isotropic_alignment(
        n, eta=floats(x.eta), gamma=floats(x.gamma), anchor=floats(x.anchor[0])
    )
    drive, decay = x.eta / n, 1 - x.gamma
    kappa = (decay * x.anchor[0] + drive) / (decay + drive)
    yield from numbers("isotropic_alignment", float(found), kappa, few * abs(kappa))
    level = Instance(**vars(x))
    level.d1 = [kappa] * n
    means = mean_laws.mean_path(level, mean_laws.independent)
    yield from numbers("the mean from kappa on", means, [[kappa] * n] * len(means))


def draw_isotropic(draw: Draw) -> Instance:
    """Exchangeable keys with a step and a forgetting factor of few bits."""
    x = mean_laws.draw_exchangeable(draw)
    x.eta, x.gamma = (
        draw.choice(1, fmpq(1, 2), fmpq(1, 256)),
        draw.choice(fmpq(1, 2), fmpq(7, 8), fmpq(1023, 1024)),
    )
    return x


def identity(x: Instance) -> Iterator[Agreement]:
    """osdn stays at d = 1 to the bit, and its outputs and states have DeltaNet's bits."""
    stream = stream_of(x, beta=floats(x.betas))
    for method in ("recurrent", "chunk"):
        run = recurrence.osdn(stream, rule_of(x), initial_state=floats(x.state), method=method)
        plain = recurrence.delta_net(stream, initial_state=floats(x.state), method=method)
        yield from numbers("d", [*run.preconditioner, run.final_preconditioner], rules.path(x))
        yield from numbers("o", run.outputs, [[rational(float(a)) for a in row] for row in plain.outputs])
        yield from numbers(
            "S", run.final_state, [[rational(float(a)) for a in row] for row in plain.final_state]
        )
    own = sized(x)
    state = fixed_point_laws.written(own, rules.path(own))
    yield from numbers("S_T", run.final_state, state)


LINKS = (
    Link("T11", "scan", "preconditioner.calibration_scan, WY and sequential", draw_run, scan),
    Link("T11", "delta rule", "preconditioner.calibrate_step, symbolic.delta_rule_step", draw_scan, delta_rule),
    Link("T3", "trajectory", "recurrence.osdn, token by token", draw_run, trajectory),
    Link("T12", "chunk form", "recurrence.osdn, method chunk", draw_run, chunkwise),
    Link("T17", "gated trajectories", "recurrence.gated_delta_net and kda, both methods", draw_gated, gated),
    Link("T13", "APF step", "preconditioner.calibration_scan with forgetting", forgetting_laws.draw_plain, regularised),
    Link("T13", "constant key", "calibration.constant_key_alignment", forgetting_laws.draw_constant_key, settled),
    Link("T13", "isotropic keys", "calibration.isotropic_alignment", draw_isotropic, isotropic),
    Link("T15", "identity fixed point", "recurrence.osdn against recurrence.delta_net",
         fixed_point_laws.draw_unit_stream, identity),
)  # fmt: skip
