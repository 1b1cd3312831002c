"""T9, T10: the context of `osdn_theory`, its steps and bounds, against the exact context laws.

The solver behind the bounds runs in exact rationals and is compared exactly. The float64 functions go through
singular values: see `bridge.by_condition`.
"""

from typing import Any

import numpy as np
from flint import fmpq

from osdn_theory import symbolic
from osdn_theory.bounds.numbers import Rationals
from osdn_theory.bounds.statements import context
from osdn_theory.context import newton, newton_bounds
from osdn_theory.context.problem import Form
from proofs_check.exact.draw import Draw
from proofs_check.exact.laws.context import ContextInstance
from proofs_check.exact.laws.newton import half_step, run as newton_run
from proofs_check.exact.numbers import Array, array, diagonal, identity, inverse, vector
from proofs_check.exact.rules import sq
from proofs_check.links.bound_links import conclusion, logarithm
from proofs_check.links.bridge import by_condition, floats
from proofs_check.links.link import Link, Pairs
from proofs_check.links.sympy_values import symbolic_value
from proofs_check.links.token_links import NAMES, draw_regular_context

RATIO = symbolic.context_ratio(NAMES.S, NAMES.P, NAMES.keys)
RATIO_GRADIENT = symbolic.context_ratio_gradient(NAMES.S, NAMES.P, NAMES.keys)
DIAGONAL_GRADIENT = symbolic.context_ratio_gradient(NAMES.S, NAMES.d, NAMES.keys, diagonal=True)


def draw_ratio(draw: Draw) -> ContextInstance:
    """A regular context, a state that is no minimiser, a preconditioner in full and its diagonal."""
    x = draw_regular_context(draw)
    x.P = draw.matrix(x.n, x.n, fmpq(-1, 2), fmpq(1, 2))
    while x.energy(x.error) == 0:
        x.S0 = draw.matrix(x.p, x.n)
    return x


def scale_of(x: ContextInstance) -> Any:
    """What the rounding of a ratio scales with: cancellation in E = S - S*, and the size of I - G P."""
    start, trace = sq(x.S0.ravel()) + sq(x.Sstar.ravel()), np.trace(x.gram)
    return start * trace / x.energy(x.error) * (1 + trace * abs(x.P).max()) ** 2


def ratio(x: ContextInstance) -> Pairs:
    """context_ratio, context_hypergradient and context_hessian, and SymPy's ratio and derivative."""
    arrays, state, error = (floats(x.k), floats(x.v)), floats(x.S0), x.error
    slack, trace, d = by_condition(arrays[0]) * scale_of(x), 1 + np.trace(x.gram), np.diag(x.P)
    slopes = {"full": x.slope(x.P),
              "diagonal": np.diag(x.slope(diagonal(d)))}  # fmt: skip
    forms: list[tuple[Form, Array, Array]] = [("full", x.P, x.P), ("diagonal", d, diagonal(d))]
    for form, p, whole in forms:
        found = newton.context_ratio(state, floats(p), *arrays, form=form)
        yield f"{form} context_ratio", found, x.rho(whole), slack
        slope = newton.context_hypergradient(state, floats(p), *arrays, form=form)
        yield f"{form} context_hypergradient", slope, slopes[form], slack * trace
    bend = newton.context_hessian(state, *arrays)
    yield "context_hessian", bend, x.hessian(error), slack * trace**2
    values = {"V": x.p, "K": x.n, "T": x.m, "S": error, "K_rows": x.k, "P": x.P, "d": d}
    for name, expression, expected in (
        ("context_ratio", RATIO, x.rho(x.P)),
        ("context_ratio_gradient", RATIO_GRADIENT, slopes["full"]),
        ("diagonal gradient", DIAGONAL_GRADIENT, slopes["diagonal"]),
    ):
        yield f"symbolic {name}", symbolic_value(expression, **values), expected


