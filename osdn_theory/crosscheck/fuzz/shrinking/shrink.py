"""Shrinking: from a trial on which a kernel fails to a small one on which it fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from osdn_theory.crosscheck.fuzz.shrinking.parts import Trial
from osdn_theory.crosscheck.fuzz.shrinking.simpler import PASSES

CALLS = 300
"""Trials put to the kernel for one failure, at most."""


def shrink(
    trial: Trial,
    fails: Callable[[Trial], bool],
    *,
    calls: int = CALLS,
    goes_on: Callable[[], bool] = lambda: True,
) -> Iterator[Trial]:
    """Ever simpler trials that still fail; the last one is the result, none if nothing simpler fails.

    Every pass proposes simplifications of one kind; the first that still fails is taken, and the pass begins anew from
    there. It ends when no pass gets any further, after `calls` trials, or when `goes_on` says no.
    """
    left, moved = calls, True
    while moved:
        moved = False
        for propose in PASSES:
            taken: Trial | None = trial
            while taken is not None:
                taken = None
                for simpler in propose(trial):
                    if left == 0 or not goes_on():
                        return
                    left -= 1
                    if fails(simpler):
                        taken = trial = simpler
                        moved = True
                        yield simpler
                        break
