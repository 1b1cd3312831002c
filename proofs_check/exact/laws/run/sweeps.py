"""T29: the scan by sweeps on rational instances: comparison, rate, and certificates."""

from collections.abc import Callable, Sequence
from math import comb, factorial

from flint import fmpq

from proofs_check.exact.draw import Draw, varied
from proofs_check.exact.law import register
from proofs_check.exact.laws.run.scan import ScanInstance, draw_scan, fading
from proofs_check.exact.numbers import Array, Number, array
from proofs_check.exact.propositions import Fact, Proposition, each, eq, every, implies, le, lt
from proofs_check.exact.rules import clip, moved, path, sq

Gains = list[Number]


class SweepInstance(ScanInstance):
    """A scan with features of either sign, two runs of gains u and v, and a number m of sweeps.

    Every law is about the first T tokens, two less than there are: what it says of T and of more can be told apart.
    """

    gains = property(lambda x: x.wanted(path(x)))  # those of the scan
    start_errors = property(lambda x: distance(x.u, x.gains))
    swept_errors = property(lambda x: distance(x.swept(x.m), x.gains))
    gates = property(lambda x: every(le(0, g) for g in x.gamma))
    steps = property(lambda x: every(le(0, x.eta * w) for w in x.w))
    earlier = property(lambda x: [(t, j) for t in range(x.T) for j in range(t)])
    starts = property(lambda x: every(le(error, x.E) for error in x.start_errors[: x.T]))

    def driven(self, gains: Gains) -> list[Array]:
        """d_1, d_2, ... with the gains given."""
        d, found = self.d1, [self.d1]
        for s, gamma, gain in zip(self.s, self.gamma, gains, strict=True):
            d = clip(self.c + gamma * (d - self.c) + gain * s, self.lo, self.hi)
            found.append(d)
        return found

    def wanted(self, iterates: list[Array]) -> Gains:
        """eta w_t (1 - <d_t, x_t>) along a run."""
        return [self.eta * w * (1 - d @ s) for w, d, s in zip(self.w, iterates, self.s, strict=False)]

    def phi(self, gains: Gains) -> Gains:
        """Phi: the gains wanted along the run that `gains` drive."""
        return self.wanted(self.driven(gains))

    def swept(self, count: int) -> Gains:
        """u^(count), from u^(0) = u."""
        gains: Gains = self.u
        for _ in range(count):
            gains = self.phi(gains)
        return gains

    def bare(self, t: int, j: int) -> Number:
        """eta w_t <|x_t|, |x_j|>."""
        return self.eta * self.w[t] * (abs(self.s[t]) @ abs(self.s[j]))

    def coupling(self) -> Array:
        """N_tj = eta w_t <|x_t|, |x_j|> times the gates strictly between, for j < t."""
        tokens, zero = range(len(self.s)), 0 * self.eta
        return array(
            [
                [fading(self.gamma, j + 1, t) * self.bare(t, j) if j < t else zero for j in tokens]
                for t in tokens
            ]
        )

    def dragged(self, z: Sequence[Number], t: int) -> Number:
        """(N z)_t."""
        n = self.coupling()
        return sum((n[t, j] * z[j] for j in range(t)), 0 * self.eta)

    def resolved(self, v: Array) -> Array:
        """(I - N)^-1 v for the first T tokens, row by row."""
        found: list[Number] = []
        for t in range(self.T):
            found.append(v[t] + self.dragged(found, t))
        return array(found)

    def signed(self, *facts: Fact) -> Proposition:
        """What holds where gates and steps are not negative."""
        return implies(self.gates, self.steps, *facts)

    def weak(self) -> list[Proposition]:
        """Every coupling is at most L, and every start error at most E."""
        n = self.coupling()
        return [le(0, self.L), every(le(n[pair], self.L) for pair in self.earlier), self.starts]

    def row_sums(self, bound: Number) -> Proposition:
        """Those of N are at most a bound."""
        n = self.coupling()
        return every(le(sum(n[t, :t], 0 * self.eta), bound) for t in range(self.T))

    def rate(self, factor: Callable[[int], Number]) -> Proposition:
        """|u^(m) - u| <= a factor of E for each token."""
        return each(le, self.swept_errors, [factor(t) * self.E for t in range(self.T)])

    def within(self, gains: Gains, bound: Sequence[Number]) -> Proposition:
        """|gains - u| <= a bound, for the first T tokens."""
        return each(le, distance(gains, self.gains)[: self.T], bound)

    def off(self, gains: Gains) -> Proposition:
        """|v - Phi(gains)| <= r."""
        return each(le, distance(self.v, self.phi(gains))[: self.T], self.r)


