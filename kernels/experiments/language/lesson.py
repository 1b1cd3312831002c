"""What the engine of experiments asks of language modelling: a model, its batches, their loss, and what it learned."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..run_plan import PlannedRun
from ..validation import require
from . import evaluation, model as architecture
from .data import ABOUT, load
from .model import LanguageModel
from .plan import MODELS, LanguagePlan

best = min
"""Of validation losses."""

less_memory = "a smaller --micro-batch, which changes nothing but rounding"


def build(plan: LanguagePlan, job: PlannedRun) -> LanguageModel:
    return architecture.build(plan, job.model, job.seed)


def batches(plan: LanguagePlan, job: PlannedRun, step: int, rows: slice) -> list[NDArray[np.int64]]:
    """Tokens [micro batch, context + 1] of one process, the same for all models of a seed."""
    stream = load(plan.data, plan.vocabulary).train
    drawn = np.random.default_rng([job.seed, step]).integers(len(stream) - plan.context, size=plan.batch)
    starts = drawn[rows]
    at_once = min(plan.micro_batch, len(starts))
    fits = len(starts) % at_once == 0
    require(fits, "micro_batch", f"a divisor of the {len(starts)} sequences of a process", at_once)
    tokens = stream[starts[:, None] + np.arange(plan.context + 1)].astype(np.int64)
    return np.split(tokens, len(starts) // at_once)


def judge(model: nn.Module, tokens: NDArray[np.int64]) -> Tensor:
    """Loss and accuracy, [2]."""
    rows = torch.from_numpy(tokens).to(next(model.parameters()).device)
    logits, targets = model(rows[:, :-1]), rows[:, 1:]
    loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
    return torch.stack([loss, (logits.argmax(-1) == targets).float().mean()])


def examine(
    plan: LanguagePlan, job: PlannedRun, place: Path, model: LanguageModel, seconds: float
) -> dict[str, Any]:
    """What a result says beside who was trained how long; of a test run the layers' activations are written."""
    data, spec = load(plan.data, plan.vocabulary), MODELS[job.model]
    values: list[dict[str, Any]] = []
    if job.role == "test":
        values = [found.document() for found in evaluation.measure(plan, model, data)]
        evaluation.capture(plan, model, data, describe(plan, job), place / "activations")
    return {
        "label": spec.label,
        "form": spec.form,
        "rule": spec.rule,
        "validation": evaluation.number(evaluation.validation_loss(plan, model, data)),
        "tokens_per_second": plan.tokens / seconds,
        "values": values,
    }


def describe(plan: LanguagePlan, job: PlannedRun) -> dict[str, str]:
    """The metadata of captured activations: whose they are, on which text under which licences."""
    sources = json.loads((Path(plan.data) / ABOUT).read_text())["sources"]
    return {
        "model": job.label,
        "preset": plan.preset,
        "corpus": plan.corpus,
        "license": "; ".join(f"{name}: {each['licence']}" for name, each in sources.items()),
        "rule": json.dumps(MODELS[job.model].rule),
    }
