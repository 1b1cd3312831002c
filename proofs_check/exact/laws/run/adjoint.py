"""T29: the clip maps that sweeps compose, and the adjoint of the scan, on rational instances."""

import numpy as np

from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.law import register
from proofs_check.exact.laws.run.sweeps import Gains, SweepInstance, distance, draw_signed, power
from proofs_check.exact.numbers import Array, Number, array
from proofs_check.exact.propositions import Fact, Proposition, each, either, eq, every, implies, le
from proofs_check.exact.rules import clip, moved, path

Map = tuple[tuple[tuple[Number, Number], Number], Number]
"""x -> min(h, max(l, a x + b)) as (((a, b), l), h)."""


def draw_maps(draw: Draw) -> Instance:
    """Three maps and a number to try them on."""
    x = Instance(x=draw.number(-4, 4))
    for name in "fgh":
        low, high = sorted(draw.numbers(2))
        setattr(x, name, (((draw.number(0, 2), draw.number()), low), high))
    return x


def value(f: Map, x: Number) -> Number:
    ((slope, offset), low), high = f
    return min(high, max(low, slope * x + offset))


def composed(g: Map, f: Map) -> Map:
    """g after f."""
    ((slope, offset), low), high = f
    ((outer, shift), _), _ = g
    return ((outer * slope, outer * offset + shift), value(g, low)), value(g, high)


def rising(f: Map) -> Proposition:
    return le(0, f[0][0][0])


def ordered(f: Map) -> Proposition:
    return le(f[0][1], f[1])


register(
    draw_maps,
    T29_composition=lambda x: implies(
        rising(x.g),
        ordered(x.f),
        ordered(x.g),
        eq(value(composed(x.g, x.f), x.x), value(x.g, value(x.f, x.x))),
    ),
    T29_associative=lambda x: implies(
        rising(x.h),
        ordered(x.g),
        ordered(x.h),
        eq(composed(x.h, composed(x.g, x.f)), composed(composed(x.h, x.g), x.f)),
    ),
)


def token_map(x: SweepInstance, i: int, t: int) -> Map:
    """What token t does to entry i."""
    return ((x.gamma[t], x.c[i] - x.gamma[t] * x.c[i] + x.u[t] * x.s[t][i]), x.lo[i]), x.hi[i]


def token_maps(x: SweepInstance) -> Proposition:
    run, tokens = x.driven(x.u), range(len(x.s))
    return every(eq(run[t + 1][i], value(token_map(x, i, t), run[t][i])) for i in range(x.n) for t in tokens)


def joined(x: SweepInstance) -> Proposition:
    run, facts = x.driven(x.u), []
    for i in range(x.n):
        whole = token_map(x, i, 0)
        for t in range(len(x.s)):
            whole = composed(token_map(x, i, t), whole) if t else whole
            facts.append(implies(x.gates, le(x.lo[i], x.hi[i]), eq(run[t + 1][i], value(whole, x.d1[i]))))
    return every(facts)


register(draw_signed, T29_token_map=token_maps, T29_joined=joined)


class AdjointInstance(SweepInstance):
    """A scan, a clip pattern, weights of every iterate, a change d of d_1, and two runs of adjoint gains."""

    backwards = property(lambda x: np.flip(x.coupling()[: x.T, : x.T].T))  # N for the adjoint's run
    own = property(lambda x: x.adjoints()[1])
    weighted = property(lambda x: sum(g @ d for g, d in zip(x.weight, x.tangents(x.d), strict=False)))

    def tangents(self, change: Array) -> list[Array]:
        """How the iterates move with d_1, the clip pattern fixed."""
        d, found = change, [change]
        for s, w, gamma, kept in zip(self.s[: self.T], self.w, self.gamma, self.kept, strict=False):
            d = kept * (gamma * d - self.eta * w * (d @ s) * s)
            found.append(d)
        return found

    def adjoints(self, gains: Gains | None = None) -> tuple[Array, Gains]:
        """lambda_1, and the gains that the adjoint run wants, backwards in time: first of token T.

        `gains` drive the run in the place of its own.
        """
        state, seen = self.weight[self.T], []
        for back in range(self.T):
            t = self.T - 1 - back
            kept = self.kept[t] * state
            seen.append(self.s[t] @ kept)
            gain = seen[-1] if gains is None else gains[back]
            state = self.weight[t] + self.gamma[t] * kept - self.eta * self.w[t] * gain * self.s[t]
        return state, seen

    def adjoint_swept(self) -> Gains:
        """After m sweeps from q."""
        gains: Gains = self.q
        for _ in range(self.m):
            gains = self.adjoints(gains)[1]
        return gains

    def q_off(self, other: Gains) -> Array:
        """|q - other| for the first T gains."""
        return distance(self.q[: self.T], other[: self.T])

    def patterned(self, *facts: Fact) -> Proposition:
        """What holds for gates and steps that are not negative and a clip pattern between 0 and 1."""
        return self.signed(every([le(0, a), le(a, 1)] for kept in self.kept for a in kept), *facts)

    def carried(self, s: int) -> Number:
        """What the coupling makes of the bounds before gain s."""
        n = self.backwards
        return sum((n[s, j] * self.z[j] for j in range(s)), 0 * self.eta)


