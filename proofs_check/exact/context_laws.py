"""T9, T10: the ratio of a step on the whole context, and gradient steps on it, on rational instances.

An instance is the error E = S - S*, the Gram matrix G, and a number L with L I - G positive semi-definite: the
largest eigenvalue, where G is built from rational eigenvectors, or something above it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from flint import fmpq

from proofs_check.exact import linear as la
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance, Law, Relation, at_most, equal, equal_matrices
from proofs_check.exact.regret_laws import product
from proofs_check.exact.roots import root

Preconditioner = Any
"""A matrix, or a diagonal as a list of numbers."""


def full(p: Preconditioner) -> la.Matrix:
    """The matrix of a preconditioner."""
    return p if isinstance(p[0], list) else la.diagonal(p)


def entries(p: Preconditioner) -> la.Vector:
    """The numbers of a preconditioner, in a row."""
    return la.flat(p) if isinstance(p[0], list) else list(p)


def step(error: la.Matrix, gram: la.Matrix, p: Preconditioner) -> la.Matrix:
    """E - E G P."""
    return la.msub(error, la.matmul(la.matmul(error, gram), full(p)))


def energy(error: la.Matrix, gram: la.Matrix) -> Any:
    """tr(E G E^T) = 2 (F(S) - F*)."""
    return la.inner(la.matmul(error, gram), error)


def ratio(error: la.Matrix, gram: la.Matrix, p: Preconditioner) -> Any:
    """rho(P): what one step with P leaves of the energy."""
    return energy(step(error, gram, p), gram) / energy(error, gram)


def ratio_gradient(error: la.Matrix, gram: la.Matrix, p: Preconditioner) -> Preconditioner:
    """-2 g^T (E - g P) G / tr(E G E^T), its diagonal for a diagonal P."""
    g = la.matmul(error, gram)
    inside = la.matmul(la.transpose(g), la.matmul(step(error, gram, p), gram))
    matrix = la.mscale(-2 / energy(error, gram), inside)
    return matrix if isinstance(p[0], list) else [matrix[i][i] for i in range(len(matrix))]


def moved(p: Preconditioner, h: Preconditioner, by: Any = 1) -> Preconditioner:
    """p + by h."""
    if isinstance(p[0], list):
        return la.madd(p, la.mscale(by, h))
    return la.add(p, la.scale(by, h))


def distance(p: Preconditioner, q: Preconditioner) -> Any:
    """|p - q|_F^2."""
    return la.norm_sq(la.sub(entries(p), entries(q)))


def draw_context(draw: Draw, *, diagonal_gram: bool = False) -> Instance:
    """An error and a Gram matrix from rational eigenvectors; singular for "single" unless diagonal."""
    n = draw.key_dim(3)
    values = [draw.choice(fmpq(1, 2), 1, 2, 3, fmpq(5, 3)) for _ in range(n)]
    if draw.kind == "single" and not diagonal_gram:
        key = draw.unit(n)
        gram = la.mscale(values[0], la.outer(key, key))
        values = values[:1]
    else:
        q = draw.orthogonal(n) if not diagonal_gram else la.identity(n, fmpq(1))
        gram = la.matmul(la.transpose(q), la.matmul(la.diagonal(values), q))
    x = Instance(gram=gram, largest=max(values), error=draw.matrix(draw.value_dim(), n))
    if draw.kind not in ("limit", "tight"):
        x.largest += draw.choice(0, 1)
    while energy(x.error, gram) == 0:
        x.error = draw.matrix(len(x.error), n)
    return x


def draw_pair(draw: Draw) -> Instance:
    """Two preconditioners, full or diagonal."""
    x = draw_context(draw)
    n = len(x.gram)
    if draw.rng.random() < 0.5:
        x.p, x.h = draw.matrix(n, n, -1, 1), draw.matrix(n, n, -1, 1)
    else:
        x.p, x.h = draw.vector(n, -1, 1), draw.vector(n, -1, 1)
    return x


def hypergradient(
    x: Instance, *, scale: Fraction | int = 1, smooth: Fraction | int = 1, inner: bool = True
) -> Iterator[Relation]:
    """rho(P + H) = rho(P) + <grad rho(P), H> + |E G H G^(1/2)|^2 / tr(E G E^T), convex, smooth, self-bounding."""
    gradient = ratio_gradient(x.error, x.gram, x.p)
    if not inner:
        g = la.matmul(x.error, x.gram)
        gradient = la.mscale(
            -2 / energy(x.error, x.gram), la.matmul(la.transpose(g), step(x.error, x.gram, x.p))
        )
        gradient = gradient if isinstance(x.p[0], list) else [gradient[i][i] for i in range(len(gradient))]
    linear = ratio(x.error, x.gram, x.p) + la.times(scale, la.dot(entries(gradient), entries(x.h)))
    bend = la.matmul(la.matmul(x.error, x.gram), full(x.h))
    there = ratio(x.error, x.gram, moved(x.p, x.h))
    yield equal("rho(P + H)", there, linear + energy(bend, x.gram) / energy(x.error, x.gram))
    yield at_most("convex", linear, there)
    apart = distance(ratio_gradient(x.error, x.gram, moved(x.p, x.h)), ratio_gradient(x.error, x.gram, x.p))
    squared = 4 * x.largest**4 * la.norm_sq(entries(x.h))
    yield at_most("2 L^2-smooth, squared", apart, la.times(smooth, squared))
    size = la.norm_sq(entries(ratio_gradient(x.error, x.gram, x.p)))
    bound = 4 * x.largest**2 * ratio(x.error, x.gram, x.p)
    yield at_most("|grad rho|^2 <= 4 L^2 rho", size, bound)


def hessian(x: Instance, *, factor: int = 2) -> Iterator[Relation]:
    """The Hessian in d, 2 (g^T g o G) / tr(E G E^T), as the change of the gradient in every direction."""
    n = len(x.gram)
    d = [row[i] for i, row in enumerate(full(x.p))]
    g = la.matmul(x.error, x.gram)
    product_matrix = [la.had(a, b) for a, b in zip(la.matmul(la.transpose(g), g), x.gram, strict=True)]
    formula = la.mscale(factor / energy(x.error, x.gram), product_matrix)
    here = ratio_gradient(x.error, x.gram, d)
    units = la.identity(n, la.one(x.gram))
    columns = [la.sub(ratio_gradient(x.error, x.gram, la.add(d, e)), here) for e in units]
    yield from equal_matrices("Hessian", columns, formula)
    slack = la.msub(la.mscale(2 * x.largest**2, units), formula)
    yield equal("2 L^2 I - Hessian is positive semi-definite", int(la.is_psd(slack)), 1)


SMOOTHNESS = {"G <= L I": lambda x: la.is_psd(
    la.msub(la.diagonal([x.largest] * len(x.gram)), x.gram))}  # fmt: skip


def underestimated(draw: Draw) -> Instance:
    """A quarter of L."""
    x = draw_pair(draw)
    x.largest = x.largest / 4
    return x


HYPERGRADIENT = (
    Law("T9", "context hypergradient", "rho is a convex quadratic, 2L^2-smooth, with the gradient stated", draw_pair,
        hypergradient, SMOOTHNESS)
    .mutant("wrong constant", "half the gradient", relations=lambda x: hypergradient(x, scale=Fraction(1, 2)))
    .mutant("flipped sign", "minus the gradient", relations=lambda x: hypergradient(x, scale=-1))
    .mutant("wrong formula", "the last G left out", relations=lambda x: hypergradient(x, inner=False))
    .mutant("wrong constant", "L^2-smooth", relations=lambda x: hypergradient(x, smooth=Fraction(1, 4)))
    .mutant("dropped hypothesis", "L below the largest eigenvalue", draw=underestimated, without=["G <= L I"])
)  # fmt: skip

HESSIAN = (
    Law("T9", "context Hessian", "the Hessian in d is 2 (g^T g o G) / tr(E G E^T)", draw_pair, hessian, SMOOTHNESS)
    .mutant("wrong constant", "g^T g o G without the 2", relations=lambda x: hessian(x, factor=1))
    .mutant("dropped hypothesis", "L below the largest eigenvalue", draw=underestimated, without=["G <= L I"])
)  # fmt: skip


def run(x: Instance, steps: int) -> tuple[list[Any], list[la.Matrix]]:
    """rho_1 ... rho_T and the errors E_1 ... E_{T+1}; stops where the error vanishes."""
    p, error, ratios, errors = x.p, x.error, [], [x.error]
    for _ in range(steps):
        if energy(error, x.gram) == 0:
            break
        ratios.append(ratio(error, x.gram, p))
        following = step(error, x.gram, p)
        p = moved(p, ratio_gradient(error, x.gram, p), -x.eta)
        error = following
        errors.append(error)
    return ratios, errors


def draw_newton(draw: Draw) -> Instance:
    """Full P with any invertible G, or diagonal P with diagonal G; the step is 1/(2 L^2), or for "limit" any."""
    kind = "random" if draw.kind == "single" else draw.kind
    diagonal = draw.rng.random() < 0.5
    x = draw_context(Draw(draw.rng, kind, draw.dyadic), diagonal_gram=diagonal)
    n = len(x.gram)
    x.newton = [1 / x.gram[i][i] for i in range(n)] if diagonal else la.inverse(x.gram)
    near = [draw.number(fmpq(-1, 2), fmpq(1, 2)) for _ in entries(x.newton)]
    x.p = moved(x.newton, near if diagonal else [near[i * n : i * n + n] for i in range(n)])
    x.steps = 1 if draw.kind == "single" else draw.rng.randint(2, 3)
    x.eta = 1 / (2 * x.largest**2)
    if draw.kind == "limit":
        x.eta = fmpq(draw.rng.randint(1, 31), 32) / x.largest**2
    return x


def newton_budget(x: Instance) -> Any:
    """|P_1 - P*|^2 / (4 eta |1 - eta L^2|), which is L^2 |P_1 - P*|^2 at eta = 1/(2 L^2); the bars are for mutants."""
    return distance(x.p, x.newton) / (4 * x.eta * abs(1 - x.eta * x.largest**2))


def against_newton(x: Instance, *, share: Fraction | int = 1, extra: int = 0) -> Iterator[Relation]:
    """rho(P*) = 0, sum rho_j <= C and F(S_{T+1}) - F* <= (F(S_1) - F*)(C / T)^T."""
    yield equal("rho(P*)", ratio(x.error, x.gram, x.newton), 0)
    ratios, errors = run(x, x.steps)
    budget = la.times(share, newton_budget(x))
    if x.eta == 1 / (2 * x.largest**2):
        yield equal("C at eta = 1/(2 L^2)", newton_budget(x), x.largest**2 * distance(x.p, x.newton))
    yield at_most("sum rho_j", sum(ratios), budget)
    yield equal("prod rho_j", product(ratios) * energy(x.error, x.gram), energy(errors[-1], x.gram))
    bound = (budget / len(ratios)) ** (len(ratios) + extra)
    yield at_most("F(S_{T+1}) - F*", energy(errors[-1], x.gram), bound * energy(x.error, x.gram))


def invertible(x: Instance) -> bool:
    """P* G = I."""
    return la.matmul(x.gram, full(x.newton)) == la.identity(len(x.gram), la.one(x.gram))


NEWTON = {
    **SMOOTHNESS,
    "P* = G^-1": invertible,
    "0 < eta < 1/L^2": lambda x: x.eta > 0 and x.eta * x.largest**2 < 1,
}


def general_gram(draw: Draw) -> Instance:
    """Diagonal P against the diagonal of G^-1, with G not diagonal."""
    x = draw_context(Draw(draw.rng, "random"))
    inverted = la.inverse(x.gram)
    x.newton = [inverted[i][i] for i in range(len(inverted))]
    x.p, x.steps, x.eta = list(x.newton), 2, 1 / (2 * x.largest**2)
    return x


def long_newton(draw: Draw) -> Instance:
    """eta = 5/(2 L^2)."""
    x = draw_newton(draw)
    x.eta = fmpq(5, 2) / x.largest**2
    return x


def small_smoothness(draw: Draw) -> Instance:
    """An eighth of L, and the step that goes with it."""
    x = draw_newton(draw)
    x.largest = x.largest / 8
    x.eta = 1 / (2 * x.largest**2)
    return x


def tight_newton(draw: Draw) -> Instance:
    """One feature and L = G: equality."""
    return draw_newton(Draw(draw.rng, "tight"))


AGAINST_NEWTON = (
    Law("T10", "against right-Newton", "sum rho_j <= L^2 |P_1 - P*|^2 and the product bound", draw_newton,
        against_newton, NEWTON)
    .mutant("wrong constant", "C / 2", draw=tight_newton, relations=lambda x: against_newton(x, share=Fraction(1, 2)))
    .mutant("dropped hypothesis", "diagonal P, G not diagonal", draw=general_gram, without=["P* = G^-1"])
    .mutant("dropped hypothesis", "eta > 2/L^2", draw=long_newton, without=["0 < eta < 1/L^2"])
    .mutant("dropped hypothesis", "L below the largest eigenvalue", draw=small_smoothness, without=["G <= L I"])
    .mutant("index shift", "(C / T)^(T + 1)", relations=lambda x: against_newton(x, extra=1))
)  # fmt: skip


def draw_diagonal(draw: Draw) -> Instance:
    """Diagonal P, any G, any diagonal comparator."""
    x = draw_context(draw)
    n = len(x.gram)
    x.u, x.p = draw.vector(n, 0, 1), draw.vector(n, 0, 1)
    x.steps = 1 if draw.kind == "single" else draw.rng.randint(2, 3)
    x.eta = draw.step(1 / x.largest**2)
    return x


def against_diagonal(
    x: Instance, *, limit: int = 2, quadratic_margin: int = 2, start: int = 2
) -> Iterator[Relation]:
    """sum rho_j <= (A + B)/(1 - 2 eta L^2) if eta < 1/(2 L^2), <= ((sqrt A + sqrt(A + m B))/m)^2 if eta < 1/L^2."""
    ratios, errors = run(x, x.steps)
    a = sum(ratio(e, x.gram, x.u) for e in errors[: len(ratios)])
    b = distance(x.p, x.u) / (start * x.eta)
    slope = x.eta * x.largest**2
    if limit * slope < 1:
        yield at_most("convex form", sum(ratios), (a + b) / (1 - limit * slope))
    m = quadratic_margin - 2 * slope
    # sqrt of both sides: m sqrt(sum rho) <= sqrt A + sqrt(A + m B).
    yield at_most("quadratic form", root(sum(ratios)) * m, root(a) + root(a + m * b))


def small_diagonal(draw: Draw) -> Instance:
    """An eighth of L, and a step below 1/L^2."""
    x = draw_diagonal(draw)
    x.largest = x.largest / 8
    x.eta, x.steps = fmpq(3, 4) / x.largest**2, 3
    return x


AGAINST_DIAGONAL = (
    Law("T10", "against any diagonal", "agnostic forms: convex for eta < 1/(2L^2), quadratic for eta < 1/L^2",
        draw_diagonal, against_diagonal, {**SMOOTHNESS, "0 < eta < 1/L^2": NEWTON["0 < eta < 1/L^2"]})
    .mutant("wrong constant", "|P_1 - U|^2 / (8 eta)", relations=lambda x: against_diagonal(x, start=8))
    .mutant("wrong constant", "m = 3 - 2 eta L^2", relations=lambda x: against_diagonal(x, quadratic_margin=3))
    .mutant("dropped hypothesis", "L below the largest eigenvalue", draw=small_diagonal, without=["G <= L I"])
)  # fmt: skip

LAWS = (HYPERGRADIENT, HESSIAN, AGAINST_NEWTON, AGAINST_DIAGONAL)
