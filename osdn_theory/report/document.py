"""``report.json``: all that the page says, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from osdn_theory.base.documents import Count, DocumentKind, Number, Positive, pick
from osdn_theory.crosscheck.alternatives.naming import Explanation
from osdn_theory.crosscheck.alternatives.power import Power, Reach
from osdn_theory.crosscheck.examination.results import BackwardResult, Examination, ExerciseResult, Word
from osdn_theory.crosscheck.gradients.explanations import GradientExplanation
from osdn_theory.crosscheck.invariance.result import Invariance
from osdn_theory.crosscheck.results import Comparison, CrossCheck, Symptom, Verdict
from osdn_theory.proofs import Method
from osdn_theory.recall.document import RecallSummary
from osdn_theory.report.checks import outcome
from osdn_theory.report.documents import State
from osdn_theory.report.evidence import JudgedClaim, Judgement, TheoremRow
from osdn_theory.report.examinations import ExerciseLine, exercise_line
from osdn_theory.report.model import ReportModel
from osdn_theory.report.proofs import ShownStanding
from osdn_theory.report.published import PublishedTable


@dataclass(frozen=True)
class DocumentLine:
    """A document of the folder, or of the package; only one whose state is "read" counts as evidence."""

    file: str
    state: State
    notice: str
    written: str


@dataclass(frozen=True)
class TheoremProof:
    """Where a theorem stands with its proofs.

    `standing` as in ``proofs.json``; "not run here": there is none, or it leaves the theorem out; "not usable": it is
    corrupt or stale. `general`: method -> proofs in all dimensions that passed.
    """

    standing: ShownStanding
    summary: str
    general: Mapping[Method, Count]
    instances: Count
    false_variants_refuted: Count
    missing: str
    note: str


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
    proof: TheoremProof
    streams: TheoremStreams
    kernels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class FoundEvidence:
    """What was found of a theorem."""

    theorem: str
    found: str


@dataclass(frozen=True)
class PaperEntry:
    """A claim of the paper, its fields as in `paper_claims`, with what follows for it.

    `measured`: what small trained models showed, or that nothing was measured.
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
    evidence: tuple[FoundEvidence, ...]
    measured: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonLine:
    """A quantity of a kernel against float64, see `crosscheck.results.Comparison`; null: no bound is claimed."""

    name: str
    title: str
    dtype: str
    basis: str
    within_bound: bool | None
    worst_error: Number
    worst_excess: Number | None
    first_outside: int | None
    median_slack: Number | None


@dataclass(frozen=True)
class ExerciseEntry:
    """An exercise; `hidden`: cases of which nothing can be said, and why."""

    name: str
    about: str
    uses: tuple[str, ...]
    within: bool
    hidden: tuple[str, ...]
    cases: Count
    worst: ExerciseLine


@dataclass(frozen=True)
class PowerEntry:
    """How many of the possible faults the exercises would have seen, and the others."""

    seen: Count
    possible: Count
    unseen: tuple[Reach, ...]
    impossible: tuple[Reach, ...]


