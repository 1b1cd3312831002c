"""All alternatives: what kernels of this kind are known to get wrong, one fault each."""

from __future__ import annotations

from osdn_theory.crosscheck.alternatives import computing, reading, returning
from osdn_theory.crosscheck.alternatives.alternative import Alternative

ALTERNATIVES: tuple[Alternative, ...] = (*reading.rows(), *computing.rows(), *returning.rows())
"""In the order in which equals are named."""

COMMON: tuple[str, ...] = (
    "beta ignored", "g ignored", "initial_state ignored", "d_1 ignored", "anchor ignored", "scale ignored",
    "scale is 1", "q and k normalised", "k of head 0", "beta of batch row 0", "beta on the erase only",
    "key to write", "write key to erase", "reads before the write", "calibrates too early",
    "decays after the residual", "never clips", "always normalised", "beta-aware feedback",
    "final state transposed", "final state before the last token",
)  # fmt: skip
"""Faults that are tried in pairs."""


def alternative(key: str) -> Alternative:
    """The row of this name.

    Raises
    ------
    KeyError
    """
    return BY_KEY[key]


BY_KEY = {row.key: row for row in ALTERNATIVES}
