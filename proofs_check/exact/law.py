"""A law: a theorem of the Coq library once more in Python, as what it says about one rational instance.

A law is held against the statement that Coq prints, both sides of every comparison; it is what links hold the code
against; and its right side may not be any smaller: a false variant of it is refuted by a counterexample.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import fmpq

from proofs_check.exact.draw import KINDS, Draw, Instance, Source
from proofs_check.exact.numbers import Number, identity
from proofs_check.exact.propositions import Compares, Joined, Proposition, implies, premises_of, true

Says = Callable[[Any], Proposition]

SEED = 20260513
HALF = fmpq(1, 2)


@dataclass(frozen=True)
class Law:
    """A theorem on instances.

    - `name`: That of the Coq theorem, or, for a law that Coq does not state, one that starts with its claim.
    - `draw`, function of a Draw: An instance; the premises must hold on it.
    - `says`, function of an instance: The theorem's premises and conclusion there.
    - `times`: What a bound, multiplied by it, is false with. Of an equation the double is.
    - `double`: What makes the conclusion false when doubled in it, where its right side is zero.
    """

    name: str
    draw: Source
    says: Says
    times: Number = HALF
    double: str = ""

    @property
    def claim(self) -> str:
        return self.name.split("_", 1)[0]

    @property
    def is_negative(self) -> bool:
        """Whether it is a counterexample itself: ``T5_needs_…``."""
        return self.name.split("_")[1] == "needs"

    @property
    def change(self) -> str:
        """What the false variant has wrong."""
        return (
            f"{self.double} doubled" if self.double else f"{self.times} of a bound, the double of an equation"
        )

    def false(self, x: Instance) -> Proposition:
        """The false variant on an instance."""
        premises, conclusion = premises_of(self.says(x))
        if self.double:
            changed = self.says(x.but(**{self.double: _scaled(getattr(x, self.double), 2)}))
            return implies(*premises, premises_of(changed)[1])
        return implies(*premises, _spoiled(conclusion, self.times))

    def conclusion(self, x: Instance) -> Proposition:
        return premises_of(self.says(x))[1]


LAWS: dict[str, Law] = {}
"""Name -> law, as the modules of `exact.laws` register them."""


def register(draw: Source, *, times: Number = HALF, double: str = "", **laws: Says) -> None:
    """Register laws by their names, each a function of the instances that `draw` gives; see `Law`."""
    for name, says in laws.items():
        if name in LAWS:
            raise ValueError(f"laws: {name} is stated twice")
        LAWS[name] = Law(name, draw, says, times, double)


def law(draw: Source, **options: Any) -> Callable[[Says], Says]:
    """As `register`, of a function that has the law's name."""

    def registered(says: Says) -> Says:
        register(draw, **{**options, says.__name__: says})
        return says

    return registered


def _spoiled(fact: Proposition, times: Number) -> Proposition:
    """A conclusion with smaller bounds, doubled right sides, and matrices without the identity that they need."""
    match fact:
        case Compares("is invertible", matrix, _):
            return Compares("is invertible", matrix - identity(len(matrix)), True)
        case Compares(operator, lhs, rhs):
            return Compares(operator, lhs, _scaled(rhs, 2 if operator == "=" else times))
        case Joined("all", parts):
            return Joined("all", tuple(_spoiled(part, times) for part in parts))
        case Joined("if" | "iff" as word, (left, right)):
            return Joined(word, (left, _spoiled(right, times)))
    return fact


def _scaled(value: Any, times: Number) -> Any:
    """A number, array, or nested sequence of them, times a number."""
    if isinstance(value, list | tuple):
        return type(value)(_scaled(part, times) for part in value)
    return times * value


def instances(law: Law, name: str, count: int, *, dyadic: bool = False) -> Iterator[Instance]:
    """`count` instances, the kinds of `draw.KINDS` taking turns; `dyadic` ones are made of float64 numbers."""
    for i in range(count):
        yield law.draw(Draw(random.Random(f"{SEED} {name} {i}"), KINDS[i % len(KINDS)], dyadic))


def broken(fact: Proposition) -> str:
    """What is wrong with a law on an instance, or "": a premise or the conclusion does not hold."""
    premises, conclusion = premises_of(fact)
    for premise in premises:
        if not true(premise):
            return f"the premise {premise} does not hold"
    return "" if true(conclusion) else f"{conclusion} is false"


def converted(value: Any, number: Callable[[Any], Any]) -> Any:
    """An instance, or anything in it, with every rational passed to `number`; integers stay."""
    match value:
        case Instance():
            return type(value)(**converted(vars(value), number))
        case dict():
            return {name: converted(part, number) for name, part in value.items()}
        case list() | tuple():
            return type(value)(converted(part, number) for part in value)
        case np.ndarray():
            result = np.empty(value.shape, dtype=object)
            result.flat[:] = [converted(part, number) for part in value.flat]
            return result
    return number(value) if isinstance(value, fmpq) else value


def printed(value: Any) -> str:
    """An instance, or anything in it, in one line: rationals as p/q, lists in brackets."""
    if isinstance(value, Instance):
        return ", ".join(f"{name} = {printed(part)}" for name, part in vars(value).items())
    if isinstance(value, np.ndarray | list | tuple):
        return f"[{', '.join(map(printed, value))}]"
    return "a function" if callable(value) else str(value)