def distance(a: Sequence[Number], b: Sequence[Number]) -> Array:
    """|a - b|, entry by entry."""
    return abs(array(a) - array(b))


def power(matrix: Array, count: int, v: Array) -> Array:
    """matrix^count v."""
    for _ in range(count):
        v = matrix @ v
    return v


def draw_signed(draw: Draw) -> SweepInstance:
    """A scan that clips now and then."""
    x = SweepInstance(**vars(draw_scan(draw)))
    count = x.T + 2
    for name in ("s", "gamma", "w", "k"):
        setattr(x, name, [getattr(x, name)[t % x.T] for t in range(count)])
    x.s = [draw.choice(-1, 1, fmpq(1, 2)) * s for s in x.s]
    x.u, x.v = draw.numbers(count), draw.numbers(count)
    x.m, x.domains = draw.integer(1, 2), {"nat": range(count)}
    return featured(x)


def featured(x: SweepInstance) -> SweepInstance:
    """The features under their name in Coq as well, and what bounds the coupling."""
    x.x, x.hidden, n = x.s, ("s",), x.coupling()
    x.L, x.E = max([fmpq(0), *(n[pair] for pair in x.earlier)]), max(x.start_errors)
    return x.but(rho=max(sum(n[t, :t], fmpq(0)) for t in range(x.T)))


register(
    draw_signed,
    T29_comparison=lambda x: x.signed(
        each(le, distance(x.phi(x.u), x.phi(x.v)), x.coupling() @ distance(x.u, x.v))
    ),
    T29_sweeps=lambda x: x.signed(each(le, x.swept_errors, power(x.coupling(), x.m, x.start_errors))),
    T29_first_gains=lambda x: each(eq, x.swept(x.m)[: x.m], x.gains),
    T29_first_iterates=lambda x: each(eq, x.driven(x.swept(x.m))[: min(x.m + 1, len(x.s))], path(x)),
    T29_drives_the_scan=lambda x: each(eq, x.driven(x.gains)[:-1], path(x)),
    T29_fixed_point=lambda x: each(eq, x.phi(x.gains), x.gains),
    T29_binomial=lambda x: x.signed(*x.weak(), x.rate(lambda t: x.L**x.m * comb(t, x.m))),
    T29_factorial=lambda x: x.signed(*x.weak(), x.rate(lambda t: (x.L * t) ** x.m / factorial(x.m))),
    T29_geometric=lambda x: x.signed(le(0, x.rho), x.row_sums(x.rho), x.starts, x.rate(lambda t: x.rho**x.m)),
    T29_a_posteriori=lambda x: x.signed(
        x.within(x.swept(x.m + 1), x.resolved(x.coupling() @ distance(x.swept(x.m + 1), x.swept(x.m))))
    ),
)
register(
    varied(draw_signed, u=lambda draw, x: [*x.gains[: x.T], *x.u[x.T :]]),
    T29_only_fixed_point=lambda x: implies(each(eq, x.phi(x.u)[: x.T], x.u), each(eq, x.u[: x.T], x.gains)),
)
register(  # gates below 1, and a bound on eta w_t <|x_t|, |x_j|> without them
    varied(
        draw_signed,
        gamma=lambda draw, x: [g / 2 for g in x.gamma],
        g=lambda draw, x: max(x.gamma),
        L=lambda draw, x: max([fmpq(0), *(x.bare(*pair) for pair in x.earlier)]),
    ),
    T29_forgetting=lambda x: implies(
        x.gates, le(0, x.L), lt(x.g, 1), [le(g, x.g) for g in x.gamma[: x.T]],
        [le(x.bare(*pair), x.L) for pair in x.earlier], x.row_sums(x.L / (1 - x.g)),
    ),
)  # fmt: skip


def draw_short(draw: Draw) -> SweepInstance:
    """Keys, weights, write gates and forgetting gates of size at most 1."""
    x = draw_signed(draw)
    x.k = [draw.unit(x.n) for _ in x.s]
    x.b, x.w = draw.numbers(len(x.s), -1, 1), draw.numbers(len(x.s), 0, 1)
    x.s = [b * (k * k) for b, k in zip(x.b, x.k, strict=True)]
    x = featured(x)
    return x.but(hidden=("s", "x"))


def unit_keys(x: SweepInstance) -> Proposition:
    """The factorial rate for such keys and gates."""
    small: list[Fact] = [[le(sq(k), 1) for k in x.k], [le(abs(b), 1) for b in x.b],
                         *([[le(0, a), le(a, 1)] for a in rows] for rows in (x.w, x.gamma))]  # fmt: skip
    return implies(le(0, x.eta), *small, x.starts, x.rate(lambda t: (x.eta * t) ** x.m / factorial(x.m)))


