"""Residuals from a kernel's own reads, what rounding may have done to them, and the curve of their ratios (T3, T6)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.evidence.limits import RoundingLimits
from osdn_theory.crosscheck.evidence.observation import Observation
from osdn_theory.crosscheck.results import Curve
from osdn_theory.recurrence.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Residuals:
    """v_t minus the read of k_t, before and after the write of token t; leading axes (B, H).

    - `before`, `after` (B, H, T, V): The kernel's, by its own reads.
    - `exact_before`, `exact_after` (B, H, T, V)
    - `before_error`, `after_error` (B, H, T): Bounds on the norm of kernel minus exact.
    """

    before: Array
    after: Array
    exact_before: Array
    exact_after: Array
    before_error: Array
    after_error: Array

    @property
    def ratio(self) -> Array:
        """q_t of the kernel, (B, H, T); NaN where its residual before the write is zero."""
        return _ratio(_norm(self.after), _norm(self.before))

    @property
    def exact_ratio(self) -> Array:
        return _ratio(_norm(self.exact_after), _norm(self.exact_before))

    @property
    def least_ratio(self) -> Array:
        """The smallest exact q_t that the kernel's reads leave possible."""
        after = np.maximum(_norm(self.after) - self.after_error, 0.0)
        return np.nan_to_num(_ratio(after, _norm(self.before) + self.before_error), nan=0.0)

    @property
    def largest_ratio(self) -> Array:
        """The largest one; infinite where rounding may hide the whole residual before the write."""
        before = _norm(self.before) - self.before_error
        possible = _ratio(_norm(self.after) + self.after_error, np.maximum(before, 0.0))
        return np.where(before > 0, possible, np.inf)

    @property
    def observable(self) -> npt.NDArray[np.bool_]:
        """Where the exact residuals on both sides of the write stand out of rounding, (B, H, T)."""
        after = _norm(self.exact_after) > self.after_error
        return np.logical_and(after, _norm(self.exact_before) > self.before_error)

    @property
    def alignment(self) -> Array:
        """beta_t a_t that the reads imply (T3): 1 - <after, before> / ||before||^2, (B, H, T)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            kept: Array = np.vecdot(self.after, self.before) / np.vecdot(self.before, self.before)
        return np.subtract(1.0, kept)

    def alignment_error(self, gap: Array) -> Array:
        """Bound on its error, `gap` being the exact |1 - beta_t a_t|.

        With w the kernel's residual before the write, <after, w> / ||w||^2 differs from 1 - beta a by
        <error after - (1 - beta a) error before, w> / ||w||^2.
        """
        with np.errstate(divide="ignore"):
            error: Array = (self.after_error + np.abs(gap) * self.before_error) / _norm(self.before)
        return error


def residuals(case: Case, exact: Trajectory, seen: Observation, bounds: RoundingLimits) -> Residuals | None:
    """None where the kernel has no memory to read."""
    if seen.reads_after is None or seen.reads_before is None:
        return None
    assert exact.states is not None
    assert bounds.reads_before is not None
    assert bounds.reads_after is not None
    values, keys = case.stream.values, case.stream.keys
    return Residuals(
        before=values - seen.reads_before,
        after=values - seen.reads_after,
        exact_before=exact.residuals,
        # Not v - S k, which cancels: the identity T3 gives the residual after the write to full precision.
        exact_after=exact.residuals * (1.0 - np.asarray(case.stream.beta) * exact.alignment)[..., None],
        before_error=bounds.reads_before.norm,
        after_error=bounds.reads_after.norm + _exact_read_error(exact, keys, values),
    )


def _exact_read_error(exact: Trajectory, keys: Array, values: Array) -> Array:
    """float64 itself: what is called exact is so to a few of its roundings."""
    unit = float(np.finfo(np.float64).eps)
    assert exact.states is not None
    size = np.linalg.norm(exact.states, axis=(-2, -1)) * np.linalg.norm(keys, axis=-1)
    length = keys.shape[-2]
    error: Array = unit * length * (size + np.linalg.norm(values, axis=-1))
    return error


def curve(found: Residuals, constant: Array | None) -> Curve:
    """The curve of the head whose exact product is smallest.

    `constant` : (B, H) C of T5, NaN where T6 does not apply; None where it applies to no head.
    """
    exact = _logs(found.exact_ratio)
    index = _smallest(exact.sum(axis=-1))
    tokens = np.arange(1, exact.shape[-1] + 1)
    c = None if constant is None or np.isnan(constant[index]) else float(constant[index])
    return Curve(
        index=index,
        kernel=np.cumsum(_logs(found.ratio)[index]),
        exact=np.cumsum(exact[index]),
        guaranteed=np.cumsum(_logs(found.largest_ratio)[index]),
        least=np.cumsum(_logs(found.least_ratio)[index]),
        bound=None if c is None or c <= 0 else tokens * np.log10(c / tokens),
        constant=c,
        floor=_log10(_ratio(found.after_error[index], _norm(found.exact_before)[index])),
        ratio=_logs(found.ratio)[index],
        exact_ratio=exact[index],
        ends=_end(found.observable[index]),
        departs=_departure(_logs(found.ratio)[index], exact[index]),
    )


def _smallest(totals: Array) -> tuple[int, ...]:
    """The head with the smallest finite sum, or the first where none is finite."""
    finite = np.where(np.isfinite(totals), totals, np.inf)
    return tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), totals.shape))


def _end(observable: npt.NDArray[np.bool_]) -> int | None:
    """First token from which on nothing is observable."""
    seen = np.flatnonzero(observable)
    last = int(seen[-1]) + 1 if seen.size else 0
    return last + 1 if last < observable.size else None


def _departure(found: Array, exact: Array) -> int | None:
    """First token whose ratio is off by more than a factor of two."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(found - exact)
    # Both exactly zero: infinity minus infinity, and no departure.
    off = np.flatnonzero(np.nan_to_num(apart, nan=0.0) > np.log10(2.0))
    return int(off[0]) + 1 if off.size else None


def _logs(ratio: Array) -> Array:
    """log10 q; 0/0 changes no product."""
    return np.where(np.isnan(ratio), 0.0, _log10(ratio))


def _log10(values: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: Array = np.log10(values)
    return logs


def _norm(vectors: Array) -> Array:
    norms: Array = np.linalg.norm(vectors, axis=-1)
    return norms


def _ratio(after: Array, before: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Array = (after / before) ** 2
    return ratio
