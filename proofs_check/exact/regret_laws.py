"""T5, T6, T7: interpolating regret and what follows from it, on rational instances with the box projection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

from flint import fmpq

from proofs_check.exact import linear as la, rules
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance, Law, Relation, at_most, equal
from proofs_check.exact.roots import root


def product(factors: list[Any]) -> Any:
    """The product of numbers."""
    result = 1
    for factor in factors:
        result = result * factor
    return result


def interpolated(draw: Draw) -> Instance:
    """Features with <u, s_t> = 1: u_i = 1/r_i^2 and k_i = w_i r_i with |w| = 1, all rational."""
    n, length = draw.key_dim(), draw.length()
    choices = (1, fmpq(1, 2), 2) if draw.dyadic else (1, fmpq(1, 2), 2, fmpq(3, 2), fmpq(2, 3), fmpq(4, 5))
    radii = [draw.choice(*choices) for _ in range(n)]
    keys = [la.had(draw.unit(n), radii) for _ in range(length)]
    u = [1 / (r * r) for r in radii]
    betas = [draw.number(0, 2) for _ in range(length)]
    x = Instance(keys=keys, features=[la.sq(k) for k in keys], betas=betas, u=u, eta=fmpq(1))
    x.low, x.high = draw.box_around(u)
    x.d1 = draw.start(x.low, x.high, u)
    x.eta = draw.step(2 / rules.largest(x))
    return x


def constant(x: Instance) -> Any:
    """C = |d_1 - u|^2 / (eta |2 - eta M|); the bars matter to mutants only, which a negative C would make trivial."""
    return la.norm_sq(la.sub(x.d1, x.u)) / (x.eta * abs(2 - x.eta * rules.largest(x)))


def regret(x: Instance, *, bound: Callable[[Instance], Any] = constant, sign: int = 1) -> Iterator[Relation]:
    """sum (1 - a_t)^2 <= C."""
    yield at_most("sum (1 - a_t)^2", la.norm_sq(rules.gaps(x, sign=sign)), bound(x))


INTERPOLATING = {
    "u in the box": lambda x: la.inside(x.u, x.low, x.high),
    "<u, s_t> = 1": lambda x: all(la.dot(x.u, s) == 1 for s in x.features),
    "0 < eta < 2/M": lambda x: x.eta > 0 and x.eta * rules.largest(x) < 2,
}


def too_long_step(draw: Draw) -> Instance:
    """eta = 5/(2M)."""
    x = interpolated(draw)
    x.eta = fmpq(5, 2) / rules.largest(x)
    return x


def not_interpolated(draw: Draw) -> Instance:
    """Keys of twice or half the length that <u, s_t> = 1 needs."""
    x = interpolated(draw)
    x.keys = [la.scale(draw.choice(fmpq(1, 2), fmpq(2)), k) for k in x.keys]
    x.features = [la.sq(k) for k in x.keys]
    x.eta = draw.step(2 / rules.largest(x))
    return x


def outside_box(draw: Draw) -> Instance:
    """The comparator left out of the box by a quarter in every coordinate."""
    x = interpolated(draw)
    x.low, x.high = [a + fmpq(1, 4) for a in x.u], [a + 1 for a in x.u]
    x.d1 = list(x.low)
    return x


def from_second(x: Instance) -> Any:
    """C of the run from d_2 on."""
    second = Instance(**{**vars(x), "d1": rules.path(x)[1]})
    return constant(second)


INTERPOLATING_REGRET = (
    Law("T5", "interpolating regret", "sum (1 - a_t)^2 <= |d_1 - u|^2 / (eta (2 - eta M))", interpolated, regret,
        INTERPOLATING)
    .mutant("wrong constant", "C / 2", relations=lambda x: regret(x, bound=lambda x: constant(x) / 2))
    .mutant("wrong constant", "2 eta in place of eta (2 - eta M)",
            relations=lambda x: regret(x, bound=lambda x: la.norm_sq(la.sub(x.d1, x.u)) / (2 * x.eta)))
    .mutant("dropped hypothesis", "eta > 2/M", draw=too_long_step, without=["0 < eta < 2/M"])
    .mutant("dropped hypothesis", "u does not interpolate", draw=not_interpolated, without=["<u, s_t> = 1"])
    .mutant("dropped hypothesis", "u outside the box", draw=outside_box, without=["u in the box"])
    .mutant("flipped sign", "the step goes uphill", relations=lambda x: regret(x, sign=-1))
    .mutant("index shift", "C from d_2", relations=lambda x: regret(x, bound=from_second))
)  # fmt: skip


Projection = Callable[[la.Vector, la.Vector, la.Vector], la.Vector]


def box_projection(
    x: Instance, *, factor: Fraction | int = 1, onto: Projection = la.clip
) -> Iterator[Relation]:
    """The projection is idempotent, brings no two points farther apart, and none farther from u in the box."""
    far = [la.add(d, la.scale(8, s)) for d, s in zip(rules.path(x), x.features, strict=False)]
    points = [x.u, *far, x.d1]
    for a, b in pairwise(points):
        once, other = onto(a, x.low, x.high), onto(b, x.low, x.high)
        yield equal("idempotent", la.norm_sq(la.sub(onto(once, x.low, x.high), once)), 0)
        apart = la.times(factor, la.norm_sq(la.sub(a, b)))
        yield at_most("non-expansive", la.norm_sq(la.sub(once, other)), apart)
        yield at_most("distance to u", la.norm_sq(la.sub(once, x.u)), la.norm_sq(la.sub(a, x.u)))


def reflect(v: la.Vector, low: la.Vector, high: la.Vector) -> la.Vector:
    """Folded back at the faces: brings no two points farther apart, but is no projection where the box is narrow."""
    folded = [2 * lo - a if a < lo else a for a, lo in zip(v, low, strict=True)]
    return [2 * hi - a if a > hi else a for a, hi in zip(folded, high, strict=True)]


def to_faces(v: la.Vector, low: la.Vector, high: la.Vector) -> la.Vector:
    """To the nearer face in every coordinate, from inside too."""
    return [lo if 2 * a < lo + hi else hi for a, lo, hi in zip(v, low, high, strict=True)]


PROJECTION = (
    Law("T5", "box projection", "clip(clip x) = clip x, |clip x - clip y| <= |x - y|, |clip x - u| <= |x - u|",
        interpolated, box_projection, {"u in the box": INTERPOLATING["u in the box"]})
    .mutant("wrong constant", "contraction by 1/2", relations=lambda x: box_projection(x, factor=Fraction(1, 4)))
    .mutant("wrong formula", "reflection at the faces", relations=lambda x: box_projection(x, onto=reflect))
    .mutant("wrong formula", "onto the corners", relations=lambda x: box_projection(x, onto=to_faces))
    .mutant("dropped hypothesis", "u outside the box", draw=outside_box, without=["u in the box"])
)  # fmt: skip


def full_writes(
    x: Instance, *, power: int = 0, rate: Fraction | int = 1, betas: bool = False
) -> Iterator[Relation]:
    """prod q_t <= (C / T)^T."""
    length = len(x.features)
    ratios = [
        (1 - b * (1 - g)) ** 2 for b, g in zip(x.betas if betas else [1] * length, rules.gaps(x), strict=True)
    ]
    yield at_most("prod q_t", product(ratios), (la.times(rate, constant(x)) / length) ** (length + power))


def am_gm_reversed(x: Instance) -> Iterator[Relation]:
    """The mean below the product."""
    length, squares = len(x.features), la.sq(rules.gaps(x))
    yield at_most("(mean q_t)^T", (sum(squares) / length) ** length, product(squares))


SUPER_GEOMETRIC = (
    Law("T6", "super-geometric convergence", "prod q_t <= (C/T)^T for full writes", interpolated, full_writes,
        INTERPOLATING)
    .mutant("wrong constant", "(C / 2T)^T", relations=lambda x: full_writes(x, rate=Fraction(1, 2)))
    .mutant("index shift", "(C / T)^(T + 1)", relations=lambda x: full_writes(x, power=1))
    .mutant("dropped hypothesis", "beta = 1 dropped", relations=lambda x: full_writes(x, betas=True))
    .mutant("dropped hypothesis", "u does not interpolate", draw=not_interpolated, without=["<u, s_t> = 1"])
    .mutant("dropped hypothesis", "eta > 2/M", draw=too_long_step, without=["0 < eta < 2/M"])
    .mutant("flipped sign", "arithmetic-geometric means reversed", relations=am_gm_reversed)
)  # fmt: skip


def any_gate(
    x: Instance, *, share: Any = lambda b: b, missed: Any = lambda b: abs(1 - b), mean_square: bool = True
) -> Iterator[Relation]:
    """|1 - beta a| <= |1 - beta| + beta |1 - a|, its mean and its product against C."""
    g, length = rules.gaps(x), len(x.features)
    ratios = [abs(1 - b * (1 - gap)) for b, gap in zip(x.betas, g, strict=True)]
    for ratio, b, gap in zip(ratios, x.betas, g, strict=True):
        yield at_most("sqrt q_t", ratio, missed(b) + share(b) * abs(gap))
    level = sum(missed(b) for b in x.betas) / length
    gate = la.norm_sq(x.betas) / length if mean_square else (sum(x.betas) / length) ** 2
    rate = level + root(gate * constant(x) / length)
    yield at_most("mean sqrt q_t", sum(ratios) / length, rate)
    yield at_most("prod sqrt q_t", product(ratios), rate**length)


NON_NEGATIVE = {"beta >= 0": lambda x: all(b >= 0 for b in x.betas)}


def negative_gates(draw: Draw) -> Instance:
    """beta <= 0."""
    x = interpolated(draw)
    x.betas = [draw.number(-2, 0) for _ in x.betas]
    return x


def gate_on_first(draw: Draw) -> Instance:
    """All of the gate on the first token, all of the gap too: where the mean square of beta matters."""
    x = interpolated(draw)
    x.betas = [fmpq(1)] + [fmpq(0)] * (len(x.betas) - 1)
    x.eta = 1 / rules.largest(x)
    return x


ANY_GATE = (
    Law("T7", "contraction for any gate", "sqrt q_t <= |1 - beta_t| + beta_t |1 - a_t|, mean and product",
        interpolated, any_gate, {**INTERPOLATING, **NON_NEGATIVE})
    .mutant("dropped hypothesis", "beta < 0", draw=negative_gates, without=["beta >= 0"])
    .mutant("wrong constant", "|1 - a| without the gate", relations=lambda x: any_gate(x, share=lambda b: min(b, 1)))
    .mutant("wrong formula", "1 - beta without the absolute value",
            relations=lambda x: any_gate(x, missed=lambda b: 1 - b))
    .mutant("wrong constant", "mean of beta for its root mean square", draw=gate_on_first,
            relations=lambda x: any_gate(x, mean_square=False))
    .mutant("dropped hypothesis", "u does not interpolate", draw=not_interpolated, without=["<u, s_t> = 1"])
)  # fmt: skip


def aware(draw: Draw) -> Instance:
    """beta_t <u, s_t> = 1 with the feature beta_t s_t: keys divided by the root of their gate."""
    x = interpolated(draw)
    roots = [draw.choice(fmpq(1, 2), 1, 2) for _ in x.keys]
    x.betas = [r * r for r in roots]
    x.keys = [la.scale(1 / r, k) for r, k in zip(roots, x.keys, strict=True)]
    x.squares = [la.sq(k) for k in x.keys]
    return x


def aware_regret(x: Instance, *, plain: bool = False, late: int = 0) -> Iterator[Relation]:
    """T5 and T6 with beta_t s_t: sum (1 - beta_t a_t)^2 <= C and prod q_t <= (C/T)^T."""
    # q_t of the write itself, from beta_t and a_t = <d_t, s_t>.
    path = rules.path(Instance(**{**vars(x), "features": x.squares}) if plain else x)
    betas = x.betas[:late] + x.betas[: len(x.betas) - late]
    left = [1 - b * la.dot(d, s) for b, d, s in zip(betas, path, x.squares, strict=False)]
    yield at_most("sum (1 - beta_t a_t)^2", la.norm_sq(left), constant(x))
    yield at_most("prod q_t", product(la.sq(left)), (constant(x) / len(left)) ** len(left))


def aware_cautious(draw: Draw) -> Instance:
    """A step that is below 2/M for the plain features as well: nothing diverges."""
    x = aware(draw)
    x.eta = draw.step(2 / max(rules.largest(x), *(la.norm_sq(s) for s in x.squares)))
    return x


def aware_unmatched(draw: Draw) -> Instance:
    """A start and a comparator with beta_t <u, s_t> = 2."""
    x = aware(draw)
    x.u = [a * 2 for a in x.u]
    x.d1 = list(x.u)
    x.low, x.high = draw.box_around(x.u)
    return x


BETA_AWARE = (
    Law("T7", "beta-aware regret", "T5 and T6 with beta_t s_t where beta_t <u, s_t> = 1", aware, aware_regret,
        {**INTERPOLATING, "feature = beta s": lambda x: x.features == [
            la.scale(b, s) for b, s in zip(x.betas, x.squares, strict=True)]})
    .mutant("wrong formula", "feedback without the gate", draw=aware_cautious,
            relations=lambda x: aware_regret(x, plain=True))
    .mutant("index shift", "the gate of the token before", relations=lambda x: aware_regret(x, late=1))
    .mutant("dropped hypothesis", "beta_t <u, s_t> = 2", draw=aware_unmatched, without=["<u, s_t> = 1"])
)  # fmt: skip

LAWS = (INTERPOLATING_REGRET, PROJECTION, SUPER_GEOMETRIC, ANY_GATE, BETA_AWARE)
