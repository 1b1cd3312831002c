"""A verification with one check of every kind, made by hand, for the tests of what shows it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from osdn_theory.bounds.check import BoundCheck
from osdn_theory.verification.run import Selection, select

HOSTILE = '<script>alert("x")</script> & "name"'


def check(
    theorem: str = "T5", stream: str = "isotropic", outcome: Any = "holds", **changes: Any
) -> BoundCheck:
    """A check of the interpolating regret on one head that holds with a slack of 2."""
    decided = outcome in ("holds", "violated")
    base = BoundCheck(
        theorem=theorem,
        title=f"Title of {theorem}",
        statement=r"\sum_{t \leq T} (1 - a_t)^2 \leq \|d_1 - u\|^2 / (\eta (2 - \eta M))",
        stream=stream,
        rule="bounded",
        index=(0, 3),
        outcome=outcome,
        lhs=1.0 if decided else None,
        rhs=(100.0 if outcome == "holds" else 0.5) if decided else None,
        log10_slack=(2.0 if outcome == "holds" else math.log10(0.5)) if decided else None,
        method="ball arithmetic, 128 bits" if decided else "",
        reason="" if decided else "the comparator must interpolate: residual 0.25",
    )
    return replace(base, **changes)


@dataclass(frozen=True)
class FakeVerification:
    """What `verify` returns, from a list of checks."""

    checks: list[BoundCheck]
    streams: dict[str, str] = field(
        default_factory=lambda: {"isotropic": "unit keys", "mqar": "recall pairs"}
    )
    seed: int = 7
    seeds: int = 1
    environment: dict[str, str] = field(default_factory=lambda: {"numpy": "2.4.6", "machine": "x86_64"})
    command: str = "osdn-theory verify --seed 7"
    elapsed_s: float = 12.34
    selection: Selection = field(default_factory=select)

    @property
    def exit_code(self) -> int:
        outcomes = {check.outcome for check in self.checks}
        return 1 if "violated" in outcomes else 3 if "undecided" in outcomes else 0

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "exit_code": self.exit_code, "complete": self.selection.complete}


def good() -> FakeVerification:
    """Everything that applies holds."""
    return FakeVerification(
        [
            check(
                "T10",
                "mqar",
                log10_slack=math.inf,
                lhs=-math.inf,
                rhs=-3.0,
                is_log=True,
                method="exact rationals",
            ),
            check("T5"),
            check("T5", index=(0, 4), log10_slack=0.125),
            check("T15", outcome="not applicable", reason="keys are not exactly normalised: 0.3"),
            check(
                "T15", outcome="not applicable", reason="keys are not exactly normalised: 0.4", index=(0, 4)
            ),
            check("T16", lhs=2.0, rhs=2.0, log10_slack=None),
        ]
    )


def bad(outcome: str) -> FakeVerification:
    """The same with one more check, violated or undecided."""
    base = good()
    return replace(base, checks=[*base.checks, check("T8", "mqar", outcome, reason="too wide: 1e-3")])
