"""What became of the claims for OSDN in small language models: paired tests that were written down beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import msgspec

from osdn_theory.base.tables import read_table
from osdn_theory.language.document import LanguageRow, LanguageSummary
from osdn_theory.recall.comparisons import Series, compared
from osdn_theory.recall.document import PairedDifference

Direction = Literal["lower", "higher"]
ChangeFinding = Literal["as claimed", "opposite", "no difference seen", "not tested"]
ClaimStanding = Literal[
    "reproduced at this scale",
    "reproduced in part at this scale",
    "mixed at this scale",
    "contradicted at this scale",
    "not seen at this scale",
    "not tested",
]


@dataclass(frozen=True)
class ExpectedChange:
    """A measure in a place, and which way it should differ, but for `margin`, a share of the other's mean."""

    measure: str
    place: str
    expected: Direction
    margin: float = 0.0


@dataclass(frozen=True)
class LanguageClaim:
    """A claim, the models of which it speaks, each with the one it is held against, and what should be seen."""

    claim: str
    pairs: tuple[tuple[str, str], ...]
    tests: tuple[ExpectedChange, ...]


@dataclass(frozen=True)
class TestedChange:
    """A model against another: means, and the difference less the margin with its test, adjusted within the claim."""

    __test__ = False

    model: str
    other: str
    change: ExpectedChange
    place: str
    mean: float
    reference: float
    difference: PairedDifference
    seeds: int

    @property
    def finding(self) -> ChangeFinding:
        if self.difference.p_adjusted is None:
            return "not tested"
        if not self.difference.significant:
            return "no difference seen"
        return (
            "as claimed" if (self.difference.value < 0) == (self.change.expected == "lower") else "opposite"
        )


@dataclass(frozen=True)
class ClaimOutcome:
    """A claim with its tests."""

    id: str
    claim: str
    tests: tuple[TestedChange, ...]

    @property
    def standing(self) -> ClaimStanding:
        """Whether all, some or none of the tests came out as claimed, or the other way."""
        found = [test.finding for test in self.tests if test.finding != "not tested"]
        if not found:
            return "not tested"
        if "opposite" in found:
            return "mixed at this scale" if "as claimed" in found else "contradicted at this scale"
        if "as claimed" not in found:
            return "not seen at this scale"
        whole = set(found) == {"as claimed"}
        return "reproduced at this scale" if whole else "reproduced in part at this scale"


LANGUAGE_CLAIMS: Mapping[str, LanguageClaim] = msgspec.convert(read_table(__file__), dict[str, LanguageClaim])


def judge_claims(summary: LanguageSummary) -> tuple[ClaimOutcome, ...]:
    """Every claim with what an experiment shows of it.

    Paired by seed, with p values Holm-adjusted over all tests of one claim. Models that were not measured are left out.
    """
    return tuple(
        ClaimOutcome(name, claim.claim, tuple(_tested(claim, summary.rows)))
        for name, claim in LANGUAGE_CLAIMS.items()
    )


def _tested(claim: LanguageClaim, rows: Sequence[LanguageRow]) -> list[TestedChange]:
    found = {(row.model, row.measure, row.place): row for row in rows if row.mean is not None}
    values: dict[tuple[ExpectedChange, str, str, str], Series] = {}
    references: dict[tuple[ExpectedChange, str, str, str], Series] = {}
    for change, (model, other) in product(claim.tests, claim.pairs):
        place = _place(change, rows)
        one, two = (found.get((name, change.measure, place)) for name in (model, other))
        if one is not None and two is not None:
            key = change, place, model, other
            values[key] = one.series
            allowed = change.margin * abs(two.value) * (1 if change.expected == "lower" else -1)
            references[key] = {seed: value + allowed for seed, value in two.series.items()}
    tested = []
    for key, row in compared(values, references).items():
        change, place, model, other = key
        assert row.difference is not None
        mean, reference = (found[name, change.measure, place].value for name in (model, other))
        shared = len(set(values[key]) & set(references[key]))
        tested.append(TestedChange(model, other, change, place, mean, reference, row.difference, shared))
    return tested


def _place(change: ExpectedChange, rows: Sequence[LanguageRow]) -> str:
    if change.place != "last":
        return change.place
    return next((row.place for row in reversed(rows) if row.measure == change.measure), "")