def feature_coupling(x: SweepInstance) -> Proposition:
    """The coupling from the squares of keys."""
    squares, tokens = [k * k for k in x.k], range(len(x.k))
    return every(
        eq(
            x.eta * x.w[t] * fading(x.gamma, j + 1, t) * (abs(x.s[t]) @ abs(x.s[j])),
            x.eta * x.w[t] * fading(x.gamma, j + 1, t) * (abs(x.b[t] * x.b[j]) * (squares[t] @ squares[j])),
        )
        for t in tokens
        for j in tokens
    )


register(draw_short, T29_unit_keys=unit_keys, T29_feature_coupling=feature_coupling)


def draw_computed(draw: Draw) -> SweepInstance:
    """Gains v and how far they are, at most, from what they should be: r; and a bound z that r justifies."""
    x = draw_signed(draw)
    x.r = [a + draw.number(0, 1) for a in distance(x.v, x.phi(x.v))]
    x.z = []
    for t in range(len(x.s)):
        x.z.append(x.dragged(x.z, t) + x.r[t] + draw.choice(0, 1))
    return x


register(
    draw_computed,
    T29_certificate=lambda x: x.signed(
        x.off(x.v), [le(x.dragged(x.z, t) + x.r[t], x.z[t]) for t in range(x.T)], x.within(x.v, x.z)
    ),
    T29_defect=lambda x: x.signed(x.off(x.v), x.within(x.v, x.resolved(array(x.r)))),
)
register(  # v is a sweep of u but for r
    varied(draw_signed, r=lambda draw, x: list(distance(x.v, x.phi(x.u)))),
    T29_rounded=lambda x: x.signed(
        x.off(x.u), x.within(x.v, x.resolved(x.coupling() @ distance(x.v, x.u) + array(x.r)))
    ),
)


def spread(x: SweepInstance) -> Proposition:
    """N e in one pass over the tokens."""
    carried, reads = 0 * x.d1, []
    for s, w, gamma, e in zip(x.s, x.w, x.gamma, x.e, strict=True):
        reads.append((x.eta * w * abs(s)) @ carried)
        carried = gamma * carried + e * abs(s)
    return each(eq, x.coupling() @ array(x.e), reads)


register(varied(draw_signed, e=lambda draw, x: draw.numbers(len(x.s))), T29_spread=spread)


def draw_perturbed(draw: Draw) -> SweepInstance:
    """A run p with an error e before and f after every clip, of size at most a and b, and r that adds them up."""
    x = draw_signed(draw)
    count, x.eta = len(x.s), draw.closed_step(x.longest_step())
    x.e, x.f = draw.vectors(count, x.n, -1, 1), draw.vectors(count, x.n, -1, 1)
    x.a, x.b = ([sum(abs(v)) for v in rows] for rows in (x.e, x.f))
    x.p, x.r = [x.d1], [fmpq(0)]
    for t in range(count):
        x.p.append(perturbed_step(x, t))
        x.r.append(x.gamma[t] * x.r[t] + x.a[t] + x.b[t])
    return x


def perturbed_step(x: SweepInstance, t: int) -> Array:
    """p_{t+1} from p_t."""
    free = moved(x.eta, x.w[t], x.gamma[t], x.c, x.p[t], x.s[t])
    return clip(free + x.e[t], x.lo, x.hi) + x.f[t]


def norm_certificate(x: SweepInstance) -> Proposition:
    no_long_step = [le(x.eta * x.w[t] * sq(x.s[t]), 2 * x.gamma[t]) for t in range(x.T)]
    run = [eq(x.p[t + 1], perturbed_step(x, t)) for t in range(x.T)]
    sizes = [[[le(0, size), le(sq(v), size**2)] for v, size in zip(vectors, bounds, strict=True)]
             for vectors, bounds in ((x.e, x.a), (x.f, x.b))]  # fmt: skip
    sums = [eq(x.r[t + 1], x.gamma[t] * x.r[t] + x.a[t] + x.b[t]) for t in range(len(x.s))]
    ends = [le(sq(x.p[t] - d), x.r[t] ** 2) for t, d in enumerate(path(x)[: x.T + 1])]
    start = eq(x.p[0], x.d1), run
    return implies(x.steps, x.gates, no_long_step, *start, *sizes, eq(x.r[0], 0), sums, every(ends))


register(draw_perturbed, T29_norm_certificate=norm_certificate)
