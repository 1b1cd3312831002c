"""What a cross-check returns; its fields and `stated` properties are what ``crosscheck.json`` says of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from osdn_theory.base.brief import show_briefly
from osdn_theory.base.documents import Count, Number
from osdn_theory.base.jsonable import stated
from osdn_theory.base.validation import Array, require

Outcome = Literal["confirmed", "contradicted", "not observable", "not applicable"]
Tokens = npt.NDArray[np.int64]

EXIT_CONFIRMED, EXIT_CONTRADICTED, EXIT_UNOBSERVED = 0, 1, 3


@show_briefly
@dataclass(frozen=True, eq=False)
class Comparison:
    """One quantity of a kernel against float64.

    - `name`: ``"o"``, ``"S"``, ``"d"``, ``"a"``, ``"q"``, or ``"grad k"`` and so on.
    - `title`: In words, with where the number comes from.
    - `tokens` (P,) int: Numbers of tokens read, from 1.
    - `error` (B, H, P): ||kernel - exact|| / ||exact|| per token; absolute where the exact value vanishes,
      infinite for NaN.
    - `bound` (B, H, P) or None: What rounding explains, on the same scale. None: nothing is claimed, see `basis`.
    - `excess` (B, H, P) or None: Largest entry of |kernel - exact| / its own bound; beyond 1 rounding does
      not explain it.
    - `ulps`, mapping from label to count: Entries by their error in ulps of `dtype`.
    - `dtype`: What the kernel stores the quantity in.
    - `basis`: Where the bound comes from.
    """

    name: str
    title: str
    tokens: Tokens
    error: Array
    bound: Array | None
    excess: Array | None
    ulps: Mapping[str, Count]
    dtype: str
    basis: str

    def __post_init__(self) -> None:
        require(self.error.shape[-1:] == self.tokens.shape, "error: expected as many tokens as in tokens")
        shapes = [None if each is None else each.shape for each in (self.bound, self.excess)]
        require(
            shapes in ([self.error.shape] * 2, [None] * 2),
            f"bound, excess: expected the shape {self.error.shape} of error for both, got {shapes}",
        )

    @property
    @stated
    def within_bound(self) -> bool | None:
        """None where nothing is claimed."""
        return None if self.bound is None else self.within

    @property
    @stated
    def worst_error(self) -> Number:
        return float(self.error.max(initial=0.0))

    @property
    @stated
    def median_error(self) -> Number:
        return float(np.median(self.error)) if self.error.size else 0.0

    @property
    @stated
    def worst_head(self) -> tuple[int, ...]:
        """Leading index (batch, head) with the largest excess over its bound, or largest error."""
        measure = self.error if self.excess is None else self.excess
        if measure.size == 0:
            return (0,) * (measure.ndim - 1)
        index = np.unravel_index(int(np.argmax(measure)), measure.shape)
        return tuple(int(i) for i in index[:-1])

    @property
    def outside(self) -> Tokens:
        """Token numbers at which some head leaves the bound."""
        if self.excess is None:
            return np.array([], dtype=np.int64)
        beyond = self.excess > 1
        return self.tokens[beyond.reshape(-1, beyond.shape[-1]).any(axis=0)]

    @property
    def within(self) -> bool:
        return self.outside.size == 0

    @property
    @stated
    def worst_excess(self) -> Number | None:
        """Largest error in units of its bound; None where no bound is known."""
        return None if self.excess is None else float(self.excess.max(initial=0.0))

    @property
    @stated
    def first_outside(self) -> int | None:
        """Number of the first token at which the quantity leaves its bound."""
        return int(self.outside[0]) if self.outside.size else None

    @property
    @stated
    def median_slack(self) -> Number | None:
        """Median of bound / error over the tokens with an error."""
        if self.bound is None:
            return None
        known = (self.error > 0) & np.isfinite(self.error)
        return float(np.median(self.bound[known] / self.error[known])) if known.any() else None


@show_briefly
@dataclass(frozen=True)
class Verdict:
    """A theorem held against the kernel's own numbers.

    `lhs` and `rhs` are the two sides as measured, `allowance` what rounding may have moved them by. "contradicted"
    is said only where the sides differ by more than that, "not observable" where rounding is too large to tell, and
    "not applicable" where a hypothesis of the theorem fails; `reason` has the numbers.
    """

    theorem: str
    title: str
    outcome: Outcome
    reason: str
    lhs: Number | None = None
    rhs: Number | None = None
    allowance: Number | None = None


@show_briefly
@dataclass(frozen=True)
class Symptom:
    """A fault that explains what is off, with the evidence for it."""

    name: str
    sentence: str
    evidence: str


@show_briefly
@dataclass(frozen=True, eq=False)
class Curve:
    """log10 of the product of residual ratios so far, one head, from the kernel's own reads (T6).

    - `kernel`, `exact` (T,): Sums of log10 q_t; minus infinity from an exact zero on.
    - `guaranteed`, `least` (T,): The largest and the smallest exact product that the kernel's reads leave
      possible, rounding being within its bound.
    - `bound` (T,) or None: t log10(C/t), where T6 applies.
    - `ratio`, `exact_ratio`, `floor` (T,): log10 q_t of the kernel, of exact arithmetic, and the level
      below which rounding hides it.
    - `ends`: First token from which on rounding may hide every residual; None: it never does.
    - `departs`: First token whose ratio is in fact off by more than a factor of two.
    """

    index: tuple[int, ...]
    kernel: Array
    exact: Array
    guaranteed: Array
    least: Array
    bound: Array | None
    constant: Number | None
    ratio: Array
    exact_ratio: Array
    floor: Array
    ends: int | None
    departs: int | None

    @property
    @stated
    def decades(self) -> Number:
        """Powers of ten that the product has certainly fallen by, at its best prefix."""
        return float(max(0.0, -np.min(self.guaranteed, initial=0.0)))


@show_briefly
@dataclass(frozen=True, eq=False)
class NewtonDistances:
    """Relative distance of states from the ridge least squares of the same prefix, and from the right-Newton write.

    - `tokens` (P,) int
    - `kernel`, `exact` (B, H, P): ||S_t - S_t^RLS|| / ||S_t^RLS||.
    - `right_newton`, `exact_right_newton` (B, H, T): |1 - a_t| of the kernel, where it returns a_t, and
      exact: zero where a full write is the right-Newton one (T4).
    """

    tokens: Tokens
    kernel: Array
    exact: Array
    ridge: float
    right_newton: Array
    exact_right_newton: Array


@show_briefly
@dataclass(frozen=True, eq=False)
class CrossCheck:
    """A kernel beside the exact trajectory on one stream.

    - `shape`: B, H, T, K and V.
    - `symptoms`: Empty unless something is outside its bound.
    - `curve`: Of the head where the product of the exact ratios is smallest.
    - `notes`: What could not be looked at, and why.
    """

    statement: Mapping[str, str]
    stream: str
    rule: str
    dtype: str
    device: str
    shape: Mapping[str, Count]
    comparisons: tuple[Comparison, ...]
    verdicts: tuple[Verdict, ...]
    symptoms: tuple[Symptom, ...] = ()
    curve: Curve | None = None
    newton: NewtonDistances | None = None
    configuration: str = ""
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> Comparison:
        for comparison in self.comparisons:
            if comparison.name == name:
                return comparison
        known = ", ".join(comparison.name for comparison in self.comparisons)
        raise KeyError(f"{name}: compared are {known}")

    def verdict(self, theorem: str) -> Verdict:
        for verdict in self.verdicts:
            if verdict.theorem == theorem:
                return verdict
        raise KeyError(f"{theorem}: there are verdicts on {', '.join(v.theorem for v in self.verdicts)}")

    @property
    def within(self) -> bool:
        """Whether every quantity stays in its bound."""
        return all(comparison.within for comparison in self.comparisons)

    @property
    @stated
    def exit_code(self) -> int:
        """0 all confirmed; 1 out of bound or contradicted; 3 neither, but something cannot be observed."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        if not self.within or "contradicted" in outcomes:
            return EXIT_CONTRADICTED
        return EXIT_UNOBSERVED if "not observable" in outcomes else EXIT_CONFIRMED
