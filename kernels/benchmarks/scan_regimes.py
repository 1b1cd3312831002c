"""Every regime of the scan and every form, kernel by kernel. ``python -m osdn_kernels.benchmarks.scan_regimes --help``

Every kernel runs in its first configuration that fits, or the one that is asked for, so that a run is short and
comparable; with ``--tuned`` in the one that its users get. Processes compile the regimes side by side first; nothing
else is on the GPU while one is timed.
"""

import json
import time
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import torch
import triton
import typer
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from ..launch.forced import forced, make_room
from ..launch.processes import pool_of
from ..launch.tuning import TUNED
from ..ops import chunk_osdn, chunk_osgdn, chunk_oskda, osdn_preconditioner
from . import names
from .measuring.machine import read_clock
from .operators.calls import recorded
from .operators.providers import Missing, installed

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
    "OS-GDN": FREE | {"form": "osgdn"},
    "OS-GDN, pinned": FREE | {"form": "osgdn", "d_min": 1.0, "d_max": 1.0},
    "OS-GDN, forgetting to 0": FREE | {"form": "osgdn", "gated": True},
    "OS-KDA": FREE | {"form": "oskda"},
    "d alone": FREE | {"form": "d"},
    "d alone, forgetting to 0": FREE | {"form": "d", "gated": True},
}

FORMS: dict[str, Any] = {
    "osdn": chunk_osdn,
    "osgdn": chunk_osgdn,
    "oskda": chunk_oskda,
    # The scan without a memory: how long its chain takes where nothing runs beside it.
    "d": osdn_preconditioner,
}


def draw(
    regime: str,
    batch: int,
    length: int,
    heads: int,
    dim: int,
    *,
    grad: bool,
    device: str = "cuda",
    **more: Any,
) -> tuple[Any, Any]:
    """A call of an operator that gives the last of its results or, alone, o; and what differentiates it."""
    options = dict(BOXES[regime])
    form = options.pop("form", "osdn")
    rng = torch.Generator(device).manual_seed(0)
    tokens = (batch, length, heads)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=rng, device=device)

    half = torch.bfloat16
    given: dict[str, Any] = {
        "q": normalize(normal(*tokens, dim), dim=-1).to(half), "k": normalize(normal(*tokens, dim), dim=-1).to(half),
        "v": normal(*tokens, dim).to(half), "beta": normal(*tokens).sigmoid().to(half),
    }  # fmt: skip
    if options.pop("gated", False):
        given["g_d" if form in ("osgdn", "oskda") else "g"] = logsigmoid(6.9 + normal(*tokens))
    if form == "osgdn":
        given["g"] = logsigmoid(6.9 + normal(*tokens))
    if form == "oskda":
        given["g"] = logsigmoid(4.0 + normal(*tokens, dim))
    start = options.pop("start", (0.8, 1.2))
    share = torch.rand(batch, heads, dim, generator=rng, device=device)
    if start == "faces":
        share, start = share.round(), (FREE["d_min"], FREE["d_max"])
    d = start[0] + (start[1] - start[0]) * share
    given["initial_preconditioner"] = d.clamp(options["d_min"], options["d_max"])
    if options["d_min"] == options["d_max"]:
        del given["initial_preconditioner"]
    if form == "d":
        del given["q"], given["v"], given["beta"]
    change = normal(*tokens, dim).to(half)
    if grad:
        given = {name: x.requires_grad_() for name, x in given.items()}

    def call() -> Any:
        results = FORMS[form](**given, **options, **more, check_values=False)
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


