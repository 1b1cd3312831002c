"""Cells on the workers of a Dask cluster."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from osdn_theory.sweep.grid import Cell
from osdn_theory.sweep.packages import need
from osdn_theory.sweep.work import Row, Rows, Work, make_failed_row, settle_worker

_ADDRESS = re.compile(r"(\w+://)?(\[[^]]+\]|[^/:\s]+):\d+")

CONNECT_S = 10.0
WORKERS_S = 30.0
_WINDOW = 4
# Cells handed out per thread of the cluster: enough that none waits, few enough to keep the scheduler light.


def cluster_rows(cells: Sequence[Cell], work: Work, scheduler: str) -> Rows:
    """Rows in the order in which they get done, by the workers of the Dask scheduler at an address.

    Dask itself repeats the cells of a worker that dies. A cell whose workers die again and again becomes a row with
    an error.

    Raises ValueError: for what is no address.
    Raises OSError: if no scheduler answers, it has no workers, it goes away, or its workers lack osdn.
    """
    if not cells:
        return
    need("distributed", "distributed")
    from distributed import as_completed

    with _client(scheduler) as client:
        left = iter(cells)
        window = max(16, _WINDOW * sum(client.nthreads().values()))
        handed = {_submit(client, work, cell): cell for cell in islice(left, window)}
        done = as_completed(handed, loop=client.loop)
        for future in done:
            yield _row(future, handed.pop(future), scheduler)
            for cell in islice(left, 1):
                following = _submit(client, work, cell)
                handed[following] = cell
                done.add(following)


def _submit(client: Any, work: Work, cell: Cell) -> Any:
    return client.submit(_on_worker, cell, work, pure=False)


def _on_worker(cell: Cell, work: Work) -> Row:
    settle_worker()
    return work(cell)


def _row(future: Any, cell: Cell, scheduler: str) -> Row:
    from distributed import CancelledError, KilledWorker

    try:
        row: Row = future.result()
    except KilledWorker as error:
        deaths = error.allowed_failures + 1
        return make_failed_row(
            cell, f"KilledWorker: {deaths} workers died while they ran it (out of memory?)"
        )
    except (CancelledError, OSError) as error:
        raise OSError(f"lost the Dask scheduler at {scheduler}; finished cells are saved") from error
    except Exception as error:
        # A cell that fails is a row: this is a worker that could not even begin.
        raise OSError(
            f"the workers of {scheduler} cannot run osdn: {type(error).__name__}: {error}"
        ) from error
    return row


def _hush() -> None:
    """What Dask logs about lost connections, with tracebacks, is said here in one line."""
    # Dask gives a level and a handler to each of some loggers, so that the top one does not speak for all.
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    from distributed import Client

    if not _ADDRESS.fullmatch(scheduler):
        raise ValueError(f"scheduler: expected an address such as tcp://host:8786, got {scheduler!r}")
    _hush()
    try:
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OSError(
            f"no Dask scheduler answers at {scheduler!r} within {CONNECT_S:g} s ({type(error).__name__})"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError as error:
            raise OSError(
                f"the Dask scheduler at {scheduler} has no workers after {WORKERS_S:g} s"
            ) from error
        yield client
