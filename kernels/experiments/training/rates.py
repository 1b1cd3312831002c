"""Which learning rates a model was tried with, which is the best, and whether the grid must be widened for it."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..run_plan import PlannedRun, RunPlan

RESULT, FAILED = "result.json", "failed.json"
"""Of a finished run; the second says why there is nothing to be had of it."""

STEP = 2.0
"""What the last rate of a grid is multiplied with, or the first divided by, where it wins."""


class Search(NamedTuple):
    """The best rate of those tried, None while there is none, and the runs that are still to be made."""

    best: float | None
    missing: tuple[PlannedRun, ...]


def search(plan: RunPlan, folder: Path, model: str) -> Search:
    """Where the choice of a model's learning rate stands."""
    rates, best = sorted(plan.learning_rates), None
    for _ in range(plan.widenings + 1):
        missing = [job for job in plan.trials(model, rates) if not ended(folder / job.folder)]
        if missing:
            return Search(best, tuple(missing))
        best = _best(plan, folder, model, rates)
        if best is None or len(rates) == 1 or rates[0] < best < rates[-1]:
            break
        rates = sorted([*rates, best * STEP if best == rates[-1] else best / STEP])
    return Search(best, ())


def ended(place: Path) -> bool:
    """Whether a run is finished, or cannot be."""
    return (place / RESULT).exists() or (place / FAILED).exists()


def _best(plan: RunPlan, folder: Path, model: str, rates: Sequence[float]) -> float | None:
    """The rate whose mean validation is best, the smallest of equals; None if every run failed."""
    best = plan.lesson.best
    worst = best(-math.inf, math.inf, key=lambda x: -x)
    found = {
        rate: float(np.mean([_validation(folder / job.folder, worst) for job in plan.trials(model, [rate])]))
        for rate in rates
    }
    chosen: float = best(found, key=found.__getitem__)
    return None if found[chosen] == worst else chosen


def _validation(place: Path, worst: float) -> float:
    if not (place / RESULT).exists():
        return worst
    path = place / RESULT
    try:
        value = float(json.loads(path.read_text())["validation"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{str(path)!r} is damaged ({error}); delete it to train this run anew") from error
    return worst if math.isnan(value) else value
