"""An alternative: a known fault in words and as a formula, with what it needs to make sense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from osdn_theory.crosscheck.alternatives.fault import Fault
from osdn_theory.crosscheck.kernel.adapters import Adapter

CHUNKS = (16, 32, 64, 128)
"""Chunk sizes that kernels use."""

READING = frozenset({"osdn", "delta_net", "gated_delta_net", "kda", "preconditioned_delta_net"})
"""Recurrences with a memory."""

CALIBRATING = frozenset({"osdn", "preconditioner"})
PRECONDITIONED = frozenset({"preconditioned_delta_net"})
DECAYING = frozenset({"gated_delta_net", "kda"}) | PRECONDITIONED
OSDN = frozenset({"osdn"})
ANY = READING | CALIBRATING
FAMILIES = {
    "any": ANY,
    "reading": READING,
    "calibrating": CALIBRATING,
    "decaying": DECAYING,
    "preconditioned": PRECONDITIONED,
}

NORM = "use_qk_l2norm_in_kernel"
"""Needed by faults of kernels that divide queries and keys by their norms."""


@dataclass(frozen=True)
class KnownFault:
    """What a document tells of an alternative: its short name, what the kernel would do in words, and as a formula."""

    key: str
    sentence: str
    formula: str


@dataclass(frozen=True, eq=False)
class Alternative:
    """A known fault, and how to make it.

    Attributes
    ----------
    key : str
        Its short name.
    sentence : str
        What the kernel would do, in words.
    formula : str
    variants : mapping from label to Fault
        Ways to make it: chunk sizes, or what an off-by-one read finds before the first token. "" has no label.
    recurrences : frozenset of str
        Where it makes sense.
    needs : frozenset of str
        Arguments of the kernel without which it does not.
    approximate : bool
        Whether a replay in float64 follows a kernel only nearly, because it rounds to few bits on the way.
    """

    key: str
    sentence: str
    formula: str
    variants: Mapping[str, Fault]
    recurrences: frozenset[str] = READING
    needs: frozenset[str] = frozenset()
    approximate: bool = False

    @property
    def fault(self) -> KnownFault:
        return KnownFault(self.key, self.sentence, self.formula)

    def obstacle(self, adapter: Adapter) -> str | None:
        """Why the kernel cannot have this fault; None where it can."""
        if adapter.recurrence not in self.recurrences:
            return f"not a fault of {adapter.recurrence}"
        taken = adapter.parameters | ({NORM} if adapter.key_norm is not None else set())
        missing = sorted(self.needs - taken)
        return f"needs {', '.join(missing)}, which the kernel does not take" if missing else None


def applicable(adapter: Adapter, alternatives: Sequence[Alternative]) -> Iterator[Alternative]:
    """Those that the kernel can have."""
    return (each for each in alternatives if each.obstacle(adapter) is None)
