"""T1, T2, T3, T4: `osdn_theory.objective` and the calibrate step, against the exact rules and the SymPy objects."""

from collections.abc import Callable
from typing import Any

import numpy as np
from flint import fmpq

from osdn_theory import objective, symbolic
from osdn_theory.recurrence import calibrate as preconditioner
from proofs_check.exact import rules
from proofs_check.exact.draw import Draw, Instance, varied
from proofs_check.exact.laws.context import ContextInstance
from proofs_check.exact.laws.run.scan import draw_step
from proofs_check.exact.laws.token import TokenInstance, draw_token
from proofs_check.links.bridge import by_condition, floats, rule_of, sized
from proofs_check.links.link import Link, Pairs
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


def both(x: Instance, name: str, found: Any, exact: Callable[[Any], Any]) -> Pairs:
    """What the code finds and SymPy's expression at a token, against the exact rule; s is its own, no key's square."""
    known = {name: getattr(x, name) for name in ("k", "v", "d", "beta", "s", "eta")}
    yield name, found, exact(sized(x))
    yield f"symbolic {name}", symbolic_value(TOKEN[name], S=x.S0, V=x.p, K=x.n, **known), exact(x)


def arrays_of(x: Instance) -> tuple[Any, Any, Any]:
    """S, the keys, the values."""
    return floats(x.S0), floats(x.k), floats(x.v)


def token_quadratic(x: TokenInstance) -> Pairs:
    """Loss and gradient of a token."""
    yield from both(x, "loss", objective.token_loss(*arrays_of(x)), lambda x: x.loss(x.S0))
    yield from both(x, "gradient", objective.token_gradient(*arrays_of(x)), lambda x: x.gradient)


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


def context_quadratic(x: ContextInstance) -> Pairs:
    """Loss, gradient, Gram matrix, minimiser and suboptimality of a context."""
    y, arrays = sized(x), arrays_of(x)
    yield "context_loss", objective.context_loss(*arrays), y.loss(y.S0)
    gradient = objective.context_gradient(*arrays)
    yield "context_gradient", gradient, y.gradient(y.S0)
    yield "gram", objective.gram(arrays[1]), y.gram
    error, g = x.error, x.gram
    gap, size, slack = x.energy(error) / 2, 1 + abs(x.Sstar).max(), by_condition(arrays[1])
    yield "context_minimizer", objective.context_minimizer(*arrays[1:]), x.Sstar, slack * size
    # The gap is quadratic in the minimiser: its error enters twice, times what it is multiplied with.
    scale = (size + abs(x.S0).max()) ** 2 * np.trace(g) * x.p
    yield "suboptimality", objective.suboptimality(*arrays), gap, slack * scale
    expected = {"loss": x.loss(x.S0), "gradient": error @ g, "gram": g, "right Hessian": g,
                "Newton step": x.Sstar}  # fmt: skip
    values = {"V": x.p, "K": x.n, "T": x.m, "S": x.S0, "K_rows": x.k, "V_rows": x.v}
    for name, expression in CONTEXT.items():
        yield f"symbolic {name}", symbolic_value(expression, **values), expected[name]
    found = symbolic_value(symbolic.context_gap(NAMES.S, NAMES.keys), **{**values, "S": error})
    yield "symbolic context_gap", found, 2 * gap


def key_scaling(x: TokenInstance) -> Pairs:
    """The write, and the gradient times Diag(d)."""
    y, d, arrays = sized(x), floats(x.d), arrays_of(x)
    yield from both(x, "write", objective.write(*arrays, d, floats(x.beta)), lambda x: x.written)
    right = np.outer(y.S0 @ y.k - y.v, y.d * y.k)
    yield "token_gradient Diag(d)", objective.token_gradient(*arrays) * d, right


def residual_ratio(x: TokenInstance) -> Pairs:
    """(1 - beta a)^2."""
    y = sized(Instance(a=x.a, beta=x.beta))  # a of few bits: still a float64 number
    found = objective.residual_ratio(floats(x.a), floats(x.beta))
    yield "residual_ratio", found, (1 - y.beta * y.a) ** 2
    yield "symbolic ratio", symbolic_value(TOKEN["ratio"], K=x.n, k=x.k, d=x.d, beta=x.beta), x.kept**2


def surrogate(x: TokenInstance) -> Pairs:
    """l(d) and its gradient."""
    arrays = floats(x.d), floats(x.s)
    yield from both(x, "surrogate", objective.surrogate(*arrays), lambda x: rules.surrogate(x.d, x.s))
    yield from both(x, "hypergradient", objective.hypergradient(*arrays), lambda x: x.slope)


def calibrate_step(x: Instance) -> Pairs:
    """One step with forgetting, weight and anchor, projected; and without forgetting."""
    arrays, rule = (floats(x.d), floats(x.s), np.float64(floats(x.w))), rule_of(x)
    plain = x.but(gamma=fmpq(1), c=0 * x.c)
    for name, at, gamma in (("", x, np.float64(floats(x.gamma))), (", no forgetting", plain, None)):
        found, y = preconditioner.calibrate_step(*arrays, gamma, floats(x.c), rule), sized(at)
        yield f"calibrate_step{name}", found, rules.clip(y.step, y.lo, y.hi)
    known = {name: getattr(x, name) for name in ("d", "s", "c", "eta", "gamma", "w")}
    yield "symbolic calibrate_step", symbolic_value(TOKEN["step"], K=x.n, **known), x.step


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
