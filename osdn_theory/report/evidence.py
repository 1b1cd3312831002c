"""What bears on each theorem: its proofs, the streams, the kernels; and what follows for the paper's claims."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from osdn_theory.bounds import bound_ids
from osdn_theory.crosscheck.results import CrossCheck
from osdn_theory.language.claims import judge_claims
from osdn_theory.language.document import LanguageSummary
from osdn_theory.language.tables import claim_sentence
from osdn_theory.recall.document import RecallSummary
from osdn_theory.recall.tables import against_baseline
from osdn_theory.report.claims import PAPER_CLAIMS, PaperClaim
from osdn_theory.report.reading import ProofStatus, label
from osdn_theory.theorems import Theorem
from osdn_theory.verification.digest import SEVERITY, CheckedTheorem, Digest

Judgement = Literal[
    "supported", "supported in part", "undecided", "contradicted", "not tested at this scale", "not tested",
    "reproduced at this scale", "reproduced in part at this scale", "mixed at this scale",
    "contradicted at this scale", "not seen at this scale",
]  # fmt: skip

ROUNDING = "T18"
"""What the errors of kernels are held to: it bears on every claim about a kernel, as what measures, not as a part."""

NO_RECALL = "No result of `osdn-theory recall` is at hand, so nothing was measured."


@dataclass(frozen=True)
class StreamStatus:
    """What the checks on streams say of a theorem.

    - `outcome`: The gravest over all streams, by `digest.SEVERITY`; "not checked" where there is no check.
    - `streams`, dict from outcome to names: Every stream once, under its gravest outcome.
    - `log10_slack`: The smallest.
    - `reason`: Why there is no check; empty where there is.
    """

    outcome: str
    streams: Mapping[str, tuple[str, ...]]
    log10_slack: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class TheoremRow:
    """A theorem with everything that bears on it.

    - `checked`: Its checks, statement by statement.
    - `kernels`, dict from outcome to names of kernel runs
    """

    theorem: Theorem
    proof: ProofStatus
    streams: StreamStatus
    checked: CheckedTheorem | None
    kernels: Mapping[str, tuple[str, ...]]

    @property
    def refuted(self) -> bool:
        return self.proof.standing == "failed" or self.streams.outcome == "violated"


@dataclass(frozen=True)
class JudgedClaim:
    """A claim of the paper with what follows for it from a run.

    - `evidence`, tuple of (theorem id, sentence)
    - `measured`: Sentences with what models of in-context recall showed; that nothing was measured, where something
      could be.
    - `trained`: Sentences with what small language models showed.
    """

    claim: PaperClaim
    judgement: Judgement
    evidence: tuple[tuple[str, str], ...]
    measured: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()


def stream_status(found: Digest, theorem: str, only: Sequence[str] = ()) -> StreamStatus:
    """The streams of one theorem by outcome; of the streams called `only` where any are named."""
    by_outcome: dict[str, list[str]] = {}
    slack = []
    for stream in found.streams:
        cell = found.cells.get((theorem, stream))
        # Repeated draws are called "name #2".
        if cell is None or (only and stream.split(" #")[0] not in only):
            continue
        by_outcome.setdefault(cell.outcome, []).append(stream)
        if cell.log10_slack is not None:
            slack.append(cell.log10_slack)
    if not by_outcome:
        known = theorem in bound_ids()
        reason = "not checked in this run" if known else "no bound to check on streams"
        return StreamStatus("not checked", {}, None, reason)
    outcome = next(outcome for outcome in SEVERITY if outcome in by_outcome)
    return StreamStatus(
        outcome,
        {name: tuple(by_outcome[name]) for name in SEVERITY if name in by_outcome},
        min(slack, default=None),
    )


def theorem_row(
    theorem: Theorem, proof: ProofStatus, found: Digest, kernels: Sequence[CrossCheck]
) -> TheoremRow:
    """Put together what bears on a theorem."""
    checked = next((each for each in found.theorems if each.name == theorem.id), None)
    return TheoremRow(
        theorem, proof, stream_status(found, theorem.id), checked, _kernel_outcomes(theorem.id, kernels)
    )


def _kernel_outcomes(theorem: str, kernels: Sequence[CrossCheck]) -> dict[str, tuple[str, ...]]:
    outcomes: dict[str, tuple[str, ...]] = {}
    for run in kernels:
        for verdict in run.verdicts:
            if verdict.theorem == theorem:
                outcomes[verdict.outcome] = (*outcomes.get(verdict.outcome, ()), label(run))
    return outcomes


def judged_claims(
    rows: Mapping[str, TheoremRow],
    found: Digest,
    recalls: Sequence[RecallSummary] = (),
    languages: Sequence[LanguageSummary] = (),
) -> tuple[JudgedClaim, ...]:
    """All claims of the paper, each judged by the theorems that it names; with what small trained models showed."""
    return tuple(judge(claim, rows, found, recalls, languages) for claim in PAPER_CLAIMS)


def judge(
    claim: PaperClaim,
    rows: Mapping[str, TheoremRow],
    found: Digest,
    recalls: Sequence[RecallSummary] = (),
    languages: Sequence[LanguageSummary] = (),
) -> JudgedClaim:
    """What a run says about a claim.

    Supported: every theorem is proved, and holds wherever it is checked, at least once. In part: some of this is
    missing. Contradicted: a proof failed, or a bound is violated, or a kernel contradicts it. Undecided: a check is, or
    nothing was run that could tell. A claim on which no theorem bears stands as the last language-model experiment has
    it; without one it is not tested, or not at this scale if models of in-context recall were measured.
    """
    support = [
        _support(rows[name], stream_status(found, name, claim.streams), claim) for name in claim.theorems
    ]
    if claim.kernel and "contradicted" in rows[ROUNDING].kernels:
        support.append("contradicted")
    tried = [
        (each, outcome) for each in languages for outcome in judge_claims(each) if outcome.id == claim.id
    ]
    for judgement in ("contradicted", "undecided"):
        if judgement in support:
            break
    else:
        untested = tried[-1][1].standing if tried else _untested(claim, recalls)
        judgement = _positive(support) if support else untested
    return JudgedClaim(
        claim,
        judgement,
        tuple(_evidence(claim, rows, found)),
        _measured(claim, recalls),
        tuple(claim_sentence(*each) for each in tried),
    )


def _untested(claim: PaperClaim, recalls: Sequence[RecallSummary]) -> Judgement:
    return "not tested at this scale" if claim.measures and recalls else "not tested"


def _measured(claim: PaperClaim, recalls: Sequence[RecallSummary]) -> tuple[str, ...]:
    if claim.measures and not recalls:
        return (NO_RECALL,)
    return tuple(against_baseline(summary, measure) for summary in recalls for measure in claim.measures)


def _positive(support: Sequence[str]) -> Judgement:
    if not any(support):
        return "undecided"
    return "supported" if set(support) == {"supported"} else "supported in part"


def _support(row: TheoremRow, streams: StreamStatus, claim: PaperClaim) -> str:
    if row.refuted or (claim.kernel and "contradicted" in row.kernels):
        return "contradicted"
    if row.streams.outcome == "undecided":
        return "undecided"
    has_bound = row.theorem.id in bound_ids()
    seen = streams.outcome == "holds"
    if row.proof.standing == "proved" and (seen or not has_bound):
        return "supported"
    proved = row.proof.standing in ("proved", "proved in part")
    return "supported in part" if proved or seen else ""


def _evidence(claim: PaperClaim, rows: Mapping[str, TheoremRow], found: Digest) -> Iterator[tuple[str, str]]:
    for name in claim.theorems:
        row, streams = rows[name], stream_status(found, name, claim.streams)
        parts = [_proof_words(row.proof), _stream_words(streams, claim.streams), _kernel_words(claim, row)]
        yield name, "; ".join(part for part in parts if part)
    if claim.kernel:
        yield ROUNDING, _kernel_words(claim, rows[ROUNDING]) or "no verdict of a kernel"


def _kernel_words(claim: PaperClaim, row: TheoremRow) -> str:
    return (
        ", ".join(f"{outcome} on {_runs(runs)}" for outcome, runs in row.kernels.items())
        if claim.kernel
        else ""
    )


def _runs(runs: Sequence[str]) -> str:
    return f"{len(runs)} kernel {'run' if len(runs) == 1 else 'runs'}"


def _proof_words(proof: ProofStatus) -> str:
    proved = proof.claim is not None and proof.claim.general and proof.standing != "failed"
    return proof.standing if proved else f"proof: {proof.standing}"


def _stream_words(streams: StreamStatus, only: Sequence[str]) -> str:
    if streams.reason:
        return streams.reason
    counted = ", ".join(f"{outcome} on {len(names)}" for outcome, names in streams.streams.items())
    where = f" ({' and '.join(only)})" if only else ""
    return f"{counted} {'stream' if counted.endswith(' on 1') else 'streams'}{where}"
