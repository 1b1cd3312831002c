"""What the recall experiment consists of: presets, and the training runs that they stand for."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from .models.model_size import ModelSize
from .recall_task import RecallTask
from .run_plan import RunPlan, change
from .specs import MODELS
from .validation import require

ALL_MODELS = tuple(MODELS)

FAST_MODELS = tuple(name for name in ALL_MODELS if not name.startswith("osgdn"))
"""Those that a CPU trains in chunks; the others go token by token there, some ten times as long."""

FIRST_TEST_SEED = 8
"""Those below were trained while the recipe was set up."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan(RunPlan):
    """A recall experiment; fields of `RunPlan`, and

    - `validation`, `test`, `captured`: Sequences of each cell that are validated on, tested on, and whose activations
      are kept.

    Raises ValueError: as `RunPlan`, and for sizes that do not fit each other.
    """

    known_models: ClassVar[tuple[str, ...]] = ALL_MODELS
    positive: ClassVar[tuple[str, ...]] = (*RunPlan.positive, "validation", "test", "captured")
    lesson_module: ClassVar[str] = f"{__package__}.recall_lesson"

    preset: str = "cpu"
    task: RecallTask = field(default_factory=RecallTask)
    size: ModelSize = field(default_factory=ModelSize)
    models: tuple[str, ...] = FAST_MODELS
    learning_rates: tuple[float, ...] = (1e-2, 2e-2, 4e-2, 8e-2)
    tuning: int = 2
    widenings: int = 1
    seeds: tuple[int, ...] = tuple(range(FIRST_TEST_SEED, FIRST_TEST_SEED + 8))
    steps: int = 800
    batch: int = 48
    validation: int = 32
    test: int = 128
    captured: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.captured <= self.test, "captured", f"at most test = {self.test}", self.captured)
        require(self.task.features == self.size.features, "features",
                 f"those of the key vectors, {self.task.features}", self.size.features)  # fmt: skip


PRESETS = {
    "smoke": TrainingPlan(
        preset="smoke",
        task=RecallTask(keys=16, values=12, pairs=(4,), features=32),
        size=ModelSize(features=32, heads=2, key_dim=8, value_dim=8),
        models=("deltanet", "osdn_eta1", "anchored_apf", "gated_deltanet"),
        learning_rates=(1e-2,),
        tuning=1,
        seeds=(0, 1),
        steps=16,
        batch=16,
        validation=8,
        test=8,
        captured=4,
    ),
    "cpu": TrainingPlan(preset="cpu"),
    "h200": TrainingPlan(
        preset="h200",
        models=ALL_MODELS,
        task=RecallTask(keys=128, values=96, pairs=(8, 16, 32, 64), features=128),
        size=ModelSize(features=128, key_dim=24, value_dim=64),
        tuning=1,
        seeds=tuple(range(FIRST_TEST_SEED, FIRST_TEST_SEED + 5)),
        steps=600,
        batch=128,
    ),
}


def preset(name: str, **changes: Any) -> TrainingPlan:
    """A preset with some of its values changed; None changes nothing.

    `pairs`, `repeats`, `keys` and `values` go to the task, `layers`, `heads`, `key_dim` and `value_dim` to the models,
    `features` to both, the others to the plan. `seeds` may be their number, from the preset's first.
    """
    require(name in PRESETS, "preset", " or ".join(PRESETS), name)
    plan = PRESETS[name]
    given = change(plan, changes)
    task = {key: given[key] for key in given if key in RecallTask.__dataclass_fields__}
    size = {key: given[key] for key in given if key in ModelSize.__dataclass_fields__}
    own = {key: given[key] for key in given if key not in task and key not in size}
    return replace(plan, task=replace(plan.task, **task), size=replace(plan.size, **size), **own)
