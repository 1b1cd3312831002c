"""Ranks that are threads of this process, so that a test can change what they run."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from torch import Tensor, distributed


class ThreadRank:
    """One rank of a group, as `osdn_kernels.parallel` uses one."""

    def __init__(self, rank: int, shared: list[Any], barrier: threading.Barrier) -> None:
        self._rank, self._shared, self._barrier = rank, shared, barrier

    def rank(self) -> int:
        return self._rank

    def size(self) -> int:
        return len(self._shared)

    def all_gather(self, found: list[Tensor], x: Tensor) -> None:
        self._shared[self._rank] = x
        self._barrier.wait()
        for mine, theirs in zip(found, self._shared, strict=True):
            assert mine.shape == theirs.shape
            mine.copy_(theirs)
        self._barrier.wait()


def on_threads(ranks: int, function: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a function gives on each rank of a group."""
    monkeypatch.setattr(distributed, "all_gather", lambda found, x, group: group.all_gather(found, x))
    barrier = threading.Barrier(ranks, timeout=60)
    shared: list[Any] = [None] * ranks

    def run(rank: int) -> Any:
        try:
            return function(ThreadRank(rank, shared, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(run, range(ranks)))
