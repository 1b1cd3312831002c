"""T23: plain OSDN stays in the span of its features, and where that leads, on rational instances."""

from __future__ import annotations

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw
from proofs_check.exact.law import register
from proofs_check.exact.laws.run.scan import ScanInstance, draw_scan
from proofs_check.exact.numbers import Array, Number, array, identity, inverse, is_invertible, solve
from proofs_check.exact.propositions import Fact, Proposition, eq, implies, le, lt
from proofs_check.exact.rules import frob_sq, largest, path, sq


class BiasInstance(ScanInstance):
    """Features, a start d_1, a point q of d_1 + their span, and a point u; both interpolate."""

    fits = property(lambda x: [eq(x.q @ s, 1) for s in x.s[: x.T]])
    met = property(lambda x: [eq(x.u @ s, 1) for s in x.s[: x.T]])
    inside = property(lambda x: eq(x.q - x.d1, x.combination(x.T, x.x)))
    gained = property(lambda x: x.eta * (2 - x.eta * x.M) * x.c)
    weight = property(lambda x: 2 * (1 + (x.N * x.eta * x.M) ** 2))
    nat = property(lambda x: x.domains["nat"])

    def combination(self, count: int, weights: list[Number]) -> Array:
        """Of the first features; tokens and weights come again beyond the last."""
        return sum((weights[t % len(weights)] * self.s[t % len(self.s)] for t in range(count)), 0 * self.q)

    def seen(self, y: Array, start: int) -> Number:
        """sum over the N tokens from `start` of <y, s_t>^2."""
        return sum(((y @ self.s[(start + i) % len(self.s)]) ** 2 for i in range(self.N)), fmpq(0))

    def distances(self, count: int) -> list[Number]:
        """|d_t - q|^2, unprojected."""
        run = self.but(s=[self.s[t % len(self.s)] for t in range(count)])
        return [sq(d - self.q) for d in self.free_run(run)]

    def free_run(self, run: BiasInstance) -> list[Array]:
        return path(run.but(gamma=[1] * len(run.s), w=[1] * len(run.s), c=0 * run.d1), project=False)

    def stepping(self, *facts: Fact) -> Proposition:
        """What holds where q interpolates and 0 < eta < 2/M."""
        tokens = [self.s[t % len(self.s)] for t in self.nat]
        fit, small = [eq(self.q @ s, 1) for s in tokens], [le(sq(s), self.M) for s in tokens]
        return implies(fit, small, lt(0, self.eta), lt(self.eta * self.M, 2), *facts)


def draw_bias(draw: Draw) -> BiasInstance:
    """N independent features on which q is 1, period after period."""
    n = draw.integer(2, 4)
    x = BiasInstance(n=n, T=draw.integer(1, min(n, 3)), q=draw.vector(n, fmpq(1, 2), 2))
    features = list[Array]()
    while len(features) < x.T:
        s = draw.vector(n, 0, 2)
        if any(s) and is_invertible(gram([*features, s / (x.q @ s)])):
            features.append(s / (x.q @ s))
    x.s, x.x, x.N = features, draw.numbers(x.T), x.T
    x.d1 = x.q - x.combination(x.T, x.x)
    off = draw.vector(n)
    rows = array(features)
    x.u = x.q + off - rows.T @ solve(gram(features), (rows @ off)[:, None])[:, 0]
    x.M, x.c = largest(features), 1 / np.trace(inverse(gram(features)))
    x.eta = draw.step(2 / x.M)
    x.domains = {name: [draw.numbers(3) for _ in range(2)] for name in "yz"} | {"nat": range(3)}
    products = x.eta * np.tril(gram(features), -1) + identity(x.N)
    return x.but(kappa=x.c, sigma=frob_sq(products), r=max(fmpq(0), 1 - x.gained / x.weight))


def gram(rows: list[Array]) -> Array:
    return array(rows) @ array(rows).T


def span(x: ScanInstance) -> Proposition:
    """d_T - d_1 = sum eta w_t (1 - a_t) s_t without forgetting."""
    found = path(x.but(gamma=[1] * len(x.s)), project=False)
    moves = [x.eta * w * (1 - d @ s) * s for w, d, s in zip(x.w, found, x.s, strict=False)]
    return eq(found[x.T] - x.d1, sum(moves))


def window(x: BiasInstance, t: int) -> Proposition:
    """Over a window that excites the error, it shrinks."""
    found = x.distances(t + x.N)
    d = x.free_run(x.but(s=[x.s[i % x.N] for i in range(t)]))[-1]
    excited = le(x.c * sq(x.q - d), x.seen(x.q - d, t))
    return implies(excited, le(x.weight * found[t + x.N], (x.weight - x.gained) * found[t]))


def pull(x: BiasInstance) -> Proposition:
    """A window brings d nearer by what sigma and kappa say of it."""
    tokens = range(x.N)

    def answered(z: list[Number]) -> list[Number]:
        """(1 + N) z."""
        return [z[i] + x.eta * sum((x.s[j] @ x.s[i] * z[j] for j in range(i)), fmpq(0)) for i in tokens]

    def size(z: list[Number]) -> Number:
        return sum((a * a for a in z[: x.N]), fmpq(0))

    spread = [le(size(answered(z)), x.sigma * size(z)) for z in x.domains["z"]]
    excited = le(x.kappa * sq(x.d1 - x.q), x.seen(x.d1 - x.q, 0))
    rate = 1 - x.eta * (2 - x.eta * x.M) * x.kappa / x.sigma
    return x.stepping(lt(0, x.sigma), spread, excited, le(x.distances(x.N)[x.N], rate * sq(x.d1 - x.q)))


def limit(x: BiasInstance) -> Proposition:
    """At a rate r < 1, if every window excites the span."""
    points = [(m, x.combination(count, y)) for m in x.nat for count in x.nat for y in x.domains["y"]]
    excited = [le(x.c * sq(y), x.seen(y, m * x.N)) for m, y in points]
    found = x.distances(max(x.nat) * x.N)
    shrinks = [le(found[m * x.N], x.r**m * sq(x.d1 - x.q)) for m in x.nat]
    return x.stepping(x.inside, lt(0, x.c), excited, [le(0, x.r), lt(x.r, 1), shrinks])


register(draw_scan, T23_span=span)
register(
    draw_bias,
    T23_projection=lambda x: implies(
        x.inside, x.fits, x.met, eq(sq(x.d1 - x.u), sq(x.d1 - x.q) + sq(x.q - x.u))
    ),
    T23_projection_exists=lambda x: implies(
        x.met, [eq((x.d1 + x.combination(x.T, x.x)) @ s, 1) for s in x.s]
    ),
    T23_pull=pull,
    T23_limit_window=lambda x: x.stepping([window(x, t) for t in x.nat]),
    T23_limit=limit,
)
