"""Every theorem on rational instances, exactly, and false variants of it, each refuted by a counterexample."""

from __future__ import annotations

from functools import partial

from osdn_theory.theorems import THEOREMS
from proofs_check.exact import (
    agnostic_laws,
    chunk_laws,
    context_laws,
    fixed_point_laws,
    forgetting_laws,
    mean_laws,
    regret_laws,
    rounding_laws,
    running_error_laws,
    scan_laws,
    sweep_laws,
    token_laws,
    write_laws,
)
from proofs_check.exact.law import Counterexample, Law, Mutant, confirmed, examine, search
from proofs_check.proof import INSTANCES, Evidence, Proof, failed, passed

COUNT = 480
"""Instances per law, the kinds of `draw.KINDS` taking turns; a mutant must fall to one of as many."""

SEED = 20260513

LAWS: tuple[Law, ...] = (
    *token_laws.LAWS,
    *regret_laws.LAWS,
    *agnostic_laws.LAWS,
    *context_laws.LAWS,
    *scan_laws.LAWS,
    *sweep_laws.LAWS,
    *chunk_laws.LAWS,
    *forgetting_laws.LAWS,
    *fixed_point_laws.LAWS,
    *write_laws.LAWS,
    *rounding_laws.LAWS,
    *running_error_laws.LAWS,
    *mean_laws.LAWS,
)


def check_law(law: Law, count: int = COUNT, seed: int = SEED) -> Evidence:
    """Every relation of the law on every instance."""
    examined, finding = search(law, count, seed)
    if finding is None:
        return passed("every relation exact on every instance", examined)
    if isinstance(finding, Counterexample):
        return failed(str(finding), examined)
    return failed(f"the generator breaks the hypothesis {finding.hypothesis!r}", examined)


def refute(law: Law, mutant: Mutant, count: int = COUNT, seed: int = SEED) -> tuple[int, str, str]:
    """Search for a counterexample to a mutant: instances examined, the counterexample, and what is wrong with it.

    It counts only if it is one in `fractions.Fraction` too, and if it does not refute the law itself.
    """
    examined, finding = search(mutant.law, count, seed)
    if finding is None:
        return examined, "", "survives"
    if not isinstance(finding, Counterexample):
        return examined, "", f"its generator breaks the hypothesis {finding.hypothesis!r}"
    if not confirmed(mutant.law, finding):
        return examined, str(finding), "its counterexample is none in fractions.Fraction"
    if isinstance(examine(law, finding.instance), Counterexample):
        return examined, str(finding), "its counterexample refutes the law as well"
    return examined, str(finding), ""


def check_mutants(law: Law, count: int = COUNT, seed: int = SEED) -> Evidence:
    """Every mutant of the law refuted by a counterexample that is evaluated twice."""
    rows, total = [], 0
    for mutant in law.mutants:
        examined, counterexample, problem = refute(law, mutant, count, seed)
        total += examined
        rows.append({
            "kind": mutant.kind, "change": mutant.change, "killed": not problem,
            "counterexample": counterexample, "problem": problem,
        })  # fmt: skip
    alive = [f"{row['change']}: {row['problem']}" for row in rows if not row["killed"]]
    if alive:
        return failed("; ".join(alive), total, mutants=rows)
    return passed(
        f"{len(rows)} of {len(rows)} mutants refuted, each twice", total, killed=len(rows), mutants=rows
    )


def _proofs(law: Law) -> list[Proof]:
    false = ", ".join(f"{m.change} ({m.kind})" for m in law.mutants)
    return [
        Proof(law.claim, "exact", INSTANCES, law.statement, partial(check_law, law), law.name),
        Proof(law.claim, "mutation", INSTANCES, f"false: {false}", partial(check_mutants, law), law.name),
    ]


def _collected() -> dict[str, list[Proof]]:
    proofs: dict[str, list[Proof]] = {name: [] for name in THEOREMS}
    for law in LAWS:
        proofs[law.claim] += _proofs(law)
    return proofs


PROOFS: dict[str, list[Proof]] = _collected()
"""Theorem id -> proofs."""
