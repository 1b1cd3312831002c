"""``train.json``: every value of every seed of a language-model experiment, beside DeltaNet's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from osdn_theory.base.documents import Count, DocumentKind, Positive
from osdn_theory.base.validation import require
from osdn_theory.recall.document import Compared, TuningTrial

FILE = "train.json"
TABLE = "train.csv"


@dataclass(frozen=True)
class LanguageRecord:
    """A model; what is None is not known before a run of it is finished.

    - `edge`: Whether the learning rate that won is the first or the last of the grid.
    - `tokens_per_second`: Of the test runs, the median.
    - `failed`, mapping from seed to why its test run failed.
    """

    name: str
    label: str
    form: str | None
    rule: Mapping[str, Any] | None
    parameters: Count | None
    learning_rate: float | None
    edge: bool
    tuning: tuple[TuningTrial, ...]
    tokens_per_second: Positive | None
    failed: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class LanguageRow(Compared):
    """A measure of a model in one place, over the seeds, and its difference from DeltaNet's there."""

    model: str
    measure: str
    place: str


@dataclass(frozen=True)
class LanguageSummary:
    """A language-model experiment.

    - `environment`: As the trainer wrote it.
    - `sizes`: Of models, batches and contexts.
    - `corpus`: Its fingerprint, its bytes, and of each source the licence, documents and bytes.
    - `seconds`: Of all runs, added up.
    - `complete`: Whether all planned runs are finished and measured.
    - `rows`: With every seed's value, from which they are computed again when a document is read.
    """

    preset: str
    command: str
    environment: Mapping[str, Any]
    sizes: Mapping[str, Count]
    corpus: Mapping[str, Any]
    seconds: Positive
    complete: bool
    seeds: tuple[Count, ...]
    models: tuple[LanguageRecord, ...]
    rows: tuple[LanguageRow, ...]
    sentences: tuple[str, ...] = ()


def check_language(summary: LanguageSummary) -> None:
    """Raise ValueError where a row is of a model or a seed that is not listed, or does not follow from its seeds."""
    from osdn_theory.language.summary import PARTS  # its rows are defined here
    from osdn_theory.recall.rows import check_rows

    names = [model.name for model in summary.models]
    require(len(set(names)) == len(names) > 0, f"models: expected one or more different names, got {names}")
    for number, row in enumerate(summary.rows):
        require(row.model in names, f"rows[{number}].model: {row.model!r} is not among the models")
        other = sorted(set(row.series) - set(summary.seeds))
        require(not other, f"rows[{number}].by_seed: {other} are not among the seeds")
    check_rows(summary, PARTS)


LANGUAGE = DocumentKind(
    format="osdn-train/2",
    content=LanguageSummary,
    about="train.json: small language models compared",
    remake="osdn-theory train --preset gpu --out DIR",
    code=("osdn_theory.language", "osdn_kernels"),
    check=check_language,
    outlives_code=True,
)
