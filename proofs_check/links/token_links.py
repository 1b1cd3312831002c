"""T1, T2, T3, T4: `osdn_theory.objective` and the calibrate step, against the exact rules and the SymPy objects."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from flint import fmpq

from osdn_theory import objective, symbolic
from osdn_theory.recurrence import calibrate as preconditioner
from proofs_check.exact import rules
from proofs_check.exact.draw import Draw, Instance, varied
from proofs_check.exact.laws.context import ContextInstance
from proofs_check.exact.laws.run.scan import draw_step
from proofs_check.exact.laws.token import draw_token
from proofs_check.links.bridge import by_condition, floats, rule_of, sized
from proofs_check.links.link import CodeNumber, Link, numbers
from proofs_check.links.sympy_values import symbolic_value

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


def of_token(name: str, x: Instance) -> object:
    """SymPy's expression at a token; s is its own, not its key's square."""
    known = {name: getattr(x, name) for name in ("k", "v", "d", "beta", "s", "c", "eta") if hasattr(x, name)}
    extra = {"S": x.S0, "V": x.p, "K": x.n} if hasattr(x, "S0") else {"K": x.n, "gamma": x.gamma, "w": x.w}
    return symbolic_value(TOKEN[name], **known, **extra)


def token_quadratic(x: Instance) -> Iterator[CodeNumber]:
    """Loss and gradient of a token."""
    y, arrays = sized(x), (floats(x.S0), floats(x.k), floats(x.v))
    yield from numbers("token_loss", objective.token_loss(*arrays), rules.token_loss(y.S0, y.k, y.v))
    yield from numbers(
        "token_gradient", objective.token_gradient(*arrays), rules.token_gradient(y.S0, y.k, y.v)
    )
    yield from numbers("symbolic token_loss", of_token("loss", x), rules.token_loss(x.S0, x.k, x.v))
    yield from numbers(
        "symbolic token_gradient", of_token("gradient", x), rules.token_gradient(x.S0, x.k, x.v)
    )


def draw_regular_context(draw: Draw) -> ContextInstance:
    """A context of any keys whose Gram matrix is invertible and not too close to a singular one."""
    n, p = draw.key_dim(3), draw.value_dim()
    kind = Draw(draw.rng, "random" if draw.kind == "single" else draw.kind, draw.dyadic)
    for _ in range(1000):
        count = kind.integer(n, n + 2)
        keys, values = kind.keys(count, n), kind.vectors(count, p)
        x = ContextInstance(n=n, p=p, m=count, k=keys, v=values, S0=kind.matrix(p, n))
        near = floats(x.k)
        if np.linalg.matrix_rank(near) == n and np.linalg.cond(near) < 100:
            return x.but(Sstar=x.minimiser)
    raise RuntimeError("no regular context in a thousand draws")


def context_quadratic(x: ContextInstance) -> Iterator[CodeNumber]:
    """Loss, gradient, Gram matrix, minimiser and suboptimality of a context."""
    y, arrays = sized(x), (floats(x.S0), floats(x.k), floats(x.v))
    yield from numbers("context_loss", objective.context_loss(*arrays), y.loss(y.S0))
    gradient = objective.context_gradient(*arrays)
    yield from numbers("context_gradient", gradient, y.gradient(y.S0))
    yield from numbers("gram", objective.gram(arrays[1]), y.gram)
    error, g = x.error, x.gram
    gap, size, slack = x.energy(error) / 2, 1 + abs(x.Sstar).max(), by_condition(arrays[1])
    yield from numbers("context_minimizer", objective.context_minimizer(*arrays[1:]), x.Sstar, slack * size)
    # The gap is quadratic in the minimiser: its error enters twice, times what it is multiplied with.
    scale = (size + abs(x.S0).max()) ** 2 * np.trace(g) * x.p
    yield from numbers("suboptimality", objective.suboptimality(*arrays), gap, slack * scale)
    expected = {"loss": x.loss(x.S0), "gradient": error @ g, "gram": g, "right Hessian": g,
                "Newton step": x.Sstar}  # fmt: skip
    values = {"V": x.p, "K": x.n, "T": x.m, "S": x.S0, "K_rows": x.k, "V_rows": x.v}
    for name, expression in CONTEXT.items():
        yield from numbers(f"symbolic {name}", symbolic_value(expression, **values), expected[name])
    found = symbolic_value(symbolic.context_gap(NAMES.S, NAMES.keys), **{**values, "S": error})
    yield from numbers("symbolic context_gap", found, 2 * gap)


def key_scaling(x: Instance) -> Iterator[CodeNumber]:
    """The write, and the gradient times Diag(d)."""
    y, d, arrays = sized(x), floats(x.d), (floats(x.S0), floats(x.k), floats(x.v))
    expected = rules.write(y.S0, y.k, y.v, y.d, y.beta)
    yield from numbers("write", objective.write(*arrays, d, floats(x.beta)), expected)
    right = np.outer(y.S0 @ y.k - y.v, y.d * y.k)
    yield from numbers("token_gradient Diag(d)", objective.token_gradient(*arrays) * d, right)
    yield from numbers("symbolic write", of_token("write", x), rules.write(x.S0, x.k, x.v, x.d, x.beta))


def residual_ratio(x: Instance) -> Iterator[CodeNumber]:
    """(1 - beta a)^2."""
    a = rules.alignment(x.d, x.k)
    y = sized(Instance(a=a, beta=x.beta))  # a of few bits: still a float64 number
    found = objective.residual_ratio(floats(a), floats(x.beta))
    yield from numbers("residual_ratio", found, (1 - y.beta * y.a) ** 2)
    yield from numbers("symbolic residual_ratio", of_token("ratio", x), (1 - x.beta * a) ** 2)


def surrogate(x: Instance) -> Iterator[CodeNumber]:
    """l(d) and its gradient."""
    y, arrays = sized(x), (floats(x.d), floats(x.s))
    yield from numbers("surrogate", objective.surrogate(*arrays), rules.surrogate(y.d, y.s))
    yield from numbers("hypergradient", objective.hypergradient(*arrays), rules.surrogate_gradient(y.d, y.s))
    yield from numbers("symbolic surrogate", of_token("surrogate", x), rules.surrogate(x.d, x.s))
    yield from numbers(
        "symbolic hypergradient", of_token("hypergradient", x), rules.surrogate_gradient(x.d, x.s)
    )


def calibrate_step(x: Instance) -> Iterator[CodeNumber]:
    """One step with forgetting, weight and anchor, projected; and without forgetting."""
    y, rule = sized(x), rule_of(x)
    arrays = floats(x.d), floats(x.s), np.float64(floats(x.w))
    for name, own, gamma, anchor in (
        ("", y.gamma, np.float64(floats(x.gamma)), y.c),
        (", no forgetting", 1, None, 0 * y.c),
    ):
        step = rules.moved(y.eta, y.w, own, anchor, y.d, y.s)
        found = preconditioner.calibrate_step(*arrays, gamma, floats(x.c), rule)
        yield from numbers(f"calibrate_step{name}", found, rules.clip(step, y.lo, y.hi))
    yield from numbers("symbolic calibrate_step", of_token("step", x),
                       rules.moved(x.eta, x.w, x.gamma, x.c, x.d, x.s))  # fmt: skip


draw_one_step = varied(
    draw_step, gamma=lambda draw, x: fmpq(1) if draw.kind == "single" else x.gamma, k=lambda draw, x: x.k[0]
)
"""A calibrate step, for "single" without forgetting."""

LINKS = (
    Link("T1", "token objective", "objective.token_loss, token_gradient", draw_token, token_quadratic),
    Link("T1", "context objective", "objective.context_loss, context_gradient, gram, context_minimizer, "
         "suboptimality", draw_regular_context, context_quadratic, 60),
    Link("T2", "write", "objective.write, token_gradient Diag(d)", draw_token, key_scaling),
    Link("T3", "residual ratio", "objective.residual_ratio", draw_token, residual_ratio),
    Link("T4", "surrogate", "objective.surrogate, hypergradient", draw_token, surrogate),
    Link("T4", "calibrate step", "preconditioner.calibrate_step", draw_one_step, calibrate_step),
)  # fmt: skip
