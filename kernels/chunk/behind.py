"""Systems and memory of one long sequence behind its chain of d: each chunk's as soon as what it needs is there.

A chain has few programs where there are few sequences, and leaves most of a GPU idle, as the memory then does. So the
systems of chunks are found while the chain is at work, and the memory goes on while these are found. Whether a chunk
clips only the device finds out. Where a chain ends for that, what runs behind it ends too; sweeps then find the d of
all chunks, and system and memory are done again. Each chunk does what it does otherwise: results are the same to the
bit.
"""

from collections.abc import Callable

from torch import Tensor

from ..launch.following import is_large, new_signals
from ..launch.recurrence import Inputs
from ..launch.runtime import INTERPRETED, tile
from ..launch.sequences import Chunks
from ..scan.calls import Gains, ScanCall
from ..scan.chain import new_origin
from ..scan.forward import run_chains, sweep_on, waits_pay
from ..scan.sweeps.forward import sweeps_pay
from .state import MOST_BESIDE

LONG = 1024
"""Chunks of a sequence from which on this pays: shorter ones take the GPU less time than launching them takes."""

WIDEST = 128
"""Features of keys and values at most, in 16 bits, so that a multiprocessor has room for a program of the memory."""


def leaves_room(inputs: Inputs, chunks: Chunks) -> bool:
    """Whether a call is long, with so few programs that there is room beside them."""
    value_heads, value_dim = inputs.v.shape[2:]
    few = chunks.sequences * value_heads <= MOST_BESIDE // 2
    narrow = max(tile(inputs.k.shape[3]), tile(value_dim)) <= WIDEST
    long = not chunks.packed and chunks.per_sequence >= LONG
    fits = inputs.v.element_size() == 2 and is_large(inputs.v.device)
    return long and few and narrow and (INTERPRETED or fits)


def go_behind(
    scan: ScanCall, gains: Gains, start: Tensor | None, solve: Callable[..., object], read: Callable[..., object],
    chunks: Chunks,
) -> Gains:  # fmt: skip
    """Launch the chain of d, which fills `gains`, and what finds the systems and what reads behind it."""
    stops = sweeps_pay(scan.rule)
    origin = new_origin(scan.k, chunks) if stops else None
    given = (chunks, scan.k.shape[2], scan.k.device)
    signals, waits = new_signals(*given), waits_pay(*given)

    def follow() -> None:
        # Whoever waits is there first, and leaves room; in the interpreter a launch ends before the next begins.
        for launch in (solve, read) if INTERPRETED else (read, solve):
            launch(signals=signals)

    run_chains(scan, gains, start, None, origin, signals, chunks, follow, waits=waits, reports=True)
    if stops:
        gains = sweep_on(scan, gains, start, origin, signals.busy, chunks)
    solve(again=signals.busy)
    read(again=signals.busy)
    return gains
