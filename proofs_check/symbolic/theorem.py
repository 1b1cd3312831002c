"""A theorem as equations between SymPy objects, the checker of them, and false variants for the same checker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from proofs_check.exact.law import MutantKind
from proofs_check.proof import ALL, INSTANCES, Evidence, Proof, failed, passed
from proofs_check.symbolic.evaluate import Point, evaluate, text
from proofs_check.symbolic.hypotheses import Hypothesis, Mean, expand_any
from proofs_check.symbolic.points import Source, Values, random_point
from proofs_check.symbolic.terms import rewritten

POINTS = 3
"""Random rational points on which an identity is evaluated as well, and among which a false one must fail."""


@dataclass(frozen=True)
class Equation:
    """lhs = rhs, between scalars or matrices of one shape."""

    name: str
    lhs: Any
    rhs: Any


Draw = Callable[[Source, Mapping[str, int]], Values]
"""Values for what the hypotheses tie together, from a source of numbers and the sizes."""


def anything(source: Source, sizes: Mapping[str, int]) -> Values:
    """No value is tied to another: every symbol is drawn at random."""
    return {}


@dataclass(frozen=True)
class Theorem:
    """Equations that follow from hypotheses.

    Attributes
    ----------
    claim, name, statement : str
    equations : function
        Builds them: SymPy has work to do only when the theorem is examined.
    hypotheses : tuple of Hypothesis
    point : Draw
        Values for what cannot be drawn freely because of the hypotheses; the rest is drawn at random.
    sizes : size -> int
        Of the points.
    scope : str
    mutants : tuple of Mutant
    """

    claim: str
    name: str
    statement: str
    equations: Callable[[], list[Equation]]
    hypotheses: tuple[Hypothesis, ...] = ()
    point: Draw = anything
    sizes: Mapping[str, int] = field(default_factory=lambda: {"V": 2, "K": 3, "T": 4, "C": 3})
    scope: str = ALL
    mutants: tuple[Mutant, ...] = ()

    def mutant(
        self,
        kind: MutantKind,
        change: str,
        equations: Callable[[], list[Equation]] | None = None,
        *,
        without: Iterable[str] = (),
        instead: tuple[Hypothesis, ...] | None = None,
        point: Draw | None = None,
    ) -> Theorem:
        """This theorem with one more false variant.

        It has other equations, lacks hypotheses (`without`, by name, and then `point` should break them), or has its
        hypotheses written for other sizes (`instead`).
        """
        dropped = set(without)
        if not dropped <= {h.name for h in self.hypotheses}:
            raise KeyError(f"{self.name}: no hypotheses called {dropped} to drop")
        false = replace(
            self,
            name=f"{self.name} [{change}]",
            equations=equations or self.equations,
            hypotheses=tuple(h for h in instead or self.hypotheses if h.name not in dropped),
            point=point or self.point,
            mutants=(),
        )
        return replace(self, mutants=(*self.mutants, Mutant(kind, change, false)))

    def proofs(self) -> list[Proof]:
        """The theorem, and the refutation of its mutants by the same checker."""
        false = ", ".join(f"{m.change} ({m.kind})" for m in self.mutants)
        return [
            Proof(self.claim, "symbolic", self.scope, self.statement, partial(check, self), self.name),
            Proof(
                self.claim, "mutation", INSTANCES, f"false: {false}", partial(check_mutants, self), self.name
            ),
        ]


@dataclass(frozen=True)
class Mutant:
    """A false variant of a theorem."""

    kind: MutantKind
    change: str
    theorem: Theorem

    @cached_property
    def finding(self) -> Finding:
        return examine(self.theorem)

    def accepted(self) -> bool:
        """Whether the checker took it for true."""
        return self.finding.proved

    def counterexample(self) -> Mapping[str, Any] | None:
        """Rational values on which its hypotheses hold and an equation fails, as text; None if none was found."""
        return self.finding.counterexample

    def problem(self) -> str:
        """Why it does not count as refuted; empty if it does."""
        if not self.finding.unproved:
            return "survives in normal form"
        return "" if self.finding.counterexample else "no counterexample was found"


@dataclass(frozen=True)
class Finding:
    """What the checker found: the equations of which something is left, and a point on which one of them fails."""

    equations: int
    unproved: Mapping[str, str]
    counterexample: Mapping[str, Any] | None

    @property
    def proved(self) -> bool:
        return self.equations > 0 and not self.unproved and self.counterexample is None


def examine(theorem: Theorem) -> Finding:
    """Bring lhs - rhs of every equation to normal form, and evaluate both sides on random rational points besides."""
    equations = theorem.equations()
    rewrites = [h.rewrite() for h in theorem.hypotheses]
    unproved = {}
    for equation in equations:
        _same_shape(equation)
        difference = expand_any(equation.lhs) + [(-c, term) for c, term in expand_any(equation.rhs)]
        left = rewritten(difference, rewrites)
        if left:
            unproved[equation.name] = (
                f"{len(left)} terms are left, such as {_spelt(next(iter(left.values())))}"
            )
    return Finding(len(equations), unproved, _counterexample(theorem, equations))


def check(theorem: Theorem) -> Evidence:
    """Whether every equation is proved."""
    finding = examine(theorem)
    if finding.proved:
        return passed(
            f"{finding.equations} identities vanish in normal form and hold at {POINTS} rational points"
        )
    # A vanishing normal form and a point on which the identity fails would mean that the normal form is wrong.
    what = ", ".join(finding.unproved) or "normal form and evaluation disagree"
    return failed(
        f"not proved: {what}", unproved=dict(finding.unproved), counterexample=finding.counterexample
    )


def check_mutants(theorem: Theorem) -> Evidence:
    """Every mutant left over in normal form, and false at a rational point that satisfies its hypotheses."""
    rows: list[dict[str, Any]] = []
    for mutant in theorem.mutants:
        problem, counterexample = mutant.problem(), mutant.counterexample()
        told = {"counterexample": counterexample, "killed": not problem, "problem": problem}
        rows.append({"kind": mutant.kind, "change": mutant.change, **told})
    alive = [f"{row['change']}: {row['problem']}" for row in rows if not row["killed"]]
    if alive:
        return failed("; ".join(alive), len(rows), mutants=rows)
    return passed(
        f"{len(rows)} of {len(rows)} mutants refuted, each twice", len(rows), killed=len(rows), mutants=rows
    )


def _same_shape(equation: Equation) -> None:
    lhs, rhs = (_shape(side) for side in (equation.lhs, equation.rhs))
    if lhs != rhs:
        raise ValueError(f"{equation.name}: {lhs} against {rhs}")


def _shape(side: Any) -> tuple[Any, ...]:
    return tuple(getattr(side.of if isinstance(side, Mean) else side, "shape", ()))


def _spelt(weighted: tuple[Any, Any]) -> str:
    coefficient, term = weighted
    letters = {index: "ijklmnpqrstuvwxyz"[n % 17] for n, index in enumerate(_in_order(term))}
    factors = [f"{name}[{','.join(letters.get(i, '0') for i in slots)}]" for name, slots in term.factors]
    return " ".join([f"({coefficient})", *factors])


def _in_order(term: Any) -> list[Any]:
    used = [term.row, term.column, *(i for _, slots in term.factors for i in slots)]
    return [i for i in dict.fromkeys(used) if i in term.indices()]


def _counterexample(theorem: Theorem, equations: list[Equation]) -> Mapping[str, Any] | None:
    for seed in range(POINTS):
        source = Source(f"{theorem.claim} {theorem.name} {seed}")
        point = random_point(
            source, theorem.sizes, _expressions(theorem, equations), theorem.point(source, theorem.sizes)
        )
        _respects_hypotheses(theorem, point)
        for equation in equations:
            sides = [evaluate(side, point) for side in (equation.lhs, equation.rhs)]
            if sides[0] != sides[1]:
                return {
                    "equation": equation.name,
                    "lhs": text(sides[0]),
                    "rhs": text(sides[1]),
                    **point.told(),
                }
    return None


def _respects_hypotheses(theorem: Theorem, point: Point) -> None:
    for hypothesis in theorem.hypotheses:
        if evaluate(hypothesis.lhs, point) != evaluate(hypothesis.rhs, point):
            raise ValueError(f"{theorem.name}: the point breaks the hypothesis {hypothesis.name}")


def _expressions(theorem: Theorem, equations: list[Equation]) -> list[Any]:
    stated: list[Equation | Hypothesis] = [*equations, *theorem.hypotheses]
    return [side for e in stated for side in (e.lhs, e.rhs)]
