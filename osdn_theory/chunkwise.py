"""The WY chunk form of the delta-rule recurrences (T12)."""

from __future__ import annotations

from osdn_theory._problem import Problem, Run


def solve_chunks(problem: Problem, chunk_size: int) -> Run:
    """Run `problem` chunk by chunk."""
    raise ValueError("method: 'chunk' is not available yet")
