"""Propositions with the numbers that they compare: what Coq's statement and a law in Python are both evaluated to.

Truth alone would not tell a bound from a looser one. Two propositions agree if they have the same form, and the same
value on either side of every comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import flint
import numpy as np

from proofs_check.exact.numbers import BITS, is_invertible

Operator = Literal["=", "<=", "<", "is invertible"]

_NEGLIGIBLE = flint.arb(2) ** -200
# Square roots are enclosed, everything else is rational: enclosures that agree this far are the same number.


@dataclass(frozen=True, eq=False)
class Compares:
    """lhs = rhs, lhs <= rhs or lhs < rhs, of numbers, arrays, or sequences of them; or that lhs has an inverse."""

    operator: Operator
    lhs: Any
    rhs: Any

    def __str__(self) -> str:
        return f"{shown(self.lhs)} {self.operator} {shown(self.rhs)}"


@dataclass(frozen=True, eq=False)
class All:
    """All of the parts."""

    parts: tuple[Proposition, ...]


@dataclass(frozen=True, eq=False)
class If:
    """The premise implies the conclusion."""

    premise: Proposition
    conclusion: Proposition


@dataclass(frozen=True, eq=False)
class Either:
    """One of two."""

    left: Proposition
    right: Proposition


@dataclass(frozen=True, eq=False)
class Iff:
    """Both or neither."""

    left: Proposition
    right: Proposition


@dataclass(frozen=True, eq=False)
class Not:
    """Not."""

    part: Proposition


Proposition = Compares | All | If | Either | Iff | Not
Fact = Proposition | Iterable[Any]
"""A proposition, or several, in lists of lists."""


def every(*facts: Fact) -> Proposition:
    """All of them, in one flat list; a single one is itself."""
    flat = tuple(_flattened(facts))
    return flat[0] if len(flat) == 1 else All(flat)


def _flattened(facts: Iterable[Any]) -> Iterator[Proposition]:
    for fact in facts:
        if isinstance(fact, All):
            yield from _flattened(fact.parts)
        elif isinstance(fact, Proposition):
            yield fact
        else:
            yield from _flattened(fact)


def eq(lhs: Any, rhs: Any) -> Proposition:
    return Compares("=", lhs, rhs)


def ne(lhs: Any, rhs: Any) -> Proposition:
    return Not(eq(lhs, rhs))


def le(lhs: Any, rhs: Any) -> Proposition:
    return Compares("<=", lhs, rhs)


def lt(lhs: Any, rhs: Any) -> Proposition:
    return Compares("<", lhs, rhs)


def implies(*facts: Fact) -> Proposition:
    """All but the last imply the last."""
    *premises, conclusion = facts
    result = every(conclusion)
    for premise in reversed(premises):
        result = If(every(premise), result)
    return result


def premises_of(proposition: Proposition) -> tuple[list[Proposition], Proposition]:
    """The premises in front of a conclusion, and the conclusion."""
    premises = []
    while isinstance(proposition, If):
        premises.append(proposition.premise)
        proposition = proposition.conclusion
    return premises, proposition


def true(proposition: Proposition | bool) -> bool:
    """Decided exactly; for enclosures, certainly and not up to their width."""
    match proposition:
        case bool():
            return proposition
        case Compares():
            return _compared(proposition)
        case All(parts):
            return all(map(true, parts))
        case If(premise, conclusion):
            return not true(premise) or true(conclusion)
        case Either(left, right):
            return true(left) or true(right)
        case Iff(left, right):
            return true(left) == true(right)
        case Not(part):
            return not true(part)


def _compared(fact: Compares) -> bool:
    lhs, rhs = fact.lhs, fact.rhs
    if isinstance(lhs, float) or isinstance(rhs, float):
        raise TypeError("a float slipped into exact arithmetic")
    match fact.operator:
        case "=":
            return same(lhs, rhs)
        case "<=":
            return bool(lhs <= rhs) or same(lhs, rhs)
        case "<":
            return bool(lhs < rhs)
        case "is invertible":
            return is_invertible(lhs)


def same(a: Any, b: Any) -> bool:
    """Whether two values are one: exactly, or where a square root went in, to 2^-200."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.atleast_2d(a), np.atleast_2d(b)  # a vector is the row that it is in Coq
        return a.shape == b.shape and all(map(same, a.flat, b.flat))
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, flint.arb) or isinstance(b, flint.arb):
        with flint.ctx.workprec(BITS):
            difference = flint.arb(a) - flint.arb(b)
            return bool(abs(difference).upper() <= _NEGLIGIBLE * (1 + abs(flint.arb(a)).upper()))
    return bool(a == b)


def difference(found: Proposition, expected: Proposition) -> str:
    """How two propositions differ, or "" where they do not: in form, or in a value that they compare."""
    if type(found) is not type(expected):
        return f"{described(found)} instead of {described(expected)}"
    match found, expected:
        case Compares(), Compares():
            alike = found.operator == expected.operator and same(found.lhs, expected.lhs)
            return "" if alike and same(found.rhs, expected.rhs) else f"{found} instead of {expected}"
        case All(parts), All(others):
            if len(parts) != len(others):
                return f"{len(parts)} facts instead of {len(others)}"
            return next(filter(None, map(difference, parts, others)), "")
        case Not(part), Not(other):
            return difference(part, other)
        case If(premise, conclusion), If(other, then):
            text = difference(premise, other)
            return f"premise: {text}" if text else difference(conclusion, then)
        case (Either(a, b), Either(c, d)) | (Iff(a, b), Iff(c, d)):
            return difference(a, c) or difference(b, d)
    raise TypeError(f"not a proposition: {found!r}")


def described(proposition: Proposition) -> str:
    """In a few words."""
    match proposition:
        case Compares():
            return str(proposition)
        case If(premise, _):
            return f"something under the premise {described(premise)}"
        case All(parts):
            return f"{len(parts)} facts"
        case Not(part):
            return f"not {described(part)}"
    return type(proposition).__name__.lower()


def shown(value: Any) -> str:
    """A value, cut where it is long."""
    text = str(value.tolist() if isinstance(value, np.ndarray) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
