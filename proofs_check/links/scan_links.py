"""T3, T11, T12, T13, T15, T17: scans and trajectories of `osdn_theory`, both methods, against the exact rules."""

from typing import Any, Literal

import numpy as np
from flint import fmpq

from osdn_theory import symbolic
from osdn_theory.measures import calibration_times as calibration
from osdn_theory.recurrence import calibrate as preconditioner, solve as recurrence
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream
from proofs_check.exact import rules
from proofs_check.exact.draw import Draw, Instance, varied
from proofs_check.exact.laws.mean import draw_isotropic
from proofs_check.exact.laws.run.fixed_point import draw_unit_stream
from proofs_check.exact.laws.run.forgetting import anchored_gradient, draw_constant_key
from proofs_check.exact.laws.run.scan import ScanInstance, StreamInstance, draw_scan, wy_chunk
from proofs_check.exact.numbers import Array, array, vector
from proofs_check.links.bridge import floats, rule_of, sized, stream_of
from proofs_check.links.link import Link, Pairs, rational
from proofs_check.links.sized import Sized, reciprocal
from proofs_check.links.sympy_values import symbolic_value
from proofs_check.links.token_links import NAMES, draw_one_step

EPSILON = 2.0**-10
"""Of the normalised feedback, so that its exact value is short."""

METHODS: tuple[Literal["recurrent", "chunk"], ...] = ("recurrent", "chunk")


def draw_run(draw: Draw) -> ScanInstance:
    """A stream under a rule: forgetting per token or none, normalised or beta-aware feedback or neither, any chunk."""
    x = draw_scan(draw)
    count, p = x.T, draw.value_dim()
    # Short keys and gates up to one keep the products in `sized`, and so what rounding is granted, small.
    x.k = [k / 2 for k in x.k]
    x.s, x.w, x.p = [k * k for k in x.k], [fmpq(1)] * count, p
    x.v, x.q = draw.vectors(count, p, -1, 1), [draw.key(x.n) for _ in x.k]
    x.beta, x.S0, x.scale = draw.numbers(count, 0, 1), draw.matrix(p, x.n, -1, 1), draw.positive()
    x.forgets, x.normalized, x.aware = (int(draw.rng.random() < 0.5) for _ in range(3))
    if not x.forgets:
        x.gamma = [fmpq(1)] * count
    if draw.kind == "boxed":
        x.lo, x.hi = vector(x.n, fmpq(7, 8)), vector(x.n, fmpq(9, 8))
    return x


def with_feedback(x: Any) -> Any:
    """Features and weights as the rule of the instance makes them from its keys."""
    squares = [k * k for k in x.k]
    features = [b * s for b, s in zip(x.beta, squares, strict=True)] if x.aware else squares
    sums = [sum(s) + rational(EPSILON) for s in squares]
    # 1/a, with its rounding where it is tracked.
    inverses = [reciprocal(a) if isinstance(a, Sized) else 1 / a for a in sums]
    return x.but(s=features, w=inverses if x.normalized else [1] * len(squares))


def full_rule(x: Instance) -> CalibrationRule:
    """The rule of `draw_run`."""
    return rule_of(x, forgetting="token" if x.forgets else 1.0, anchor=floats(x.c), epsilon=EPSILON,
                   normalize_feedback=bool(x.normalized), beta_aware=bool(x.aware))  # fmt: skip


def full_stream(x: Instance, **options: Any) -> Stream:
    """The stream of `draw_run`."""
    return stream_of(x, queries=floats(x.q), beta=floats(x.beta), forget_gate=floats(x.gamma), **options)


def sized_path(x: Instance) -> list[Array]:
    """d_1 ... d_{T+1} with the rounding of either method: what the sequential and the WY form may each be off."""
    y = with_feedback(sized(x))
    both = zip(rules.path(y), wy_chunk(y, 0, len(y.k), y.d1), strict=True)
    return [array([Sized(a.value, a.size + b.size, a.roundings + b.roundings) for a, b in zip(*pair, strict=True)])
            for pair in both]  # fmt: skip


def scanned(x: Instance) -> Pairs:
    """Every preconditioner of the scan, by both methods, in chunks of any size."""
    expected, rule = sized_path(x), full_rule(x)
    gamma = floats(x.gamma) if x.forgets else None
    for method in ("wy", "sequential"):
        path, final = preconditioner.calibration_scan(
            floats(x.k), rule, beta=floats(x.beta), gamma=gamma, initial_preconditioner=floats(x.d1),
            method=method, chunk_size=x.size)  # fmt: skip
        yield f"{method} d", [*path, final], expected


