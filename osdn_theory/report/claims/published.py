"""Figures that others published, quoted beside ours and never mixed with them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedTable:
    """A table of somebody else's measurements; every cell is as published.

    Attributes
    ----------
    title, source, note : str
    header : tuple of str
    rows : tuple of tuples of str
        As many cells as the header.
    """

    title: str
    source: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


_SOURCE = "github.com/Lhongpei/OSLA, the authors' public repository, states of April and May 2026"
_NOTE = "One training run each; no confidence intervals are published. Not reproduced here."

PUBLISHED_TABLES: tuple[PublishedTable, ...] = (
    PublishedTable(
        "JRT cloze, “contains” accuracy, 340 million parameters",
        _SOURCE,
        f"All OSDN columns with η = 1. {_NOTE}",
        (
            "task",
            "DeltaNet",
            "OSDN (η = 1, no forgetting)",
            "OSDN, learnable d₁",
            "OSDN, per-token forgetting",
            "Gated DeltaNet",
            "KDA",
        ),
        (
            ("FDA", ".0872", ".0772", ".0899", ".0663", ".0881", ".0881"),
            ("FDA twice", ".0445", ".0436", ".0463", ".0763", ".0345", ".0409"),
            ("SWDE", ".0890", ".1481", ".1565", ".0975", ".1340", ".1518"),
            ("SWDE twice", ".1575", ".2165", ".2165", ".2146", ".1799", ".2240"),
            ("SQuAD", ".2872", ".2909", ".3047", ".2919", ".2859", ".3208"),
            ("SQuAD twice", ".2314", ".3833", ".2200", ".3070", ".2026", ".1837"),
            ("average", ".1495", ".1933", ".1723", ".1756", ".1542", ".1682"),
        ),
    ),
    PublishedTable(
        "PG19 perplexity by position, 340 million parameters",
        _SOURCE,
        f"OSDN with η = 1. {_NOTE}",
        ("model", "tokens 0–2K", "tokens 18–20K"),
        (
            ("DeltaNet", "21.82", "21.79"),
            ("OSDN", "21.33", "24.58"),
            ("OSDN, constant forgetting γ = 0.999 without a useful lower clip", "21.52", "86.50"),
            ("OSDN, per-token forgetting", "20.78", "21.23"),
        ),
    ),
)
