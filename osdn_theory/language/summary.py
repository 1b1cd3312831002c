"""A language-model experiment in one document and one table."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from osdn_theory.base.documents import read_typed
from osdn_theory.base.folders import write_atomically
from osdn_theory.language.document import FILE, LANGUAGE, TABLE, LanguageRecord, LanguageRow, LanguageSummary
from osdn_theory.language.runs import CORPUS, LanguageRuns, LanguageSettings, read_language_runs
from osdn_theory.language.sentences import tell
from osdn_theory.recall.document import TuningTrial
from osdn_theory.recall.rows import Part, make_rows, of_baseline

SIZES = ("layers", "hidden", "heads", "context", "vocabulary", "batch", "steps")
PARTS = {"rows": Part(LanguageRow, ("model", "measure", "place"), of_baseline, family=lambda key: key[1])}
COLUMNS = ("model", "learning_rate", "seed", "measure", "place", "value")


def write_language_summary(folder: Path) -> LanguageSummary:
    """:func:`summarise_language`, in the folder's ``train.json``, and its values in ``train.csv``.

    Raises as that does, and OSError if they cannot be written.
    """
    summary = summarise_language(folder)
    LANGUAGE.write(folder / FILE, summary, summary.command)
    rates = {model.name: model.learning_rate for model in summary.models}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(
        (row.model, rates[row.model], seed, row.measure, row.place, value)
        for row in summary.rows
        for seed, value in row.series.items()
    )
    write_atomically(folder / TABLE, text.getvalue().encode())
    return summary


def summarise_language(folder: Path) -> LanguageSummary:
    """What the finished runs of an experiment say.

    Intervals are Student t at 95 % over seeds. Differences are paired by seed against DeltaNet, and their p values
    Holm-adjusted over all models and places of one measure.

    Raises FileNotFoundError: the folder has no plan.
    Raises ValueError: a file that is damaged, named.
    """
    plan, models = read_language_runs(folder)
    corpus = folder / CORPUS
    rows = make_rows(PARTS["rows"], _columns(models))
    records = tuple(map(_record, models.values()))
    complete = all(_complete(plan, model) for model in models.values())
    return LanguageSummary(
        preset=plan.preset,
        command=plan.command,
        environment=plan.environment,
        sizes={name: getattr(plan, name) for name in SIZES},
        corpus=read_typed(corpus, dict[str, Any]) if corpus.is_file() else {},
        seconds=sum(result.seconds for model in models.values() for result in model.results),
        complete=complete,
        seeds=plan.seeds,
        models=records,
        rows=rows,
        sentences=tuple(tell(plan.preset, complete, plan.seeds, records, rows)),
    )


def _complete(plan: LanguageSettings, model: LanguageRuns) -> bool:
    measured = {seed for seed, values in model.tests.items() if any(v.place == "all layers" for v in values)}
    return measured | set(model.failed) >= set(plan.seeds) and set(model.tuning) >= set(plan.learning_rates)


def _columns(models: Mapping[str, LanguageRuns]) -> dict[tuple[str, str, str], dict[int, float]]:
    """Every measure and place of every model, by seed."""
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    for name, model in models.items():
        for seed, values in model.tests.items():
            for each in values:
                found.setdefault((name, each.measure, each.place), {})[seed] = each.value
    return found


def _record(model: LanguageRuns) -> LanguageRecord:
    first = model.results[0] if model.results else None
    speeds = [result.tokens_per_second for result in model.results if result.role == "test"]
    return LanguageRecord(
        name=model.name,
        label=first.label if first else model.name,
        form=first.form if first else None,
        rule=first.rule if first else None,
        parameters=first.parameters if first else None,
        learning_rate=model.learning_rate,
        edge=model.edge,
        tuning=tuple(TuningTrial(rate, loss) for rate, loss in model.tuning.items()),
        tokens_per_second=median(speeds) if speeds else None,
        failed={str(seed): reason for seed, reason in model.failed.items()},
    )