def peers(batch: int, length: int, heads: int, dim: int, device: str = "cuda") -> dict[str, tuple[Any, Any]]:
    """Others' operators that are installed, on such inputs, and what differentiates them."""
    named = {
        names.DELTA: ("fla.ops.delta_rule", "chunk_delta_rule"),
        names.GATED_DELTA: ("fla.ops.gated_delta_rule", "chunk_gated_delta_rule"),
        names.KDA: ("fla.ops.kda", "chunk_kda"),
        names.FLASH_QLA: ("flash_qla", "chunk_gated_delta_rule"),
    }
    found = {}
    for name, where in named.items():
        with suppress(Missing):
            found[name] = installed(*where)()
    rng = torch.Generator(device).manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=rng, device=device)

    tokens = (batch, length, heads)
    q, k, v = (normalize(normal(*tokens, dim), dim=-1).bfloat16().requires_grad_() for _ in range(3))
    beta, change = normal(*tokens).sigmoid().bfloat16().requires_grad_(), normal(*tokens, dim).bfloat16()
    weak, features = logsigmoid(6.9 + normal(*tokens)), logsigmoid(4.0 + normal(*tokens, dim))
    gates = {names.DELTA: (), names.KDA: (features,)}

    def calling(name: str) -> Any:
        return lambda: found[name](q, k, v, *gates.get(name, (weak,)), beta)[0]

    def differentiated(call: Any) -> Any:
        return lambda: torch.autograd.grad(call(), [q, k, v, beta], change)

    return {name: (calling(name), differentiated(calling(name))) for name in found}


def measure(
    call: Any, both: Any | None, rep: int, *, profiled: bool, timeline: bool = False
) -> dict[str, Any]:
    """Milliseconds, and microseconds by kernel, of a forward pass and of both."""
    with torch.no_grad():
        call()
        row: dict[str, Any] = {"forward": milliseconds(call, rep)}
        if profiled:
            row["kernels"] = profile(call)
        if timeline:
            row |= watch(recorded(call), row["forward"])
    if both is not None:
        both()
        row["both"] = milliseconds(both, rep)
        if profiled:
            row["kernels of both"] = profile(both)
    return row


def refuses(both: Any) -> bool:
    """Whether a peer's backward pass will not run, as that of fla's Gated DeltaNet on some versions of Triton."""
    try:
        both()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return True
    return False


def compile_one(
    regime: str, shape: str, heads: int, dim: int, choice: dict[str, int], *, backward: bool, tuned: bool
) -> dict[str, int]:
    """Compile a regime's kernels, and say which configurations have room, where not those of users are taken."""
    call, both = draw(regime, *sizes_of(shape), heads, dim, grad=backward)
    found: dict[str, int] = {}
    with nullcontext() if backward else torch.no_grad():
        if tuned:
            (both or call)()
        else:
            found, _, _ = make_room(both or call, choice)
    torch.cuda.synchronize()
    del call, both
    torch.cuda.empty_cache()  # others compile beside this process
    return found


def sizes_of(shape: str) -> tuple[int, int]:
    """Batch rows and tokens of `BxT`."""
    batch, length = map(int, shape.split("x"))
    return batch, length


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


def watch(again: Any, milliseconds: float) -> dict[str, Any]:
    """What goes on while a graph is replayed, by a call that takes so long."""
    return {"timeline": replay(again), "clock": clock_of(again, milliseconds)}


def replay(again: Any) -> list[tuple[str, float, float]]:
    """When the kernels of a graph begin and end in a replay: `spans`."""
    again()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as found:
        again()
        torch.cuda.synchronize()
    return spans(found.events())


def clock_of(again: Any, milliseconds: float, seconds: float = 2.0) -> tuple[float, float] | None:
    """MHz and watts while a graph is replayed; None where the replays had ended before anybody said."""
    for _ in range(1 + int(1e3 * seconds / milliseconds)):
        again()
    ended = torch.cuda.Event()
    ended.record()
    found = read_clock()
    told = None if ended.query() else found
    torch.cuda.synchronize()
    return told


def spans(events: Iterable[Any]) -> list[tuple[str, float, float]]:
    """Kernels as they begin, with when they do and when they end, in microseconds from the first one's beginning."""
    ran = sorted(
        (event.time_range.start, event.time_range.end, event.name)
        for event in events
        if event.device_type.name == "CUDA"
    )
    return [(name[:40], round(begin - ran[0][0], 1), round(end - ran[0][0], 1)) for begin, end, name in ran]


