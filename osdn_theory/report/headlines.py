"""The first lines of the page: one verdict each on bounds, proofs, kernels and trained models."""

from collections.abc import Sequence
from dataclasses import dataclass

from osdn_theory.crosscheck.examination.results import EXIT_CODES, Examination
from osdn_theory.proofs import ProofsRun, Standing
from osdn_theory.recall.data import count_seeds
from osdn_theory.recall.document import RecallSummary
from osdn_theory.report.model import ReportModel
from osdn_theory.report.reading import count_missed
from osdn_theory.report.summary import FEW, Kind, number


@dataclass(frozen=True)
class Headline:
    """One line: `kind` says how it is to be shown, `anchor` where the details are."""

    kind: Kind
    text: str
    anchor: str


def headlines(model: ReportModel) -> list[Headline]:
    """Bounds, proofs, kernels, trained models: none of them is left out, whatever was run."""
    return [_bounds(model), _proofs(model), *_kernels(model), *_recalls(model)]


def _bounds(model: ReportModel) -> Headline:
    counts = model.digest.counts
    kind: Kind
    if counts["violated"]:
        kind, text = "violated", f"{_checks(counts['violated'])} violated"
    elif counts["undecided"]:
        kind, text = "undecided", f"No bound is violated, and {_checks(counts['undecided'])} undecided"
    elif counts["holds"]:
        kind, text = "holds", "Every bound that applies holds"
    elif counts["holds, vacuously"]:
        kind, text = "not applicable", "No bound that applies says anything"
    else:
        kind, text = "not applicable", "Nothing was decided: no bound applies"
    size = (
        f"{len(model.digest.theorems)} groups of bounds on {len(model.digest.streams)} streams, "
        f"{len(model.verification.checks)} checks"
    )
    vacuous = f", {counts['holds, vacuously']} of them vacuously" if counts["holds, vacuously"] else ""
    return Headline(kind, f"{text}: {size}{vacuous}.", "checks")


def _checks(count: int) -> str:
    return f"{count} {'check is' if count == 1 else 'checks are'}"


def _proofs(model: ReportModel) -> Headline:
    document = model.proofs
    if document.content is None:
        kind: Kind = "undecided" if document.state == "absent" else "violated"
        return Headline(kind, f"Proofs count for nothing on this page: {document.notice}.", "theorems")
    return _proofs_run(document.content)


def _proofs_run(run: ProofsRun) -> Headline:
    scope = f"{len(run.claims)} theorems: {_standings(run)}"
    if run.problems or run.count("failed"):
        problems = (
            f"; problems of the collection of proofs itself: {len(run.problems)}" if run.problems else ""
        )
        return Headline("violated", f"{scope}{problems}.", "theorems")
    if not run.complete:
        return Headline("undecided", f"{scope}; only a part of the proofs was asked for.", "theorems")
    if run.count("not run"):
        return Headline("undecided", f"{scope}; {number(run.count('not run'), 'proof')} not run.", "theorems")
    return Headline("holds", f"{scope}.", "theorems")


def _standings(run: ProofsRun) -> str:
    """How many theorems are proved; the others by name."""
    words: dict[Standing, str] = {
        "proved": "proved in all dimensions",
        "proved in part": "in part",
        "instances only": "checked on instances only",
        "not proved": "not proved",
        "not run": "with a general proof not run",
        "failed": "with a failed proof",
    }
    told = []
    for standing, text in words.items():
        names = [claim.id for claim in run.claims if claim.standing == standing]
        if names:
            spelled = standing != "proved" and len(names) <= FEW
            told.append(f"{', '.join(names) if spelled else len(names)} {text}")
    return ", ".join(told)


def _kernels(model: ReportModel) -> list[Headline]:
    if not model.crosschecks:
        return [
            Headline("undecided", "No kernel was cross-checked here: there is no crosscheck.json.", "kernels")
        ]
    lines = [
        Headline(
            "violated", f"A kernel cross-check counts for nothing on this page: {each.notice}.", "kernels"
        )
        for each in model.crosschecks
        if each.content is None
    ]
    return [*lines, _examined(model.examinations)] if model.examinations else lines


def _examined(found: Sequence[Examination]) -> Headline:
    """All kernels in one line: what is wrong, what cannot be told, and what would not have been seen."""
    exercises = sum(len(each.exercises) for each in found)
    streams = sum(len(each.streams) for each in found)
    size = (
        f"{number(len(found), 'kernel')} beside float64, {number(exercises, 'exercise')} and "
        f"{number(streams, 'stream')}"
    )
    named = {word: [_kernel(each) for each in found if each.verdict == word] for word in EXIT_CODES}
    if named["wrong"]:
        return Headline(
            "violated", f"{size}: {len(named['wrong'])} wrong ({_list(named['wrong'])}).", "kernels"
        )
    if named["cannot tell"]:
        text = f"none is wrong, and no verdict on {len(named['cannot tell'])} ({_list(named['cannot tell'])})"
        return Headline("undecided", f"{size}: {text}.", "kernels")
    return Headline("holds", f"{size}: all right; {_power(found)}.", "kernels")


def _kernel(found: Examination) -> str:
    return f"{found.statement['kernel']}, {found.dtype}"


def _list(kernels: Sequence[str]) -> str:
    return "; ".join(dict.fromkeys(kernels))


def _power(found: Sequence[Examination]) -> str:
    known = [each.power for each in found if each.power is not None]
    if len(known) < len(found):
        return f"what would have been seen is not known of {len(found) - len(known)}"
    seen = [f"{len(power.seen)} of {len(power.possible)}" for power in known]
    return f"{' and '.join(dict.fromkeys(seen))} known faults would have been seen"


def _recalls(model: ReportModel) -> list[Headline]:
    if not model.recalls:
        return [Headline("undecided", "No in-context recall experiment is at hand.", "recall")]
    lines = [
        Headline("violated", f"A recall experiment counts for nothing on this page: {each.notice}.", "recall")
        for each in model.recalls
        if each.content is None
    ]
    return [*lines, *map(_recall_run, model.recall_runs)]


def _recall_run(summary: RecallSummary) -> Headline:
    total, missed = len(summary.predictions), count_missed(summary)
    size = (
        f"In-context recall, {len(summary.models)} small trained models (preset {summary.preset}, "
        f"{count_seeds(summary)})"
    )
    found = f"{total - missed} of {total} predictions of the theory came out"
    if not summary.complete:
        return Headline("undecided", f"{size}: not complete; {found} so far.", "recall")
    if missed:
        return Headline("violated", f"{size}: {missed} of {total} predictions did not come out.", "recall")
    return Headline("holds" if total else "not applicable", f"{size}: {found}.", "recall")
