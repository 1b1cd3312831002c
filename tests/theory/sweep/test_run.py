"""Sweeps run, killed and gone on with: every cell once, the same rows whoever computes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import loky
import pytest
from support.sweep_cases import SMALL, Row, audit, executions, ids_in, logged, quick
from support.sweep_folders import rows_on_disk, start_sweep, table_of, wait_until

from osdn_theory.sweep import local, packages, run as run_module, store as store_module
from osdn_theory.sweep.grid import Cell, Grid
from osdn_theory.sweep.journal import Journal
from osdn_theory.sweep.local import WorkersLostError
from osdn_theory.sweep.run import Progress, plan_sweep, run_sweep
from osdn_theory.sweep.store import Store, read_rows
from osdn_theory.sweep.work import row_of


def test_the_table_does_not_depend_on_the_number_of_jobs(tmp_path: Path) -> None:
    one = run_sweep(SMALL, tmp_path / "one", jobs=1)
    two = run_sweep(SMALL, tmp_path / "two", jobs=2)
    assert (one.cells, one.computed, one.kept, one.failed) == (12, 12, 0, 0)
    assert one.table == str(tmp_path / "one" / "sweep.parquet")
    assert two.code == one.code
    assert table_of(tmp_path / "one") == table_of(tmp_path / "two")


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    folder, log = tmp_path / "s", tmp_path / "log"
    measure = partial(logged, log=log)
    run_sweep(SMALL, folder, measure=measure)
    before = table_of(folder)
    again = run_sweep(SMALL, folder, measure=measure)
    assert (again.computed, again.kept) == (0, 12)
    assert table_of(folder) == before
    audit(SMALL, folder, log)


def test_a_larger_grid_extends_the_folder_and_a_smaller_one_drops_nothing(tmp_path: Path) -> None:
    folder, log = tmp_path / "s", tmp_path / "log"
    measure = partial(logged, log=log)
    run_sweep(SMALL, folder, measure=measure)
    larger = replace(SMALL, seed=(0, 1, 2, 3), eta=(SMALL.eta[0], 1.0))
    summary = run_sweep(larger, folder, measure=measure)
    assert (summary.cells, summary.computed, summary.kept) == (32, 20, 12)
    audit(larger, folder, log)
    run_sweep(replace(SMALL, seed=(0,)), folder, measure=measure)
    audit(larger, folder, log)
    run_sweep(larger, tmp_path / "fresh", measure=quick)
    assert table_of(folder) == table_of(tmp_path / "fresh")


def test_failures_are_rows_and_are_tried_again(tmp_path: Path) -> None:
    def fragile(cell: Cell) -> Row:
        if cell.seed == 1:
            raise FloatingPointError("overflow")
        return quick(cell)

    summary = run_sweep(SMALL, tmp_path / "s", measure=fragile)
    assert (summary.failed, summary.errors) == (4, ("FloatingPointError: overflow",))
    failed = [row for row in read_rows(Path(summary.table)) if row["error"] is not None]
    assert {row["seed"] for row in failed} == {1}
    assert {row["gap_sum"] for row in failed} == {None}
    healed = run_sweep(SMALL, tmp_path / "s", measure=quick)
    assert (healed.computed, healed.kept, healed.failed) == (4, 8, 0)
    run_sweep(SMALL, tmp_path / "fresh", measure=quick)
    assert table_of(tmp_path / "s") == table_of(tmp_path / "fresh")


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    seen: list[Progress] = []
    run_sweep(replace(SMALL, seed=(0,)), tmp_path, measure=quick)
    run_sweep(SMALL, tmp_path, measure=quick, progress=seen.append)
    assert [now.done for now in seen] == list(range(5, 13))
    assert seen[-1].total == 12
    assert seen[-1].weight_done == pytest.approx(seen[-1].weight_total)


def test_a_plan_counts_and_writes_nothing(tmp_path: Path) -> None:
    plan = plan_sweep(SMALL, tmp_path / "s", jobs=2)
    assert (plan.cells, plan.finished, plan.to_compute, plan.jobs) == (12, 0, 12, 2)
    assert plan.estimate_s > 0
    assert not (tmp_path / "s").exists()
    run_sweep(SMALL, tmp_path / "s", measure=quick)
    plan = plan_sweep(SMALL, tmp_path / "s")
    assert (plan.finished, plan.to_compute, plan.estimate_s) == (12, 0, 0.0)


@pytest.mark.parametrize("jobs", [1, 2])
def test_sigkill_loses_no_row_and_repeats_only_what_was_in_flight(tmp_path: Path, jobs: int) -> None:
    folder, log = tmp_path / "s", tmp_path / "log"
    process = start_sweep(folder, log, jobs)
    wait_until(lambda: rows_on_disk(folder) >= 4, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "sweep.parquet").exists()
    rows, torn = Journal(folder / "journal.jsonl").read()
    saved = {row["cell"] for row in rows}
    assert len(saved) == len(rows) >= 4
    assert torn <= 1
    # Output ends with the last worker: what was begun is all that ever will be.
    assert sum(executions(log).values()) <= len(saved) + 2 * jobs

    summary = run_sweep(SMALL, folder, jobs=jobs, measure=partial(logged, log=log))
    assert summary.kept == len(saved)
    audit(SMALL, folder, log, in_flight=2 * jobs)
    assert all(executions(log)[cell] == 1 for cell in saved)
    run_sweep(SMALL, tmp_path / "fresh", measure=quick)
    assert table_of(folder) == table_of(tmp_path / "fresh")


class LosesRows(Journal):
    """Says that a row is saved, and forgets every third."""

    count = 0

    def append(self, row: Row) -> None:
        LosesRows.count += 1
        if LosesRows.count % 3:
            super().append(row)


class ReadsTwice(Journal):
    """Gives every row back twice."""

    def read(self) -> tuple[list[Row], int]:
        rows, torn = super().read()
        return [*rows, *rows], torn


def interrupted_and_gone_on_with(folder: Path, log: Path) -> None:
    """A sweep that stops after seven cells, then one that runs to its end, then the audit."""

    def stops(cell: Cell) -> Row:
        if log.exists() and sum(executions(log).values()) == 7:
            raise KeyboardInterrupt
        return logged(cell, log=log)

    with pytest.raises(KeyboardInterrupt):
        run_sweep(SMALL, folder, measure=stops)
    run_sweep(SMALL, folder, measure=partial(logged, log=log))
    audit(SMALL, folder, log)


def test_an_interrupted_sweep_passes_the_audit(tmp_path: Path) -> None:
    interrupted_and_gone_on_with(tmp_path / "s", tmp_path / "log")


def _forgetful(self: Store) -> set[str]:
    return set(sorted(name for name, row in self._rows.items() if row["error"] is None)[1:])


def _without_the_last(rows: list[Row]) -> bytes:
    return _TO_PARQUET(rows[:-1])


def _all_rows(rows: Any, known: dict[str, Row] | None = None) -> dict[str, Row]:
    """Merges nothing: every row under a key of its own."""
    result = {} if known is None else known
    for row in rows:
        result[f"{row['cell']}{len(result)}"] = row
    return result


_TO_PARQUET = store_module._to_parquet


@pytest.mark.parametrize(
    ("place", "name", "broken", "error"),
    [
        (store_module, "Journal", LosesRows, AssertionError),
        (Store, "finished", _forgetful, AssertionError),
        (store_module, "_to_parquet", _without_the_last, RuntimeError),
        (store_module, "_merged", _all_rows, RuntimeError),
    ],
)
def test_a_store_that_loses_or_doubles_rows_is_caught(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: Any,
    name: str,
    broken: Any,
    error: type[Exception],
) -> None:
    monkeypatch.setattr(place, name, broken)
    with pytest.raises(error):
        interrupted_and_gone_on_with(tmp_path / "s", tmp_path / "log")


def test_rows_read_twice_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "Journal", ReadsTwice)
    interrupted_and_gone_on_with(tmp_path / "s", tmp_path / "log")


def kill_self_once(cell: Cell, *, mark: Path) -> Row:
    """The first worker here dies by SIGKILL, as one that runs out of memory does."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return quick(cell)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def kill_self(cell: Cell) -> Row:
    os.kill(os.getpid(), signal.SIGKILL)
    return quick(cell)


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    summary = run_sweep(
        SMALL, tmp_path / "s", jobs=2, measure=partial(kill_self_once, mark=tmp_path / "mark")
    )
    assert (summary.cells, summary.failed) == (12, 0)
    assert len(ids_in(summary.table)) == 12


