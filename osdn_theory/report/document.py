"""``report.json``: all that the page says, as data."""

from collections.abc import Mapping
from dataclasses import dataclass

from osdn_theory.base.documents import Count, DocumentKind, Number, Positive, pick
from osdn_theory.crosscheck.examination.results import Examination
from osdn_theory.recall.document import RecallSummary
from osdn_theory.report.claims import PublishedTable
from osdn_theory.report.evidence import JudgedClaim, Judgement, TheoremRow
from osdn_theory.report.model import ReportModel
from osdn_theory.report.reading import ProofStatus, State


@dataclass(frozen=True)
class DocumentLine:
    """A document of the folder, or of the package; only one whose state is "read" counts as evidence."""

    file: str
    state: State
    notice: str
    written: str


@dataclass(frozen=True)
class TheoremStreams:
    """Outcome -> streams, each under the gravest outcome of its checks; `reason`: why there is no check."""

    outcome: str
    by_outcome: Mapping[str, tuple[str, ...]]
    log10_smallest_slack: Number | None
    reason: str


@dataclass(frozen=True)
class TheoremEntry:
    """A theorem, and what bears on it; `kernels`: outcome -> kernel runs."""

    id: str
    title: str
    latex: str
    plain: str
    hypotheses: tuple[str, ...]
    proof: ProofStatus
    streams: TheoremStreams
    kernels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class PaperEntry:
    """A claim of the paper, its fields as in `paper_claims`, with what follows for it.

    `evidence`: theorems and what was found of them. `measured`: what small trained models showed.
    """

    id: str
    claim: str
    tested: str
    left_out: str
    theorems: tuple[str, ...]
    streams: tuple[str, ...]
    kernel: bool
    measures: tuple[str, ...]
    judgement: Judgement
    evidence: tuple[tuple[str, str], ...]
    measured: tuple[str, ...]
    trained: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class KernelEntry(Examination):
    """A cross-check document that was read; its arrays are in `file` alone."""

    file: str


@dataclass(frozen=True)
class RecallEntry:
    """An in-context recall experiment; `packaged`: delivered with the package, not made in this folder."""

    file: str
    packaged: bool
    summary: RecallSummary


@dataclass(frozen=True)
class ExhibitEntry:
    """A figure or a table; `figure`: its path inside the report folder."""

    name: str
    title: str
    caption: str
    figure: str | None


@dataclass(frozen=True)
class Report:
    """The page as data. Every number behind the checks is in ``results.json``.

    - `environment`: Versions, machine, commit and date.
    - `commands`: Command lines that make the report again, in order; the last one writes the page.
    - `seed`, `seeds`: First seed, and draws of every random stream.
    - `checks`, mapping from outcome to count
    - `exit_code`: Of the checks alone. 0: every bound that applies holds, if only vacuously. 1: one is violated. 3:
      some are undecided.
    - `complete`: Whether every stream and every bound of this version was asked for.
    - `not_run`: What was not run, one phrase each.
    - `theorems`, `paper_claims`, `kernels`, `recall`, `published`, `exhibits`: In the order of the page.
    """

    environment: Mapping[str, str]
    commands: tuple[str, ...]
    seed: Count
    seeds: Count
    elapsed_s: Positive
    checks: Mapping[str, Count]
    exit_code: int
    complete: bool
    not_run: tuple[str, ...]
    documents: tuple[DocumentLine, ...]
    proof_problems: tuple[str, ...]
    theorems: tuple[TheoremEntry, ...]
    paper_claims: tuple[PaperEntry, ...]
    kernels: tuple[KernelEntry, ...]
    recall: tuple[RecallEntry, ...]
    published: tuple[PublishedTable, ...]
    exhibits: tuple[ExhibitEntry, ...]


REPORT = DocumentKind(
    format="osdn-report/5",
    content=Report,
    about="report.json: the page of a verification report as data",
    remake="osdn-theory verify --out DIR",
    code=("osdn_theory.verification",),
    arrays=False,
)


def report_document(model: ReportModel) -> Report:
    """What the page of a model says."""
    documents = (model.proofs, *model.crosschecks, *model.recalls, *model.languages)
    kernels = [(each.file, each.content) for each in model.crosschecks if each.content]
    recalls = [(each, each.content) for each in model.recalls if each.content]
    return pick(
        Report,
        model.verification,
        environment=model.facts,
        commands=tuple(model.commands),
        checks=model.digest.counts,
        complete=model.verification.selection.complete,
        not_run=tuple(model.not_run),
        documents=tuple(pick(DocumentLine, each) for each in documents),
        proof_problems=model.proofs.content.problems if model.proofs.content else (),
        theorems=tuple(map(_theorem, model.rows.values())),
        paper_claims=tuple(map(_paper_claim, model.paper)),
        kernels=tuple(KernelEntry(file=file, **vars(found)) for file, found in kernels),
        recall=tuple(RecallEntry(each.file, each.packaged, found) for each, found in recalls),
        published=tuple(model.published),
        exhibits=tuple(
            pick(ExhibitEntry, each, figure=None if each.figure is None else f"figures/{each.name}.png")
            for each in model.exhibits
        ),
    )


def _theorem(row: TheoremRow) -> TheoremEntry:
    found = row.streams
    streams = TheoremStreams(found.outcome, found.streams, found.log10_slack, found.reason)
    return pick(TheoremEntry, row.theorem, proof=row.proof, streams=streams, kernels=row.kernels)


def _paper_claim(judged: JudgedClaim) -> PaperEntry:
    found = {name: getattr(judged, name) for name in ("judgement", "evidence", "measured", "trained")}
    return pick(PaperEntry, judged.claim, **found)
