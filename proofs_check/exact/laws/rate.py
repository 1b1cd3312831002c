"""T16 over many steps, T25, T26 and T27: how fast and how far writes contract, on rational instances."""

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, Finite, Instance, varied
from proofs_check.exact.law import register
from proofs_check.exact.laws.mean import distribution
from proofs_check.exact.laws.token import lyapunov, positive
from proofs_check.exact.numbers import Array, Number, array, identity, product, root, vector
from proofs_check.exact.propositions import Proposition, eq, implies, le, lt, ne
from proofs_check.exact.rules import alignment, frob_sq, in_box, inner, memories, path, residual, sq, write


class RateInstance(Instance):
    """Realisable tokens with probabilities, one preconditioner d, and a state."""

    error = property(lambda x: x.S0 - x.target)
    roots = property(lambda x: array([root(a) for a in x.d]))
    scaled = property(lambda x: x.error / x.roots)  # E D^(-1/2): columns are features
    ones = property(lambda x: x.but(d=0 * x.d + 1))
    in_box = property(lambda x: [[le(x.lo, a), le(a, x.hi)] for a in x.d])
    is_lower = property(lambda x: [le(x.l * sq(y), y @ x.rates @ y) for y in x.domains["x"]])

    @property
    def rates(self) -> Array:
        """W_d."""
        found = 0 * identity(self.n)
        for chance, key, beta in zip(self.chances, self.keys, self.gates, strict=True):
            half = self.roots * key
            found = found + chance * beta * (2 - beta * alignment(self.d, key)) * np.outer(half, half)
        return found

    @property
    def mean_after(self) -> Number:
        """E[V] after one write."""
        states = [
            write(self.S0, k, self.target @ k, self.d, b) for k, b in zip(self.keys, self.gates, strict=True)
        ]
        found = [lyapunov(self.d, state - self.target) for state in states]
        return sum(chance * v for chance, v in zip(self.chances, found, strict=True))


def draw_rate(draw: Draw) -> RateInstance:
    """Keys along the axes, and at times one more, so that the eigenvalues of W_d can be bounded."""
    n, p = draw.key_dim(3), draw.value_dim()
    keys = [draw.choice(-1, 1) * axis for axis in identity(n)]
    keys += [draw.unit(n)] if draw.kind in ("random", "zeros") else []
    weights = [draw.integer(1, 4) for _ in keys]
    chances, gates = [fmpq(w, sum(weights)) for w in weights], draw.numbers(len(keys), 0, 1)
    d = (
        draw.vector(n, fmpq(1, 2), fmpq(3, 2)) ** 2
        if draw.kind == "random"
        else draw.vector(n, fmpq(1, 2), fmpq(3, 2))
    )
    return indexed(RateInstance(n=n, p=p, d=d, keys=keys, chances=chances, gates=gates, S0=draw.matrix(p, n),
                                target=draw.matrix(p, n), domains={"x": draw.vectors(2, n)}))  # fmt: skip


def indexed(x: RateInstance) -> RateInstance:
    """Keys, gates and chances as functions of the outcome, as in Coq; and a bound on the eigenvalues of W_d."""
    chances, gates, keys = x.chances, x.gates, x.keys
    x.Omega, x.P, x.beta = Finite(range(len(keys))), lambda o: chances[o], lambda o: gates[o]
    x.k = lambda o: np.atleast_2d(keys[o])
    rates = [
        c * b * (2 - b * (x.d @ (k * k))) * (x.d @ (k * k))
        for c, b, k in zip(chances, gates, keys, strict=True)
    ]
    return x.but(l=min(rates[: x.n]) + sum(min(0, rate) for rate in rates[x.n :]))


def draw_speed(draw: Draw) -> RateInstance:
    """Full gates, a box [lo, hi] around d, and a direction y."""
    x = draw_rate(draw)
    x.gates = vector(len(x.keys), 1)
    if draw.kind in ("tight", "limit"):
        x.d, x.chances = vector(x.n, 1), vector(x.n, fmpq(1, x.n))
    x.lo, x.hi, x.y = min(x.d), max(x.d), draw.vector(x.n)
    return indexed(x)


