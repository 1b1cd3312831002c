"""Systems and memory of one long sequence behind its chain of d: each chunk's as soon as what it needs is there.

A chain has few programs where there are few sequences, and leaves most of a GPU idle, as the memory then does. So the
systems of chunks are found while the chain is at work, and the memory goes on while these are found. Whether a chunk
clips only the device finds out. Where a chain ends for that, what runs behind it ends too; sweeps then find the d of
all chunks, and system and memory are done again. Each chunk does what it does otherwise: results are the same to the
bit.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..launch.descriptors import is_hopper
from ..launch.following import Signals
from ..launch.recurrence import Inputs
from ..launch.runtime import INTERPRETED, cdiv, tile
from ..launch.sequences import Chunks
from ..scan.calls import Gains, ScanCall
from ..scan.chain import Flags, new_origin, run_chain
from ..scan.forward import operator_of, sweep_on
from ..scan.sweeps.forward import sweeps_pay
from .state import MOST_BESIDE

LONG = 1024
"""Chunks of a sequence from which on this pays: shorter ones take the GPU less time than launching them takes."""

WIDEST = 128
"""Features of keys and values at most, in 16 bits, so that a multiprocessor has room for a program of the memory."""

MULTIPROCESSORS = 100
"""At least, for the programs of a chain and of the memory, and for systems beside them: not on a part of a GPU."""


def leaves_room(inputs: Inputs, chunks: Chunks) -> bool:
    """Whether a call is long, with so few programs that there is room beside them."""
    value_heads, value_dim = inputs.v.shape[2:]
    few = chunks.sequences * value_heads <= MOST_BESIDE // 2
    narrow = max(tile(inputs.k.shape[3]), tile(value_dim)) <= WIDEST
    long = not chunks.packed and chunks.per_sequence >= LONG
    fits = inputs.v.element_size() == 2 and is_large(inputs.v.device)
    return long and few and narrow and (INTERPRETED or fits)


def is_large(device: torch.device) -> bool:
    """Whether a GPU is Hopper, where this was measured, and a whole one; another kind of device stands for one."""
    if not is_hopper(device):
        return False
    if device.type != "cuda":
        return True
    return torch.cuda.get_device_properties(device).multi_processor_count >= MULTIPROCESSORS


def new_signals(scan: ScanCall, chunks: Chunks) -> Signals:
    heads = scan.k.shape[2]
    # Multiples of four: kernels are compiled apart for tensors that do not begin at a multiple of 16 bytes.
    sizes = [4, cdiv(chunks.sequences * heads, 4) * 4, chunks.slots * heads]
    return Signals(*torch.zeros(sum(sizes), dtype=torch.int32, device=scan.k.device).split(sizes))


def go_behind(
    scan: ScanCall, gains: Gains, start: Tensor | None, solve: Callable[..., object], read: Callable[..., object],
    chunks: Chunks,
) -> Gains:  # fmt: skip
    """Launch the chain of d, which fills `gains`, and what finds the systems and what reads behind it."""
    signals, stops = new_signals(scan, chunks), sweeps_pay(scan.rule)
    flags = Flags(new_origin(scan.k, chunks) if stops else None, signals.busy, signals.progress)
    # Kept until all is launched, as the chain may read them until then (see `launch.following`).
    operators = operator_of(scan, chunks)
    run_chain(scan, operators, gains, start, None, flags, chunks)
    # Whoever waits is there first, and leaves room; in the interpreter a launch ends before the next begins.
    for launch in (solve, read) if INTERPRETED else (read, solve):
        launch(signals=signals)
    if stops:
        gains = sweep_on(scan, gains, start, flags, chunks)
    solve(again=signals.busy)
    read(again=signals.busy)
    return gains
