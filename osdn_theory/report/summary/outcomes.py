"""How outcomes are shown: a mark for each, and which of four kinds it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["holds", "violated", "undecided", "not applicable"]

_SHOWN: Mapping[Kind, Mapping[str, str]] = {
    "holds": {
        "✓": "holds; proved; passed; supported; confirmed; as predicted; right; equal bit for bit; inside the bound"
    },
    "violated": {"✗": "violated; failed; contradicted; not usable; not as predicted; wrong"},
    "undecided": {
        "?": "undecided; not run; not run here; not observable; cannot tell",
        "◐": "proved in part; instances only; supported in part",
    },
    "not applicable": {
        "○": "holds, vacuously",
        "·": "not applicable",
        "–": "not checked; not proved; not tested; not tested at this scale; not exercised; none",
    },
}

MARKS: Mapping[str, str] = {
    outcome: mark
    for marks in _SHOWN.values()
    for mark, names in marks.items()
    for outcome in names.split("; ")
}
"""Outcome -> its mark."""

KINDS: Mapping[str, Kind] = {
    outcome: kind
    for kind, marks in _SHOWN.items()
    for names in marks.values()
    for outcome in names.split("; ")
}
"""Outcome -> good, bad, open, or nothing to tell."""


@dataclass(frozen=True)
class MarkedCell:
    """An outcome in a cell of a table: its mark, and what to say beside it; "" for the outcome's own name."""

    outcome: str
    detail: str = ""
