"""One training run: AdamW with warm-up and cosine decay, resumable after any step that was saved."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from ..run_plan import PlannedRun, RunPlan
from . import checkpoints
from .distributed import ALONE, Group
from .tracking import Row, record, write_csv

LOG_EVERY = 10
SAVE_EVERY = 100
"""A multiple of the other: a checkpoint ends with a row of the log, so that no mean over steps is lost."""

Tick = Callable[[int], None]
"""Told the number of finished steps."""

Judge = Callable[[nn.Module, Any], Tensor]
"""(model, a batch) -> loss, with its graph, and accuracy, [2]"""


def ignore(step: int) -> None:
    """The tick of nobody."""


def train(
    plan: RunPlan, job: PlannedRun, folder: Path, device: torch.device,
    group: Group = ALONE, tick: Tick = ignore, writer: Any = None,
) -> tuple[Any, float]:  # fmt: skip
    """The trained model, and the seconds it took; goes on from the folder's checkpoint if there is one.

    Batches depend on the seed and the step alone, so that a resumed run sees what it would have seen.

    Raises CheckpointError: see `checkpoints.load`.
    Raises FloatingPointError: if the loss is no finite number: the run is named.
    Raises OSError: if the checkpoint cannot be written.
    """
    lesson = plan.lesson
    model = lesson.build(plan, job).to(device)
    optimizer = adamw(plan, model, job.learning_rate)
    log = resume(plan, job, folder, model, optimizer)
    step, seconds = (log[-1][0], log[-1][-1]) if log else (0, 0.0)
    parallel = group.wrap(model)
    sums: list[Tensor] = []
    started = time.monotonic() - seconds
    while step < plan.steps:
        rate = job.learning_rate * schedule(plan, step)
        batches = lesson.batches(plan, job, step, group.share(plan.batch))
        sums.append(update(parallel, optimizer, rate, plan.clip_norm, lesson.judge, batches))
        model.project_()
        step += 1
        if step % LOG_EVERY == 0 or step == plan.steps:
            loss, accuracy = torch.stack(sums).mean(0).tolist()
            sums = []
            if not math.isfinite(loss):
                raise FloatingPointError(f"{job.label}: the loss is {loss} at step {step}")
            log.append((step, loss, accuracy, rate, time.monotonic() - started))
            record(writer, log[-1])
            if group.leads and (step % SAVE_EVERY == 0 or step == plan.steps):
                save(plan, job, folder, model, optimizer, log)
            tick(step)
    return model, log[-1][-1]


def adamw(plan: RunPlan, model: nn.Module, learning_rate: float) -> AdamW:
    """AdamW; parameters that layers mark so, and vectors, are not decayed."""
    kept: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            free = parameter.dim() < 2 or getattr(parameter, "_no_weight_decay", False)
            (kept if free else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return AdamW(groups, lr=learning_rate, betas=plan.betas)


def schedule(plan: RunPlan, step: int) -> float:
    """Share of the learning rate: linear up, then half a cosine down."""
    warm_up = max(1, round(plan.warm_up * plan.steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, plan.steps - warm_up)))


def update(
    model: nn.Module, optimizer: AdamW, rate: float, clip_norm: float, judge: Judge, batches: list[Any]
) -> Tensor:
    """One step on batches of one size, whose gradients are averaged; loss and accuracy before it, [2]."""
    for parameters in optimizer.param_groups:
        parameters["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    found = []
    for batch in batches:
        judged = judge(model, batch)
        (judged[0] / len(batches)).backward()
        found.append(judged.detach())
    nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    return torch.stack(found).mean(0)


def resume(plan: RunPlan, job: PlannedRun, folder: Path, model: nn.Module, optimizer: AdamW) -> list[Row]:
    """The log so far, with the model and the optimizer where it ends."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return []
    state = checkpoints.load(path, fingerprint(plan, job))
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise checkpoints.CheckpointError(
            f"the checkpoint {str(path)!r} is of a model of another shape; choose another folder or delete it"
        ) from error
    return [tuple(row) for row in state["log"]]


def save(
    plan: RunPlan, job: PlannedRun, folder: Path, model: nn.Module, optimizer: AdamW, log: list[Row]
) -> None:
    state = {
        "fingerprint": fingerprint(plan, job),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "log": log,
    }
    checkpoints.save(folder / "checkpoint.pt", state)
    write_csv(folder / "log.csv", log)


def fingerprint(plan: RunPlan, job: PlannedRun) -> str:
    return f"{plan.fingerprint}/{job.folder}"
