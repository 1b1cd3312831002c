"""T1, T2, T3, T4 on rational instances: one token, and the context's quadratic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from flint import fmpq

from proofs_check.exact import linear as la, rules
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import (
    Instance,
    Law,
    Relation,
    at_most,
    equal,
    equal_matrices,
    equal_vectors,
)


def draw_token(draw: Draw) -> Instance:
    """A state, a key, a value, a preconditioner, a gate and a perturbation of each."""
    k, v = draw.key_dim(), draw.value_dim()
    return Instance(
        state=draw.matrix(v, k),
        change=draw.matrix(v, k),
        key=draw.key(k),
        value=draw.vector(v),
        d=draw.vector(k, fmpq(-1, 2), 2),
        move=draw.vector(k),
        beta=draw.number(-1, 2),
        low=[draw.published[0]] * k if draw.kind == "boxed" else [fmpq(-100)] * k,
        high=[draw.published[1]] * k if draw.kind == "boxed" else [fmpq(100)] * k,
        eta=draw.positive(),
    )


def square_token(draw: Draw) -> Instance:
    """With as many value as key features: shapes then hide no mistake."""
    x, k = draw_token(draw), draw.rng.randint(2, 3)
    x.state, x.change = draw.matrix(k, k), draw.matrix(k, k)
    x.key, x.value, x.d, x.move = draw.key(k), draw.vector(k), draw.vector(k), draw.vector(k)
    return x


def quadratic(x: Instance, *, halves: int = 1, sign: int = 1) -> Iterator[Relation]:
    """f(S + H) = f(S) + <grad f(S), H> + |H k|^2 / 2."""
    gradient = rules.token_gradient(x.state, x.key, x.value)
    curvature = halves * la.norm_sq(la.apply(x.change, x.key)) / 2
    expansion = rules.token_loss(x.state, x.key, x.value) + sign * la.inner(gradient, x.change) + curvature
    moved = rules.token_loss(la.madd(x.state, x.change), x.key, x.value)
    yield equal("f(S + H)", moved, expansion)


def transposed_gradient(x: Instance) -> Iterator[Relation]:
    """The expansion with k (S k - v)^T."""
    gradient = la.transpose(rules.token_gradient(x.state, x.key, x.value))
    expansion = rules.token_loss(x.state, x.key, x.value) + la.inner(gradient, x.change)
    moved = rules.token_loss(la.madd(x.state, x.change), x.key, x.value)
    yield equal("f(S + H)", moved, expansion + la.norm_sq(la.apply(x.change, x.key)) / 2)


QUADRATIC = (
    Law("T1", "token quadratic", "f(S + H) = f(S) + <grad f(S), H> + |H k|^2 / 2", draw_token, quadratic, {})
    .mutant("wrong constant", "curvature 1 instead of 1/2", relations=lambda x: quadratic(x, halves=2))
    .mutant("flipped sign", "the gradient points the other way", relations=lambda x: quadratic(x, sign=-1))
    .mutant(
        "wrong formula", "k (S k - v)^T for the gradient", relations=transposed_gradient, draw=square_token
    )
)


def draw_context(draw: Draw) -> Instance:
    """A context; kinds "zeros" and "single" often have a singular Gram matrix."""
    k, v, t = draw.key_dim(3), draw.value_dim(), draw.length()
    keys, values = draw.keys(t, k), draw.matrix(t, v)
    return Instance(keys=keys, values=values, state=draw.matrix(v, k), minimizer=minimizer(keys, values))


def minimizer(keys: la.Matrix, values: la.Matrix) -> la.Matrix:
    """S* of least norm: S* G = sum v k^T with the rows of S* in the range of G, so S* = Y G and Y G G = sum v k^T."""
    g = la.gram(keys)
    moments = la.transpose(la.matmul(la.transpose(values), keys))
    y = la.transpose(la.solve(la.matmul(g, g), moments))
    return la.matmul(y, g)


def context_loss(state: la.Matrix, keys: la.Matrix, values: la.Matrix) -> la.Number:
    """F(S), the sum of the token losses."""
    return sum(rules.token_loss(state, k, v) for k, v in zip(keys, values, strict=True))


def context_quadratic(x: Instance, *, halves: int = 1, left: bool = False) -> Iterator[Relation]:
    """F(S) - F* = tr((S - S*) G (S - S*)^T) / 2 and grad F(S) = (S - S*) G."""
    error, g = la.msub(x.state, x.minimizer), la.gram(x.keys)
    bent = la.matmul(g, error) if left else la.matmul(error, g)
    gap = context_loss(x.state, x.keys, x.values) - context_loss(x.minimizer, x.keys, x.values)
    yield equal("F(S) - F*", gap, halves * la.inner(bent, error) / 2)
    gradient = [[0] * len(x.keys[0]) for _ in x.values[0]]
    for k, v in zip(x.keys, x.values, strict=True):
        gradient = la.madd(gradient, rules.token_gradient(x.state, k, v))
    yield from equal_matrices("grad F(S)", gradient, bent)


def square_context(draw: Draw) -> Instance:
    """With as many value as key features."""
    k, t = draw.rng.randint(2, 3), draw.length()
    keys, values = draw.keys(t, k), draw.matrix(t, k)
    return Instance(keys=keys, values=values, state=draw.matrix(k, k), minimizer=minimizer(keys, values))


def anywhere(draw: Draw) -> Instance:
    """Any matrix for S*."""
    x = draw_context(draw)
    x.minimizer = draw.matrix(len(x.values[0]), len(x.keys[0]))
    return x


def solves_normal_equations(x: Instance) -> bool:
    """S* G = sum v k^T."""
    moments = la.matmul(la.transpose(x.values), x.keys)
    return la.matmul(x.minimizer, la.gram(x.keys)) == moments


CONTEXT = (
    Law(
        "T1",
        "context quadratic",
        "F(S) - F* = tr((S - S*) G (S - S*)^T) / 2, grad F(S) = (S - S*) G, G singular or not",
        draw_context,
        context_quadratic,
        {"S* G = sum v k^T": solves_normal_equations},
    )
    .mutant("wrong constant", "trace without the 1/2", relations=lambda x: context_quadratic(x, halves=2))
    .mutant(
        "wrong formula",
        "the Hessian acts on the left",
        relations=lambda x: context_quadratic(x, left=True),
        draw=square_context,
    )
    .mutant("dropped hypothesis", "S* is any matrix", draw=anywhere, without=["S* G = sum v k^T"])
)


def key_scaling(x: Instance, *, erase_scaled: bool = False, power: int = 1) -> Iterator[Relation]:
    """grad f(S) Diag(d) = (S k - v)(d * k)^T, and the write steps along it."""
    d = [a**power for a in x.d]
    gradient = la.right_diagonal(rules.token_gradient(x.state, x.key, x.value), d)
    read = la.apply(x.state, la.had(x.d, x.key) if erase_scaled else x.key)
    error = la.sub(read, x.value)
    yield from equal_matrices("grad f(S) Diag(d)", gradient, la.outer(error, la.had(x.d, x.key)))
    written = rules.write(x.state, x.key, x.value, x.d, x.beta)
    stepped = la.msub(x.state, la.mscale(x.beta, gradient))
    yield from equal_matrices("write", written, stepped)


def left_scaling(x: Instance) -> Iterator[Relation]:
    """Diag(d) from the left."""
    gradient = rules.token_gradient(x.state, x.key, x.value)
    error = la.sub(la.apply(x.state, x.key), x.value)
    left = [la.scale(a, row) for a, row in zip(x.d, gradient, strict=True)]
    yield from equal_matrices("Diag(d) grad f(S)", left, la.outer(error, la.had(x.d, x.key)))


KEY_SCALING = (
    Law("T2", "key scaling", "grad f(S) Diag(d) = (S k - v)(d * k)^T", draw_token, key_scaling, {})
    .mutant("wrong formula", "Diag(d) on the left", relations=left_scaling, draw=square_token)
    .mutant("wrong formula", "erase with d * k too", relations=lambda x: key_scaling(x, erase_scaled=True))
    .mutant("wrong constant", "Diag(d)^2", relations=lambda x: key_scaling(x, power=2))
)


def residual(
    x: Instance,
    *,
    ratio: Callable[[la.Number, la.Number], la.Number] = lambda beta, a: 1 - beta * a,
    power: int = 2,
    d: str = "d",
    squared: bool = True,
) -> Iterator[Relation]:
    """v - S_t k = (1 - beta a)(v - S_{t-1} k) and f(S_t) = (1 - beta a)^2 f(S_{t-1})."""
    after = rules.write(x.state, x.key, x.value, x.d, x.beta)
    feature = la.sq(x.key) if squared else x.key
    factor = ratio(x.beta, la.dot(getattr(x, d), feature))
    before = la.sub(x.value, la.apply(x.state, x.key))
    left = la.sub(x.value, la.apply(after, x.key))
    yield from equal_vectors("v - S_t k", left, la.scale(factor, before))
    loss = rules.token_loss(x.state, x.key, x.value)
    yield equal("f(S_t)", rules.token_loss(after, x.key, x.value), factor**power * loss)


RESIDUAL = (
    Law("T3", "residual identity", "v - S_t k = (1 - beta a)(v - S_{t-1} k)", draw_token, residual, {})
    .mutant(
        "wrong formula", "1 - a without the gate", relations=lambda x: residual(x, ratio=lambda b, a: 1 - a)
    )
    .mutant(
        "wrong constant", "the ratio of losses to the first power", relations=lambda x: residual(x, power=1)
    )
    .mutant("flipped sign", "1 + beta a", relations=lambda x: residual(x, ratio=lambda b, a: 1 + b * a))
    .mutant(
        "wrong formula", "a = <d, k> with the key not squared", relations=lambda x: residual(x, squared=False)
    )
    .mutant("index shift", "a with the d of another token", relations=lambda x: residual(x, d="move"))
)


def hypergradient(
    x: Instance, *, sign: int = 1, bounding: int = 2, smooth: Fraction | int = 1, squared: bool = True
) -> Iterator[Relation]:
    """l is half the ratio of a full write, a convex quadratic with the gradient of the calibrate step."""
    s = la.sq(x.key) if squared else x.key
    loss, gradient = rules.surrogate(x.d, s), la.scale(sign, rules.surrogate_gradient(x.d, s))
    full = rules.write(x.state, x.key, x.value, x.d, 1)
    before = rules.token_loss(x.state, x.key, x.value)
    yield equal("f after a full write", rules.token_loss(full, x.key, x.value), 2 * loss * before)
    there = la.add(x.d, x.move)
    linear = loss + la.dot(gradient, x.move)
    yield equal("l(d + h)", rules.surrogate(there, s), linear + la.dot(x.move, s) ** 2 / 2)
    yield at_most("convex", linear, rules.surrogate(there, s))
    yield equal("self-bounding", la.norm_sq(gradient), bounding * la.norm_sq(s) * loss)
    apart = la.sub(la.scale(sign, rules.surrogate_gradient(there, s)), gradient)
    yield at_most(
        "smooth, squared", la.norm_sq(apart), la.times(smooth, la.norm_sq(s)) ** 2 * la.norm_sq(x.move)
    )
    moved = rules.unprojected_step(x.d, s, x.eta, 1, 1, [0] * len(s))
    projected = la.clip(moved, x.low, x.high)
    descent = la.clip(la.sub(x.d, la.scale(x.eta, gradient)), x.low, x.high)
    yield from equal_vectors("calibrate is projected descent", projected, descent)


HYPERGRADIENT = (
    Law("T4", "hypergradient", "l = ratio / 2, -grad l = (1 - a) s, |grad l|^2 = 2 |s|^2 l", draw_token,
        hypergradient, {})
    .mutant("flipped sign", "grad l = (1 - a) s", relations=lambda x: hypergradient(x, sign=-1))
    .mutant("wrong constant", "self-bounding with |s|^2 l", relations=lambda x: hypergradient(x, bounding=1))
    .mutant("wrong constant", "|s|^2/2-smooth", relations=lambda x: hypergradient(x, smooth=Fraction(1, 2)))
    .mutant("wrong formula", "feature k instead of k * k", relations=lambda x: hypergradient(x, squared=False))
)  # fmt: skip


def newton_draw(draw: Draw) -> Instance:
    """A key and a diagonal with <d, s> = 1."""
    x = draw_token(draw)
    if not any(x.key):
        x.key[0] = fmpq(1)
    missing = 1 - la.dot(x.d, la.sq(x.key))
    i = next(i for i, a in enumerate(x.key) if a != 0)
    x.d[i] += missing / x.key[i] ** 2
    return x


def one_write(x: Instance, *, beta: Fraction | int = 1) -> Iterator[Relation]:
    """The token loss after one write with the given gate is zero."""
    after = rules.write(x.state, x.key, x.value, x.d, la.times(beta, la.one(x.key)))
    yield equal("f after one write", rules.token_loss(after, x.key, x.value), 0)


NEWTON = (
    Law(
        "T4",
        "right-Newton condition",
        "<d, s> = 1: one full write zeroes the token loss",
        newton_draw,
        one_write,
        {"<d, s> = 1": lambda x: rules.alignment(x.d, x.key) == 1},
    )
    .mutant("dropped hypothesis", "<d, s> = 1 dropped", draw=draw_token, without=["<d, s> = 1"])
    .mutant("wrong constant", "half a write", relations=lambda x: one_write(x, beta=Fraction(1, 2)))
    .mutant("wrong constant", "two writes in one", relations=lambda x: one_write(x, beta=2))
)

LAWS = (QUADRATIC, CONTEXT, KEY_SCALING, RESIDUAL, HYPERGRADIENT, NEWTON)
