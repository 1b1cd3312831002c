"""Thousands of checks condensed to what a reader wants first: what holds, how closely, what did not apply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from osdn_theory.bounds.check import BoundCheck

SEVERITY = ("violated", "undecided", "holds", "not applicable")
"""Outcomes, the one that a group of checks is named after first."""


@dataclass(frozen=True)
class Cell:
    """All checks of one theorem on one stream.

    Attributes
    ----------
    outcome : str
        The gravest outcome of the group, by :data:`SEVERITY`.
    counts : dict from outcome to int
    log10_slack : float or None
        The smallest slack of the group.
    """

    outcome: str
    counts: dict[str, int]
    log10_slack: float | None


@dataclass(frozen=True)
class Theorem:
    """One theorem over all streams: its statement, its group of checks, and how they were decided."""

    name: str
    title: str
    statement: str
    total: Cell
    methods: dict[str, int]


@dataclass(frozen=True)
class Exclusion:
    """Why a theorem says nothing about a stream under a rule: the distinct reasons, and how many checks."""

    theorem: str
    stream: str
    rule: str
    count: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Digest:
    """The condensed checks.

    Attributes
    ----------
    counts : dict from outcome to int
        All four outcomes, zero where none.
    theorems : tuple of Theorem
        In the order of their numbers.
    streams : tuple of str
        In the order they were checked.
    cells : dict from (theorem, stream) to Cell
    exclusions : tuple of Exclusion
    problems : tuple of BoundCheck
        Every violated or undecided check.
    methods : dict from method to int
    """

    counts: dict[str, int]
    theorems: tuple[Theorem, ...]
    streams: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]
    exclusions: tuple[Exclusion, ...]
    problems: tuple[BoundCheck, ...]
    methods: dict[str, int]


def digest(checks: Iterable[BoundCheck]) -> Digest:
    """Condense checks, however many.

    Parameters
    ----------
    checks : iterable of BoundCheck
    """
    everything = list(checks)
    by_theorem: dict[str, list[BoundCheck]] = {}
    by_cell: dict[tuple[str, str], list[BoundCheck]] = {}
    by_exclusion: dict[tuple[str, str, str], list[BoundCheck]] = {}
    for check in everything:
        by_theorem.setdefault(check.theorem, []).append(check)
        by_cell.setdefault((check.theorem, check.stream), []).append(check)
        if check.outcome == "not applicable":
            by_exclusion.setdefault((check.theorem, check.stream, check.rule), []).append(check)
    counted = Counter(check.outcome for check in everything)
    return Digest(
        counts={
            outcome: counted.get(outcome, 0)
            for outcome in ("holds", "violated", "undecided", "not applicable")
        },
        theorems=tuple(_theorem(name, by_theorem[name]) for name in sorted(by_theorem, key=theorem_order)),
        streams=tuple(dict.fromkeys(check.stream for check in everything)),
        cells={key: _cell(group) for key, group in by_cell.items()},
        exclusions=tuple(
            Exclusion(*key, len(group), tuple(dict.fromkeys(check.reason for check in group)))
            for key, group in sorted(by_exclusion.items(), key=lambda item: theorem_order(item[0][0]))
        ),
        problems=tuple(check for check in everything if check.outcome in ("violated", "undecided")),
        methods=_methods(everything),
    )


def theorem_order(theorem: str) -> tuple[int, str]:
    """Sort key that puts T10 after T9; names without a number come first."""
    digits = "".join(filter(str.isdigit, theorem))
    return (int(digits) if digits else 0, theorem)


def _theorem(name: str, group: Sequence[BoundCheck]) -> Theorem:
    return Theorem(name, group[0].title, group[0].statement, _cell(group), _methods(group))


def _cell(group: Sequence[BoundCheck]) -> Cell:
    counts = dict(Counter(check.outcome for check in group))
    slack = [check.log10_slack for check in group if check.log10_slack is not None]
    outcome = next(outcome for outcome in SEVERITY if outcome in counts)
    return Cell(outcome, counts, min(slack, default=None))


def _methods(checks: Sequence[BoundCheck]) -> dict[str, int]:
    return dict(Counter(check.method for check in checks if check.method))
