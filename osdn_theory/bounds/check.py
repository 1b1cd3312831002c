"""The verdict on one bound: both sides, decided rigorously or reported as undecided."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import flint

from osdn_theory.base.brief import show_briefly
from osdn_theory.bounds.numbers import Number, as_float, ball

Outcome = Literal["holds", "holds, vacuously", "violated", "not applicable", "undecided"]


POS_INF = flint.arb.pos_inf()


@show_briefly
@dataclass(frozen=True)
class BoundCheck:
    """One bound on one stream under one rule.

    - `theorem`, `title`, `statement`: The id in THEORY.md ("T5"), its name, and the inequality or identity in LaTeX.
    - `stream`, `rule`: What it was checked on.
    - `index`: Position on the leading axes (batch, head, seed).
    - `outcome`, "holds", "holds, vacuously", "violated", "not applicable" or "undecided": Vacuously: no right side is
      proved to say more than what is known without it.
    - `lhs`, `rhs`: Both sides, for display; natural logarithms where `is_log`. None where not applicable.
    - `log10_slack`: log10(rhs / lhs): at least 0 where the bound holds, 0 where it is attained. None for identities
      and where it holds vacuously.
    - `method`: How it was decided: exact rationals, ball arithmetic, or float64 with its rounding enclosure.
    - `reason`: The hypothesis that fails, with its value; why it stays undecided; or what makes it vacuous.
    - `scope`: What was covered: the whole trajectory, or which tokens.
    - `key`: That of the bound; "" for what is checked outside the registry.
    """

    theorem: str
    title: str
    statement: str
    stream: str
    rule: str
    index: tuple[int, ...]
    outcome: Outcome
    lhs: float | None = None
    rhs: float | None = None
    is_log: bool = False
    log10_slack: float | None = None
    method: str = ""
    reason: str = ""
    scope: str = "whole trajectory"
    key: str = ""


@dataclass(frozen=True)
class Sides:
    """Left and right side of ``lhs <= rhs``, or of ``lhs == rhs`` where `identity`.

    With `is_log` they are natural logarithms; minus infinity stands for log 0. `lhs_is_upper_bound` marks a left
    side of which only an upper bound is known: it can prove that the bound holds, never that it is violated.
    `method` overrides the label of the run, where a bound is decided apart from it.

    `ceiling` is what is known of the left side without the bound, a ratio of 1 included: a right side that is not
    proved to be smaller says nothing, and neither does 0 <= 0. An identity says nothing where it is `vacuous`.
    """

    lhs: Number
    rhs: Number
    is_log: bool = False
    identity: bool = False
    lhs_is_upper_bound: bool = False
    ceiling: Number = POS_INF
    vacuous: bool = False
    scope: str = "whole trajectory"
    method: str = ""


def decide(sides: Sides) -> Outcome:
    """Holds or violated only where the enclosures prove it; "holds" only where that is proved to say something."""
    outcome = (_decide_identity if sides.identity else _decide_inequality)(sides)
    return "holds, vacuously" if outcome == "holds" and _says_nothing(sides) else outcome


def _says_nothing(sides: Sides) -> bool:
    if sides.identity:
        return sides.vacuous
    rhs, least = ball(sides.rhs), flint.arb.neg_inf() if sides.is_log else 0
    return rhs == least or not rhs < ball(sides.ceiling)


def _decide_inequality(sides: Sides) -> Outcome:
    if upper(sides.lhs) <= lower(sides.rhs):
        return "holds"
    if not sides.lhs_is_upper_bound and lower(sides.lhs) > upper(sides.rhs):
        return "violated"
    return "undecided"


def _decide_identity(sides: Sides) -> Outcome:
    difference = sides.lhs - sides.rhs
    if isinstance(difference, flint.arb):
        if difference.is_zero():
            return "holds"
        return "undecided" if difference.contains(0) else "violated"
    return "holds" if difference == 0 else "violated"


def upper(value: Number) -> Any:
    """A number that is certainly no smaller."""
    return value.upper() if isinstance(value, flint.arb) and value.is_finite() else value


def lower(value: Number) -> Any:
    """A number that is certainly no larger."""
    return value.lower() if isinstance(value, flint.arb) and value.is_finite() else value


def log10_slack(sides: Sides) -> float | None:
    """log10(rhs / lhs) of the midpoints, for display; None for an identity, 0 <= 0, or an empty enclosure."""
    if sides.identity:
        return None
    lhs, rhs = ball(sides.lhs), ball(sides.rhs)
    if lhs.is_nan() or rhs.is_nan():
        return None
    if sides.is_log:
        return _difference(as_float(rhs) / math.log(10), as_float(lhs) / math.log(10))
    return _difference(_log10(rhs), _log10(lhs))


def _log10(value: Any) -> float:
    middle = value.mid()
    if middle <= 0:
        return -math.inf
    return float(middle.log() / flint.arb.const_log10())


def _difference(first: float, second: float) -> float | None:
    # 0 <= 0 holds, but says nothing about how tight the bound is.
    if first == second == -math.inf:
        return None
    return first - second
