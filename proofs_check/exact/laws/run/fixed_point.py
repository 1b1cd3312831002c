"""T15: d = 1 stays for unit keys, and other starts go there where keys keep spanning, on rational instances."""

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import Draw, Instance, varied
from proofs_check.exact.law import register
from proofs_check.exact.numbers import Array, Number, inverse, is_invertible, vector
from proofs_check.exact.propositions import Fact, Proposition, each, eq, every, implies, le, lt
from proofs_check.exact.rules import in_box, largest, memories, path, residual, sq, write


class UnitInstance(Instance):
    """Unit keys and a box that holds 1; and for keys that come again with period N, what that gives."""

    ones = property(lambda x: 0 * x.lo + 1)
    gained = property(lambda x: x.eta * (2 - x.eta * x.M) * x.c)
    weight = property(lambda x: 2 * (1 + (x.N * x.eta * x.M) ** 2))

    def unit_keys(self, conclusion: Fact) -> Proposition:
        """A conclusion under these premises."""
        return implies([eq(sq(k), 1) for k in self.k], in_box(self.lo, self.hi, self.ones), conclusion)

    def excited(self, start: int) -> Proposition:
        """c |y|^2 <= sum over the window of <y, s_t>^2, on a sample of y."""
        window = [self.s[(start + i) % self.N] for i in range(self.N)]
        return every(le(self.c * sq(y), sum((y @ s) ** 2 for s in window)) for y in self.domains["x"])

    def stepping(self, *facts: Fact) -> Proposition:
        """What holds of steps below 2/M from a start in the box."""
        tokens = [t % self.N for t in range(2)]
        boxed = [in_box(self.lo, self.hi, d) for d in (self.ones, self.d1)]
        keys, small = [eq(sq(self.k[t]), 1) for t in tokens], [le(sq(self.s[t]), self.M) for t in tokens]
        return implies(*boxed, keys, small, lt(0, self.eta), lt(self.eta * self.M, 2), *facts)

    def distances(self, tokens: int) -> list[Number]:
        """|d_t - 1|^2, the period over and over."""
        run = self.but(s=[self.s[t % self.N] for t in range(tokens)])
        return [sq(d - self.ones) for d in path(run)]


def draw_unit_stream(draw: Draw) -> UnitInstance:
    """Unit keys, d_1 = 1 inside the box, no forgetting, any step, any gate."""
    n, p, length = draw.key_dim(), draw.value_dim(), draw.length()
    keys = [draw.unit(n) for _ in range(length)]
    x = UnitInstance(n=n, p=p, k=keys, s=[k * k for k in keys], v=draw.vectors(length, p), S0=draw.matrix(p, n),
                     beta=draw.numbers(length, 0, 2), d1=vector(n, 1), eta=draw.positive())  # fmt: skip
    x.lo, x.hi = draw.box_around(x.d1)
    return x.but(domains={"nat": range(length)})


register(
    draw_unit_stream,
    T15_identity_fixed_point=lambda x: x.unit_keys(each(eq, path(x), [x.ones] * len(x.s))),
    T15_osdn_is_deltanet=lambda x: x.unit_keys(
        each(eq, memories(x, path(x)), memories(x, [x.ones] * len(x.k))[:-1])
    ),
)
register(
    varied(draw_unit_stream, v=lambda draw, x: x.v[0], beta=lambda draw, x: x.beta[0]),
    T15_write_is_deltanet=lambda x: x.unit_keys(
        each(
            eq,
            [write(x.S0, k, x.v, d, x.beta) for k, d in zip(x.k, path(x), strict=False)],
            [x.S0 + x.beta * np.outer(residual(x.S0, k, x.v), k) for k in x.k],
        )
    ),
)


def draw_excited(draw: Draw) -> UnitInstance:
    """Unit keys, one period of N of them, whose squares span; 0 < eta < 2/M; a start in the box."""
    n = draw.key_dim(3)
    keys = [draw.unit(n) for _ in range(draw.integer(n, n + 1))]
    while not is_invertible(moments(keys)):
        keys.append(draw.unit(n))
    x = UnitInstance(n=n, N=len(keys), k=keys, s=[k * k for k in keys])
    x.c, x.M = 1 / np.trace(inverse(moments(keys))), largest(x.s)
    x.eta = draw.step(2 / x.M)
    x.lo, x.hi = draw.box_around(vector(n, 1))
    x.d1 = draw.start(x.lo, x.hi, vector(n, 1))
    return x.but(q=1 - x.gained / x.weight, domains={"nat": range(2), "x": draw.vectors(2, n)})


def moments(keys: list[Array]) -> Array:
    """sum of s s^T."""
    return sum((np.outer(k * k, k * k) for k in keys), fmpq(0))


def shrinks(x: UnitInstance) -> list[Proposition]:
    """By a factor q for each period."""
    found = x.distances(x.N)
    return [le(found[m * x.N], x.q**m * sq(x.d1 - x.ones)) for m in range(2)]


def window_shrinks(x: UnitInstance, t: int) -> Proposition:
    """From t on, by as much."""
    found = x.distances(x.N + 1)
    return implies(x.excited(t), le(x.weight * found[t + x.N], (x.weight - x.gained) * found[t]))


register(
    draw_excited,
    T15_limit=lambda x: x.stepping(
        lt(0, x.c), [x.excited(m * x.N) for m in range(2)], [le(0, x.q), lt(x.q, 1), shrinks(x)]
    ),
    T15_limit_window=lambda x: x.stepping([window_shrinks(x, t) for t in range(2)]),
)
