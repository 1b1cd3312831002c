"""All laws, each checked on rational instances, and its false variants refuted there."""

from __future__ import annotations

from functools import partial

import flint

from proofs_check.exact.law import Law, broken, instances, refute
from proofs_check.exact.laws import context, mean, negative, regret, rounding, scan, sweeps, token
from proofs_check.exact.numbers import BITS
from proofs_check.proof import INSTANCES, Evidence, Proof, failed, passed

COUNT = 60
"""Instances of a law, the kinds of `draw.KINDS` taking turns."""

VARIANT_COUNT = 480
"""A false variant must fall to one of as many."""

LAWS: dict[str, Law] = {
    found.name: found
    for module in (token, context, regret, scan, mean, sweeps, rounding, negative)
    for found in vars(module).values()
    if isinstance(found, Law)
}
"""Name -> law."""

NOT_TIED = {
    "T17_needs_gated_reference": "it says that no function whatever gives the ratio: nothing to evaluate"
}
"""Coq theorem that no law is held against -> why."""


def check_law(law: Law, count: int = COUNT) -> Evidence:
    """Whether the law holds on every instance, its premises included."""
    with flint.ctx.workprec(BITS):
        for tried, x in enumerate(instances(law, law.name, count), start=1):
            if text := broken(law.says, x):
                return failed(text, tried)
    return passed("premises and conclusion exact on every instance", count)


def check_variants(law: Law, count: int = VARIANT_COUNT) -> Evidence:
    """Whether every false variant of the law is refuted."""
    found = {variant.change: refute(law, variant, count) for variant in law.variants}
    rows = [{"change": change, "counterexample": example} for change, (_, example) in found.items()]
    tried = sum(instances for instances, _ in found.values())
    alive = [row["change"] for row in rows if not row["counterexample"]]
    if alive:
        return failed(f"not refuted: {'; '.join(alive)}", tried, variants=rows)
    return passed(f"refuted: {'; '.join(found)}", tried, killed=len(rows), variants=rows)


def _proofs() -> dict[str, list[Proof]]:
    proofs: dict[str, list[Proof]] = {}
    for law in LAWS.values():
        own = [Proof(law.claim, "exact", INSTANCES, law.name, partial(check_law, law), law.name)]
        if law.variants:
            changes = "; ".join(variant.change for variant in law.variants)
            own.append(
                Proof(
                    law.claim,
                    "mutation",
                    INSTANCES,
                    f"false: {changes}",
                    partial(check_variants, law),
                    law.name,
                )
            )
        proofs.setdefault(law.claim, []).extend(own)
    return proofs


PROOFS: dict[str, list[Proof]] = _proofs()
"""Theorem id -> proofs."""