def draw_gated_speed(draw: Draw) -> RateInstance:
    """Other gates and shorter keys, and the largest ratio r of their rates."""
    x = draw_speed(draw)
    x.gates = [gate * draw.number(fmpq(1, 2), 1) for gate in x.gates]
    x.keys = [key * draw.choice(1, fmpq(1, 2)) for key in x.keys]
    sizes = [gate * sq(key) for gate, key in zip(x.gates, x.keys, strict=True)]
    x.r = max(fmpq(0), *((2 - size * x.lo) / (2 - size) for size in sizes))
    return indexed(x)


def limited(x: RateInstance, factor: Number) -> Proposition:
    """l |y|^2 <= factor * y W_1 y."""
    return le(x.l * sq(x.y), factor * (x.y @ x.ones.rates @ x.y))


def speed_limit(x: RateInstance) -> Proposition:
    unit, sides = [eq(sq(k), 1) for k in x.keys], (lt(0, x.lo), le(x.lo, 2), le(0, x.hi))
    return implies(distribution(x.chances), unit, *sides, x.in_box, x.is_lower, limited(x, x.hi * (2 - x.lo)))


def gated_speed_limit(x: RateInstance) -> Proposition:
    pairs = list(zip(x.gates, x.keys, strict=True))
    gates, short = [le(0, b) for b, _ in pairs], [le(b * sq(k), 2) for b, k in pairs]
    ratios = [le(2 - b * (x.lo * sq(k)), x.r * (2 - b * sq(k))) for b, k in pairs]
    sides = (lt(0, x.lo), le(0, x.hi), le(0, x.r))
    return implies(
        distribution(x.chances), gates, short, *sides, x.in_box, ratios, x.is_lower, limited(x, x.hi * x.r)
    )


register(
    draw_rate,
    T25_expected_contraction=lambda x: implies(
        distribution(x.chances), positive(x.d),
        eq(x.mean_after, lyapunov(x.d, x.error) - inner(x.scaled @ x.rates, x.scaled)),
    ),
    T25_mean_rate=lambda x: implies(
        distribution(x.chances), positive(x.d), x.is_lower, le(x.mean_after, (1 - x.l) * lyapunov(x.d, x.error))
    ),
)  # fmt: skip
register(draw_speed, T25_speed_limit=speed_limit)
register(draw_gated_speed, T25_speed_limit_gates=gated_speed_limit)


class DriftInstance(Instance):
    """Keys, values, gates, preconditioners and a first state."""

    states = property(lambda x: memories(x, x.d))
    reaches = property(lambda x: [b * alignment(d, k) for b, d, k in zip(x.beta, x.d, x.k, strict=False)])
    gaps = property(lambda x: [1 - d @ s for d, s in zip(path(x), x.s, strict=False)])
    cost = property(lambda x: x.eta * x.g / x.low)  # c
    metrics = property(lambda x: [lyapunov(d, s - x.target) for d, s in zip(x.d, x.states, strict=False)])


def draw_drift(draw: Draw) -> DriftInstance:
    """Keys and gates with beta_t |k_t|^2 <= 2."""
    n, p, length = draw.key_dim(3), draw.value_dim(), draw.length()
    x = DriftInstance(
        n=n, p=p, T=length, k=[draw.unit(n) * draw.choice(1, fmpq(1, 2)) for _ in range(length)]
    )
    x.v, x.beta, x.S0 = draw.vectors(length, p), draw.numbers(length, 0, 2), draw.matrix(p, n)
    return x.but(d=draw.vectors(length, n, fmpq(1, 2), 2), domains={"nat": range(length + 2)})


def near_deltanet(x: DriftInstance) -> Proposition:
    others = memories(x, [vector(x.n, 1)] * x.T)
    terms = [
        b * root(sq(residual(s, k, v))) * root(sq((d - 1) * k))
        for b, s, k, v, d in zip(x.beta, x.states, x.k, x.v, x.d, strict=False)
    ]
    gates = [le(0, b) for b in x.beta], [le(b * sq(k), 2) for b, k in zip(x.beta, x.k, strict=True)]
    return implies(*gates, le(root(frob_sq(x.states[x.T] - others[x.T])), sum(terms)))


