"""Overflow: where a run may first meet a value above the maximum of the format that holds it (T18).

That nothing overflows is a hypothesis of every bound. It is checked along the trajectory, on the magnitudes that the
kernel itself may meet: the exact value and the bound on its error.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.validation import Array
from osdn_theory.rounding.errors.error_set import Mask
from osdn_theory.rounding.formats import Format


@show_briefly
@dataclass(frozen=True)
class Overflow:
    """The first quantity of one leading entry that may leave its format.

    - `token`: Counted from 1.
    - `quantity`: In the letters of the theory: "S", "d", "o", ...
    - `value`: How large the kernel's own may be, bound on its error included: above ``format.largest``.
    - `exact`: Magnitude on the exact trajectory. Above ``format.largest`` too, if it is the value that overflows
      rather than the bound that cannot exclude it.
    - `entry`: Index of the leading entry.
    """

    token: int
    quantity: str
    format: Format
    value: float
    exact: float
    entry: tuple[int, ...] = ()

    def __str__(self) -> str:
        sure = self.exact > self.format.largest
        size = f"{self.exact:.3g}" if sure else f"up to {self.value:.3g} with its rounding errors"
        return (
            f"{self.quantity} in {self.format.name} at token {self.token}: {size} > {self.format.largest:.6g}"
        )


class Watch:
    """The first overflow of each of N leading entries, among those of one part of a computation."""

    def __init__(self, count: int) -> None:
        self.first: list[Overflow | None] = [None] * count

    def see(
        self,
        quantity: str,
        fmt: Format,
        tokens: int | slice,
        exact: Array,
        size: Array,
        of: Mask | None = None,
    ) -> None:
        """Magnitudes (N, ...) of one token, or (N, C, ...) of a slice of them, of numbers of a format.

        `exact` on the trajectory and `size` at most. With `of` (N,), of those entries alone.
        """
        if bool(np.max(size, initial=0.0) <= fmt.largest):
            return
        start = tokens.start if isinstance(tokens, slice) else tokens
        count = tokens.stop - start if isinstance(tokens, slice) else 1
        shape = np.broadcast_shapes(exact.shape, size.shape)
        size, exact = (np.broadcast_to(x, shape).reshape(len(self.first), count, -1) for x in (size, exact))
        # A bound that became NaN excludes nothing.
        over = ~(size <= fmt.largest)
        for n in np.flatnonzero(over.any((1, 2)) & (True if of is None else of)):
            c, i = np.unravel_index(np.argmax(over[n]), over[n].shape)
            found = Overflow(int(start + c) + 1, quantity, fmt, float(size[n, c, i]), float(exact[n, c, i]))
            self.first[n] = _earlier(self.first[n], found)

    def begins(self, count: int, chunk: int = 1) -> Mask:
        """Which of `count` tokens overflow reaches, (N, count): from the first token of its chunk on, as products of
        masked matrices take every number of the chunk times zero."""
        never = count + 1
        first = np.array([never if x is None else x.token - 1 for x in self.first], dtype=np.int64)
        first = np.where(first == never, never, first // chunk * chunk)
        return np.arange(count) >= first[:, None]


def _earlier(first: Overflow | None, second: Overflow | None) -> Overflow | None:
    if first is None or second is None:
        return first or second
    return second if second.token < first.token else first


def earliest(*watches: Watch) -> list[Overflow | None]:
    """Of every leading entry, the first of what any of the watches saw."""
    found = list(watches[0].first)
    for watch in watches[1:]:
        found = [_earlier(*pair) for pair in zip(found, watch.first, strict=True)]
    return found


def tokens_of(found: tuple[Overflow, ...], lead: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Token numbers from 1, (...), and 0 where nothing overflows."""
    tokens = np.zeros(lead, dtype=np.int64)
    for one in found:
        tokens[one.entry] = one.token
    return tokens
