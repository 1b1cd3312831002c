"""The command ``osdn-theory bench``."""

from collections.abc import Iterator, Mapping
from typing import Any

from osdn_theory.commands.console import format_number, print_table
from osdn_theory.commands.options import JsonFlag, described, print_json


@described
def bench(quick: bool = False, json: JsonFlag = False) -> None:
    """Measure the solvers: every number a ratio to something measured in the same run."""
    from osdn_theory.measures.speed import run_benchmarks

    result = run_benchmarks(quick=quick)
    if json:
        print_json(result)
    else:
        _print_benchmarks(result)


def _print_benchmarks(result: Mapping[str, Any]) -> None:
    """Every ratio beside its goal."""
    print_table(
        "Ratios within one run"
        + (" (quick: small sizes, the ratios say nothing)" if result["quick"] else ""),
        ["comparison", "ratio", "goal", "met"],
        (
            [f"{part}: {name}", format_number(entry["ratio"]), entry["goal"], "yes" if entry["met"] else "no"]
            for part, name, entry in _comparisons(result)
        ),
    )


def _comparisons(result: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for part, entries in result.items():
        if isinstance(entries, dict):
            for name, entry in entries.items():
                if isinstance(entry, dict) and "met" in entry:
                    yield part, name, entry
