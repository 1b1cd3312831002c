"""What an experiment consists of: presets, and the training runs that they stand for."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from .models.model_size import ModelSize
from .recall_task import RecallTask
from .specs import MODELS
from .validation import require

FIRST_TUNING_SEED = 1000
"""Seeds from here on are of the runs that choose the learning rate; never test seeds."""

ALL_MODELS = tuple(MODELS)

FIRST_CPU_SEED = 8
"""Of the cpu preset: those below were trained while its recipe was set up."""


class PlannedRun(NamedTuple):
    """One training run."""

    model: str
    learning_rate: float
    seed: int
    role: str

    @property
    def folder(self) -> Path:
        return Path("runs") / self.model / f"lr{self.learning_rate:g}-seed{self.seed}"

    @property
    def label(self) -> str:
        return f"{self.model}, learning rate {self.learning_rate:g}, seed {self.seed}"


@dataclass(frozen=True)
class TrainingPlan:
    """An experiment: every model, tuned on the same grid, then trained from the same seeds on the same data.

    Parameters
    ----------
    preset : str
    task : RecallTask
    size : ModelSize
    models : tuple of str
    learning_rates : tuple of float
    tuning : int
        Seeds that every learning rate is tried with.
    seeds : tuple of int
    steps, batch : int
        Optimizer steps of a run, and sequences of a step.
    warm_up : float
        Share of the steps in which the learning rate rises; after it half a cosine.
    betas, weight_decay : of AdamW
    clip_norm : float
        Norm that gradients are clipped to.
    validation, test, captured : int
        Sequences of each cell that are validated on, tested on, and whose activations are kept.

    Raises
    ------
    ValueError
        For unknown models, repeated or missing entries, or numbers out of range.
    """

    preset: str = "cpu"
    task: RecallTask = field(default_factory=RecallTask)
    size: ModelSize = field(default_factory=ModelSize)
    models: tuple[str, ...] = ALL_MODELS
    learning_rates: tuple[float, ...] = (5e-3, 1e-2, 2e-2)
    tuning: int = 2
    seeds: tuple[int, ...] = tuple(range(FIRST_CPU_SEED, FIRST_CPU_SEED + 8))
    steps: int = 800
    batch: int = 48
    warm_up: float = 0.3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    validation: int = 32
    test: int = 128
    captured: int = 8

    def __post_init__(self) -> None:
        unknown = [name for name in self.models if name not in ALL_MODELS]
        require(not unknown, "models", f"names among {', '.join(ALL_MODELS)}", unknown)
        for name in ("models", "learning_rates", "seeds"):
            entries = getattr(self, name)
            require(len(entries) > 0 and len(set(entries)) == len(entries), name, "distinct entries", entries)
        require(all(0 < rate < 1 for rate in self.learning_rates), "learning_rates", "between 0 and 1",
                 self.learning_rates)  # fmt: skip
        require(
            all(0 <= seed < FIRST_TUNING_SEED for seed in self.seeds),
            "seeds",
            f"0 to {FIRST_TUNING_SEED - 1}",
            self.seeds,
        )
        for name in ("tuning", "steps", "batch", "validation", "test", "captured"):
            require(getattr(self, name) >= 1, name, "a positive number", getattr(self, name))
        require(0 <= self.warm_up < 1, "warm_up", "a share of the steps", self.warm_up)
        require(self.captured <= self.test, "captured", f"at most test = {self.test}", self.captured)
        require(self.task.features == self.size.features, "features",
                 f"those of the key vectors, {self.task.features}", self.size.features)  # fmt: skip

    def tuning_jobs(self) -> list[PlannedRun]:
        return [
            PlannedRun(model, rate, FIRST_TUNING_SEED + i, "tune")
            for model in self.models
            for rate in self.learning_rates
            for i in range(self.tuning)
        ]

    def testing_jobs(self, chosen: dict[str, float]) -> list[PlannedRun]:
        """Seed by seed, so that what an interrupted experiment has is paired."""
        return [
            PlannedRun(model, chosen[model], seed, "test") for seed in self.seeds for model in self.models
        ]

    @property
    def runs(self) -> int:
        return len(self.models) * (len(self.learning_rates) * self.tuning + len(self.seeds))

    def document(self) -> dict[str, Any]:
        """JSON-ready."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return document

    @property
    def fingerprint(self) -> str:
        """Of everything that a training run depends on; models, rates and seeds may be added to a folder."""
        own = {
            k: v
            for k, v in self.document().items()
            if k not in ("preset", "models", "learning_rates", "tuning", "seeds")
        }
        return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16]


PRESETS = {
    "smoke": TrainingPlan(
        preset="smoke",
        task=RecallTask(keys=16, values=12, pairs=(4,), features=32),
        size=ModelSize(features=32, heads=2, key_dim=8, value_dim=8),
        models=("deltanet", "osdn_eta1", "anchored_apf", "gated_deltanet"),
        learning_rates=(1e-2,),
        tuning=1,
        seeds=(0, 1),
        steps=40,
        batch=16,
        validation=8,
        test=16,
        captured=4,
    ),
    "cpu": TrainingPlan(preset="cpu"),
    "h200": TrainingPlan(
        preset="h200",
        task=RecallTask(keys=128, values=96, pairs=(8, 16, 32, 64), features=128),
        size=ModelSize(features=128, key_dim=24, value_dim=64),
        tuning=1,
        seeds=(0, 1, 2, 3, 4),
        steps=600,
        batch=128,
    ),
}


def preset(name: str, **changes: Any) -> TrainingPlan:
    """A preset with some of its values changed; None changes nothing.

    `pairs`, `repeats`, `keys` and `values` go to the task, `layers`, `heads`, `key_dim` and `value_dim` to the models,
    `features` to both, the others to the plan. `seeds` may be their number, from the preset's first.

    Raises ValueError: for an unknown preset, or values that do not fit.
    """
    require(name in PRESETS, "preset", " or ".join(PRESETS), name)
    plan = PRESETS[name]
    given = {key: value for key, value in changes.items() if value is not None}
    if isinstance(given.get("seeds"), int):
        given["seeds"] = tuple(range(plan.seeds[0], plan.seeds[0] + given["seeds"]))
    task = {key: given[key] for key in given if key in RecallTask.__dataclass_fields__}
    size = {key: given[key] for key in given if key in ModelSize.__dataclass_fields__}
    own = {key: given[key] for key in given if key not in task and key not in size}
    return replace(plan, task=replace(plan.task, **task), size=replace(plan.size, **size), **own)
