"""T29: sweeps of the code, their adjoint, and the windows that the bounds look at, against the exact laws."""

from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np

from osdn_theory.bounds.runs import window as bound_window
from osdn_theory.bounds.runs.window import Window
from osdn_theory.bounds.statements import sweeps as sweep_bounds
from osdn_theory.recurrence import solve as recurrence, sweeps
from proofs_check.exact.draw import Draw, Instance
from proofs_check.exact.laws.run.adjoint import AdjointInstance
from proofs_check.exact.laws.run.sweeps import SweepInstance, distance, power
from proofs_check.exact.numbers import Array, array
from proofs_check.links.bridge import evidence, exact, floats, sized
from proofs_check.links.link import Link, Pairs
from proofs_check.links.scan_links import draw_run, full_rule, full_stream, with_feedback

MOST = 3
"""Sweeps compared: the digits grow with each."""


def draw_swept(draw: Draw) -> AdjointInstance:
    """A run with write gates of either sign, and cotangents of its iterates."""
    x = AdjointInstance(**vars(draw_run(draw)))
    return x.but(beta=draw.numbers(x.T, -1, 1), weight=draw.vectors(x.T + 1, x.n, -1, 1))


def code_scan(x: Instance) -> sweeps.GainDrivenScan:
    """The code's scan of the instance."""
    return sweeps.gain_driven(full_stream(x), full_rule(x), initial_preconditioner=floats(x.d1))


def swept(x: Instance) -> Pairs:
    """The first sweeps: the gains that drive each, and the iterates that they drive."""
    y, scan = with_feedback(sized(x)), code_scan(x)
    gains = [0 * y.eta for _ in x.k]
    for count in range(1, MOST + 1):
        found = sweeps.sweep_scan(scan, most=count)
        if found.sweeps < count:  # settled, to the bit
            return
        yield f"u^({count - 1})", found.gains, gains
        path = y.driven(gains)
        yield f"d after {count}", [*found.preconditioner, found.final_preconditioner], path
        gains = y.wanted(path)


def coupled(x: Instance) -> Pairs:
    """N, entry by entry."""
    yield "N", sweeps.coupling(code_scan(x)), with_feedback(sized(x)).coupling()


def adjoint(x: Instance) -> Pairs:
    """The adjoint of d_1 and of every gain, with the code's clip pattern, after as many sweeps as there are tokens."""
    y, scan = with_feedback(sized(x)), code_scan(x)
    run = sweeps.sweep_scan(scan, most=1)
    path = np.concatenate([run.preconditioner, run.final_preconditioner[None]])
    y.kept = [array([int(a) for a in row]) for row in sweeps.clip_pattern(scan, run.gains, path)]
    weight = floats(x.weight)
    found = sweeps.sweep_adjoint(scan, run, weight[:-1], weight[-1], most=x.T + 1)
    start, gains = y.adjoints()
    yield "q", found.gains, gains[::-1]
    yield "lambda_1", found.initial, start


def window_instance(x: SweepInstance, window: Window) -> SweepInstance:
    """What the exact laws take, for a window of the code's trajectory."""
    y: SweepInstance = with_feedback(x).tokens(window.first, window.length, "s", "w", "gamma")
    start = exact(window.problem.preconditioner[window.first])
    return y.but(d1=start, u=[0 * y.eta] * window.length, T=window.length)


def limits(y: SweepInstance, count: int) -> dict[str, tuple[Callable[[Window], list[Any]], Array]]:
    """The bounds of the code after `count` sweeps, and what they are."""
    errors = y.start_errors
    moved_by = y.coupling() @ distance(y.swept(count), y.swept(count - 1))
    rates = [y.eta**count * comb(t, count) * max(errors) for t in range(y.T)]
    return {
        "N^m": (sweep_bounds.swept_limit, power(y.coupling(), count, errors)),
        "certificate": (sweep_bounds.certificate, y.resolved(moved_by)),
        "rate": (sweep_bounds.binomial_limit, array(rates)),
    }


def bounds(x: SweepInstance) -> Pairs:
    """Gains, sweeps and both sides of the bounds of T29 on every window, exactly."""
    run = recurrence.osdn(full_stream(x), full_rule(x), initial_preconditioner=floats(x.d1))
    for window in evidence(run).facts.windows:
        y = window_instance(x, window)
        own, last = y.gains, y.swept(bound_window.SWEEPS)
        yield "u", window.gains, own
        yield "u^(m)", window.sweeps[-1], last
        yield "|u^(m) - u|", window.errors, distance(last, own)
        for name, (limit, expected) in limits(y, bound_window.SWEEPS).items():
            yield name, limit(window), expected


LINKS = (
    Link("T29", "sweeps", "sweeps.sweep_scan and drive, all tokens at once", draw_swept, swept),
    Link("T29", "coupling", "sweeps.coupling against N", draw_swept, coupled),
    Link("T29", "adjoint", "sweeps.sweep_adjoint against the adjoint run", draw_swept, adjoint),
    Link("T29", "bounds", "bounds.sweeps, both sides", draw_swept, bounds),
)