@pytest.mark.slow
def test_workers_that_always_die_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(WorkersLostError, match="out of memory"):
        run_sweep(SMALL, tmp_path / "s", jobs=2, measure=kill_self)


def test_workers_end_with_a_sweep_that_is_killed(tmp_path: Path) -> None:
    # One worker is in a cell without an end, the other waits for a cell that nobody will send.
    folder = tmp_path / "s"
    process = start_sweep(folder, tmp_path / "log", 2, endless=SMALL.cells()[0].id)
    wait_until(lambda: rows_on_disk(folder) == 11, process)
    process.send_signal(signal.SIGKILL)
    # Workers hold its output open.
    process.communicate(timeout=60)


_INTERRUPTED = """
import os
import signal
from functools import partial
from threading import Event, Timer
from support.sweep_cases import SMALL, quick
from osdn_theory.sweep.local import local_rows
from osdn_theory.sweep.work import row_of

signal.signal(signal.SIGINT, signal.default_int_handler)
for end in range(40):
    rows = local_rows(SMALL.cells(), partial(row_of, measure=quick), jobs=2)
    try:
        Timer(0.01 * end, os.kill, (os.getpid(), signal.SIGINT)).start()
        for row in rows:
            pass
        Event().wait()
    except KeyboardInterrupt:
        pass
"""


