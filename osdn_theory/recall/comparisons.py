"""Series over seeds to rows of a summary: means, intervals, and differences paired by seed."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import asdict
from typing import TypeVar

from osdn_theory.recall.document import Compared, PairedDifference, SeedValue
from osdn_theory.recall.statistics import PairedTest, holm_adjusted, paired_test, t_interval

Series = Mapping[int, float]
"""A number for every seed."""

Key = TypeVar("Key", bound=Hashable)

UNKNOWN: dict[str, float | None] = {"mean": None, "low": None, "high": None}


def compared(series: Mapping[Key, Series], references: Mapping[Key, Series]) -> dict[Key, Compared]:
    """Mean, interval and ``difference`` of every series; differences are one family for Holm's adjustment.

    A difference is paired by seed, over the seeds that both have, against the series of `references` under the same
    key; None where that has no such key. A number that is not finite leaves the row's own empty.
    """
    tests = {key: _paired(series[key], references[key]) for key in series if key in references}
    adjusted = holm_adjusted([test.p if test else None for test in tests.values()])
    differences = {key: _difference(test, p) for (key, test), p in zip(tests.items(), adjusted, strict=True)}
    return {
        key: Compared(
            **_estimate(values),
            difference=differences.get(key),
            by_seed=tuple(SeedValue(seed, value) for seed, value in values.items()),
        )
        for key, values in series.items()
    }


def _estimate(values: Series) -> dict[str, float | None]:
    return asdict(t_interval(list(values.values()))) if _usable(values) else UNKNOWN


def _paired(values: Series, reference: Series) -> PairedTest | None:
    seeds = [seed for seed in values if seed in reference]
    if not seeds or not _usable(values) or not _usable(reference):
        return None
    return paired_test([values[seed] for seed in seeds], [reference[seed] for seed in seeds])


def _difference(test: PairedTest | None, adjusted: float | None) -> PairedDifference:
    if test is None:
        return PairedDifference(**UNKNOWN, p=None, p_adjusted=adjusted)
    return PairedDifference(**asdict(test.difference), p=test.p, p_adjusted=adjusted)


def _usable(values: Series) -> bool:
    return bool(values) and all(math.isfinite(value) for value in values.values())
