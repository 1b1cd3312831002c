"""T17 and T27 with gates over many tokens: what the state's gate contracts, and feedback that knows the write gate."""

from __future__ import annotations

from flint import fmpq

from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.law import register
from proofs_check.exact.laws.negative import at, one
from proofs_check.exact.laws.rate import DriftInstance, draw_realisable
from proofs_check.exact.laws.run.quadratic import QuadraticInstance, draw_plain
from proofs_check.exact.laws.run.regret import decays
from proofs_check.exact.laws.token import TokenInstance, lyapunov, positive
from proofs_check.exact.numbers import Array, Number, product, vector
from proofs_check.exact.propositions import Fact, Proposition, eq, every, implies, le, lt
from proofs_check.exact.rules import alignment, frob_sq, path, token_loss, write


class TwoStates(Instance):
    """One gated write of two memories S and S', with d in [lo, hi] and alpha_i^2 <= a."""

    reach = property(lambda x: x.b * alignment(x.d, x.k))
    before = property(lambda x: x.S0 - x.S_prime)
    after = property(lambda x: x.written(x.S0) - x.written(x.S_prime))
    contracting = property(lambda x: [le(0, x.reach), le(x.reach, 2)])
    boxed = property(lambda x: [[le(x.lo, a), le(a, x.hi)] for a in x.d])

    def written(self, state: Array) -> Array:
        return write(state * self.al, self.k, self.v, self.d, self.b)

    def gated(self, limit: Number) -> list[Proposition]:
        return [le(a**2, limit) for a in self.al]


def draw_states(draw: Draw) -> TwoStates:
    """At times nothing is written and d is one number: the gate is all there is."""
    n, p = draw.key_dim(3), draw.value_dim()
    x = TwoStates(n=n, p=p, k=draw.unit(n), v=draw.vector(p), S0=draw.matrix(p, n), S_prime=draw.matrix(p, n))
    still = draw.kind in ("limit", "single")
    x.d = vector(n, 1) if still else draw.vector(n, fmpq(1, 2), 2)
    x.lo, x.hi = min(x.d), max(x.d)
    x.b = (fmpq(0) if still else draw.number(0, 2)) / alignment(x.d, x.k)
    share = x.lo / x.hi
    x.al = vector(n, draw.choice(-1, 1)) if still else share * draw.vector(n, -1, 1)
    return x.but(a=max(a**2 for a in x.al))


register(
    draw_states,
    T27_gated_contraction=lambda x: implies(
        positive(x.d), x.contracting, x.gated(x.a), le(lyapunov(x.d, x.after), x.a * lyapunov(x.d, x.before))
    ),
    T27_gated_norm=lambda x: implies(
        lt(0, x.lo), le(x.lo, x.hi), x.boxed, x.contracting, x.gated(x.lo / x.hi),
        le(frob_sq(x.after), frob_sq(x.before)),
    ),
)  # fmt: skip


def gated_states(x: Instance, state: Array, ds: list[Array]) -> list[Array]:
    """S_0, S_1, ... with a gate for every feature."""
    found = [state]
    for alpha, k, v, d, beta in zip(x.alpha, x.k, x.v, ds, x.beta, strict=False):
        found.append(write(found[-1] * alpha, k, v, d, beta))
    return found


def draw_gated_drift(draw: Draw) -> DriftInstance:
    """Gates with alpha_i^2 <= a_t, a second start, and values of any kind."""
    x = draw_realisable(draw)
    x.v, x.S0_prime = draw.vectors(len(x.k), x.p), draw.matrix(x.p, x.n)
    if draw.kind in ("limit", "single"):
        x.beta, x.alpha = [fmpq(0)] * len(x.k), [vector(x.n, draw.choice(-1, 1)) for _ in x.k]
    else:
        x.alpha = draw.vectors(len(x.k), x.n, -1, 1)
    return x.but(a=[max(a**2 for a in alpha) for alpha in x.alpha])


def gated_product(x: DriftInstance) -> Proposition:
    tokens = range(x.T)
    before, after = (
        lyapunov(x.d[t], gated_states(x, x.S0, x.d)[t] - gated_states(x, x.S0_prime, x.d)[t])
        for t in (0, x.T)
    )
    steps: Fact = [[le(0, a), le(a, 2)] for a in x.reaches[: x.T]]
    gates: Fact = [[le(a**2, x.a[t]) for a in x.alpha[t]] for t in tokens]
    limit = product(x.a[t] * max(x.d[t] / x.d[t + 1]) for t in tokens) * before
    return implies(
        [positive(d) for d in x.d], steps, [le(0, x.a[t]) for t in tokens], gates, le(after, limit)
    )


register(draw_gated_drift, T27_gated_product=gated_product)


def draw_aware(draw: Draw) -> QuadraticInstance:
    """Keys, write gates and state gates; M is that of beta_t s_t."""
    x = draw_plain(draw)
    x.p, x.hidden, x.beta = draw.value_dim(), ("s", "w", "gamma", "c"), draw.numbers(x.T, fmpq(1, 4), 2)
    x.v, x.S0, x.alpha = draw.vectors(x.T, x.p, 1, 2), draw.matrix(x.p, x.n), draw.vectors(x.T, x.n, 0, 1)
    x.s = [b * s for b, s in zip(x.beta, x.s, strict=True)]
    x.M = max(s @ s for s in x.s)
    return x.but(eta=draw.step(2 / x.M))


def aware_losses(x: QuadraticInstance) -> Proposition:
    """The product of the losses after the writes, against that before them, both of the gated state."""
    states = gated_states(x, x.S0, path(x))
    found = [
        (token_loss(s * alpha, k, v), token_loss(after, k, v))
        for s, after, alpha, k, v in zip(states, states[1:], x.alpha, x.k, x.v, strict=False)
    ]
    return x.plain(decays(found, (x.X / x.T) ** x.T))


def plain_leaves(x: TokenInstance) -> Proposition:
    rest = (1 - x.beta) ** 2 * x.loss(x.S0 * x.alpha)
    return implies(eq(alignment(x.d, x.k), 1), eq(x.loss(write(x.S0 * x.alpha, x.k, x.v, x.d, x.beta)), rest))


def draw_fitting(draw: Draw) -> TokenInstance:
    """d with <d, s> = 1, and a state gate."""
    n, p = draw.key_dim(), draw.value_dim()
    x = TokenInstance(
        n=n, p=p, k=draw.key(n), v=draw.vector(p, 1, 2), S0=draw.matrix(p, n), beta=draw.number(0, 2)
    )
    if not any(x.k):
        x.k[0] = fmpq(1)
    s = x.k**2
    return x.but(d=s / (s @ s), alpha=draw.vector(n, 0, 1))


def left_by_half(feature: Number, t: int) -> Number:
    """What the t-th write, from 0, leaves of its loss where beta = 1/2 and feedback of step 4 is in `feature`."""
    run = Instance(s=[one(feature)] * (t + 1), eta=fmpq(4), lo=one(0), hi=one(3), d1=one(1))
    return (1 - path(run)[t][0] / 2) ** 2


def half_written(x: Instance) -> Proposition:
    """One feature of 1, beta = 1/2, eta = 4: d stays at 1 by plain feedback, and goes to 2 at once by the other."""
    return every(
        [eq(left_by_half(fmpq(1), t), fmpq(1, 4)), eq(left_by_half(fmpq(1, 2), t + 1), 0)]
        for t in x.domains["nat"]
    )


register(draw_aware, T17_beta_aware_token_losses=aware_losses)
register(draw_fitting, T17_plain_feedback_leaves=plain_leaves)
register(at(), T17_needs_beta_aware=half_written)
