"""The code's formulas against the laws: the same rational instances through both, and through SymPy's objects."""

from collections.abc import Iterator
from functools import partial

from proofs_check.links import (
    bound_links,
    context_links,
    memory_links,
    quadratic_links,
    rounding_links,
    scan_links,
    sweep_links,
    token_links,
)
from proofs_check.links.link import Link, check_link, instances
from proofs_check.proof import Proof

SUBJECTS = (
    token_links, scan_links, sweep_links, bound_links, quadratic_links, memory_links, context_links, rounding_links
)  # fmt: skip
LINKS: tuple[Link, ...] = tuple(link for subject in SUBJECTS for link in subject.LINKS)


def proofs() -> Iterator[Proof]:
    for link in LINKS:
        statement = f"as proved: {link.statement}"
        yield Proof(link.claim, "link", statement, partial(check_link, link), link.name)


__all__ = ["LINKS", "Link", "check_link", "instances", "proofs"]
