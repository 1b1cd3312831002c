"""Random rational numbers, keys and steps, with the extreme kinds that every claim is tried on."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from flint import fmpq

from proofs_check.exact import linear as la
from proofs_check.exact.linear import Matrix, Number, Vector

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

    @property
    def published(self) -> tuple[Number, Number]:
        """The published box [2/3, 3/2]; a float64 number for the lower face where dyadic ones are asked for."""
        return fmpq(683, 1024) if self.dyadic else fmpq(2, 3), fmpq(3, 2)

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

    def vector(self, n: int, low: Number = -2, high: Number = 2) -> Vector:
        """n numbers."""
        return [self.number(low, high) for _ in range(n)]

    def matrix(self, m: int, n: int, low: Number = -2, high: Number = 2) -> Matrix:
        """m rows of n numbers."""
        return [self.vector(n, low, high) for _ in range(m)]

    def key_dim(self, most: int = 4) -> int:
        """K: at least two, one for "tight"."""
        return 1 if self.kind == "tight" else self.rng.randint(1 + (most > 1), most)

    def value_dim(self) -> int:
        """V."""
        return self.rng.randint(1, 3)

    def length(self, most: int = 5) -> int:
        """T: one for "single"."""
        return 1 if self.kind == "single" else self.rng.randint(2, most)

    def key(self, n: int, size: Number = 1) -> Vector:
        """A key with entries in [-size, size]; kind "zeros" blanks about half of them."""
        return self.blanked(self.vector(n, -fmpq(size), size))

    def keys(self, length: int, n: int, size: Number = 1) -> Matrix:
        """Keys of which at least one entry of the first is not zero."""
        rows = [self.key(n, size) for _ in range(length)]
        if not any(rows[0]):
            rows[0][self.rng.randrange(n)] = fmpq(size)
        return rows

    def blanked(self, v: Vector) -> Vector:
        """Some entries made zero, for "zeros"."""
        if self.kind != "zeros":
            return v
        return [a if self.rng.random() < 0.5 else 0 * a for a in v]

    def unit(self, n: int) -> Vector:
        """A rational vector of Euclidean length exactly one."""
        if self.dyadic:
            return self._dyadic_unit(n)
        if n == 1:
            return [fmpq(self.rng.choice((-1, 1)))]
        # Inverse stereographic projection of a rational point, and a random order of the entries.
        y = self.blanked(self.vector(n - 1, -1, 1))
        square = la.norm_sq(y)
        v = [2 * a / (1 + square) for a in y] + [(1 - square) / (1 + square)]
        self.rng.shuffle(v)
        return v

    def _dyadic_unit(self, n: int) -> Vector:
        # Signed unit vectors, halves on four coordinates: sums of squares that are powers of four.
        v = [fmpq(0)] * n
        if n >= 4 and self.rng.random() < 0.8:
            for i in self.rng.sample(range(n), 4):
                v[i] = fmpq(self.rng.choice((-1, 1)), 2)
        else:
            v[self.rng.randrange(n)] = fmpq(self.rng.choice((-1, 1)))
        return v

    def orthogonal(self, n: int) -> Matrix:
        """A rational reflection times a permutation."""
        v = self.vector(n, -2, 2)
        if not any(v):
            v[0] = fmpq(1)
        q = la.msub(la.identity(n, fmpq(1)), la.mscale(2 / la.norm_sq(v), la.outer(v, v)))
        self.rng.shuffle(q)
        return q

    def step(self, limit: Number) -> Number:
        """A step in the open interval (0, limit): next to it for "limit", half of it for "tight"."""
        if self.kind == "limit":
            return self._short(limit * fmpq(1023, 1024))
        if self.kind == "tight":
            return self._short(limit / 2)
        return self._short(limit * fmpq(self.rng.randint(1, 15), 16))

    def _short(self, step: Number) -> Number:
        """A dyadic number no larger than `step`, where dyadic numbers are asked for."""
        return fmpq((step * _GRID).floor(), _GRID) if self.dyadic else step

    def closed_step(self, limit: Number) -> Number:
        """A step in (0, limit], equal to it for "limit"."""
        return self._short(limit) if self.kind == "limit" else self.step(limit)

    def box_around(self, u: Vector) -> tuple[Vector, Vector]:
        """A box that holds `u`: wide, or for "boxed" with u on or near its faces."""
        if self.kind != "boxed":
            return [a - 40 for a in u], [a + 40 for a in u]
        return (
            [a - self.choice(0, fmpq(1, 8), fmpq(1, 2)) for a in u],
            [a + self.choice(0, fmpq(1, 8), fmpq(1, 2)) for a in u],
        )

    def start(self, low: Vector, high: Vector, centre: Vector) -> Vector:
        """d_1: a corner of an active box, else somewhere around `centre`."""
        if self.kind == "boxed":
            return [self.choice(lo, hi) for lo, hi in zip(low, high, strict=True)]
        return [c + self.number(-1, 1) for c in centre]