def draw_adjoint(draw: Draw) -> AdjointInstance:
    x = AdjointInstance(**vars(draw_signed(draw)))
    count = len(x.s)
    x.kept = [array([draw.choice(0, 1) for _ in range(x.n)]) for _ in range(count)]
    x.weight, x.d, x.q, x.m = draw.vectors(count, x.n), draw.vector(x.n), draw.numbers(count), min(x.m, x.T)
    return x.but(q_prime=draw.numbers(count))


def draw_adjoint_computed(draw: Draw) -> AdjointInstance:
    """How far q is from what it should be, and a bound z that this justifies."""
    x = draw_adjoint(draw)
    x.r, x.z = list(x.q_off(x.adjoints(x.q)[1])), []
    for s in range(x.T):
        x.z.append(x.carried(s) + x.r[s] + draw.choice(0, 1))
    return x


register(
    draw_adjoint,
    T29_adjoint=lambda x: eq(x.weighted, x.adjoints()[0] @ x.d),
    T29_adjoint_comparison=lambda x: x.patterned(
        each(le, distance(x.adjoints(x.q)[1], x.adjoints(x.q_prime)[1]), x.backwards @ x.q_off(x.q_prime))
    ),
    T29_adjoint_sweeps=lambda x: x.patterned(
        each(le, distance(x.adjoint_swept(), x.own), power(x.backwards, x.m, x.q_off(x.own)))
    ),
    T29_last_adjoints=lambda x: each(eq, x.adjoint_swept()[: x.m], x.own),
)
register(
    draw_adjoint_computed,
    T29_adjoint_certificate=lambda x: x.patterned(
        each(le, x.q_off(x.adjoints(x.q)[1]), x.r), [le(x.carried(s) + x.r[s], x.z[s]) for s in range(x.T)],
        each(le, x.q_off(x.own), x.z),
    ),
)  # fmt: skip


def draw_one_pattern(draw: Draw) -> AdjointInstance:
    """Two starts, and a box that is either out of reach or a single point, feature by feature."""
    x = draw_adjoint(draw)
    x.d, x.e = x.d1, draw.vector(x.n, 0, 2)
    wide, point = array([draw.choice(0, 1) for _ in range(x.n)]), draw.vector(x.n)
    x.lo, x.hi = ((1 - wide) * point + side * wide * 10**9 for side in (-1, 1))
    return x.but(kept=[wide] * len(x.s))


def tangent(x: AdjointInstance) -> Proposition:
    runs = [path(x, start=start) for start in (x.d, x.e)]
    facts = [_one_pattern(x, runs, t, i) for t in range(x.T) for i in range(x.n)]
    moves = zip(*(run[: x.T + 1] for run in runs), x.tangents(x.d - x.e), strict=True)
    return implies(every(facts), every(eq(a - b, change) for a, b, change in moves))


def _one_pattern(x: AdjointInstance, runs: list[list[Array]], t: int, i: int) -> Proposition:
    """Entry i of token t is kept in both runs, or clipped to the same face."""
    steps = [moved(x.eta, x.w[t], x.gamma[t], x.c, run[t], x.s[t]) for run in runs]
    clipped = [clip(step, x.lo, x.hi)[i] for step in steps]
    kept = every(eq(x.kept[t][i], 1), [eq(a, step[i]) for a, step in zip(clipped, steps, strict=True)])
    return either(kept, every(eq(x.kept[t][i], 0), eq(*clipped)))


register(draw_one_pattern, T29_tangent=tangent)
