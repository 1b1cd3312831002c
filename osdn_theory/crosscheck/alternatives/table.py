"""All alternatives: what kernels of this kind are known to get wrong, one fault each."""

from __future__ import annotations

from osdn_theory.crosscheck.alternatives.alternative import Alternative
from osdn_theory.crosscheck.alternatives.rows import calibrating, misplacing, reading, remembering, returning

ALTERNATIVES: tuple[Alternative, ...] = (
    *reading.rows(),
    *misplacing.rows(),
    *remembering.rows(),
    *calibrating.rows(),
    *returning.rows(),
)
"""In the order in which equals are named."""

COMMON: tuple[str, ...] = (
    "beta ignored",
    "g ignored",
    "initial_state ignored",
    "d_1 ignored",
    "anchor ignored",
    "scale ignored",
    "scale is 1",
    "q and k normalised",
    "k of head 0",
    "beta of batch row 0",
    "beta on the erase only",
    "writes with the key instead of the write key",
    "erases with the write key as well",
    "reads before the write",
    "calibrates too early",
    "decays after the residual",
    "never clips",
    "always normalised",
    "beta-aware feedback",
    "final state transposed",
    "final state before the last token",
    "clips what chunks hand on once",
    "d handed on in bfloat16",
)
"""Faults that are tried in pairs."""


def alternative(key: str) -> Alternative:
    """The row of this name.

    Raises
    ------
    KeyError
    """
    return BY_KEY[key]


BY_KEY = {row.key: row for row in ALTERNATIVES}
