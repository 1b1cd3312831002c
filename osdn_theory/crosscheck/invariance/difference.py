"""Two answers that should be one: equal bit for bit, or as far apart as rounding explains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.evidence.comparison import excess, per_token
from osdn_theory.crosscheck.evidence.limits import Limit, RoundingLimits
from osdn_theory.crosscheck.invariance.result import Difference, Invariance
from osdn_theory.crosscheck.kernel.calling import Returned

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
