"""T10: gradient steps on the ratio of a context step, against the best fixed preconditioner and Newton's."""

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, varied
from proofs_check.exact.law import register
from proofs_check.exact.laws.context import ContextInstance, draw_context
from proofs_check.exact.numbers import Array, Number, diagonal, inverse, root
from proofs_check.exact.propositions import Proposition, eq, invertible, le, lt
from proofs_check.exact.rules import frob_sq, sq

DIAGONAL, FULL = "diagonal", "full"


def run(x: ContextInstance, p: Array, eta: Number) -> tuple[list[Number], list[Array]]:
    """Context steps with P_j and gradient steps on rho from there: P in full, or a vector for the diagonal.

    It gives rho_1 ... rho_T, and the errors S_j - S* for j = 1 ... T + 1.
    """
    error, ratios, errors = x.error, [], [x.error]
    for _ in range(x.T):
        whole = diagonal(p) if p.ndim == 1 else p
        change = x.ratio_gradient(error, whole)
        ratios.append(x.ratio(error, whole))
        error = x.step(error, whole)
        errors.append(error)
        p = p - eta * (np.diag(change) if p.ndim == 1 else change)
    return ratios, errors


def bounded_sum(
    x: ContextInstance, ratios: list[Number], bound: Number, *premises: Proposition
) -> Proposition:
    """sum of rho_j <= a bound."""
    return x.bounded(*premises, le(sum(ratios), bound))


def bounded_decay(
    x: ContextInstance, errors: list[Array], bound: Number, *premises: Proposition
) -> Proposition:
    """F(S_{T+1}) - F* <= (F(S_1) - F*) (bound / T)^T."""
    left = x.energy(errors[0]) / 2 * (bound / x.T) ** x.T
    return x.bounded(*premises, le(x.energy(errors[-1]) / 2, left))


def against_fixed(x: ContextInstance, form: str) -> tuple[Number, Number, list[Number], list[Array]]:
    """A = sum of rho_j(U), B = |P_1 - U|^2 / (2 eta), and the run."""
    start, fixed = (x.d, x.u) if form == DIAGONAL else (x.P, x.U)
    ratios, errors = run(x, start, x.eta)
    whole = diagonal(fixed) if form == DIAGONAL else fixed
    a = sum((x.ratio(error, whole) for error in errors[:-1]), fmpq(0))
    return a, sq((start - fixed).ravel()) / (2 * x.eta), ratios, errors


def agnostic(x: ContextInstance, form: str, *, decay: bool = False) -> Proposition:
    """The bound (A + B) / (1 - 2 eta L^2), or the decay that follows."""
    a, b, ratios, errors = against_fixed(x, form)
    bound, steps = (a + b) / (1 - 2 * x.eta * x.L**2), (lt(0, x.eta), lt(2 * x.eta * x.L**2, 1))
    return bounded_decay(x, errors, bound, *steps) if decay else bounded_sum(x, ratios, bound, *steps)


def agnostic_quadratic(x: ContextInstance, form: str) -> Proposition:
    """The bound ((sqrt A + sqrt(A + mu B)) / mu)^2 with mu = 2 - 2 eta L^2."""
    a, b, ratios, _ = against_fixed(x, form)
    mu = 2 - 2 * x.eta * x.L**2
    bound = ((root(a) + root(a + mu * b)) / mu) ** 2
    return bounded_sum(x, ratios, bound, lt(0, x.eta), lt(x.eta * x.L**2, 1))


register(
    varied(draw_context, eta=lambda draw, x: x.eta / 2),
    T10_diagonal_agnostic=lambda x: agnostic(x, DIAGONAL),
    T10_full_agnostic=lambda x: agnostic(x, FULL),
    T10_diagonal_agnostic_product=lambda x: agnostic(x, DIAGONAL, decay=True),
)
register(
    draw_context,
    T10_diagonal_agnostic_quadratic=lambda x: agnostic_quadratic(x, DIAGONAL),
    T10_full_agnostic_quadratic=lambda x: agnostic_quadratic(x, FULL),
)


