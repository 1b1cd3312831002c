"""T1 and T9 on a whole context: the quadratic, and the ratio of a step, on rational instances."""

from typing import Any

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, Instance, varied
from proofs_check.exact.law import register
from proofs_check.exact.numbers import Array, Number, array, diagonal, identity, solve
from proofs_check.exact.propositions import Fact, Proposition, eq, iff, implies, le
from proofs_check.exact.rules import frob_sq, inner, sq, token_gradient, token_loss


class ContextInstance(Instance):
    """Keys, values, a state S_0, a solution S* of the normal equations, a preconditioner; and what follows."""

    gram = property(lambda x: sum(np.outer(k, k) for k in x.k))  # G
    cross = property(lambda x: sum(np.outer(v, k) for k, v in zip(x.k, x.v, strict=True)))
    minimiser = property(lambda x: solve(x.gram, x.cross.T).T)
    error = property(lambda x: x.S0 - x.Sstar)  # E
    is_normal = property(lambda x: eq(x.Sstar @ x.gram, x.cross))
    is_bounded = property(
        lambda x: [le(y @ x.gram @ y, x.L * sq(y)) for y in x.domains["x"]]
    )  # by L, on a sample
    tangent = property(lambda x: x.rho(x.P) + inner(x.slope(x.P), x.D))  # of rho at P, in P + D
    bend = property(lambda x: over(x.energy(x.error @ x.gram @ x.D), x.energy(x.error)))
    stepped = property(lambda x: x.gap(x.S - x.gradient(x.S) @ x.P))  # F - F* after a step with P

    def loss(self, state: Array) -> Number:
        """F(S)."""
        return sum(token_loss(state, k, v) for k, v in zip(self.k, self.v, strict=True))

    def gap(self, state: Array) -> Number:
        """F(S) - F(S*)."""
        return self.loss(state) - self.loss(self.Sstar)

    def gradient(self, state: Array) -> Array:
        """grad F(S), token by token."""
        return sum(token_gradient(state, k, v) for k, v in zip(self.k, self.v, strict=True))

    def energy(self, error: Array) -> Number:
        """tr(E G E^T) = 2 (F(S) - F*)."""
        return inner(error @ self.gram, error)

    def step(self, error: Array, p: Array) -> Array:
        """E - E G P."""
        return error - error @ self.gram @ p

    def ratio(self, error: Array, p: Array) -> Number:
        """rho(P): what one step with P leaves of the energy."""
        return over(self.energy(self.step(error, p)), self.energy(error))

    def ratio_gradient(self, error: Array, p: Array) -> Array:
        """-2 g^T (E - g P) G / tr(E G E^T), with g = E G."""
        g = self.gram
        return over(-2 * ((error @ g).T @ (self.step(error, p) @ g)), self.energy(error))

    def hessian(self, error: Array) -> Array:
        """2 (g^T g * G) / tr(E G E^T), entry by entry."""
        g = self.gram
        return over(2 * (((error @ g).T @ (error @ g)) * g), self.energy(error))

    def rho(self, p: Array) -> Number:
        """The ratio of a step from S_0."""
        return self.ratio(self.error, p)

    def slope(self, p: Array) -> Array:
        """Its gradient."""
        return self.ratio_gradient(self.error, p)

    def normal(self, *facts: Fact) -> Proposition:
        """What holds of a solution of the normal equations."""
        return implies(self.is_normal, *facts)

    def bounded(self, *facts: Fact) -> Proposition:
        """What holds where L bounds G as well."""
        return self.normal(self.is_bounded, *facts)


def over(a: Any, b: Number) -> Any:
    """a / b, and 0 where b is."""
    return a / b if b != 0 else 0 * a


def draw_context(draw: Draw, *, diagonal_gram: bool = False) -> ContextInstance:
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
    x = ContextInstance(
        n=n, p=p, m=count, k=keys, v=draw.vectors(count, p), h=values, T=min(draw.length(), 3)
    )
    x.L = max(values) + (0 if draw.kind in ("limit", "tight") else draw.choice(0, 1))
    x.Sstar, x.domains = x.minimiser, {"x": draw.vectors(3, n)}
    x.S0, x.D = draw.matrix(p, n), draw.matrix(p, n)
    while x.energy(x.error) == 0:
        x.S0 = draw.matrix(p, n)
    x.S = x.S0
    x.d, x.e, x.u = draw.vector(n, 0, 1), draw.vector(n), draw.vector(n, 0, 1)
    x.P, x.U = draw.matrix(n, n, -1, 1), draw.matrix(n, n, -1, 1)
    return x.but(eta=draw.step(1 / x.L**2))


def diagonal_quadratic(x: ContextInstance) -> Number:
    """The Taylor polynomial of rho at Diag(d), in Diag(d + e)."""
    linear = x.rho(diagonal(x.d)) + np.diag(x.slope(diagonal(x.d))) @ x.e
    return linear + x.e @ (x.e @ x.hessian(x.error)) / 2


register(
    draw_context,
    T1_context_exact_quadratic=lambda x: eq(
        x.loss(x.S0 + x.D), x.loss(x.S0) + inner(x.gradient(x.S0), x.D) + x.energy(x.D) / 2
    ),
    T1_context_gap=lambda x: x.normal(eq(x.gap(x.S0), x.energy(x.error) / 2)),
    T1_context_gradient=lambda x: x.normal(eq(x.gradient(x.S), (x.S - x.Sstar) @ x.gram)),
    T1_context_minimiser_exists=lambda x: x.is_normal,
)
register(
    varied(draw_context, S=lambda draw, x: draw.choice(x.S0, x.Sstar)),
    T1_context_minimiser_iff=lambda x: x.normal(
        iff(eq(x.loss(x.S), x.loss(x.Sstar)), eq(x.S @ x.gram, x.cross))
    ),
    T1_context_minimum=lambda x: x.normal(le(x.loss(x.Sstar), x.loss(x.S))),
)
register(
    varied(draw_context, D=lambda draw, x: draw.matrix(x.n, x.n, -1, 1)),
    T9_ratio=lambda x: x.normal(eq(over(x.stepped, x.gap(x.S)), x.rho(x.P))),
    T9_exact_quadratic=lambda x: x.normal(eq(x.rho(x.P + x.D), x.tangent + x.bend)),
    T9_convex=lambda x: x.normal(le(x.tangent, x.rho(x.P + x.D))),
    T9_diagonal=lambda x: x.normal(eq(x.rho(diagonal(x.d + x.e)), diagonal_quadratic(x))),
    T9_smooth=lambda x: x.bounded(
        le(0, x.L), le(x.rho(x.P + x.D), x.tangent + 2 * x.L**2 / 2 * frob_sq(x.D))
    ),
    T10_ratio_is_progress=lambda x: x.bounded(eq(x.stepped, x.rho(x.P) * x.gap(x.S))),
    T10_self_bounding=lambda x: x.bounded(le(frob_sq(x.slope(x.P)), 4 * x.L**2 * x.rho(x.P))),
)
