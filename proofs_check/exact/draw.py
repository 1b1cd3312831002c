"""Random rational numbers, keys and steps, with the extreme kinds that every claim is tried on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self, TypeVar

import numpy as np
from flint import fmpq

from proofs_check.exact.numbers import Array, Number, array, identity


class Instance(SimpleNamespace):
    """Named numbers, arrays, and lists of them over the tokens; the names are those of Coq's theorems.

    What a name in Coq has and no name in Python may: ``d_prime`` is ``d'``, ``lambda_`` is ``lambda``. `domains` says
    what variables inside a statement range over, `hidden` which names are for Python alone. Subclasses have properties
    for what follows from these values.
    """

    def but(self, **changes: Any) -> Self:
        """The same with other values of some names, or more names."""
        return type(self)(**{**vars(self), **changes})

    def tokens(self, first: int, count: int, *names: str) -> Self:
        """The same with `count` tokens from the one numbered `first` on in the lists of these names."""
        return self.but(**{name: getattr(self, name)[first : first + count] for name in names})


@dataclass(frozen=True)
class Finite:
    """A type of finitely many elements, such as the outcomes of a probability space."""

    elements: Sequence[Any]


KINDS = ("random", "limit", "boxed", "zeros", "single", "tight")
"""What is extreme about an instance: nothing; the step size at its limit; a box that is active; keys with zeros;
a single token; one feature and the step that makes the regret bounds tight."""

_GRID = 1 << 16
# Dyadic steps are multiples of 1 / _GRID: with keys of few bits their products stay float64 numbers for a while.


@dataclass
class Draw:
    """A source of exact numbers of one kind. `dyadic` numbers are float64 numbers too."""

    rng: random.Random
    kind: str = "random"
    dyadic: bool = False

    def plain(self) -> Draw:
        """The same source without anything extreme."""
        return Draw(self.rng, "random", self.dyadic)

    def number(self, low: Number = -2, high: Number = 2) -> Number:
        """A rational in [low, high] with a small denominator."""
        cells = 8 if self.dyadic else self.rng.choice((1, 2, 3, 5, 7, 8, 12))
        low, high = fmpq(low), fmpq(high)
        return low + (high - low) * fmpq(self.rng.randint(0, cells), cells)

    def positive(self) -> Number:
        """Between 1/4 and 2."""
        return self.number(fmpq(1, 4), 2)

    def choice(self, *options: Any) -> Any:
        """One of the options, as an exact number."""
        picked = self.rng.choice(options)
        # A bare int would make 1 / picked a float.
        return fmpq(picked) if isinstance(picked, int) else picked

    def integer(self, low: int, high: int) -> int:
        return self.rng.randint(low, high)

    def numbers(self, count: int, low: Number = -2, high: Number = 2) -> list[Number]:
        """One number for each token."""
        return [self.number(low, high) for _ in range(count)]

    def vector(self, n: int, low: Number = -2, high: Number = 2) -> Array:
        """n numbers."""
        return array(self.numbers(n, low, high))

    def vectors(self, count: int, n: int, low: Number = -2, high: Number = 2) -> list[Array]:
        """One vector for each token."""
        return [self.vector(n, low, high) for _ in range(count)]

    def matrix(self, m: int, n: int, low: Number = -2, high: Number = 2) -> Array:
        """m rows of n numbers."""
        return array([self.numbers(n, low, high) for _ in range(m)])

    def key_dim(self, most: int = 4) -> int:
        """K: at least two, one for "tight"."""
        return 1 if self.kind == "tight" else self.integer(1 + (most > 1), most)

    def value_dim(self) -> int:
        """V."""
        return self.integer(1, 3)

    def length(self, most: int = 5) -> int:
        """T: one for "single"."""
        return 1 if self.kind == "single" else self.integer(2, most)

    def key(self, n: int) -> Array:
        """A key with entries in [-1, 1]; kind "zeros" blanks about half of them."""
        return self._blanked(self.vector(n, -1, 1))

    def keys(self, count: int, n: int) -> list[Array]:
        """Keys of which at least one entry of the first is not zero."""
        rows = [self.key(n) for _ in range(count)]
        if not any(rows[0]):
            rows[0][self.rng.randrange(n)] = fmpq(1)
        return rows

    def _blanked(self, v: Array) -> Array:
        if self.kind != "zeros":
            return v
        return array([a if self.rng.random() < 0.5 else 0 * a for a in v])

    def unit(self, n: int) -> Array:
        """A rational vector of Euclidean length exactly one."""
        if self.dyadic:
            return self._dyadic_unit(n)
        if n == 1:
            return array([self.choice(-1, 1)])
        # Inverse stereographic projection of a rational point, and a random order of the entries.
        y = self._blanked(self.vector(n - 1, -1, 1))
        square = y @ y
        entries = [*(2 * y / (1 + square)), (1 - square) / (1 + square)]
        self.rng.shuffle(entries)
        return array(entries)

    def _dyadic_unit(self, n: int) -> Array:
        # Signed unit vectors, halves on four coordinates: sums of squares that are powers of four.
        v = array([fmpq(0)] * n)
        if n >= 4 and self.rng.random() < 0.8:
            for i in self.rng.sample(range(n), 4):
                v[i] = self.choice(-1, 1) / 2
        else:
            v[self.rng.randrange(n)] = self.choice(-1, 1)
        return v

    def orthogonal(self, n: int) -> Array:
        """A rational reflection times a permutation."""
        v = self.vector(n, -2, 2)
        if not any(v):
            v[0] = fmpq(1)
        q = list(identity(n) - 2 / (v @ v) * np.outer(v, v))
        self.rng.shuffle(q)
        return array(q)

    def step(self, limit: Number) -> Number:
        """A step in the open interval (0, limit): next to it for "limit", half of it for "tight"."""
        shares = {"limit": fmpq(1023, 1024), "tight": fmpq(1, 2)}
        return self._short(limit * shares.get(self.kind, fmpq(self.integer(1, 15), 16)))

    def _short(self, step: Number) -> Number:
        """A dyadic number no larger than `step`, where dyadic numbers are asked for."""
        return fmpq((step * _GRID).floor(), _GRID) if self.dyadic else step

    def closed_step(self, limit: Number) -> Number:
        """A step in (0, limit], equal to it for "limit"."""
        return self._short(limit) if self.kind == "limit" else self.step(limit)

    def box_around(self, u: Array) -> tuple[Array, Array]:
        """A box that holds `u`: wide, or for "boxed" with u on or near its faces."""
        margins = (0, fmpq(1, 8), fmpq(1, 2)) if self.kind == "boxed" else (fmpq(40),)
        low = array([a - self.choice(*margins) for a in u])
        return low, array([a + self.choice(*margins) for a in u])

    def start(self, low: Array, high: Array, centre: Array) -> Array:
        """d_1: a corner of an active box, else somewhere around `centre`."""
        if self.kind == "boxed":
            return array([self.choice(lo, hi) for lo, hi in zip(low, high, strict=True)])
        return centre + self.vector(len(centre), -1, 1)


Source = Callable[[Draw], Any]
"""What draws instances."""

Kind = TypeVar("Kind", bound=Instance)


def varied(source: Callable[[Draw], Kind], **changes: Callable[[Draw, Any], Any]) -> Callable[[Draw], Kind]:
    """Instances of a source with some values drawn anew, one by one: functions of the Draw and the instance."""

    def drawn(draw: Draw) -> Kind:
        x = source(draw)
        for name, change in changes.items():
            setattr(x, name, change(draw, x))
        return x

    return drawn
