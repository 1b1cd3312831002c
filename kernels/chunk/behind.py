"""What one long sequence needs its chain of d for, behind it: each chunk's part as soon as that chunk's d is there.

A chain has few programs where there are few sequences, and leaves most of a GPU idle, as the memory then does. So the
systems of chunks are found while the chain is at work, and the memory goes on while these are found; where gates are
per feature these are summed beside the chain, and rows folded behind it. Whether a chunk clips only the device finds
out. Where a chain ends for that, what runs behind it ends too; sweeps then find the d of all chunks, and what ran
behind is done again. Each chunk does what it does otherwise: results are the same to the bit.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from ..launch.following import MOST_WAITING, is_large, new_signals
from ..launch.recurrence import Inputs
from ..launch.runtime import INTERPRETED, tile
from ..launch.sequences import Chunks
from ..scan.calls import Gains, ScanCall
from ..scan.chain import new_origin
from ..scan.forward import run_chains, sweep_on, waits_pay
from ..scan.sweeps.forward import sweeps_pay
from .state import MOST_BESIDE

LONG = 256
"""Chunks of a sequence from which on this pays: shorter ones take the GPU less time than launching them takes."""

VERY_LONG = 1024
"""Chunks of a sequence from which on the memory waits as well."""

WIDEST = 128
"""Features of keys and values at most, in 16 bits, so that a multiprocessor has room for a program of the memory."""


def count_behind(inputs: Inputs, chunks: Chunks) -> int:
    """How many of the launches that a call's chain is needed for go behind it: the first, which finds systems or, where
    gates are per feature, folds rows; the memory too, where it leaves room."""
    few = chunks.sequences * inputs.k.shape[2] <= MOST_WAITING
    if not (few and is_long(inputs, chunks, LONG)):
        return 0
    return 2 if not inputs.per_feature and leaves_room(inputs, chunks) else 1


def leaves_room(inputs: Inputs, chunks: Chunks) -> bool:
    """Whether a call is very long, with so few programs that there is room beside those of its memory."""
    value_heads, value_dim = inputs.v.shape[2:]
    few = chunks.sequences * value_heads <= MOST_BESIDE // 2
    narrow = max(tile(inputs.k.shape[3]), tile(value_dim)) <= WIDEST
    small = INTERPRETED or inputs.v.element_size() == 2
    return few and narrow and small and is_long(inputs, chunks, VERY_LONG)


def is_long(inputs: Inputs, chunks: Chunks, least: int) -> bool:
    """Whether sequences are of one length, of so many chunks, on a GPU where launches go beside each other."""
    there = INTERPRETED or is_large(inputs.v.device)
    return not chunks.packed and chunks.per_sequence >= least and there


def go_behind(
    scan: ScanCall, gains: Gains, start: Tensor | None, behind: Sequence[Callable[..., object]], chunks: Chunks,
    beside: Callable[..., object] | None = None,
) -> Gains:  # fmt: skip
    """Launch the chain of d, which fills `gains`, and what goes `behind` it, each of which waits for the one before;
    first what goes `beside` it."""
    stops = sweeps_pay(scan.rule)
    origin = new_origin(scan.k, chunks) if stops else None
    given = (chunks, scan.k.shape[2], scan.k.device)
    signals, waits = new_signals(*given), waits_pay(*given)
    # Nobody waits for the last of them.
    seen = signals if len(behind) > 1 else signals._replace(solved=None)

    def follow() -> None:
        if beside is not None:
            beside(signals=signals)
        # Whoever waits is there first, and leaves room; in the interpreter a launch ends before the next begins.
        for launch in behind if INTERPRETED else reversed(behind):
            launch(signals=seen)

    run_chains(scan, gains, start, None, origin, signals, chunks, follow, waits=waits, reports=True)
    if stops:
        gains = sweep_on(scan, gains, start, origin, signals.busy, chunks)
    for launch in behind:
        launch(again=signals.busy)
    return gains


def go_beside(
    solve: Callable[..., object], read: Callable[..., object], inputs: Inputs, chunks: Chunks
) -> None:
    """Launch what finds the systems, and beside it what reads, as soon as the first of them are there."""
    signals = new_signals(chunks, inputs.k.shape[2], inputs.k.device)._replace(progress=None)
    for launch in (solve, read) if INTERPRETED else (read, solve):
        launch(signals=signals)
    read(again=signals.busy)