def draw_realisable(draw: Draw) -> DriftInstance:
    """Values that some S* reads, and gates with 0 <= beta_t a_t <= 2; a metric after the last token too."""
    x = draw_drift(draw)
    x.target, x.k = draw.matrix(x.p, x.n), [*x.k, x.k[0]]
    x.d = [*x.d, draw.vector(x.n, fmpq(1, 2), 2)]
    if draw.kind in ("limit", "single"):
        x.d = [x.d[0]] * len(x.d)
    x.v = [x.target @ k for k in x.k]
    shares = [draw.choice(0, 2) if draw.kind == "limit" else draw.number(0, 2) for _ in x.k]
    x.beta = [share / alignment(d, k) for share, d, k in zip(shares, x.d, x.k, strict=True)]
    return x


def product_bound(x: DriftInstance) -> Proposition:
    cost = product(max(x.d[t] / x.d[t + 1]) for t in range(x.T))
    steps = [[le(0, a), le(a, 2)] for a in x.reaches[: x.T]]
    return implies([positive(d) for d in x.d], steps, le(x.metrics[x.T], cost * x.metrics[0]))


def draw_decaying(draw: Draw) -> DriftInstance:
    """Plain OSDN on keys that come again, and g and r that hold its gaps; at times nothing moves."""
    n, p, length, still = draw.key_dim(3), draw.value_dim(), draw.length(3), draw.kind in ("limit", "single")
    x = DriftInstance(n=n, p=p, T=length, k=[draw.unit(n) for _ in range(length)], S0=draw.matrix(p, n))
    x.domains, x.target = {"nat": range(length + 2)}, draw.matrix(p, n)
    x.low, x.lo, x.hi = fmpq(1, 4), vector(n, fmpq(1, 2)), vector(n, fmpq(3, 2))
    x.d1, x.eta, x.r = draw.vector(n, fmpq(1, 2), fmpq(3, 2)), fmpq(0) if still else draw.step(2), fmpq(1, 2)
    x.s = [x.k[t % length] ** 2 for t in x.domains["nat"]]
    x.g = max(abs(gap) / x.r**t for t, gap in enumerate(x.gaps))
    x.beta = [
        0 * x.g if still else draw.number(0, 2) / alignment(d, k) for d, k in zip(path(x), x.k, strict=False)
    ]
    x.m = next(m for m in range(64) if 2 * x.cost * x.r**m <= 1 - x.r)
    return x


def decaying_gaps(x: DriftInstance) -> Proposition:
    ds = path(x)
    states = memories(x.but(v=[x.target @ k for k in x.k]), ds)
    steps = [
        [le(0, a), le(a, 2)] for a in (b * alignment(d, k) for b, d, k in zip(x.beta, ds, x.k, strict=False))
    ]
    limit = 2 * (1 + x.cost) ** x.m * lyapunov(x.d1, x.S0 - x.target)
    return implies(
        le(0, x.eta), in_box(x.lo, x.hi, x.d1), lt(0, x.low), [le(x.low, a) for a in x.lo],
        [[le(a, 1) for a in s] for s in x.s], steps, le(0, x.g), [le(0, x.r), lt(x.r, 1)],
        [le(abs(gap), x.g * x.r**t) for t, gap in enumerate(x.gaps)], le(2 * (x.cost * x.r**x.m), 1 - x.r),
        le(lyapunov(ds[x.T], states[x.T] - x.target), limit),
    )  # fmt: skip


def many_steps(x: DriftInstance) -> Proposition:
    """What the tokens take accounts for all of the decrease."""
    d = x.d
    states = memories(x, [d] * len(x.k))
    taken = [
        b * (2 - b * alignment(d, k)) * sq((s - x.target) @ k)
        for b, k, s in zip(x.beta[: x.T], x.k, states, strict=False)
    ]
    after = lyapunov(d, x.S0 - x.target) - sum(taken)
    return implies([ne(a, 0) for a in d], eq(lyapunov(d, states[x.T] - x.target), after))


register(draw_drift, T26_near_deltanet=near_deltanet)
register(draw_realisable, T27_product_bound=product_bound)
register(
    varied(draw_decaying, hidden=lambda draw, x: ("s",)), times=fmpq(1, 4), T27_decaying_gaps=decaying_gaps
)
register(varied(draw_realisable, d=lambda draw, x: x.d[0]), T16_many_steps=many_steps)
