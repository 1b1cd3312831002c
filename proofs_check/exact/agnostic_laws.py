"""T8, T14: regret against any comparator, fixed or moving, on rational instances with the box projection."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from flint import fmpq

from proofs_check.exact import linear as la, rules
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance, Law, Relation, at_most
from proofs_check.exact.roots import root, roots


def draw_agnostic(draw: Draw) -> Instance:
    """Any features, any comparator in the box."""
    n, length = draw.key_dim(), draw.length()
    u = draw.vector(n, 0, 2)
    keys = draw.keys(length, n)
    x = Instance(keys=keys, features=[la.sq(k) for k in keys], u=u, eta=fmpq(1))
    x.low, x.high = draw.box_around(u)
    x.d1 = draw.start(x.low, x.high, u)
    x.eta = draw.step(1 / rules.largest(x))
    return x


def surrogates(x: Instance, *, sign: int = 1) -> Any:
    """sum l_t(d_t) along the run."""
    return la.norm_sq(rules.gaps(x, sign=sign)) / 2


def agnostic(
    x: Instance, *, margin: int = 1, distance: int = 2, sign: int = 1, comparator_share: int = 1
) -> Iterator[Relation]:
    """sum l_t(d_t) <= (sum l_t(u) + |d_1 - u|^2 / (2 eta)) / |1 - eta M|; the bars are for eta > 1/M in mutants."""
    spent = comparator_share * sum(rules.surrogate(x.u, s) for s in x.features)
    start = la.norm_sq(la.sub(x.d1, x.u)) / (distance * x.eta)
    bound = (spent + start) / abs(1 - margin * x.eta * rules.largest(x))
    yield at_most("sum l_t(d_t)", surrogates(x, sign=sign), bound)


AGNOSTIC = {
    "u in the box": lambda x: la.inside(x.u, x.low, x.high),
    "0 < eta < 1/M": lambda x: x.eta > 0 and x.eta * rules.largest(x) < 1,
}


def long_step(draw: Draw) -> Instance:
    """eta = 3/M."""
    x = draw_agnostic(draw)
    x.eta = fmpq(3) / rules.largest(x)
    return x


def outside(draw: Draw) -> Instance:
    """d_1 on the far face of a box that leaves the interpolating comparator out."""
    x = draw_agnostic(draw)
    s = draw.key(len(x.u))
    s = la.sq(s) if any(s) else [fmpq(1)] * len(s)
    del x.keys
    x.features = [s] * 5
    x.u = la.scale(1 / la.norm_sq(s), s)
    x.low, x.high = [a + 1 for a in x.u], [a + 2 for a in x.u]
    x.d1 = list(x.low)
    x.eta = fmpq(1, 2) / rules.largest(x)
    return x


def from_comparator(draw: Draw) -> Instance:
    """d_1 = u, and two features that pull it to and fro: the regret is all the comparator's."""
    x = draw_agnostic(draw)
    del x.keys
    x.d1 = list(x.u)
    x.features = [la.scale(4 if t % 2 else 1, x.features[0]) for t in range(5)]
    x.eta = fmpq(3, 4) / rules.largest(x)
    return x


AGNOSTIC_REGRET = (
    Law("T8", "agnostic regret", "sum l_t(d_t) <= (sum l_t(u) + |d_1 - u|^2/(2 eta)) / (1 - eta M)", draw_agnostic,
        agnostic, AGNOSTIC)
    .mutant("dropped hypothesis", "eta > 1/M", draw=long_step, without=["0 < eta < 1/M"])
    .mutant("dropped hypothesis", "u outside the box", draw=outside, without=["u in the box"])
    .mutant("wrong constant", "1 - eta M left out", draw=from_comparator, relations=lambda x: agnostic(x, margin=0))
    .mutant("wrong constant", "|d_1 - u|^2 / (8 eta)", relations=lambda x: agnostic(x, distance=8))
    .mutant("flipped sign", "the step goes uphill", relations=lambda x: agnostic(x, sign=-1))
    .mutant("wrong formula", "the comparator's loss left out", relations=lambda x: agnostic(x, comparator_share=0))
)  # fmt: skip


