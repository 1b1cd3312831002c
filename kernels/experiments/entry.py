"""What `osdn-theory recall` calls, found by its entry point: plans are made from plain values, results are files."""

from collections.abc import Callable
from pathlib import Path

from .plan import TrainingPlan, preset as make_plan

__all__ = ["make_plan", "run"]


def run(
    plan: TrainingPlan,
    folder: Path,
    *,
    measure: Callable[[Path], None],
    device: str | None,
    workers: int | None,
    tensorboard: bool,
    command: str,
    progress: Callable[[str, int, int], None],
) -> bool:
    """See `osdn_kernels.experiments.run.run_experiment`; the device is the GPU if there is one, unless it is given.

    By default there are as many workers as cores, at most eight on each GPU, and one for a smoke run.
    """
    import os

    from ..launch.processes import count_gpus
    from .run import Settings, choose_device, run_experiment

    chosen = choose_device(device)
    cores = len(os.sched_getaffinity(0))
    most = min(8 * count_gpus(chosen), cores) if chosen == "cuda" else cores
    settings = Settings(chosen, workers or (1 if plan.preset == "smoke" else most), tensorboard)
    return run_experiment(
        plan, folder, measure=measure, settings=settings, command=command, progress=progress
    )
