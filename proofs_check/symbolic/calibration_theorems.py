"""T11, T13 and the recursion of the mean in T19, for every K."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import sympy as sp
from flint import fmpq
from sympy import Identity

from osdn_theory import symbolic as osdn
from osdn_theory.symbolic import Names, inner, norm_sq
from proofs_check.exact import linear as la
from proofs_check.symbolic.hypotheses import Mean
from proofs_check.symbolic.points import Source, Values
from proofs_check.symbolic.theorem import Equation, Theorem

N = Names()
STEP = partial(osdn.calibrate_step, eta=N.eta)
HALF = sp.Rational(1, 2)


def delta_rule(
    *, sign: int = 1, decay: Any = N.gamma, target: Any = None, weight: Any = N.weight
) -> list[Equation]:
    moved = STEP(N.d, N.s, gamma=N.gamma, weight=N.weight, anchor=N.c)
    transition = decay * Identity(N.K) - sign * N.eta * weight * N.s * N.s.T
    aim = inner(N.c, N.s) if target is None else target
    affine = transition * (N.d - N.c) + N.eta * N.weight * (1 - aim) * N.s
    own = osdn.delta_rule_step(N.d - N.c, N.s, N.c, N.eta, gamma=N.gamma, weight=N.weight)
    return [
        Equation("d' - c", moved - N.c, affine),
        Equation("d' - c, as stated by osdn_theory", own, affine),
    ]


DELTA_RULE = (
    Theorem(
        "T11",
        "delta_rule",
        "before the projection, d' - c = (gamma I - eta w s s^T)(d - c) + eta w (1 - <c, s>) s",
        delta_rule,
    )
    .mutant("flipped sign", "gamma I + eta w s s^T", partial(delta_rule, sign=-1))
    .mutant("wrong formula", "gamma left out of the transition", partial(delta_rule, decay=sp.S.One))
    .mutant("wrong formula", "target 1 - <d, s>", partial(delta_rule, target=inner(N.d, N.s)))
    .mutant("wrong constant", "w left out of the transition", partial(delta_rule, weight=sp.S.One))
)


def regularised(
    *, strength: Any = (1 - N.gamma) / N.eta, half: Any = HALF, centre: Any = N.c
) -> list[Equation]:
    """The forgetting step is gradient descent on l + lambda |d - c|^2 / 2."""
    objective = osdn.surrogate(N.d, N.s) + strength * half * norm_sq(N.d - centre)
    descent = N.d - N.eta * osdn.gradient(objective, N.d)
    return [Equation("d'", STEP(N.d, N.s, gamma=N.gamma, anchor=N.c), descent)]


REGULARISED = (
    Theorem(
        "T13",
        "regularised_step",
        "before the projection, d' = d - eta grad (l + lambda |d - c|^2 / 2)(d) with lambda = (1 - gamma) / eta",
        regularised,
    )
    .mutant("wrong constant", "lambda |d - c|^2 without the 1/2", partial(regularised, half=sp.S.One))
    .mutant(
        "flipped sign", "lambda = (gamma - 1) / eta", partial(regularised, strength=(N.gamma - 1) / N.eta)
    )
    .mutant("wrong formula", "lambda = 1 - gamma", partial(regularised, strength=1 - N.gamma))
    .mutant("wrong formula", "centred at 0 instead of c", partial(regularised, centre=sp.ZeroMatrix(N.K, 1)))
)


def two_runs(*, twice: int = 2, sign: int = 1, moved: bool = False) -> list[Equation]:
    """The distance of two runs, and why it shrinks by gamma if eta |s|^2 <= 2 gamma."""
    other = N.key_like("d_other")
    step = partial(STEP, gamma=N.gamma, anchor=N.c)
    gap = N.d - other
    after = step(N.d, N.s) - step(other, N.key_like("s_next") if moved else N.s)
    loss = N.eta * inner(N.s, gap) ** 2 * (twice * N.gamma - N.eta * norm_sq(N.s))
    return [
        Equation("d - d' after a step", after, (N.gamma * Identity(N.K) - sign * N.eta * N.s * N.s.T) * gap),
        Equation("|d - d'|^2 after a step", norm_sq(after), N.gamma**2 * norm_sq(gap) - loss),
    ]


TWO_RUNS = (
    Theorem(
        "T13",
        "two_runs",
        "before the projection, two runs differ by (gamma I - eta s s^T)(d - d') after a step, and |that|^2 = "
        "gamma^2 |d - d'|^2 - eta <s, d - d'>^2 (2 gamma - eta |s|^2)",
        two_runs,
    )
    .mutant("wrong constant", "gamma - eta |s|^2", partial(two_runs, twice=1))
    .mutant("flipped sign", "gamma I + eta s s^T", partial(two_runs, sign=-1))
    .mutant("index shift", "the second run reads the next key", partial(two_runs, moved=True))
)


def constant_key(*, drop: Any = sp.S.One, factor: int = 1) -> list[Equation]:
    """a' in terms of a, and the a at which it stands still, solved for."""
    a, size_sq, held = sp.symbols("a S_2 c_s")
    moved = inner(STEP(N.d, N.s, gamma=N.gamma, anchor=N.c), N.s)
    before = inner(N.d, N.s)
    step = (1 - N.gamma) * held + N.gamma * a + factor * N.eta * (1 - a) * size_sq
    known = {size_sq: norm_sq(N.s), held: inner(N.c, N.s)}
    (settled,) = sp.solve(sp.Eq(step, a), a)
    stated = ((1 - N.gamma) * drop * held + N.eta * size_sq) / ((1 - N.gamma) + N.eta * size_sq)
    return [
        Equation("a'", moved, step.subs({a: before, **known})),
        Equation("a_inf", settled, stated),
        Equation("a' - a_inf", step - settled, (N.gamma - N.eta * size_sq) * (a - settled)),
        Equation("a_inf if <c, s> = 1", settled.subs(held, 1), sp.S.One),
    ]


