"""What a summary says in plain sentences: which differences are significant, and as plainly which are not."""

from collections.abc import Iterator, Mapping, Sequence

from osdn_theory.recall.data import count_seeds, labels
from osdn_theory.recall.document import (
    AblationRow,
    ModelRecord,
    OverallRow,
    PairedDifference,
    Prediction,
    RecallSummary,
)
from osdn_theory.recall.observations import READ_TWICE, title
from osdn_theory.recall.statistics import FEWEST

MEASURES = (
    "accuracy",
    "accuracy_once",
    "accuracy_twice",
    "token_residual_ratio",
    READ_TWICE,
    "missing_share",
)
"""What the sentences are about."""

UNEVEN = 0.5
"""Difference in accuracy between the best and the worst seed from which they are named."""

Labels = Mapping[str, str]


def sentences(summary: RecallSummary) -> tuple[str, ...]:
    """Sentences on completeness, differences from DeltaNet, replacements of d and predictions, in that order.

    Those that `summary` has already do not matter.
    """
    names, seeds = labels(summary), count_seeds(summary)
    compared = MEASURES if len(summary.seeds) >= FEWEST else ()
    return (
        *_completeness(summary),
        *_uneven_training(summary.overall, names),
        *_edges(summary.models),
        *(line for measure in compared for line in _differences(summary.overall, measure, names, seeds)),
        *_replacements(summary.ablations, names, seeds),
        *_outcomes(summary.predictions),
    )


def _completeness(summary: RecallSummary) -> Iterator[str]:
    if not summary.complete:
        yield "The experiment is not complete: some of its planned runs are missing, and all numbers may change."
    if len(summary.seeds) < FEWEST:
        yield f"Fewer than {FEWEST} seeds allow no test: nothing here says that a model recalls better than another."


def _uneven_training(rows: Sequence[OverallRow], names: Labels) -> Iterator[str]:
    """Where seeds differ so much, some of them have not learned the task, and means describe neither kind."""
    ranges = []
    for row in rows:
        found = sorted((entry.value, entry.seed) for entry in row.by_seed if row.measure == "accuracy")
        if found and found[-1][0] - found[0][0] > UNEVEN:
            low, high = (
                f"{_value(value, 'accuracy')} (seed {seed})" for value, seed in (found[0], found[-1])
            )
            ranges.append(f"{names[row.model]} {low} to {high}")
    if ranges:
        yield f"Some seeds fail to train, so that means of accuracy hide two kinds of runs: {'; '.join(ranges)}."


def _edges(models: Sequence[ModelRecord]) -> Iterator[str]:
    """Where the best learning rate may lie outside the grid."""
    won = [
        f"{model.label} {model.learning_rate:g}"
        for model in models
        if model.learning_rate is not None
        and len(model.tuning) > 1
        and model.learning_rate in (model.tuning[0].learning_rate, model.tuning[-1].learning_rate)
    ]
    if won:
        beyond = (
            "Validation chose a learning rate at an edge of the grid, so that a better one may lie beyond"
        )
        yield f"{beyond}: {'; '.join(won)}."


def _differences(rows: Sequence[OverallRow], measure: str, names: Labels, seeds: str) -> Iterator[str]:
    found = [row for row in rows if row.measure == measure]
    name = title(measure)
    for row in found:
        if row.mean is None:
            yield f"No mean {name} of {names[row.model]} is given: for some seed it is not a finite number."
    compared = [(row, row.difference) for row in found if row.difference is not None]
    significant = [(row, change) for row, change in compared if change.significant]
    for row, change in significant:
        way = "higher" if change.value > 0 else "lower"
        reference = next(each.value for each in found if each.difference is None)
        means = f"{_value(row.value, measure)} against {_value(reference, measure)}"
        yield (
            f"{names[row.model]} has a significantly {way} {name} than DeltaNet: {means}, "
            f"difference {_difference(change, measure)}."
        )
    others = [
        (row, change) for row, change in compared if change.p_adjusted is not None and not change.significant
    ]
    if others:
        listed = "; ".join(f"{names[row.model]}: {_difference(change, measure)}" for row, change in others)
        start = f"No difference from DeltaNet in {name} is significant at {seeds}"
        if significant:
            start = f"Not significantly different from DeltaNet in {name} at {seeds}"
        yield f"{start}: {listed}."
    untested = [
        names[row.model] for row, change in compared if row.mean is not None and change.p_adjusted is None
    ]
    if untested:
        reason = f"fewer than {FEWEST} pairs of seeds, or the same difference for every seed"
        yield f"Not tested against DeltaNet in {name} ({reason}): {'; '.join(untested)}."


def _replacements(rows: Sequence[AblationRow], names: Labels, seeds: str) -> Iterator[str]:
    changes = [(row, row.difference) for row in rows if row.difference is not None]
    tested = [(row, change) for row, change in changes if change.p_adjusted is not None]
    significant = [(row, change) for row, change in tested if change.significant]
    for row, change in significant:
        yield (
            f"{names[row.model]}: {_REPLACED[row.ablation]} at evaluation changes its accuracy significantly, "
            f"by {_difference(change, 'accuracy')}."
        )
    others = [(row, change) for row, change in tested if not change.significant]
    if others:
        row, most = max(others, key=lambda pair: abs(pair[1].value))
        which = f"the other {len(others)} replacements" if significant else f"{len(others)} replacements"
        yield (
            f"The change of accuracy by {which} of d at evaluation is not significant at {seeds}; the largest of them "
            f"is {_difference(most, 'accuracy')}, {names[row.model]} with {_REPLACED[row.ablation]}."
        )


_REPLACED = {
    "ones": "d replaced by 1",
    "mean": "d replaced by its mean over features",
    "shuffled": "d shuffled over features",
    "reversed": "d reversed over features",
    "initial": "d replaced by d_1",
}


def _outcomes(rows: Sequence[Prediction]) -> Iterator[str]:
    failed = [row for row in rows if row.outcome != "as predicted"]
    if rows and not failed:
        yield f"All {len(rows)} predictions of T15 and T19 came out as predicted."
    for row in failed:
        yield f"Not as predicted by {row.theorem}: {row.statement}; {row.measured}."


def _difference(found: PairedDifference, measure: str) -> str:
    """One that was tested, and so has an interval and a p."""
    assert found.ends is not None
    assert found.p_adjusted is not None
    mean, low, high = (_change(end, measure) for end in (found.value, *found.ends))
    unit = " points" if measure.startswith("accuracy") else ""
    return f"{mean}{unit} [{low}, {high}] ({_p(found.p_adjusted)})"


def _value(value: float, measure: str) -> str:
    return f"{100 * value:.1f} %" if measure.startswith("accuracy") else f"{value:.3g}"


def _change(value: float, measure: str) -> str:
    shown = f"{100 * value:+.2f}" if measure.startswith("accuracy") else f"{value:+.2g}"
    return shown.replace("-", "−")


def _p(value: float) -> str:
    return "adjusted p < 0.001" if value < 0.001 else f"adjusted p = {value:.2g}"
