"""Two things NumPy leaves to us: threads over leading axes, and one BLAS thread inside each."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    # Finding the BLAS libraries takes milliseconds; setting their threads afterwards does not. SciPy's is the one
    # that compiled loops call, and must be loaded to be found.
    import scipy.linalg.cython_blas  # noqa: F401

    return ThreadpoolController()


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """One BLAS thread inside: bits then do not depend on the machine's cores, and small products are faster."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


def map_leading(work: Callable[[slice], None], count: int, least: int = 1) -> None:
    """Call `work` on slices that cover ``range(count)``, one thread per core, each with one BLAS thread.

    A thread gets at least `least` entries: threads that only make short calls wait for each other.
    """
    workers = max(1, min(cores(), count // least))
    edges = [count * i // workers for i in range(workers + 1)]
    parts = [slice(a, b) for a, b in pairwise(edges) if a < b]
    with single_threaded_blas():
        if len(parts) <= 1:
            for part in parts:
                work(part)
            return
        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(_spread_out, work, part, i) for i, part in enumerate(parts)]:
                done.result()


def _spread_out(work: Callable[[slice], None], part: slice, index: int) -> None:
    """Run `work` on a core of its own.

    The kernel starts sibling threads on one core and moves them apart only after tens of milliseconds, longer
    than most calls last. The thread ends with the call, and its affinity with it.
    """
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[index % len(allowed)]})
    work(part)