def draw_newton(draw: Draw) -> ContextInstance:
    """A regular context from S_1 = 0 with S* not zero, its L, a start, a form; orthogonal keys for diagonal P."""
    x = draw_regular_context(draw)
    x.form = draw.rng.choice(("full", "diagonal", "agnostic"))
    if x.form == "diagonal":
        x.h = array([draw.choice(fmpq(1, 2), 1, 2) for _ in range(x.n)])
        x.k, x.m, x.v = list(diagonal(x.h)), x.n, draw.vectors(x.n, x.p)
        x.h = x.h**2
    x.S0, x.Sstar = 0 * x.S0, x.minimiser
    if x.energy(x.error) == 0:
        return draw_newton(draw)
    g = x.gram
    x.L, x.begin, x.u = np.trace(g), draw.number(fmpq(1, 16), fmpq(1, 2)), draw.vector(x.n, 0, 1)
    x.T = 1 if draw.kind == "single" else 3
    x.d, x.P, x.U = vector(x.n, x.begin), x.begin * identity(x.n), inverse(g)
    x.eta, x.domains = 1 / ((4 if x.form == "agnostic" else 2) * x.L**2), {"x": []}
    return x


def start_of(x: ContextInstance) -> Array:
    """P_1 in full, or the vector of its diagonal."""
    return x.P if x.form == "full" else x.d


LAWS_OF = {
    "agnostic": ["T10_diagonal_agnostic"],
    "full": ["T10_full_ratio_sum", "T10_full_super_geometric"],
    "diagonal": ["T10_diagonal_ratio_sum", "T10_diagonal_super_geometric"],
}
"""Form -> the sum of ratios, and but for the agnostic form the decay of F."""


def solver(x: ContextInstance) -> Pairs:
    """ContextSolver in exact rationals: ratios, and both sides of every bound."""
    field = Rationals()
    problem = context.ContextProblem(floats(x.k), floats(x.v), floats(x.L), floats(x.begin))
    with field.working():
        own = context.ContextSolver(problem, field)
        run = own.run(x.form, x.T, floats(x.u))
        sides = context._sides(run, x.form)
    ratios, errors = newton_run(x, start_of(x), x.eta)
    compared, count = [conclusion(law, x) for law in LAWS_OF[x.form]], len(run.ratios)
    yield "rho", run.ratios, ratios[:count]
    yield "sum of rho", sides[0].lhs, compared[0].lhs
    yield "its bound", sides[0].rhs, compared[0].rhs
    if x.form == "agnostic":
        return
    start = x.energy(errors[0]) / 2
    yield "log prod rho", sides[1].lhs, logarithm(compared[1].lhs / start)
    if count == x.T:  # the code stops where nothing is left to converge
        yield "log of its bound", sides[1].rhs, logarithm(compared[1].rhs / start)


def iterates(x: ContextInstance) -> Pairs:
    """newton.context_osdn and newton_bounds.vacuous_until in float64."""
    form: Form = "full" if x.form == "full" else "diagonal"
    run = newton.context_osdn(
        floats(x.k), floats(x.v), steps=1, form=form, smoothness=floats(x.L),
        initial_preconditioner=floats(start_of(x)))  # fmt: skip
    g, step = x.gram, half_step(x)
    slack = by_condition(floats(x.k)) * (1 + np.trace(g) * x.begin) ** 2
    yield "rho_1", run.ratios, [x.rho(x.P)], slack
    slope = x.slope(x.P)
    moved = start_of(x) - step * (slope if form == "full" else np.diag(slope))
    yield "P_2", run.preconditioners[1], moved, slack * (1 + np.trace(g))
    until = newton_bounds.vacuous_until(run)
    if x.form == "agnostic" and any(a != 0 for a in (g - diagonal(np.diag(g))).ravel()):
        yield "no bound for diagonal P and general G", int(np.isnan(until)), 1
        return
    newton_p = x.U if form == "full" else np.diag(x.U)
    budget = x.L**2 * sq((start_of(x) - newton_p).ravel())
    # P* is off by its own size at most, so |P_1 - P*|^2 by twice the sum of squares.
    size = sq(start_of(x).ravel()) + sq(newton_p.ravel())
    yield "vacuous_until", until, budget, by_condition(floats(x.k)) * 2 * x.L**2 * size


LINKS = (
    Link("T9", "context ratio", "newton.context_ratio, context_hypergradient, context_hessian", draw_ratio, ratio, 60),
    Link("T10", "context bounds", "bounds.context.ContextSolver and its sides", draw_newton, solver, 90),
    Link("T10", "context run", "newton.context_osdn, newton_bounds.vacuous_until", draw_newton, iterates, 90),
)  # fmt: skip
