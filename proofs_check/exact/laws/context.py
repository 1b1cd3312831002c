"""T1, T9 and T10 on a whole context: the quadratic, the ratio of a step, and gradient steps on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.law import law
from proofs_check.exact.numbers import Array, Number, array, diagonal, identity, inverse, root, solve
from proofs_check.exact.propositions import Compares, Iff, Proposition, eq, implies, le, lt
from proofs_check.exact.rules import frob_sq, inner, sq, token_gradient, token_loss


def draw_context(draw: Draw, *, diagonal_gram: bool = False) -> Instance:
    """Keys along rational eigenvectors, one twice, so that F* > 0; for "single" a single key, unless diagonal."""
    n, p = draw.key_dim(3), draw.value_dim()
    sizes = [draw.choice(fmpq(1, 2), 1, 2, fmpq(5, 3)) for _ in range(n)]
    axes = identity(n) if diagonal_gram else draw.orthogonal(n)
    keys, values = [size * axis for size, axis in zip(sizes, axes, strict=True)], array(sizes) ** 2
    if draw.kind == "single" and not diagonal_gram:
        keys, values = keys[:1], values[:1]
    else:
        keys.append(draw.choice(1, fmpq(1, 2)) * axes[0])
        values[0] += sq(keys[-1])
    count = len(keys)
    x = Instance(n=n, p=p, m=count, k=keys, v=draw.vectors(count, p), h=values, T=min(draw.length(), 3))
    x.L = max(values) + (0 if draw.kind in ("limit", "tight") else draw.choice(0, 1))
    x.Sstar, x.domains = minimiser(x), {"x": draw.vectors(3, n)}
    x.S0, x.D = draw.matrix(p, n), draw.matrix(p, n)
    while energy(x, x.S0 - x.Sstar) == 0:
        x.S0 = draw.matrix(p, n)
    x.S = x.S0
    x.d, x.e, x.u = draw.vector(n, 0, 1), draw.vector(n), draw.vector(n, 0, 1)
    x.P, x.U = draw.matrix(n, n, -1, 1), draw.matrix(n, n, -1, 1)
    x.eta = draw.step(1 / x.L**2)
    return x


def gram(x: Instance) -> Array:
    """G = sum of k k^T."""
    return sum(np.outer(k, k) for k in x.k)


def cross(x: Instance) -> Array:
    """sum of v k^T."""
    return sum(np.outer(v, k) for k, v in zip(x.k, x.v, strict=True))


def minimiser(x: Instance) -> Array:
    """Some S* with S* G = sum of v k^T."""
    return solve(gram(x), cross(x).T).T


def loss(x: Instance, state: Array) -> Number:
    """F(S)."""
    return sum(token_loss(state, k, v) for k, v in zip(x.k, x.v, strict=True))


def summed_gradient(x: Instance, state: Array) -> Array:
    """grad F(S), token by token."""
    return sum(token_gradient(state, k, v) for k, v in zip(x.k, x.v, strict=True))


def energy(x: Instance, error: Array) -> Number:
    """tr(E G E^T) = 2 (F(S) - F*)."""
    return inner(error @ gram(x), error)


def over(a: Any, b: Number) -> Any:
    """a / b, and 0 where b is."""
    return a / b if b != 0 else 0 * a


def step(x: Instance, error: Array, p: Array) -> Array:
    """E - E G P."""
    return error - error @ gram(x) @ p


def ratio(x: Instance, error: Array, p: Array) -> Number:
    """rho(P): what one step with P leaves of the energy."""
    return over(energy(x, step(x, error, p)), energy(x, error))


def ratio_gradient(x: Instance, error: Array, p: Array) -> Array:
    """-2 g^T (E - g P) G / tr(E G E^T), with g = E G."""
    g = gram(x)
    return over(-2 * ((error @ g).T @ (step(x, error, p) @ g)), energy(x, error))


def hessian(x: Instance, error: Array) -> Array:
    """2 (g^T g * G) / tr(E G E^T), entry by entry."""
    g = gram(x)
    return over(2 * (((error @ g).T @ (error @ g)) * g), energy(x, error))


def normal(x: Instance) -> Proposition:
    return eq(x.Sstar @ gram(x), cross(x))


def bounded(x: Instance) -> Proposition | list[Proposition]:
    """x G x^T <= L |x|^2, on a sample of x."""
    return [le(y @ gram(x) @ y, x.L * sq(y)) for y in x.domains["x"]]


@law(draw_context)
def T1_context_exact_quadratic(x: Instance) -> Proposition:
    linear = loss(x, x.S0) + inner(summed_gradient(x, x.S0), x.D)
    return eq(loss(x, x.S0 + x.D), linear + energy(x, x.D) / 2)


@law(draw_context)
def T1_context_gap(x: Instance) -> Proposition:
    return implies(normal(x), eq(loss(x, x.S0) - loss(x, x.Sstar), energy(x, x.S0 - x.Sstar) / 2))


def elsewhere(draw: Draw) -> Instance:
    """S* moved off the minimiser."""
    x = draw_context(draw)
    x.Sstar = x.Sstar + draw.matrix(x.p, x.n)
    return x


T1_context_gap.without("S* is any matrix", 0, elsewhere)


@law(draw_context)
def T1_context_gradient(x: Instance) -> Proposition:
    return implies(normal(x), eq(summed_gradient(x, x.S), (x.S - x.Sstar) @ gram(x)))


@law(draw_context)
def T1_context_minimiser_exists(x: Instance) -> Proposition:
    return normal(x)


@law(draw_context)
def T1_context_minimiser_iff(x: Instance) -> Proposition:
    least = eq(loss(x, x.S), loss(x, x.Sstar))
    return implies(normal(x), Iff(least, eq(x.S @ gram(x), cross(x))))


@law(draw_context)
def T1_context_minimum(x: Instance) -> Proposition:
    return implies(normal(x), le(loss(x, x.Sstar), loss(x, x.S)))


def draw_ratio(draw: Draw) -> Instance:
    """A context with a change D of the preconditioner P."""
    x = draw_context(draw)
    x.D = draw.matrix(x.n, x.n, -1, 1)
    return x


def of_error(x: Instance) -> Array:
    return x.S0 - x.Sstar


@law(draw_ratio)
def T9_ratio(x: Instance) -> Proposition:
    after = loss(x, x.S - summed_gradient(x, x.S) @ x.P) - loss(x, x.Sstar)
    losses = over(after, loss(x, x.S) - loss(x, x.Sstar))
    return implies(normal(x), eq(losses, ratio(x, of_error(x), x.P)))


def tangent(x: Instance, p: Array, change: Array) -> Number:
    return ratio(x, of_error(x), p) + inner(ratio_gradient(x, of_error(x), p), change)


@law(draw_ratio)
def T9_exact_quadratic(x: Instance) -> Proposition:
    bend = over(energy(x, of_error(x) @ gram(x) @ x.D), energy(x, of_error(x)))
    return implies(normal(x), eq(ratio(x, of_error(x), x.P + x.D), tangent(x, x.P, x.D) + bend))


T9_exact_quadratic.false("without the square", lambda x: eq(
    ratio(x, of_error(x), x.P + x.D), tangent(x, x.P, x.D)))  # fmt: skip


@law(draw_ratio)
def T9_convex(x: Instance) -> Proposition:
    return implies(normal(x), le(tangent(x, x.P, x.D), ratio(x, of_error(x), x.P + x.D)))


@law(draw_ratio)
def T9_diagonal(x: Instance) -> Proposition:
    here, slope = ratio(x, of_error(x), diagonal(x.d)), ratio_gradient(x, of_error(x), diagonal(x.d))
    bend = x.e @ (x.e @ hessian(x, of_error(x)))
    there = ratio(x, of_error(x), diagonal(x.d + x.e))
    return implies(normal(x), eq(there, here + np.diag(slope) @ x.e + bend / 2))


@law(draw_ratio)
def T9_smooth(x: Instance) -> Proposition:
    bound = tangent(x, x.P, x.D) + 2 * x.L**2 / 2 * frob_sq(x.D)
    return implies(normal(x), bounded(x), le(0, x.L), le(ratio(x, of_error(x), x.P + x.D), bound))


@law(draw_ratio)
def T10_ratio_is_progress(x: Instance) -> Proposition:
    after = loss(x, x.S - summed_gradient(x, x.S) @ x.P) - loss(x, x.Sstar)
    before = loss(x, x.S) - loss(x, x.Sstar)
    return implies(normal(x), bounded(x), eq(after, ratio(x, of_error(x), x.P) * before))


@law(draw_ratio)
def T10_self_bounding(x: Instance) -> Proposition:
    slope, rho = ratio_gradient(x, of_error(x), x.P), ratio(x, of_error(x), x.P)
    return implies(normal(x), bounded(x), le(frob_sq(slope), 4 * x.L**2 * rho))


T10_self_bounding.false("L^2 rho", lambda x: le(
    frob_sq(ratio_gradient(x, of_error(x), x.P)), x.L**2 * ratio(x, of_error(x), x.P)))  # fmt: skip

Run = tuple[list[Number], list[Array]]
"""rho_1 ... rho_T, and the errors S_j - S* for j = 1 ... T + 1."""


def run(x: Instance, p: Array, eta: Number) -> Run:
    """Context steps with P_j and gradient steps on rho from there: P in full, or a vector for the diagonal."""
    error, ratios, errors = of_error(x), [], [of_error(x)]
    for _ in range(x.T):
        whole = diagonal(p) if p.ndim == 1 else p
        slope = ratio_gradient(x, error, whole)
        ratios.append(ratio(x, error, whole))
        error = step(x, error, whole)
        errors.append(error)
        p = p - eta * (np.diag(slope) if p.ndim == 1 else slope)
    return ratios, errors


def half_step(x: Instance) -> Number:
    """1 / (2 L^2)."""
    return 1 / (2 * x.L**2)


def start_of(x: Instance, form: str) -> tuple[Array, Array]:
    """P_1 and the fixed preconditioner, in full or as diagonals."""
    return (x.d, x.u) if form == "diagonal" else (x.P, x.U)


def agnostic_terms(x: Instance, form: str, eta: Number) -> tuple[Number, Number, Run]:
    """A = sum of rho_j(U), B = |P_1 - U|^2 / (2 eta), and the run."""
    start, fixed = start_of(x, form)
    found = run(x, start, eta)
    whole = diagonal(fixed) if form == "diagonal" else fixed
    a = sum((ratio(x, error, whole) for error in found[1][:-1]), fmpq(0))
    return a, sq((start - fixed).ravel()) / (2 * eta), found


def agnostic(x: Instance, form: str) -> tuple[Number, Run]:
    """(A + B) / (1 - 2 eta L^2)."""
    a, b, found = agnostic_terms(x, form, x.eta)
    return (a + b) / (1 - 2 * x.eta * x.L**2), found


def short_step(x: Instance) -> list[Proposition]:
    return [lt(0, x.eta), lt(2 * x.eta * x.L**2, 1)]


def draw_agnostic(draw: Draw) -> Instance:
    """eta < 1/(2 L^2)."""
    x = draw_context(draw)
    x.eta = x.eta / 2
    return x


def agnostic_sum(x: Instance, form: str) -> Proposition:
    bound, (ratios, _) = agnostic(x, form)
    return implies(normal(x), bounded(x), *short_step(x), le(sum(ratios), bound))


@law(draw_agnostic)
def T10_diagonal_agnostic(x: Instance) -> Proposition:
    return agnostic_sum(x, "diagonal")


@law(draw_agnostic)
def T10_full_agnostic(x: Instance) -> Proposition:
    return agnostic_sum(x, "full")


@law(draw_agnostic)
def T10_diagonal_agnostic_product(x: Instance) -> Proposition:
    bound, (_, errors) = agnostic(x, "diagonal")
    left = energy(x, errors[0]) / 2 * (bound / x.T) ** x.T
    return implies(normal(x), bounded(x), *short_step(x), le(energy(x, errors[-1]) / 2, left))


def agnostic_quadratic(x: Instance, form: str, margin: int = 2) -> Proposition:
    """sum of rho_j <= ((sqrt A + sqrt(A + mu B)) / mu)^2 with mu = 2 - 2 eta L^2."""
    a, b, (ratios, _) = agnostic_terms(x, form, x.eta)
    mu = margin - 2 * x.eta * x.L**2
    bound = ((root(a) + root(a + mu * b)) / mu) ** 2
    return implies(normal(x), bounded(x), lt(0, x.eta), lt(x.eta * x.L**2, 1), le(sum(ratios), bound))


@law(draw_context)
def T10_diagonal_agnostic_quadratic(x: Instance) -> Proposition:
    return agnostic_quadratic(x, "diagonal")


@law(draw_context)
def T10_full_agnostic_quadratic(x: Instance) -> Proposition:
    return agnostic_quadratic(x, "full")


def draw_diagonal(draw: Draw) -> Instance:
    """G = Diag(h), d near 1/h, and the step 1/(2 L^2) where it is not "limit"."""
    x = draw_context(draw, diagonal_gram=True)
    x.d = 1 / x.h + draw.vector(x.n, fmpq(-1, 2), fmpq(1, 2))
    return x


def draw_full(draw: Draw) -> Instance:
    """U = G^-1 and P near it; for "single" U inverts a singular G on its range only."""
    x = draw_context(draw)
    g = gram(x)
    key = x.k[0]
    x.U = np.outer(key, key) / sq(key) ** 2 if x.m < x.n else inverse(g)
    x.P = x.U + draw.matrix(x.n, x.n, fmpq(-1, 2), fmpq(1, 2))
    return x


def draw_invertible(draw: Draw) -> Instance:
    return draw_full(draw.plain() if draw.kind == "single" else draw)


def is_diagonal(x: Instance) -> Proposition:
    return eq(gram(x), diagonal(x.h))


def inverts(x: Instance) -> Proposition:
    return eq(gram(x) @ x.U @ gram(x), gram(x))


def is_invertible(x: Instance) -> Proposition:
    return Compares("is invertible", gram(x), True)


def newton_budget(x: Instance, form: str, eta: Number) -> Number:
    """|P_1 - P*|^2 / (4 eta (1 - eta L^2)), which is L^2 |P_1 - P*|^2 at eta = 1/(2 L^2)."""
    return sq(off_newton(x, form)) / (4 * eta * (1 - eta * x.L**2))


def off_newton(x: Instance, form: str) -> Array:
    """P_1 - P*."""
    return x.d - 1 / x.h if form == "diagonal" else (x.P - x.U).ravel()


Premise = Callable[[Instance], Proposition]


def newton_sum(x: Instance, form: str, newton: Premise) -> Proposition:
    ratios, _ = run(x, start_of(x, form)[0], x.eta)
    step = [lt(0, x.eta), lt(x.eta * x.L**2, 1)]
    return implies(normal(x), bounded(x), newton(x), *step, le(sum(ratios), newton_budget(x, form, x.eta)))


def half_step_sum(x: Instance, form: str, newton: Premise) -> Proposition:
    ratios, _ = run(x, start_of(x, form)[0], half_step(x))
    bound = x.L**2 * sq(off_newton(x, form))
    return implies(normal(x), bounded(x), newton(x), lt(0, x.L), le(sum(ratios), bound))


def newton_product(x: Instance, form: str, newton: Premise) -> Proposition:
    """F(S_{T+1}) - F* <= (F(S_1) - F*) (L^2 |P_1 - P*|^2 / T)^T."""
    _, errors = run(x, start_of(x, form)[0], half_step(x))
    bound = (x.L**2 * sq(off_newton(x, form)) / x.T) ** x.T
    decay = le(energy(x, errors[-1]) / 2, energy(x, errors[0]) / 2 * bound)
    return implies(normal(x), bounded(x), newton(x), lt(0, x.L), decay)


@law(draw_diagonal)
def T10_diagonal_ratio_sum(x: Instance) -> Proposition:
    return newton_sum(x, "diagonal", is_diagonal)


@law(draw_diagonal)
def T10_diagonal_ratio_sum_half_step(x: Instance) -> Proposition:
    return half_step_sum(x, "diagonal", is_diagonal)


@law(draw_diagonal)
def T10_diagonal_super_geometric(x: Instance) -> Proposition:
    return newton_product(x, "diagonal", is_diagonal)


@law(draw_full)
def T10_full_ratio_sum(x: Instance) -> Proposition:
    return newton_sum(x, "full", inverts)


@law(draw_full)
def T10_full_ratio_sum_half_step(x: Instance) -> Proposition:
    return half_step_sum(x, "full", inverts)


@law(draw_invertible)
def T10_full_super_geometric(x: Instance) -> Proposition:
    return newton_product(x, "full", is_invertible)


@law(draw_full)
def T10_full_super_geometric_pseudo(x: Instance) -> Proposition:
    return newton_product(x, "full", inverts)


T10_full_ratio_sum_half_step.false("C / 2", lambda x: le(
    2 * sum(run(x, x.P, half_step(x))[0]), x.L**2 * sq(off_newton(x, "full"))))  # fmt: skip


def small_smoothness(draw: Draw) -> Instance:
    """An eighth of L, and the step that goes with it."""
    x = draw_diagonal(draw)
    x.L = x.L / 8
    return x


T10_diagonal_ratio_sum_half_step.without("L below the largest eigenvalue", 1, small_smoothness)


@law(draw_invertible)
def T10_newton_ratio_is_zero(x: Instance) -> Proposition:
    return implies(normal(x), is_invertible(x), eq(ratio(x, of_error(x), x.U), 0))


@law(draw_full)
def T10_pseudo_newton_ratio_is_zero(x: Instance) -> Proposition:
    return implies(normal(x), inverts(x), eq(ratio(x, of_error(x), x.U), 0))
