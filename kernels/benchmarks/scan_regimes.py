"""The calibrate scan in every regime, timed on a GPU. ``python -m osdn_kernels.benchmarks.scan_regimes --help``

Every kernel runs in its first configuration that fits: no tuning, so that a run is short and comparable. Processes
compile the regimes side by side first.
"""

import json
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import torch
import triton
import typer
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from ..launch.forced import forced
from ..ops import chunk_osdn

FREE = {"eta": 0.003, "d_min": 2 / 3, "d_max": 3 / 2}
BOXES: dict[str, dict[str, Any]] = {
    "nothing clips": FREE,
    "forgetting to 0": FREE | {"gated": True},
    "anchored": FREE | {"gated": True, "anchor": 1.0},
    "every chunk clips": FREE | {"d_min": 1.05, "start": (1.05, 1.05)},
    "whole box": FREE | {"start": (2 / 3, 3 / 2)},
    "half on their bound": FREE | {"start": "faces"},
    "pinned": FREE | {"d_min": 1.0, "d_max": 1.0},
    "eta 1, wide": FREE | {"eta": 1.0, "d_min": 0.0, "d_max": 1e9},
    "eta 1, wide, forgetting": FREE | {"eta": 1.0, "d_min": 0.0, "d_max": 1e9, "gated": True},
    "eta 1, forgetting": FREE | {"eta": 1.0, "gated": True},
}


def draw(
    regime: str, batch: int, length: int, heads: int, dim: int, *, grad: bool, **more: Any
) -> tuple[Any, Any]:
    """A call of `chunk_osdn` that gives the last of its results or, alone, o; and what differentiates it."""
    options = dict(BOXES[regime])
    rng = torch.Generator("cuda").manual_seed(0)
    tokens = (batch, length, heads)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=rng, device="cuda")

    half = torch.bfloat16
    given: dict[str, Any] = {
        "q": normalize(normal(*tokens, dim), dim=-1).to(half), "k": normalize(normal(*tokens, dim), dim=-1).to(half),
        "v": normal(*tokens, dim).to(half), "beta": normal(*tokens).sigmoid().to(half),
    }  # fmt: skip
    if options.pop("gated", False):
        given["g"] = logsigmoid(6.9 + normal(*tokens))
    start = options.pop("start", (0.8, 1.2))
    share = torch.rand(batch, heads, dim, generator=rng, device="cuda")
    if start == "faces":
        share, start = share.round(), (FREE["d_min"], FREE["d_max"])
    d = start[0] + (start[1] - start[0]) * share
    given["initial_preconditioner"] = d.clamp(options["d_min"], options["d_max"])
    if regime == "pinned":
        del given["initial_preconditioner"]
    change = normal(*tokens, dim).to(half)
    if grad:
        given = {name: x.requires_grad_() for name, x in given.items()}

    def call() -> Any:
        results = chunk_osdn(**given, **options, **more, check_values=False)
        return results[2 if more else 0]

    def both() -> None:
        torch.autograd.grad(call(), list(given.values()), change)

    return call, both if grad else None


def milliseconds(call: Any, rep: int) -> float:
    """Median of replays of a CUDA graph: what the device takes, however slowly the host launches."""
    return float(triton.testing.do_bench_cudagraph(call, rep=rep, return_mode="median"))


def paths(regime: str, batch: int, length: int, heads: int, dim: int) -> str:
    """Which way the scan went: share of chunks that clip, most sweeps, sequences and heads left open."""
    call, _ = draw(regime, batch, length, heads, dim, grad=False, return_trajectory=True)
    scan = call().scan
    if scan is None:
        return ""
    clipped, sweeps, left = scan.clipped.float().mean(), scan.sweeps.max(), scan.unsettled.sum()
    return f"chunks that clip {clipped:.2f}, sweeps {sweeps}, left open {left}"


def peers(batch: int, length: int, heads: int, dim: int, rep: int) -> dict[str, float]:
    """Forward milliseconds of flash-linear-attention's DeltaNets on the same inputs; empty without the package."""
    try:
        from fla.ops.delta_rule import chunk_delta_rule
        from fla.ops.gated_delta_rule import chunk_gated_delta_rule
    except ImportError:
        return {}
    rng = torch.Generator("cuda").manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=rng, device="cuda")

    tokens = (batch, length, heads)
    q, k, v = (normalize(normal(*tokens, dim), dim=-1).bfloat16() for _ in range(3))
    beta, g = normal(*tokens).sigmoid().bfloat16(), logsigmoid(6.9 + normal(*tokens))
    calls = {
        "fla DeltaNet": lambda: chunk_delta_rule(q, k, v, beta),
        "fla Gated DeltaNet": lambda: chunk_gated_delta_rule(q, k, v, g, beta),
    }
    with torch.no_grad():
        for call in calls.values():
            call()
        return {name: milliseconds(call, rep) for name, call in calls.items()}


def compile_one(regime: str, heads: int, dim: int) -> str:
    with suppress(Exception), forced({}):
        _, both = draw(regime, 1, 4096, heads, dim, grad=True)
        both()
        torch.cuda.synchronize()
    return regime


def profile(call: Any, calls: int = 3) -> dict[str, tuple[float, int]]:
    """Microseconds a call, and launches, by kernel."""
    call()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as found:
        for _ in range(calls):
            call()
        torch.cuda.synchronize()
    rows = [
        (row.key, row.self_device_time_total / calls, row.count // calls)
        for row in found.key_averages()
        if row.self_device_time_total > 0
    ]
    return {name[:40]: (round(time, 1), count) for name, time, count in sorted(rows, key=lambda row: -row[1])}


def run(
    shapes: Annotated[str, typer.Option(help="BxT, separated by commas.")] = "16x4096",
    regimes: Annotated[str, typer.Option(help="Names, separated by semicolons.")] = ";".join(BOXES),
    heads: int = 16,
    dim: int = 128,
    rep: int = 40,
    backward: bool = True,
    profiled: bool = True,
    workers: int = 8,
    out: Path | None = None,
) -> None:
    """Milliseconds of forward, and of forward and backward, by regime."""
    names = regimes.split(";")
    started = time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done in [pool.submit(compile_one, name, heads, dim) for name in names]:
            done.result()
    print(f"compiled in {time.monotonic() - started:.0f} s on {torch.cuda.get_device_name()}", flush=True)
    rows = []
    for shape in shapes.split(","):
        batch, length = map(int, shape.split("x"))
        for name, time_taken in peers(batch, length, heads, dim, rep).items():
            rows.append({"shape": shape, "regime": name, "forward": time_taken})
            print(f"{shape:8} {name:24} {time_taken:.3f}", flush=True)
        for name in names:
            with forced({}):
                call, _ = draw(name, batch, length, heads, dim, grad=False)
                row: dict[str, Any] = {"shape": shape, "regime": name, "forward": milliseconds(call, rep)}
                if profiled:
                    row["kernels"] = profile(call)
                if backward:
                    call, both = draw(name, batch, length, heads, dim, grad=True)
                    row["both"] = milliseconds(both, rep)
                    if profiled:
                        row["kernels of both"] = profile(both)
                del call
                row["paths"] = paths(name, batch, length, heads, dim)
            rows.append(row)
            times = f"{row['forward']:.3f} {row.get('both', 0):.3f}"
            print(f"{shape:8} {name:24} {times} {row['paths']}", flush=True)
            for kind in ("kernels", "kernels of both"):
                if kind in row:
                    print("    ", dict(list(row[kind].items())[:14]), flush=True)
            if out is not None:
                out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    typer.run(run)
