"""Power: how far every alternative lies from the right result, in units of the kernel's own error bound."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.documents import Number
from osdn_theory.base.jsonable import stated
from osdn_theory.base.threads import cores
from osdn_theory.crosscheck.alternatives.agreement import BoundedRun, Shown, quantities, select_shown
from osdn_theory.crosscheck.alternatives.fault import Alternative, Fault, KnownFault, answer, applicable
from osdn_theory.crosscheck.alternatives.table import ALTERNATIVES
from osdn_theory.crosscheck.evidence.comparison import excess
from osdn_theory.crosscheck.examination.exercises.question import Question
from osdn_theory.crosscheck.kernel.adapters import Adapter

VISIBLE = 2.0
"""Bounds that an alternative must lie away: the rounding of a kernel that computes it may use up one of them."""


NOTHING = 1e-6
"""Bounds below which an alternative is the right result, but for the order of float64 operations."""


@show_briefly
@dataclass(frozen=True, eq=False)
class Reach:
    """How well the exercises would show one alternative.

    - `excess`: Its largest distance from the right result, over the kernel's bound.
    - `exercise`: Where that is; "" where it makes no difference anywhere.
    """

    fault: KnownFault
    excess: Number = 0.0
    exercise: str = ""
    obstacle: str | None = None

    @property
    @stated
    def seen(self) -> bool:
        """Whether a kernel with this fault would leave its bound, however it rounds."""
        return self.excess > VISIBLE

    @property
    @stated
    def reason(self) -> str:
        """Why it would not be seen; "" where it would."""
        if self.obstacle is not None:
            return self.obstacle
        if self.seen:
            return ""
        if not self.exercise:
            return "makes no difference in any exercise"
        return f"at most {self.excess:.2g} bounds away, in '{self.exercise}'"


@show_briefly
@dataclass(frozen=True, eq=False)
class Power:
    """What a set of exercises would have seen, alternative by alternative."""

    reaches: tuple[Reach, ...]

    @property
    def possible(self) -> tuple[Reach, ...]:
        """Those that the kernel can have."""
        return tuple(reach for reach in self.reaches if reach.obstacle is None)

    @property
    def seen(self) -> tuple[Reach, ...]:
        return tuple(reach for reach in self.possible if reach.seen)

    @property
    def unseen(self) -> tuple[Reach, ...]:
        return tuple(reach for reach in self.possible if not reach.seen)


def power(
    adapter: Adapter,
    question: Question,
    truths: Sequence[BoundedRun],
    names: Collection[str],
    alternatives: Sequence[Alternative] = ALTERNATIVES,
) -> dict[str, float]:
    """Largest |alternative - exact| / bound of every alternative that the kernel can have, by its key.

    - `truths`, one (Trajectory, Limits) for each case: For a question that is continued, each from the exact state of
      the one before.
    - `names`, out of "o", "S", "d", "d handed on": What the kernel shows.
    """
    places = [list(select_shown(truth, names)) for truth in truths]

    def reach(alternative: Alternative) -> float:
        return max(_distance(fault, question, places) for fault in alternative.variants.values())

    rows = list(applicable(adapter, alternatives))
    with ThreadPoolExecutor(cores()) as pool:
        return dict(zip((row.key for row in rows), pool.map(reach, rows), strict=True))


def _distance(fault: Fault, question: Question, places: Sequence[Sequence[Shown]]) -> float:
    farthest = 0.0
    for outcome, wanted in zip(answer(fault, question), places, strict=True):
        found = quantities(outcome)
        for each in wanted:
            # Where the exact value itself is not finite, nothing can be told.
            known = np.isfinite(each.exact)
            told, right = (np.where(known, values, 0.0) for values in (found[each.name], each.exact))
            with np.errstate(over="ignore", invalid="ignore"):
                apart = excess(told, right, each.limit)
            farthest = max(farthest, float(np.max(apart, initial=0.0)))
    return farthest


def summarise(
    adapter: Adapter,
    found: Mapping[str, Mapping[str, float]],
    alternatives: Sequence[Alternative] = ALTERNATIVES,
) -> Power:
    """The best exercise for each alternative, from what `power` gave for every exercise by its name."""
    return Power(tuple(_best(adapter, each, found) for each in alternatives if _concerns(adapter, each)))


def _concerns(adapter: Adapter, alternative: Alternative) -> bool:
    return adapter.recurrence in alternative.recurrences


def _best(adapter: Adapter, alternative: Alternative, found: Mapping[str, Mapping[str, float]]) -> Reach:
    obstacle = alternative.obstacle(adapter)
    if obstacle is not None:
        return Reach(alternative.fault, obstacle=obstacle)
    reached = {name: each.get(alternative.key, 0.0) for name, each in found.items()}
    best = max(reached, key=lambda name: reached[name], default="")
    most = reached.get(best, 0.0)
    return Reach(alternative.fault, most, best if most > NOTHING else "")
