"""What cases may be made of, by the names under which they are drawn and counted; and one draw from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from osdn_theory.crosscheck.fuzz.drawing.takes import Takes
from osdn_theory.crosscheck.kernel.adapters import Adapter

Menu = Mapping[str, Mapping[str, float]]
"""Property -> its kinds with their weights."""

SIZES = {"1": 1.0, "odd": 2.0, "even": 2.0, "above a tile": 1.0}

_ALWAYS: Menu = {
    "form": {"contiguous": 4, "strided": 2, "expanded": 1, "aliased": 1, "defaults": 1},
    "T": {"1": 2, "few": 3, "a chunk less one": 1.5, "a chunk": 1.5, "a chunk and one": 1.5, "any": 3},
    "B": {"1": 2, "2": 2, "3": 1},
    "H": {"1": 2, "2": 2, "3": 1},
    "K": SIZES,
    "V": {**SIZES, "as K": 1.0},
    "keys": {
        "unit": 5,
        "basis": 1,
        "tiny": 1,
        "large": 1,
        "mixed": 1,
        "repeated": 1,
        "some zero": 1,
        "zero": 0.3,
    },
    "queries": {"unit": 4, "keys": 2, "large": 1, "zero": 0.3},
    "values": {"normal": 5, "small": 1, "large": 1, "zero": 0.4},
    "beta": {"between": 4, "zeros and ones": 1, "ones": 1, "zeros": 0.5, "up to 2": 1},
    "rows": {"different": 5, "equal": 1},
}

_RULE: Menu = {
    "eta": {"published": 1, "moderate": 4, "large": 2, "0": 1},
    "box": {
        "published": 3, "wide": 2, "tight": 3, "one point": 1, "above alone": 1, "below alone": 1, "open": 1,
    },
    "d_1": {"ones": 1, "inside": 2, "on the faces": 1},
    "feedback": {"plain": 2, "normalized": 1},
    "gate": {"none": 2, "ones": 0.5, "mild": 1, "strong": 1, "strong and ones": 1},
    "anchor": {"zero": 1, "ones": 1, "drawn": 2, "d_1": 1},
}  # fmt: skip

_NEEDS = {
    "eta": "eta",
    "d_1": "initial_preconditioner",
    "feedback": "normalize_feedback",
    "gate": "g",
    "anchor": "anchor",
}
"""Argument without which a property of the rule is not drawn."""


def menu_of(adapter: Adapter, takes: Takes) -> Menu:
    """What may be drawn for a kernel."""
    has = adapter.parameters.__contains__
    menu = {name: dict(kinds) for name, kinds in _ALWAYS.items()}
    if takes.empty:
        menu["T"]["0"] = 0.5
    menu["put"] = {"apart": 4.0}
    if has("cu_seqlens"):
        menu["put"]["packed"] = 2.0
        menu["sequences"] = {"one empty": 1, "one of one token": 1, "none empty": 1}
    if has("initial_state") and (has("initial_preconditioner") or not adapter.calibrates):
        menu["put"]["continued"] = 2.0
    menu["dtype"] = dict.fromkeys(takes.dtypes, 1.0)
    menu["chunk_size"] = {"default": 1.0, **{str(size): 1.0 for size in takes.chunk_sizes}}
    if has("scale"):
        menu["scale"] = {"K^-1/2": 2, "1": 1, "drawn": 1, "negative": 0.5}
    if has("initial_state"):
        menu["S_0"] = {"zero": 2, "normal": 2, "large": 1}
    if adapter.gated:
        menu["gate"] = {"ones": 1, "mild": 2, "strong": 1, "strong and ones": 1}
    if adapter.calibrates:
        menu |= {name: dict(kinds) for name, kinds in _RULE.items() if has(_NEEDS.get(name, "k"))}
        if not (has("d_min") and has("d_max")):
            menu["box"] = {"published": 1}
    if not adapter.reads:
        menu = {
            name: kinds
            for name, kinds in menu.items()
            if name not in ("V", "queries", "values", "scale", "S_0")
        }
    return menu


@dataclass(eq=False)
class Hand:
    """Random choices from a menu, of which it keeps count."""

    rng: np.random.Generator
    menu: Menu
    chosen: dict[str, str] = field(default_factory=dict)

    def draw(self, name: str, otherwise: str = "") -> str:
        """One kind of a property; `otherwise` where the menu has no such property."""
        kinds = self.menu.get(name)
        if kinds is None:
            return otherwise
        weights = np.array(list(kinds.values()), dtype=np.float64)
        kind = list(kinds)[self.rng.choice(len(kinds), p=weights / weights.sum())]
        self.chosen[name] = kind
        return kind

    def settle(self, name: str, kind: str) -> str:
        """What a property has to be after all."""
        if name in self.chosen:
            self.chosen[name] = kind
        return kind

    @property
    def uses(self) -> frozenset[str]:
        """What was chosen, as "property: kind"."""
        return frozenset(f"{name}: {kind}" for name, kind in self.chosen.items())
