"""Which training runs an experiment consists of, whatever its models learn."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from .validation import require

FIRST_TUNING_SEED = 1000
"""Seeds from here on are of the runs that choose the learning rate; never test seeds."""


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


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Every model, tuned on the same grid, then trained from the same seeds on the same data.

    - `tuning`: Seeds that every learning rate is tried with.
    - `widenings`: How often a model is tried with another rate, twice or half as large, where its grid's edge won.
    - `steps`, `batch`: Optimizer steps of a run, and sequences of a step.
    - `warm_up`: Share of the steps in which the learning rate rises; after it half a cosine.
    - `betas`, `weight_decay`: of AdamW
    - `clip_norm`: Norm that gradients are clipped to.

    - `known_models`, `positive`: The models there are, and fields that must be positive.
    - `free`: Fields that no single run depends on, so that they may change in a folder.
    - `lesson_module`: Builds, feeds and judges the models of a plan: `lesson`.

    Raises ValueError: for unknown models, repeated or missing entries, or numbers out of range.
    """

    known_models: ClassVar[tuple[str, ...]] = ()
    positive: ClassVar[tuple[str, ...]] = ("tuning", "steps", "batch")
    free: ClassVar[tuple[str, ...]] = (
        "preset", "models", "learning_rates", "tuning", "widenings", "seeds",
    )  # fmt: skip
    lesson_module: ClassVar[str]

    preset: str
    models: tuple[str, ...]
    learning_rates: tuple[float, ...]
    tuning: int = 1
    widenings: int = 0
    seeds: tuple[int, ...]
    steps: int
    batch: int
    warm_up: float = 0.3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.01
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        unknown = [name for name in self.models if name not in self.known_models]
        require(not unknown, "models", f"names among {', '.join(self.known_models)}", unknown)
        for name in ("models", "learning_rates", "seeds"):
            entries = getattr(self, name)
            require(len(entries) > 0 and len(set(entries)) == len(entries), name, "distinct entries", entries)
        require(all(0 < rate < 1 for rate in self.learning_rates), "learning_rates", "between 0 and 1",
                 self.learning_rates)  # fmt: skip
        outside = [seed for seed in self.seeds if not 0 <= seed < FIRST_TUNING_SEED]
        require(not outside, "seeds", f"0 to {FIRST_TUNING_SEED - 1}", outside[:1])
        for name in self.positive:
            require(getattr(self, name) >= 1, name, "a positive number", getattr(self, name))
        require(0 <= self.warm_up < 1, "warm_up", "a share of the steps", self.warm_up)

    @property
    def lesson(self) -> Any:
        """The module `lesson_module`, imported when first needed, as it needs torch."""
        return import_module(self.lesson_module)

    def tuning_jobs(self) -> list[PlannedRun]:
        """Rate by rate, so that the first runs are of different models and compile their kernels side by side."""
        return [
            job for rate in self.learning_rates for model in self.models for job in self.trials(model, [rate])
        ]

    def trials(self, model: str, rates: Iterable[float]) -> list[PlannedRun]:
        """The runs that try a model with some learning rates."""
        return [
            PlannedRun(model, rate, FIRST_TUNING_SEED + i, "tune")
            for rate in rates
            for i in range(self.tuning)
        ]

    def testing_jobs(self, chosen: Mapping[str, float]) -> list[PlannedRun]:
        """Of the models that have a rate, seed by seed, so that what an interrupted experiment has is paired."""
        return [
            PlannedRun(model, chosen[model], seed, "test")
            for seed in self.seeds
            for model in self.models
            if model in chosen
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
        own = {k: v for k, v in self.document().items() if k not in self.free}
        return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16]


def change(plan: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Values to replace in a plan: None changes nothing; `seeds` may be their number, from the plan's first."""
    kept = {key: value for key, value in given.items() if value is not None}
    if isinstance(kept.get("seeds"), int):
        kept["seeds"] = tuple(range(plan.seeds[0], plan.seeds[0] + kept["seeds"]))
    return kept
