"""What comes of holding a kernel against itself, and what a caller may require of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.documents import Count, Number
from osdn_theory.base.jsonable import stated
from osdn_theory.base.validation import require

InvarianceOutcome = Literal["equal bit for bit", "inside the bound", "wrong", "not exercised"]

EQUAL = "equal bit for bit"

TITLES: Mapping[str, str] = {
    "deterministic": "the same call again, after another one",
    "inputs-unchanged": "its inputs after a call, and before",
    "results-kept": "its results after further calls, and before",
    "batch-invariant": "each batch row alone, and the rows in reverse, against the batch",
    "head-invariant": "each head alone, against all of them",
    "packed-invariant": "the batch rows packed by cu_seqlens, against the batch",
    "piecewise-invariant": "two pieces that meet at a chunk's edge, against one",
    "off-edge-piecewise-invariant": "two pieces that meet inside a chunk, against one",
    "stride-invariant": "inputs with gaps and permuted axes, against dense ones",
    "step-invariant": "a prefill and single steps, against one piece",
    "deterministic-gradients": "the gradients of the same call again",
}
"""The names of the checks, as `required` takes them, and what is held against what."""


@show_briefly
@dataclass(frozen=True)
class Difference:
    """Where two answers that should be one are farthest apart.

    Attributes
    ----------
    how : str
        What was done differently.
    quantity : str
        ``"o"``, ``"final state"``, ``"d"``, ``"d handed on"``, ``"a"`` or ``"grad k"`` and so on.
    size : float
        Euclidean norm of the difference at this place; infinite where one side alone is NaN.
    excess : float
        Largest entry or norm over what both sides' rounding bounds allow together; beyond 1 it is no rounding.
    batch, head, token : int
        The token counted from 1; what is handed on has the number of the last one.
    """

    how: str
    quantity: str
    size: Number
    excess: Number
    batch: Count
    head: Count
    token: Count

    def __str__(self) -> str:
        place = f"batch row {self.batch}, head {self.head}, token {self.token}"
        if self.size == 0:
            return f"{self.quantity} with {self.how}: signs of zeros alone differ, at {place}"
        return (
            f"{self.quantity} with {self.how}: {self.size:.2g} apart at {place}, "
            f"{self.excess:.2g} times what both rounding bounds allow"
        )


@show_briefly
@dataclass(frozen=True)
class Invariance:
    """One check. `reason`: why it was not exercised, or what is wrong where that is no number."""

    name: str
    outcome: InvarianceOutcome
    difference: Difference | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        require(self.name in TITLES, f"name: expected one of {', '.join(TITLES)}, got {self.name!r}")
        if self.difference is None:
            follows = self.outcome != "inside the bound" and (self.reason == "") == (self.outcome == EQUAL)
        else:
            follows = self.outcome == ("wrong" if self.difference.excess > 1 else "inside the bound")
        require(follows, f"outcome: {self.outcome!r} does not follow from the difference and the reason")

    @property
    @stated
    def title(self) -> str:
        return TITLES[self.name]

    @property
    @stated
    def detail(self) -> str:
        """The largest difference, or the reason; empty where all is equal."""
        return self.reason if self.difference is None else str(self.difference)


def required(results: Iterable[Invariance], names: Sequence[str]) -> list[str]:
    """What is not equal bit for bit among the checks named, in words; one that was not exercised is among them.

    Raises
    ------
    ValueError
        For a name that no check has.
    """
    unknown = [name for name in names if name not in TITLES]
    require(not unknown, f"require: unknown {', '.join(map(repr, unknown))}; known: {', '.join(TITLES)}")
    held = {each.name: "" if each.outcome == EQUAL else f"{each.outcome}: {each.detail}" for each in results}
    told = [(name, held.get(name, "not exercised: it was not asked for")) for name in names]
    return [f"{name}: {failure}" for name, failure in told if failure]
