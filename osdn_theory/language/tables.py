"""The numbers of a language-model experiment as a table."""

from osdn_theory.language.claims import ClaimOutcome, TestedChange, judge_claims
from osdn_theory.language.document import LanguageRow, LanguageSummary
from osdn_theory.recall.tables import NONE, Rows

OVERVIEW = (
    ("loss", ""),
    ("bits per byte", ""),
    ("loss growth", ""),
    ("token residual ratio", "all layers"),
)


def overview(summary: LanguageSummary) -> tuple[tuple[str, ...], Rows]:
    """Header and rows: every model with its size, its learning rate, its speed and what it reached."""
    header = ("model", "parameters", "learning rate", "tokens/s", *(measure for measure, _ in OVERVIEW))
    found = {(row.model, row.measure, row.place): row for row in summary.rows}
    rows = [
        (
            model.label,
            NONE if model.parameters is None else f"{model.parameters:,}",
            NONE
            if model.learning_rate is None
            else f"{model.learning_rate:g}{' (edge)' if model.edge else ''}",
            NONE if model.tokens_per_second is None else f"{model.tokens_per_second:,.0f}",
            *(_shown(found.get((model.name, *key))) for key in OVERVIEW),
        )
        for model in summary.models
    ]
    return header, rows


def tuning_table(summary: LanguageSummary) -> tuple[tuple[str, ...], Rows]:
    """Header and rows: the validation loss of every model at every learning rate that it was tried with."""
    rates = sorted({trial.learning_rate for model in summary.models for trial in model.tuning})
    rows = []
    for model in summary.models:
        losses = {trial.learning_rate: trial.validation for trial in model.tuning}
        shown = [f"{losses[rate]:.4f}" if rate in losses else NONE for rate in rates]
        rows.append((model.label, *shown))
    return ("validation loss", *(f"{rate:g}" for rate in rates)), rows


def claim_table(summary: LanguageSummary) -> tuple[tuple[str, ...], Rows]:
    """Header and rows: every test of every claim, with what became of the claim in its first row."""
    header = ("claim", "measure", "model", "against", "means", "change", "finding")
    labels = {model.name: model.label for model in summary.models}
    rows = [
        (
            f"{outcome.id}: {outcome.claim}. {capitalised(outcome.standing)}." if number == 0 else "",
            _where(test),
            labels[test.model],
            labels[test.other],
            f"{test.mean:.4g}, {test.reference:.4g}",
            _change(test),
            test.finding,
        )
        for outcome in judge_claims(summary)
        for number, test in enumerate(outcome.tests)
    ]
    return header, rows


def claim_sentence(summary: LanguageSummary, outcome: ClaimOutcome) -> str:
    """What became of a claim, and the numbers, each measure against each other model in a sentence."""
    labels = {model.name: model.label for model in summary.models}
    groups: dict[tuple[str, str, float], list[str]] = {}
    for test in outcome.tests:
        told = f"{labels[test.model]} {test.mean:.4g} ({_change(test)}, {test.finding})"
        groups.setdefault((_where(test), labels[test.other], test.reference), []).append(told)
    sentences = [
        f"{capitalised(where)}: {other} {reference:.4g}; {'; '.join(told)}."
        for (where, other, reference), told in groups.items()
    ]
    about = f"{_parameters(summary)}, preset {summary.preset}, {_seeds(outcome)}"
    return " ".join([f"{outcome.claim}: {outcome.standing} ({about}).", *sentences])


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _where(test: TestedChange) -> str:
    return f"{test.change.measure} ({test.place})" if test.place else test.change.measure


def _change(test: TestedChange) -> str:
    """In percent of what is positive, else as it is."""
    apart, p = test.mean - test.reference, test.difference.p_adjusted
    told = f"{100 * apart / test.reference:+.1f} %" if test.reference > 0 else f"{apart:+.2g}"
    shown = told.replace("-", "−")
    return shown if p is None else f"{shown}, adjusted p {'< 0.001' if p < 0.001 else f'= {p:.2g}'}"


def _parameters(summary: LanguageSummary) -> str:
    counts = [model.parameters for model in summary.models if model.parameters]
    return f"{max(counts) / 1e6:.2g} M parameters" if counts else "no size yet"


def _seeds(outcome: ClaimOutcome) -> str:
    counts = {test.seeds for test in outcome.tests}
    return f"{' to '.join(map(str, sorted({min(counts), max(counts)})))} seeds" if counts else "no seeds"


def _shown(row: LanguageRow | None) -> str:
    if row is None or row.mean is None:
        return NONE
    return f"{row.mean:.4g}" if row.ends is None else f"{row.mean:.4g} [{row.ends[0]:.4g}, {row.ends[1]:.4g}]"
