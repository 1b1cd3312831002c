"""T1, T2, T3, T4: `osdn_theory.objective` and the calibrate step, against the exact rules and the SymPy objects."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from flint import fmpq

from osdn_theory import objective, symbolic
from osdn_theory.recurrence import calibrate as preconditioner
from proofs_check.exact import linear as la, rules, token_laws
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance
from proofs_check.exact.scan_laws import draw_scan
from proofs_check.links.bridge import by_condition, floats, rule_of, sized, symbolic_value
from proofs_check.links.link import Agreement, Link, numbers

NAMES = symbolic.Names()


TOKEN = {
    "loss": symbolic.token_loss(NAMES.S, NAMES.k, NAMES.v),
    "gradient": symbolic.token_gradient(NAMES.S, NAMES.k, NAMES.v),
    "write": symbolic.write(NAMES.S, NAMES.k, NAMES.v, NAMES.d, NAMES.beta),
    "ratio": symbolic.residual_ratio(symbolic.alignment(NAMES.d, NAMES.k), NAMES.beta),
    "surrogate": symbolic.surrogate(NAMES.d, NAMES.s),
    "hypergradient": symbolic.hypergradient(NAMES.d, NAMES.s),
    "step": symbolic.calibrate_step(
        NAMES.d, NAMES.s, NAMES.eta, gamma=NAMES.gamma, weight=NAMES.weight, anchor=NAMES.c
    ),
}
"""SymPy's expressions in one token, derived once."""

CONTEXT = {
    "loss": symbolic.context_loss(NAMES.S, NAMES.keys, NAMES.values),
    "gradient": symbolic.context_gradient(NAMES.S, NAMES.keys, NAMES.values),
    "gram": symbolic.gram(NAMES.keys),
    "right Hessian": symbolic.right_hessian(NAMES.keys, NAMES.values),
    "Newton step": symbolic.newton_step(NAMES.S, NAMES.keys, NAMES.values),
}
"""SymPy's expressions in a context."""


def token_sizes(x: Instance) -> dict[str, int]:
    """V and K of a token."""
    return {"V": len(x.value), "K": len(x.key)}


def token_quadratic(x: Instance) -> Iterator[Agreement]:
    """Loss and gradient of a token."""
    y, arrays = sized(x), (floats(x.state), floats(x.key), floats(x.value))
    yield from numbers("token_loss", objective.token_loss(*arrays), rules.token_loss(y.state, y.key, y.value))
    gradient = rules.token_gradient(y.state, y.key, y.value)
    yield from numbers("token_gradient", objective.token_gradient(*arrays), gradient)
    values = {"S": x.state, "k": x.key, "v": x.value}
    loss = symbolic_value(TOKEN["loss"], token_sizes(x), **values)
    yield from numbers("symbolic token_loss", loss, rules.token_loss(x.state, x.key, x.value))
    slope = symbolic_value(TOKEN["gradient"], token_sizes(x), **values)
    yield from numbers("symbolic token_gradient", slope, rules.token_gradient(x.state, x.key, x.value))


def draw_regular_context(draw: Draw) -> Instance:
    """A context whose Gram matrix is invertible and not too close to a singular one."""
    for _ in range(1000):
        kind = "random" if draw.kind == "single" else draw.kind
        x = token_laws.draw_context(Draw(draw.rng, kind, draw.dyadic))
        if np.linalg.matrix_rank(floats(x.keys)) == len(x.keys[0]) and np.linalg.cond(floats(x.keys)) < 100:
            return x
    raise RuntimeError("no regular context in a thousand draws")


def context_quadratic(x: Instance) -> Iterator[Agreement]:
    """Loss, gradient, Gram matrix, minimiser and suboptimality of a context."""
    y, arrays = sized(x), (floats(x.state), floats(x.keys), floats(x.values))
    loss = token_laws.context_loss(y.state, y.keys, y.values)
    yield from numbers("context_loss", objective.context_loss(*arrays), loss)
    yield from numbers("context_gradient", objective.context_gradient(*arrays), summed_gradient(y))
    yield from numbers("gram", objective.gram(arrays[1]), la.gram(y.keys))
    error, g = la.msub(x.state, x.minimizer), la.gram(x.keys)
    gap = la.inner(la.matmul(error, g), error) / 2
    size = 1 + max(map(abs, la.flat(x.minimizer)))
    slack = by_condition(arrays[1])
    minimizer = objective.context_minimizer(*arrays[1:])
    yield from numbers("context_minimizer", minimizer, x.minimizer, slack * size)
    # The gap is quadratic in the minimiser: its error enters twice, times what it is multiplied with.
    scale = (size + max(map(abs, la.flat(x.state)))) ** 2 * la.trace(g) * len(x.state)
    yield from numbers("suboptimality", objective.suboptimality(*arrays), gap, slack * scale)
    yield from symbolic_context(x)


def summed_gradient(x: Instance) -> la.Matrix:
    """The sum of the token gradients."""
    total = [[0] * len(x.keys[0]) for _ in x.values[0]]
    for k, v in zip(x.keys, x.values, strict=True):
        total = la.madd(total, rules.token_gradient(x.state, k, v))
    return total


