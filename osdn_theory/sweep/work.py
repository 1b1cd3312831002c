"""One cell in, one row out, whatever happens: what every kind of worker runs."""

from collections.abc import Callable, Generator
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from osdn_theory.base.threads import single_threaded_blas
from osdn_theory.sweep.grid import Cell
from osdn_theory.sweep.version import code_version

Row = dict[str, Any]
Measure = Callable[[Cell], Row]
Work = Callable[[Cell], Row]
Rows = Generator[Row, None, None]


def row_of(cell: Cell, *, measure: Measure) -> Row:
    """The whole row of a cell: identity, parameters, measures or the error, and the code that computed it."""
    try:
        measured = measure(cell)
    except Exception as error:
        return make_failed_row(cell, f"{type(error).__name__}: {' '.join(str(error).split())}")
    return {"cell": cell.id, **asdict(cell), **measured, "error": None, "code": code_version()}


def make_failed_row(cell: Cell, reason: str) -> Row:
    """The row of a cell that has no measures, and why."""
    return {"cell": cell.id, **asdict(cell), "error": reason, "code": code_version()}


@lru_cache(maxsize=1)
def settle_worker() -> None:
    """One BLAS thread for the rest of this process: a limit that ends with a call would end under other threads."""
    limit = single_threaded_blas()
    limit.__enter__()
    _KEPT.append(limit)


_KEPT: list[Any] = []
