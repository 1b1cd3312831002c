r"""T29: the scan by sweeps, what m of them leave and what they certify.

Along windows of the trajectory, in exact rationals: u are the gains of the scan, u^(0) = 0, u^(m) those after m sweeps,
and N the matrix that bounds how one sweep spreads a change of the gains, clip or no clip.
"""

from collections.abc import Callable
from math import comb

from osdn_theory.bounds import hypotheses as h
from osdn_theory.bounds.check import Sides
from osdn_theory.bounds.numbers import Number
from osdn_theory.bounds.registry import BoundEvidence, bound
from osdn_theory.bounds.runs.local_step import EXACT
from osdn_theory.bounds.runs.window import SWEEPS, Window, distances


def exact_gains(sweeps: int) -> int:
    """How many gains are exact after so many sweeps."""
    return sweeps


def swept_limit(window: Window) -> list[Number]:
    """N^m |u^(0) - u|."""
    errors = _start_errors(window)
    for _ in range(SWEEPS):
        errors = window.spread(errors)
    return errors


def binomial_limit(window: Window) -> list[Number]:
    """eta^m (t choose m) max |u^(0) - u| for the token with t before it."""
    largest = max(_start_errors(window))
    rate = EXACT.of(window.problem.eta) ** SWEEPS
    return [rate * comb(t, SWEEPS) * largest for t in range(window.length)]


def certificate(window: Window) -> list[Number]:
    """(I - N)^-1 N |u^(m) - u^(m-1)|."""
    return window.amplified(window.spread(distances(window.sweeps[-1], window.sweeps[-2])))


def _pairs(e: BoundEvidence, limit: Callable[[Window], list[Number]]) -> list[Sides]:
    return [
        Sides(lhs, rhs, ceiling=max(_start_errors(window)), scope=_scope(window), method=EXACT.label)
        for window in e.facts.windows
        for lhs, rhs in zip(window.errors, limit(window), strict=True)
    ]


def _start_errors(window: Window) -> list[Number]:
    """|u^(0) - u|: a bound that is no less has gained nothing by sweeping."""
    return distances(window.sweeps[0], window.gains)


def _scope(window: Window) -> str:
    last = window.first + window.length
    return f"{SWEEPS} sweeps of windows at sampled tokens, tokens {window.first + 1} to {last} shown"


@bound("T29", "First gains exact", r"u^{(m)}_1=u_1,\ \ldots,\ u^{(m)}_m=u_m", hypotheses=(h.has_tokens,))
def first_gains(e: BoundEvidence) -> list[Sides]:
    return [
        Sides(swept, gain, identity=True, vacuous=gain == 0, scope=_scope(window), method=EXACT.label)
        for window in e.facts.windows
        for swept, gain in list(zip(window.sweeps[-1], window.gains, strict=True))[: exact_gains(SWEEPS)]
    ]


@bound("T29", "Error after m sweeps", r"|u^{(m)}-u| \le N^m\,|u^{(0)}-u|", hypotheses=(h.has_tokens,))
def swept_error(e: BoundEvidence) -> list[Sides]:
    return _pairs(e, lambda window: swept_limit(window))


@bound(
    "T29",
    "Super-geometric sweeps",
    r"|u^{(m)}_{t+1}-u_{t+1}| \le \eta^m\binom{t}{m}\max_j|u^{(0)}_j-u_j|",
    hypotheses=(h.has_tokens, h.windows_bounded_by_eta),
)
def super_geometric_sweeps(e: BoundEvidence) -> list[Sides]:
    return _pairs(e, lambda window: binomial_limit(window))


@bound(
    "T29",
    "Certificate of a sweep",
    r"|u^{(m)}-u| \le (I-N)^{-1}N\,|u^{(m)}-u^{(m-1)}|",
    hypotheses=(h.has_tokens,),
)
def sweep_certificate(e: BoundEvidence) -> list[Sides]:
    return _pairs(e, lambda window: certificate(window))
