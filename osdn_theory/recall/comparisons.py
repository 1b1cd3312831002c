"""Series over seeds to rows of a summary: means, intervals, and differences paired by seed."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from osdn_theory.recall.data import LEVEL
from osdn_theory.recall.statistics import PairedTest, holm_adjusted, paired_test, t_interval

Series = Mapping[int, float]
"""A number for every seed."""

Key = TypeVar("Key", bound=Hashable)

UNKNOWN = {"mean": None, "low": None, "high": None}


def compared(series: Mapping[Key, Series], references: Mapping[Key, Series]) -> dict[Key, dict[str, Any]]:
    """Mean, interval and ``difference`` of every series; differences are one family for Holm's adjustment.

    A difference is paired by seed, over the seeds that both have, against the series of `references` under the same
    key; None where that has no such key. A number that is not finite leaves the row's own empty.
    """
    tests = {key: _paired(series[key], references[key]) for key in series if key in references}
    adjusted = holm_adjusted([test.p if test else None for test in tests.values()])
    differences = {key: _difference(test, p) for (key, test), p in zip(tests.items(), adjusted, strict=True)}
    return {key: {**_estimate(values), "difference": differences.get(key)} for key, values in series.items()}


def _estimate(values: Series) -> dict[str, Any]:
    return asdict(t_interval(list(values.values()))) if _usable(values) else dict(UNKNOWN)


def _paired(values: Series, reference: Series) -> PairedTest | None:
    seeds = [seed for seed in values if seed in reference]
    if not seeds or not _usable(values) or not _usable(reference):
        return None
    return paired_test([values[seed] for seed in seeds], [reference[seed] for seed in seeds])


def _difference(test: PairedTest | None, adjusted: float | None) -> dict[str, Any]:
    return {
        **(dict(UNKNOWN) if test is None else asdict(test.difference)),
        "p": None if test is None else test.p,
        "p_adjusted": adjusted,
        "significant": adjusted is not None and adjusted < LEVEL,
    }


def _usable(values: Series) -> bool:
    return bool(values) and all(math.isfinite(value) for value in values.values())