DELTA_RULE = symbolic.delta_rule_step(
    NAMES.d, NAMES.s, NAMES.c, NAMES.eta, gamma=NAMES.gamma, weight=NAMES.weight
)


def delta_rule(x: Instance) -> Pairs:
    """The SymPy delta rule against the exact calibrate step, and the code's step against the delta rule."""
    y, error = sized(x), x.d - x.c
    found = symbolic_value(DELTA_RULE, K=x.n, d=error, s=x.s, c=x.c, eta=x.eta, gamma=x.gamma, w=x.w)
    yield "symbolic delta_rule_step", found, x.step - x.c
    open_rule = CalibrationRule(eta=floats(x.eta), d_min=-np.inf, d_max=np.inf)
    code = preconditioner.calibrate_step(floats(x.d), floats(x.s), np.float64(floats(x.w)),
                                         np.float64(floats(x.gamma)), floats(x.c), open_rule)  # fmt: skip
    own, pull = y.d - y.c, y.eta * y.w
    stepped = y.gamma * own - pull * (y.s @ own) * y.s + pull * (1 - y.c @ y.s) * y.s + y.c
    yield "calibrate_step as a delta rule", code, stepped


def states_and_outputs(y: Instance, ds: list[Array], alphas: Any = None) -> tuple[list[Array], list[Array]]:
    """S_0, S_1 ... S_T and the outputs of an instance of sized numbers; `alphas` decay the state before each write."""
    states, outputs = [y.S0], []
    for t, (k, q, v, beta) in enumerate(zip(y.k, y.q, y.v, y.beta, strict=True)):
        state = states[-1] if alphas is None else states[-1] * alphas[t]
        states.append(rules.write(state, k, v, ds[t], beta))
        outputs.append(y.scale * (states[-1] @ q))
    return states, outputs


def run_osdn(x: Instance, method: Literal["recurrent", "chunk"], **options: Any) -> Trajectory:
    """The code's run of `draw_run`."""
    return recurrence.osdn(
        full_stream(x), full_rule(x), scale=floats(x.scale), initial_state=floats(x.S0),
        initial_preconditioner=floats(x.d1), method=method, chunk_size=x.size, **options)  # fmt: skip


def trajectory(x: Instance) -> Pairs:
    """Token by token: d_t, a_t, residuals, states, outputs, and the residual identity along them."""
    y, path = sized(x), sized_path(x)
    states, outputs = states_and_outputs(y, path)
    run = run_osdn(x, "recurrent", return_states=True)
    alignment = [rules.alignment(d, k) for d, k in zip(path, y.k, strict=False)]
    residuals = [rules.residual(*token) for token in zip(states, y.k, y.v, strict=False)]
    yield "d", [*run.preconditioner, run.final_preconditioner], path
    yield "a", run.alignment, alignment
    yield "residual", run.residuals, residuals
    assert run.states is not None
    yield "S", run.states, states[1:]
    yield "o", run.outputs, outputs
    for t, (found, b, a) in enumerate(zip(run.residual_ratio, y.beta, alignment, strict=True)):
        if any(r.value != 0 for r in residuals[t]):
            yield f"q_{t + 1}", found, (1 - b * a) ** 2


def chunkwise(x: Instance) -> Pairs:
    """The chunk form, the last chunk shorter, against the proven chunk form."""
    path = sized_path(x)
    y = StreamInstance(**vars(sized(x))).but(d=path[:-1])
    state, outputs = y.S0.T, []
    for begin in range(0, x.T, x.size):
        _, part, state = y.solve_chunk(begin, x.size, state)
        outputs += list(part)
    run = run_osdn(x, "chunk")
    yield "o", run.outputs, outputs
    yield "H", run.final_state.T, state


def draw_gated(draw: Draw) -> Instance:
    """A run with state gates, one number per token or one per feature."""
    x = draw_run(draw)
    x.per_feature = draw.rng.choice((0, 1))
    x.alpha = [draw.vector(x.n, 0, 1) if x.per_feature else array([draw.number(0, 1)] * x.n) for _ in x.k]
    return x


def run_gated(x: Instance, **options: Any) -> Trajectory:
    """The code's run of `draw_gated`."""
    gate = floats(x.alpha if x.per_feature else [row[0] for row in x.alpha])
    solver = recurrence.kda if x.per_feature else recurrence.gated_delta_net
    return solver(full_stream(x, state_gate=gate), full_rule(x), initial_state=floats(x.S0),
                  initial_preconditioner=floats(x.d1), **options)  # fmt: skip


