"""T15: with exactly normalised keys and d_1 = 1, OSDN is DeltaNet."""

import numpy as np

from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.check import Sides
from osdn_theory.bounds.registry import BoundEvidence, bound
from osdn_theory.bounds.runs.enclosed import FloatRun


@bound(
    "T15",
    "Identity fixed point",
    r"\|k_t\|_2 = 1,\ d_1 = \mathbf 1 \implies \|d_{T+1} - \mathbf 1\| = 0",
    hypotheses=(h.plain_feedback, h.no_forgetting, h.starts_at_one, h.box_contains_one, h.unit_keys),
)
def identity_fixed_point(e: BoundEvidence) -> list[Sides]:
    """Once d leaves 1 it never returns exactly, but every token is compared all the same.

    d_1 = 1 is given, and where nothing can move d no more is said.
    """
    one = np.ones(e.problem.key_dim)
    zero = e.field.of(0.0)
    moves = e.problem.eta > 0 and bool(np.any(e.problem.lower < e.problem.upper))
    if isinstance(e.run, FloatRun):
        # d = 1 is a fixed point of every exact step here, so the exact path is 1; the solver must hit it to the bit.
        farthest = float(np.abs(e.run.path - 1).max())
        method = "float64, bit for bit"
        return [Sides(e.field.of(farthest), zero, identity=True, vacuous=not moves, method=method)]
    return [
        Sides(e.run.distance_sq(token, one), zero, identity=True, vacuous=not (moves and token))
        for token in range(e.problem.length + 1)
    ]
