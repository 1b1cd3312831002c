"""T5 to T8 and T14: the regret of the calibrate steps, and what follows from it, on rational instances."""

from itertools import pairwise

from flint import fmpq

from proofs_check.exact.draw import Draw, Instance, varied
from proofs_check.exact.law import register
from proofs_check.exact.numbers import Array, Number, array, product, root, vector
from proofs_check.exact.propositions import Fact, Proposition, eq, every, implies, le, lt, ne
from proofs_check.exact.rules import (
    clip,
    in_box,
    largest,
    losses,
    memories,
    path,
    residual,
    sq,
    surrogate,
    write,
)


class RunInstance(Instance):
    """Features s_t, a comparator, a step, a box and a start; and what the calibrate steps make of them."""

    gaps = property(lambda x: [1 - d @ s for d, s in zip(path(x), x.s, strict=False)])  # 1 - a_t
    gap_sum = property(lambda x: sum(g**2 for g in x.gaps))
    gap_product = property(lambda x: product(g**2 for g in x.gaps))
    surrogates = property(lambda x: sum(surrogate(d, s) for d, s in zip(path(x), x.s, strict=False)))
    start = property(lambda x: sq(x.d1 - x.u))
    constant = property(lambda x: x.start / (x.eta * (2 - x.eta * x.M)))  # C
    rate = property(lambda x: (x.constant / x.T) ** x.T)
    gated = property(lambda x: [abs(1 - b * (1 - g)) for b, g in zip(x.beta, x.gaps, strict=True)])
    missed = property(lambda x: sum(abs(1 - b) for b in x.beta) / x.T)
    mean_square = property(lambda x: sum(b**2 for b in x.beta) / x.T)
    gate_level = property(lambda x: x.missed + root(x.mean_square) * root(x.constant / x.T))
    gates = property(lambda x: [le(0, b) for b in x.beta])
    small = property(lambda x: [le(sq(s), x.M) for s in x.s])
    full_writes = property(lambda x: losses(x, memories(x, path(x), [1] * x.T)))
    aware = property(lambda x: x.but(s=[b * s for b, s in zip(x.beta, x.s, strict=True)]))
    travel = property(lambda x: sum((root(sq(b - a)) for a, b in pairwise(x.u)), fmpq(0)))
    width = property(lambda x: root(sq(x.hi - x.lo)))

    def step_below(self, limit: int) -> list[Proposition]:
        """0 < eta < limit / M."""
        return [lt(0, self.eta), lt(self.eta * self.M, limit)]

    def interpolating(self, conclusion: Proposition, *further: Fact) -> Proposition:
        """A conclusion under the premises of T5."""
        met = [eq(self.u @ s, 1) for s in self.s]
        return implies(
            in_box(self.lo, self.hi, self.u), met, self.small, *self.step_below(2), *further, conclusion
        )

    def beta_aware(self, conclusion: Proposition) -> Proposition:
        """The same for the features beta_t s_t."""
        met = [eq(b * (self.u @ s), 1) for b, s in zip(self.beta, self.s, strict=True)]
        small, step = self.aware.small, self.step_below(2)
        return implies(in_box(self.lo, self.hi, self.u), met, small, *step, conclusion)

    def agnostic(self, inside: Fact, us: list[Array], start: Number) -> Proposition:
        """sum l_t(d_t) <= (sum l_t(u_t) + start / (2 eta)) / (1 - eta M)."""
        spent = sum(surrogate(u, s) for u, s in zip(us, self.s, strict=True))
        bound = (spent + start / (2 * self.eta)) / (1 - self.eta * self.M)
        return implies(inside, self.small, *self.step_below(1), le(self.surrogates, bound))


def decays(found: list[tuple[Number, Number]], rate: Number) -> Proposition:
    """The product of the losses after the writes is at most a rate times that before."""
    before, after = map(product, zip(*found, strict=True))
    return le(after, rate * before)


def with_memory(draw: Draw, x: RunInstance) -> RunInstance:
    """Values and a first memory, such that full writes meet no residual of zero."""
    x.p = draw.value_dim()
    x.S0, x.v = draw.matrix(x.p, x.n), []
    state = x.S0
    for k, d in zip(x.k, path(x), strict=False):
        value = draw.vector(x.p)
        if not any(residual(state, k, value)):
            value = value + 1
        state = write(state, k, value, d, 1)
        x.v.append(value)
    return x


def draw_interpolated(draw: Draw) -> RunInstance:
    """Features with <u, s_t> = 1: u_i = 1/r_i^2 and k_i = w_i r_i with |w| = 1, all rational."""
    n, length = draw.key_dim(), draw.length()
    choices = (1, fmpq(1, 2), 2) if draw.dyadic else (1, fmpq(1, 2), 2, fmpq(3, 2), fmpq(2, 3), fmpq(4, 5))
    radii = array([draw.choice(*choices) for _ in range(n)])
    keys = [draw.unit(n) * radii for _ in range(length)]
    x = RunInstance(n=n, T=length, k=keys, s=[k * k for k in keys], beta=draw.numbers(length, 0, 2))
    x.u, x.M, x.domains = 1 / radii**2, largest(x.s), {"nat": range(length + 2)}
    x.lo, x.hi = draw.box_around(x.u)
    x.d1, x.eta = draw.start(x.lo, x.hi, x.u), draw.step(2 / x.M)
    return with_memory(draw, x)


