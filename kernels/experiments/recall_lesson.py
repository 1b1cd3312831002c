"""What the engine of experiments asks of in-context recall: a model, its batches, their loss, and what it learned."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .models import architecture
from .models.architecture import RecallModel
from .plan import TrainingPlan
from .recall_task import Batch, draw_training
from .run_plan import PlannedRun
from .specs import MODELS
from .training import evaluation

best = max
"""Of validation accuracies."""

less_memory = "a smaller --batch"


def build(plan: TrainingPlan, job: PlannedRun) -> RecallModel:
    return architecture.build(plan.task, job.model, plan.size, job.seed)


def batches(plan: TrainingPlan, job: PlannedRun, step: int, rows: slice) -> list[Batch]:
    """The rows of a step that one process has."""
    drawn = draw_training(plan.task, plan.batch, "train", np.random.default_rng([job.seed, step]))
    return [Batch(*(x[rows] for x in drawn))]


def judge(model: nn.Module, batch: Batch) -> Tensor:
    """Loss and accuracy, [2]."""
    device = next(model.parameters()).device
    targets = torch.from_numpy(batch.targets).to(device)
    logits = model(torch.from_numpy(batch.tokens).to(device), targets.shape[1])
    loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
    return torch.stack([loss, (logits.argmax(-1) == targets).float().mean()])


def examine(
    plan: TrainingPlan, job: PlannedRun, place: Path, model: RecallModel, seconds: float
) -> dict[str, Any]:
    """What a result says beside who was trained how long."""
    spec = MODELS[job.model]
    tested = evaluation.test(plan, model, job.model, place) if job.role == "test" else {}
    return {
        "label": spec.label,
        "rule": spec.rule,
        "gated_state": spec.gated_state,
        "context": {f"{cell.repeats}-{cell.pairs}": cell.context for cell in plan.task.cells},
        "validation": evaluation.validation_accuracy(plan, model),
        "cells": [],
        "distances": [],
        "ablations": [],
        **tested,
    }
