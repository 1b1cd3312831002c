"""The whole run on one screen: every theorem, whether it is proved, holds on streams, and is obeyed by kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from osdn_theory.crosscheck.verdicts.theorems import GRAVITY
from osdn_theory.report.claims.evidence import StreamStatus, TheoremRow, stream_status
from osdn_theory.report.summary.outcomes import MarkedCell
from osdn_theory.verification.digest import SEVERITY, Digest

SOLVER_TITLE = "The solver's own rounding"


@dataclass(frozen=True)
class MatrixRow:
    """One theorem: of each kind of evidence the gravest outcome, and on how many of how many."""

    name: str
    title: str
    proved: MarkedCell
    streams: MarkedCell
    kernels: MarkedCell
    log10_slack: float | None


def matrix(rows: Mapping[str, TheoremRow], others: Sequence[str], found: Digest) -> list[MatrixRow]:
    """A row for each theorem, and for each group of checks that is none."""
    named = [
        MatrixRow(
            name,
            row.theorem.title,
            MarkedCell(row.proof.standing),
            _streams(row.streams),
            _cell(GRAVITY, row.kernels),
            row.streams.log10_slack,
        )
        for name, row in rows.items()
    ]
    none = MarkedCell("none")
    for name in others:
        streams = stream_status(found, name)
        named.append(MatrixRow(name, SOLVER_TITLE, none, _streams(streams), none, streams.log10_slack))
    return named


def _streams(status: StreamStatus) -> MarkedCell:
    return _cell(SEVERITY, status.streams)


def _cell(gravity: Sequence[str], by_outcome: Mapping[str, Sequence[str]]) -> MarkedCell:
    """The gravest outcome with its share; where nothing applies to some, that of the others."""
    worst = next((outcome for outcome in gravity if by_outcome.get(outcome)), None)
    if worst is None:
        return MarkedCell("none")
    return MarkedCell(worst, f"{len(by_outcome[worst])} of {sum(map(len, by_outcome.values()))}")
