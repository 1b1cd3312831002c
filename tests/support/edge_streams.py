"""Streams at the edges of what the bounds take: zeros, denormals, huge numbers, repeats, single tokens, faces."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, strategies as st

from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.recurrence.solve import gated_delta_net, kda, osdn
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.streams.stream import Stream

DENORMAL = 5e-324

SIZES = (0.0, 1.0, -1.0, 0.5, 0.6, 0.8, 1 / 3, 3.0, DENORMAL, 1e-200, 1e-155, 1e-30, 2.0**-27, 1e10, 1e60)
"""Squares of 1e-200 are zero in float64, those of 1e-155 denormal."""

BOXES = (
    (2 / 3, 3 / 2),
    (-np.inf, np.inf),
    (1.0, 1.0),
    (0.0, 1e9),
    (0.0, np.inf),
    (0.5, 1.0),
    (1.0, 2.0),
    (1e-300, 1e300),
)
GATES = (0.0, 1.0, 2.0, 0.5, DENORMAL, 1 / 3)
FADING = (1.0, 0.5, 0.0, DENORMAL, 1 - 2.0**-53)
STARTS = (1.0, 0.0, 1.25, 2 / 3, 3 / 2, 0.5, 2.0, DENORMAL, 1e9)


@st.composite
def edge_runs(draw: st.DrawFn) -> Trajectory:
    """A small trajectory whose keys, values, gates, box, step and start lie at edges."""
    length, size, width = draw(st.integers(0, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    if draw(st.booleans()):
        return _interpolated(draw, length, size)
    keys = _keys(draw, length, size)
    solution = _array(draw, (width, size))
    values = _values(draw, keys, solution)
    box = draw(st.sampled_from(BOXES))
    comparator = draw(st.sampled_from((None, *box, 1.0, 4.0)))
    finite = comparator is not None and np.isfinite(comparator)
    gate = draw(st.sampled_from((None, "token", "feature")))
    shape = {None: None, "token": (length,), "feature": (length, size)}[gate]
    stream = Stream(
        keys=keys,
        values=values,
        solution=draw(st.sampled_from((None, solution))),
        beta=np.array([draw(st.sampled_from(GATES)) for _ in range(length)]),
        comparator=np.full(size, comparator) if finite else None,
        state_gate=None if shape is None else _array(draw, shape, FADING),
    )
    start = np.clip(draw(st.sampled_from((*STARTS, *box))), -1e300, 1e300)
    rule = _rule(draw, keys, box)
    solver = {None: osdn, "token": gated_delta_net, "feature": kda}[gate]
    options = draw(st.sampled_from(({"return_states": True}, {"return_states": False}, {"method": "chunk"})))
    try:
        with np.errstate(all="ignore"):
            return solver(stream, rule, initial_preconditioner=float(start), **options)
    except (FloatingPointError, ValueError):
        assume(False)
        raise


def _interpolated(draw: st.DrawFn, length: int, size: int) -> Trajectory:
    """<u, s_t> = 1 exactly, no forgetting, full feedback, steps up to the limit: as T5 to T8, T14 and T23 ask."""
    scales = [2.0 ** draw(st.sampled_from((-120, -1, 0, 0, 0, 1, 120))) for _ in range(size)]
    keys = np.diag(scales)[draw(st.sampled_from((np.arange(length) % size, np.zeros(length, dtype=int))))]
    comparator = np.array(scales) ** -2
    start = comparator * draw(st.sampled_from((1.0, 0.0, 1.5, 3.0, 1 + 2.0**-52)))
    most = float(np.max(keys, initial=2.0**-120)) ** 4
    box = draw(
        st.sampled_from(
            (np.array([1.0, 1.0]), np.array([0.5, 2.0]), np.array([0.0, np.inf]), np.array([1.0, 4.0]))
        )
    )
    solution = _array(draw, (1, size))
    stream = Stream(
        keys=keys,
        values=keys @ solution.T,
        solution=solution,
        beta=draw(st.sampled_from((1.0, 1.0, 0.0, 2.0, 0.5))),
        comparator=comparator,
    )
    limits = (1.0, 2.0, 0.5, 2 - 2.0**-52, 1 - 2.0**-53, 2.0**-60)
    rule = CalibrationRule(
        eta=draw(st.sampled_from(limits)) / most, d_min=comparator * box[0], d_max=comparator * box[1]
    )
    return osdn(stream, rule, initial_preconditioner=start)


def _array(draw: st.DrawFn, shape: tuple[int, ...], among: tuple[float, ...] = SIZES) -> np.ndarray:
    size = int(np.prod(shape))
    numbers = draw(st.lists(st.sampled_from(among), min_size=size, max_size=size))
    return np.array(numbers, dtype=float).reshape(shape)


def _keys(draw: st.DrawFn, length: int, size: int) -> np.ndarray:
    kind = draw(st.sampled_from(("any", "constant", "turning", "zero")))
    if kind == "constant":
        return np.tile(_array(draw, (1, size)), (length, 1))
    if kind == "turning":
        return draw(st.sampled_from(SIZES)) * np.eye(size)[np.arange(length) % size]
    return _array(draw, (length, size)) if kind == "any" else np.zeros((length, size))


def _values(draw: st.DrawFn, keys: np.ndarray, solution: np.ndarray) -> np.ndarray:
    kind = draw(st.sampled_from(("realisable", "any", "zero", "orthogonal")))
    shape = (len(keys), len(solution))
    if kind == "realisable":
        return keys @ solution.T
    if kind == "any":
        return _array(draw, shape)
    values = np.zeros(shape)
    if kind == "orthogonal" and len(keys) > 1:
        # V^T K = 0 for a repeated key.
        keys[1] = keys[0]
        values[:2, 0] = 1.0, -1.0
    return values


def _rule(draw: st.DrawFn, keys: np.ndarray, box: tuple[float, float]) -> CalibrationRule:
    with np.errstate(all="ignore"):
        largest = float(np.max(np.sum(keys**4, axis=-1), initial=0.0))
    steps = [0.0, 0.5, 1.0, 2.0, 1e-300, 1e-30]
    if 1e-300 < largest < 1e300:
        steps += [1 / largest, 2 / largest, 0.5 / largest]
    options: dict[str, Any] = {
        "eta": draw(st.sampled_from(steps)),
        "forgetting": draw(st.sampled_from((1.0, 0.5, 1 - 2.0**-53, 1e-300))),
        "anchor": draw(st.sampled_from((0.0, 1.0, "initial"))),
        "normalize_feedback": draw(st.sampled_from((False, False, True))),
        "beta_aware": draw(st.sampled_from((False, False, True))),
    }
    return CalibrationRule(d_min=box[0], d_max=box[1], **options)