def symbolic_context(x: Instance) -> Iterator[Agreement]:
    """SymPy's context objects, evaluated exactly."""
    sizes = {"V": len(x.values[0]), "K": len(x.keys[0]), "T": len(x.keys)}
    values = {"S": x.state, "K_rows": x.keys, "V_rows": x.values}
    g, error = la.gram(x.keys), la.msub(x.state, x.minimizer)
    expected = {
        "loss": token_laws.context_loss(x.state, x.keys, x.values),
        "gradient": la.matmul(error, g),
        "gram": g,
        "right Hessian": g,
        "Newton step": x.minimizer,
    }
    for name, expression in CONTEXT.items():
        yield from numbers(f"symbolic {name}", symbolic_value(expression, sizes, **values), expected[name])
    gap = symbolic_value(symbolic.context_gap(NAMES.S, NAMES.keys), sizes, S=error, K_rows=x.keys)
    yield from numbers("symbolic context_gap", gap, la.inner(la.matmul(error, g), error))


def key_scaling(x: Instance) -> Iterator[Agreement]:
    """The write, and the gradient times Diag(d)."""
    y, d = sized(x), floats(x.d)
    arrays = floats(x.state), floats(x.key), floats(x.value)
    expected = rules.write(y.state, y.key, y.value, y.d, y.beta)
    yield from numbers("write", objective.write(*arrays, d, floats(x.beta)), expected)
    right = la.outer(la.sub(la.apply(y.state, y.key), y.value), la.had(y.d, y.key))
    yield from numbers("token_gradient Diag(d)", objective.token_gradient(*arrays) * d, right)
    values = {"S": x.state, "k": x.key, "v": x.value, "d": x.d, "beta": x.beta}
    written = symbolic_value(TOKEN["write"], token_sizes(x), **values)
    yield from numbers("symbolic write", written, rules.write(x.state, x.key, x.value, x.d, x.beta))


def residual_ratio(x: Instance) -> Iterator[Agreement]:
    """(1 - beta a)^2."""
    a = rules.alignment(x.d, x.key)
    near = floats(a)  # few bits: still a float64 number
    y = sized(Instance(a=a, beta=x.beta))
    yield from numbers(
        "residual_ratio", objective.residual_ratio(near, floats(x.beta)), (1 - y.beta * y.a) ** 2
    )
    found = symbolic_value(TOKEN["ratio"], token_sizes(x), k=x.key, d=x.d, beta=x.beta)
    yield from numbers("symbolic residual_ratio", found, (1 - x.beta * a) ** 2)


def surrogate(x: Instance) -> Iterator[Agreement]:
    """l(d) and its gradient."""
    y, s = sized(x), la.sq(x.key)
    d, feature = floats(x.d), floats(s)
    given = sized(s)
    yield from numbers("surrogate", objective.surrogate(d, feature), rules.surrogate(y.d, given))
    yield from numbers(
        "hypergradient", objective.hypergradient(d, feature), rules.surrogate_gradient(y.d, given)
    )
    sizes = token_sizes(x)
    loss = symbolic_value(TOKEN["surrogate"], sizes, d=x.d, s=s)
    yield from numbers("symbolic surrogate", loss, rules.surrogate(x.d, s))
    slope = symbolic_value(TOKEN["hypergradient"], sizes, d=x.d, s=s)
    yield from numbers("symbolic hypergradient", slope, rules.surrogate_gradient(x.d, s))


def calibrate_step(x: Instance) -> Iterator[Agreement]:
    """One step with forgetting, weight and anchor, projected; and without forgetting."""
    y, rule = sized(x), rule_of(x)
    s, w, gamma = x.features[0], x.weights[0], x.gammas[0]
    arrays = floats(x.d1), floats(s), np.float64(floats(w))
    step = rules.unprojected_step(y.d1, y.features[0], y.eta, y.gammas[0], y.weights[0], y.anchor)
    found = preconditioner.calibrate_step(*arrays, np.float64(floats(gamma)), floats(x.anchor), rule)
    yield from numbers("calibrate_step", found, la.clip(step, y.low, y.high))
    plain = rules.unprojected_step(y.d1, y.features[0], y.eta, 1, y.weights[0], [0] * len(x.d1))
    found = preconditioner.calibrate_step(*arrays, None, floats(x.anchor), rule)
    yield from numbers("calibrate_step, no forgetting", found, la.clip(plain, y.low, y.high))
    moved = symbolic_value(
        TOKEN["step"], {"K": len(x.d1)}, d=x.d1, s=s, c=x.anchor, eta=x.eta, gamma=gamma, w=w
    )
    yield from numbers("symbolic calibrate_step", moved,
                       rules.unprojected_step(x.d1, s, x.eta, gamma, w, x.anchor))  # fmt: skip


def draw_step(draw: Draw) -> Instance:
    """A calibrate step, for "single" without forgetting."""
    x = draw_scan(draw)
    if draw.kind == "single":
        x.gammas = [fmpq(1)] * len(x.gammas)
    return x


LINKS = (
    Link("T1", "token objective", "objective.token_loss, token_gradient", token_laws.draw_token, token_quadratic),
    Link("T1", "context objective", "objective.context_loss, context_gradient, gram, context_minimizer, "
         "suboptimality", draw_regular_context, context_quadratic, 60),
    Link("T2", "write", "objective.write, token_gradient Diag(d)", token_laws.draw_token, key_scaling),
    Link("T3", "residual ratio", "objective.residual_ratio", token_laws.draw_token, residual_ratio),
    Link("T4", "surrogate", "objective.surrogate, hypergradient", token_laws.draw_token, surrogate),
    Link("T4", "calibrate step", "preconditioner.calibrate_step", draw_step, calibrate_step),
)  # fmt: skip
