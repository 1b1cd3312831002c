"""What the sweep tests share: a cheap measurement that logs every execution, and the audit of a finished folder."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

from osdn_theory.sweep.columns import MEASURES
from osdn_theory.sweep.grid import Cell, Grid
from osdn_theory.sweep.run import run_sweep

Row = dict[str, Any]

SMALL = Grid(stream=("interpolating", "ill_conditioned"), key_dim=(5, 8), length=(6,), seed=(0, 1, 2))
"""12 cells, about 10 ms each with the real measurement."""


def quick(cell: Cell) -> Row:
    """A row of the right shape that costs nothing and depends on the cell alone."""
    kinds = {"string": str(cell.seed), "int64": cell.seed, "double": cell.entropy / 2**128}
    return {column.name: kinds[column.kind] for column in MEASURES}


def logged(cell: Cell, *, log: Path, pause: float = 0.0, endless: str = "") -> Row:
    """:func:`quick`, and one line in `log` for every execution begun, whichever process it is in.

    The cell whose id is `endless` takes ten minutes, which no test waits for.
    """
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{cell.id}\n".encode())
    os.close(file)
    time.sleep(600 if cell.id == endless else pause)
    return quick(cell)


def executions(log: Path) -> Counter[str]:
    """How often each cell was begun."""
    return Counter(log.read_text().split())


def ids_in(table: Path | str) -> list[str]:
    ids: list[str] = parquet.read_table(table, columns=["cell"]).column("cell").to_pylist()
    return ids


def audit(grid: Grid, folder: Path, log: Path, in_flight: int = 0) -> None:
    """One row a cell, and nothing computed twice but what was in flight when the sweep was killed."""
    ids = [cell.id for cell in grid.cells()]
    assert sorted(ids_in(folder / "sweep.parquet")) == sorted(ids)
    begun = executions(log)
    assert set(begun) == set(ids)
    assert sum(begun.values()) <= len(ids) + in_flight


if __name__ == "__main__":
    # A sweep in a process of its own, for the tests to kill: folder, log, jobs, scheduler or "", endless cell or "".
    folder, log, jobs, scheduler, endless = sys.argv[1:]
    run_sweep(
        SMALL,
        folder,
        jobs=int(jobs),
        scheduler=scheduler or None,
        measure=partial(logged, log=Path(log), pause=0.2, endless=endless),
    )
