"""The numbers of a recall summary as tables and sentences, the same on the report page and in the notebook."""

from collections.abc import Callable, Sequence

from osdn_theory.recall.data import BASELINE, count_seeds, labels, overall
from osdn_theory.recall.document import Mean, ModelRecord, OverallRow, PairedDifference, RecallSummary

Rows = Sequence[tuple[str, ...]]

NONE = "–"
"""What a cell says that was not measured."""

_SPACE = "\N{NO-BREAK SPACE}"

MEASURES = {
    "accuracy": "accuracy",
    "accuracy_once": "accuracy read once",
    "accuracy_twice": "accuracy read twice",
    "accuracy_isotropic": "accuracy on isotropic keys",
    "accuracy_nonstationary": "accuracy on keys that change halfway",
    "token_residual_ratio": "token residual ratio",
    "read_twice_ratio": "token residual ratio read twice",
    "missing_share": "missing share",
}


RATIOS = ("token_residual_ratio", "read_twice_ratio", "missing_share")
"""What is left: of each token by its own write, the same on contexts read twice, and of the context at its end."""


def model_table(summary: RecallSummary) -> tuple[tuple[str, ...], Rows]:
    """Header and rows: every model with its size, its learning rate and what it reached over all cells."""
    header = (
        "model",
        "parameters",
        "learning rate",
        "accuracy, %",
        "points from DeltaNet",
        "token residual ratio",
        "the same, read twice",
        "missing share",
    )
    return header, [_model_row(summary, model) for model in summary.models]


def _model_row(summary: RecallSummary, model: ModelRecord) -> tuple[str, ...]:
    accuracy = overall(summary, model.name, "accuracy")
    ratios = (overall(summary, model.name, measure) for measure in RATIOS)
    return (
        model.label,
        NONE if model.parameters is None else f"{model.parameters:,}",
        NONE if model.learning_rate is None else f"{model.learning_rate:g}",
        percent(accuracy),
        points(accuracy.difference if accuracy else None),
        *(_ratio(entry) for entry in ratios),
    )


def ablation_table(summary: RecallSummary) -> tuple[tuple[str, ...], Rows]:
    """Header and rows: accuracy of every model that has a d, and its change with d replaced; no rows without any."""
    found = {(row.model, row.ablation): row for row in summary.ablations}
    replaced = [name for name in dict.fromkeys(name for _, name in found) if name != "none"]
    header = ("model", "as trained, %", *(f"d replaced: {name}" for name in replaced))
    rows = [
        (
            label,
            percent(found.get((model, "none"))),
            *(points(found[model, name].difference if (model, name) in found else None) for name in replaced),
        )
        for model, label in labels(summary).items()
        if any(each == model for each, _ in found)
    ]
    return header, rows


def prediction_table(summary: RecallSummary) -> tuple[tuple[str, ...], Rows]:
    """Header and rows: what the theory predicts of these runs, what was measured, and whether it came out so."""
    rows = [(row.theorem, row.statement, row.measured, row.outcome) for row in summary.predictions]
    return ("theorem", "prediction", "measured", "outcome"), rows


def percent(entry: Mean | None) -> str:
    """A share with its interval in percent, ``61.2 [60.1, 62.3]``."""
    return _with_interval(entry, lambda value: f"{100 * value:.1f}".replace("-", "−"))


def points(difference: PairedDifference | None) -> str:
    """A difference of shares with its interval in points, and what the test says of it."""
    if difference is None or difference.mean is None:
        return NONE
    # Two decimals: differences are smaller than the shares they are of.
    shown = _with_interval(difference, lambda value: _signed(value, 2))
    return f"{shown}, {significance(difference)}{_p_value(difference)}"


def significance(difference: PairedDifference | None) -> str:
    """What the paired test says of a difference."""
    if difference is None or difference.p_adjusted is None:
        return "not tested"
    return "significant" if difference.significant else "not significant"


def _p_value(difference: PairedDifference) -> str:
    p = difference.p_adjusted
    return "" if p is None else " (p < 0.001)" if p < 0.001 else f" (p = {p:.3f})"


def against_baseline(summary: RecallSummary, measure: str) -> str:
    """One sentence: a measure of DeltaNet, and of every other model with its distance from that in percent of it."""
    status = "" if summary.complete else ", not complete"
    where = f"At small scale (preset {summary.preset}, {count_seeds(summary)}{status}), {MEASURES[measure]}: "
    base = overall(summary, BASELINE, measure)
    if base is None:
        return f"{where}DeltaNet was not measured."
    others = [
        (label, overall(summary, name, measure))
        for name, label in labels(summary).items()
        if name != BASELINE
    ]
    parts = [f"{labels(summary)[BASELINE]} {base.value:.3f}"]
    parts += [f"{label} {_relative(entry, base.value)}" for label, entry in others if entry is not None]
    return f"{where}{'; '.join(parts)}."


def _relative(entry: OverallRow, base: float) -> str:
    change = f"{_signed(entry.value / base - 1, 1)} %, " if base else ""
    return f"{entry.value:.3f} ({change}{significance(entry.difference)})"


def _with_interval(entry: Mean | None, shown: Callable[[float], str]) -> str:
    if entry is None or entry.mean is None:
        return NONE
    mean = shown(entry.mean)
    return mean if entry.ends is None else f"{mean}{_SPACE}[{f',{_SPACE}'.join(map(shown, entry.ends))}]"


def _signed(value: float, decimals: int) -> str:
    return f"{100 * value:+.{decimals}f}".replace("-", "−")


def _ratio(entry: Mean | None) -> str:
    return _with_interval(entry, lambda value: f"{value:#.3g}".rstrip("."))
