"""What holding a kernel against itself showed: how far two runs differ, and what that comes to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.documents import Count, Number
from osdn_theory.base.jsonable import stated
from osdn_theory.base.validation import Array, require
from osdn_theory.crosscheck.evidence.comparison import excess, per_token
from osdn_theory.crosscheck.evidence.limits import Limit, RoundingLimits
from osdn_theory.crosscheck.kernel.calling import Returned

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

    - `how`: What was done differently.
    - `quantity`: ``"o"``, ``"final state"``, ``"d"``, ``"d handed on"``, ``"a"`` or ``"grad k"`` and so on.
    - `size`: Euclidean norm of the difference at this place; infinite where one side alone is NaN.
    - `excess`: Largest entry or norm over what both sides' rounding bounds allow together; beyond 1 it is no rounding.
    - `batch`, `head`, `token`: The token counted from 1; what is handed on has the number of the last one.
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
    """What is not equal bit for bit among the checks named, in words; one that was not exercised is among them."""
    unknown = [name for name in names if name not in TITLES]
    require(not unknown, f"require: unknown {', '.join(map(repr, unknown))}; known: {', '.join(TITLES)}")
    held = {each.name: "" if each.outcome == EQUAL else f"{each.outcome}: {each.detail}" for each in results}
    told = [(name, held.get(name, "not exercised: it was not asked for")) for name in names]
    return [f"{name}: {failure}" for name, failure in told if failure]


Allowed = Mapping[str, Limit]
"""By field of `Returned`: what rounding allows between two answers."""

_QUANTITIES = {
    "outputs": "o",
    "state": "final state",
    "handed_on": "d handed on",
    "preconditioner": "d",
    "alignment": "a",
}

_PER_SEQUENCE = ("state", "handed_on")


def hold(name: str, whole: Returned, others: Mapping[str, Returned], allowed: Allowed) -> Invariance:
    """Answers to the same question, by how it was put, against the whole one; `allowed` is for their difference."""
    return conclude(
        name, [x for how, other in others.items() for x in _differences(how, whole, other, allowed)]
    )


def conclude(name: str, found: list[Difference]) -> Invariance:
    """The check whose differences these are."""
    if not found:
        return Invariance(name, "equal bit for bit")
    worst = max(found, key=lambda difference: (difference.excess, difference.size))
    return Invariance(name, "wrong" if worst.excess > 1 else "inside the bound", worst)


def _differences(how: str, whole: Returned, other: Returned, allowed: Allowed) -> Iterator[Difference]:
    for field, quantity in _QUANTITIES.items():
        first, second, limit = getattr(whole, field), getattr(other, field), allowed[field]
        if first is None or second is None:
            continue
        tokens = np.arange(1, limit.norm.shape[-1] + 1)
        if field in _PER_SEQUENCE:
            first, second, tokens = first[:, :, None], second[:, :, None], tokens[-1:]
        found = difference(how, quantity, first, second, tokens, limit.at(tokens))
        if found is not None:
            yield found


def difference(
    how: str, quantity: str, first: Array, second: Array, tokens: npt.NDArray[np.int64], limit: Limit
) -> Difference | None:
    """The largest between two arrays (B, H, P, ...), or None where they have the same bits."""
    same = _bits(first) == _bits(second)
    if bool(same.all()):
        return None
    with np.errstate(invalid="ignore"):
        apart = np.abs(np.where(same, 0.0, second - first))
    apart = np.where(np.isnan(apart), np.inf, apart)
    beyond, size = excess(apart, np.zeros_like(apart), limit), per_token(apart)
    measure = beyond if beyond.any() else size
    # Where nothing measures, zeros differ in their signs.
    if not measure.any():
        measure = np.any(~same.reshape(*size.shape, -1), axis=-1)
    batch, head, position = (int(i) for i in np.unravel_index(int(np.argmax(measure)), size.shape))
    place = (batch, head, position)
    return Difference(
        how, quantity, float(size[place]), float(beyond[place]), batch, head, int(tokens[position])
    )


def _bits(array: Array) -> npt.NDArray[np.int64]:
    """Bits of float64, to which narrower formats convert exactly; every NaN counts as the same one."""
    return np.ascontiguousarray(np.where(np.isnan(array), np.nan, array)).view(np.int64)


def together(*limits: RoundingLimits) -> Allowed:
    """What answers may differ by that miss the exact one by no more than their limits: the sum."""
    named = {
        "outputs": [one.outputs for one in limits],
        "state": [one.states for one in limits],
        "handed_on": [one.handed_on for one in limits],
        "preconditioner": [one.preconditioner for one in limits],
        "alignment": [one.alignment for one in limits],
    }
    return {field: total(*given) for field, given in named.items()}


def total(*limits: Limit) -> Limit:
    """The sum, entry by entry."""
    entries = [one.entries for one in limits if one.entries is not None]
    return Limit(
        norm=np.sum([one.norm for one in limits], axis=0),
        entries=np.sum(entries, axis=0) if len(entries) == len(limits) else None,
        basis=" and ".join(dict.fromkeys(one.basis for one in limits)),
    )
