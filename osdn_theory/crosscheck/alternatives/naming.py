"""Naming what a kernel computes instead: the alternative, or pair of them, that explains all its answers."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations, product

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.documents import Number
from osdn_theory.base.jsonable import stated
from osdn_theory.base.threads import cores
from osdn_theory.crosscheck.alternatives.agreement import Agreement, BoundedRun, Heard, agreement, hear
from osdn_theory.crosscheck.alternatives.fault import Alternative, Fault, KnownFault, applicable
from osdn_theory.crosscheck.alternatives.table import ALTERNATIVES, COMMON
from osdn_theory.crosscheck.examination.exercises.question import Answer, Question
from osdn_theory.crosscheck.kernel.adapters import Adapter

EXPLAINED = 0.25
"""An explanation leaves at most this part of the errors."""

EQUAL = 3.0
"""Explanations whose distances, over what rounding allows, differ by less than this factor cannot be told apart."""

NEAREST = 3
"""Alternatives that are listed where none explains."""


@show_briefly
@dataclass(frozen=True, eq=False)
class Explanation:
    """One alternative, or two at once, held against everything that a kernel returned.

    - `labels`: Their variants; "" where there is one alone.
    - `agrees`: Whether rounding explains all that it leaves.
    - `excess`: The largest distance over what rounding allows.
    - `left`: Part of the errors that it leaves.
    """

    faults: tuple[KnownFault, ...]
    labels: tuple[str, ...]
    agrees: bool
    excess: Number
    left: Number

    @property
    @stated
    def name(self) -> str:
        """Keys, with their variants."""
        parts = zip(self.faults, self.labels, strict=True)
        return " and ".join(f"{each.key} ({label})" if label else each.key for each, label in parts)

    @property
    @stated
    def formula(self) -> str:
        return " and ".join(each.formula for each in self.faults)

    @property
    @stated
    def sentence(self) -> str:
        """In words, with its formula and the evidence."""
        words = "; ".join(each.sentence for each in self.faults)
        if self.agrees:
            return f"{words}: {self.formula}; leaves {self.left:.2g} of the error"
        return f"nearest: {words} ({self.formula}), which leaves {self.left:.0%} of the error"


def explain(
    adapter: Adapter,
    questions: Sequence[Question],
    answers: Sequence[Sequence[Answer]],
    truths: Sequence[Sequence[BoundedRun]],
    alternatives: Sequence[Alternative] = ALTERNATIVES,
) -> tuple[Explanation, ...]:
    """What explains a kernel's answers, the best first; nothing where all are inside their bounds.

    Those that agree with everything that the kernel returned, and cannot be told apart; then pairs of common ones;
    then alternatives that agree but for the rounding inside them; otherwise the nearest, with `agrees` False.

    - `answers`, `truths`, for each question, one for each case: Truths of the cases that the answers say, which start
      where the kernel in fact started.
    """
    heard = [hear(*given) for given in zip(questions, answers, truths, strict=True)]
    if not any(each.outside for each in heard):
        return ()
    rows = list(applicable(adapter, alternatives))
    agreeing = [each for each in _scored(_singles(rows), heard, give_up=True) if each.agrees]
    if agreeing:
        return _equals(agreeing)
    single = _scored(_singles(rows), heard)
    approximate = {row.key for row in rows if row.approximate}
    close = [each for each in single if each.faults[0].key in approximate and each.left <= EXPLAINED]
    if close:
        return _equals([replace(each, agrees=True) for each in close])
    pairs = [each for each in _scored(_pairs(rows), heard, give_up=True) if each.agrees]
    return _equals(pairs) if pairs else tuple(sorted(single, key=lambda each: each.left)[:NEAREST])


Candidate = tuple[tuple[Alternative, ...], tuple[str, ...], Fault]


def _singles(rows: Iterable[Alternative]) -> Iterator[Candidate]:
    for row in rows:
        for label, fault in row.variants.items():
            yield (row,), (label,), fault


def _pairs(rows: Iterable[Alternative]) -> Iterator[Candidate]:
    common = [row for row in rows if row.key in COMMON]
    for first, second in combinations(common, 2):
        for (label, fault), (other, more) in product(first.variants.items(), second.variants.items()):
            yield (first, second), (label, other), fault & more


def _scored(
    candidates: Iterable[Candidate], heard: Sequence[Heard], *, give_up: bool = False
) -> list[Explanation]:
    """Every candidate but for variants of one alternative that fit less well than another."""
    # Where the kernel is wrong, most candidates are told apart soonest.
    ordered = sorted(heard, key=lambda each: not each.outside)

    def score(candidate: Candidate) -> Explanation:
        rows, labels, fault = candidate
        found = agreement(fault, ordered, give_up=give_up)
        return Explanation(tuple(row.fault for row in rows), labels, _agrees(found), found.excess, found.left)

    with ThreadPoolExecutor(cores()) as pool:
        scored = list(pool.map(score, candidates))
    best: dict[tuple[str, ...], Explanation] = {}
    for each in scored:
        keys = tuple(row.key for row in each.faults)
        if keys not in best or _rank(each) < _rank(best[keys]):
            best[keys] = each
    return list(best.values())


def _agrees(found: Agreement) -> bool:
    return found.excess <= 1 and found.left <= EXPLAINED


def _rank(each: Explanation) -> tuple[bool, float, float]:
    return not each.agrees, each.excess if each.agrees else each.left, each.left


def _equals(agreeing: Sequence[Explanation]) -> tuple[Explanation, ...]:
    """Those as good as the best, within rounding."""
    ordered = sorted(agreeing, key=_rank)
    return tuple(each for each in ordered if each.excess <= EQUAL * ordered[0].excess)
