"""Numbers of a kernel against exact ones: errors over t, in ulps, and against their bounds."""

from __future__ import annotations

import math

import numpy as np

from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.evidence.limits import Limit
from osdn_theory.crosscheck.results import Comparison, Tokens
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
