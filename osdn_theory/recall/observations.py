"""The numbers of one test run that are compared over seeds."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from osdn_theory.measures.analysis import geometric_mean_ratio, root_mean_square
from osdn_theory.recall.runs import CellKey, MeasuredCell, TrainingRun

Range = tuple[int, int, int]


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def _geometric_mean(values: list[float]) -> float:
    return float(geometric_mean_ratio(np.array(values))[1])


def _root_mean_square(values: list[float]) -> float:
    return float(root_mean_square(np.array(values)))


OVER_CELLS: Mapping[str, Callable[[list[float]], float]] = {
    "token_residual_ratio": _geometric_mean,
    "missing_share": _geometric_mean,
    "d_low": min,
    "d_high": max,
    "drift_from_one": _root_mean_square,
    "drift_from_start": _root_mean_square,
    "clipped_fraction": _mean,
    "output_error": max,
}
"""Measures of layers, and how those of a run's cells and layers become one number."""

READ_TWICE = "read_twice_ratio"
"""The authors' measure; followed by an underscore and a replacement of d, the same with that in its place."""

TITLES = {
    "accuracy": "accuracy",
    "accuracy_once": "accuracy on contexts read once",
    "accuracy_twice": "accuracy on contexts read twice",
    "loss": "loss",
    "token_residual_ratio": "token residual ratio",
    READ_TWICE: "token residual ratio read twice",
    "missing_share": "missing share",
    "d_low": "least d",
    "d_high": "largest d",
    "drift_from_one": "|d - 1|",
    "drift_from_start": "|d - d_1|",
    "clipped_fraction": "share of clipped steps",
    "output_error": "relative error of the layer's outputs",
}


def title(measure: str) -> str:
    """What a measure is called."""
    if measure.startswith(f"{READ_TWICE}_"):
        return f"{TITLES[READ_TWICE]}, d replaced: {measure.removeprefix(f'{READ_TWICE}_')}"
    return TITLES.get(measure) or f"accuracy on {measure.removeprefix('accuracy_')} keys"


def cell_accuracies(run: TrainingRun) -> dict[CellKey, float]:
    """Accuracy on the test set, cell by cell."""
    return {cell.key: cell.accuracy for cell in run.result.cells}


def distance_accuracies(run: TrainingRun) -> dict[Range, float]:
    """Accuracy by (repeats, low, high), the distance of a query from the last write of its pair in tokens."""
    counts: dict[Range, list[int]] = {}
    for entry in run.result.distances:
        total = counts.setdefault((entry.repeats, entry.low, entry.high), [0, 0])
        total[0] += entry.correct
        total[1] += entry.queries
    return {key: correct / queries for key, (correct, queries) in counts.items() if queries}


def ablation_accuracies(run: TrainingRun) -> dict[str, float]:
    """Mean accuracy over the cells with d replaced, by ablation."""
    found: dict[str, list[float]] = {}
    for entry in run.result.ablations:
        found.setdefault(entry.ablation, []).append(entry.accuracy)
    return {name: _mean(values) for name, values in found.items()}


def overall(run: TrainingRun) -> dict[str, float]:
    """One number per measure: means over the cells of the test set, and `OVER_CELLS` of the layers."""
    return _of_test_set(run) | _of_layers(run.measured or ())


def _of_test_set(run: TrainingRun) -> dict[str, float]:
    accuracies = cell_accuracies(run)
    if not accuracies:
        return {}
    groups = {"accuracy": accuracies.keys()} | {
        f"accuracy_{name}": [cell for cell in accuracies if cell[1] == repeats]
        for name, repeats in (("once", 1), ("twice", 2))
    }  # fmt: skip
    for statistic in dict.fromkeys(cell[0] for cell in accuracies):
        groups[f"accuracy_{statistic}"] = [cell for cell in accuracies if cell[0] == statistic]
    means = {name: _mean([accuracies[c] for c in cells]) for name, cells in groups.items() if cells}
    return means | {"loss": _mean([cell.loss for cell in run.result.cells])}


def _of_layers(cells: Sequence[MeasuredCell]) -> dict[str, float]:
    found = {name: _over(name, [getattr(cell, name) for cell in cells]) for name in OVER_CELLS if cells}
    return found | _read_twice([cell for cell in cells if cell.repeats == 2])


def _read_twice(cells: Sequence[MeasuredCell]) -> dict[str, float]:
    """The authors' measure: over the contexts read twice, as it is and with d replaced."""
    if not cells:
        return {}
    replaced = {f"{READ_TWICE}_{name}": [cell.replaced[name] for cell in cells] for name in cells[0].replaced}
    own = {READ_TWICE: [cell.token_residual_ratio for cell in cells]}
    return {name: _geometric_mean(values) for name, values in (own | replaced).items()}


def _over(name: str, values: list[float]) -> float:
    # min and max of a list with NaN depend on its order.
    return math.nan if any(map(math.isnan, values)) else OVER_CELLS[name](values)
