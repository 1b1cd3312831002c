"""The command ``osdn-theory tighten``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from osdn_theory.commands.console import known_names, print_table, progress_bar
from osdn_theory.commands.options import JsonFlag, SeedOption, described, print_json

if TYPE_CHECKING:
    from osdn_theory.verification.tightness import TightenResult


@described
def tighten(
    bounds: list[str] | None = None,
    restarts: int = 8,
    evaluations: int = 600,
    seed: SeedOption = 0,
    worst: bool = False,
    json: JsonFlag = False,
) -> None:
    """Search for the streams and comparators on which each bound has the smallest slack."""
    if worst:
        _worst_cases(bounds, json=json)
        return
    import numpy as np

    from osdn_theory.verification.tightness import TIGHTENABLE, UNSEARCHED, tighten as search

    asked = known_names("--bounds", bounds, (*TIGHTENABLE, *UNSEARCHED)) or [*TIGHTENABLE, *UNSEARCHED]
    theorems = [name for name in asked if name in TIGHTENABLE]
    unsearched = {name: why for name, why in UNSEARCHED.items() if name in asked}
    rng = np.random.default_rng(seed)
    results: list[TightenResult] = []
    with progress_bar() as progress:
        for done, theorem in enumerate(theorems):
            progress(theorem, done, len(theorems))
            results.extend(search(theorem, rng, restarts=restarts, evaluations=evaluations))
    if json:
        print_json({"seed": seed, "results": results, "not_searched": unsearched})
    else:
        _print_tightness(results, unsearched)


def _worst_cases(bounds: list[str] | None, *, json: bool) -> None:
    """The largest left sides there are, by semidefinite programs and T28's family."""
    from osdn_theory.verification.worst_cases import SOLVED, worst_cases

    wanted = known_names("--bounds", bounds, (*SOLVED, "T6"))
    found = [case for case in worst_cases() if wanted is None or case.theorem in wanted]
    if json:
        print_json({"results": found})
        return
    print_table(
        "Worst cases (M = 1, features of any sign, no face cuts short); slack = right side / largest left side",
        ["bound", "setting", "largest", "right side", "slack", "method"],
        (
            [
                case.theorem,
                case.setting,
                *(f"{x:.6g}" for x in (case.worst, case.bound, case.slack)),
                case.method,
            ]
            for case in found
        ),
        left=["setting", "method"],
    )


def _print_tightness(results: Sequence[TightenResult], unsearched: dict[str, str]) -> None:
    """The smallest slack found for every bound, whether it is attained, and why others are not searched."""
    found = [
        [f"{x.theorem} {x.title}", f"{x.slack:.8g}", "yes" if x.attained else "no", x.note] for x in results
    ]
    print_table(
        "Smallest slack (right side / left side) found by search",
        ["bound", "slack", "attained", "what is known"],
        [*found, *([name, "–", "not searched", why] for name, why in unsearched.items())],
        left=["what is known"],
    )
