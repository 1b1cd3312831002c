"""T28: two features that take turns, and how little T6 leaves to gain, on rational instances."""

from flint import fmpq

from proofs_check.exact.draw import Draw, Instance, varied
from proofs_check.exact.law import register
from proofs_check.exact.numbers import Number, array, product
from proofs_check.exact.propositions import Fact, Proposition, eq, implies, le, lt
from proofs_check.exact.rules import path, sq

SQUARES = {1: (1, 1, 1, 0), 2: (2, 1, 0, 0), 3: (2, 1, 1, 1), 4: (3, 0, 0, 0)}
"""T -> four numbers whose squares add up to 2 T + 1."""

EULER = fmpq(2718281829, 10**9)
"""Just above e."""


class AlternatingInstance(Instance):
    """Two features of squared norm M = 2 T + 2, of cosine 1 - 1/(T + 1), a comparator and a start in their plane."""

    cosine = property(lambda x: x.s1 @ x.s2 / x.M)
    sine = property(lambda x: 1 - x.cosine**2)  # squared
    C = property(lambda x: x.M * sq(x.d1 - x.u))

    @property
    def ratios(self) -> Number:
        """The product of (1 - a_t)^2 for eta = 1/M, unprojected."""
        features = [self.s2 if t % 2 else self.s1 for t in range(self.T)]
        found = path(self.but(s=features, eta=1 / self.M), project=False)
        return product((1 - d @ s) ** 2 for d, s in zip(found, features, strict=False))

    def placed(self, *facts: Fact) -> Proposition:
        """What holds of such features and such a start."""
        norms, fits = (
            [eq(sq(s), self.M) for s in (self.s1, self.s2)],
            [eq(self.u @ s, 1) for s in (self.s1, self.s2)],
        )
        plane = eq(self.d1 - self.u, self.a * self.s1 + self.b * self.s2)
        return implies(lt(0, self.M), norms, fits, plane, eq((self.d1 - self.u) @ self.s2, 0), *facts)


def inverse(m: int) -> Number:
    """1/m, and 0 for 0 as in MathComp."""
    return fmpq(1, m) if m else fmpq(0)


def draw_alternating(draw: Draw) -> AlternatingInstance:
    length, scale = draw.integer(1, 4), draw.choice(1, fmpq(1, 2), 2)
    half = array([fmpq(a) for a in (*SQUARES[length], 0)])
    apart = array([fmpq(0)] * 4 + [fmpq(1)])
    x = AlternatingInstance(
        n=5, T=length, s1=scale * (half + apart), s2=scale * (half - apart), M=scale**2 * 2 * (length + 1)
    )
    x.u, x.a = half / (scale * (2 * length + 1)), draw.positive()
    x.b = -x.a * x.cosine
    return x.but(d1=x.u + x.a * x.s1 + x.b * x.s2)


register(
    draw_alternating,
    T28_alternating_product=lambda x: x.placed(
        eq(x.ratios, (x.C * x.sine) ** x.T * (1 - x.sine) ** (x.T * (x.T - 1) // 2))
    ),
)
register(
    varied(draw_alternating, e=lambda draw, x: EULER, domains=lambda draw, x: {"nat": range(3)}),
    T28_tight=lambda x: x.placed(
        [le((1 + inverse(m)) ** m, x.e) for m in x.domains["nat"]], le(1, x.T),
        eq(x.cosine, 1 - 1 / fmpq(x.T + 1)), le((2 / x.e) ** x.T * (x.C / x.T) ** x.T, x.ratios),
    ),
)  # fmt: skip
