"""What is known of a left side without its bound: a right side that is not below it says nothing.

For sums and products over tokens: a ratio of 1 for every token, or what the box alone leaves possible.
"""

from collections.abc import Sequence

import flint

from osdn_theory.bounds.numbers import Number, ball, log, total
from osdn_theory.bounds.registry import BoundEvidence


def regret_ceiling(e: BoundEvidence) -> Number:
    """Of sum_t (1 - <d_t, x_t>)^2."""
    return sum_ceiling(_squares(e), e.problem.length)


def decay_ceiling(e: BoundEvidence) -> Number:
    """Of log prod_t (1 - <d_t, x_t>)^2."""
    return log_ceiling(_squares(e))


def _squares(e: BoundEvidence) -> list[Number] | None:
    roots = largest_roots(e, [1] * e.problem.length)
    return None if roots is None else [root * root for root in roots]


def largest_roots(e: BoundEvidence, gates: Sequence[Number]) -> list[Number] | None:
    """The largest ``|1 - g_t <d, x_t>|`` of each token over every d in the box; None where it is open."""
    corners = e.facts.corner_gaps
    if corners is None:
        return None
    ends = ([abs((1 - g) + g * gap) for gap in pair] for g, pair in zip(gates, corners, strict=True))
    return [ball(first).max(ball(second)) for first, second in ends]


def sum_ceiling(ratios: Sequence[Number] | None, count: int) -> Number:
    """Of a sum of `count` ratios, of which `ratios` are the largest."""
    ones = flint.arb(count)
    return ones if ratios is None else ones.min(ball(total(ratios)))


def log_ceiling(ratios: Sequence[Number] | None) -> Number:
    """Of the logarithm of a product of ratios, of which `ratios` are the largest."""
    nothing = flint.arb(0)
    return nothing if ratios is None else nothing.min(ball(total(log(ratio) for ratio in ratios)))
