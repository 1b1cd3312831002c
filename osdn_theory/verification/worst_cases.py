r"""Exact worst cases of the regret bounds, by semidefinite programs, and of T6 by a family (T28).

With p_t = g_t x_t the calibrate step is linear, d_{t+1} = c + gamma (d_t - c) + eta p_t, and what the bounds read are
products of the vectors d_1 - u, p_1 ... p_T and scalars: :math:`\|p_t\|^2 \leq M g_t^2`,
:math:`\langle p_t, d_t - u_t\rangle = g_t h_t - g_t^2`. Their largest sum of g^2 is a semidefinite program in the Gram
matrix of the vectors (performance estimation: Drori and Teboulle, 2014). It ranges over features of any sign and
dimension, where squared keys have none below zero, and over runs that no face cuts short.
"""

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from osdn_theory.base.jsonable import stated
from osdn_theory.base.validation import Array, require
from osdn_theory.sweep.packages import need

SOLVED = ("T8", "T14", "T20", "T21")
"""Theorems whose worst case is a semidefinite program."""


@dataclass(frozen=True)
class WorstCase:
    """The largest left side there is beside the right side.

    - `worst`, `bound`: Sums of squared gaps; for T28 the factors a token.
    """

    theorem: str
    setting: str
    worst: float
    bound: float
    method: str

    @property
    @stated
    def slack(self) -> float:
        """bound / worst; 1 is tight."""
        return self.bound / self.worst


@dataclass(frozen=True)
class Setting:
    """What a worst case is over: T tokens, M = 1, eta, and how large each part of the right side may be.

    `loss` bounds sum h^2, `start` ||d_1 - u_1||^2, `anchor` ||c - u||^2, `path` every move of u, `diameter` R.
    """

    tokens: int
    eta: float
    loss: float = 0.0
    start: float = 1.0
    gamma: float = 1.0
    anchor: float = 0.0
    path: float = 0.0
    diameter: float = math.inf

    def __str__(self) -> str:
        parts = {"T": self.tokens, "eta M": self.eta, "B^2": self.loss, "|d_1-u|^2": self.start}
        parts |= {"gamma": self.gamma, "|c-u|^2": self.anchor} if self.gamma < 1 else {}
        parts |= {"P": self.path * (self.tokens - 1), "R": self.diameter} if self.path else {}
        return ", ".join(f"{name} = {value:g}" for name, value in parts.items())


def bound_of(theorem: str, x: Setting) -> float:
    """The right side of a theorem, as a sum of squared gaps."""
    if theorem in ("T8", "T14"):
        moved = 2 * x.diameter * x.path * (x.tokens - 1) if x.path else 0.0
        return (x.loss + (x.start + moved) / x.eta) / (1 - x.eta)
    mu = 2 - x.eta / x.gamma
    distance = x.start + x.tokens * (1 - x.gamma) * x.anchor
    return float((math.sqrt(x.loss) + math.sqrt(x.loss + mu * distance / x.eta)) / mu) ** 2


def worst_case(theorem: str, setting: Setting) -> WorstCase:
    """Solve for the worst case of one theorem in one setting."""
    require(theorem in SOLVED, f"theorem: expected one of {', '.join(SOLVED)}, got {theorem!r}")
    limit = 1.0 if theorem in ("T8", "T14") else 2.0 * setting.gamma
    require(0 < setting.eta < limit, f"setting: expected 0 < eta M < {limit:g}, got {setting.eta:g}")
    require(theorem == "T21" or setting.gamma == 1, f"setting: {theorem} has no forgetting")
    require(theorem == "T14" or setting.path == 0, f"setting: the comparator of {theorem} does not move")
    worst = _largest_regret(setting)
    return WorstCase(theorem, str(setting), worst, bound_of(theorem, setting), "semidefinite program")


def _largest_regret(x: Setting) -> float:
    need("cvxpy", "worst-cases")
    cp: Any = import_module("cvxpy")
    basis = np.eye(2 + x.tokens + x.tokens)
    start, anchor, steps, moves = basis[0], basis[1], basis[2 : 2 + x.tokens], basis[2 + x.tokens :]
    gram = cp.Variable(basis.shape, PSD=True)
    squares, mixed, losses = (cp.Variable(x.tokens) for _ in range(3))

    def inner(first: Array, second: Array) -> Any:
        return first @ gram @ second

    kept = [inner(start, start) <= x.start, inner(anchor, anchor) <= x.anchor, cp.sum(losses) <= x.loss]
    apart = start
    for t, step in enumerate(steps):
        kept += [
            inner(step, step) <= squares[t],
            inner(step, apart) == mixed[t] - squares[t],
            # g h against g^2 and h^2.
            cp.bmat([[squares[t], mixed[t]], [mixed[t], losses[t]]]) >> 0,
        ]
        following = x.gamma * apart + (1 - x.gamma) * anchor + x.eta * step
        if x.path:
            kept += [inner(moves[t], moves[t]) <= x.path**2]
            kept += [inner(each, each) <= x.diameter**2 for each in (apart, following)]
            following = following - moves[t]
        apart = following
    problem = cp.Problem(cp.Maximize(cp.sum(squares)), kept)
    problem.solve(solver="CLARABEL")
    if problem.status not in ("optimal", "optimal_inaccurate"):
        raise ArithmeticError(f"worst case: the solver ended with {problem.status} for {x}")
    return float(problem.value)


def alternating_family(tokens: int) -> WorstCase:
    """T28's two features: by what factor a token T6 exceeds their product of ratios, below e/2 for every T."""
    require(tokens >= 1, f"tokens: expected at least 1, got {tokens}")
    share = 1 / (tokens + 1)
    worst = (2 - share) * (1 - share) ** tokens
    return WorstCase("T6", f"T = {tokens}, two features", worst, 1.0, "T28, a factor a token")


SETTINGS: tuple[tuple[str, Setting], ...] = (
    *(
        ("T20", Setting(tokens, eta, loss=loss))
        for tokens in (1, 4)
        for eta, loss in ((0.5, 0.0), (0.5, 1.0), (0.1, 1.0), (1.0, 0.0))
    ),
    *(("T8", Setting(4, eta, loss=loss)) for eta, loss in ((0.1, 1.0), (0.1, 10.0), (0.5, 1.0))),
    *(("T21", Setting(4, 0.5, 1.0, 1.0, gamma, anchor=1.0)) for gamma in (0.9, 0.99, 0.999)),
    *(("T14", Setting(4, eta, 1.0, path=0.25, diameter=2.0)) for eta in (0.1, 0.5)),
)
"""What :func:`worst_cases` solves."""


def worst_cases() -> list[WorstCase]:
    """Every setting of the table, and T28's family at some lengths."""
    families = [alternating_family(tokens) for tokens in (3, 15, 255)]
    return [*(worst_case(theorem, setting) for theorem, setting in SETTINGS), *families]