def run(
    shapes: Annotated[str, typer.Option(help="BxT, separated by commas.")] = "16x4096",
    regimes: Annotated[str, typer.Option(help="Names, separated by semicolons.")] = ";".join(BOXES),
    choose: Annotated[
        str, typer.Option(help="Places in a kernel's list of configurations: pair_kernel=3,fold_kernel=1.")
    ] = "",
    heads: int = 16,
    dim: int = 128,
    rep: int = 40,
    backward: bool = True,
    profiled: bool = True,
    timeline: Annotated[
        bool,
        typer.Option(
            help="When each kernel of a forward pass begins and ends in a replay of its graph, and the clock and power "
            "that the GPU goes at meanwhile."
        ),
    ] = False,
    tuned: Annotated[
        bool, typer.Option(help="Configurations as users get them, not the first ones.")
    ] = False,
    workers: int = 8,
    out: Path | None = None,
) -> None:
    """Milliseconds of forward, and of forward and backward, by regime."""
    wanted = read_regimes(regimes)
    asked = dict(read_place(each) for each in choose.split(",") if each)
    if tuned and asked:
        raise typer.BadParameter("--choose: expected nothing with --tuned")
    started = time.monotonic()
    with pool_of(workers, "cuda") as pool:
        compiling = {
            (shape, name): pool.submit(
                compile_one, name, shape, heads, dim, asked, backward=backward, tuned=tuned
            )
            for shape, name in product(shapes.split(","), wanted)
        }
        chosen = {place: each.result() for place, each in compiling.items()}
    print(f"compiled in {time.monotonic() - started:.0f} s on {torch.cuda.get_device_name()}", flush=True)
    rows: list[dict[str, Any]] = []
    for shape in shapes.split(","):
        sizes = (*sizes_of(shape), heads, dim)
        for name, (call, both) in peers(*sizes).items():
            if not backward or refuses(both):
                both = None
            row = measure(call, both, rep, profiled=profiled)
            keep({"shape": shape, "regime": name, **row}, rows, out)
        for name in wanted:
            choice = chosen[shape, name]
            with nullcontext() if tuned else forced(choice):
                call, both = draw(name, *sizes, grad=backward)
                row = measure(call, both, rep, profiled=profiled, timeline=timeline)
                del call, both
                if BOXES[name].get("form") is None:
                    row["paths"] = paths(name, *sizes)
            keep({"shape": shape, "regime": name, "chosen": choice, **row}, rows, out)


def read_regimes(text: str) -> list[str]:
    """Names of regimes, separated by semicolons."""
    wanted = text.split(";")
    for name in wanted:
        if name not in BOXES:
            raise typer.BadParameter(f"--regimes: expected some of {', '.join(BOXES)}, got {name!r}")
    return wanted


def read_place(text: str) -> tuple[str, int]:
    """`kernel=index`, an index into the kernel's list of configurations."""
    name, _, index = text.partition("=")
    if name not in TUNED:
        raise typer.BadParameter(f"--choose: expected a kernel of {', '.join(TUNED)}, got {name!r}")
    last = len(TUNED[name].configs) - 1
    if not index.isdecimal() or int(index) > last:
        raise typer.BadParameter(f"--choose: expected 0 to {last} for {name}, got {index!r}")
    return name, int(index)


def keep(row: dict[str, Any], rows: list[dict[str, Any]], out: Path | None) -> None:
    """Print a row, and write all so far."""
    rows.append(row)
    times = f"{row['forward']:.3f} {row.get('both', 0):.3f}"
    print(f"{row['shape']:8} {row['regime']:24} {times} {row.get('paths', '')}", flush=True)
    for kind in ("kernels", "kernels of both"):
        if kind in row:
            print("    ", dict(list(row[kind].items())[:14]), flush=True)
    for name, begin, end in row.get("timeline", ()):
        print(f"     {begin:9.1f} {end:9.1f}  {name}", flush=True)
    if row.get("clock"):
        print("     {:.0f} MHz, {:.0f} W".format(*row["clock"]), flush=True)
    if out is not None:
        out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    typer.run(run)
