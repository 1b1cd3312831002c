"""Everything that the page says, as data: the page and its JSON twin are two views of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from osdn_theory.crosscheck.examination.results import Examination
from osdn_theory.crosscheck.results import CrossCheck
from osdn_theory.language.document import LanguageSummary
from osdn_theory.proofs import ProofsRun
from osdn_theory.recall.document import RecallSummary
from osdn_theory.report.claims import PUBLISHED_TABLES, PublishedTable
from osdn_theory.report.evidence import JudgedClaim, TheoremRow, judged_claims, theorem_row
from osdn_theory.report.exhibit import Exhibit
from osdn_theory.report.provenance import machine_facts
from osdn_theory.report.reading import (
    ReportDocument,
    outcome,
    proof_status,
    read_crosschecks,
    read_languages,
    read_proofs,
    read_recalls,
)
from osdn_theory.report.summary import MatrixRow, matrix, not_run
from osdn_theory.theorems import THEOREMS
from osdn_theory.verification.digest import Digest, digest

if TYPE_CHECKING:
    from osdn_theory.verification.run import Verification

T = TypeVar("T")


@dataclass(frozen=True)
class ReportModel:
    """What a report says.

    - `digest`: Its checks, condensed.
    - `rows`, dict from theorem id to TheoremRow: T1 to T29, in order.
    - `others`: Groups of checks that are none of them, such as that of the solver.
    - `facts`: Environment.
    - `commands`: What makes the report again, in order.
    """

    verification: Verification
    digest: Digest
    proofs: ReportDocument[ProofsRun]
    crosschecks: Sequence[ReportDocument[Examination]]
    recalls: Sequence[ReportDocument[RecallSummary]]
    languages: Sequence[ReportDocument[LanguageSummary]]
    rows: Mapping[str, TheoremRow]
    others: Sequence[str]
    paper: Sequence[JudgedClaim]
    published: Sequence[PublishedTable]
    exhibits: Sequence[Exhibit]
    facts: Mapping[str, str]
    commands: Sequence[str]

    @property
    def matrix(self) -> list[MatrixRow]:
        """Every theorem in a row: proved, on streams, by kernels."""
        return matrix(self.rows, self.others, self.digest)

    @property
    def not_run(self) -> list[str]:
        """A phrase for each thing that was not run."""
        return not_run(self)

    @property
    def examinations(self) -> list[Examination]:
        """Those of all documents that were read."""
        return contents(self.crosschecks)

    @property
    def kernel_runs(self) -> list[CrossCheck]:
        """Kernels on the streams that the theorems speak of, of all documents that were read."""
        return [run for each in self.examinations for run in each.streams]

    @property
    def recall_runs(self) -> list[RecallSummary]:
        """The recall experiments of all documents that were read."""
        return contents(self.recalls)


def build_model(verification: Verification, folder: Path, exhibits: Sequence[Exhibit]) -> ReportModel:
    """Put together a verification and what other commands left in the folder.

    - `folder`: Where ``proofs.json``, ``crosscheck*.json``, ``recall.json`` and ``train.json`` are looked for.
    """
    found = digest(verification.checks)
    proofs, crosschecks, recalls = read_proofs(folder), read_crosschecks(folder), read_recalls(folder)
    languages = read_languages(folder)
    kernels = [check for each in contents(crosschecks) for check in _bearing(each)]
    rows = {
        name: theorem_row(theorem, proof_status(proofs, name), found, kernels)
        for name, theorem in THEOREMS.items()
    }
    return ReportModel(
        verification=verification,
        digest=found,
        proofs=proofs,
        crosschecks=crosschecks,
        recalls=recalls,
        languages=languages,
        rows=rows,
        others=[theorem.name for theorem in found.theorems if theorem.name not in rows],
        paper=judged_claims(rows, found, contents(recalls), contents(languages)),
        published=PUBLISHED_TABLES,
        exhibits=exhibits,
        facts={**verification.environment, **machine_facts()},
        commands=_commands(verification, folder, [*crosschecks, *recalls, *languages]),
    )


def contents(documents: Sequence[ReportDocument[T]]) -> list[T]:
    """Of those that were read."""
    return [each.content for each in documents if each.content is not None]


def _bearing(found: Examination) -> list[CrossCheck]:
    """What bears on the theorems: their streams, and what exercises contradict."""
    asked = [check for exercise in found.exercises for check in exercise.checks]
    return [*found.streams, *(check for check in asked if outcome(check) == "contradicted")]


def _commands(
    verification: Verification,
    folder: Path,
    documents: Sequence[ReportDocument[Any]],
) -> list[str]:
    made = [each.command for each in documents if each.content and not each.packaged]
    return [f"osdn-theory prove --out {folder}", *made, verification.command]
