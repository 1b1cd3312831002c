"""One long sequence in pieces: what comes before the memory is a piece ahead of it, beside it.

The chains of d and of the memory have few programs where there is one sequence, and leave most of a GPU idle one after
the other. In pieces, cut where the memory's states are kept for the backward pass anyway (`stretches`), the next
pieces' d and systems are found while the memory goes through this one. Whether a chunk clips only the device
finds out. Where one does, what was begun ahead comes to nothing: sweeps find the d of the whole sequence, and the
system and the memory are done again, all at once. Each chunk does what it does otherwise: results are the same to the
bit.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..launch.conditions import unless, where
from ..launch.recurrence import Inputs
from ..launch.runtime import cdiv, single
from ..launch.sequences import Chunks
from ..launch.streams import Beside
from ..scan.forward import Gains, ScanCall, Stop, new_stop, operator_of, run_chain, sweep_on
from ..scan.sweeps.forward import sweeps_pay
from .decays import GateSums
from .state import launch_memory
from .stretches import CROWD, gates_of
from .write_keys import WriteKeys
from .wy import solve

LONG = 1024
"""Chunks of a sequence from which on pieces pay: before that, launching them takes the host longer than the whole takes
the GPU."""

PIECES = 3
"""At most: more leave the memory less to wait for, but take the host longer to launch than they take."""


def is_long(inputs: Inputs, chunks: Chunks) -> bool:
    """Whether a call is one long sequence of few heads."""
    alone = chunks.batch == 1 and not chunks.packed
    return alone and inputs.v.shape[2] <= CROWD and chunks.per_sequence >= LONG


class Ahead(NamedTuple):
    """A scan that is still to be done, and memory for its gains, and for what float32 leaves of d between pieces."""

    scan: ScanCall
    gains: Gains


def scans_ahead(scan: ScanCall) -> bool:
    """Whether a piece's d follow from those of the pieces before: sweeps go through the whole of a sequence."""
    return scan.g is None or not sweeps_pay(scan.rule)


def read_in_pieces(
    inputs: Inputs, keys: WriteKeys, gates: GateSums, cuts: Tensor, every: int, chunks: Chunks, scale: float,
    ahead: Ahead | None,
) -> tuple[Tensor, Tensor, Tensor, Gains | None]:  # fmt: skip
    """Outputs [1, T, H, V], final states [1, H, K, V] float32, rows of every chunk's (I + A)^-1 [1, T, H, C], and the
    gains of the scan that was still to be done."""
    q, k, v, beta = inputs[:4]
    o, inverse = torch.empty_like(v), k.new_empty(*beta.shape, chunks.size)
    # Of cuts those between pieces are where one ends, the others lie inside.
    inside = cdiv(chunks.per_sequence, every * PIECES)
    spans = [(span or slice(None), part) for span, part in chunks.cut_time(every * inside)]
    shape = (chunks.sequences, v.shape[2], k.shape[3], v.shape[3])
    entering = torch.zeros(shape, device=v.device) if inputs.initial_state is None else inputs.initial_state
    between = cuts[inside - 1 :: inside] if len(cuts) else single(v, len(spans) - 1, *shape)
    ends = [*between[: len(spans) - 1], single(v, *shape)]
    stop = new_stop(k, chunks) if ahead is not None and sweeps_pay(ahead.scan.rule) else Stop()
    condition = unless(stop.busy)
    start = inputs.initial_preconditioner
    if ahead is not None:
        operators, last = operator_of(ahead.scan, chunks), ahead.gains.final
        last.copy_(torch.ones_like(last) if start is None else start)
    with Beside(v.device, 0) as chain, Beside(v.device, 1) as memory:
        for at, (span, part) in enumerate(spans):
            before = at * every * inside
            slots = slice(before, before + part.slots)
            if ahead is not None:
                gains = ahead.gains.part(span, slots)
                with chain.here():
                    run_chain(
                        ahead.scan.part(span),
                        operators[slots],
                        gains,
                        gains.final,
                        gains.rest,
                        stop,
                        part,
                        before,
                    )
                chain.precede()
            part_gates, part_keys = gates_of(span, gates), keys.part(span, slots)
            rows = q[:, span], k[:, span], part_keys.out
            part_v, part_beta, system = v[:, span], beta[:, span], inverse[:, span]
            solve(rows[1], part_beta, part_gates, part_keys, part, inverse=system, condition=condition)
            memory.follow()
            with memory.here():
                launch_memory(
                    *rows, part_v, part_beta, system, part_gates, None, o[:, span], None,
                    cuts[at * inside : (at + 1) * inside - 1], None, entering, ends[at], part, scale, every,
                    condition=condition, beside=True,
                )  # fmt: skip
            entering = ends[at]
        done = None
        if ahead is not None:
            done = ahead.gains._replace(rest=None)
            if stop.busy is not None:
                done = sweep_on(ahead.scan, done, start, stop, chunks)
    if stop.busy is not None:
        again = where(stop.busy)
        solve(k, beta, gates, keys, chunks, inverse=inverse, condition=again)
        launch_memory(
            q, k, keys.out, v, beta, inverse, gates, None, o, None, cuts, None, inputs.initial_state, ends[-1],
            chunks, scale, every, condition=again,
        )  # fmt: skip
    return o, ends[-1], inverse, done
