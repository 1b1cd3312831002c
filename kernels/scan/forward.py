"""The calibrate scan: gains and chunk entries of d_{t+1} = clip[c + gamma_t (d_t - c) + u_t s_t] (T4, T11).

Each sequence and head is a chain of chunks. A chunk's gains come from its triangular operator and the d it enters with;
a certificate that no iterate leaves the box, decided on the device, accepts them, and a chunk without one is stepped
token by token. The result is that of the clipped recurrence in both cases.
"""

import torch
from torch import Tensor

from ..boundary.rule import Rule
from ..launch.sequences import Chunks
from .calls import Gains, ScanCall, new_gains, rule_numbers
from .chain import Flags, Launch, new_origin, run_chain
from .sequential import step_chunks
from .series import inverse_operator
from .sweeps.forward import sweep, sweeps_pay

SWEPT = ("HAS_GATE", "HAS_ANCHOR", "HAS_INITIAL", "BETA_AWARE", "NORMALIZE", "SCALE_KEY", "KEEP", "PACKED")
"""Constants that the kernels of sweeps take as well."""


def has_chain(g: Tensor | None, rule: Rule) -> bool:
    """Whether calibrations go through chunks one after the other, rather than by sweeps from the first on.

    Forgetting forgets wrong entries too: sweeps then settle at once, and need no operator.
    """
    return g is None or not sweeps_pay(rule)


def operator_of(scan: ScanCall, chunks: Chunks) -> Tensor:
    return inverse_operator(scan.k, scan.g, scan.feedback, scan.rule, chunks)


def sweep_on(scan: ScanCall, gains: Gains, initial: Tensor | None, flags: Flags, chunks: Chunks) -> Gains:
    """Walk by sweeps what chains left, or all of it where there were none."""
    shrinks = None if scan.g is None else torch.expm1(scan.g.float())
    eta, _, d_min, d_max = rule_numbers(scan.rule)
    constants = scan.constants(chunks, initial)
    opened = sweep(
        scan.k, shrinks, scan.feedback, scan.anchor, initial, chunks, flags.origin, flags.busy,
        (gains.gain, *gains.entries, gains.clipped, gains.final, scan.out, scan.path), (eta, d_min, d_max),
        {name: constants[name] for name in SWEPT},
    )  # fmt: skip
    return gains._replace(opened=opened, written=flags.origin is None)


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
    flags = Flags()
    if chained and stops:
        flags = Flags(new_origin(k, chunks), torch.zeros(1, dtype=torch.int32, device=k.device))
    if chained:
        run_chain(scan, operator_of(scan, chunks), gains, initial, initial_rest, flags, chunks, beside)
    return sweep_on(scan, gains, initial, flags, chunks) if stops else gains
