r"""Polynomials in matrix entries, with a normal form in every dimension.

A term is a product of entries summed over indices, :math:`\sum_{j} A_{ij} B_{jk} x_k`, with at most two free indices,
the row and the column of the matrix that it is. Products, transposes, traces, Hadamard products and diagonal matrices
all become shared indices, so one normal form serves them all: two terms are the same function of their entries
whenever one is the other with its factors reordered and its bound indices renamed, and the canonical key of a term is
blind to exactly that. Equal keys are therefore equal matrices, of any size; this is all that soundness needs.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp


@dataclass(frozen=True, eq=False)
class Index:
    """A summation index; `size` is its range, a SymPy expression. Two of them are equal only if identical."""

    size: Any


ONLY = Index(sp.S.One)
"""The index of range one. There is a single one: its value is known, so it connects nothing."""


def fresh(size: Any) -> Index:
    return ONLY if size == 1 else Index(sp.sympify(size))


Factor = tuple[str, tuple[Index, ...]]


@dataclass(frozen=True)
class Term:
    """Entries multiplied, and the row and column that are not summed over."""

    factors: tuple[Factor, ...]
    row: Index = ONLY
    column: Index = ONLY

    def indices(self) -> set[Index]:
        used = {index for _, slots in self.factors for index in slots}
        return (used | {self.row, self.column}) - {ONLY}

    def renamed(self, names: Mapping[Index, Index]) -> Term:
        factors = tuple((name, tuple(names.get(i, i) for i in slots)) for name, slots in self.factors)
        return Term(factors, names.get(self.row, self.row), names.get(self.column, self.column))

    def freshened(self) -> Term:
        """The same term with indices that no other term uses."""
        return self.renamed({index: Index(index.size) for index in self.indices()})


Weighted = tuple[Any, Term]
"""A scalar coefficient, a SymPy expression, and a term."""

Sum = list[Weighted]


def closed(coefficient: Any, term: Term, vanished: Iterable[Index]) -> Weighted:
    """A term after contraction: an index that no factor and no slot uses any more counts its range."""
    gone = set(vanished) - term.indices() - {ONLY}
    return coefficient * sp.Mul(*(index.size for index in gone)), term


def identify(term: Term, first: Index, second: Index) -> Term:
    """The term with two indices made one: a Kronecker delta between them, summed out."""
    if first is second:
        return term
    kept, dropped = (second, first) if first is ONLY else (first, second)
    if kept is ONLY or dropped is ONLY:
        raise ValueError("an index of range one meets one of another range")
    return term.renamed({dropped: kept})


def combine(terms: Iterable[Weighted]) -> dict[Hashable, Weighted]:
    """The normal form: canonical key -> coefficient and term, no coefficient zero."""
    totals: dict[Hashable, Weighted] = {}
    for coefficient, term in terms:
        key = canonical(term)
        known = totals.get(key, (sp.S.Zero, term))
        totals[key] = known[0] + coefficient, known[1]
    return {key: (c, term) for key, (c, term) in totals.items() if not is_zero(c)}


def is_zero(coefficient: Any) -> bool:
    """Whether a scalar expression vanishes; decided exactly for rational functions."""
    if coefficient.is_Number:
        return bool(coefficient == 0)
    if sp.cancel(sp.together(coefficient)) == 0:
        return True
    return not coefficient.is_rational_function() and sp.simplify(coefficient) == 0


def canonical(term: Term) -> Hashable:
    """A key that terms share if and only if renaming bound indices and reordering factors makes them equal."""
    marked = (*term.factors, ("", (term.row, term.column)))
    return tuple(sorted(_component_key(part) for part in _components(marked)))


def _components(factors: Iterable[Factor]) -> Iterator[list[Factor]]:
    """Factors in groups that share no index."""
    left = list(factors)
    while left:
        group, seen = [left.pop()], set[Index]()
        for _, slots in group:  # grows while it is walked
            seen |= set(slots) - {ONLY}
            group += [f for f in left if seen & set(f[1])]
            left = [f for f in left if not seen & set(f[1])]
        yield group


Colours = dict[Index, Any]


def _component_key(factors: list[Factor]) -> Any:
    indices = {index for _, slots in factors for index in slots} - {ONLY}
    colours: Colours = dict.fromkeys(indices, 0)
    return _least_key(factors, _refined(factors, colours))


def _refined(factors: list[Factor], colours: Colours) -> Colours:
    """Colours split by what they are attached to, until nothing splits any more."""
    while True:
        signature = {i: (colours[i], str(i.size), _surroundings(i, factors, colours)) for i in colours}
        ranks = {value: rank for rank, value in enumerate(sorted(set(signature.values())))}
        refined = {i: ranks[signature[i]] for i in colours}
        if len(ranks) == len(set(colours.values())):
            return refined
        colours = refined


def _surroundings(index: Index, factors: list[Factor], colours: Colours) -> tuple[Any, ...]:
    """In which slots of which factors an index stands, and the colours of its company there."""
    found = []
    for name, slots in factors:
        if index in slots:
            places = tuple(slot is index for slot in slots)
            found.append((name, places, tuple(colours.get(slot, -1) for slot in slots)))
    return tuple(sorted(found))


def _least_key(factors: list[Factor], colours: Colours) -> Any:
    """The least spelling of a component over all ways to tell indices of one colour apart."""
    tied = [colour for colour, count in sorted(Counter(colours.values()).items()) if count > 1]
    if not tied:
        return tuple(
            sorted((name, tuple(colours.get(i, -1) for i in slots)) for name, slots in factors)
        ), tuple(str(i.size) for i in sorted(colours, key=lambda i: colours[i]))
    branches = [index for index, colour in colours.items() if colour == tied[0]]
    # Singling one index out puts it before the others of its colour; the branch with the least spelling wins.
    spread = {index: 2 * colour + 1 for index, colour in colours.items()}
    return min(_least_key(factors, _refined(factors, {**spread, b: spread[b] - 1})) for b in branches)


Rewrite = Callable[[Term], Sum | None]
"""A term made into other terms by a hypothesis; None where the hypothesis does not apply."""


def rewritten(terms: Sum, rewrites: Iterable[Rewrite], limit: int = 10_000) -> dict[Hashable, Weighted]:
    """The normal form after every rewrite that applies, and a RuntimeError if that does not end."""
    rules = list(rewrites)
    normal = combine(terms)
    for _ in range(limit):
        step = _one_step(normal, rules)
        if step is None:
            return normal
        normal = combine(step)
    raise RuntimeError("the hypotheses, used as rewrites, do not end")


def _one_step(normal: dict[Hashable, Weighted], rules: list[Rewrite]) -> Sum | None:
    for (key, (coefficient, term)), rule in itertools.product(normal.items(), rules):
        replacement = rule(term)
        if replacement is not None:
            rest = [weighted for other, weighted in normal.items() if other != key]
            return rest + [(coefficient * c, t) for c, t in replacement]
    return None
