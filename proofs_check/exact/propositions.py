"""Propositions with the numbers that they compare: what Coq's statement and a law in Python are both evaluated to.

Truth alone would not tell a bound from a looser one. Two propositions agree if they have the same form, and the same
value on either side of every comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
class Joined:
    """Propositions under one word: "all" of any number, one of two ("or"), both or neither ("iff"), the first implies
    the second ("if"), "not" the single one."""

    word: Literal["all", "or", "iff", "if", "not"]
    parts: tuple[Proposition, ...]

    def __str__(self) -> str:
        if self.word == "if":
            return f"something under the premise {self.parts[0]}"
        return f"not {self.parts[0]}" if self.word == "not" else f"{len(self.parts)} facts ({self.word})"


Proposition = Compares | Joined
Fact = Proposition | Iterable[Any]
"""A proposition, or several, in lists of lists."""


def every(*facts: Fact) -> Proposition:
    """All of them, in one flat list; a single one is itself."""
    flat = tuple(_flattened(facts))
    return flat[0] if len(flat) == 1 else Joined("all", flat)


def _flattened(facts: Iterable[Any]) -> Iterator[Proposition]:
    for fact in facts:
        if isinstance(fact, Joined) and fact.word == "all":
            yield from _flattened(fact.parts)
        elif isinstance(fact, Proposition):
            yield fact
        else:
            yield from _flattened(fact)


def eq(lhs: Any, rhs: Any) -> Proposition:
    return Compares("=", lhs, rhs)


def ne(lhs: Any, rhs: Any) -> Proposition:
    return negation(eq(lhs, rhs))


def le(lhs: Any, rhs: Any) -> Proposition:
    return Compares("<=", lhs, rhs)


def lt(lhs: Any, rhs: Any) -> Proposition:
    return Compares("<", lhs, rhs)


def each(compare: Callable[[Any, Any], Proposition], a: Sequence[Any], b: Sequence[Any]) -> Proposition:
    """Entry by entry, as far as both go: how far that is, the tie to Coq counts."""
    return every(compare(p, q) for p, q in zip(a, b, strict=False))


def invertible(matrix: Any) -> Proposition:
    return Compares("is invertible", matrix, True)


def negation(part: Proposition) -> Proposition:
    return Joined("not", (part,))


def either(left: Proposition, right: Proposition) -> Proposition:
    return Joined("or", (left, right))


def iff(left: Proposition, right: Proposition) -> Proposition:
    return Joined("iff", (left, right))


def implies(*facts: Fact) -> Proposition:
    """All but the last imply the last."""
    *premises, conclusion = facts
    result = every(conclusion)
    for premise in reversed(premises):
        result = Joined("if", (every(premise), result))
    return result


def premises_of(proposition: Proposition) -> tuple[list[Proposition], Proposition]:
    """The premises in front of a conclusion, and the conclusion."""
    premises = []
    while isinstance(proposition, Joined) and proposition.word == "if":
        premise, proposition = proposition.parts
        premises.append(premise)
    return premises, proposition


def true(proposition: Proposition | bool) -> bool:
    """Decided exactly; for enclosures, certainly and not up to their width."""
    match proposition:
        case bool():
            return proposition
        case Compares():
            return _compared(proposition)
        case Joined("all", parts):
            return all(map(true, parts))
        case Joined("or", parts):
            return any(map(true, parts))
        case Joined("if", (premise, conclusion)):
            return not true(premise) or true(conclusion)
        case Joined("iff", (left, right)):
            return true(left) == true(right)
        case Joined(_, (part,)):
            return not true(part)
    raise TypeError(f"not a proposition: {proposition!r}")


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
    match found, expected:
        case Compares(operator, lhs, rhs), Compares() if operator == expected.operator:
            alike = same(lhs, expected.lhs) and same(rhs, expected.rhs)
            return "" if alike else f"{found} instead of {expected}"
        case Joined(word, parts), Joined(other, others) if word == other:
            if len(parts) != len(others):
                return f"{len(parts)} facts instead of {len(others)}"
            texts = list(map(difference, parts, others))
            return f"premise: {texts[0]}" if word == "if" and texts[0] else next(filter(None, texts), "")
    return f"{found} instead of {expected}"


def shown(value: Any) -> str:
    """A value, cut where it is long."""
    text = str(value.tolist() if isinstance(value, np.ndarray) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
