"""What a language-model experiment says in words: one sentence for each claim, those that came to nothing included."""

from collections.abc import Iterator, Sequence

from osdn_theory.language.document import LanguageRecord, LanguageRow
from osdn_theory.recall.data import BASELINE
from osdn_theory.recall.statistics import FEWEST
from osdn_theory.recall.tables import significance

CLAIMS = {
    "loss": ("Loss within the training context, nats per token", ""),
    "loss growth": ("Loss at three to four training contexts less that in the second half of one", ""),
    "passage loss": ("Loss of a passage read before", None),
    "name loss": ("Loss of names met before", "seen twice or more, 64 to 255 tokens ago"),
    "line accuracy": ("Share of values recalled from lines of names and values", None),
    "token residual ratio": ("Geometric mean of q over tokens of a passage read twice", "all layers"),
}
"""Measure -> what it is called, and the place that a sentence is about; None: the last one, which asks most."""


def tell(
    preset: str,
    complete: bool,
    seeds: Sequence[int],
    models: Sequence[LanguageRecord],
    rows: Sequence[LanguageRow],
) -> Iterator[str]:
    """Sentences; no claim from a smoke run, or from fewer than three seeds that all models have."""
    for model in models:
        if model.edge:
            yield (
                f"{model.label}: the best learning rate, {model.learning_rate:g}, is the edge of its grid; the best "
                "may lie beyond, widen it by --learning-rate."
            )
        for seed, reason in model.failed.items():
            yield f"{model.label}: the test run of seed {seed} failed: {reason}."
    shared = set(seeds).intersection(*(_seeds(model.name, rows) for model in models))
    if not complete:
        yield f"Not all planned runs are finished: of {len(seeds)} seeds all models have {len(shared)}."
    if preset == "smoke" or len(shared) < FEWEST:
        yield f"No claim is made from {'a smoke run' if preset == 'smoke' else 'these runs yet'}."
        return
    labels = {model.name: model.label for model in models}
    for measure, (title, place) in CLAIMS.items():
        own = [row for row in rows if row.measure == measure and row.mean is not None]
        if not own:
            continue
        chosen = own[-1].place if place is None else place
        there = {row.model: row for row in own if row.place == chosen}
        where = f" ({chosen})" if chosen else ""
        parts = [f"{labels[name]} {_told(row)}" for name, row in there.items() if name != BASELINE]
        base = (
            f"{labels[BASELINE]} {there[BASELINE].value:.4g}"
            if BASELINE in there
            else "DeltaNet was not measured"
        )
        counts = sorted({len(row.series) for row in there.values()})
        seeds_told = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
        yield f"{title}{where}, {seeds_told} seeds: {'; '.join([base, *parts])}."


def _seeds(model: str, rows: Sequence[LanguageRow]) -> set[int]:
    """With which a model's runs are finished and measured; those that failed do not count."""
    return {seed for row in rows if (row.model, row.place) == (model, "all layers") for seed in row.series}


def _told(row: LanguageRow) -> str:
    difference = row.difference
    if difference is None or difference.mean is None:
        return f"{row.value:.4g}"
    p = "" if difference.p_adjusted is None else f", adjusted p = {difference.p_adjusted:.2g}"
    return f"{row.value:.4g} ({difference.mean:+.2g}, {significance(difference)}{p})"
