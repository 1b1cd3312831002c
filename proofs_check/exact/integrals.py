"""What the Coq library does not reach, by SymPy, for every K: moments of the sphere (T19), a half-life (T13)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import sympy as sp

from proofs_check.proof import Judgement, Proof, failed, passed

K = sp.Symbol("K", integer=True, positive=True)
GAMMA = sp.Symbol("gamma", positive=True)

Equations = Mapping[str, tuple[Any, Any]]
"""What is compared -> what SymPy finds, and what is stated."""


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


def isotropic_moments(fourth: int = 3) -> Equations:
    stated, mixed = fourth / (K * (K + 2)), 1 / (K * (K + 2))
    own, pair = from_gaussians()
    return {
        "E[k_i^4], Gaussian": (own, stated),
        "E[k_i^2 k_j^2], Gaussian": (pair, mixed),
        "E[k_i^2], Beta": (beta_moment(1), 1 / K),
        "E[k_i^4], Beta": (beta_moment(2), stated),
        # The coordinates of s sum to one, so K - 1 mixed moments and a fourth one sum to E[k_i^2].
        "E[k_i^2 k_j^2], unit length": ((beta_moment(1) - beta_moment(2)) / (K - 1), mixed),
    }


def half_life(lives: int = 1) -> Equations:
    n = sp.Symbol("n", positive=True)
    (solved,) = sp.solve(sp.Eq(GAMMA**n, sp.Rational(1, 2)), n)
    stated = lives * sp.log(2) / -sp.log(GAMMA)
    return {"n": (solved, stated), "gamma^n": (GAMMA**stated, sp.Rational(1, 2))}


@dataclass(frozen=True)
class Integral:
    """Equations that SymPy solves or integrates; with a wrong constant they are a false variant."""

    claim: str
    statement: str
    equations: Callable[..., Equations]
    change: str
    wrong: int

    @property
    def name(self) -> str:
        return self.equations.__name__


INTEGRALS = (
    Integral(
        "T19",
        "for k uniform on the unit sphere and every K > 1, E[k_i^4] = 3 / (K (K + 2)) and E[k_i^2 k_j^2] = "
        "1 / (K (K + 2)): from Gaussian integrals, k = g / |g| being independent of |g|, and again from Beta "
        "integrals, k_i^2 being Beta(1/2, (K - 1)/2)",
        isotropic_moments,
        "2 / (K (K + 2)) for the fourth moment",
        2,
    ),
    Integral("T13", "gamma^n = 1/2 exactly at n = ln 2 / (-ln gamma)", half_life, "ln 4: two half-lives", 2),
)


def unequal(equations: Equations) -> list[str]:
    """The equations whose sides SymPy cannot reduce to one another."""
    return [name for name, (found, stated) in equations.items() if sp.simplify(found - stated) != 0]


def check(integral: Integral) -> Judgement:
    if wrong := unequal(integral.equations()):
        return failed(f"not equal: {', '.join(wrong)}")
    return passed("both sides reduced to one", sympy=sp.__version__)


def check_variant(integral: Integral) -> Judgement:
    if unequal(integral.equations(integral.wrong)):
        return passed(f"refuted: {integral.change}", instances=1, killed=1)
    return failed("not refuted")


def proofs() -> Iterator[Proof]:
    for each in INTEGRALS:
        yield Proof(each.claim, "symbolic", each.statement, partial(check, each), each.name)
        false = f"false: {each.change}"
        yield Proof(each.claim, "mutation", false, partial(check_variant, each), each.name)
