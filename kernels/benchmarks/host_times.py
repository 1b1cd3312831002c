"""What a call takes the host, with plans and without. ``python -m osdn_kernels.benchmarks.host_times --help``

For short sequences it is the host that a pass waits for. Beside its time: milliseconds as the host launches, and of
the forward pass by CUDA graph, which is what the device takes.
"""

import csv
import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import torch
import triton
import typer

from ..launch.planned import planning
from ..launch.processes import pool_of
from ..launch.runtime import INTERPRETED
from .measuring.measure import peak_bytes
from .scan_regimes import compile_one, draw, milliseconds, read_regimes, sizes_of

WATCHED = 4
"""Calls before any is timed: the first, those that plans are made of, and one by a plan."""

COLUMNS = (
    "shape", "heads", "regime", "passes", "plans", "host_microseconds", "launched_ms", "graph_ms", "peak_bytes",
)  # fmt: skip


def time_host(call: Any, calls: int) -> float:
    """Microseconds until a call returns, the median; each begins with nothing left to do for the device."""
    spent = []
    for _ in range(calls):
        if not INTERPRETED:
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return 1e6 * statistics.median(spent)


def measure(call: Any, calls: int, *, graph: bool) -> dict[str, Any]:
    """Times of a call, and the bytes that it takes beside what is there; of the host alone in the interpreter."""
    for _ in range(WATCHED):
        call()
    row: dict[str, Any] = {"host_microseconds": round(time_host(call, calls), 1)}
    if INTERPRETED:
        return row
    row["launched_ms"] = round(triton.testing.do_bench(call, rep=60, return_mode="median"), 4)
    if graph:
        row["graph_ms"] = round(milliseconds(call, 20), 4)
    row["peak_bytes"] = peak_bytes(call)
    return row


def run(
    shapes: Annotated[str, typer.Option(help="BxT, separated by commas.")] = "4x4096",
    regimes: Annotated[
        str, typer.Option(help="Names, separated by semicolons.")
    ] = "nothing clips;forgetting to 0;pinned;OS-GDN;OS-KDA;eta 1, wide, forgetting",
    heads: int = 8,
    dim: int = 128,
    calls: Annotated[int, typer.Option(min=1, help="Calls that are timed.")] = 30,
    workers: Annotated[int, typer.Option(min=1, help="Processes that compile first.")] = 8,
    out: Annotated[Path | None, typer.Option(help="Also write the rows to this file, as CSV.")] = None,
) -> None:
    """Microseconds of the host for a forward pass and for both, by regime, without plans and with them."""
    wanted = read_regimes(regimes)
    cells = [(shape, name, grad) for shape in shapes.split(",") for name in wanted for grad in (False, True)]
    if not INTERPRETED:
        with pool_of(workers, "cuda") as pool:
            jobs = [
                pool.submit(compile_one, name, shape, heads, dim, {}, backward=grad, tuned=True)
                for shape, name, grad in cells
            ]
            for job in jobs:
                job.result()
    rows = []
    for shape, name, grad in cells:
        device = "cpu" if INTERPRETED else "cuda"
        call, both = draw(name, *sizes_of(shape), heads, dim, grad=grad, device=device)
        for used in (False, True):
            with planning(used), nullcontext() if grad else torch.no_grad():
                found = measure(both if grad else call, calls, graph=not grad)
            cell = {"shape": shape, "heads": heads, "regime": name, "passes": "both" if grad else "forward"}
            rows.append({**cell, "plans": used, **found})
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        del call, both
    if out is not None:
        with out.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    typer.run(run)
