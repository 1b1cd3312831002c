"""Numbers of a kernel against exact ones: errors over t, in ulps, and against their bounds; every quantity it shows."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.evidence.limits import RELATIVE_ALLOWANCE, Limit, RoundingLimits, is_proved
from osdn_theory.crosscheck.evidence.observation import Observation
from osdn_theory.crosscheck.evidence.residuals import Residuals
from osdn_theory.crosscheck.results import Comparison, Tokens
from osdn_theory.recurrence.trajectory import Trajectory
from osdn_theory.rounding import FORMATS, spacing

_EDGES = (0.0, 0.5, 1.0, 2.0, 4.0, 16.0, 256.0, 65536.0)
ULP_LABELS = ("0", "<= 1/2", "<= 1", "<= 2", "<= 4", "<= 16", "<= 256", "<= 65536", "more", "not finite")


def compare(
    name: str,
    title: str,
    found: Array,
    exact: Array,
    *,
    tokens: Tokens,
    dtype: str,
    limit: Limit,
    to_largest: bool = False,
) -> Comparison:
    """Compare (B, H, P, ...) with what it should be; relative to the largest token of the head if `to_largest`.

    Entries that are not finite have infinite error. An exact value of zero makes the error of its token absolute.
    """
    apart = _apart(found, exact)
    size, error = per_token(exact), per_token(apart)
    if to_largest:
        size = np.broadcast_to(size.max(axis=-1, keepdims=True, initial=0.0), size.shape)
    scale = np.where(size > 0, size, 1.0)
    return Comparison(
        name=name,
        title=title,
        tokens=np.asarray(tokens, dtype=np.int64),
        error=error / scale,
        bound=limit.norm / scale,
        excess=excess(found, exact, limit),
        ulps=ulp_histogram(apart, exact, dtype),
        dtype=dtype,
        basis=limit.basis,
    )


def excess(found: Array, exact: Array, limit: Limit) -> Array:
    """Largest |found - exact| / bound of every token, (B, H, P): beyond 1 rounding does not explain it."""
    apart = _apart(found, exact)
    ratio = _ratio(per_token(apart), limit.norm)
    return ratio if limit.entries is None else np.maximum(ratio, _largest(_ratio(apart, limit.entries)))


def ulp_histogram(apart: Array, exact: Array, dtype: str) -> dict[str, int]:
    """How many entries are how many ulps of `dtype` off; an ulp is that of the exact value."""
    steps = apart / spacing(exact, FORMATS[dtype])
    finite = np.isfinite(steps)
    places = np.searchsorted(_EDGES, steps[finite], side="left")
    counts = np.bincount(places, minlength=len(_EDGES) + 1)
    counted = {label: int(count) for label, count in zip(ULP_LABELS, counts, strict=False)}
    return {**counted, ULP_LABELS[-1]: int(np.sum(~finite))}


def _apart(found: Array, exact: Array) -> Array:
    with np.errstate(invalid="ignore"):
        apart = np.abs(found - exact)
    return np.where(np.isfinite(apart), apart, np.inf)


def per_token(values: Array) -> Array:
    """Euclidean norm over all axes after (B, H, P)."""
    flat = _flat(values)
    largest = np.max(np.abs(flat), axis=-1, initial=0.0)
    norm: Array = np.linalg.norm(flat, axis=-1)
    # The norm of infinities is NaN on some platforms.
    return np.where(np.isinf(largest), np.inf, norm)


def _ratio(apart: Array, bound: Array) -> Array:
    """|error| / bound entry by entry: 0 where both vanish."""
    bound = np.broadcast_to(bound, apart.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(apart == 0, 0.0, apart / bound)
    # An infinite bound explains everything, even an overflow; a bound that is no number explains nothing.
    return np.where(np.isinf(bound), 0.0, np.where(np.isnan(ratio), np.inf, ratio))


def _largest(values: Array) -> Array:
    largest: Array = _flat(values).max(axis=-1, initial=0.0)
    return largest


def _flat(values: Array) -> Array:
    """(B, H, P, ...) with one axis after the third, for no tokens as well."""
    return values.reshape(*values.shape[:3], math.prod(values.shape[3:]))


TITLES = {
    "o": "outputs",
    "S": "states handed on after prefixes",
    "d": "preconditioner of every token, as returned",
    "d handed on": "preconditioner in the final state after prefixes",
    "a": "alignment of every token, as returned",
    "q": "residual ratio of every write, from the kernel's own reads",
    "beta a": "part of the residual that each write removes, from the kernel's own reads",
}


def comparisons(
    case: Case, exact: Trajectory, seen: Observation, bounds: RoundingLimits, reads: Residuals | None
) -> Iterator[Comparison]:
    if not case.stream.length:
        yield from _handed_through(case, seen)
        return
    every, after = np.arange(1, case.stream.length + 1), seen.tokens
    assert exact.states is not None
    shown = (
        ("o", seen.outputs, exact.outputs, every, bounds.outputs),
        ("S", seen.states, exact.states[:, :, after - 1], after, bounds.states.at(after)),
        ("d", seen.preconditioner, exact.preconditioner, every, bounds.preconditioner),
        (
            "d handed on",
            seen.handed_on,
            case.following(exact)[:, :, after - 1],
            after,
            bounds.handed_on.at(after),
        ),
        ("a", seen.alignment, exact.alignment, every, bounds.alignment),
    )
    for name, found, right, tokens, limit in shown:
        if found is not None:
            dtype = case.dtype if name == "o" else "float32"
            yield compare(name, TITLES[name], found, right, tokens=tokens, dtype=dtype, limit=limit)
    if reads is not None:
        yield from _from_reads(case, exact, reads, every)


def _handed_through(case: Case, seen: Observation) -> Iterator[Comparison]:
    """Of a sequence without tokens: it hands on what it started from, bit for bit where rounding is bounded at all."""
    relative = 0.0 if is_proved(case, ()) else RELATIVE_ALLOWANCE[case.dtype]
    basis = f"{relative:g} of what it started from: there are no tokens"
    pairs = {
        "S": ("state handed on", seen.states, case.initial_state),
        "d handed on": ("preconditioner handed on", seen.handed_on, case.initial_preconditioner),
    }
    for name, (title, found, start) in pairs.items():
        if found is not None:
            exact, tokens = start[:, :, None], np.zeros(1, dtype=np.int64)
            limit = Limit(relative * per_token(exact), None, basis)
            yield compare(name, title, found, exact, tokens=tokens, dtype="float32", limit=limit)


def _from_reads(case: Case, exact: Trajectory, reads: Residuals, every: Any) -> Iterator[Comparison]:
    gap = 1.0 - np.asarray(case.stream.beta) * exact.alignment
    # A residual of zero before the write leaves nothing to tell a ratio by.
    silent = ~np.any(reads.before != 0, axis=-1) | ~np.any(reads.exact_before != 0, axis=-1)
    ratio, exact_ratio = (np.where(silent, 1.0, q) for q in (reads.ratio, reads.exact_ratio))
    apart = {
        "q": (ratio, exact_ratio, _spread(reads)),
        "beta a": (np.where(silent, 1.0 - gap, reads.alignment), 1.0 - gap, reads.alignment_error(gap)),
    }
    for name, (found, right, error) in apart.items():
        limit = Limit(np.where(silent, np.inf, error), None, "T18, through the residuals")
        yield compare(name, TITLES[name], found, right, tokens=every, dtype="float32", limit=limit)


def _spread(reads: Residuals) -> Array:
    """How far q may be from the exact one: as far as the reads leave both ends of it; nothing allows a NaN."""
    with np.errstate(invalid="ignore"):
        spread = np.maximum(reads.largest_ratio - reads.ratio, reads.ratio - reads.least_ratio)
    return np.nan_to_num(spread, nan=0.0, posinf=np.inf)
