"""``recall.json``: means over seeds, differences from DeltaNet, predictions tested, and sentences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from osdn_theory.base.documents import Count, DocumentKind, Number, Positive, Share
from osdn_theory.base.jsonable import stated
from osdn_theory.base.validation import require

FILE = "recall.json"
"""Name of a summary in the folder of its experiment."""

LEVEL = 0.05
"""Of the tests that call a difference significant."""

Outcome = Literal["as predicted", "not as predicted"]


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over seeds and its 95 % interval.

    - `mean`: None where nothing was measured.
    - `low`, `high`: None for fewer than two seeds.
    """

    mean: float | None
    low: float | None
    high: float | None

    def __post_init__(self) -> None:
        if self.low is None or self.high is None:
            require(self.low is self.high, "low, high: expected both or none")
            return
        require(self.mean is not None, "mean: an interval without a mean")
        holds = self.low <= self.value <= self.high
        require(holds, f"mean: the interval {self.low:g} to {self.high:g} does not hold {self.mean}")

    @property
    def value(self) -> float:
        """The mean, where something was measured."""
        assert self.mean is not None
        return self.mean

    @property
    def ends(self) -> tuple[float, float] | None:
        """The interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class PairedDifference(Mean):
    """A mean difference, paired by seed; `p` of a t test and Holm-adjusted, None where nothing could be tested."""

    p: Share | None
    p_adjusted: Share | None

    @property
    @stated
    def significant(self) -> bool:
        """Whether the adjusted p is below `LEVEL`."""
        return self.p_adjusted is not None and self.p_adjusted < LEVEL


@dataclass(frozen=True)
class SeedValue:
    """What was measured with one seed."""

    seed: Count
    value: Number


@dataclass(frozen=True, kw_only=True)
class SeedMean(Mean):
    """A mean with what it is of; no seed's value where a document was made before they were kept."""

    by_seed: tuple[SeedValue, ...]

    @property
    def series(self) -> dict[int, float]:
        """The value of each seed."""
        return {entry.seed: entry.value for entry in self.by_seed}


@dataclass(frozen=True, kw_only=True)
class Compared(SeedMean):
    """A mean and its difference from DeltaNet's, or of an ablation from the model as trained; None: there is none."""

    difference: PairedDifference | None


@dataclass(frozen=True, kw_only=True)
class CellRow(Compared):
    """Accuracy of a model on one cell of the test set."""

    model: str
    statistic: str
    repeats: Count
    pairs: Count


@dataclass(frozen=True, kw_only=True)
class DistanceRow(SeedMean):
    """Accuracy of a model by the tokens from the last write of a pair to its query, from `nearest` to `farthest`."""

    model: str
    repeats: Count
    nearest: Count
    farthest: Count


@dataclass(frozen=True, kw_only=True)
class OverallRow(Compared):
    """A measure of a model over all cells."""

    model: str
    measure: str


@dataclass(frozen=True, kw_only=True)
class AblationRow(Compared):
    """Accuracy of a trained model with its d replaced."""

    model: str
    ablation: str


@dataclass(frozen=True)
class TuningTrial:
    """Mean validation accuracy at a learning rate."""

    learning_rate: float
    validation: Number


@dataclass(frozen=True)
class ModelRecord:
    """A model; `parameters`, `rule` and `learning_rate` are None as long as no run of it is finished."""

    name: str
    label: str
    parameters: Count | None
    rule: Mapping[str, Any] | None
    learning_rate: float | None
    tuning: tuple[TuningTrial, ...]


@dataclass(frozen=True)
class Prediction:
    """What the theory predicts, what was measured, and whether `value` keeps the `limit`."""

    theorem: str
    statement: str
    measured: str
    value: Number | None
    limit: Number
    outcome: Outcome


@dataclass(frozen=True)
class RecallSummary:
    """A recall experiment.

    - `environment`, `task`: As the trainer wrote them.
    - `seconds`: Of all runs, added up.
    - `complete`: Whether all planned runs are finished.
    - `accuracy`, `distance`, `overall`, `ablations`, tuples of rows
    - `sentences`: What the numbers say.
    """

    preset: str
    command: str
    environment: Mapping[str, Any]
    seconds: Positive
    complete: bool
    task: Mapping[str, Any]
    seeds: tuple[Count, ...]
    models: tuple[ModelRecord, ...]
    accuracy: tuple[CellRow, ...]
    distance: tuple[DistanceRow, ...]
    overall: tuple[OverallRow, ...]
    ablations: tuple[AblationRow, ...]
    predictions: tuple[Prediction, ...] = ()
    sentences: tuple[str, ...] = ()


def check_summary(summary: RecallSummary) -> None:
    """Raise ValueError, with the place, where the parts contradict each other.

    A row may be of a model that is not listed, and what it says may not follow from the values of the seeds.
    """
    from osdn_theory.recall.rows import PARTS, check_rows  # its rows are defined here

    names = [model.name for model in summary.models]
    require(bool(names), "models: expected at least one")
    require(len(set(names)) == len(names), f"models: expected different names, got {names}")
    for part in ("accuracy", "distance", "overall", "ablations"):
        for number, row in enumerate(getattr(summary, part)):
            require(row.model in names, f"{part}[{number}].model: {row.model!r} is not among the models")
    check_rows(summary, PARTS)


RECALL = DocumentKind(
    format="osdn-recall/3",
    content=RecallSummary,
    about="recall.json: an in-context recall experiment",
    remake="osdn-theory recall --preset cpu --out DIR",
    code=("osdn_theory.recall", "osdn_kernels"),
    check=check_summary,
    outlives_code=True,
)
