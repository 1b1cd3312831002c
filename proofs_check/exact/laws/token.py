"""T1 to T4, T7 of one gate, T16 and T17: what one token does, on rational instances."""

from __future__ import annotations

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.law import law
from proofs_check.exact.numbers import Array, Number, array, diagonal, root
from proofs_check.exact.propositions import Iff, Proposition, eq, every, implies, le, lt, ne
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


def draw_token(draw: Draw) -> Instance:
    """A state, a key, a value, a preconditioner, a gate, a change of each, and a box."""
    n, p = draw.key_dim(), draw.value_dim()
    low, high = (fmpq(3, 4), fmpq(3, 2)) if draw.kind == "boxed" else (fmpq(-100), fmpq(100))
    return Instance(
        n=n, p=p, S0=draw.matrix(p, n), D=draw.matrix(p, n), k=draw.key(n), v=draw.vector(p), s=draw.key(n),
        d=draw.vector(n, fmpq(-1, 2), 2), e=draw.vector(n), c=draw.vector(n), beta=draw.number(-1, 2),
        eta=draw.positive(), x=draw.number(0, 1), lo=array([low] * n), hi=array([high] * n),
    )  # fmt: skip


def draw_unread(draw: Draw) -> Instance:
    """A token whose residual is not zero."""
    x = draw_token(draw)
    while not any(residual(x.S0, x.k, x.v)):
        x.v = draw.vector(x.p)
    return x


def draw_newton(draw: Draw) -> Instance:
    """A key and a diagonal with <d, s> = 1."""
    x = draw_unread(draw)
    if not any(x.k):
        x.k[0] = fmpq(1)
    i = next(i for i, a in enumerate(x.k) if a != 0)
    x.d[i] += (1 - alignment(x.d, x.k)) / x.k[i] ** 2
    return x


def written(x: Instance) -> Array:
    return write(x.S0, x.k, x.v, x.d, x.beta)


def factor(x: Instance) -> Number:
    """1 - beta a."""
    return 1 - x.beta * alignment(x.d, x.k)


def unread(x: Instance, state: Array | None = None) -> Proposition:
    return ne(residual(x.S0 if state is None else state, x.k, x.v), array([fmpq(0)] * x.p))


@law(draw_token)
def T1_token_exact_quadratic(x: Instance) -> Proposition:
    linear = token_loss(x.S0, x.k, x.v) + inner(token_gradient(x.S0, x.k, x.v), x.D)
    return eq(token_loss(x.S0 + x.D, x.k, x.v), linear + sq(x.D @ x.k) / 2)


T1_token_exact_quadratic.false("the square without the 1/2", lambda x: eq(
    token_loss(x.S0 + x.D, x.k, x.v),
    token_loss(x.S0, x.k, x.v) + inner(token_gradient(x.S0, x.k, x.v), x.D) + sq(x.D @ x.k)))  # fmt: skip


@law(draw_token)
def T2_right_preconditioning(x: Instance) -> Proposition:
    scaled = token_gradient(x.S0, x.k, x.v) @ diagonal(x.d)
    return eq(scaled, np.outer(-residual(x.S0, x.k, x.v), x.d * x.k))


T2_right_preconditioning.false("erase with d * k too", lambda x: eq(
    np.outer(x.S0 @ x.k - x.v, x.d * x.k), np.outer(x.S0 @ (x.d * x.k) - x.v, x.d * x.k)))  # fmt: skip


@law(draw_token)
def T2_write_is_preconditioned_step(x: Instance) -> Proposition:
    step = token_gradient(x.S0, x.k, x.v) @ diagonal(x.d)
    return eq(written(x), x.S0 - x.beta * step)


@law(draw_token)
def T3_residual_identity(x: Instance) -> Proposition:
    return eq(residual(written(x), x.k, x.v), factor(x) * residual(x.S0, x.k, x.v))


@law(draw_token)
def T3_loss_identity(x: Instance) -> Proposition:
    return eq(token_loss(written(x), x.k, x.v), factor(x) ** 2 * token_loss(x.S0, x.k, x.v))


