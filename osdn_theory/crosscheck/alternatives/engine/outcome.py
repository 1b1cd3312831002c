"""What an alternative recurrence gives on one case."""

from __future__ import annotations

from dataclasses import dataclass

from osdn_theory.base.validation import Array


@dataclass(frozen=True, eq=False)
class RecurrenceOutcome:
    """Results of a recurrence, float64, leading axes (B, H).

    Attributes
    ----------
    outputs : (B, H, T, V)
    state : (B, H, V, K)
        The final one.
    preconditioner : (B, H, T, K)
        d_t that token t is written with.
    handed_on : (B, H, K)
    """

    outputs: Array
    state: Array
    preconditioner: Array
    handed_on: Array
