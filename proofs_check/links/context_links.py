"""T9, T10: the context of `osdn_theory`, its steps and bounds, against the exact context laws.

The solver behind the bounds runs in exact rationals and is compared exactly. The float64 functions go through
singular values: see `bridge.by_condition`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from flint import fmpq

from osdn_theory import symbolic
from osdn_theory.bounds.numbers import Rationals
from osdn_theory.bounds.statements import context
from osdn_theory.context import newton, newton_bounds
from osdn_theory.context.problem import Form
from proofs_check.exact import context_laws, linear as la
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance
from proofs_check.links.bound_links import logarithm
from proofs_check.links.bridge import by_condition, floats, symbolic_value
from proofs_check.links.link import Agreement, Link, numbers
from proofs_check.links.token_links import NAMES, draw_regular_context

RATIO = symbolic.context_ratio(NAMES.S, NAMES.P, NAMES.keys)
RATIO_GRADIENT = symbolic.context_ratio_gradient(NAMES.S, NAMES.P, NAMES.keys)
DIAGONAL_GRADIENT = symbolic.context_ratio_gradient(NAMES.S, NAMES.d, NAMES.keys, diagonal=True)


def draw_ratio(draw: Draw) -> Instance:
    """A regular context, a state that is no minimiser, a preconditioner in full and its diagonal."""
    x = draw_regular_context(draw)
    n = len(x.keys[0])
    x.gram, x.p = la.gram(x.keys), draw.matrix(n, n, fmpq(-1, 2), fmpq(1, 2))
    x.error = la.msub(x.state, x.minimizer)
    while context_laws.energy(x.error, x.gram) == 0:
        x.state = draw.matrix(len(x.state), n)
        x.error = la.msub(x.state, x.minimizer)
    return x


def scale_of(x: Instance) -> Any:
    """What the rounding of a ratio scales with: cancellation in E = S - S*, and the size of I - G P."""
    start = sum(a * a for a in la.flat(x.state) + la.flat(x.minimizer))
    steps = 1 + la.trace(x.gram) * max(map(abs, la.flat(x.p)))
    return start * la.trace(x.gram) / context_laws.energy(x.error, x.gram) * steps**2


def ratio(x: Instance) -> Iterator[Agreement]:
    """context_ratio, context_hypergradient and context_hessian, and SymPy's ratio and derivative."""
    arrays = floats(x.keys), floats(x.values)
    state, slack, trace = floats(x.state), by_condition(arrays[0]) * scale_of(x), 1 + la.trace(x.gram)
    diagonal = [row[i] for i, row in enumerate(x.p)]
    forms: list[tuple[Form, Any]] = [("full", x.p), ("diagonal", diagonal)]
    for form, p in forms:
        found = newton.context_ratio(state, floats(p), *arrays, form=form)
        yield from numbers(f"{form} context_ratio", found, context_laws.ratio(x.error, x.gram, p), slack)
        found = newton.context_hypergradient(state, floats(p), *arrays, form=form)
        expected = context_laws.ratio_gradient(x.error, x.gram, p)
        yield from numbers(f"{form} context_hypergradient", found, expected, slack * trace)
    yield from numbers(
        "context_hessian", newton.context_hessian(state, *arrays), hessian(x), slack * trace**2
    )
    sizes = {"V": len(x.state), "K": len(x.p), "T": len(x.keys)}
    values = {"S": x.error, "K_rows": x.keys, "P": x.p, "d": diagonal}
    for name, expression, expected in (
        ("context_ratio", RATIO, context_laws.ratio(x.error, x.gram, x.p)),
        ("context_ratio_gradient", RATIO_GRADIENT, context_laws.ratio_gradient(x.error, x.gram, x.p)),
        ("diagonal gradient", DIAGONAL_GRADIENT, context_laws.ratio_gradient(x.error, x.gram, diagonal)),
    ):
        yield from numbers(f"symbolic {name}", symbolic_value(expression, sizes, **values), expected)


def hessian(x: Instance) -> la.Matrix:
    """2 (g^T g o G) / tr(E G E^T)."""
    g = la.matmul(x.error, x.gram)
    both = [la.had(a, b) for a, b in zip(la.matmul(la.transpose(g), g), x.gram, strict=True)]
    return la.mscale(2 / context_laws.energy(x.error, x.gram), both)


