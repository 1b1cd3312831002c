"""T1 to T4, T7 of one gate, T16 and T17: what one token does, on rational instances."""

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, Instance, varied
from proofs_check.exact.law import register
from proofs_check.exact.numbers import Array, Number, array, diagonal, root, vector
from proofs_check.exact.propositions import Proposition, eq, every, iff, implies, le, lt, ne
from proofs_check.exact.rules import (
    alignment,
    clip,
    frob_sq,
    inner,
    moved,
    residual,
    sq,
    surrogate,
    surrogate_gradient,
    token_gradient,
    token_loss,
    write,
)


class TokenInstance(Instance):
    """A state, a key, a value, a preconditioner, a gate; and what follows from them."""

    a = property(lambda x: alignment(x.d, x.k))
    kept = property(lambda x: 1 - x.beta * x.a)
    reach = property(lambda x: x.beta * x.a)
    residual = property(lambda x: residual(x.S0, x.k, x.v))
    gradient = property(lambda x: token_gradient(x.S0, x.k, x.v))
    written = property(lambda x: write(x.S0, x.k, x.v, x.d, x.beta))
    unread = property(lambda x: ne(x.residual, 0 * x.v))
    full_loss = property(lambda x: x.loss(write(x.S0, x.k, x.v, x.d, 1)))  # after a full write
    ratio = property(lambda x: x.loss(x.written) / x.loss(x.S0))
    step = property(lambda x: moved(x.eta, 1, 1, x.c, x.d, x.s))  # of d, without forgetting
    slope = property(lambda x: surrogate_gradient(x.d, x.s))
    tangent = property(lambda x: surrogate(x.d, x.s) + x.slope @ (x.e - x.d))  # of l at d, in e
    error = property(lambda x: x.S0 - x.target)
    after = property(lambda x: lyapunov(x.d, write(x.S0, x.k, x.target @ x.k, x.d, x.beta) - x.target))
    drop = property(lambda x: x.beta * (1 + x.kept) * sq(x.error @ x.k))  # beta (2 - beta a) |E k|^2
    decayed = property(lambda x: x.S0 * x.alpha)  # by one number, or one per feature: columns are features
    gated_write = property(lambda x: write(x.decayed, x.k, x.v, x.d, x.beta))
    lost = property(lambda x: (1 - x.alpha) * (x.S0 @ x.k))

    def loss(self, state: Array) -> Number:
        """f of the token."""
        return token_loss(state, self.k, self.v)


def lyapunov(d: Array, error: Array) -> Number:
    """V = |E Diag(d)^(-1/2)|_F^2."""
    return (error * error / d).sum()


def draw_token(draw: Draw) -> TokenInstance:
    """A token, a change of each of its parts, and a box."""
    n, p = draw.key_dim(), draw.value_dim()
    low, high = (fmpq(3, 4), fmpq(3, 2)) if draw.kind == "boxed" else (fmpq(-100), fmpq(100))
    return TokenInstance(
        n=n, p=p, S0=draw.matrix(p, n), D=draw.matrix(p, n), k=draw.key(n), v=draw.vector(p), s=draw.key(n),
        d=draw.vector(n, fmpq(-1, 2), 2), e=draw.vector(n), c=draw.vector(n), beta=draw.number(-1, 2),
        eta=draw.positive(), x=draw.number(0, 1), lo=vector(n, low), hi=vector(n, high),
    )  # fmt: skip


def read_wrong(draw: Draw, x: TokenInstance) -> Array:
    """A value that the state, or the decayed one, does not read."""
    state, value = x.decayed if hasattr(x, "alpha") else x.S0, x.v
    while not any(residual(state, x.k, value)):
        value = draw.vector(x.p)
    return value


draw_unread = varied(draw_token, v=read_wrong)


def draw_newton(draw: Draw) -> TokenInstance:
    """A key and a diagonal with <d, s> = 1."""
    x = draw_unread(draw)
    if not any(x.k):
        x.k[0] = fmpq(1)
    i = next(i for i, a in enumerate(x.k) if a != 0)
    x.d[i] += (1 - x.a) / x.k[i] ** 2
    return x


register(
    draw_token,
    T1_token_exact_quadratic=lambda x: eq(
        x.loss(x.S0 + x.D), x.loss(x.S0) + inner(x.gradient, x.D) + sq(x.D @ x.k) / 2
    ),
    T2_right_preconditioning=lambda x: eq(x.gradient @ diagonal(x.d), np.outer(-x.residual, x.d * x.k)),
    T2_write_is_preconditioned_step=lambda x: eq(x.written, x.S0 - x.beta * x.gradient @ diagonal(x.d)),
    T3_residual_identity=lambda x: eq(residual(x.written, x.k, x.v), x.kept * x.residual),
    T3_loss_identity=lambda x: eq(x.loss(x.written), x.kept**2 * x.loss(x.S0)),
    T4_calibrate_is_gradient_step=lambda x: eq(x.step, x.d - x.eta * x.slope),
    T4_calibrate_is_projected_gradient_step=lambda x: eq(
        clip(x.step, x.lo, x.hi), clip(x.d - x.eta * x.slope, x.lo, x.hi)
    ),
    T4_convex=lambda x: implies(
        [le(0, x.x), le(x.x, 1)],
        le(
            surrogate(x.x * x.d + (1 - x.x) * x.e, x.s),
            x.x * surrogate(x.d, x.s) + (1 - x.x) * surrogate(x.e, x.s),
        ),
    ),
    T4_convex_tangent=lambda x: le(x.tangent, surrogate(x.e, x.s)),
    T4_exact_quadratic=lambda x: eq(
        surrogate(x.d + x.e, x.s), surrogate(x.d, x.s) + x.slope @ x.e + (x.e @ x.s) ** 2 / 2
    ),
    T4_self_bounding=lambda x: eq(sq(x.slope), 2 * sq(x.s) * surrogate(x.d, x.s)),
    T4_smooth=lambda x: le(surrogate(x.e, x.s), x.tangent + sq(x.s) / 2 * sq(x.e - x.d)),
    T4_smooth_gradient=lambda x: le(sq(x.slope - surrogate_gradient(x.e, x.s)), sq(x.s) ** 2 * sq(x.d - x.e)),
)
register(
    draw_unread,
    T3_residual_ratio=lambda x: implies(x.unread, eq(x.ratio, x.kept**2)),
    T4_full_write_ratio=lambda x: implies(
        x.unread, eq(surrogate(x.d, x.k * x.k), x.full_loss / x.loss(x.S0) / 2)
    ),
)
register(draw_newton, T4_right_newton=lambda x: implies(x.unread, iff(eq(x.full_loss, 0), eq(x.a, 1))))
register(draw_newton, double="d", T4_right_newton_zeroes=lambda x: implies(eq(x.a, 1), eq(x.full_loss, 0)))


