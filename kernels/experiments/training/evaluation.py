"""What a trained model does on sequences that it was not trained on."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from ..models.architecture import RecallModel
from ..models.mixers import REPLACEMENTS, capturing, replacing
from ..plan import TrainingPlan
from ..recall_task import SPLITS, STATISTICS, Batch, BatchKind, RecallTask, draw
from ..specs import MODELS
from ..tensor_files import write_tensors

DISTANCES = (0, 8, 16, 32, 64, 128, 256, 512)
"""Edges of the classes of distance, in tokens."""


def sequences(task: RecallTask, cell: BatchKind, count: int, split: str) -> Batch:
    """The same for all models and seeds."""
    key = [SPLITS.index(split), STATISTICS.index(cell.statistic), cell.repeats, cell.pairs]
    return draw(task, cell, count, split, np.random.default_rng(key))


@torch.no_grad()
def predictions(model: RecallModel, batch: Batch) -> tuple[NDArray[np.bool_], float]:
    """Which queries [B, P] are answered rightly, and the loss."""
    device = model.head.weight.device
    targets = torch.from_numpy(batch.targets).to(device)
    logits = model(torch.from_numpy(batch.tokens).to(device), targets.shape[1])
    loss = cross_entropy(logits.flatten(0, 1), targets.flatten()).item()
    return (logits.argmax(-1) == targets).cpu().numpy(), loss


def validation_accuracy(plan: TrainingPlan, model: RecallModel) -> float:
    """Mean over the cells."""
    rights = [
        predictions(model, sequences(plan.task, cell, plan.validation, "validation"))[0].mean()
        for cell in plan.task.cells
    ]
    return float(np.mean(rights))


def test(plan: TrainingPlan, model: RecallModel, name: str, folder: Path) -> dict[str, Any]:
    """Accuracy by cell, by distance and by ablation; the activations of some sequences go to the folder."""
    spec = MODELS[name]
    ablations = [] if spec.step.pinned or spec.gated_state else ["none", *REPLACEMENTS]
    by_distance: dict[tuple[str, int], NDArray[np.int64]] = defaultdict(
        lambda: np.zeros((2, len(DISTANCES)), dtype=np.int64)
    )
    cells, ablated = [], []
    for cell in plan.task.cells:
        batch = sequences(plan.task, cell, plan.test, "test")
        right, loss = predictions(model, batch)
        where = {"statistic": cell.statistic, "repeats": cell.repeats, "pairs": cell.pairs}
        accuracy = float(right.mean())
        cells.append({**where, "accuracy": accuracy, "loss": loss, "queries": right.size})
        by_distance[cell.statistic, cell.repeats] += counted(batch.distances, right)
        for ablation in ablations:
            if ablation != "none":
                with replacing(model, REPLACEMENTS[ablation]):
                    accuracy = float(predictions(model, batch)[0].mean())
            ablated.append({"ablation": ablation, **where, "accuracy": accuracy})
        capture(model, batch, plan.captured, folder / "activations" / f"{cell.label}.safetensors")
    return {"cells": cells, "distances": distances(by_distance), "ablations": ablated}


def counted(distance: NDArray[np.int64], right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Queries answered rightly and queries in each class of distance, [2, classes]."""
    which = np.digitize(distance.ravel(), DISTANCES) - 1
    weights = np.stack([right.ravel(), np.ones(right.size, dtype=bool)])
    return np.stack([np.bincount(which, w, minlength=len(DISTANCES)) for w in weights]).astype(np.int64)


def distances(found: dict[tuple[str, int], NDArray[np.int64]]) -> list[dict[str, Any]]:
    """One entry for each class that has queries; the last class is open and holds the longest."""
    edges = [*DISTANCES, 2 * DISTANCES[-1]]
    return [
        {
            "statistic": statistic,
            "repeats": repeats,
            "low": edges[i],
            "high": edges[i + 1],
            "correct": int(correct),
            "queries": int(queries),
        }
        for (statistic, repeats), counts in found.items()
        for i, (correct, queries) in enumerate(counts.T)
        if queries
    ]


def capture(model: RecallModel, batch: Batch, count: int, path: Path) -> None:
    """Inputs and outputs of every layer's operator on the first `count` sequences."""
    few = Batch(*(x[:count] for x in batch))
    with capturing(model) as layers:
        predictions(model, few)
    tensors = {
        f"layer{number}.{name}": x.cpu().contiguous()
        for number, layer in enumerate(layers)
        for name, x in layer.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, tensors)
