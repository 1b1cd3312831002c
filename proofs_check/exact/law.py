"""A law: a theorem as something that can be evaluated on a rational instance, and its false variants.

The checker of a law is the same for the law and for its mutants: draw an instance, see that the hypotheses hold on
it, evaluate every relation exactly. A relation that fails is a counterexample. It counts once the instance has been
evaluated a second time in `fractions.Fraction`, from Python's own integers, with the same two sides.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, Literal

from flint import fmpq

from proofs_check.exact.draw import KINDS, Draw
from proofs_check.exact.roots import RootSum, fraction

Instance = SimpleNamespace
MutantKind = Literal["wrong constant", "dropped hypothesis", "flipped sign", "index shift", "wrong formula"]


@dataclass(frozen=True)
class Relation:
    """lhs == rhs or lhs <= rhs between exact numbers."""

    name: str
    lhs: Any
    op: Literal["==", "<="]
    rhs: Any

    def holds(self) -> bool:
        """Decided exactly; a float on either side is a TypeError, roots too close to tell an ArithmeticError."""
        if isinstance(self.lhs, float) or isinstance(self.rhs, float):
            raise TypeError(f"{self.name}: a float slipped into exact arithmetic")
        if isinstance(self.lhs, RootSum) or isinstance(self.rhs, RootSum):
            sign = (RootSum.of(self.lhs) - self.rhs).sign()
            return bool(sign == 0 if self.op == "==" else sign <= 0)
        return bool(self.lhs == self.rhs if self.op == "==" else self.lhs <= self.rhs)

    def __str__(self) -> str:
        return f"{self.name}: {self.lhs} {self.op} {self.rhs}"


def equal(name: str, lhs: Any, rhs: Any) -> Relation:
    """lhs == rhs."""
    return Relation(name, lhs, "==", rhs)


def at_most(name: str, lhs: Any, rhs: Any) -> Relation:
    """lhs <= rhs."""
    return Relation(name, lhs, "<=", rhs)


def equal_vectors(name: str, lhs: Iterable[Any], rhs: Iterable[Any]) -> Iterator[Relation]:
    """Equal entry by entry."""
    for i, (a, b) in enumerate(zip(lhs, rhs, strict=True)):
        yield equal(f"{name}[{i}]", a, b)


def equal_matrices(name: str, lhs: Iterable[Any], rhs: Iterable[Any]) -> Iterator[Relation]:
    """Equal entry by entry."""
    for i, (a, b) in enumerate(zip(lhs, rhs, strict=True)):
        yield from equal_vectors(f"{name}[{i}]", a, b)


Hypotheses = Mapping[str, Callable[[Instance], bool]]


@dataclass(frozen=True)
class Mutant:
    """A false variant of a law: what was changed, the law with the change, and the hypotheses it does without."""

    kind: MutantKind
    change: str
    law: Law
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Law:
    """A theorem that can be evaluated.

    Attributes
    ----------
    claim : str
        Theorem id.
    name : str
        Unique; also the seed of its instances.
    statement : str
    draw : function of a Draw
        An instance; it must satisfy the hypotheses.
    hypotheses : name -> predicate, evaluated exactly
    relations : function of an instance
        What the theorem says about it.
    mutants : tuple of Mutant
    """

    claim: str
    name: str
    statement: str
    draw: Callable[[Draw], Instance]
    relations: Callable[[Instance], Iterable[Relation]]
    hypotheses: Hypotheses
    mutants: tuple[Mutant, ...] = ()

    def mutant(
        self,
        kind: MutantKind,
        change: str,
        *,
        relations: Callable[[Instance], Iterable[Relation]] | None = None,
        draw: Callable[[Draw], Instance] | None = None,
        without: Iterable[str] = (),
    ) -> Law:
        """This law with one more false variant: other relations, or fewer hypotheses and instances that break them."""
        dropped = tuple(without)
        for name in dropped:
            if name not in self.hypotheses:
                raise KeyError(f"{self.name}: no hypothesis called {name!r} to drop")
        false = replace(
            self,
            name=f"{self.name} [{change}]",
            draw=draw or self.draw,
            relations=relations or self.relations,
            hypotheses={k: v for k, v in self.hypotheses.items() if k not in dropped},
            mutants=(),
        )
        return replace(self, mutants=(*self.mutants, Mutant(kind, change, false, dropped)))


@dataclass(frozen=True)
class Counterexample:
    """An instance that satisfies the hypotheses of a law, and the relation that fails on it."""

    instance: Instance
    relation: Relation

    def __str__(self) -> str:
        entries = ", ".join(f"{name} = {printed(value)}" for name, value in vars(self.instance).items())
        return f"{self.relation} is false at {entries}"


@dataclass(frozen=True)
class BrokenHypothesis:
    """An instance that a generator should not have made."""

    instance: Instance
    hypothesis: str


Finding = Counterexample | BrokenHypothesis | None


def examine(law: Law, instance: Instance) -> Finding:
    """None if the law holds on the instance; otherwise what is wrong.

    Raises
    ------
    ValueError
        If the law says nothing about the instance: that is no evidence for it.
    """
    for name, predicate in law.hypotheses.items():
        if not predicate(instance):
            return BrokenHypothesis(instance, name)
    silent = True
    for relation in law.relations(instance):
        silent = False
        if not relation.holds():
            return Counterexample(instance, relation)
    if silent:
        raise ValueError(f"{law.name}: no relation on an instance")
    return None


def instances(law: Law, count: int, seed: int, *, dyadic: bool = False) -> Iterator[Instance]:
    """`count` instances, the kinds of `draw.KINDS` taking turns; `dyadic` ones are made of float64 numbers."""
    for i in range(count):
        rng = random.Random(f"{seed} {law.claim} {law.name} {i}")
        yield law.draw(Draw(rng, KINDS[i % len(KINDS)], dyadic))


def search(law: Law, count: int, seed: int) -> tuple[int, Finding]:
    """Examine instances until something is wrong; how many were examined, and what it is."""
    examined = 0
    for instance in instances(law, count, seed):
        examined += 1
        finding = examine(law, instance)
        if finding is not None:
            return examined, finding
    return examined, None


def confirmed(law: Law, found: Counterexample) -> bool:
    """Whether the counterexample is one in `fractions.Fraction` too: same hypotheses, same relation, same sides."""
    again = examine(law, converted(found.instance))
    return isinstance(again, Counterexample) and str(again.relation) == str(found.relation)


def converted(value: Any, number: Callable[[Fraction], Any] = Fraction) -> Any:
    """An instance, or anything in it, with every fmpq made a Fraction and passed to `number`; integers stay."""
    if isinstance(value, SimpleNamespace):
        return SimpleNamespace(**{k: converted(v, number) for k, v in vars(value).items()})
    if isinstance(value, list | tuple):
        return type(value)(converted(v, number) for v in value)
    return number(fraction(value)) if isinstance(value, fmpq) else value


def printed(value: Any) -> str:
    """Rationals as p/q, lists in brackets."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(printed, value))}]"
    return str(value)
