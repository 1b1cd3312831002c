"""A law: a theorem of the Coq library once more in Python, as what it says about one rational instance.

A law is held against the statement that Coq prints, both sides of every comparison; it is what links hold the code
against; and it has false variants, each refuted by a counterexample.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import KINDS, Draw, Instance
from proofs_check.exact.propositions import Proposition, described, implies, premises_of, true

Says = Callable[[Instance], Proposition]
Source = Callable[[Draw], Instance]

SEED = 20260513


@dataclass(frozen=True)
class Variant:
    """A law with a mistake in it, and where to look for a counterexample."""

    change: str
    says: Says
    draw: Source


@dataclass
class Law:
    """A theorem on instances.

    Attributes
    ----------
    name : str
        That of the Coq theorem, or, for a law that Coq does not state, one that starts with its claim.
    draw : function of a Draw
        An instance; the premises must hold on it.
    says : function of an instance
        The theorem's premises and conclusion there.
    variants : list of Variant
    """

    name: str
    draw: Source
    says: Says
    variants: list[Variant] = field(default_factory=list)

    @property
    def claim(self) -> str:
        return self.name.split("_", 1)[0]

    def false(self, change: str, says: Says | None = None, draw: Source | None = None) -> None:
        """Add a false variant: it says something else, or it is drawn where a dropped premise does not hold."""
        self.variants.append(Variant(change, says or self.says, draw or self.draw))

    def without(self, change: str, premise: int, draw: Source) -> None:
        """Add the false variant that does without a premise, given by its place."""

        def says(x: Instance) -> Proposition:
            premises, conclusion = premises_of(self.says(x))
            return implies(*premises[:premise], *premises[premise + 1 :], conclusion)

        self.false(change, says, draw)

    def conclusion(self, x: Instance) -> Proposition:
        return premises_of(self.says(x))[1]


def law(draw: Source) -> Callable[[Says], Law]:
    """A function of an instance as a law of its name, tried on what `draw` gives."""
    return lambda says: Law(says.__name__, draw, says)


def instances(law: Law | Variant, name: str, count: int, *, dyadic: bool = False) -> Iterator[Instance]:
    """`count` instances, the kinds of `draw.KINDS` taking turns; `dyadic` ones are made of float64 numbers."""
    for i in range(count):
        yield law.draw(Draw(random.Random(f"{SEED} {name} {i}"), KINDS[i % len(KINDS)], dyadic))


def broken(says: Says, x: Instance) -> str:
    """What is wrong with a law on an instance, or "": a premise or the conclusion does not hold."""
    premises, conclusion = premises_of(says(x))
    for premise in premises:
        if not true(premise):
            return f"the premise {described(premise)} does not hold"
    return "" if true(conclusion) else f"{described(conclusion)} is false"


def refutes(says: Says, x: Instance) -> bool:
    """Whether the premises hold and the conclusion does not."""
    premises, conclusion = premises_of(says(x))
    return all(map(true, premises)) and not true(conclusion)


def refute(law: Law, variant: Variant, count: int) -> tuple[int, str]:
    """Instances tried until one refutes the variant, and that one; "" if none does.

    It must not refute the law itself.
    """
    tried = 0
    for x in instances(variant, f"{law.name} {variant.change}", count):
        tried += 1
        if refutes(variant.says, x):
            return tried, "" if refutes(law.says, x) else printed(x)
    return tried, ""


def converted(value: Any, number: Callable[[Any], Any]) -> Any:
    """An instance, or anything in it, with every rational passed to `number`; integers stay."""
    if isinstance(value, Instance):
        return Instance(**{name: converted(part, number) for name, part in vars(value).items()})
    if isinstance(value, dict):
        return {name: converted(part, number) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(converted(part, number) for part in value)
    if isinstance(value, np.ndarray):
        result = np.empty(value.shape, dtype=object)
        result.flat[:] = [converted(part, number) for part in value.flat]
        return result
    return number(value) if isinstance(value, fmpq) else value


def printed(x: Instance) -> str:
    """An instance in one line."""
    return ", ".join(f"{name} = {_text(value)}" for name, value in vars(x).items())


def _text(value: Any) -> str:
    """Rationals as p/q, lists in brackets."""
    if isinstance(value, np.ndarray | list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return "a function" if callable(value) else str(value)
