"""Speed and memory of the solvers, as ratios to what the same machine did in the same run."""

import os
import platform
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from osdn_theory.base.threads import cores
from osdn_theory.base.validation import Array, require_generator
from osdn_theory.recurrence.calibrate import calibration_scan
from osdn_theory.recurrence.rules import BOUNDED, CalibrationRule
from osdn_theory.recurrence.solve import osdn
from osdn_theory.streams.stream import Stream

CLIPPING = CalibrationRule(d_min=1.2, d_max=1.5)
"""From d_1 = 1.2, with unit keys every step points below the box: clips in every chunk."""


BURST = 3
"""Calls of one solver in a row before it is another's turn."""


@dataclass(frozen=True)
class BenchmarkSizes:
    """Problem sizes of one benchmark run."""

    gemm: int
    scan: tuple[int, int, int]
    chunk: tuple[int, int, int]
    chunk_size: int
    memory_length: int
    repeats: int


FULL = BenchmarkSizes(
    gemm=2048, scan=(64, 8192, 128), chunk=(8, 4096, 128), chunk_size=32, memory_length=4096, repeats=3
)
QUICK = BenchmarkSizes(
    gemm=128, scan=(4, 64, 16), chunk=(2, 64, 16), chunk_size=16, memory_length=4096, repeats=2
)


