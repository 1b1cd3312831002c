"""Thousands of checks condensed to what a reader wants first: what holds, how closely, what did not apply."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from osdn_theory.bounds.check import BoundCheck

SEVERITY = ("violated", "undecided", "holds", "holds, vacuously", "not applicable")
"""Outcomes, the one that a group of checks is named after first."""

TOLD = {"holds": "hold", "holds, vacuously": "hold vacuously"} | {
    outcome: outcome for outcome in ("violated", "undecided", "not applicable")
}
"""Outcomes in the order in which they are counted out, as words after a number."""


@dataclass(frozen=True)
class Tally:
    """All checks of one theorem on one stream.

    - `outcome`: The gravest outcome of the group, by :data:`SEVERITY`.
    - `log10_slack`: The smallest slack of the group.
    """

    outcome: str
    counts: dict[str, int]
    log10_slack: float | None


@dataclass(frozen=True)
class Statement:
    """One of the inequalities or identities of a theorem, over all streams."""

    title: str
    formula: str
    total: Tally


@dataclass(frozen=True)
class CheckedTheorem:
    """One theorem over all streams: all its checks together, and statement by statement."""

    name: str
    total: Tally
    statements: tuple[Statement, ...]


@dataclass(frozen=True)
class Exclusion:
    """Checks that say nothing because of the same hypothesis, whatever its value.

    - `reason`: Which hypothesis fails, with its value in the first of these checks.
    - `statements`: "T5 Interpolating regret" and so on, in the order of the theorems.
    - `count`: Checks, over all rules, heads and seeds.
    """

    reason: str
    statements: tuple[str, ...]
    streams: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class Digest:
    """The condensed checks.

    - `counts`, dict from outcome to int: All five outcomes, zero where none.
    - `theorems`: In the order of their numbers.
    - `streams`: In the order they were checked.
    - `problems`: Every violated or undecided check.
    """

    counts: dict[str, int]
    theorems: tuple[CheckedTheorem, ...]
    streams: tuple[str, ...]
    cells: dict[tuple[str, str], Tally]
    exclusions: tuple[Exclusion, ...]
    problems: tuple[BoundCheck, ...]
    methods: dict[str, int]


def digest(checks: Iterable[BoundCheck]) -> Digest:
    """Condense checks, however many."""
    everything = list(checks)
    by_theorem: dict[str, list[BoundCheck]] = {}
    by_cell: dict[tuple[str, str], list[BoundCheck]] = {}
    for check in everything:
        by_theorem.setdefault(check.theorem, []).append(check)
        by_cell.setdefault((check.theorem, check.stream), []).append(check)
    counted: Counter[str] = Counter(check.outcome for check in everything)
    return Digest(
        counts={outcome: counted[outcome] for outcome in TOLD},
        theorems=tuple(_theorem(name, by_theorem[name]) for name in sorted(by_theorem, key=theorem_order)),
        streams=tuple(dict.fromkeys(check.stream for check in everything)),
        cells={key: _cell(group) for key, group in by_cell.items()},
        exclusions=_exclusions(everything),
        problems=tuple(check for check in everything if check.outcome in ("violated", "undecided")),
        methods=dict(Counter(check.method for check in everything if check.method)),
    )


_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")


def _exclusions(checks: Sequence[BoundCheck]) -> tuple[Exclusion, ...]:
    """The most frequent first."""
    groups: dict[str, list[BoundCheck]] = {}
    for check in checks:
        if check.outcome == "not applicable":
            groups.setdefault(_NUMBER.sub("#", check.reason), []).append(check)
    found = [
        Exclusion(
            group[0].reason,
            tuple(sorted({f"{check.theorem} {check.title}" for check in group}, key=theorem_order)),
            tuple(dict.fromkeys(check.stream for check in group)),
            len(group),
        )
        for group in groups.values()
    ]
    return tuple(sorted(found, key=lambda each: -each.count))


def theorem_order(theorem: str) -> tuple[int, str]:
    """Sort key that puts T10 after T9, by the first word; names without a number come first."""
    digits = "".join(filter(str.isdigit, theorem.partition(" ")[0]))
    return (int(digits) if digits else 0, theorem)


def _theorem(name: str, group: Sequence[BoundCheck]) -> CheckedTheorem:
    by_title: dict[str, list[BoundCheck]] = {}
    for check in group:
        by_title.setdefault(check.title, []).append(check)
    statements = (Statement(title, part[0].statement, _cell(part)) for title, part in by_title.items())
    return CheckedTheorem(name, _cell(group), tuple(statements))


def _cell(group: Sequence[BoundCheck]) -> Tally:
    counts: dict[str, int] = dict(Counter(check.outcome for check in group))
    slack = [check.log10_slack for check in group if check.log10_slack is not None]
    outcome = next(outcome for outcome in SEVERITY if outcome in counts)
    return Tally(outcome, counts, min(slack, default=None))


def count_outcomes(found: Digest) -> str:
    """How many checks ended in each way, in a line."""
    return ", ".join(f"{count} {TOLD[outcome]}" for outcome, count in found.counts.items())


def format_slack(slack: float | None) -> str:
    """log10 slack for a table cell: three significant digits, a dash where there is none."""
    if slack is None:
        return "–"
    return "∞" if slack == float("inf") else f"{slack:.3g}"
