"""Unit keys without a preferred direction: their moments, the eigenvalues of T19 and the kappa of T13, for every K."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import sympy as sp
from flint import fmpq
from sympy import Identity, OneMatrix, Trace

from osdn_theory import symbolic as osdn
from osdn_theory.symbolic import Names
from proofs_check.symbolic.hypotheses import Hypothesis, Mean
from proofs_check.symbolic.points import Source, Values
from proofs_check.symbolic.theorem import Equation, Theorem, anything

N = Names()
K = N.K
ONES = OneMatrix(K, 1)


@cache
def gaussian_moment(order: int) -> Any:
    """E[g^order] of a standard normal g."""
    x = sp.Symbol("x", real=True)
    return sp.integrate(x**order * sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi), (x, -sp.oo, sp.oo))


def from_gaussians() -> tuple[Any, Any]:
    """E[k_i^4] and E[k_i^2 k_j^2] of k = g / |g|: that is independent of |g|, so each is a ratio of moments."""
    fourth, second = gaussian_moment(4), gaussian_moment(2)
    norm_to_the_fourth = K * fourth + K * (K - 1) * second**2
    return fourth / norm_to_the_fourth, second**2 / norm_to_the_fourth


@cache
def beta_moment(order: int) -> Any:
    """E[s_i^order] of one coordinate of Dirichlet(1/2, ..., 1/2): Beta(1/2, (K - 1)/2)."""
    x = sp.Symbol("x", positive=True)
    b = sp.Symbol("b", positive=True)  # (K - 1)/2, positive for K > 1

    def mass(power: int) -> Any:
        return sp.integrate(x ** (power - sp.Rational(1, 2)) * (1 - x) ** (b - 1), (x, 0, 1))

    return sp.gammasimp(mass(order) / mass(0)).subs(b, (K - 1) / 2)


def moments(*, fourth: int = 3, shift: int = 2, mixed: int = 1) -> list[Equation]:
    stated_fourth, stated_mixed = fourth / (K * (K + shift)), mixed / (K * (K + shift))
    own, pair = from_gaussians()
    return [
        Equation("E[k_i^4], Gaussian", own, stated_fourth),
        Equation("E[k_i^2 k_j^2], Gaussian", pair, stated_mixed),
        Equation("E[k_i^2], Beta", beta_moment(1), 1 / K),
        Equation("E[k_i^4], Beta", beta_moment(2), stated_fourth),
        # The coordinates of s sum to one, so K - 1 mixed moments and a fourth one sum to E[k_i^2].
        Equation("E[k_i^2 k_j^2], unit length", (beta_moment(1) - beta_moment(2)) / (K - 1), stated_mixed),
    ]


UNIFORM = (
    Theorem(
        "T19",
        "isotropic_moments",
        "for k uniform on the unit sphere and symbolic K > 1, E[k_i^4] = 3 / (K (K + 2)) and E[k_i^2 k_j^2] = "
        "1 / (K (K + 2)): from Gaussian integrals, k = g / |g| being independent of |g|, and again from Beta "
        "integrals, k_i^2 being Beta(1/2, (K - 1)/2)",
        moments,
    )
    .mutant("wrong constant", "2 / (K (K + 2)) for the fourth moment", partial(moments, fourth=2))
    .mutant("index shift", "K + 1 for K + 2", partial(moments, shift=1))
    .mutant("wrong constant", "twice the mixed moment", partial(moments, mixed=2))
    .mutant("flipped sign", "K - 2 for K + 2", partial(moments, shift=-2))
)


def isotropic_moments() -> tuple[Any, Any]:
    """E[s] and R = E[s s^T]: equal coordinates, so one number on the diagonal and one off it."""
    fourth, mixed = from_gaussians()
    return beta_moment(1) * ONES, (fourth - mixed) * Identity(K) + mixed * ONES * ONES.T


ACROSS = Hypothesis("<1, h> = 0", Trace(ONES.T * N.key_like("h")), sp.S.Zero)


def across(source: Source, sizes: Mapping[str, int]) -> Values:
    h = source.matrix(sizes["K"], 1)
    h[0] = [-sum(row[0] for row in h[1:])]
    return {"h": h}


def eigenvalues(*, along: Any = 1 / K, beside: int = 2, shift: int = 2, once: int = 1) -> list[Equation]:
    first, second = isotropic_moments()
    h, other = N.key_like("h"), beside / (K * (K + shift))
    return [
        Equation("R 1", second * ONES, along * ONES),
        Equation("R h", second * h, other * h),
        Equation("tr R", Trace(second), once * along + (K - once) * other),
        Equation("u = 1", second * ONES, first),
    ]


EIGENVALUES = (
    Theorem(
        "T19",
        "isotropic_eigenvalues",
        "R = E[s s^T] of isotropic unit keys has R 1 = 1/K, R h = 2 / (K (K + 2)) h if <1, h> = 0, and "
        "R 1 = E[s], so u = 1",
        eigenvalues,
        (ACROSS,),
        across,
    )
    .mutant("wrong constant", "1 / (K (K + 2)) across", partial(eigenvalues, beside=1))
    .mutant("index shift", "K + 1 for K + 2", partial(eigenvalues, shift=1))
    .mutant("wrong constant", "2/K along the ones", partial(eigenvalues, along=2 / K))
    .mutant("wrong constant", "1/K twice", partial(eigenvalues, once=2))
    .mutant("dropped hypothesis", "any h", without=[ACROSS.name], point=anything)
)


def eight_directions(source: Source, sizes: Mapping[str, int]) -> Values:
    """Squares of the keys at multiples of 45 degrees, which have the moments of all directions up to the fourth."""
    half, one, zero = fmpq(1, 2), fmpq(1), fmpq(0)
    return {"s": [[[one], [zero]], [[zero], [one]], [[half], [half]], [[half], [half]]]}


def settling(*, gain: int = 1, sign: int = 1, anchor: Any = sp.S.Zero) -> list[Equation]:
    """The mean along the ones, with forgetting towards zero, and where it stands still."""
    x, c = sp.symbols("x c_0")
    first, second = isotropic_moments()
    moved = osdn.calibrate_step(x * ONES, N.s, N.eta, gamma=N.gamma, anchor=c * ONES)
    line = c + N.gamma * (x - c) + sign * N.eta * (1 - x) / K
    (settled,) = sp.solve(sp.Eq(line, x), x)
    kappa = (gain * N.eta / K) / ((1 - N.gamma) + N.eta / K)
    return [
        Equation("E[d' | d = x 1]", Mean(moved, N.s, first, second), line * ONES),
        Equation("kappa", settled.subs(c, anchor), kappa),
        Equation("anchored at 1", settled.subs(c, 1), sp.S.One),
    ]


KAPPA = (
    Theorem(
        "T13",
        "isotropic_kappa",
        "for fresh isotropic unit keys and d = x 1, E[d'] = (c + gamma (x - c) + eta (1 - x) / K) 1 before "
        "the projection, which stands still only at kappa = (eta/K) / ((1 - gamma) + eta/K) for c = 0, "
        "and at 1 for c = 1",
        settling,
        point=eight_directions,
        sizes={"K": 2},
    )
    .mutant("wrong constant", "kappa twice as large", partial(settling, gain=2))
    .mutant("flipped sign", "a step away from alignment", partial(settling, sign=-1))
    .mutant("dropped hypothesis", "c = 1/2 instead of 0", partial(settling, anchor=sp.Rational(1, 2)))
)

THEOREMS = (UNIFORM, EIGENVALUES, KAPPA)
