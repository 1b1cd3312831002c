"""All laws, each checked on rational instances, and its false variant refuted there."""

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pkgutil import walk_packages

import flint

from proofs_check.exact import laws
from proofs_check.exact.law import LAWS, Law, broken, instances, printed
from proofs_check.exact.numbers import BITS
from proofs_check.exact.propositions import true
from proofs_check.proof import Judgement, Proof, failed, passed

COUNT = 60
"""Instances of a law, the kinds of `draw.KINDS` taking turns."""

VARIANT_COUNT = 480
"""A false variant must fall to one of as many."""

NOT_TIED = {
    "T17_needs_gated_reference": "it says that no function whatever gives the ratio: nothing to evaluate"
}
"""Coq theorem that no law is held against -> why."""

for _module in walk_packages(laws.__path__, f"{laws.__name__}."):
    import_module(_module.name)


def check_law(law: Law, count: int = COUNT) -> Judgement:
    """Whether the law holds on every instance, its premises included."""
    with flint.ctx.workprec(BITS):
        for tried, x in enumerate(instances(law, law.name, count), start=1):
            if text := broken(law.says(x)):
                return failed(text, tried)
    return passed("premises and conclusion exact on every instance", count)


def check_variant(law: Law, count: int = VARIANT_COUNT) -> Judgement:
    """Whether the false variant of the law is refuted by an instance on which the law itself stands."""
    with flint.ctx.workprec(BITS):
        for tried, x in enumerate(instances(law, f"{law.name} false", count), start=1):
            if not true(law.false(x)) and not broken(law.says(x)):
                return passed(f"refuted: {law.change}", tried, killed=1, counterexample=printed(x))
    return failed(f"not refuted: {law.change}", count)


def proofs() -> Iterator[Proof]:
    """That each law stands, and but for counterexamples that its false variant falls."""
    for name, law in LAWS.items():
        yield Proof(law.claim, "exact", name, partial(check_law, law), name)
        if not law.is_negative:
            false = f"false: {law.change}"
            yield Proof(law.claim, "mutation", false, partial(check_variant, law), name)


__all__ = ["COUNT", "LAWS", "NOT_TIED", "VARIANT_COUNT", "check_law", "check_variant", "proofs"]
