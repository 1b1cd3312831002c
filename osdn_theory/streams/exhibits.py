"""Streams that exhibit one theorem each: recall without overlap, blindness to it, a tight product, and growth."""

import numpy as np

from osdn_theory.base.validation import Array, require, require_generator
from osdn_theory.streams.stream import Stream

GROWING_START = (37 / 32, 3 / 2)
"""d_1, and the anchor, from which the error of :func:`growing` grows."""

_OVERLAP = 1 / 8
# epsilon of T24; 1 - epsilon^2 = (49 + 9 + 4 + 1) / 64, so that keys are unit vectors exactly.


def disjoint(
    rng: np.random.Generator, *, reads: tuple[int, ...] = (1, 2, 3, 4), value_dim: int = 4
) -> Stream:
    """Pairs of two features of their own each, read so many times, in random order; norms other than 1 (T22)."""
    require_generator(rng)
    require(len(reads) > 0 and min(reads) >= 1, f"reads: expected numbers >= 1, got {reads}")
    pairs = len(reads)
    keys = np.zeros((pairs, 2 * pairs))
    for pair in range(pairs):
        keys[pair, 2 * pair : 2 * pair + 2] = rng.integers(6, 14, 2) / 16
    values = rng.integers(-16, 17, (pairs, value_dim)) / 8
    order = rng.permutation(np.repeat(np.arange(pairs), reads))
    return Stream(keys=keys[order], values=values[order], name="disjoint", metadata={"reads": reads})


def overlapping(rng: np.random.Generator, *, pairs: int = 6, value_dim: int = 4) -> Stream:
    """Unit keys that share all but a direction of size 1/8 each; the comparator reads that one alone (T24)."""
    require_generator(rng)
    shared = np.broadcast_to(np.array([7.0, 3.0, 2.0, 1.0]) / 8, (pairs, 4))
    keys = np.concatenate([shared, _OVERLAP * np.eye(pairs)], axis=1)
    comparator = np.concatenate([np.zeros(4), np.full(pairs, _OVERLAP**-2)])
    values = rng.integers(-16, 17, (pairs, value_dim)) / 8
    return Stream(keys=keys, values=values, comparator=comparator, name="overlapping")


def alternating(*, width: int = 4) -> Stream:
    """Two unit keys in turn on n = width^2 of n + 1 features, T = n - 1: T6 is off by e/2 a token (T28).

    The features have entries 1/n and the cosine 1 - 1/n; `initial_preconditioner` is where T28 starts. `width` is a
    power of two, for exact entries.
    """
    require(width >= 2 and width & (width - 1) == 0, f"width: expected a power of two from 2 on, got {width}")
    count = width * width
    masks = np.ones((2, count + 1))
    masks[0, -1] = masks[1, 0] = 0.0
    tilted = masks[0] - (1 - 1 / count) * masks[1]
    keys = (masks / width)[np.arange(count - 1) % 2]
    solution = np.ones((1, count + 1))
    return Stream(
        keys=keys,
        values=keys @ solution.T,
        comparator=np.ones(count + 1),
        solution=solution,
        initial_preconditioner=1 + tilted / 2,
        name="alternating",
    )


def growing(*, length: int = 512) -> Stream:
    """Two unit keys in turn, realisable; under anchored forgetting with eta = 1.9 the error grows (T27)."""
    keys: Array = np.array([[1.0, 5 / 8], [1.0, 15 / 32]])
    keys = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    turns = keys[np.arange(length) % 2]
    start = np.array(GROWING_START)
    return Stream(keys=turns, values=turns, solution=np.eye(2), initial_preconditioner=start, name="growing")