def draw_diagonal(draw: Draw) -> ContextInstance:
    """G = Diag(h), d near 1/h, and the step 1/(2 L^2) where it is not "limit"."""
    x = draw_context(draw, diagonal_gram=True)
    return x.but(d=1 / x.h + draw.vector(x.n, fmpq(-1, 2), fmpq(1, 2)))


def draw_full(draw: Draw) -> ContextInstance:
    """U = G^-1 and P near it; for "single" U inverts a singular G on its range only."""
    x = draw_context(draw)
    key = x.k[0]
    x.U = np.outer(key, key) / sq(key) ** 2 if x.m < x.n else inverse(x.gram)
    return x.but(P=x.U + draw.matrix(x.n, x.n, fmpq(-1, 2), fmpq(1, 2)))


def draw_invertible(draw: Draw) -> ContextInstance:
    return draw_full(draw.plain() if draw.kind == "single" else draw)


def is_diagonal(x: ContextInstance) -> Proposition:
    return eq(x.gram, diagonal(x.h))


def inverts(x: ContextInstance) -> Proposition:
    return eq(x.gram @ x.U @ x.gram, x.gram)


def is_invertible(x: ContextInstance) -> Proposition:
    return invertible(x.gram)


def half_step(x: ContextInstance) -> Number:
    """1 / (2 L^2)."""
    return 1 / (2 * x.L**2)


def newton_start(x: ContextInstance, form: str) -> tuple[Array, Number]:
    """P_1 and |P_1 - P*|^2."""
    return (x.d, sq(x.d - 1 / x.h)) if form == DIAGONAL else (x.P, frob_sq(x.P - x.U))


def newton_sum(x: ContextInstance, form: str, newton: Proposition) -> Proposition:
    """The bound |P_1 - P*|^2 / (4 eta (1 - eta L^2))."""
    start, off = newton_start(x, form)
    bound = off / (4 * x.eta * (1 - x.eta * x.L**2))
    return bounded_sum(x, run(x, start, x.eta)[0], bound, newton, lt(0, x.eta), lt(x.eta * x.L**2, 1))


def half_step_sum(x: ContextInstance, form: str, newton: Proposition) -> Proposition:
    """The bound L^2 |P_1 - P*|^2 at eta = 1/(2 L^2)."""
    start, off = newton_start(x, form)
    return bounded_sum(x, run(x, start, half_step(x))[0], x.L**2 * off, newton, lt(0, x.L))


def newton_product(x: ContextInstance, form: str, newton: Proposition) -> Proposition:
    """The decay that follows from it."""
    start, off = newton_start(x, form)
    return bounded_decay(x, run(x, start, half_step(x))[1], x.L**2 * off, newton, lt(0, x.L))


register(
    draw_diagonal,
    T10_diagonal_ratio_sum=lambda x: newton_sum(x, DIAGONAL, is_diagonal(x)),
    T10_diagonal_ratio_sum_half_step=lambda x: half_step_sum(x, DIAGONAL, is_diagonal(x)),
    T10_diagonal_super_geometric=lambda x: newton_product(x, DIAGONAL, is_diagonal(x)),
)
register(
    draw_full,
    T10_full_ratio_sum=lambda x: newton_sum(x, FULL, inverts(x)),
    T10_full_ratio_sum_half_step=lambda x: half_step_sum(x, FULL, inverts(x)),
    T10_full_super_geometric_pseudo=lambda x: newton_product(x, FULL, inverts(x)),
)
register(draw_invertible, T10_full_super_geometric=lambda x: newton_product(x, FULL, is_invertible(x)))
register(
    draw_invertible,
    double="U",
    T10_newton_ratio_is_zero=lambda x: x.normal(is_invertible(x), eq(x.rho(x.U), 0)),
)
register(
    draw_full, double="U", T10_pseudo_newton_ratio_is_zero=lambda x: x.normal(inverts(x), eq(x.rho(x.U), 0))
)
