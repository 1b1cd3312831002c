"""How rows of the table are written that change the mechanism alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osdn_theory.crosscheck.alternatives.alternative import CHUNKS, READING, Alternative
from osdn_theory.crosscheck.alternatives.engine.mechanism import Mechanism
from osdn_theory.crosscheck.alternatives.fault import Fault

G, BETA = frozenset({"g"}), frozenset({"beta"})


def row(
    key: str,
    sentence: str,
    formula: str,
    of: frozenset[str] = READING,
    /,
    needs: frozenset[str] = frozenset(),
    approximate: bool = False,
    **switches: Any,
) -> Alternative:
    """A row with one variant; `switches` are those of a Mechanism."""
    return Alternative(key, sentence, formula, {"": switch(**switches)}, of, needs, approximate)


def per_chunk(
    key: str,
    sentence: str,
    formula: str,
    of: frozenset[str],
    switches: Mapping[str, Any],
    size: str = "chunk",
) -> Alternative:
    """A row with one variant for each size of chunk, which goes to the switch `size`."""
    variants = {f"C = {c}": switch(**switches, **{size: c}) for c in CHUNKS}
    return Alternative(key, sentence, formula, variants, of)


def switch(**switches: Any) -> Fault:
    """The fault of a mechanism; unknown switches raise."""
    Mechanism(**switches)
    return Fault(mechanism=switches)