@dataclass(frozen=True)
class BackwardEntry:
    """Gradients; `seen`, `possible`: known faults of a backward pass."""

    exercise: str
    comparisons: tuple[ComparisonLine, ...]
    seen: Count
    possible: Count
    unseen: tuple[str, ...]
    explanations: tuple[GradientExplanation, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class KernelEntry:
    """A cross-check document that was read; `streams`: how many of the kernel runs are its."""

    file: str
    kernel: str
    statement: Mapping[str, str]
    dtype: str
    device: str
    verdict: Word
    sentence: str
    exercises: tuple[ExerciseEntry, ...]
    streams: Count
    power: PowerEntry | None
    explanations: tuple[Explanation, ...]
    backward: BackwardEntry | None
    invariances: tuple[Invariance, ...]
    unmet: tuple[str, ...]
    not_exercised: tuple[str, ...]


@dataclass(frozen=True)
class KernelRun:
    """A kernel on a stream that the theorems speak of."""

    kernel: str
    computes: str
    stream: str
    rule: str
    dtype: str
    device: str
    configuration: str
    shape: Mapping[str, Count]
    outcome: str
    verdicts: tuple[Verdict, ...]
    symptoms: tuple[Symptom, ...]
    notes: tuple[str, ...]
    comparisons: tuple[ComparisonLine, ...]
    decades: Number | None


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

    Attributes
    ----------
    environment : mapping
        Versions, machine, commit and date.
    commands : tuple of str
        Command lines that make the report again, in order; the last one writes the page.
    seed, seeds : int
        First seed, and draws of every random stream.
    elapsed_s : float
    checks : mapping from outcome to count
    exit_code : int
        Of the checks alone. 0: every bound that applies holds. 1: one is violated. 3: some are undecided.
    documents : tuple of DocumentLine
    proof_problems : tuple of str
    theorems, paper_claims, kernels, kernel_runs, recall, published, exhibits
        In the order of the page.
    """

    environment: Mapping[str, str]
    commands: tuple[str, ...]
    seed: Count
    seeds: Count
    elapsed_s: Positive
    checks: Mapping[str, Count]
    exit_code: int
    documents: tuple[DocumentLine, ...]
    proof_problems: tuple[str, ...]
    theorems: tuple[TheoremEntry, ...]
    paper_claims: tuple[PaperEntry, ...]
    kernels: tuple[KernelEntry, ...]
    kernel_runs: tuple[KernelRun, ...]
    recall: tuple[RecallEntry, ...]
    published: tuple[PublishedTable, ...]
    exhibits: tuple[ExhibitEntry, ...]


REPORT = DocumentKind(
    format="osdn-report/3",
    content=Report,
    about="report.json: the page of a verification report as data",
    remake="osdn-theory verify --report DIR",
    code=("osdn_theory.verification",),
)


def report_document(model: ReportModel) -> Report:
    """What the page of a model says."""
    documents = (model.proofs, *model.crosschecks, *model.recalls)
    kernels = [(each.file, each.content) for each in model.crosschecks if each.content]
    recalls = [(each, each.content) for each in model.recalls if each.content]
    return pick(
        Report,
        model.verification,
        environment=model.facts,
        commands=tuple(model.commands),
        checks=model.digest.counts,
        documents=tuple(pick(DocumentLine, each) for each in documents),
        proof_problems=model.proofs.content.problems if model.proofs.content else (),
        theorems=tuple(map(_theorem, model.rows.values())),
        paper_claims=tuple(map(_paper_claim, model.paper)),
        kernels=tuple(_kernel(file, found) for file, found in kernels),
        kernel_runs=tuple(map(_run, model.kernel_runs)),
        recall=tuple(RecallEntry(each.file, each.packaged, found) for each, found in recalls),
        published=tuple(model.published),
        exhibits=tuple(
            pick(ExhibitEntry, each, figure=None if each.figure is None else f"figures/{each.name}.png")
            for each in model.exhibits
        ),
    )


def _theorem(row: TheoremRow) -> TheoremEntry:
    known, claim, found = row.proof, row.proof.claim, row.streams
    return pick(
        TheoremEntry,
        row.theorem,
        proof=TheoremProof(known.standing, known.summary, {}, 0, 0, "", "")
        if claim is None
        else pick(
            TheoremProof,
            claim,
            standing=known.standing,
            summary=known.summary,
            false_variants_refuted=claim.killed,
        ),
        streams=TheoremStreams(found.outcome, found.streams, found.log10_slack, found.reason),
        kernels=row.kernels,
    )


def _paper_claim(judged: JudgedClaim) -> PaperEntry:
    evidence = tuple(FoundEvidence(*each) for each in judged.evidence)
    return pick(
        PaperEntry, judged.claim, judgement=judged.judgement, evidence=evidence, measured=judged.measured
    )


def _kernel(file: str, found: Examination) -> KernelEntry:
    return pick(
        KernelEntry,
        found,
        file=file,
        kernel=found.statement["kernel"],
        exercises=tuple(map(_exercise, found.exercises)),
        streams=len(found.streams),
        power=None if found.power is None else _power(found.power),
        backward=None if found.backward is None else _backward(found.backward),
    )


def _exercise(found: ExerciseResult) -> ExerciseEntry:
    return pick(ExerciseEntry, found, cases=len(found.checks), worst=exercise_line(found))


def _power(found: Power) -> PowerEntry:
    impossible = tuple(reach for reach in found.reaches if reach.obstacle is not None)
    return PowerEntry(len(found.seen), len(found.possible), found.unseen, impossible)


def _backward(found: BackwardResult) -> BackwardEntry:
    return pick(
        BackwardEntry,
        found,
        comparisons=_comparisons(found.comparisons),
        possible=len(found.power),
        unseen=tuple(name for name, excess in found.power.items() if excess <= 1),
    )


def _run(check: CrossCheck) -> KernelRun:
    return pick(
        KernelRun,
        check,
        kernel=check.statement["kernel"],
        computes=check.statement["computes"],
        outcome=outcome(check),
        comparisons=_comparisons(check.comparisons),
        decades=check.curve.decades if check.curve else None,
    )


def _comparisons(found: tuple[Comparison, ...]) -> tuple[ComparisonLine, ...]:
    return tuple(pick(ComparisonLine, each) for each in found)
