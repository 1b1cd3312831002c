"""Intervals and paired tests over a handful of seeds, and the adjustment for making many of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from osdn_theory.base.validation import Array, as_float64, require
from osdn_theory.recall.document import LEVEL

FEWEST = 3
"""Pairs that a test takes: of two, any difference that happens to come out the same twice would win."""


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval; `low` and `high` are None for one value, which has no interval."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PairedTest:
    """A mean difference, its interval, and the two-sided p; None where the differences have no spread."""

    difference: Estimate
    p: float | None


def t_interval(values: Any, *, level: float = LEVEL) -> Estimate:
    r"""Mean and Student t interval of independent values, by default at 95 %.

    .. math:: \bar x \pm t_{n-1,\,1-\alpha/2}\; s / \sqrt n

    Without spread the interval is the point itself.

    - `values` (n,), n >= 1
    - `level`, float in (0, 1): alpha.
    """
    x = _sample("values", values)
    require(0 < level < 1, f"level: expected a number in (0, 1), got {level}")
    mean = float(np.mean(x))
    if x.size < 2:
        return Estimate(mean, None, None)
    half = float(stdtrit(x.size - 1, 1 - level / 2)) * _standard_error(x)
    return Estimate(mean, mean - half, mean + half)


def paired_test(values: Any, reference: Any, *, level: float = LEVEL) -> PairedTest:
    r"""Student t test of values against a reference measured on the same seeds.

    .. math:: t = \bar\delta / (s_\delta / \sqrt n), \qquad \delta_i = x_i - y_i, \qquad
              p = 2\,P(T_{n-1} \le -|t|)

    There is no p for fewer than `FEWEST` pairs, nor for differences that are all the same up to the rounding of the
    subtraction: a spread of zero would make any difference certain.
    """
    x, y = _sample("values", values), _sample("reference", reference)
    require(x.size == y.size, f"reference: expected {x.size} numbers as in values, got {y.size}")
    apart = x - y
    rounding = 4 * np.finfo(np.float64).eps * max(np.abs(x).max(), np.abs(y).max())
    if np.ptp(apart) <= rounding:
        mean = float(np.mean(apart))
        point = mean if x.size > 1 else None
        return PairedTest(Estimate(mean, point, point), None)
    difference = t_interval(apart, level=level)
    if x.size < FEWEST:
        return PairedTest(difference, None)
    statistic = difference.mean / _standard_error(apart)
    return PairedTest(difference, float(2 * stdtr(x.size - 1, -abs(statistic))))


def holm_adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    r"""p values adjusted for their number by Holm's step-down rule (Holm, 1979), in the order given.

    .. math:: \tilde p_{(i)} = \min\bigl(1, \max_{j \le i} (m - j + 1)\, p_{(j)}\bigr)

    None stays None and does not count among the m.
    """
    known = [(p, place) for place, p in enumerate(p_values) if p is not None]
    require(all(0 <= p <= 1 for p, _ in known), f"p_values: expected numbers in [0, 1], got {p_values}")
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(sorted(known)):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted


def _sample(name: str, values: Any) -> Array:
    sample = as_float64(name, values)
    require(
        sample.ndim == 1 and sample.size > 0,
        f"{name}: expected one or more numbers, got shape {sample.shape}",
    )
    return sample


def _standard_error(sample: Array) -> float:
    return float(np.std(sample, ddof=1) / np.sqrt(sample.size))