def draw_tracking(draw: Draw) -> Instance:
    """A moving comparator in a bounded box; half of the time it interpolates and d_1 = u_1."""
    x = draw_agnostic(draw)
    n, length = len(x.u), len(x.features)
    if draw.kind != "boxed":
        x.low, x.high = [fmpq(0)] * n, [draw.choice(2, 3, fmpq(5, 2)) * fmpq(1) for _ in range(n)]
    x.path = [[lo + (hi - lo) * draw.number(0, 1) for lo, hi in zip(x.low, x.high, strict=True)]
              for _ in range(length)]  # fmt: skip
    x.d1 = draw.choice(list(x.path[0]), list(x.d1))
    return x


def tracking(x: Instance, *, travel: Fraction | int = 2, skip: int = 0) -> Iterator[Relation]:
    """sum l_t(d_t) <= (sum l_t(u_t) + (|d_1 - u_1|^2 + 2 R P_T) / (2 eta)) / (1 - eta M)."""
    spent = sum(rules.surrogate(u, s) for u, s in zip(x.path, x.features, strict=True))
    moves = roots([la.norm_sq(la.sub(b, a)) for a, b in zip(x.path[skip:], x.path[1 + skip :], strict=False)])
    span = root(la.norm_sq(la.sub(x.high, x.low)))
    start = la.norm_sq(la.sub(x.d1, x.path[0]))
    slack = abs(1 - x.eta * rules.largest(x))
    bound = span * moves * la.times(travel, 1 / (2 * x.eta * slack)) + (spent + start / (2 * x.eta)) / slack
    yield at_most("sum l_t(d_t)", surrogates(x), bound)


def following(draw: Draw, *, box: Any = 2) -> Instance:
    """One feature, and a comparator that jumps between two ways to interpolate it that d must follow."""
    x = draw_tracking(draw)
    n, length = draw.rng.randint(2, 3), draw.rng.randint(2, 6)
    del x.keys
    axes = [[fmpq(int(i == j)) for j in range(n)] for i in range(n)]
    x.features = [la.scale(fmpq(1, 2) if t % 2 else 1, axes[0]) for t in range(length)]
    x.path = [[fmpq(box) / (1 if t % 2 else 2), *([fmpq(0)] * (n - 1))] for t in range(length)]
    x.low, x.high = [fmpq(0)] * n, [fmpq(box)] * n
    x.d1, x.eta = list(x.path[0]), draw.step(fmpq(1))
    return x


def dwelling(draw: Draw) -> Instance:
    """A comparator that crosses the whole box and rests there until d has followed: the most loss for its travel."""
    x = draw_tracking(draw)
    del x.keys
    far, rest = draw.choice(fmpq(5, 4), fmpq(9, 8)), draw.rng.randint(3, 4)
    x.path = [[far] if (t // rest) % 2 else [fmpq(1)] for t in range(4 * rest)]
    x.features = [[1 / u[0]] for u in x.path]
    x.low, x.high, x.d1, x.eta = [fmpq(1)], [far], [fmpq(1)], fmpq(1, 2)
    return x


def wandering(draw: Draw) -> Instance:
    """Comparators outside a box that is far away from them and narrow."""
    x = following(draw)
    x.low, x.high = [a + 3 for a in x.path[0]], [a + fmpq(25, 8) for a in x.path[0]]
    return x


def long_tracking(draw: Draw) -> Instance:
    """eta = 3/M."""
    x = draw_tracking(draw)
    x.eta = fmpq(3) / rules.largest(x)
    return x


TRACKING = (
    Law("T14", "tracking", "sum l_t(d_t) <= (sum l_t(u_t) + (|d_1 - u_1|^2 + 2 R P_T)/(2 eta)) / (1 - eta M)",
        draw_tracking, tracking,
        {"u_t in the box": lambda x: all(la.inside(u, x.low, x.high) for u in x.path),
         "0 < eta < 1/M": AGNOSTIC["0 < eta < 1/M"]})
    .mutant("wrong formula", "the path length left out", draw=following, relations=lambda x: tracking(x, travel=0))
    .mutant("wrong constant", "R P_T / 4 for 2 R P_T", draw=dwelling,
            relations=lambda x: tracking(x, travel=Fraction(1, 4)))
    .mutant("dropped hypothesis", "eta > 1/M", draw=long_tracking, without=["0 < eta < 1/M"])
    .mutant("dropped hypothesis", "u_t outside the box", draw=wandering, without=["u_t in the box"])
    .mutant("index shift", "the path from u_2 on", draw=following, relations=lambda x: tracking(x, skip=1))
)  # fmt: skip

LAWS = (AGNOSTIC_REGRET, TRACKING)
