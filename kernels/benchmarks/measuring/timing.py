"""Timers: device events on a GPU, the host's clock in the interpreter."""

import time
from collections.abc import Callable
from typing import Protocol

import torch
import triton

from ..output.records import Sample

QUANTILES = [0.5, 0.2, 0.8]


class Timer(Protocol):
    """Milliseconds of `call`, which has run before."""

    def __call__(self, call: Callable[[], object], repeats: int = 1) -> Sample: ...


def device_timer(call: Callable[[], object], repeats: int = 1) -> Sample:
    """By CUDA events, the cache cleared before each run; per repeat where `call` does the same thing several times."""
    times = triton.testing.do_bench(call, warmup=25, rep=100, quantiles=QUANTILES, return_mode="median")
    return Sample(*(value / repeats for value in times))


def host_timer(call: Callable[[], object], repeats: int = 1) -> Sample:
    """One run by the host's clock: shows that the harness works, and nothing about a GPU."""
    start = time.perf_counter()
    call()
    spent = 1e3 * (time.perf_counter() - start) / repeats
    return Sample(spent, spent, spent)


def timer_of(device: torch.device) -> Timer:
    return device_timer if device.type == "cuda" else host_timer