@pytest.mark.slow
def test_pools_that_are_interrupted_while_they_start_and_work_leave_nothing_to_be_told_of() -> None:
    tests = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED],
        env={**os.environ, "PYTHONPATH": tests},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_sweep_that_ends_early_waits_for_no_cell(tmp_path: Path) -> None:
    cells = SMALL.cells()
    endless = partial(row_of, measure=partial(logged, log=tmp_path / "log", endless=cells[0].id))
    rows = local.local_rows(cells, endless, 2)
    next(rows)
    started = time.monotonic()
    rows.close()
    assert time.monotonic() - started < 60


@contextmanager
def ctrl_c_given_to(handler: Callable[..., Any] | int) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt_within(reached: list[str]) -> None:
    with local._ctrl_c_afterwards():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        reached.append("its end")


def test_ctrl_c_comes_after_what_must_not_be_left_half_done() -> None:
    # Another thread takes the signal at once: this one's mask alone would not hold it back.
    other, reached = Event(), []
    thread = Thread(target=other.wait)
    thread.start()
    try:
        with ctrl_c_given_to(signal.default_int_handler):
            with pytest.raises(KeyboardInterrupt):
                interrupt_within(reached)
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        other.set()
        thread.join()
    assert reached == ["its end"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_ctrl_c_that_is_ignored_stays_ignored_and_threads_are_left_alone() -> None:
    reached: list[str] = []
    with ctrl_c_given_to(signal.SIG_IGN):
        interrupt_within(reached)
        thread = Thread(target=interrupt_within, args=(reached,))
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert reached == ["its end"] * 2


def test_rows_that_are_done_come_before_the_news_that_the_pool_broke(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[Future[Row]] = [Future() for _ in range(3)]
    done[0].set_exception(BrokenProcessPool())
    done[1].set_exception(BrokenProcessPool())
    done[2].set_result({"cell": "the last"})
    handed = iter([*done, Future[Row]()])
    monkeypatch.setattr(loky.ProcessPoolExecutor, "submit", lambda *_: next(handed))
    rows = local._pool_rows(SMALL.cells(), quick, 2)
    assert next(rows) == {"cell": "the last"}
    with pytest.raises(BrokenProcessPool):
        next(rows)


def test_an_orphaned_worker_takes_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    class Left(Exception):
        pass

    def leave(code: int) -> None:
        raise Left

    monkeypatch.setattr(local.os, "_exit", leave)
    with pytest.raises(Left):
        local._in_pool(SMALL.cells()[0], quick, coordinator=-1)


def test_rows_of_a_worker_with_other_code_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "row_of", lambda cell, measure: {"cell": cell.id, "code": "0.0.9"})
    with pytest.raises(ValueError, match=r"a worker runs osdn 0.0.9, this is .* install the same version"):
        run_sweep(SMALL, tmp_path, measure=quick)


@pytest.mark.parametrize(
    ("grid", "jobs", "message"),
    [
        (Grid(key_dim=(4,)), 1, "interpolating, K = 4: key_dim: expected at least 5"),
        (Grid(length=(10**12,)), 1, "this machine has"),
        (Grid(), 0, "jobs: expected at least 1, got 0"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(
    tmp_path: Path, grid: Grid, jobs: int, message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        run_sweep(grid, tmp_path / "s", jobs=jobs)
    assert message in str(caught.value)
    assert not (tmp_path / "s").exists()


def test_a_missing_package_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(OSError, match=r"pyarrow is not installed: pip install -e '.\[sweep\]'"):
        run_sweep(SMALL, tmp_path / "s")
    assert not (tmp_path / "s").exists()