def draw_newton(draw: Draw) -> Instance:
    """A regular context from S_1 = 0 with S* not zero, its L, a start, a form; orthogonal keys for diagonal P."""
    form = draw.rng.choice(("full", "diagonal", "agnostic"))
    x = draw_regular_context(draw)
    n = len(x.keys[0])
    if form == "diagonal":
        sizes = [draw.choice(fmpq(1, 2), 1, 2) for _ in range(n)]
        x.keys, x.values = la.diagonal(sizes), draw.matrix(n, len(x.values[0]))
    while not any(la.flat(x.values)):
        x.values = draw.matrix(len(x.keys), len(x.values[0]))
    x.gram = la.gram(x.keys)
    moments = la.matmul(la.transpose(x.values), x.keys)
    x.error = la.mscale(-1, la.matmul(moments, la.inverse(x.gram)))
    while context_laws.energy(x.error, x.gram) == 0:
        return draw_newton(draw)
    x.form, x.largest = form, la.trace(x.gram)
    x.begin, x.comparator = draw.number(fmpq(1, 16), fmpq(1, 2)), draw.vector(n, 0, 1)
    x.steps = 1 if draw.kind == "single" else 3
    return x


def exact_law(x: Instance) -> Instance:
    """The instance as the context laws have it."""
    n = len(x.gram)
    y = Instance(**vars(x))
    y.p = [x.begin] * n if x.form != "full" else la.diagonal([x.begin] * n)
    y.newton = la.inverse(x.gram)
    if x.form == "diagonal":
        y.newton = [y.newton[i][i] for i in range(n)]
    y.u = x.comparator
    y.eta = 1 / ((4 if x.form == "agnostic" else 2) * x.largest**2)
    return y


def solver(x: Instance) -> Iterator[Agreement]:
    """ContextSolver in exact rationals: ratios, and both sides of every bound."""
    y, field = exact_law(x), Rationals()
    problem = context.ContextProblem(floats(x.keys), floats(x.values), floats(x.largest), floats(x.begin))
    with field.working():
        own = context.ContextSolver(problem, field)
        run = own.run(x.form, x.steps, floats(x.comparator))
        sides = context._sides(run, x.form)
    ratios, errors = context_laws.run(y, x.steps)
    yield from numbers("rho", run.ratios, ratios)
    law = context_laws.against_diagonal(y) if x.form == "agnostic" else context_laws.against_newton(y)
    relations = {relation.name: relation for relation in law}
    total = relations["convex form" if x.form == "agnostic" else "sum rho_j"]
    yield Agreement("sum of rho", sides[0].lhs, total.lhs)
    yield Agreement("its bound", sides[0].rhs, total.rhs)
    if x.form == "agnostic":
        return
    decay, start = relations["F(S_{T+1}) - F*"], context_laws.energy(errors[0], x.gram)
    yield Agreement("log prod rho", sides[1].lhs, logarithm(decay.lhs / start))
    yield Agreement("log of its bound", sides[1].rhs, logarithm(decay.rhs / start))


def iterates(x: Instance) -> Iterator[Agreement]:
    """newton.context_osdn and newton_bounds.vacuous_until in float64."""
    y = exact_law(x)
    form: Form = "full" if x.form == "full" else "diagonal"
    run = newton.context_osdn(
        floats(x.keys), floats(x.values), steps=1, form=form, smoothness=floats(x.largest),
        initial_preconditioner=floats(y.p))  # fmt: skip
    y.eta = 1 / (2 * x.largest**2)
    ratios, _ = context_laws.run(y, 1)
    slack = by_condition(floats(x.keys)) * (1 + la.trace(x.gram) * x.begin) ** 2
    yield from numbers("rho_1", run.ratios, ratios, slack)
    gradient = context_laws.ratio_gradient(x.error, x.gram, y.p)
    moved = context_laws.moved(y.p, gradient, -y.eta)
    yield from numbers("P_2", run.preconditioners[1], moved, slack * (1 + la.trace(x.gram)))
    if x.form == "agnostic" and not is_diagonal(x.gram):
        yield Agreement(
            "no bound for diagonal P and general G", int(np.isnan(newton_bounds.vacuous_until(run))), 1
        )
        return
    y.newton = la.inverse(x.gram)
    if form == "diagonal":
        y.newton = [row[i] for i, row in enumerate(y.newton)]
    budget = context_laws.newton_budget(y)
    # P* is off by its own size at most, so |P_1 - P*|^2 by twice the sum of squares.
    entries = [*context_laws.entries(y.p), *context_laws.entries(y.newton)]
    slack = by_condition(floats(x.keys)) * 2 * x.largest**2 * la.norm_sq(entries)
    yield from numbers("vacuous_until", newton_bounds.vacuous_until(run), budget, slack)


def is_diagonal(g: la.Matrix) -> bool:
    """Whether every other entry is zero."""
    return all(a == 0 for i, row in enumerate(g) for j, a in enumerate(row) if i != j)


LINKS = (
    Link("T9", "context ratio", "newton.context_ratio, context_hypergradient, context_hessian", draw_ratio, ratio, 60),
    Link("T10", "context bounds", "bounds.context.ContextSolver and its sides", draw_newton, solver, 90),
    Link("T10", "context run", "newton.context_osdn, newton_bounds.vacuous_until", draw_newton, iterates, 90),
)  # fmt: skip
