"""Hypotheses as rewrites of terms, and expectations as substitutions of moments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sympy as sp

from proofs_check.symbolic.convert import expand
from proofs_check.symbolic.terms import ONLY, Factor, Index, Rewrite, Sum, Term, closed, identify


@dataclass(frozen=True)
class Hypothesis:
    """An equation that a theorem assumes, used from left to right.

    Attributes
    ----------
    name : str
    lhs : expression
        A single term with coefficient one, such as ``R.T * keys`` or ``Trace(d.T * s)``.
    rhs : expression
        Of the same shape.
    """

    name: str
    lhs: Any
    rhs: Any

    def rewrite(self) -> Rewrite:
        """Replace the left side wherever its factors stand in a term and its bound indices are used nowhere else.

        Raises
        ------
        ValueError
            If the left side is more than one term.
        """
        pattern = expand(self.lhs)
        if len(pattern) != 1 or pattern[0][0] != 1 or not pattern[0][1].factors:
            raise ValueError(f"{self.name}: the left side must be one term with coefficient one")
        (_, left), right = pattern[0], expand(self.rhs)

        def apply(term: Term) -> Sum | None:
            found = next(_matches(left, term), None)
            return None if found is None else _replaced(term, left, right, *found)

        return apply


def invertible(matrix: Any) -> tuple[Hypothesis, Hypothesis]:
    """M M^-1 = I and M^-1 M = I, for a product M of symbols."""
    one = sp.Identity(matrix.rows)
    # Unevaluated: SymPy would cancel the left side itself.
    right, left = sp.MatMul(matrix, sp.Inverse(matrix)), sp.MatMul(sp.Inverse(matrix), matrix)
    return Hypothesis(f"{matrix} invertible", right, one), Hypothesis(f"{matrix} invertible", left, one)


Binding = dict[Index, Index]


def _matches(pattern: Term, term: Term) -> Iterator[tuple[tuple[int, ...], Binding]]:
    """Positions of factors of `term` that are the pattern, and what its indices are there."""
    for places, binding in _placements(pattern.factors, term.factors, (), {}):
        if _private(pattern, term, places, binding):
            yield places, binding


def _placements(
    wanted: tuple[Factor, ...], factors: tuple[Factor, ...], places: tuple[int, ...], binding: Binding
) -> Iterator[tuple[tuple[int, ...], Binding]]:
    if len(places) == len(wanted):
        yield places, binding
        return
    name, slots = wanted[len(places)]
    for place, (other, here) in enumerate(factors):
        if place in places or other != name:
            continue
        extended = dict(binding)
        if all(a.size == b.size and extended.setdefault(a, b) is b for a, b in zip(slots, here, strict=True)):
            yield from _placements(wanted, factors, (*places, place), extended)


def _private(pattern: Term, term: Term, places: tuple[int, ...], binding: Binding) -> bool:
    """Whether the bound indices of the pattern are different indices of the term, bound by these factors alone."""
    free = {pattern.row, pattern.column, ONLY}
    bound = [binding[i] for i in pattern.indices() - free]
    rest = Term(tuple(f for i, f in enumerate(term.factors) if i not in places), term.row, term.column)
    outside = rest.indices() | {binding.get(i, i) for i in free}
    return len(set(bound)) == len(bound) and not outside & set(bound)


def _replaced(term: Term, left: Term, right: Sum, places: tuple[int, ...], binding: Binding) -> Sum:
    rest = tuple(f for i, f in enumerate(term.factors) if i not in places)
    result: Sum = []
    for c, fresh_term in right:
        t = fresh_term.freshened()
        ends = (("", (t.row, binding.get(left.row, ONLY))), ("", (t.column, binding.get(left.column, ONLY))))
        whole = Term((*ends, *rest, *t.factors), term.row, term.column)
        for end in (0, 1):
            whole = identify(whole, *whole.factors[end][1])
        before = {i for _, (_, i) in whole.factors[:2]}
        result.append(closed(c, Term(whole.factors[2:], whole.row, whole.column), before))
    return result


@dataclass(frozen=True)
class Mean:
    """The expectation of an expression over one random vector, independent of everything else in it.

    Attributes
    ----------
    of : expression
        Of degree at most two in `variable`.
    variable : MatrixSymbol, n x 1
    first, second : expressions, n x 1 and n x n
        Its moments E[x] and E[x x^T].
    """

    of: Any
    variable: Any
    first: Any
    second: Any

    def expand(self) -> Sum:
        """By linearity: every product of entries of the variable is replaced by its moment.

        Raises
        ------
        ValueError
            Where the variable stands to a power that has no given moment, in a denominator for instance.
        """
        for node in sp.preorder_traversal(self.of):
            if isinstance(node, sp.Pow | sp.MatPow) and node.exp.is_negative and node.has(self.variable):
                raise ValueError(f"no moment of {self.variable} in a denominator is given")
        return [weighted for c, term in expand(self.of) for weighted in self._moments(c, term)]

    def _moments(self, coefficient: Any, term: Term) -> Sum:
        name = self.variable.name
        places = tuple(i for i, (other, _) in enumerate(term.factors) if other == name)
        if not places:
            return [(coefficient, term)]
        if len(places) > 2:
            raise ValueError(f"a moment of order {len(places)} of {name} is not given")
        moment = expand(self.first if len(places) == 1 else self.second)
        slots = [term.factors[i][1][0] for i in places]
        left = Term(tuple(term.factors[i] for i in places), slots[0], slots[1] if len(slots) == 2 else ONLY)
        return [(coefficient * c, t) for c, t in _replaced(term, left, moment, places, {i: i for i in slots})]


def expand_any(expression: Any) -> Sum:
    return expression.expand() if isinstance(expression, Mean) else expand(expression)
