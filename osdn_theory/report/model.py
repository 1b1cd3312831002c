"""Everything that the page says, as data: the page and its JSON twin are two views of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osdn_theory import __version__
from osdn_theory.base.jsonable import jsonable
from osdn_theory.crosscheck.examination.results import Examination
from osdn_theory.crosscheck.results import CrossCheck
from osdn_theory.report.checks import outcome
from osdn_theory.report.crosschecks import CrossCheckRun, read_crosschecks
from osdn_theory.report.documents import Document
from osdn_theory.report.evidence import JudgedClaim, TheoremRow, judged_claims, theorem_row
from osdn_theory.report.examinations import examination_data, stream_data
from osdn_theory.report.exhibit import Exhibit
from osdn_theory.report.proofs import ProofsRun, proof_status, read_proofs
from osdn_theory.report.provenance import machine_facts
from osdn_theory.report.published import PUBLISHED_TABLES, PublishedTable
from osdn_theory.report.recall import RecallRun, contents, read_recalls
from osdn_theory.theorems import THEOREMS
from osdn_theory.verification.digest import Digest, digest

if TYPE_CHECKING:
    from osdn_theory.verification.run import Verification

FORMAT = "osdn-report/2"


@dataclass(frozen=True)
class ReportModel:
    """What a report says.

    Attributes
    ----------
    verification : Verification
    digest : Digest
        Its checks, condensed.
    proofs : Document of ProofsRun
    crosschecks : list of documents of CrossCheckRun
    recalls : list of documents of RecallRun
    rows : dict from theorem id to TheoremRow
        T1 to T19 and T29, in order.
    others : list of str
        Groups of checks that are none of them, such as that of the solver.
    paper : tuple of JudgedClaim
    published : tuple of PublishedTable
    exhibits : sequence of Exhibit
    facts : dict
        Environment.
    commands : list of str
        What makes the report again, in order.
    """

    verification: Verification
    digest: Digest
    proofs: Document[ProofsRun]
    crosschecks: Sequence[Document[CrossCheckRun]]
    recalls: Sequence[Document[RecallRun]]
    rows: Mapping[str, TheoremRow]
    others: Sequence[str]
    paper: Sequence[JudgedClaim]
    published: Sequence[PublishedTable]
    exhibits: Sequence[Exhibit]
    facts: Mapping[str, str]
    commands: Sequence[str]

    @property
    def examinations(self) -> list[Examination]:
        """Those of all documents that were read."""
        return _examinations(self.crosschecks)

    @property
    def kernel_runs(self) -> list[CrossCheck]:
        """Kernels on the streams that the theorems speak of, of all documents that were read."""
        return [run for each in self.examinations for run in each.streams]

    @property
    def recall_runs(self) -> list[RecallRun]:
        """The recall experiments of all documents that were read."""
        return contents(self.recalls)

    def as_dict(self) -> dict[str, Any]:
        """The document of ``report.json``, as ``schema.json`` describes it."""
        result: dict[str, Any] = jsonable(
            {
                "format": FORMAT,
                "osdn": __version__,
                "environment": self.facts,
                "commands": self.commands,
                "seed": self.verification.seed,
                "seeds": self.verification.seeds,
                "elapsed_s": self.verification.elapsed_s,
                "checks": self.digest.counts,
                "exit_code": self.verification.exit_code,
                "documents": [
                    _document(self.proofs),
                    *map(_document, self.crosschecks),
                    *map(_document, self.recalls),
                ],
                "proof_problems": self.proofs.content.problems if self.proofs.content else [],
                "theorems": [_theorem(row) for row in self.rows.values()],
                "paper_claims": [_paper_claim(judged) for judged in self.paper],
                "kernels": [
                    {"file": each.file, **examination_data(each.content.examination)}
                    for each in self.crosschecks
                    if each.content
                ],
                "kernel_runs": [stream_data(run) for run in self.kernel_runs],
                "recall": [
                    {"file": each.file, "packaged": each.content.packaged, "summary": each.content.summary}
                    for each in self.recalls
                    if each.content
                ],
                "published": self.published,
                "exhibits": [
                    {
                        "name": exhibit.name,
                        "title": exhibit.title,
                        "caption": exhibit.caption,
                        "figure": f"figures/{exhibit.name}.png" if exhibit.figure is not None else None,
                    }
                    for exhibit in self.exhibits
                ],
            }
        )
        return result


def build_model(verification: Verification, folder: Path, exhibits: Sequence[Exhibit]) -> ReportModel:
    """Put together a verification and what other commands left in the folder.

    Parameters
    ----------
    verification : Verification
    folder : Path
        Where ``proofs.json``, ``crosscheck*.json`` and ``recall.json`` are looked for.
    exhibits : sequence of Exhibit
    """
    found = digest(verification.checks)
    proofs, crosschecks, recalls = read_proofs(folder), read_crosschecks(folder), read_recalls(folder)
    kernels = [check for each in _examinations(crosschecks) for check in _bearing(each)]
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
        rows=rows,
        others=[theorem.name for theorem in found.theorems if theorem.name not in rows],
        paper=judged_claims(rows, found, [run.summary for run in contents(recalls)]),
        published=PUBLISHED_TABLES,
        exhibits=exhibits,
        facts={**verification.environment, **machine_facts()},
        commands=_commands(verification, folder, crosschecks, recalls),
    )


def _examinations(documents: Sequence[Document[CrossCheckRun]]) -> list[Examination]:
    return [each.content.examination for each in documents if each.content]


def _bearing(found: Examination) -> list[CrossCheck]:
    """What bears on the theorems: their streams, and what exercises contradict."""
    asked = [check for exercise in found.exercises for check in exercise.checks]
    return [*found.streams, *(check for check in asked if outcome(check) == "contradicted")]


def _commands(
    verification: Verification,
    folder: Path,
    documents: Sequence[Document[CrossCheckRun]],
    recalls: Sequence[Document[RecallRun]],
) -> list[str]:
    made = [each.content.command for each in documents if each.content]
    trained = [run.summary["command"] for run in contents(recalls) if not run.packaged]
    return [f"osdn-theory prove --out {folder}", *made, *trained, verification.command]


def _document(document: Document[Any]) -> dict[str, str]:
    return {name: getattr(document, name) for name in ("file", "state", "notice", "written")}


def _theorem(row: TheoremRow) -> dict[str, Any]:
    claim = row.proof.claim
    return {
        **asdict(row.theorem),
        "proof": {
            "standing": row.proof.standing,
            "summary": row.proof.summary,
            "general": claim.general if claim else {},
            "instances": claim.instances if claim else 0,
            "false_variants_refuted": claim.killed if claim else 0,
            "missing": claim.missing if claim else "",
            "note": claim.note if claim else "",
        },
        "streams": {
            "outcome": row.streams.outcome,
            "by_outcome": row.streams.streams,
            "log10_smallest_slack": row.streams.log10_slack,
            "reason": row.streams.reason,
        },
        "kernels": row.kernels,
    }


def _paper_claim(judged: JudgedClaim) -> dict[str, Any]:
    return {
        **asdict(judged.claim),
        "judgement": judged.judgement,
        "evidence": [{"theorem": name, "found": sentence} for name, sentence in judged.evidence],
        "measured": judged.measured,
    }
