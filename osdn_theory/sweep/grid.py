"""The grid of a sweep: axes, and the cells that they span, each with an identity of its own."""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from functools import cached_property
from itertools import product
from typing import Any

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.validation import require
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC, CalibrationRule

STREAMS: dict[str, bool] = {
    "interpolating": False,
    "ill_conditioned": True,
    "isotropic": False,
    "orthogonal": True,
    "constant_key": False,
    "drifting": False,
    "switching": False,
    "associative_recall": False,
}
"""Streams that a sweep can draw; True where the keys have a condition number to choose."""

PRECISIONS = ("float64", "float32", "tf32", "bfloat16", "float16")
"""Formats that the tokens can be rounded to."""

BOXES: dict[str, tuple[float, float]] = {
    "bounded": (float(BOUNDED.d_min), float(BOUNDED.d_max)),
    "historic": (float(HISTORIC.d_min), float(HISTORIC.d_max)),
    "open": (-math.inf, math.inf),
}
"""Boxes by name, (d_min, d_max)."""

MOST_CELLS = 250_000
_DEFAULT_CONDITION = 100.0


@dataclass(frozen=True)
class Cell:
    """One point of the grid: everything that its row depends on.

    - `stream`: Out of `STREAMS`.
    - `key_dim`, `value_dim`, `length`: K, V, T.
    - `condition`: Of the Gram matrix of the keys; None for streams that have none to choose.
    - `eta`, `forgetting`, `d_min`, `d_max`: The calibration rule.
    - `anchor`: c; None where nothing is forgotten and c plays no part.
    - `seed`: Number of the draw.
    - `precision`: Format that the tokens are rounded to.
    """

    stream: str
    key_dim: int
    value_dim: int
    length: int
    condition: float | None
    eta: float
    forgetting: float
    anchor: float | None
    d_min: float
    d_max: float
    seed: int
    precision: str

    @cached_property
    def id(self) -> str:
        """Hash of all parameters: equal cells have it in common, on every machine."""
        return _digest(asdict(self)).hex()[:32]

    @cached_property
    def entropy(self) -> int:
        """Seed of the tokens: cells that differ in rule or precision alone read the same tokens."""
        drawn = ("stream", "key_dim", "value_dim", "length", "condition", "seed")
        return int.from_bytes(_digest({name: getattr(self, name) for name in drawn})[:16])

    @property
    def rule(self) -> CalibrationRule:
        """The calibrate step of this cell."""
        return CalibrationRule(
            eta=self.eta,
            d_min=self.d_min,
            d_max=self.d_max,
            forgetting=self.forgetting,
            anchor=0.0 if self.anchor is None else self.anchor,
        )

    @property
    def weight(self) -> float:
        """About proportional to the time that the cell takes: a start, per token an overhead, and its arithmetic."""
        return 1e6 + self.length * (20_000.0 + self.key_dim * (self.key_dim + 2 * self.value_dim))

    @property
    def bytes(self) -> int:
        """About the memory that the cell takes: a dozen arrays of keys and values, a few states."""
        state = self.key_dim * (self.key_dim + self.value_dim)
        return 8 * (12 * self.length * (self.key_dim + self.value_dim) + 6 * state)


PARAMETERS = tuple(field.name for field in fields(Cell))


def _digest(parameters: dict[str, Any]) -> bytes:
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).digest()


@show_briefly
@dataclass(frozen=True)
class Grid:
    """Axes of a sweep; the cells are all their combinations.

    - `stream`, names out of `STREAMS`
    - `key_dim`, `value_dim`, `length`, int >= 1
    - `condition`, float >= 1, or None: None: 100 where it matters. An error where no stream of the grid has a
      condition number.
    - `eta`, float >= 0
    - `forgetting`, float in (0, 1]
    - `box` (d_min, d_max)
    - `seed`, int >= 0
    - `precision`, names out of `PRECISIONS`

    Raises ValueError: for an empty axis, an unknown name, or a value out of range; the axis is named.
    """

    stream: tuple[str, ...] = ("interpolating", "ill_conditioned")
    key_dim: tuple[int, ...] = (16,)
    value_dim: tuple[int, ...] = (16,)
    length: tuple[int, ...] = (256,)
    condition: tuple[float, ...] | None = None
    eta: tuple[float, ...] = (BOUNDED.eta,)
    forgetting: tuple[float, ...] = (1.0,)
    anchor: tuple[float, ...] = (0.0,)
    box: tuple[tuple[float, float], ...] = (BOXES["bounded"],)
    seed: tuple[int, ...] = (0,)
    precision: tuple[str, ...] = ("float64",)

    def __post_init__(self) -> None:
        for field in fields(self):
            require(getattr(self, field.name) != (), f"{field.name}: the grid is empty, expected a value")
        _known("stream", self.stream, STREAMS)
        _known("precision", self.precision, PRECISIONS)
        for name, least in {"key_dim": 1, "value_dim": 1, "length": 1, "seed": 0}.items():
            for number in getattr(self, name):
                require(number >= least, f"{name}: expected at least {least}, got {number}")
        self._check_condition()
        require(self.size <= MOST_CELLS, f"grid: {self.size} cells; at most {MOST_CELLS} in one sweep")
        for eta, forgetting, anchor, (low, high) in product(self.eta, self.forgetting, self.anchor, self.box):
            # The rule knows what it accepts, and says so in its own words.
            CalibrationRule(eta=eta, d_min=low, d_max=high, forgetting=forgetting, anchor=anchor)

    def _check_condition(self) -> None:
        if self.condition is None:
            return
        chosen = any(STREAMS[name] for name in self.stream)
        with_one = ", ".join(name for name, has in STREAMS.items() if has)
        require(chosen, f"condition: no stream of the grid has one to choose; {with_one} do")
        for number in self.condition:
            require(math.isfinite(number) and number >= 1, f"condition: expected >= 1, got {number}")

    @property
    def size(self) -> int:
        """Number of combinations; fewer cells where an axis says nothing about some streams or rules."""
        return math.prod(len(getattr(self, field.name) or (None,)) for field in fields(self))

    def cells(self) -> list[Cell]:
        """Every cell once, in the order of the axes."""
        conditions = self.condition or (_DEFAULT_CONDITION,)
        # An axis that does not concern a cell is left out of it, so that nothing is measured twice.
        every = (
            Cell(
                stream=stream,
                key_dim=key_dim,
                value_dim=value_dim,
                length=length,
                condition=_plain(condition) if STREAMS[stream] else None,
                eta=_plain(eta),
                forgetting=_plain(forgetting),
                anchor=None if forgetting == 1 else _plain(anchor),
                d_min=_plain(low),
                d_max=_plain(high),
                seed=seed,
                precision=precision,
            )
            for stream, key_dim, value_dim, length, condition in product(
                self.stream, self.key_dim, self.value_dim, self.length, conditions
            )
            for eta, forgetting, anchor, (low, high), seed, precision in product(
                self.eta, self.forgetting, self.anchor, self.box, self.seed, self.precision
            )
        )
        return list(dict.fromkeys(every))


def _plain(number: float) -> float:
    """A float with one spelling: no integer, no minus zero."""
    return float(number) + 0.0


def _known(axis: str, names: Iterable[str], valid: Iterable[str]) -> None:
    for name in names:
        close = get_close_matches(name, list(valid), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        require(name in valid, f"{axis}: unknown name {name!r}{hint} Valid: {', '.join(valid)}")
