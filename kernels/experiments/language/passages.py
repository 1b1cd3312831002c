"""Sequences that ask what a model recalls: passages read again, names met again in a text, and pairs of names."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..recall_task import BatchKind, RecallTask, draw
from .data import Data, Windows
from .tokens import SEPARATOR, Tokenizer, Tokens

NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]{7,}")
TOLD_BY = 3
"""First bytes of a name, which say which one is meant; the others are asked for."""

LINES = RecallTask(keys=64, values=48, pairs=(8, 32), repeats=(1, 2))


class Asked(NamedTuple):
    """Tokens [N, T + 1], and for each of the last T of them the number of the question that it is part of, or -1."""

    tokens: Tokens
    question: NDArray[np.int64]


class Mention(NamedTuple):
    """A name in a text: the tokens asked for, how often it was met before, and how many tokens ago the last time."""

    row: int
    tokens: slice
    seen: int
    distance: int


def repeated(data: Data, count: int, length: int, readings: int, split: str = "test") -> Tokens:
    """Passages of so many tokens read so many times, [count, 1 + length * readings]."""
    found = data.windows(split, count, length).tokens
    return np.concatenate([found[:, :1], np.tile(found[:, 1:], (1, readings))], axis=1)


def mentions(windows: Windows, tokenizer: Tokenizer) -> Iterator[Mention]:
    """Every name of eight letters and more that the windows have."""
    for row, (tokens, text) in enumerate(zip(windows.tokens, windows.texts, strict=True)):
        ends = np.cumsum(tokenizer.lengths(tokens[1:]))
        last: dict[bytes, tuple[int, int]] = {}
        for match in NAME.finditer(text.encode()[: int(ends[-1])]):
            first = int(np.searchsorted(ends, match.start() + TOLD_BY, side="right"))
            stop = int(np.searchsorted(ends, match.end(), side="right"))
            seen, place = last.get(match[0], (0, 0))
            if first < stop:
                yield Mention(row, slice(first, stop), seen, first - place)
            last[match[0]] = (seen + 1, first)


def lines(tokenizer: Tokenizer, kind: BatchKind, count: int, seed: int) -> Asked:
    """The synthetic task as text: lines ``name = value`` once or twice, then again in another order, asking for values.

    Each value is a question.
    """
    batch = draw(LINES, kind, count, "test", np.random.default_rng([seed, kind.repeats, kind.pairs]))
    rows = [
        _line_row(tokenizer, tokens, targets)
        for tokens, targets in zip(batch.tokens, batch.targets, strict=True)
    ]
    # A multiple of 16 tokens to be scored: kernels are compiled apart for other lengths.
    longest = 1 + -(-(max(len(tokens) for tokens, _ in rows) - 1) // 16) * 16
    tokens = np.full((count, longest), SEPARATOR, dtype=np.int32)
    question = np.full((count, longest), -1, dtype=np.int64)
    for number, (row, asked) in enumerate(rows):
        tokens[number, : len(row)] = row
        question[number, : len(row)] = np.where(asked < 0, -1, number * kind.pairs + asked)
    return Asked(tokens, question[:, 1:])


def _line_row(
    tokenizer: Tokenizer, tokens: NDArray[np.int64], targets: NDArray[np.int64]
) -> tuple[Tokens, NDArray[np.int64]]:
    pieces, asked = [np.array([SEPARATOR])], [np.array([-1])]

    def add(text: str, question: int = -1) -> None:
        pieces.append(tokenizer.encode(text))
        asked.append(np.full(len(pieces[-1]), question))

    pairs = len(targets)
    for key, value in tokens[: -1 - pairs].reshape(-1, 2):
        add(f"name_{key:02d} = ")
        add(f"{value - LINES.first_value:02d}\n")
    add("\n")
    for number, (key, target) in enumerate(zip(tokens[-pairs:], targets, strict=True)):
        add(f"name_{key:02d} = ")
        add(f"{target:02d}\n", number)
    return np.concatenate(pieces).astype(np.int32), np.concatenate(asked)
