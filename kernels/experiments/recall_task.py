"""Multi-query associative recall: a context of key-value pairs, read once or twice, then every key asked for its value.

The task of Zoology (arXiv:2312.04927), with the context repeated as in JRT (arXiv:2407.05483) and with keys of given
statistics: every key token has a fixed vector, part of the data and the same for all models.

    k_1 v_1 ... k_P v_P  [the same again]  SEP  k_p(1) ... k_p(P)

Sequences are generated on the fly from (seed, index). The splits are disjoint by construction: the values of a context
sum to 0 modulo 3 in training, to 1 in validation and to 2 in the test, so no context of one is a context of another.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .validation import require

STATISTICS = ("isotropic", "anisotropic", "nonstationary")
SPLITS = ("train", "validation", "test")
SEPARATOR = 0

CONDITION = 100.0
"""Largest over smallest variance of the coordinates of anisotropic keys, in a rotated basis."""


class BatchKind(NamedTuple):
    """What the sequences of one batch have in common."""

    statistic: str
    repeats: int
    pairs: int

    @property
    def context(self) -> int:
        """Tokens before the separator."""
        return 2 * self.pairs * self.repeats

    @property
    def length(self) -> int:
        return self.context + 1 + self.pairs

    @property
    def label(self) -> str:
        return f"{self.statistic}-r{self.repeats}-p{self.pairs}"


class Batch(NamedTuple):
    """Tokens [B, T]; of the last P, the queries, the values asked for and the distances in tokens, [B, P]."""

    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]
    distances: NDArray[np.int64]


@dataclass(frozen=True)
class RecallTask:
    """Sizes of the task.

    - `keys`: Key tokens of each statistic.
    - `values`: Value tokens, a multiple of 3.
    - `pairs`: Pairs P of a context, of which each batch has one number; even.
    - `repeats`: How often a context is read: 1 and 2 are "read once" and "read twice".
    - `features`: Size of the key vectors.

    Raises ValueError: more pairs than distinct keys, or sizes that cannot be split as described.
    """

    keys: int = 64
    values: int = 48
    pairs: tuple[int, ...] = (4, 8, 16, 32)
    repeats: tuple[int, ...] = (1, 2)
    features: int = 64

    def __post_init__(self) -> None:
        require(self.keys >= 2 and self.keys % 2 == 0, "keys", "an even number", self.keys)
        require(self.values >= 3 and self.values % 3 == 0, "values", "a positive multiple of 3", self.values)
        require(self.features >= 2, "features", "at least 2", self.features)
        require(len(self.pairs) > 0 and len(self.repeats) > 0, "pairs, repeats", "at least one of each", ())
        require(len(set(self.pairs)) == len(self.pairs), "pairs", "distinct numbers", self.pairs)
        for pairs in self.pairs:
            require(pairs >= 2 and pairs % 2 == 0, "pairs", "even numbers from 2 on", pairs)
            require(pairs <= self.keys, "pairs", f"at most the {self.keys} distinct keys of a context", pairs)
        for repeats in self.repeats:
            require(repeats >= 1, "repeats", "1 or more", repeats)

    @property
    def vocabulary(self) -> int:
        """Tokens: the separator, the keys by statistic, the values."""
        return self.first_value + self.values

    @property
    def first_value(self) -> int:
        return 1 + len(STATISTICS) * self.keys

    @property
    def cells(self) -> list[BatchKind]:
        return [BatchKind(s, r, p) for s in STATISTICS for r in self.repeats for p in self.pairs]

    def first_key(self, statistic: str) -> int:
        return 1 + STATISTICS.index(statistic) * self.keys


def draw(task: RecallTask, cell: BatchKind, count: int, split: str, rng: np.random.Generator) -> Batch:
    """`count` sequences of a cell."""
    return draw_mixed(task, [cell.statistic] * count, cell.repeats, cell.pairs, split, rng)


def draw_training(task: RecallTask, count: int, split: str, rng: np.random.Generator) -> Batch:
    """A batch of one number of pairs and repeats, drawn evenly, with the statistics in equal shares."""
    repeats, pairs = rng.choice(task.repeats), rng.choice(task.pairs)
    statistics = [STATISTICS[row % len(STATISTICS)] for row in range(count)]
    return draw_mixed(task, statistics, int(repeats), int(pairs), split, rng)


def draw_mixed(
    task: RecallTask, statistics: list[str], repeats: int, pairs: int, split: str, rng: np.random.Generator
) -> Batch:
    """One sequence for each of `statistics`."""
    keys = np.stack([_keys(task, statistic, pairs, rng) for statistic in statistics])
    values = _values(task, len(statistics), pairs, split, rng)
    once = np.stack([keys, task.first_value + values], axis=-1).reshape(len(keys), -1)
    asked = rng.permuted(np.broadcast_to(np.arange(pairs), keys.shape), axis=1)
    separator = np.full((len(keys), 1), SEPARATOR)
    context = np.tile(once, (1, repeats))
    tokens = np.concatenate([context, separator, np.take_along_axis(keys, asked, 1)], axis=1)
    last_write = context.shape[1] - 2 * pairs + 2 * asked + 1
    distances = context.shape[1] + 1 + np.arange(pairs) - last_write
    return Batch(tokens, np.take_along_axis(values, asked, 1), distances)


def key_vectors(task: RecallTask, seed: int) -> NDArray[np.float32]:
    """Vectors [statistics x keys, D] of the key tokens, in the order of the tokens, each of mean square 1.

    isotropic: normal. anisotropic: normal with variances falling geometrically by `CONDITION` over the coordinates.
    nonstationary: the first half of the keys has its variance in the first half of the coordinates but for a share of
    1/`CONDITION`, the second half in the others; contexts show keys of the first half first. The coordinates of the
    last two are rotated, so that no feature of the model is distinguished from the start.
    """
    rng = np.random.default_rng([seed, 0])
    size = (task.keys, task.features)
    rotation = np.linalg.qr(rng.standard_normal((task.features, task.features)))[0]
    falling = CONDITION ** (-np.linspace(0.0, 1.0, task.features) / 2)
    first = np.where(np.arange(task.features) < task.features // 2, 1.0, CONDITION**-0.5)
    halves = np.where(np.arange(task.keys)[:, None] < task.keys // 2, first, first[::-1])
    tables = [rng.standard_normal(size)]
    tables += [(rng.standard_normal(size) * scale) @ rotation.T for scale in (falling, halves)]
    rows = np.concatenate(tables)
    unit: NDArray[np.float64] = rows / np.sqrt(np.mean(np.square(rows), axis=1, keepdims=True))
    return unit.astype(np.float32)


def _keys(task: RecallTask, statistic: str, pairs: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Distinct key tokens in the order of the context."""
    if statistic == "nonstationary":
        half, number = task.keys // 2, pairs // 2
        chosen = np.concatenate([rng.permutation(half)[:number], half + rng.permutation(half)[:number]])
    else:
        chosen = rng.permutation(task.keys)[:pairs]
    return task.first_key(statistic) + chosen


def _values(
    task: RecallTask, count: int, pairs: int, split: str, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Values [count, P], each alone uniform, whose sum has the residue of the split."""
    values = rng.integers(task.values, size=(count, pairs))
    residue = (SPLITS.index(split) - values[:, :-1].sum(axis=1)) % 3
    values[:, -1] = 3 * rng.integers(task.values // 3, size=count) + residue
    return values
