"""The calibrate scan: gains and chunk entries of d_{t+1} = clip[c + gamma_t (d_t - c) + u_t s_t] (T4, T11).

Each sequence and head is a chain of chunks. A chunk's gains come from its triangular operator and the d it enters with;
a certificate that no iterate leaves the box, decided on the device, accepts them, and a chunk without one is stepped
token by token. The result is that of the clipped recurrence in both cases.
"""

import functools

import torch
from torch import Tensor

from ..boundary.rule import Rule
from ..launch.following import MOST_WAITING, Signals, following, is_large, new_signals
from ..launch.runtime import INTERPRETED
from ..launch.sequences import Chunks
from .calls import Gains, ScanCall, new_gains, rule_numbers
from .chain import AGAIN, Launch, new_origin, run_chain
from .sequential import step_chunks
from .series import find_operators, new_operators
from .sweeps.forward import sweep, sweeps_pay

SWEPT = ("HAS_GATE", "HAS_ANCHOR", "HAS_INITIAL", "BETA_AWARE", "NORMALIZE", "SCALE_KEY", "KEEP", "PACKED")
"""Constants that the kernels of sweeps take as well."""


def has_chain(g: Tensor | None, rule: Rule) -> bool:
    """Whether calibrations go through chunks one after the other, rather than by sweeps from the first on.

    Forgetting forgets wrong entries too: sweeps then settle at once, and need no operator.
    """
    return g is None or not sweeps_pay(rule)


def waits_pay(chunks: Chunks, heads: int, device: torch.device) -> bool:
    """Whether chains are few enough to be at work while their operators are found beside them."""
    return not chunks.packed and chunks.sequences * heads <= MOST_WAITING and is_large(device)


def run_chains(
    scan: ScanCall, gains: Gains, initial: Tensor | None, initial_rest: Tensor | None, origin: Tensor | None,
    signals: Signals | None, chunks: Chunks, behind: Launch | None = None, *, waits: bool, reports: bool = False,
) -> None:  # fmt: skip
    """Launch chains of d and what finds their operators; then what goes `behind` them, to which chains may report.

    Those that `waits_pay` for wait for their operators, chunk by chunk, with `signals`. Should these not come in time,
    chains begin anew in the end.
    """
    # Kept until all is launched, as chains may read them until then (see `launch.following`).
    operators = new_operators(scan.k, chunks, has_terms=True)
    find = functools.partial(
        find_operators,
        scan.k,
        scan.g,
        scan.feedback,
        scan.rule,
        chunks,
        operators,
        signals=signals if waits else None,
        anchor=scan.anchor,
    )
    led = 2 if reports else int(waits or behind is not None)
    run = functools.partial(
        run_chain,
        scan,
        operators,
        gains,
        initial,
        initial_rest,
        origin,
        signals,
        chunks,
        led=led,
        waits=waits,
    )
    # Whoever waits is there first; in the interpreter a launch ends before the next begins.
    for launch in (run, find) if waits and not INTERPRETED else (find, run):
        launch()
    if behind is not None:
        behind()
    if waits:
        run(turn=AGAIN)


def sweep_on(
    scan: ScanCall,
    gains: Gains,
    initial: Tensor | None,
    origin: Tensor | None,
    busy: Tensor | None,
    chunks: Chunks,
) -> Gains:
    """Walk by sweeps what chains left, or all of it where there were none."""
    shrinks = None if scan.g is None else torch.expm1(scan.g.float())
    eta, _, d_min, d_max = rule_numbers(scan.rule)
    constants = scan.constants(chunks, initial)
    opened = sweep(
        scan.k, shrinks, scan.feedback, scan.anchor, initial, chunks, origin, busy,
        (gains.gain, *gains.entries, gains.clipped, gains.final, scan.out, scan.path), (eta, d_min, d_max),
        {name: constants[name] for name in SWEPT},
    )  # fmt: skip
    return gains._replace(opened=opened, written=origin is None)


def scan_forward(
    scan: ScanCall, initial: Tensor | None, chunks: Chunks, *, sequential: bool, in_order: bool = False,
    initial_rest: Tensor | None = None, beside: Launch | None = None,
) -> Gains:  # fmt: skip
    """Gains, chunk entries and the d handed on, from initial [N, H, K] float32 or None (ones).

    `in_order` goes through the chunks one after the other, clipped or forgetting ones too, so that what follows an
    entry depends on it and its rest alone: a sequence cut between chunks has the same bits. `beside` is launched as
    well, beside a chain where there is one.
    """
    k = scan.k
    gains = new_gains(k, chunks, in_order=in_order, sequential=sequential)
    programs = chunks.sequences * k.shape[2]
    stops = not in_order and sweeps_pay(scan.rule)
    chained = programs > 0 and not sequential and not (stops and not has_chain(scan.g, scan.rule))
    if beside is not None and not chained:
        beside()
    if programs == 0:
        return gains
    if sequential:
        return step_chunks(scan, initial, gains, chunks)
    origin, signals = None, None
    waits = chained and waits_pay(chunks, k.shape[2], k.device)
    if waits or (chained and stops):
        signals = new_signals(chunks, k.shape[2], k.device)
    if chained and stops:
        origin = new_origin(k, chunks)
    if chained:
        behind = None
        if beside is not None:
            behind = functools.partial(beside, follows=INTERPRETED or bool(following(k.device)))
        run_chains(scan, gains, initial, initial_rest, origin, signals, chunks, behind, waits=waits)
    if not stops:
        return gains
    return sweep_on(scan, gains, initial, origin, None if signals is None else signals.busy, chunks)
