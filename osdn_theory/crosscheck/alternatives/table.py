"""All alternatives: what kernels of this kind are known to get wrong, one fault each."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from osdn_theory.base.tables import read_table
from osdn_theory.crosscheck.alternatives.fault import CHUNKS, FAMILIES, Alternative, Fault, switch
from osdn_theory.crosscheck.alternatives.rows import misplacing, reading, returning
from osdn_theory.rounding import FORMATS

_FAULTS = read_table(Path(__file__).parent / "rows" / "faults.toml")
MADE = {**reading.VARIANTS, **returning.VARIANTS}
"""Those that are no switches of a mechanism."""


def _rows(kind: str) -> Iterator[Alternative]:
    """The rows of `faults.toml` of one kind."""
    for group in _FAULTS[kind]:
        of = frozenset().union(*(FAMILIES.get(name, {name}) for name in group["of"].split()))
        needs, approximate = frozenset(group.get("needs", "").split()), group.get("approximate", False)
        for key, (sentence, formula, *switches) in _faults(group):
            variants = _variants(*switches) if switches else MADE[key]
            yield Alternative(key, sentence, formula, variants, of, needs, approximate)


def _faults(group: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    return ((key, told) for key, told in group.items() if isinstance(told, list))


def _variants(switches: Mapping[str, Any]) -> dict[str, Fault]:
    """One for each size of chunk, if a switch takes that."""
    given = {name: FORMATS[x] if name.endswith("_format") else x for name, x in switches.items()}
    sized = [name for name, value in given.items() if value == "C"]
    if not sized:
        return {"": switch(**given)}
    return {f"C = {size}": switch(**{**given, **dict.fromkeys(sized, size)}) for size in CHUNKS}


ALTERNATIVES: tuple[Alternative, ...] = (
    *_rows("reading"),
    *misplacing.rows(),
    *_rows("remembering"),
    *_rows("calibrating"),
    *_rows("returning"),
)
"""In the order in which equals are named."""

COMMON: tuple[str, ...] = tuple(_FAULTS["common"])
"""Faults that are tried in pairs."""


BY_KEY = {row.key: row for row in ALTERNATIVES}