def run_benchmarks(*, quick: bool = False, rng: np.random.Generator | None = None) -> dict[str, Any]:
    """Measure the solvers and return plain numbers, ready for JSON.

    Every ratio compares medians of bursts of calls that alternate within this run, so that a machine that slows down
    slows both sides. Times are seconds, rates floating-point operations per second, memory bytes.

    - `quick`: Small sizes, to exercise the code; the ratios then say nothing.
    - `rng`, numpy.random.Generator, optional: Source of the data, by default seeded with 0.

    Returns ``machine``, ``dgemm``, ``scan``, ``chunk`` and ``memory``; each comparison with its times, its
    ``ratio``, the ``goal`` for that ratio and whether it was ``met``.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    require_generator(rng)
    sizes = QUICK if quick else FULL
    dgemm = _gemm_rate(sizes, rng)
    return {
        "quick": quick,
        "machine": _machine(),
        "scan": _scan(sizes, rng),
        "chunk": _chunk(sizes, rng, dgemm),
        "dgemm": dgemm,
        "memory": _memory(sizes, rng),
    }


def chunk_flops(lead: int, length: int, key_dim: int, value_dim: int, chunk_size: int) -> int:
    """Multiplications and additions of the chunk form (T12), matrix products and the triangular solve.

    Per token: 6 K V for the state (read by key and query, write), 4 C K for K K~^T and Q K~^T, 2 C V for the
    product with X, and C V for the solve. Elementwise work and the preconditioner scan are not counted.
    """
    per_token = 6 * key_dim * value_dim + 4 * chunk_size * key_dim + 3 * chunk_size * value_dim
    return lead * length * per_token


def _machine() -> dict[str, Any]:
    return {
        "cores": cores(),
        "cpu_count": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _alternate(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every call, in bursts: `repeats` rounds after one that is not counted.

    A burst, because the call after a long single-threaded one finds its data and the other core cold.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(repeats + 1):
        for name, call in calls.items():
            burst = [_seconds(call) for _ in range(BURST)]
            if round_number > 0:
                times[name].extend(burst)
    return times


def _seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _comparison(times: dict[str, list[float]], over: str, under: str, goal: float) -> dict[str, Any]:
    """`over` in units of `under`, to be at least `goal`."""
    ratio = float(np.median(times[over]) / np.median(times[under]))
    return {"of": over, "to": under, "ratio": ratio, "goal": f">= {goal:g}", "met": ratio >= goal}


def _gemm_rate(sizes: BenchmarkSizes, rng: np.random.Generator) -> dict[str, Any]:
    n = sizes.gemm
    a, b, out = rng.random((n, n)), rng.random((n, n)), np.empty((n, n))
    times = _alternate({"dgemm": lambda: np.matmul(a, b, out=out)}, sizes.repeats)
    return {"size": n, "times": times, "rate": 2 * n**3 / float(np.median(times["dgemm"]))}


def _unit_keys(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    keys: Array = rng.normal(size=shape)
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    return keys


def _scan(sizes: BenchmarkSizes, rng: np.random.Generator) -> dict[str, Any]:
    lead, length, dim = sizes.scan
    keys = _unit_keys(rng, (lead, length, dim))
    # Written once before the clock starts: the first touch of fresh memory costs as much as the scan.
    out = np.zeros(keys.shape)

    def scan(rule: CalibrationRule, method: Any) -> Callable[[], Any]:
        return lambda: calibration_scan(
            keys, rule, method=method, initial_preconditioner=1.2, out=out, check_finite=False
        )

    times = _alternate(
        {
            "sequential": scan(BOUNDED, "sequential"),
            "wy": scan(BOUNDED, "wy"),
            "sequential, clipped": scan(CLIPPING, "sequential"),
            "wy, clipped": scan(CLIPPING, "wy"),
        },
        sizes.repeats,
    )
    return {
        "lead": lead,
        "length": length,
        "key_dim": dim,
        "times": times,
        "bounded": _comparison(times, "sequential", "wy", 5.0),
        "clipped": _comparison(times, "sequential, clipped", "wy, clipped", 1 / 1.3),
    }


def _stream(rng: np.random.Generator, lead: int, length: int, dim: int) -> Stream:
    return Stream(
        keys=_unit_keys(rng, (lead, length, dim)),
        values=rng.normal(size=(lead, length, dim)),
        queries=_unit_keys(rng, (lead, length, dim)),
        beta=rng.uniform(size=(lead, length)),
    )


def _chunk(sizes: BenchmarkSizes, rng: np.random.Generator, dgemm: dict[str, Any]) -> dict[str, Any]:
    lead, length, dim = sizes.chunk
    stream = _stream(rng, lead, length, dim)
    times = _alternate(
        {
            "recurrent": lambda: osdn(stream),
            "chunk": lambda: osdn(stream, method="chunk", chunk_size=sizes.chunk_size),
        },
        sizes.repeats,
    )
    flops = chunk_flops(lead, length, dim, dim, sizes.chunk_size)
    rate = flops / float(np.median(times["chunk"]))
    share = rate / dgemm["rate"]
    return {
        "lead": lead,
        "length": length,
        "key_dim": dim,
        "value_dim": dim,
        "chunk_size": sizes.chunk_size,
        "times": times,
        "flops": flops,
        "rate": rate,
        "speedup": _comparison(times, "recurrent", "chunk", 10.0),
        "dgemm_share": {"ratio": share, "goal": ">= 0.4", "met": share >= 0.4},
    }


def _memory(sizes: BenchmarkSizes, rng: np.random.Generator) -> dict[str, Any]:
    """Peaks of a run at two lengths, whole and in pieces that are dropped once continued."""
    length, dim = sizes.memory_length, 16
    streams = {n: _stream(rng, 1, n, dim) for n in (length, 2 * length)}
    whole = {n: _peak(lambda s=stream: osdn(s, method="chunk")) for n, stream in streams.items()}  # type: ignore[misc]
    pieces = {n: _peak(lambda s=stream: _in_pieces(s, length // 4)) for n, stream in streams.items()}  # type: ignore[misc]
    return {
        "lengths": list(streams),
        "whole": list(whole.values()),
        "streaming": list(pieces.values()),
        "whole_growth": whole[2 * length] / whole[length],
        "streaming_growth": pieces[2 * length] / pieces[length],
    }


def _in_pieces(stream: Stream, piece: int) -> None:
    carry = None
    for start in range(0, stream.length, piece):
        carry = osdn(stream.tokens(start, start + piece), carry=carry, method="chunk").carry


def _peak(call: Callable[[], Any]) -> int:
    call()  # caches and thread pools are not the run's own memory
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
