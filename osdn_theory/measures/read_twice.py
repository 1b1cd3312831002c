r"""The authors' measure: what writes leave of their own tokens' losses, on contexts read twice (T3).

.. math:: \Bigl(\prod_t q_t\Bigr)^{1/T}, \qquad q_t = f_t(S_t)/f_t(S_{t-1}) = (1 - \beta_t \langle d_t, k_t^2\rangle)^2

What is missing of the context at its end is another quantity, the missing share of `osdn_theory.measures.analysis`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.jsonable import jsonable
from osdn_theory.base.validation import Array, require
from osdn_theory.measures.analysis import geometric_mean_ratio, token_residual_ratio
from osdn_theory.recurrence.rules import BOUNDED, CalibrationRule
from osdn_theory.recurrence.solve import Method, solver_of
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream
from osdn_theory.streams.transforms import repeated


def _shuffled(d: Array) -> Array:
    return d[..., np.random.default_rng(0).permutation(d.shape[-1])]


REPLACEMENTS: Mapping[str, Callable[[Array], Array]] = {
    "own": lambda d: d,
    "ones": np.ones_like,
    "mean": lambda d: np.broadcast_to(np.mean(d, axis=-1, keepdims=True), d.shape),
    "shuffled": _shuffled,
    "reversed": lambda d: d[..., ::-1],
}
"""What takes the place of d_t (..., K): d itself, 1, its mean over features, d permuted or reversed over features."""

CLASSES = 32
"""Classes of position, as many in each reading."""


@show_briefly
@dataclass(frozen=True, eq=False)
class ReadTwice:
    """The authors' measure on one layer.

    - `edges` (P + 1,) integers: Of the classes of position; the middle one is where the second reading begins.
    - `by_head`, mapping from replacement to (...) float64: Geometric mean of q over both readings; NaN where no token
      has a residual.
    - `by_position`, mapping from replacement to (P,) float64: The same over all heads, by class of position.
    - `layer`, mapping from replacement to float: The same over all heads and positions.
    - `mean_alignment`, `mean_write` (...) float64: Means of a_t and beta_t a_t.
    """

    stream: str
    edges: tuple[int, ...]
    by_head: Mapping[str, Array]
    by_position: Mapping[str, Array]
    layer: Mapping[str, float]
    mean_alignment: Array
    mean_write: Array

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready values; infinities and NaN as strings."""
        document: dict[str, Any] = jsonable(self)
        return document


def replaced_ratios(trajectory: Trajectory) -> dict[str, Array]:
    """q_t with d_t replaced in each of the ways of `REPLACEMENTS`, (..., T) each (T3).

    The calibration goes on as it did: only what q_t is formed with is replaced. NaN where the trajectory's own token
    has no residual, so that all are over the same tokens.
    """
    return {
        name: token_residual_ratio(trajectory, replace(trajectory.preconditioner))
        for name, replace in REPLACEMENTS.items()
    }


def position_edges(length: int) -> tuple[int, ...]:
    """Edges of `CLASSES` even classes of positions 0 to `length`; fewer where there are fewer positions."""
    return tuple(int(edge) for edge in np.linspace(0, length, min(length, CLASSES) + 1).round())


def ratios_by_position(ratios: Array) -> Array:
    """Geometric mean of ratios (..., T) over leading axes and the positions of each class, (P,)."""
    edges = position_edges(ratios.shape[-1])
    classes = [ratios[..., low:high].ravel() for low, high in pairwise(edges)]
    return np.array([float(geometric_mean_ratio(each)[1]) for each in classes])


def measure_read_twice(
    stream: Stream, rule: CalibrationRule = BOUNDED, *, already: bool = False, method: Method = "chunk"
) -> ReadTwice:
    """The geometric mean of q_t while a context is read twice, as it is and with d replaced.

    - `stream`: With at least one token; read again from its end, d and state carried on.
    - `already`: Whether the tokens of the stream are two readings, as where the model itself read its text twice.
    - `method`: As in :func:`osdn_theory.recurrence.solve.osdn`.
    """
    require(stream.length > 0, f"stream: {stream.name!r} has no tokens")
    even = not already or stream.length % 2 == 0
    require(even, f"stream: expected two readings of {stream.name!r}, got {stream.length} tokens")
    twice = stream if already else repeated(stream, 2)
    run = solver_of(twice)(twice, rule, method=method)
    found = replaced_ratios(run)
    return ReadTwice(
        stream=stream.name,
        edges=position_edges(twice.length),
        by_head={name: geometric_mean_ratio(ratios)[1] for name, ratios in found.items()},
        by_position={name: ratios_by_position(ratios) for name, ratios in found.items()},
        layer={name: float(geometric_mean_ratio(ratios.ravel())[1]) for name, ratios in found.items()},
        mean_alignment=run.alignment.mean(axis=-1),
        mean_write=(twice.beta * run.alignment).mean(axis=-1),
    )