T3_loss_identity.false("1 + beta a", lambda x: eq(
    token_loss(written(x), x.k, x.v), (2 - factor(x)) ** 2 * token_loss(x.S0, x.k, x.v)))  # fmt: skip


@law(draw_unread)
def T3_residual_ratio(x: Instance) -> Proposition:
    return implies(
        unread(x), eq(token_loss(written(x), x.k, x.v) / token_loss(x.S0, x.k, x.v), factor(x) ** 2)
    )


@law(draw_token)
def T4_calibrate_is_gradient_step(x: Instance) -> Proposition:
    step = moved(x.eta, 1, 1, x.c, x.d, x.s)
    return eq(step, x.d - x.eta * surrogate_gradient(x.d, x.s))


@law(draw_token)
def T4_calibrate_is_projected_gradient_step(x: Instance) -> Proposition:
    descent = x.d - x.eta * surrogate_gradient(x.d, x.s)
    return eq(clip(moved(x.eta, 1, 1, x.c, x.d, x.s), x.lo, x.hi), clip(descent, x.lo, x.hi))


T4_calibrate_is_projected_gradient_step.false("uphill", lambda x: eq(
    clip(moved(x.eta, 1, 1, x.c, x.d, x.s), x.lo, x.hi),
    clip(x.d + x.eta * surrogate_gradient(x.d, x.s), x.lo, x.hi)))  # fmt: skip


@law(draw_token)
def T4_convex(x: Instance) -> Proposition:
    chord = x.x * surrogate(x.d, x.s) + (1 - x.x) * surrogate(x.e, x.s)
    between = surrogate(x.x * x.d + (1 - x.x) * x.e, x.s)
    return implies([le(0, x.x), le(x.x, 1)], le(between, chord))


@law(draw_token)
def T4_convex_tangent(x: Instance) -> Proposition:
    tangent = surrogate(x.d, x.s) + surrogate_gradient(x.d, x.s) @ (x.e - x.d)
    return le(tangent, surrogate(x.e, x.s))


@law(draw_token)
def T4_exact_quadratic(x: Instance) -> Proposition:
    linear = surrogate(x.d, x.s) + surrogate_gradient(x.d, x.s) @ x.e
    return eq(surrogate(x.d + x.e, x.s), linear + (x.e @ x.s) ** 2 / 2)


@law(draw_unread)
def T4_full_write_ratio(x: Instance) -> Proposition:
    full = write(x.S0, x.k, x.v, x.d, 1)
    ratio = token_loss(full, x.k, x.v) / token_loss(x.S0, x.k, x.v)
    return implies(unread(x), eq(surrogate(x.d, x.k * x.k), ratio / 2))


def zeroed(x: Instance, share: Number = 1) -> Proposition:
    return eq(token_loss(write(x.S0, x.k, x.v, x.d, share), x.k, x.v), 0)


@law(draw_newton)
def T4_right_newton(x: Instance) -> Proposition:
    return implies(unread(x), Iff(zeroed(x), eq(alignment(x.d, x.k), 1)))


@law(draw_newton)
def T4_right_newton_zeroes(x: Instance) -> Proposition:
    return implies(eq(alignment(x.d, x.k), 1), zeroed(x))


T4_right_newton_zeroes.false("two writes in one", lambda x: zeroed(x, 2))
T4_right_newton_zeroes.without("any d", 0, draw_token)


@law(draw_token)
def T4_self_bounding(x: Instance) -> Proposition:
    return eq(sq(surrogate_gradient(x.d, x.s)), 2 * sq(x.s) * surrogate(x.d, x.s))


T4_self_bounding.false(
    "|s|^2 l", lambda x: eq(sq(surrogate_gradient(x.d, x.s)), sq(x.s) * surrogate(x.d, x.s))
)


@law(draw_token)
def T4_smooth(x: Instance) -> Proposition:
    tangent = surrogate(x.d, x.s) + surrogate_gradient(x.d, x.s) @ (x.e - x.d)
    return le(surrogate(x.e, x.s), tangent + sq(x.s) / 2 * sq(x.e - x.d))


