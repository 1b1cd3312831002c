"""Sweeps as processes, and what their folders hold meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from support import sweep_cases


def table_of(folder: Path) -> bytes:
    return (folder / "sweep.parquet").read_bytes()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    for _ in range(1200):
        if condition():
            return
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("waited a minute in vain")


def rows_on_disk(folder: Path) -> int:
    path = folder / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def start_sweep(
    folder: Path, log: Path, jobs: int, scheduler: str = "", endless: str = ""
) -> subprocess.Popen[str]:
    """`sweep_cases` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, sweep_cases.__file__, str(folder), str(log), str(jobs), scheduler, endless],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