def gate_bound(beta: Number, a: Number) -> Number:
    """|1 - beta| + beta |1 - a|."""
    return abs(1 - beta) + beta * abs(1 - a)


register(
    lambda draw: Instance(beta=draw.number(0, 3), a=draw.number(-3, 3)),
    T7_any_gate=lambda x: implies(le(0, x.beta), le(abs(1 - x.beta * x.a), gate_bound(x.beta, x.a))),
)
register(
    varied(draw_unread, beta=lambda draw, x: draw.number(0, 3), b=lambda draw, x: x.beta),
    T7_root_ratio=lambda x: implies(le(0, x.b), x.unread, le(root(x.ratio), gate_bound(x.b, x.a))),
)


def draw_error(draw: Draw) -> TokenInstance:
    """A realisable token v = S* k, positive d_t and d_{t+1} = d', a gate with 0 <= beta a <= 2."""
    x = draw_token(draw)
    x.target, x.E = draw.matrix(x.p, x.n), draw.matrix(x.p, x.n)
    x.v, x.d, x.d_prime = x.target @ x.k, *draw.vectors(2, x.n, fmpq(1, 8), 2)
    share = draw.choice(0, 2) if draw.kind == "limit" else draw.number(0, 2)
    x.beta = share / x.a if x.a != 0 else share
    x.m = max(x.d / x.d_prime) + draw.choice(0, 1)
    return x


def positive(d: Array) -> Proposition:
    return every(lt(0, a) for a in d)


def metric_costs(x: TokenInstance, cost: Number) -> Proposition:
    """V in the metric of d' is at most the cost times V in that of d."""
    return le(lyapunov(x.d_prime, x.E), cost * lyapunov(x.d, x.E))


register(
    draw_error,
    T16_lyapunov_identity=lambda x: implies(
        [ne(a, 0) for a in x.d], eq(x.after, lyapunov(x.d, x.error) - x.drop)
    ),
    T16_contraction=lambda x: implies(
        positive(x.d), [le(0, x.reach), le(x.reach, 2)], le(x.after, lyapunov(x.d, x.error))
    ),
    T16_metric_change=lambda x: implies(
        positive(x.d), [le(a, x.m) for a in x.d / x.d_prime], metric_costs(x, x.m)
    ),
    T16_metric_change_max=lambda x: implies(
        positive(x.d), metric_costs(x, max([fmpq(0), *(x.d / x.d_prime)]))
    ),
)
register(  # for "random" kinds d are squares, whose roots are rational
    varied(draw_error, d=lambda draw, x: x.d**2 if draw.kind == "random" else x.d),
    T16_metric_is_frobenius=lambda x: implies(
        positive(x.d), eq(lyapunov(x.d, x.E), frob_sq(x.E @ diagonal(array([1 / root(a) for a in x.d]))))
    ),
)


def gated_loss(x: TokenInstance) -> Proposition:
    """f(S_t) = (1 - beta a)^2 f(alpha S)."""
    return eq(x.loss(x.gated_write), x.kept**2 * x.loss(x.decayed))


def gated_ratio(x: TokenInstance) -> Proposition:
    """The same as a ratio, where the residual is not zero."""
    ratio = x.loss(x.gated_write) / x.loss(x.decayed)
    return implies(ne(residual(x.decayed, x.k, x.v), 0 * x.v), eq(ratio, x.kept**2))


register(
    varied(draw_token, alpha=lambda draw, x: draw.vector(x.n, 0, 1), v=read_wrong),
    T17_kda=gated_loss,
    T17_kda_ratio=gated_ratio,
)
register(
    varied(draw_token, alpha=lambda draw, x: draw.number(0, 1), v=read_wrong),
    T17_gated=gated_loss,
    T17_gated_ratio=gated_ratio,
    T17_gated_is_kda=lambda x: eq(x.but(alpha=vector(x.n, x.alpha)).gated_write, x.gated_write),
    T17_ungated_residual=lambda x: eq(residual(x.gated_write, x.k, x.v), x.kept * (x.residual + x.lost)),
    T17_ungated_loss=lambda x: eq(
        x.loss(x.gated_write), x.kept**2 * (x.loss(x.S0) + x.residual @ x.lost + sq(x.lost) / 2)
    ),
)
