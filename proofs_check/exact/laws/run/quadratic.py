"""T20, T21 and the robust T15: regret against any point of the box, with forgetting, on rational instances."""

from flint import fmpq

from proofs_check.exact.draw import Draw, Instance, varied
from proofs_check.exact.law import register
from proofs_check.exact.laws.run.regret import (
    RunInstance,
    decays,
    draw_agnostic,
    draw_interpolated,
    with_memory,
)
from proofs_check.exact.numbers import Number, product, root
from proofs_check.exact.propositions import Fact, Proposition, eq, implies, le, lt
from proofs_check.exact.rules import in_box, path, sq


def quadratic_bound(eta: Number, mu: Number, misfit: Number, start: Number) -> Number:
    """X = ((B + sqrt(B^2 + mu D / eta)) / mu)^2, from B^2 and D."""
    return ((root(misfit) + root(misfit + mu * (start / eta))) / mu) ** 2


class QuadraticInstance(RunInstance):
    """A run with weights, forgetting and an anchor, and a comparator that need not interpolate."""

    mu = property(lambda x: 2 - x.eta * x.M)
    pulls = property(lambda x: sum(1 - g for g in x.gamma) * sq(x.c - x.u))
    squares = property(lambda x: [w * (1 - d @ s) ** 2 for w, d, s in zip(x.w, path(x), x.s, strict=False)])
    misfit = property(lambda x: sum((w * (1 - x.u @ s) ** 2 for w, s in zip(x.w, x.s, strict=True)), fmpq(0)))
    X = property(lambda x: quadratic_bound(x.eta, x.mu, x.misfit, x.start + x.pulls))

    @property
    def limits(self) -> list[Number]:
        """R_1 = |d_1 - u|^2, R_{t+1} = gamma_t R_t + (1 - gamma_t)|c - u|^2 + (eta/mu) w_t (1 - <u, s_t>)^2."""
        found = [self.start]
        for w, gamma, s in zip(self.w, self.gamma, self.s, strict=True):
            pulled = gamma * found[-1] + (1 - gamma) * sq(self.c - self.u)
            found.append(pulled + self.eta / self.mu * (w * (1 - self.u @ s) ** 2))
        return found

    def plain(self, conclusion: Proposition) -> Proposition:
        """What T20 says, for w = gamma = 1."""
        return implies(in_box(self.lo, self.hi, self.u), self.small, *self.step_below(2), conclusion)

    def forgetting(self, *facts: Fact) -> Proposition:
        """What T21 says."""
        gates = [[lt(0, g), le(g, 1)] for g in self.gamma]
        small = [le(w * sq(s), g * self.M) for w, s, g in zip(self.w, self.s, self.gamma, strict=True)]
        weights = [le(0, w) for w in self.w]
        return implies(in_box(self.lo, self.hi, self.u), weights, gates, small, *self.step_below(2), *facts)


def draw_plain(draw: Draw) -> QuadraticInstance:
    """Any features and comparator; at times d_1 = u and a short step, where the bound is all the misfit's."""
    x = QuadraticInstance(**vars(draw_agnostic(draw)))
    x.w, x.gamma, x.c, x.eta = [fmpq(1)] * x.T, [fmpq(1)] * x.T, 0 * x.u, draw.step(2 / x.M)
    if draw.kind in ("random", "single"):
        x.d1, x.eta = x.u, x.eta / 64
    return x


def forgetful(draw: Draw, x: QuadraticInstance) -> QuadraticInstance:
    """With weights and forgetting, and M and the step that they allow."""
    x.w = [draw.choice(1, 1, fmpq(1, 2), 2, 0) for _ in x.s]
    x.gamma = [draw.choice(1, fmpq(7, 8), fmpq(1, 2)) for _ in x.s]
    x.w[0], x.c = fmpq(1), draw.choice(x.u, draw.vector(x.n, 0, 2))
    x.M = max(w * sq(s) / g for w, s, g in zip(x.w, x.s, x.gamma, strict=True))
    x.eta = draw.step(2 / x.M) / draw.choice(1, 64)
    return x


register(
    draw_plain,
    T20_quadratic_regret=lambda x: x.plain(le(x.gap_sum, x.X)),
    T20_super_geometric=lambda x: x.plain(le(x.gap_product, (x.X / x.T) ** x.T)),
)
register(
    lambda draw: with_memory(draw, draw_plain(draw)),
    T20_token_losses=lambda x: x.plain(decays(x.full_writes, (x.X / x.T) ** x.T)),
)
register(
    varied(draw_plain, d1=lambda draw, x: x.d1 + draw.choice(0, 1)),
    T15_robust=lambda x: x.plain(le(sq(path(x)[x.T] - x.u), x.start + x.eta / x.mu * x.misfit)),
)
register(
    lambda draw: forgetful(draw, draw_plain(draw)),
    T21_forgetting_regret=lambda x: x.forgetting(le(sum(x.squares), x.X)),
    T21_distance=lambda x: x.forgetting([le(sq(d - x.u), r) for d, r in zip(path(x), x.limits, strict=True)]),
    T21_super_geometric=lambda x: x.forgetting(le(product(x.squares), (x.X / x.T) ** x.T)),
)
register(
    varied(
        lambda draw: forgetful(draw, QuadraticInstance(**vars(draw_interpolated(draw)))),
        c=lambda draw, x: x.u,
        eta=lambda draw, x: draw.step(2 / x.M),
    ),
    T21_anchor_at_u=lambda x: x.forgetting(
        [eq(x.u @ s, 1) for s in x.s], le(product(x.squares), (x.constant / x.T) ** x.T)
    ),
)


def draw_scalars(draw: Draw) -> Instance:
    """eta, mu, B^2 and D."""
    return Instance(
        eta=draw.positive(),
        mu=1 + draw.positive(),
        A=draw.choice(0, 1, draw.positive()) ** 2,
        D=draw.number(0, 2),
    )


register(
    draw_scalars,
    T20_is_T5=lambda x: implies(
        lt(0, x.eta), lt(0, x.mu), le(0, x.D), eq(quadratic_bound(x.eta, x.mu, fmpq(0), x.D), x.D / (x.eta * x.mu))
    ),
    T20_never_above_T8=lambda x: implies(
        lt(0, x.eta), lt(1, x.mu), le(0, x.A), le(0, x.D),
        le(quadratic_bound(x.eta, x.mu, x.A, x.D), (x.A + x.D / x.eta) / (x.mu - 1)),
    ),
)  # fmt: skip
