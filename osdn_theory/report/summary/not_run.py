"""What a report does not rest on: parts of the run that were left out, and documents that are not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from osdn_theory.report.model import ReportModel
    from osdn_theory.verification.selection import Selection

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
