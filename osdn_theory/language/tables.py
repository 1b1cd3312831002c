"""The numbers of a language-model experiment as a table."""

from osdn_theory.language.document import LanguageRow, LanguageSummary
from osdn_theory.recall.tables import NONE, Rows

OVERVIEW = (
    ("loss", ""),
    ("bits per byte", ""),
    ("loss growth", ""),
    ("token residual ratio", "all layers"),
)


def overview(summary: LanguageSummary) -> tuple[tuple[str, ...], Rows]:
    """Header and rows: every model with its size, its learning rate, its speed and what it reached."""
    header = ("model", "parameters", "learning rate", "tokens/s", *(measure for measure, _ in OVERVIEW))
    found = {(row.model, row.measure, row.place): row for row in summary.rows}
    rows = [
        (
            model.label,
            NONE if model.parameters is None else f"{model.parameters:,}",
            NONE
            if model.learning_rate is None
            else f"{model.learning_rate:g}{' (edge)' if model.edge else ''}",
            NONE if model.tokens_per_second is None else f"{model.tokens_per_second:,.0f}",
            *(_shown(found.get((model.name, *key))) for key in OVERVIEW),
        )
        for model in summary.models
    ]
    return header, rows


def _shown(row: LanguageRow | None) -> str:
    if row is None or row.mean is None:
        return NONE
    return f"{row.mean:.4g}" if row.ends is None else f"{row.mean:.4g} [{row.ends[0]:.4g}, {row.ends[1]:.4g}]"