def gated(x: Instance) -> Pairs:
    """Gated DeltaNet and KDA with the calibrate step, token by token and in chunks."""
    y = sized(x)
    states, outputs = states_and_outputs(y, sized_path(x), y.alpha)
    for method in METHODS:
        run = run_gated(x, scale=floats(x.scale), method=method, chunk_size=x.size)
        yield f"{method} o", run.outputs, outputs
        yield f"{method} S", run.final_state, states[-1]


draw_plain = varied(draw_scan, w=lambda draw, x: [fmpq(1)] * x.T)
"""w = 1, as the theorem has it."""


def regularised(x: Instance) -> Pairs:
    """The APF steps of the code against projected descent on l(d) + (lambda/2)|d - c|^2."""
    code, final = preconditioner.calibration_scan(
        floats(x.k), rule_of(x, forgetting="token", anchor=floats(x.c)), gamma=floats(x.gamma),
        initial_preconditioner=floats(x.d1), method="sequential")  # fmt: skip
    yield "d", [*code, final], rules.path(sized(x))
    d = x.d1
    for t, after in enumerate(rules.path(x)[1:]):
        pull = anchored_gradient((1 - x.gamma[t]) / x.eta, x.c, d, x.s[t])
        yield "descent", after, rules.clip(d - x.eta * pull, x.lo, x.hi)
        d = after


def settled(x: Instance) -> Pairs:
    """calibration.constant_key_alignment against a_inf."""
    y = sized(x)
    decay, drive = 1 - y.gamma, y.eta * rules.sq(y.s)
    total = decay + drive
    # 1 - gamma is exact for a gamma of few bits, so that its sum with the drive has no cancellation.
    expected = (decay * (y.c @ y.s) + drive) * reciprocal(Sized(total.value, total.value, total.roundings))
    found = calibration.constant_key_alignment(
        floats(x.s), floats(x.c), eta=floats(x.eta), gamma=floats(x.gamma)
    )
    yield "constant_key_alignment", found, expected
    yield "a_inf", x.settled, expected.value


draw_level = varied(
    draw_isotropic,
    eta=lambda draw, x: draw.choice(1, fmpq(1, 2), fmpq(1, 256)),
    gamma=lambda draw, x: draw.choice(fmpq(1, 2), fmpq(7, 8), fmpq(1023, 1024)),
)
"""Exchangeable keys with a step and a forgetting factor of few bits."""


def isotropic(x: Any) -> Pairs:
    """calibration.isotropic_alignment against kappa, at which the mean stands still."""
    x = x.but(x=x.kappa)
    found = calibration.isotropic_alignment(x.n, eta=floats(x.eta), gamma=floats(x.gamma), anchor=floats(x.y))
    yield "isotropic_alignment", float(found), x.x, fmpq(16, 1 << 53) * abs(x.x)
    yield "a step from kappa", x.next_level, x.x


def identity(x: Instance) -> Pairs:
    """osdn stays at d = 1 to the bit, and its outputs and states have DeltaNet's bits."""
    stream = stream_of(x, beta=floats(x.beta))
    for method in METHODS:
        run = recurrence.osdn(stream, rule_of(x), initial_state=floats(x.S0), method=method)
        plain = recurrence.delta_net(stream, initial_state=floats(x.S0), method=method)
        yield "d", [*run.preconditioner, run.final_preconditioner], rules.path(x)
        for name, own, other in (
            ("o", run.outputs, plain.outputs),
            ("S", run.final_state, plain.final_state),
        ):
            yield name, own, [[rational(float(a)) for a in row] for row in other]
    y = sized(x)
    yield "S_T", run.final_state, rules.memories(y, rules.path(y))[-1]


LINKS = (
    Link("T11", "scan", "preconditioner.calibration_scan, WY and sequential", draw_run, scanned),
    Link("T11", "delta rule", "preconditioner.calibrate_step, symbolic.delta_rule_step", draw_one_step, delta_rule),
    Link("T3", "trajectory", "recurrence.osdn, token by token", draw_run, trajectory),
    Link("T12", "chunk form", "recurrence.osdn, method chunk", draw_run, chunkwise),
    Link("T17", "gated trajectories", "recurrence.gated_delta_net and kda, both methods", draw_gated, gated),
    Link("T13", "APF step", "preconditioner.calibration_scan with forgetting", draw_plain, regularised),
    Link("T13", "constant key", "calibration.constant_key_alignment", draw_constant_key, settled),
    Link("T13", "isotropic keys", "calibration.isotropic_alignment", draw_level, isotropic),
    Link("T15", "identity fixed point", "recurrence.osdn against recurrence.delta_net", draw_unit_stream,
         identity),
)  # fmt: skip
