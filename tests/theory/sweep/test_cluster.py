"""The same sweep on a Dask cluster of two worker processes, one of which is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from distributed import CancelledError, KilledWorker
from support.sweep_cases import SMALL, Row, audit, executions, quick
from support.sweep_folders import rows_on_disk, start_sweep, table_of, wait_until

from osdn_theory.sweep import cluster
from osdn_theory.sweep.grid import Grid
from osdn_theory.sweep.run import run_sweep


class Cluster(NamedTuple):
    """A scheduler and its workers, each a process."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


def start(module: str, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    tests = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{module}", "--scheduler-file", "scheduler.json", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": tests},
    )


def start_cluster(folder: Path, workers: int) -> Cluster:
    scheduler = start("dask_scheduler", folder, "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    file = folder / "scheduler.json"
    wait_until(lambda: file.exists() and file.stat().st_size > 0)
    address: str = json.loads(file.read_text())["address"]
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]
    return Cluster(address, scheduler, [start("dask_worker", folder, *options) for _ in range(workers)])


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[Cluster]:
    running = start_cluster(tmp_path, workers=2)
    yield running
    for process in (*running.workers, running.scheduler):
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_killed_worker_changes_no_row(tmp_path: Path, two_workers: Cluster) -> None:
    folder, log = tmp_path / "s", tmp_path / "log"
    process = start_sweep(folder, log, 1, two_workers.address)
    wait_until(lambda: rows_on_disk(folder) >= 2, process)
    two_workers.workers[0].send_signal(signal.SIGKILL)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert output == errors == ""
    assert two_workers.workers[0].wait() == -signal.SIGKILL
    assert two_workers.workers[1].poll() is None
    # Dask repeats what the dead worker had begun, and its results that were still on their way.
    audit(SMALL, folder, log, in_flight=4)
    run_sweep(SMALL, tmp_path / "fresh", measure=quick)
    assert table_of(folder) == table_of(tmp_path / "fresh")

    # The real measurement on more cells than are handed out at once: the cluster against this process, and a sweep
    # that is gone on with elsewhere.
    grid = Grid(
        key_dim=(8,), length=(24,), seed=tuple(range(6)), eta=(0.5,), precision=("float64", "bfloat16")
    )
    part = Grid(key_dim=(8,), length=(24,), seed=(0,), eta=(0.5,))
    run_sweep(part, tmp_path / "real", scheduler=two_workers.address)
    assert run_sweep(grid, tmp_path / "real", scheduler=two_workers.address).kept == 2
    run_sweep(grid, tmp_path / "here")
    assert table_of(tmp_path / "real") == table_of(tmp_path / "here")
    assert run_sweep(grid, tmp_path / "real", scheduler="tcp://nobody:1").computed == 0


@pytest.mark.slow
def test_a_killed_coordinator_is_gone_on_with(tmp_path: Path, two_workers: Cluster) -> None:
    folder, log = tmp_path / "s", tmp_path / "log"
    process = start_sweep(folder, log, 1, two_workers.address)
    wait_until(lambda: rows_on_disk(folder) >= 3, process)
    process.kill()
    process.communicate(timeout=60)
    saved = rows_on_disk(folder)
    process = start_sweep(folder, log, 1, two_workers.address)
    assert process.communicate(timeout=120) == ("", "")
    audit(SMALL, folder, log, in_flight=6)
    assert sum(count == 1 for count in executions(log).values()) >= saved


def test_a_lost_scheduler_is_one_line(tmp_path: Path, two_workers: Cluster) -> None:
    folder = tmp_path / "s"
    process = start_sweep(folder, tmp_path / "log", 1, two_workers.address)
    wait_until(lambda: rows_on_disk(folder) >= 1, process)
    two_workers.scheduler.kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == (
        f"OSError: lost the Dask scheduler at {two_workers.address}; finished cells are saved"
    )


def test_nobody_to_ask_is_said_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    monkeypatch.setattr(cluster, "WORKERS_S", 0.5)
    with pytest.raises(OSError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:1' within 0.5 s"):
        run_sweep(SMALL, tmp_path / "s", scheduler="tcp://127.0.0.1:1")
    with pytest.raises(ValueError, match=r"expected an address such as tcp://host:8786, got 'nobody'"):
        run_sweep(SMALL, tmp_path / "s", scheduler="nobody")
    idle = start_cluster(tmp_path, workers=0)
    try:
        with pytest.raises(OSError, match=r"has no workers after 0.5 s"):
            run_sweep(SMALL, tmp_path / "s", scheduler=idle.address)
    finally:
        idle.scheduler.kill()
        idle.scheduler.wait()


class Broken:
    """A future whose result raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self) -> Row:
        raise self.error


def test_a_cell_that_kills_its_workers_is_a_row_and_a_worker_without_osdn_an_error() -> None:
    cell = SMALL.cells()[0]
    row = cluster._row(Broken(KilledWorker("task", None, 3)), cell, "tcp://x:1")
    assert row["cell"] == cell.id
    assert row["error"] == "KilledWorker: 4 workers died while they ran it (out of memory?)"
    with pytest.raises(
        OSError, match="the workers of tcp://x:1 cannot run osdn: ModuleNotFoundError: No module"
    ):
        cluster._row(Broken(ModuleNotFoundError("No module named 'osdn_theory'")), cell, "tcp://x:1")
    with pytest.raises(OSError, match="lost the Dask scheduler at tcp://x:1"):
        cluster._row(Broken(CancelledError("task")), cell, "tcp://x:1")