@law(draw_token)
def T4_smooth_gradient(x: Instance) -> Proposition:
    apart = surrogate_gradient(x.d, x.s) - surrogate_gradient(x.e, x.s)
    return le(sq(apart), sq(x.s) ** 2 * sq(x.d - x.e))


def draw_gate(draw: Draw) -> Instance:
    """A gate beta >= 0 and any alignment a, beside a token."""
    x = draw_unread(draw)
    x.beta, x.a = draw.number(0, 3), draw.number(-3, 3)
    x.b = x.beta
    return x


def negative_gate(draw: Draw) -> Instance:
    x = draw_gate(draw)
    x.beta = -x.beta
    return x


@law(draw_gate)
def T7_any_gate(x: Instance) -> Proposition:
    return implies(le(0, x.beta), le(abs(1 - x.beta * x.a), abs(1 - x.beta) + x.beta * abs(1 - x.a)))


T7_any_gate.without("beta < 0", 0, negative_gate)


@law(draw_gate)
def T7_root_ratio(x: Instance) -> Proposition:
    ratio = token_loss(written(x), x.k, x.v) / token_loss(x.S0, x.k, x.v)
    bound = abs(1 - x.b) + x.b * abs(1 - alignment(x.d, x.k))
    return implies(le(0, x.b), unread(x), le(root(ratio), bound))


def draw_error(draw: Draw) -> Instance:
    """A realisable token v = S* k, positive d_t and d_{t+1} = d', a gate with 0 <= beta a <= 2."""
    x = draw_token(draw)
    x.target, x.E = draw.matrix(x.p, x.n), draw.matrix(x.p, x.n)
    x.v, x.d = x.target @ x.k, draw.vector(x.n, fmpq(1, 8), 2)
    setattr(x, "d'", draw.vector(x.n, fmpq(1, 8), 2))
    share = draw.choice(0, 2) if draw.kind == "limit" else draw.number(0, 2)
    a = alignment(x.d, x.k)
    x.beta = share / a if a != 0 else share
    x.m = max(x.d / following(x)) + draw.choice(0, 1)
    return x


def following(x: Instance) -> Array:
    """d_{t+1}, whose name in Coq is no name in Python."""
    return getattr(x, "d'")


def draw_square_metric(draw: Draw) -> Instance:
    """Numbers d that are squares, for "random" ones."""
    x = draw_error(draw)
    x.d = x.d**2 if draw.kind == "random" else x.d
    return x


def lyapunov(d: Array, error: Array) -> Number:
    """V = |E Diag(d)^(-1/2)|_F^2."""
    return (error * error / d).sum()


def after(x: Instance) -> Number:
    """V after the write of v = S* k, with the d of the write."""
    return lyapunov(x.d, write(x.S0, x.k, x.target @ x.k, x.d, x.beta) - x.target)


def drop(x: Instance, full: int = 2) -> Number:
    """beta (2 - beta a) |E k|^2."""
    lost = x.beta * (full - x.beta * alignment(x.d, x.k))
    return lost * sq((x.S0 - x.target) @ x.k)


def positive(d: Array) -> Proposition:
    return every(lt(0, a) for a in d)


@law(draw_error)
def T16_lyapunov_identity(x: Instance) -> Proposition:
    return implies([ne(a, 0) for a in x.d], eq(after(x), lyapunov(x.d, x.S0 - x.target) - drop(x)))


T16_lyapunov_identity.false("beta (1 - beta a)", lambda x: eq(
    after(x), lyapunov(x.d, x.S0 - x.target) - drop(x, 1)))  # fmt: skip


@law(draw_error)
def T16_contraction(x: Instance) -> Proposition:
    reach = x.beta * alignment(x.d, x.k)
    return implies(positive(x.d), [le(0, reach), le(reach, 2)], le(after(x), lyapunov(x.d, x.S0 - x.target)))


def overshooting(draw: Draw) -> Instance:
    """beta a = 5/2."""
    x = draw_error(draw)
    x.beta = fmpq(5, 2) / alignment(x.d, x.k) if any(x.k) else x.beta
    return x


T16_contraction.without("beta a = 5/2", 1, overshooting)


