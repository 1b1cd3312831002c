"""What a summary says in plain sentences: which differences are significant, and as plainly which are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from osdn_theory.recall.data import count_seeds
from osdn_theory.recall.observations import title

MEASURES = ("accuracy", "accuracy_once", "accuracy_twice", "token_residual_ratio", "recall_residual_ratio")
"""What the sentences are about."""

UNEVEN = 0.5
"""Difference in accuracy between the best and the worst seed from which they are named."""

Row = Mapping[str, Any]


def sentences(summary: Mapping[str, Any]) -> list[str]:
    """Sentences on completeness, differences from DeltaNet, replacements of d and predictions, in that order.

    `summary` has the parts of ``recall.json`` but for the sentences.
    """
    labels = {model["name"]: model["label"] for model in summary["models"]}
    seeds = count_seeds(summary)
    return [
        *_completeness(summary),
        *_uneven_training(summary["models"]),
        *(line for measure in MEASURES for line in _differences(summary["overall"], measure, labels, seeds)),
        *_replacements(summary["ablations"], labels, seeds),
        *_outcomes(summary["predictions"]),
    ]


def _completeness(summary: Mapping[str, Any]) -> Iterator[str]:
    if not summary["complete"]:
        yield "The experiment is not complete: some of its planned runs are missing, and all numbers may change."
    if len(summary["seeds"]) < 2:
        yield "One seed allows no interval and no test: nothing here is significant."


def _uneven_training(models: list[Row]) -> Iterator[str]:
    """Where seeds differ so much, some of them have not learned the task, and means describe neither kind."""
    ranges = []
    for model in models:
        found = sorted((entry["accuracy"], entry["seed"]) for entry in model["accuracy_by_seed"])
        if found and found[-1][0] - found[0][0] > UNEVEN:
            low, high = (
                f"{_value(value, 'accuracy')} (seed {seed})" for value, seed in (found[0], found[-1])
            )
            ranges.append(f"{model['label']} {low} to {high}")
    if ranges:
        yield f"Some seeds fail to train, so that means of accuracy hide two kinds of runs: {'; '.join(ranges)}."


def _differences(rows: list[Row], measure: str, labels: Mapping[str, str], seeds: str) -> Iterator[str]:
    found = [row for row in rows if row["measure"] == measure]
    name = title(measure)
    for row in found:
        if row["mean"] is None:
            yield f"No mean {name} of {labels[row['model']]} is given: for some seed it is not a finite number."
    compared = [row for row in found if row["difference"] is not None]
    reference = [row["mean"] for row in found if row["difference"] is None]
    significant = [row for row in compared if row["difference"]["significant"]]
    for row in significant:
        yield _significant(row, measure, labels, reference[0])
    others = [row for row in compared if _tested(row) and row not in significant]
    if others:
        listed = "; ".join(_brief(row, measure, labels[row["model"]]) for row in others)
        start = f"No difference from DeltaNet in {name} is significant at {seeds}"
        if significant:
            start = f"Not significantly different from DeltaNet in {name} at {seeds}"
        yield f"{start}: {listed}."
    untested = [labels[row["model"]] for row in compared if row["mean"] is not None and not _tested(row)]
    if untested:
        reason = "one pair of seeds, or the same difference for every seed"
        yield f"Not tested against DeltaNet in {name} ({reason}): {'; '.join(untested)}."


def _significant(row: Row, measure: str, labels: Mapping[str, str], reference: float) -> str:
    way = "higher" if row["difference"]["mean"] > 0 else "lower"
    means = f"{_value(row['mean'], measure)} against {_value(reference, measure)}"
    return (
        f"{labels[row['model']]} has a significantly {way} {title(measure)} than DeltaNet: {means}, "
        f"difference {_difference(row, measure)}."
    )


def _replacements(rows: list[Row], labels: Mapping[str, str], seeds: str) -> Iterator[str]:
    tested = [row for row in rows if row["difference"] is not None and _tested(row)]
    significant = [row for row in tested if row["difference"]["significant"]]
    for row in significant:
        yield (
            f"{labels[row['model']]}: {_REPLACED[row['ablation']]} at evaluation changes its accuracy significantly, "
            f"by {_difference(row, 'accuracy')}."
        )
    others = [row for row in tested if row not in significant]
    if others:
        most = max(others, key=lambda row: abs(row["difference"]["mean"]))
        which = f"the other {len(others)} replacements" if significant else f"{len(others)} replacements"
        yield (
            f"The change of accuracy by {which} of d at evaluation is not significant at {seeds}; the largest of them "
            f"is {_difference(most, 'accuracy')}, {labels[most['model']]} with {_REPLACED[most['ablation']]}."
        )


_REPLACED = {
    "ones": "d replaced by 1",
    "mean": "d replaced by its mean over features",
    "shuffled": "d shuffled over features",
    "initial": "d replaced by d_1",
}


def _outcomes(rows: list[Row]) -> Iterator[str]:
    failed = [row for row in rows if row["outcome"] != "as predicted"]
    if rows and not failed:
        yield f"All {len(rows)} predictions of T15 and T19 came out as predicted."
    for row in failed:
        yield f"Not as predicted by {row['theorem']}: {row['statement']}; {row['measured']}."


def _tested(row: Row) -> bool:
    return row["difference"]["p_adjusted"] is not None


def _brief(row: Row, measure: str, label: str) -> str:
    return f"{label}: {_difference(row, measure)}"


def _difference(row: Row, measure: str) -> str:
    found = row["difference"]
    mean, low, high = (_change(found[end], measure) for end in ("mean", "low", "high"))
    unit = " points" if measure.startswith("accuracy") else ""
    return f"{mean}{unit} [{low}, {high}] ({_p(found['p_adjusted'])})"


def _value(value: float, measure: str) -> str:
    return f"{100 * value:.1f} %" if measure.startswith("accuracy") else f"{value:.3g}"


def _change(value: float, measure: str) -> str:
    shown = f"{100 * value:+.2f}" if measure.startswith("accuracy") else f"{value:+.2g}"
    return shown.replace("-", "−")


def _p(value: float) -> str:
    return "adjusted p < 0.001" if value < 0.001 else f"adjusted p = {value:.2g}"
