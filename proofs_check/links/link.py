"""A link: a function of `osdn_theory` and the formula that is proved, on the same rational instances."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
import numpy as np
from flint import fmpq

from proofs_check.exact.draw import KINDS, Draw, Instance, Source
from proofs_check.exact.law import SEED
from proofs_check.exact.numbers import BITS
from proofs_check.exact.propositions import same
from proofs_check.links.sized import Sized
from proofs_check.proof import Judgement, failed, passed


@dataclass(frozen=True)
class CodeNumber:
    """A number that the code gave, the exact one, and how far apart rounding may put them (0: not at all)."""

    name: str
    found: Any
    expected: Any
    allowed: Any = 0

    @property
    def error(self) -> Any:
        """How far the code is off."""
        return abs(rational(self.found) - self.expected)

    def holds(self) -> bool:
        """Whether they agree as far as allowed; enclosures must be narrow and overlap."""
        if isinstance(self.found, flint.arb) or isinstance(self.expected, flint.arb):
            return balls_agree(self.found, self.expected)
        return is_finite(self.found) and bool(self.error <= self.allowed)

    def __str__(self) -> str:
        return f"{self.name}: the code gives {self.found}, the proof {self.expected}, rounding may be {self.allowed}"


def is_finite(x: Any) -> bool:
    """False for a float64 NaN or infinity."""
    return not isinstance(x, float) or bool(np.isfinite(x))


def rational(x: Any) -> Any:
    """A float64, or any exact number, as an fmpq."""
    if isinstance(x, float):
        return fmpq(*x.as_integer_ratio())
    return fmpq(x.numerator, x.denominator) if isinstance(x, Fraction) else fmpq(x)


def balls_agree(found: Any, expected: Any) -> bool:
    """Whether two enclosures agree to 2^-200; infinities must be the same."""
    with flint.ctx.workprec(BITS):
        a, b = (x if isinstance(x, flint.arb) else flint.arb(rational(x)) for x in (found, expected))
        # Exact infinities of one sign are equal.
        return same(a, b) if a.is_finite() and b.is_finite() else bool(a == b)


Pairs = Iterator[tuple[Any, ...]]
"""What a link compares: a name, what the code gives, what is exact, and how far rounding may put them apart."""


def numbers(name: str, found: Any, expected: Any, allowed: Any = 0) -> Iterator[CodeNumber]:
    """Entry by entry: an array or nested list of the code against arrays or lists of exact or of sized numbers."""
    if isinstance(expected, list | np.ndarray):
        if len(found) != len(expected):
            raise ValueError(f"{name}: {len(found)} numbers against {len(expected)}")
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            yield from numbers(f"{name}[{i}]", a, b, allowed)
    elif isinstance(expected, Sized):
        yield CodeNumber(name, _plain(found), expected.value, expected.allowed + allowed)
    else:
        yield CodeNumber(name, _plain(found), expected, allowed)


def _plain(x: Any) -> Any:
    return float(x) if isinstance(x, np.floating | np.ndarray) else x


@dataclass(frozen=True)
class Link:
    """A theorem's formula in the code and as it is proved.

    - `claim`: Theorem id.
    - `name`: Unique; also the seed of its instances.
    - `statement`: Which function is compared with which formula.
    - `draw`, function of a Draw: An instance of float64 numbers.
    - `compare`, function of an instance: What `numbers` takes, once at least.
    - `count`: Instances.
    """

    claim: str
    name: str
    statement: str
    draw: Source
    compare: Callable[[Any], Pairs]
    count: int = 120


def instances(link: Link, count: int | None = None, seed: int = SEED) -> Iterator[Instance]:
    """The rational instances of a link, float64 numbers all, the kinds of `draw.KINDS` taking turns."""
    for i in range(link.count if count is None else count):
        rng = random.Random(f"{seed} {link.claim} {link.name} {i}")
        yield link.draw(Draw(rng, KINDS[i % len(KINDS)], dyadic=True))


def as_float(x: Any) -> float:
    return int(x.p) / int(x.q)


def check_link(link: Link, count: int | None = None, seed: int = SEED) -> Judgement:
    """Every number of every instance; fails at the first that is farther off than rounding explains."""
    compared, exact, worst, coarsest = 0, 0, 0.0, 0.0
    for examined, instance in enumerate(instances(link, count, seed), start=1):
        found = [number for pair in link.compare(instance) for number in numbers(*pair)]
        if not found:
            return failed("an instance compares nothing", examined)
        for number in found:
            if not number.holds():
                return failed(str(number), examined)
            if number.allowed != 0:
                worst = max(worst, as_float(number.error / number.allowed))
                coarsest = max(coarsest, as_float(number.allowed / (1 + abs(number.expected))))
        compared, exact = compared + len(found), exact + sum(number.allowed == 0 for number in found)
    detail = f"{compared} numbers, {exact} of them exact or to 2^-200"
    if exact < compared:
        detail += f", the others within rounding, of which {coarsest:.1g} is the most allowed"
    return passed(
        detail, examined, compared=compared, exact=exact, worst_share_of_rounding=worst, most_allowed=coarsest
    )
