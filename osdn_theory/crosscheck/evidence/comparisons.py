"""Every quantity that a kernel shows, beside what it should be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.evidence.comparison import compare, per_token
from osdn_theory.crosscheck.evidence.limits import RELATIVE_ALLOWANCE, Limit, RoundingLimits, is_proved
from osdn_theory.crosscheck.evidence.observation import Observation
from osdn_theory.crosscheck.evidence.residuals import Residuals
from osdn_theory.crosscheck.results import Comparison
from osdn_theory.recurrence.trajectory import Trajectory

TITLES = {
    "o": "outputs",
    "S": "states handed on after prefixes",
    "d": "preconditioner of every token, as returned",
    "d handed on": "preconditioner in the final state after prefixes",
    "a": "alignment of every token, as returned",
    "q": "residual ratio of every write, from the kernel's own reads",
    "beta a": "part of the residual that each write removes, from the kernel's own reads",
}


def comparisons(
    case: Case, exact: Trajectory, seen: Observation, bounds: RoundingLimits, reads: Residuals | None
) -> Iterator[Comparison]:
    if not case.stream.length:
        yield from _handed_through(case, seen)
        return
    every, after = np.arange(1, case.stream.length + 1), seen.tokens
    assert exact.states is not None
    shown = (
        ("o", seen.outputs, exact.outputs, every, bounds.outputs),
        ("S", seen.states, exact.states[:, :, after - 1], after, bounds.states.at(after)),
        ("d", seen.preconditioner, exact.preconditioner, every, bounds.preconditioner),
        (
            "d handed on",
            seen.handed_on,
            case.following(exact)[:, :, after - 1],
            after,
            bounds.handed_on.at(after),
        ),
        ("a", seen.alignment, exact.alignment, every, bounds.alignment),
    )
    for name, found, right, tokens, limit in shown:
        if found is not None:
            dtype = case.dtype if name == "o" else "float32"
            yield compare(name, TITLES[name], found, right, tokens=tokens, dtype=dtype, limit=limit)
    if reads is not None:
        yield from _from_reads(case, exact, reads, every)


def _handed_through(case: Case, seen: Observation) -> Iterator[Comparison]:
    """Of a sequence without tokens: it hands on what it started from, bit for bit where rounding is bounded at all."""
    relative = 0.0 if is_proved(case) else RELATIVE_ALLOWANCE[case.dtype]
    basis = f"{relative:g} of what it started from: there are no tokens"
    pairs = {
        "S": ("state handed on", seen.states, case.initial_state),
        "d handed on": ("preconditioner handed on", seen.handed_on, case.initial_preconditioner),
    }
    for name, (title, found, start) in pairs.items():
        if found is not None:
            exact, tokens = start[:, :, None], np.zeros(1, dtype=np.int64)
            limit = Limit(relative * per_token(exact), None, basis)
            yield compare(name, title, found, exact, tokens=tokens, dtype="float32", limit=limit)


def _from_reads(case: Case, exact: Trajectory, reads: Residuals, every: Any) -> Iterator[Comparison]:
    gap = 1.0 - np.asarray(case.stream.beta) * exact.alignment
    # A residual of zero before the write leaves nothing to tell a ratio by.
    silent = ~np.any(reads.before != 0, axis=-1) | ~np.any(reads.exact_before != 0, axis=-1)
    ratio, exact_ratio = (np.where(silent, 1.0, q) for q in (reads.ratio, reads.exact_ratio))
    apart = {
        "q": (ratio, exact_ratio, _spread(reads)),
        "beta a": (np.where(silent, 1.0 - gap, reads.alignment), 1.0 - gap, reads.alignment_error(gap)),
    }
    for name, (found, right, error) in apart.items():
        limit = Limit(np.where(silent, np.inf, error), None, "T18, through the residuals")
        yield compare(name, TITLES[name], found, right, tokens=every, dtype="float32", limit=limit)


def _spread(reads: Residuals) -> Array:
    """How far q may be from the exact one: as far as the reads leave both ends of it; nothing allows a NaN."""
    with np.errstate(invalid="ignore"):
        spread = np.maximum(reads.largest_ratio - reads.ratio, reads.ratio - reads.least_ratio)
    return np.nan_to_num(spread, nan=0.0, posinf=np.inf)
