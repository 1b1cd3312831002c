"""The run in a few lines: the matrix of theorems by kind of evidence, and what was not run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from osdn_theory.crosscheck.verdicts.theorems import GRAVITY
from osdn_theory.report.evidence import StreamStatus, TheoremRow, stream_status
from osdn_theory.verification.digest import SEVERITY, Digest

if TYPE_CHECKING:
    from osdn_theory.report.model import ReportModel
    from osdn_theory.verification.run import Selection

Kind = Literal["holds", "violated", "undecided", "not applicable"]

_SHOWN: Mapping[Kind, Mapping[str, str]] = {
    "holds": {
        "✓": "holds; proved; passed; supported; reproduced at this scale; confirmed; as predicted; right; "
        "equal bit for bit; inside the bound"
    },
    "violated": {
        "✗": "violated; failed; contradicted; contradicted at this scale; not usable; not as predicted; wrong"
    },
    "undecided": {
        "?": "undecided; not run; not run here; not observable; cannot tell",
        "◐": "proved in part; instances only; supported in part; reproduced in part at this scale; mixed at this scale",
    },
    "not applicable": {
        "○": "holds, vacuously",
        "·": "not applicable",
        "–": "not checked; not proved; not tested; not tested at this scale; not seen at this scale; not exercised; "
        "none",
    },
}

MARKS: Mapping[str, str] = {
    outcome: mark
    for marks in _SHOWN.values()
    for mark, names in marks.items()
    for outcome in names.split("; ")
}
"""Outcome -> its mark."""

KINDS: Mapping[str, Kind] = {
    outcome: kind
    for kind, marks in _SHOWN.items()
    for names in marks.values()
    for outcome in names.split("; ")
}
"""Outcome -> good, bad, open, or nothing to tell."""


@dataclass(frozen=True)
class MarkedCell:
    """An outcome in a cell of a table: its mark, and what to say beside it; "" for the outcome's own name."""

    outcome: str
    detail: str = ""


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


FEW = 4
"""Names that are spelled out; of more their number is told."""


def not_run(model: ReportModel) -> list[str]:
    """One short phrase for each thing that was not run; empty where nothing is missing."""
    return [
        *_left_out(model.verification.selection),
        *_proofs(model),
        *_kernels(model),
        *_recall(model),
    ]


def number(count: int, what: str) -> str:
    """A count with its noun: "1 proof", "2 proofs"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _left_out(selection: Selection) -> Iterator[str]:
    for kind, names in (("streams", selection.streams_left_out), ("bounds", selection.bounds_left_out)):
        if names:
            yield f"{_named(names)} of the {kind}"


def _named(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= FEW else str(len(names))


def _proofs(model: ReportModel) -> Iterator[str]:
    run = model.proofs.content
    if run is None:
        yield f"proofs ({model.proofs.notice})"
        return
    if not run.complete:
        yield "a part of the proofs"
    idle = [proof for claim in run.claims for proof in claim.proofs if proof.verdict == "not run"]
    if idle:
        theorems = list(dict.fromkeys(proof.claim for proof in idle))
        named = ", ".join(theorems) if len(theorems) <= FEW else f"{len(theorems)} theorems"
        yield f"{number(len(idle), 'proof')} of {named} ({idle[0].detail})"


def _kernels(model: ReportModel) -> Iterator[str]:
    if not model.crosschecks:
        yield "kernel cross-checks (there is no crosscheck.json in the report folder)"
    yield from (f"a kernel cross-check ({each.notice})" for each in model.crosschecks if each.content is None)
    if model.examinations and all(each.device == "cpu" for each in model.examinations):
        yield "kernels on a GPU (they ran on the processor)"


def _recall(model: ReportModel) -> Iterator[str]:
    if not model.recalls:
        yield "in-context recall (there is no recall.json)"
    yield from (f"a recall experiment ({each.notice})" for each in model.recalls if each.content is None)
    for each in model.recalls:
        if each.packaged:
            yield "in-context recall (the result delivered with the package is shown)"
        elif each.content and not each.content.complete:
            yield "a part of the in-context recall experiment"