def draw_aware(draw: Draw) -> RunInstance:
    """beta_t <u, s_t> = 1 with the feature beta_t s_t: keys divided by the root of their gate."""
    x = draw_interpolated(draw)
    roots = [draw.choice(fmpq(1, 2), 1, 2) for _ in x.k]
    x.beta = [r**2 for r in roots]
    x.k = [k / r for r, k in zip(roots, x.k, strict=True)]
    x.s = [k * k for k in x.k]
    return with_memory(draw, x)


register(
    draw_interpolated,
    T5_interpolating_regret=lambda x: x.interpolating(le(x.gap_sum, x.constant)),
    T6_super_geometric=lambda x: x.interpolating(le(x.gap_product, x.rate)),
    T6_token_losses=lambda x: x.interpolating(decays(x.full_writes, x.rate)),
    T6_residual_ratios=lambda x: x.interpolating(
        le(product(after / before for before, after in x.full_writes), x.rate),
        [ne(before, 0) for before, _ in x.full_writes],
    ),
    T7_mean_bound=lambda x: x.interpolating(le(sum(x.gated) / x.T, x.gate_level), x.gates),
    T7_product_bound=lambda x: x.interpolating(le(product(x.gated), x.gate_level**x.T), x.gates),
    T7_token_losses=lambda x: x.interpolating(
        decays(losses(x, memories(x, path(x))), (x.gate_level**x.T) ** 2), x.gates
    ),
)
register(
    draw_aware,
    T7_beta_aware_regret=lambda x: x.beta_aware(le(x.aware.gap_sum, x.constant)),
    T7_beta_aware_super_geometric=lambda x: x.beta_aware(le(x.aware.gap_product, x.rate)),
    T7_beta_aware_token_losses=lambda x: x.beta_aware(decays(losses(x, memories(x, path(x.aware))), x.rate)),
)


def aware_feedback(x: RunInstance) -> Proposition:
    """d_{t+1} = clip(d_t + eta beta_t (1 - beta_t a_t) s_t) is the scan of the features beta_t s_t."""
    found, steps = path(x.aware), zip(path(x.aware), x.s, x.beta, strict=False)
    goals = [clip(d + x.eta * (b * (1 - b * (d @ s))) * s, x.lo, x.hi) for d, s, b in steps]
    return every(map(eq, found[1:], goals))


register(
    varied(draw_aware, domains=lambda draw, x: {"nat": range(x.T)}), T7_beta_aware_feedback=aware_feedback
)


def draw_agnostic(draw: Draw) -> RunInstance:
    """Any features, any comparator in the box."""
    n, length = draw.key_dim(), draw.length()
    keys = draw.keys(length, n)
    x = RunInstance(n=n, T=length, k=keys, s=[k * k for k in keys], u=draw.vector(n, 0, 2))
    x.M, x.domains = largest(x.s), {"nat": range(length + 2)}
    x.lo, x.hi = draw.box_around(x.u)
    x.d1, x.eta = draw.start(x.lo, x.hi, x.u), draw.step(1 / x.M)
    return x


def draw_pulled(draw: Draw) -> RunInstance:
    """At times d_1 = u, and features that pull it to and fro: the regret is all the comparator's."""
    x = draw_agnostic(draw)
    if draw.kind == "random":
        x.d1, x.T, x.s = x.u, 5, [(4 if t % 2 else 1) * x.s[0] for t in range(5)]
        x.M, x.domains = largest(x.s), {"nat": range(7)}
        x.eta = fmpq(3, 4) / x.M
    return x


def draw_tracking(draw: Draw) -> RunInstance:
    """A moving comparator in a bounded box; half of the time d_1 = u_1."""
    x = draw_agnostic(draw)
    if draw.kind != "boxed":
        x.lo, x.hi = vector(x.n, 0), array([draw.choice(2, 3, fmpq(5, 2)) for _ in range(x.n)])
    x.u = [x.lo + (x.hi - x.lo) * draw.vector(x.n, 0, 1) for _ in range(x.T)]
    return x.but(d1=draw.choice(x.u[0], x.d1))


register(
    draw_pulled, T8_agnostic_regret=lambda x: x.agnostic(in_box(x.lo, x.hi, x.u), [x.u] * len(x.s), x.start)
)
register(
    draw_tracking,
    T14_tracking=lambda x: x.agnostic(
        [in_box(x.lo, x.hi, u) for u in x.u], x.u, sq(x.d1 - x.u[0]) + 2 * x.width * x.travel
    ),
)
