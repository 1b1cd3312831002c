"""How the state of the online recurrence approaches exact Newton, against tokens and condition number (T10, T25)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.validation import Array, require
from osdn_theory.measures.least_squares import newton_distance
from osdn_theory.recurrence.rules import BOUNDED, HISTORIC
from osdn_theory.recurrence.solve import delta_net, osdn
from osdn_theory.streams.synthetic import interpolating

RUNS = {
    "delta_net": delta_net,
    "osdn": lambda stream: osdn(stream, HISTORIC),
    "osdn_bounded": lambda stream: osdn(stream, BOUNDED),
}
"""Recurrences compared; "osdn" at the step eta = 1."""

RIDGE = 1e-12


@show_briefly
@dataclass(frozen=True, eq=False)
class NewtonApproach:
    """Relative distances from recursive least squares, medians over seeds.

    - `conditions` (C,) float64: Ratio of the largest to the smallest variance of a feature of the keys.
    - `tokens` (P,) int: Numbers of tokens read.
    - `distances`, dict from recurrence to (C, P) float64
    """

    conditions: Array
    tokens: np.ndarray[tuple[int], np.dtype[np.int64]]
    distances: dict[str, Array]


def newton_approach(
    seed: int = 0,
    *,
    conditions: Sequence[float] = (1.0, 10.0, 100.0, 1000.0),
    tokens: Sequence[int] = (128, 512, 2048, 8192),
    key_dim: int = 16,
    seeds: int = 4,
) -> NewtonApproach:
    r"""Distances :math:`\|S_t - S_t^{RLS}\| / \|S_t^{RLS}\|` of OSDN and DeltaNet on keys of given condition numbers.

    The keys are interpolated by a hidden comparator in the box [2/3, 3/2], to which T5 and T6 apply, and one state
    explains the values: after K tokens exact Newton has it.

    - `conditions`: sequence of float >= 1
    - `tokens`: ascending integers >= 1
    - `key_dim`: int >= 5
    - `seeds`: int >= 1

    Raises ValueError: for sizes below these, or positions that do not ascend.
    """
    require(len(tokens) > 0 and seeds >= 1, "tokens, seeds: expected at least one")
    sizes = {"lead": (seeds,), "length": max(tokens), "key_dim": key_dim, "value_dim": 8}
    found: dict[str, list[Array]] = {name: [] for name in RUNS}
    for number, condition in enumerate(conditions):
        stream = interpolating(np.random.default_rng([seed, number]), condition=condition, **sizes)  # type: ignore[arg-type]
        prefixes = [stream.tokens(0, count) for count in tokens]
        for name, run in RUNS.items():
            apart = [newton_distance(run(prefix), ridge=RIDGE)[..., 0] for prefix in prefixes]
            found[name].append(np.median(np.stack(apart, axis=-1), axis=0))
    return NewtonApproach(
        np.asarray(conditions, dtype=np.float64),
        np.asarray(tokens, dtype=np.int64),
        {name: np.stack(rows) for name, rows in found.items()},
    )
