"""What a kernel shows of a case, beside what it should show and the bounds on it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.alternatives.engine.outcome import RecurrenceOutcome
from osdn_theory.crosscheck.cases.case import handed_on
from osdn_theory.crosscheck.evidence.limits import Limit, RoundingLimits
from osdn_theory.crosscheck.kernel.calling import Returned
from osdn_theory.recurrence.trajectory import Trajectory

BoundedRun = tuple[Trajectory, RoundingLimits]
"""The exact run of a case and the bounds on what a kernel makes of it."""

OUTPUT, STATE, PATH, HANDED_ON = "o", "S", "d", "d handed on"
QUANTITIES = (OUTPUT, STATE, PATH, HANDED_ON)


@dataclass(frozen=True, eq=False)
class Shown:
    """One quantity of one case: exact, and the bound; (B, H, P, ...)."""

    name: str
    exact: Array
    limit: Limit


def quantities(told: RecurrenceOutcome | Returned) -> dict[str, Array]:
    """What is said, by name, with an axis for tokens; states have one entry there."""
    found: Mapping[str, Array | None] = {
        OUTPUT: told.outputs,
        STATE: _at_end(told.state),
        PATH: told.preconditioner,
        HANDED_ON: _at_end(told.handed_on),
    }
    return {name: array for name, array in found.items() if array is not None}


def select_shown(truth: BoundedRun, names: Collection[str]) -> Iterator[Shown]:
    """Those quantities that a kernel shows."""
    exact, limits = truth
    right = quantities(
        RecurrenceOutcome(exact.outputs, exact.final_state, exact.preconditioner, handed_on(exact))
    )
    bounds = {
        OUTPUT: limits.outputs,
        STATE: _last(limits.states, right[STATE]),
        PATH: limits.preconditioner,
        HANDED_ON: _last(limits.handed_on, right[HANDED_ON]),
    }
    for name in QUANTITIES:
        if name in names:
            yield Shown(name, right[name], bounds[name])


def _at_end(array: Array | None) -> Array | None:
    return None if array is None else array[:, :, None]


def _last(limit: Limit, exact: Array) -> Limit:
    """At the last token; without tokens nothing is computed, and nothing rounds."""
    if limit.norm.shape[-1] == 0:
        return Limit(np.zeros(exact.shape[:3]), None, limit.basis)
    return limit.at(np.array([limit.norm.shape[-1]], dtype=np.int64))