CONSTANT_KEY = (
    Theorem(
        "T13",
        "constant_key",
        "with one key, a' = (1 - gamma) <c, s> + gamma a + eta (1 - a) |s|^2 before the projection; "
        "it stands still only at a_inf = ((1 - gamma) <c, s> + eta |s|^2) / ((1 - gamma) + eta |s|^2), "
        "which is 1 if <c, s> = 1, and a' - a_inf = (gamma - eta |s|^2)(a - a_inf)",
        constant_key,
    )
    .mutant("wrong constant", "half of <c, s> in a_inf", partial(constant_key, drop=sp.Rational(1, 2)))
    .mutant("flipped sign", "a step away from alignment", partial(constant_key, factor=-1))
    .mutant("wrong formula", "a_inf without the anchor", partial(constant_key, drop=sp.S.Zero))
)


def half_life(*, lives: Any = sp.S.One) -> list[Equation]:
    n = sp.Symbol("n", positive=True)
    (solved,) = sp.solve(sp.Eq(N.gamma**n, sp.Rational(1, 2)), n)
    stated = lives * sp.log(2) / -sp.log(N.gamma)
    return [
        Equation("n over the half-life", solved / stated, sp.S.One),
        Equation("gamma^n", N.gamma**stated, sp.Rational(1, 2)),
    ]


HALF_LIFE = (
    Theorem(
        "T13",
        "half_life",
        "gamma^n = 1/2 exactly at n = ln 2 / (-ln gamma)",
        half_life,
        # A power of 1/2, whose half-life is rational, so that it can be evaluated exactly.
        point=lambda source, sizes: {"gamma": fmpq(1, 2) ** source.rng.randint(2, 5)},
    )
    .mutant("wrong constant", "ln 4: two half-lives", partial(half_life, lives=sp.Integer(2)))
    .mutant("wrong constant", "half of it", partial(half_life, lives=sp.Rational(1, 2)))
    .mutant("flipped sign", "ln 2 / ln gamma", partial(half_life, lives=sp.Integer(-1)))
)

ROOT = N.preconditioner_like("A")
MOMENTS = ROOT * ROOT.T
"""R. Every moment matrix is positive semi-definite, so it is A A^T for some A."""

FIRST = MOMENTS * N.key_like("u")
"""E[s] = R u: the equation E[(1 - <u, s>) s] = 0 that defines u."""


def random_features(source: Source, sizes: Mapping[str, int]) -> Values:
    """A random s with as many values as features, its root of R, and u with E[(1 - <u, s>) s] = 0."""
    k = sizes["K"]
    # Columns of A times sqrt(k), equally likely, have E[s s^T] = A A^T; k is a square so that sqrt(k) is rational.
    root = la.madd(la.identity(k, fmpq(1)), la.mscale(fmpq(1, 9), source.matrix(k, k)))
    columns = [[[2 * row[j]] for row in root] for j in range(k)]
    first = la.mscale(fmpq(1, k), columns[0])
    for column in columns[1:]:
        first = la.madd(first, la.mscale(fmpq(1, k), column))
    u = la.matmul(la.inverse(la.matmul(root, la.transpose(root))), first)
    return {"A": root, "u": u, "s": columns}


def mean_recursion(
    *, sign: int = 1, forgetting: Any = N.gamma, first: Any = FIRST, fixed: Any = None
) -> list[Equation]:
    u, other = N.key_like("u"), N.key_like("d_other")
    mean = partial(Mean, variable=N.s, first=first, second=MOMENTS)
    plain, decayed = partial(STEP, N.d, N.s), partial(STEP, gamma=N.gamma, anchor=N.c)
    one = Identity(N.K)
    target = u if fixed is None else fixed
    return [
        Equation("E[(1 - <u, s>) s]", mean((1 - inner(u, N.s)) * N.s), sp.ZeroMatrix(N.K, 1)),
        Equation(
            "E[d' - u]",
            mean(plain() - u),
            (one - sign * N.eta * MOMENTS) * (N.d - target),
        ),
        Equation(
            "E[d' - d''] with forgetting",
            mean(decayed(N.d, N.s) - decayed(other, N.s)),
            (one - ((1 - forgetting) * one + N.eta * MOMENTS)) * (N.d - other),
        ),
    ]


MEAN = (
    Theorem(
        "T19",
        "mean_recursion",
        "for s independent of d with E[s s^T] = R = A A^T and E[s] = R u: E[(1 - <u, s>) s] = 0 and "
        "before the projection E[d' - u | d] = (I - eta R)(d - u); forgetting adds (1 - gamma) I to eta R",
        mean_recursion,
        point=random_features,
        sizes={"K": 4},
    )
    .mutant("flipped sign", "I + eta R", partial(mean_recursion, sign=-1))
    .mutant("wrong formula", "forgetting adds nothing", partial(mean_recursion, forgetting=sp.S.One))
    .mutant("wrong formula", "fixed point at 2 u", partial(mean_recursion, fixed=2 * N.key_like("u")))
    .mutant(
        "dropped hypothesis",
        "any u",
        partial(mean_recursion, first=N.key_like("m")),
        point=lambda source, sizes: {**random_features(source, sizes), "u": source.matrix(sizes["K"], 1)},
    )
)

THEOREMS = (DELTA_RULE, REGULARISED, TWO_RUNS, CONSTANT_KEY, HALF_LIFE, MEAN)
