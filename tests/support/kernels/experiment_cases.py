"""The smallest experiments that exercise everything."""

from dataclasses import replace
from typing import Any

from osdn_kernels.experiments.plan import TrainingPlan, preset
from osdn_kernels.experiments.run_plan import PlannedRun

JOB = PlannedRun("anchored_apf", 1e-2, 0, "test")


def tiny(**changes: Any) -> TrainingPlan:
    """Some tenths of a second a run."""
    plan = preset(
        "smoke", steps=12, batch=6, pairs=(4,), models=("deltanet", "osdn_eta1"), seeds=(0, 1), **changes
    )
    return replace(plan, validation=4, test=4, captured=2)
