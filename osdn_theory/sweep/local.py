"""Cells on the processes of this machine."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from threading import Thread, current_thread, main_thread

from osdn_theory.sweep.grid import Cell
from osdn_theory.sweep.packages import need
from osdn_theory.sweep.work import Row, Rows, Work, settle_worker

_MOST_LOSSES = 3
# Pools in a row that may die without finishing a single cell.

_LOOKS_EVERY = 0.2
# Seconds after which a worker sees that the sweep was killed.


class WorkersLostError(RuntimeError):
    """Worker processes die before they finish anything."""


def local_rows(cells: Sequence[Cell], work: Work, jobs: int) -> Rows:
    """Rows in the order in which they get done, by this process or by `jobs` others.

    A worker that is killed takes its pool along; another pool goes on with what is left.

    Raises WorkersLostError: if pools keep dying without finishing a cell: a cell that needs more memory than there is.
    """
    if jobs == 1:
        yield from (work(cell) for cell in cells)
        return
    need("loky", "sweep")
    left = {cell.id: cell for cell in cells}
    losses = 0
    while left:
        try:
            for row in _pool_rows(list(left.values()), work, jobs):
                del left[row["cell"]]
                losses = 0
                yield row
        except BrokenProcessPool as error:
            losses += 1
            if losses == _MOST_LOSSES:
                raise WorkersLostError(
                    f"worker processes were killed {losses} times before they finished a cell (out of memory?): "
                    "try fewer --jobs or smaller cells; finished cells are saved"
                ) from error


def _pool_rows(cells: Sequence[Cell], work: Work, jobs: int) -> Rows:
    from loky import ProcessPoolExecutor  # type: ignore[import-untyped]

    coordinator, waiting = os.getpid(), iter(cells)
    # Idle workers wait without an end: one that left could take a cell along.
    pool = ProcessPoolExecutor(jobs, timeout=None, initializer=_settle_pool_worker, initargs=(coordinator,))
    finished = False

    # Only this thread hands out cells: a pool that is given one while it is shut down loses its own thread.
    def hand_out(count: int) -> set[Future[Row]]:
        with _ctrl_c_afterwards():
            return {pool.submit(_in_pool, cell, work, coordinator) for cell in islice(waiting, count)}

    try:
        # Few cells ahead: a row is on its way to the disk as soon as it is done, and no worker waits for the disk.
        running = hand_out(2 * jobs)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            # Rows before the news that the pool broke, which would lose them.
            for future in sorted(done, key=lambda one: one.exception() is not None):
                yield future.result()
            running |= hand_out(len(done))
        finished = True
    finally:
        with _ctrl_c_afterwards():
            pool.shutdown(kill_workers=not finished)


@contextmanager
def _ctrl_c_afterwards() -> Iterator[None]:
    """Ctrl-C comes after what is in here: half a pool cannot be shut down, and half a worker says that it failed."""
    if current_thread() is not main_thread():
        # Only the main thread is interrupted.
        yield
        return
    seen = []
    handler = signal.signal(signal.SIGINT, lambda *_: seen.append(True))
    # Workers inherit what is blocked: they are not interrupted before they ignore it themselves.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, handler)
        if seen:
            signal.raise_signal(signal.SIGINT)


def _in_pool(cell: Cell, work: Work, coordinator: int) -> Row:
    if os.getppid() != coordinator:
        # The sweep was killed: nobody takes this row, and the next run computes the cell.
        os._exit(1)
    return work(cell)


def _settle_pool_worker(coordinator: int) -> None:
    # Ctrl-C reaches the whole group of processes; the sweep itself ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settle_worker()
    Thread(target=_end_with, args=(coordinator,), daemon=True).start()


def _end_with(coordinator: int) -> None:
    # When the sweep was killed, a pool lets a worker wait for minutes and a long cell go on to its end.
    while os.getppid() == coordinator:
        time.sleep(_LOOKS_EVERY)
    os._exit(1)