@law(draw_error)
def T16_metric_change(x: Instance) -> Proposition:
    below = [le(a / b, x.m) for a, b in zip(x.d, following(x), strict=True)]
    return implies(positive(x.d), below, le(lyapunov(following(x), x.E), x.m * lyapunov(x.d, x.E)))


@law(draw_error)
def T16_metric_change_max(x: Instance) -> Proposition:
    cost = max([fmpq(0), *(x.d / following(x))])
    return implies(positive(x.d), le(lyapunov(following(x), x.E), cost * lyapunov(x.d, x.E)))


T16_metric_change_max.false("max d_{t+1}/d_t", lambda x: le(
    lyapunov(following(x), x.E), max(following(x) / x.d) * lyapunov(x.d, x.E)))  # fmt: skip


@law(draw_square_metric)
def T16_metric_is_frobenius(x: Instance) -> Proposition:
    weights = array([1 / root(a) for a in x.d])
    return implies(positive(x.d), eq(lyapunov(x.d, x.E), frob_sq(x.E @ diagonal(weights))))


def draw_gated(draw: Draw) -> Instance:
    """A token with one decay of the state."""
    x = draw_unread(draw)
    x.alpha = draw.number(0, 1)
    while not any(residual(x.alpha * x.S0, x.k, x.v)):
        x.v = draw.vector(x.p)
    return x


def draw_kda(draw: Draw) -> Instance:
    """A token with a decay for each feature."""
    x = draw_unread(draw)
    x.alpha = draw.vector(x.n, 0, 1)
    while not any(residual(x.S0 * x.alpha, x.k, x.v)):
        x.v = draw.vector(x.p)
    return x


def gated_write(x: Instance) -> Array:
    """The write into the decayed state; one number or one per feature, columns are features."""
    return write(x.S0 * x.alpha, x.k, x.v, x.d, x.beta)


def gated_loss(x: Instance) -> Proposition:
    """f(S_t) = (1 - beta a)^2 f(alpha S)."""
    return eq(token_loss(gated_write(x), x.k, x.v), factor(x) ** 2 * token_loss(x.S0 * x.alpha, x.k, x.v))


def gated_ratio(x: Instance) -> Proposition:
    """The same as a ratio, where the residual is not zero."""
    ratio = token_loss(gated_write(x), x.k, x.v) / token_loss(x.S0 * x.alpha, x.k, x.v)
    return implies(unread(x, x.S0 * x.alpha), eq(ratio, factor(x) ** 2))


@law(draw_gated)
def T17_gated(x: Instance) -> Proposition:
    return gated_loss(x)


T17_gated.false("measured against S_{t-1}", lambda x: eq(
    token_loss(gated_write(x), x.k, x.v), factor(x) ** 2 * token_loss(x.S0, x.k, x.v)))  # fmt: skip


@law(draw_gated)
def T17_gated_ratio(x: Instance) -> Proposition:
    return gated_ratio(x)


@law(draw_kda)
def T17_kda(x: Instance) -> Proposition:
    return gated_loss(x)


@law(draw_kda)
def T17_kda_ratio(x: Instance) -> Proposition:
    return gated_ratio(x)


@law(draw_gated)
def T17_gated_is_kda(x: Instance) -> Proposition:
    per_feature = write(x.S0 * array([x.alpha] * x.n), x.k, x.v, x.d, x.beta)
    return eq(per_feature, gated_write(x))


@law(draw_gated)
def T17_ungated_residual(x: Instance) -> Proposition:
    kept = residual(x.S0, x.k, x.v) + (1 - x.alpha) * (x.S0 @ x.k)
    return eq(residual(gated_write(x), x.k, x.v), factor(x) * kept)


@law(draw_gated)
def T17_ungated_loss(x: Instance) -> Proposition:
    lost = (1 - x.alpha) * (x.S0 @ x.k)
    kept = token_loss(x.S0, x.k, x.v) + residual(x.S0, x.k, x.v) @ lost + sq(lost) / 2
    return eq(token_loss(gated_write(x), x.k, x.v), factor(x) ** 2 * kept)
