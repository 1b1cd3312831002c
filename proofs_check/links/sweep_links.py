"""T29: sweeps of the code, their adjoint, and the windows that the bounds look at, against the exact laws."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from flint import fmpq

from osdn_theory.bounds.runs import window as bound_window
from osdn_theory.bounds.runs.window import Window
from osdn_theory.bounds.statements import sweeps as sweep_bounds
from osdn_theory.recurrence import solve as recurrence, sweeps
from proofs_check.exact import sweep_laws
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance, Relation
from proofs_check.links.bridge import evidence, exact, floats, sized
from proofs_check.links.link import Agreement, Link, numbers
from proofs_check.links.scan_links import draw_run, full_rule, full_stream, with_feedback

Limit = Callable[[Window], list[Any]]
Statement = Callable[[Instance], Iterable[Relation]]

MOST = 3
"""Sweeps compared: the digits grow with each."""


def draw_swept(draw: Draw) -> Instance:
    """A run with write gates of either sign, and cotangents of its iterates."""
    x = draw_run(draw)
    x.betas = draw.vector(len(x.keys), -1, 1)
    x.cotangents = draw.matrix(len(x.keys) + 1, len(x.d1), -1, 1)
    return x


def code_scan(x: Instance) -> sweeps.GainDrivenScan:
    """The code's scan of the instance."""
    return sweeps.gain_driven(full_stream(x), full_rule(x), initial_preconditioner=floats(x.d1))


def swept(x: Instance) -> Iterator[Agreement]:
    """The first sweeps: the gains that drive each, and the iterates that they drive."""
    y, scan = with_feedback(sized(x)), code_scan(x)
    gains = [0 * y.eta for _ in x.keys]
    for count in range(1, MOST + 1):
        found = sweeps.sweep_scan(scan, most=count)
        if found.sweeps < count:  # settled, to the bit
            return
        yield from numbers(f"u^({count - 1})", found.gains, gains)
        path = sweep_laws.driven(y, gains)
        yield from numbers(f"d after {count}", [*found.preconditioner, found.final_preconditioner], path)
        gains = sweep_laws.wanted(y, path)


def coupled(x: Instance) -> Iterator[Agreement]:
    """N, entry by entry."""
    yield from numbers("N", sweeps.coupling(code_scan(x)), sweep_laws.coupling(with_feedback(sized(x))))


def adjoint(x: Instance) -> Iterator[Agreement]:
    """The adjoint of d_1 and of every gain, with the code's clip pattern, after as many sweeps as there are tokens."""
    y, scan = with_feedback(sized(x)), code_scan(x)
    run = sweeps.sweep_scan(scan, most=1)
    path = np.concatenate([run.preconditioner, run.final_preconditioner[None]])
    y.kept = [[int(a) for a in row] for row in sweeps.clip_pattern(scan, run.gains, path)]
    y.cotangents = sized(x.cotangents)
    cotangents = floats(x.cotangents)
    found = sweeps.sweep_adjoint(scan, run, cotangents[:-1], cotangents[-1], most=len(x.keys) + 1)
    start, gains = sweep_laws.adjoints(y)
    yield from numbers("q", found.gains, gains)
    yield from numbers("lambda_1", found.initial, start)


def window_instance(x: Instance, window: Window) -> Instance:
    """What the exact laws take, for a window of the code's trajectory."""
    y = with_feedback(x)
    part = slice(window.first, window.first + window.length)
    rows = {name: getattr(y, name)[part] for name in ("features", "weights", "gammas")}
    start = exact(window.problem.preconditioner[window.first])
    return Instance(
        **{**vars(y), **rows, "d1": start, "u": [fmpq(0)] * window.length, "sweeps": bound_window.SWEEPS}
    )


def bounds(x: Instance) -> Iterator[Agreement]:
    """Gains, sweeps and both sides of the bounds of T29 on every window, exactly."""
    run = recurrence.osdn(full_stream(x), full_rule(x), initial_preconditioner=floats(x.d1))
    for window in evidence(run).facts.windows:
        y = window_instance(x, window)
        own, last = sweep_laws.scan_gains(y), sweep_laws.swept(y, y.sweeps)
        yield from numbers("u", window.gains, own)
        yield from numbers("u^(m)", window.sweeps[-1], last)
        yield from numbers("|u^(m) - u|", window.errors, sweep_laws.distance(last, own))
        limits: dict[str, tuple[Limit, Statement]] = {
            "N^m": (sweep_bounds.swept_limit, sweep_laws.sweeps_left),
            "certificate": (sweep_bounds.certificate, sweep_laws.certificate),
            "rate": (sweep_bounds.binomial_limit, sweep_laws.rate),
        }
        for name, (limit, law) in limits.items():
            yield from numbers(name, limit(window), [relation.rhs for relation in law(y)])


LINKS = (
    Link("T29", "sweeps", "sweeps.sweep_scan and drive, all tokens at once", draw_swept, swept),
    Link("T29", "coupling", "sweeps.coupling against N", draw_swept, coupled),
    Link("T29", "adjoint", "sweeps.sweep_adjoint against the adjoint run", draw_swept, adjoint),
    Link("T29", "bounds", "bounds.sweeps, both sides", draw_swept, bounds),
)
