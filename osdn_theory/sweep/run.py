"""Run a sweep: what is not yet in the folder is computed, cell by cell, and saved the moment it is done."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from osdn_theory.base.brief import show_briefly
from osdn_theory.sweep.grid import Cell, Grid
from osdn_theory.sweep.local import local_rows
from osdn_theory.sweep.measure import measure as measure_cell, tokens
from osdn_theory.sweep.packages import need
from osdn_theory.sweep.store import Store, open_store
from osdn_theory.sweep.version import code_version
from osdn_theory.sweep.work import Measure, Rows, row_of


@dataclass(frozen=True)
class Progress:
    """How far a sweep is: cells, and their weights, which are about proportional to their times."""

    done: int
    total: int
    weight_done: float
    weight_total: float


@show_briefly
@dataclass(frozen=True)
class SweepSummary:
    """What one call of :func:`run_sweep` did.

    - `cells`, `computed`, `kept`, `failed`: Of the grid; those computed now; those finished before; those without a
      result.
    - `errors`: The distinct reasons of the failures.
    - `warnings`: About the folder.
    - `code`: Version that computed.
    """

    cells: int
    computed: int
    kept: int
    failed: int
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    table: str
    code: str
    elapsed_s: float


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep would do: cells of the grid, those that are finished, and about how long the rest takes."""

    cells: int
    finished: int
    to_compute: int
    jobs: int
    estimate_s: float


def run_sweep(
    grid: Grid,
    folder: Path | str,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    measure: Measure = measure_cell,
    mix_versions: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> SweepSummary:
    """Compute every cell of a grid that the folder lacks, and leave one table of all its rows.

    Rows depend on the cells alone: neither the number of jobs nor the scheduler changes a bit of them, on machines
    of one kind. A cell that raises becomes a row with an error, and is tried again by the next call.

    - `grid`: May differ from that of earlier calls: their rows are kept.
    - `folder`: Made if it is missing.
    - `jobs`, int >= 1: Processes on this machine; each with one BLAS thread.
    - `scheduler`: Address of a Dask scheduler, "tcp://host:8786"; its workers then compute, and `jobs` is not read.
    - `measure`, callable (cell) -> row, optional: What is computed of a cell.
    - `mix_versions`: Go on in a folder whose rows come from other code.
    - `progress`, callable (Progress), optional

    Raises ValueError: jobs < 1, sizes that a stream cannot have or no memory can hold, or a folder of another version
    or format.
    Raises OSError: a folder or disk that cannot be written, a scheduler that does not answer, a missing package.
    Raises WorkersLostError: if worker processes die again and again.
    """
    if jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {jobs}")
    need("pyarrow", "sweep")
    started = time.perf_counter()
    cells, code = grid.cells(), code_version()
    _check_sizes(cells, None if scheduler else jobs)
    with open_store(Path(folder), code=code, mix_versions=mix_versions) as store:
        waiting = find_unfinished(cells, store)
        with store.writing(), closing(_rows(waiting, measure, jobs, scheduler)) as rows:
            _collect(rows, store, code, waiting, len(cells), progress)
        table = store.compact(cell.id for cell in cells)
        errors = [row["error"] for cell in cells if (row := store.row(cell.id)) and row["error"] is not None]
    return SweepSummary(
        cells=len(cells),
        computed=len(waiting),
        kept=len(cells) - len(waiting),
        failed=len(errors),
        errors=tuple(dict.fromkeys(errors)),
        warnings=tuple(store.warnings),
        table=str(table),
        code=code,
        elapsed_s=time.perf_counter() - started,
    )


def plan_sweep(grid: Grid, folder: Path | str, *, jobs: int = 1, mix_versions: bool = False) -> SweepPlan:
    """What :func:`run_sweep` would do; nothing is written.

    The estimate times one of the lightest cells and scales by weight: right within a factor of two or so.

    Raises ValueError, OSError: as :func:`run_sweep`.
    """
    cells = waiting = grid.cells()
    _check_sizes(cells, jobs)
    if Path(folder).is_dir():
        need("pyarrow", "sweep")
        with open_store(Path(folder), code=code_version(), mix_versions=mix_versions) as store:
            waiting = find_unfinished(cells, store)
    return SweepPlan(
        cells=len(cells),
        finished=len(cells) - len(waiting),
        to_compute=len(waiting),
        jobs=jobs,
        estimate_s=_estimate(waiting) / jobs,
    )


def find_unfinished(cells: Sequence[Cell], store: Store) -> list[Cell]:
    """The cells without a result in the store, heaviest first: none of those is left for the end."""
    finished = store.finished()
    return sorted((cell for cell in cells if cell.id not in finished), key=lambda cell: -cell.weight)


def _check_sizes(cells: Sequence[Cell], jobs: int | None) -> None:
    """Refuse before any work what cannot work: the memory of `jobs` cells, and sizes that a stream does not come in."""
    largest = max(cells, key=lambda cell: cell.bytes)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if jobs is not None and largest.bytes * jobs > memory:
        raise ValueError(
            f"a cell with K = {largest.key_dim}, V = {largest.value_dim}, T = {largest.length} takes about "
            f"{largest.bytes / 2**30:.3g} GiB, {jobs} at a time; this machine has {memory / 2**30:.3g}"
        )
    # The streams know their smallest sizes, and one token is enough to ask.
    for cell in dict.fromkeys(
        replace(
            cell,
            length=1,
            eta=0.0,
            forgetting=1.0,
            anchor=None,
            d_min=0.0,
            d_max=1.0,
            seed=0,
            precision="float64",
        )
        for cell in cells
    ):
        try:
            tokens(cell)
        except ValueError as error:
            raise ValueError(f"{cell.stream}, K = {cell.key_dim}: {error}") from error


def _rows(cells: Sequence[Cell], measure: Measure, jobs: int, scheduler: str | None) -> Rows:
    work = partial(row_of, measure=measure)
    if scheduler is None:
        return local_rows(cells, work, min(jobs, max(len(cells), 1)))
    from osdn_theory.sweep.cluster import cluster_rows

    return cluster_rows(cells, work, scheduler)


def _collect(
    rows: Rows,
    store: Store,
    code: str,
    waiting: Sequence[Cell],
    total: int,
    progress: Callable[[Progress], None] | None,
) -> None:
    weights = {cell.id: cell.weight for cell in waiting}
    everything, before = sum(weights.values()), total - len(waiting)
    weight = 0.0
    for count, row in enumerate(rows, start=1):
        if row["code"] != code:
            raise ValueError(
                f"a worker runs osdn {row['code']}, this is {code}: install the same version there"
            )
        store.add(row)
        weight += weights[row["cell"]]
        if progress is not None:
            progress(Progress(before + count, total, weight, everything))


def _estimate(cells: Sequence[Cell]) -> float:
    if not cells:
        return 0.0
    lightest = min(cells, key=lambda cell: cell.weight)
    # The first call pays for imports and compilation.
    row_of(lightest, measure=measure_cell)
    started = time.perf_counter()
    row_of(lightest, measure=measure_cell)
    return (time.perf_counter() - started) * sum(cell.weight for cell in cells) / lightest.weight
